"""What the configurations of all built-in spaces can do: sample, read, and name their values."""

from collections.abc import Mapping
from dataclasses import fields
from typing import Any, ClassVar, Self

from spaces.hyperparameters import HyperParameters, Replay
from spaces.training_config import TrainingConfig
from spaces.training_space import training_answers


class Configuration:
    """A point of a space: a frozen dataclass whose fields are the answers to its questions.

    A subclass asks its questions in `_ask` and answers them from its fields in `_answers`; that
    its values lie within the space, and that each of them counts, follows.
    """

    __slots__ = ()
    __dataclass_fields__: ClassVar[dict[str, Any]]
    training: TrainingConfig

    def __post_init__(self) -> None:
        self._replay()

    @classmethod
    def sample(cls, hp: HyperParameters) -> Self:
        """Ask `hp` for a configuration; a question that does not matter is not active."""
        return cls(**cls._ask(hp))

    @classmethod
    def from_params(cls, params: Mapping[str, Any]) -> Self:
        """Read a configuration from hyperparameter values, the inverse of `params`.

        Args:
            params: Values by name; a name left out takes the space's default. KerasTuner's own
                entries (`tuner/...`) are passed over.

        Raises:
            ValueError: A value is out of range, changes nothing or has an unknown name.
        """
        own = {name: value for name, value in params.items() if not name.startswith("tuner/")}
        replay = Replay(own, "params")
        config = cls.sample(replay)
        replay.refuse_unused(neutral={})
        return config

    def params(self) -> dict[str, Any]:
        """The hyperparameter values by name that make `sample` return this configuration."""
        return self._replay().values

    @classmethod
    def _ask(cls, hp: HyperParameters) -> dict[str, Any]:
        """Ask every question of the space; return the fields that matter."""
        raise NotImplementedError

    def _answers(self) -> dict[str, Any]:
        """The answers that the fields give, those of `training` left out."""
        raise NotImplementedError

    def _replay(self) -> Replay:
        answers = self._answers() | training_answers(self.training)
        replay = Replay(answers, type(self).__name__)
        self._ask(replay)
        replay.refuse_unused(neutral={part.name: part.default for part in fields(self)})
        return replay


def numbered(name: str, values: tuple[Any, ...]) -> dict[str, Any]:
    """Answers `name_1`, `name_2` and so on."""
    return {f"{name}_{index}": value for index, value in enumerate(values, start=1)}
