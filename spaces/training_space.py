"""The search space of training, shared by the built-in spaces: questions, answers, words."""

from typing import Any

from spaces.hyperparameters import HyperParameters, Replay
from spaces.training_config import AUGMENTATIONS, OPTIMIZERS, SCHEDULES, TrainingConfig


def sample_training(hp: HyperParameters) -> TrainingConfig:
    """Ask for a training configuration.

    SGD has its own learning rate and weight decay: its useful values lie an order of magnitude
    from Adam's, and one shared range would teach a sampler nothing. Keras multiplies weight decay
    by the learning rate for every optimizer, so SGD's high rate wants a low decay.
    """
    optimizer = hp.Choice("optimizer", list(OPTIMIZERS), default="muon")
    with hp.conditional_scope("optimizer", ["adam", "adamw", "muon"]):
        learning_rate = hp.Float("learning_rate", 2e-4, 2e-2, sampling="log", default=3e-3)
    with hp.conditional_scope("optimizer", ["adamw", "muon"]):
        weight_decay = hp.Float("weight_decay", 1e-4, 1e-1, sampling="log", default=0.02)
    with hp.conditional_scope("optimizer", ["sgd"]):
        sgd_learning_rate = hp.Float("sgd_learning_rate", 5e-3, 0.5, sampling="log", default=0.05)
        sgd_weight_decay = hp.Float("sgd_weight_decay", 1e-5, 5e-3, sampling="log", default=5e-4)
    return TrainingConfig(
        optimizer=optimizer,
        learning_rate=sgd_learning_rate if optimizer == "sgd" else learning_rate,
        weight_decay=(sgd_weight_decay if optimizer == "sgd" else weight_decay) or 0.0,
        schedule=hp.Choice("schedule", list(SCHEDULES), default="one_cycle"),
        label_smoothing=hp.Float("label_smoothing", 0.0, 0.2, step=0.05, default=0.1),
        batch_size=hp.Choice("batch_size", [64, 128, 256], default=128),
        weight_averaging=hp.Boolean("weight_averaging", default=True),
        augmentation=hp.Choice("augmentation", list(AUGMENTATIONS), default="flip"),
    )


def training_answers(config: TrainingConfig) -> dict[str, Any]:
    """What a configuration answers to the questions of `sample_training`, unchecked."""
    prefix = "sgd_" if config.optimizer == "sgd" else ""
    answers: dict[str, Any] = {
        "optimizer": config.optimizer,
        f"{prefix}learning_rate": config.learning_rate,
        "schedule": config.schedule,
        "label_smoothing": config.label_smoothing,
        "batch_size": config.batch_size,
        "weight_averaging": config.weight_averaging,
        "augmentation": config.augmentation,
    }
    if config.optimizer != "adam":
        answers[f"{prefix}weight_decay"] = config.weight_decay
    return answers


def training_params(config: TrainingConfig) -> dict[str, Any]:
    """Hyperparameter values by name that make `sample_training` return `config`.

    Raises:
        ValueError: A value lies outside the search space.
    """
    replay = Replay(training_answers(config), "TrainingConfig")
    sample_training(replay)
    return replay.values


def describe_training(config: TrainingConfig) -> str:
    """The configuration in words, on one line."""
    parts = [f"{config.optimizer} {config.learning_rate:.3g} {config.schedule}"]
    if config.weight_decay:
        parts.append(f"weight decay {config.weight_decay:.3g}")
    if config.label_smoothing:
        parts.append(f"label smoothing {config.label_smoothing:.3g}")
    parts.append(f"batch {config.batch_size}")
    if config.weight_averaging:
        parts.append("weights averaged")
    if config.augmentation == "none":
        parts.append("no augmentation")
    else:
        parts.append(config.augmentation.replace("_", " + "))
    return ", ".join(parts)
