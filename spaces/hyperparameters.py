"""The questions a space may ask, and a way to answer them from values already known."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import Any, Protocol


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


class Replay:
    """Answers a space's questions from given values, and checks each against its question.

    So a space is written down once, as questions; reading a configuration back, finding which of
    its values count, and checking their ranges all follow from them, without KerasTuner.

    Args:
        answers: Values by name; a name left out takes the default of its question.
        owner: What the values belong to; error messages start with it.

    Attributes:
        values: What was asked and answered so far, by name, in the order of asking.
    """

    def __init__(self, answers: Mapping[str, Any], owner: str) -> None:
        self.values: dict[str, Any] = {}
        self._answers = answers
        self._owner = owner
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
        value = self._answer(name, min_value if default is None else default)
        fits = value is None or (type(value) is int and min_value <= value <= max_value)
        return self._checked(name, value, fits, f"a whole number in {min_value}..{max_value}")

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
        value = self._answer(name, min_value if default is None else default)
        fits = value is None or (type(value) in (int, float) and min_value <= value <= max_value)
        rule = f"a number in {min_value:g}..{max_value:g}"
        if step:
            rule += f" in steps of {step:g}"
            if fits and value is not None:
                steps = (value - min_value) / step
                fits = abs(steps - round(steps)) < 1e-6
        return self._checked(name, value, fits, rule)

    def Choice(self, name: str, values: list[Any], *, default: Any = None) -> Any:
        value = self._answer(name, values[0] if default is None else default)
        return self._checked(name, value, value is None or value in values, f"{_any_of(values)}")

    def Boolean(self, name: str, default: bool = False) -> Any:
        value = self._answer(name, default)
        return self._checked(name, value, value is None or type(value) is bool, "True or False")

    @contextmanager
    def conditional_scope(self, parent_name: str, parent_values: list[Any]) -> Iterator[None]:
        self._conditions.append((parent_name, parent_values))
        try:
            yield
        finally:
            self._conditions.pop()

    def refuse_unused(self, neutral: Mapping[str, Any]) -> None:
        """Refuse given values that no question asked for, once all questions have been asked.

        Args:
            neutral: Values that may stand unused, by name.

        Raises:
            ValueError: A value was given that changes nothing; it is more likely a mistake.
        """
        for name in self._answers.keys() - self.values.keys():
            value = self._answers[name]
            if name in neutral and neutral[name] == value:
                continue
            if name in self._unmet:
                rule = f"counts only when {self._unmet[name]}"
            else:
                rule = "is no parameter of this space"
            raise ValueError(f"{self._owner}.{name} is {value!r}, but it {rule}; leave it out.")

    def _answer(self, name: str, default: Any) -> Any:
        for parent, allowed in self._conditions:
            if self.values.get(parent) not in allowed:
                self._unmet[name] = f"{parent} is {_any_of(allowed)}"
                return None
        self.values[name] = self._answers.get(name, default)
        return self.values[name]

    def _checked(self, name: str, value: Any, fits: bool, rule: str) -> Any:
        if not fits:
            raise ValueError(f"{self._owner}.{name} is {value!r}; it must be {rule}.")
        return value


def _any_of(values: Sequence[Any]) -> str:
    *others, last = map(str, values)
    return f"{', '.join(others)} or {last}" if others else last
