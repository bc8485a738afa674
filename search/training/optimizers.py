"""Compile a model as a `TrainingConfig` says: optimizer, learning-rate schedule and loss."""

from typing import Any, Final

import keras

from search.training.muon import ConvMuon
from spaces.training import TrainingConfig

# Python runs once in so many steps: often enough to notice a diverged loss, else out of the way.
_STEPS_PER_EXECUTION: Final = 32


def compile_model(model: keras.Model, config: TrainingConfig, *, total_steps: int) -> None:
    """Compile for integer labels and logits; weight decay spares vectors.

    Args:
        model: Built; compiled in place.
        config: All but the augmentation and the batch size is used.
        total_steps: Length of the learning-rate schedule.
    """
    schedule = _schedule(config, total_steps)
    decay = config.weight_decay or None
    optimizer: keras.optimizers.Optimizer
    if config.optimizer == "sgd":
        optimizer = keras.optimizers.SGD(schedule, momentum=0.9, nesterov=True, weight_decay=decay)
    elif config.optimizer == "adamw":
        optimizer = keras.optimizers.AdamW(schedule, weight_decay=config.weight_decay)
    elif config.optimizer == "muon":
        kernels = [weight.path for weight in model.trainable_variables if len(weight.shape) > 1]
        optimizer = ConvMuon(
            schedule,
            weight_decay=config.weight_decay,
            outer_kernels={*kernels[:1], *kernels[-1:]},
        )
    else:
        optimizer = keras.optimizers.Adam(schedule)
    # Pulling biases and normalisation gains towards 0 regularises nothing and costs accuracy.
    # Source: He et al. 2019, "Bag of Tricks for Image Classification", section 3.1.
    optimizer.exclude_from_weight_decay(
        var_list=[weight for weight in model.trainable_variables if len(weight.shape) < 2]
    )
    model.compile(
        optimizer=optimizer,
        loss=SmoothedCrossEntropy(config.label_smoothing),
        metrics=["accuracy"],
        steps_per_execution=_STEPS_PER_EXECUTION,
    )


class SmoothedCrossEntropy(keras.losses.Loss):  # type: ignore[misc]
    """Cross-entropy from logits (batch, classes) and integer labels (batch,) or (batch, 1).

    Args:
        smoothing: Part of the target spread evenly over all classes; in [0, 1).

    Source: Szegedy et al. 2016, "Rethinking the Inception Architecture", section 7.
    """

    def __init__(self, smoothing: float) -> None:
        super().__init__(name="cross_entropy")
        self.smoothing = smoothing

    def call(self, y_true: Any, y_pred: Any) -> Any:
        labels = keras.ops.cast(keras.ops.reshape(y_true, (-1,)), "int32")
        loss = keras.ops.sparse_categorical_crossentropy(labels, y_pred, from_logits=True)
        if self.smoothing:
            uniform = keras.ops.mean(
                keras.ops.logsumexp(y_pred, axis=-1, keepdims=True) - y_pred, axis=-1
            )
            loss = (1 - self.smoothing) * loss + self.smoothing * uniform
        return loss


class OneCycle(keras.optimizers.schedules.LearningRateSchedule):  # type: ignore[misc]
    """Linear warm-up to `peak` over the first fifth of `total_steps`, then linearly to 0.

    Source: the triangular schedule of Smith & Topin 2017, "Super-Convergence".
    """

    def __init__(self, peak: float, total_steps: int) -> None:
        self.peak = peak
        self.total_steps = total_steps

    def __call__(self, step: Any) -> Any:
        warm_up = max(1, round(0.2 * self.total_steps))
        done = keras.ops.cast(step, "float32")
        rising = (done + 1) / warm_up
        falling = (self.total_steps - done) / max(1, self.total_steps - warm_up)
        return self.peak * keras.ops.maximum(0.0, keras.ops.minimum(rising, falling))

    def get_config(self) -> dict[str, Any]:
        return {"peak": self.peak, "total_steps": self.total_steps}


def _schedule(config: TrainingConfig, total_steps: int) -> Any:
    if config.schedule == "cosine":
        return keras.optimizers.schedules.CosineDecay(config.learning_rate, total_steps)
    if config.schedule == "one_cycle":
        return OneCycle(config.learning_rate, total_steps)
    return config.learning_rate
