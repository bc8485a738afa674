"""How a model is trained: optimizer, schedule, regularisation, batches, augmentation."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from typing import Any, ClassVar, Final, Self

from spaces.configuration import HyperParameters

OPTIMIZERS: Final = ("adam", "adamw", "muon", "sgd")
SCHEDULES: Final = ("constant", "cosine", "one_cycle")
AUGMENTATIONS: Final = (
    "none",
    "flip",
    "flip_shift",
    "flip_shift_erase",
    "shift",
    "shift_erase",
)
# Augmentations with shifts instead, which pay off in longer trainings than those of a search; the
# first that a space offers. "none" without "shift" means a space for images that may be mirrored.
SHIFTED: Final = {"none": ("shift", "flip_shift"), "flip": ("flip_shift",)}


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingConfig:
    """The part of a configuration that the trainer uses.

    Args:
        optimizer: `adam`, `adamw` (decoupled weight decay), `muon` (orthogonalised updates of the
            inner kernels, AdamW for all else) or `sgd` (Nesterov momentum 0.9).
        learning_rate: Peak learning rate; above 0.
        schedule: `constant`; `cosine`: from the peak to 0; `one_cycle`: linear warm-up over the
            first fifth of the steps, then linear decay to 0.
        weight_decay: Decoupled weight decay: each step subtracts learning rate x this x weight, as
            Keras does for every optimizer; 0 or more; always 0 with `adam`.
        label_smoothing: Share of the target that is spread over all classes; in [0, 1).
        batch_size: Images per step; 1 or more.
        weight_averaging: Validate and save the average of the weights over the last 2 % of all
            steps, at most 100, instead of the last weights.
        augmentation: Changes to the training images, drawn anew in every epoch: `none`, `flip`
            (left-right, every other epoch), `flip_shift` (and by up to a fourteenth of the size
            in each direction), `flip_shift_erase` (and one random patch, a quarter as high and as
            wide as the image, set to 0), `shift` and `shift_erase` (the same without the flip).

    Raises:
        ValueError: A value breaks one of the rules above.
    """

    # Published systems train like this; of 50 trials of the reference search none won with it.
    unsampled: ClassVar[Mapping[str, Sequence[Any]]] = {
        "optimizer": ("adam",),
        "schedule": ("constant",),
    }

    optimizer: str = "adam"
    learning_rate: float = 1e-3
    schedule: str = "constant"
    weight_decay: float = 0.0
    label_smoothing: float = 0.0
    batch_size: int = 128
    weight_averaging: bool = False
    augmentation: str = "none"

    def __post_init__(self) -> None:
        for name, allowed in (
            ("optimizer", OPTIMIZERS),
            ("schedule", SCHEDULES),
            ("augmentation", AUGMENTATIONS),
        ):
            if getattr(self, name) not in allowed:
                raise ValueError(
                    f"TrainingConfig.{name} is {getattr(self, name)!r}; "
                    f"use one of {', '.join(allowed)}."
                )
        for name, fits, rule in (
            ("learning_rate", self.learning_rate > 0, "above 0"),
            ("weight_decay", self.weight_decay >= 0, "0 or more"),
            ("label_smoothing", 0 <= self.label_smoothing < 1, "in [0, 1)"),
            ("batch_size", self.batch_size >= 1, "1 or more"),
        ):
            if not fits:
                raise ValueError(
                    f"TrainingConfig.{name} is {getattr(self, name)}; it must be {rule}."
                )
        if self.optimizer == "adam" and self.weight_decay:
            raise ValueError(
                f"TrainingConfig.weight_decay is {self.weight_decay} with adam, which has none; "
                "use optimizer='adamw'."
            )

    @classmethod
    def sample(cls, hp: HyperParameters, mirror: bool | None = None) -> Self:
        """Ask the training questions, which the built-in spaces share.

        SGD has its own learning rate and weight decay: its useful values are an order of magnitude
        away from Adam's, and one shared range would teach a sampler nothing. Keras multiplies
        weight decay by the learning rate for every optimizer, so SGD's high rate wants a low decay.

        Args:
            hp: Answers the questions.
            mirror: Whether a mirrored image still belongs to its class; None: not known.
        """
        kinds = [
            kind
            for kind in AUGMENTATIONS
            if mirror is None or kind == "none" or kind.startswith("flip") is mirror
        ]
        optimizer = hp.Choice("optimizer", ["adamw", "muon", "sgd"], default="muon")
        with hp.conditional_scope("optimizer", ["adam", "adamw", "muon"]):
            learning_rate = hp.Float("learning_rate", 2e-4, 2e-2, sampling="log", default=0.012)
        with hp.conditional_scope("optimizer", ["adamw", "muon"]):
            weight_decay = hp.Float("weight_decay", 1e-4, 1e-1, sampling="log", default=1e-3)
        with hp.conditional_scope("optimizer", ["sgd"]):
            sgd_rate = hp.Float("sgd_learning_rate", 5e-3, 0.5, sampling="log", default=0.05)
            sgd_decay = hp.Float("sgd_weight_decay", 1e-5, 5e-3, sampling="log", default=5e-4)
        return cls(
            optimizer=optimizer,
            learning_rate=sgd_rate if optimizer == "sgd" else learning_rate,
            weight_decay=(sgd_decay if optimizer == "sgd" else weight_decay) or 0.0,
            schedule=hp.Choice("schedule", ["cosine", "one_cycle"], default="one_cycle"),
            label_smoothing=hp.Float("label_smoothing", 0.0, 0.2, step=0.05, default=0.15),
            batch_size=hp.Choice("batch_size", [64, 128, 256], default=128),
            weight_averaging=hp.Boolean("weight_averaging", default=True),
            # Shifts pay in longer trainings than those of a search.
            augmentation=hp.Choice(
                "augmentation", kinds, default="none" if mirror is False else "flip"
            ),
        )

    def unmirrored(self) -> Self:
        """Return this training without mirrored images."""
        kind = self.augmentation.removeprefix("flip").removeprefix("_") or "none"
        return replace(self, augmentation=kind)

    def answers(self) -> dict[str, Any]:
        """Return the answers, not checked, for which `sample` returns this configuration."""
        answers = asdict(self)
        if self.optimizer == "sgd":
            for name in ("learning_rate", "weight_decay"):
                answers[f"sgd_{name}"] = answers.pop(name)
        return answers

    @classmethod
    def from_values(cls, values: dict[str, Any]) -> Self:
        """Read the training hyperparameters of a space that has no `training` method.

        Args:
            values: Hyperparameter values by name. Names that are no field here are ignored, so any
                KerasTuner HyperModel may declare `batch_size`, `augmentation` and so on.
        """
        names = {field.name for field in fields(cls)}
        return cls(**{name: value for name, value in values.items() if name in names})
