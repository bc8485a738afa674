"""Configurations of the built-in spaces: sampled by questions, checked by the same questions."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import fields, replace
from typing import TYPE_CHECKING, Any, ClassVar, Protocol, Self

from spaces import DataShape
from spaces.errors import HyperparameterError

if TYPE_CHECKING:
    from spaces.training import TrainingConfig  # imports this module


class HyperParameters(Protocol):
    """The part of KerasTuner's `HyperParameters` that the built-in spaces use.

    Each question returns None inside a `conditional_scope` whose condition does not hold.
    """

    def Int(
        self,
        name: str,
        min_value: int,
        max_value: int,
        *,
        sampling: str = "linear",
        default: int | None = None,
    ) -> Any: ...

    def Float(
        self,
        name: str,
        min_value: float,
        max_value: float,
        *,
        step: float | None = None,
        sampling: str = "linear",
        default: float | None = None,
    ) -> Any: ...

    def Choice(self, name: str, values: list[Any], *, default: Any = None) -> Any: ...

    def Boolean(self, name: str, default: bool = False) -> Any: ...

    def conditional_scope(
        self, parent_name: str, parent_values: list[Any]
    ) -> AbstractContextManager[None]: ...


class Configuration(ABC):
    """Base of the configurations: a frozen dataclass whose fields answer the space's questions.

    `_ask` asks the questions. Ranges and conditions are written there only: checking a
    configuration and reading one back replay the questions. A field answers the question of the
    same name; a tuple of layers answers several (`_layer_answers`). For a data set, the ranges fit
    that data; without one, as in the checks, they fit any data.

    `_unsampled` holds further values by name of a question. They are valid, since published systems
    have them, but never sampled, since no search has won with them.

    Raises:
        ValueError: A value is out of range, or is set where it has no effect.
    """

    __slots__ = ()
    __dataclass_fields__: ClassVar[dict[str, Any]]
    _unsampled: ClassVar[Mapping[str, Sequence[Any]]]
    training: "TrainingConfig"

    def __post_init__(self) -> None:
        self._replay()

    @classmethod
    def sample(cls, hp: HyperParameters, data: DataShape | None = None) -> Self:
        """Ask `hp` every question and return the configuration that the answers make.

        Args:
            hp: Answers the questions.
            data: What the ranges must fit; None: they hold the points of every data set.
        """
        asked = cls._ask(hp, data)
        # None means not asked because it has no effect: the field keeps its default.
        return cls(**{name: value for name, value in asked.items() if value is not None})

    @classmethod
    def from_params(cls, params: Mapping[str, Any], data: DataShape | None = None) -> Self:
        """Read a configuration from hyperparameter values, the inverse of `params`.

        Args:
            params: Values by name; a missing name takes the default of its question. KerasTuner's
                own entries (`tuner/...`) are ignored.
            data: As for `sample`.

        Raises:
            HyperparameterError: A value is out of range or has no effect, or a name is unknown.
        """
        own = {name: value for name, value in params.items() if not name.startswith("tuner/")}
        replay = Replay(own, "params", cls._unsampled)
        config = cls.sample(replay, data)
        replay.refuse_unused(neutral={})
        return config

    def fitted_to(self, data: DataShape) -> Self:
        """Return this configuration as a point of the space of some images.

        If mirrored images do not belong to their class, it trains without them.

        Raises:
            ValueError: The space of these images has no such point.
        """
        config = self
        if data.mirror is False:
            config = replace(self, training=self.training.unmirrored())
        return self.from_params(config.params(data), data)

    def params(self, data: DataShape | None = None) -> dict[str, Any]:
        """Return the hyperparameter values by name for which `sample` returns this.

        Args:
            data: As for `sample`.

        Raises:
            ValueError: The space of these images has no such point.
        """
        return self._replay(data).values

    def describe(self) -> str:
        """Describe the configuration on one line: its layers, then the other values by name."""
        layers = self._layer_answers()
        others = [
            _phrase(name, value)
            for name, value in self.params().items()
            if name not in layers and value not in (False, 0, "none")
        ]
        return "; ".join([*self._layer_words(), ", ".join(others)])

    @classmethod
    @abstractmethod
    def _ask(cls, hp: HyperParameters, data: DataShape | None) -> dict[str, Any]:
        """Ask every question; return the value of each field, None where it has no effect."""

    @abstractmethod
    def _layer_answers(self) -> dict[str, Any]:
        """Return the answers that the tuples of layers give."""

    @abstractmethod
    def _layer_words(self) -> list[str]:
        """Describe each layer in a few words."""

    def _replay(self, data: DataShape | None = None) -> "Replay":
        own = {part.name: getattr(self, part.name) for part in fields(self)}
        single = {
            name: value
            for name, value in own.items()
            if name != "training" and not isinstance(value, tuple)
        }
        answers = single | self._layer_answers() | self.training.answers()
        neutral = {part.name: part.default for part in (*fields(self), *fields(self.training))}
        replay = Replay(answers, type(self).__name__, self._unsampled)
        self._ask(replay, data)
        replay.refuse_unused(neutral)
        return replay


def numbered(items: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """Return the entries of the first item as `NAME_1`, of the second as `NAME_2` and so on."""
    return {
        f"{name}_{index}": value
        for index, item in enumerate(items, start=1)
        for name, value in item.items()
    }


class Replay:
    """Answers a space's questions from known values, and checks each value against its question.

    Args:
        answers: Values by name; a missing name takes the default of its question.
        owner: What the values belong to; error messages start with it.
        unsampled: Further valid values, by name.

    Attributes:
        values: The answers given so far by name, in the order of the questions.
    """

    def __init__(
        self, answers: Mapping[str, Any], owner: str, unsampled: Mapping[str, Sequence[Any]]
    ) -> None:
        self.values: dict[str, Any] = {}
        self._answers = answers
        self._owner = owner
        self._unsampled = unsampled
        self._conditions: list[tuple[str, list[Any]]] = []
        self._unmet: dict[str, str] = {}

    def Int(
        self,
        name: str,
        min_value: int,
        max_value: int,
        *,
        sampling: str = "linear",
        default: int | None = None,
    ) -> Any:
        def fits(value: Any) -> bool:
            return type(value) is int and min_value <= value <= max_value

        rule = f"a whole number in {min_value}..{max_value}"
        return self._answer(name, min_value if default is None else default, fits, rule)

    def Float(
        self,
        name: str,
        min_value: float,
        max_value: float,
        *,
        step: float | None = None,
        sampling: str = "linear",
        default: float | None = None,
    ) -> Any:
        def fits(value: Any) -> bool:
            if type(value) not in (int, float) or not min_value <= value <= max_value:
                return False
            steps = (value - min_value) / step if step else 0
            return bool(abs(steps - round(steps)) < 1e-6)

        rule = f"a number in {min_value:g}..{max_value:g}"
        if step:
            rule += f" in steps of {step:g}"
        return self._answer(name, min_value if default is None else default, fits, rule)

    def Choice(self, name: str, values: list[Any], *, default: Any = None) -> Any:
        first = values[0] if default is None else default
        return self._answer(name, first, lambda value: _is_one_of(value, values), _any_of(values))

    def Boolean(self, name: str, default: bool = False) -> Any:
        return self._answer(name, default, lambda value: type(value) is bool, "True or False")

    @contextmanager
    def conditional_scope(self, parent_name: str, parent_values: list[Any]) -> Iterator[None]:
        self._conditions.append((parent_name, parent_values))
        try:
            yield
        finally:
            self._conditions.pop()

    def refuse_unused(self, neutral: Mapping[str, Any]) -> None:
        """Refuse values that no question asked for; call it after all questions.

        Args:
            neutral: Values by name that are accepted although unused.

        Raises:
            HyperparameterError: A value has no effect, so it is probably a mistake.
        """
        for name in self._answers.keys() - self.values.keys():
            value = self._answers[name]
            if name in neutral and neutral[name] == value:
                continue
            is_known = name in self._unmet
            if is_known:
                rule = f"has an effect only when {self._unmet[name]}"
            else:
                rule = "is not a hyperparameter of this space"
            reason = f"is {value!r}, but it {rule}; leave it out."
            raise HyperparameterError(self._owner, name, reason, is_known)

    def _answer(self, name: str, default: Any, fits: Callable[[Any], bool], rule: str) -> Any:
        for parent, allowed in self._conditions:
            if self.values.get(parent) not in allowed:
                self._unmet[name] = f"{parent} is {_any_of(allowed)}"
                return None
        value = self._answers.get(name, default)
        others = self._unsampled.get(name, ())
        if not fits(value) and not _is_one_of(value, others):
            rule = f"{rule}, or {_any_of(others)}" if others else rule
            raise HyperparameterError(self._owner, name, f"is {value!r}; it must be {rule}.")
        self.values[name] = value
        return value


def _is_one_of(value: Any, allowed: Sequence[Any]) -> bool:
    # 64.0 equals 64, but is no size of a batch.
    return any(type(value) is type(one) and value == one for one in allowed)


def _phrase(name: str, value: Any) -> str:
    if value is True:
        words = name
    else:
        words = f"{name} {value:.3g}" if isinstance(value, float) else f"{name} {value}"
    return words.replace("_", " ")


def _any_of(values: Sequence[Any]) -> str:
    *others, last = map(str, values)
    return f"{', '.join(others)} or {last}" if others else last
