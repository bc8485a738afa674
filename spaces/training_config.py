"""How a model of a space is trained: optimizer, schedule, regularisation, batches, augmentation."""

from dataclasses import dataclass, fields
from typing import Any, Final

OPTIMIZERS: Final = ("adam", "adamw", "muon", "sgd")
SCHEDULES: Final = ("constant", "cosine", "one_cycle")
AUGMENTATIONS: Final = ("none", "flip", "flip_shift", "flip_shift_erase")


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingConfig:
    """The part of a configuration that the trainer, not the model, obeys.

    Args:
        optimizer: `adam`, `adamw` (decoupled weight decay), `muon` (orthogonalised updates of the
            inner kernels, AdamW for all else) or `sgd` (Nesterov momentum 0.9).
        learning_rate: Peak learning rate; above 0.
        schedule: `constant`; `cosine`: from the peak to 0; `one_cycle`: a linear warm-up over the
            first fifth of the steps, then linearly to 0.
        weight_decay: Decoupled weight decay: each step takes learning rate x this of a weight away,
            as Keras does for every optimizer; 0 or more; always 0 with `adam`.
        label_smoothing: Part of the target spread over all classes; in [0, 1).
        batch_size: Images a step; 1 or more.
        weight_averaging: Whether the network is validated, and kept, with the average of its
            weights over about the last 100 steps in place of the last ones.
        augmentation: What is done to the training images, anew in every epoch: `none`, `flip`
            (left-right, every other epoch), `flip_shift` (and up to 2 pixels either way),
            `flip_shift_erase` (and one random 7x7 patch set to 0).

    Raises:
        ValueError: A value breaks one of the rules above.
    """

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
    def from_values(cls, values: dict[str, Any]) -> "TrainingConfig":
        """Read what a trial's hyperparameter values say of training; defaults stand for the rest.

        Args:
            values: Hyperparameter values by name; names that are no field here are passed over, so
                any KerasTuner HyperModel may declare `batch_size`, `augmentation` and so on.
        """
        names = {field.name for field in fields(cls)}
        return cls(**{name: value for name, value in values.items() if name in names})
