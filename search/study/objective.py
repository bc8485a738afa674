"""What a search maximizes and minimizes, and the limits of what a network may cost."""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, Final, Literal, Self

from search.errors import SettingsError
from spaces.errors import did_you_mean

Direction = Literal["maximize", "minimize"]

OBJECTIVES: Final = ("accuracy", "balanced_accuracy")


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """An entry of `COSTS`: a cost of a network, whatever it has learned.

    Args:
        attr: Attribute of a trial that holds it, and name of the value in Optuna.
        limit: Field of `Limits`.
        flag: Flag that sets the limit.
        words: Label of an axis or a column.
        noun: What it is called in a sentence, as in "half of its parameters".
        least: Superlative of a small one: `fewest` or `lowest`.
        format: Format specification of a value.
        unit: What follows a value in a sentence.
    """

    attr: str
    limit: str
    flag: str
    words: str
    noun: str
    least: str
    format: str
    unit: str

    def shown(self, value: float) -> str:
        """Return a value with its unit: `1,234 parameters`."""
        return f"{value:{self.format}} {self.unit}"


COSTS: Final = {
    "parameters": Cost(
        attr="parameters",
        limit="max_params",
        flag="--max-params",
        words="parameters",
        noun="parameters",
        least="fewest",
        format=",.0f",
        unit="parameters",
    ),
    "flops": Cost(
        attr="flops",
        limit="max_flops",
        flag="--max-flops",
        words="FLOPs per image",
        noun="FLOPs",
        least="fewest",
        format=",.0f",
        unit="FLOPs",
    ),
    "latency": Cost(
        attr="latency_ms",
        limit="max_latency_ms",
        flag="--max-latency-ms",
        words="ms per single image",
        noun="latency",
        least="lowest",
        format=".3g",
        unit="ms for one image",
    ),
}


@dataclass(frozen=True, slots=True)
class Objectives:
    """The objectives of a search.

    Args:
        maximized: One of `OBJECTIVES`.
        minimized: Keys of `COSTS`, in their order; none in a search for accuracy alone.
    """

    maximized: str
    minimized: tuple[str, ...] = ()

    @classmethod
    def read(cls, text: str) -> Self:
        """Return the objectives that `--objective` names, with commas between.

        Raises:
            SettingsError: A name is unknown, given twice, or in the wrong place.
        """
        maximized, *minimized = (name.strip() for name in text.split(","))
        for name in (maximized, *minimized):
            if name not in OBJECTIVES and name not in COSTS:
                raise SettingsError(
                    f"--objective {name!r} is unknown; use one of {', '.join(OBJECTIVES)}, and "
                    f"after it, with commas between, costs: {', '.join(COSTS)}."
                    f"{did_you_mean(name, (*OBJECTIVES, *COSTS))}"
                )
            if (maximized, *minimized).count(name) > 1:
                raise SettingsError(f"--objective names {name!r} twice; name each once.")
        if maximized in COSTS:
            raise SettingsError(
                f"--objective begins with the cost {maximized!r}; begin with what is maximized, "
                f"as in --objective accuracy,{maximized}."
            )
        for name in minimized:
            if name in OBJECTIVES:
                raise SettingsError(
                    f"--objective names {maximized!r} and {name!r}; use one of the two, and after "
                    f"it costs: {', '.join(COSTS)}."
                )
        return cls(maximized, tuple(name for name in COSTS if name in minimized))

    @property
    def text(self) -> str:
        """The objectives as `--objective` takes them, and as a study stores them."""
        return ",".join((self.maximized, *self.minimized))

    @property
    def several(self) -> bool:
        """Whether there are costs, so that the result is a front."""
        return bool(self.minimized)

    @property
    def names(self) -> list[str]:
        """Names of a trial's values: `val_accuracy`, `parameters`."""
        return [f"val_{self.maximized}", *(COSTS[name].attr for name in self.minimized)]

    @property
    def directions(self) -> list[Direction]:
        """Optuna's directions of a trial's values."""
        costs: list[Direction] = ["minimize"] * len(self.minimized)
        return ["maximize", *costs]

    @property
    def words(self) -> str:
        """What is maximized, in words: `validation accuracy`."""
        return f"validation {self.maximized.replace('_', ' ')}"


def objectives_of(facts: Mapping[str, Any]) -> Objectives:
    """Return the objectives of a study; earlier versions stored none."""
    return Objectives.read(str(facts.get("objective", "accuracy")))


def costs_of(attrs: Mapping[str, Any]) -> dict[str, float]:
    """Return the costs that are among the attributes of a trial, by key of `COSTS`."""
    return {
        name: attrs[cost.attr] for name, cost in COSTS.items() if attrs.get(cost.attr) is not None
    }


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Upper limits on the cost of a network.

    Args:
        max_params: Weights; None: any number.
        max_flops: FLOPs for one image; None: any number.
        max_latency_ms: Milliseconds for one image; None: any time.
    """

    max_params: int | None = None
    max_flops: int | None = None
    max_latency_ms: float | None = None

    @classmethod
    def of(cls, settings: Mapping[str, Any]) -> Self:
        """Return the limits among settings, by their names."""
        return cls(**{part.name: settings.get(part.name) for part in fields(cls)})

    @property
    def given(self) -> dict[str, float]:
        """The limits that are set, by key of `COSTS`."""
        found = {name: getattr(self, cost.limit) for name, cost in COSTS.items()}
        return {name: limit for name, limit in found.items() if limit is not None}

    @property
    def words(self) -> str:
        """The limits as flags, `--max-params 1,000 and --max-latency-ms 2`; empty without any."""
        return " and ".join(self._flag(name) for name in self.given)

    @property
    def flags(self) -> str:
        """The flags of the limits, `--max-params or --max-flops`."""
        return " or ".join(COSTS[name].flag for name in self.given) or COSTS["parameters"].flag

    def excesses(self, costs: Mapping[str, float]) -> dict[str, float]:
        """Return the relative excess over each limit, by cost; negative below the limit.

        Relative, because Optuna's samplers add up the excesses of several limits.

        Args:
            costs: By key of `COSTS`; those that are missing are not judged.
        """
        return {
            name: costs[name] / limit - 1 for name, limit in self.given.items() if name in costs
        }

    def refusal(self, costs: Mapping[str, float]) -> str:
        """Return why a network is rejected, in words; empty if it is within the limits."""
        for name, excess in self.excesses(costs).items():
            if excess > 0:
                return f"{COSTS[name].shown(costs[name])}, above {self._flag(name)}"
        return ""

    def _flag(self, name: str) -> str:
        limit = self.given[name]
        return f"{COSTS[name].flag} {limit:{',' if isinstance(limit, int) else ',g'}}"


NO_LIMITS: Final = Limits()
