"""What a `TrainingConfig` compiles a model with: optimizer, learning rate, loss and metrics."""

from collections.abc import Collection
from typing import Any, Final

import keras

from search.training.weights import averaged_steps
from spaces.training import TrainingConfig

# Keras returns to Python once per at most this many steps: often enough to notice a diverged loss,
# rarely enough to cost nothing.
_STEPS_PER_EXECUTION: Final = 32
# Times that weights are averaged in the steps that the average covers.
_EXECUTIONS_PER_AVERAGE: Final = 3


def compile_model(
    model: keras.Model,
    config: TrainingConfig,
    *,
    total_steps: int,
    classes: int,
) -> None:
    """Compile a built model for one-hot labels and logits.

    Args:
        model: Compiled in place.
        config: Batch size and augmentation are not used here.
        total_steps: Length of the learning-rate schedule.
        classes: Number of classes.
    """
    optimizer = _optimizer(model, config, _learning_rate(config, total_steps))
    # Weight decay on biases and normalization gains does not regularize, and costs accuracy.
    # Source: He et al. 2019, "Bag of Tricks for Image Classification", section 3.1.
    optimizer.exclude_from_weight_decay(
        var_list=[weight for weight in model.trainable_variables if len(weight.shape) < 2]
    )
    model.compile(
        optimizer=optimizer,
        loss=keras.losses.CategoricalCrossentropy(
            from_logits=True, label_smoothing=config.label_smoothing
        ),
        metrics=[
            keras.metrics.CategoricalAccuracy(name="accuracy"),
            BalancedAccuracy(classes),
        ],
        steps_per_execution=_steps_per_execution(config, total_steps),
    )
    # TensorFlow traces a step a second time if its first trace creates variables. Keras leaves
    # those of the optimizer to the first step, and those of a metric that is only named.
    model.optimizer.build(model.trainable_variables)


def _steps_per_execution(config: TrainingConfig, total_steps: int) -> int:
    if not config.weight_averaging:
        return _STEPS_PER_EXECUTION
    wanted = int(averaged_steps(total_steps) / _EXECUTIONS_PER_AVERAGE)
    return max(1, min(_STEPS_PER_EXECUTION, wanted))


def _optimizer(
    model: keras.Model, config: TrainingConfig, learning_rate: Any
) -> keras.optimizers.Optimizer:
    decay = config.weight_decay
    match config.optimizer:
        case "sgd":
            return keras.optimizers.SGD(
                learning_rate, momentum=0.9, nesterov=True, weight_decay=decay or None
            )
        case "adamw":
            return keras.optimizers.AdamW(learning_rate, weight_decay=decay)
        case "muon":
            kernels = [weight.path for weight in model.trainable_variables if len(weight.shape) > 1]
            outer_kernels = {*kernels[:1], *kernels[-1:]}
            return ConvMuon(learning_rate, weight_decay=decay, outer_kernels=outer_kernels)
        case _:
            return keras.optimizers.Adam(learning_rate)


def _learning_rate(config: TrainingConfig, total_steps: int) -> Any:
    match config.schedule:
        case "cosine":
            return keras.optimizers.schedules.CosineDecay(config.learning_rate, total_steps)
        case "one_cycle":
            return OneCycle(config.learning_rate, total_steps)
        case _:
            return config.learning_rate


class OneCycle(keras.optimizers.schedules.LearningRateSchedule):  # type: ignore[misc]
    """Linear warm-up to `peak` over the first fifth of `total_steps`, then linear decay to 0.

    Keras has warm-up only in `CosineDecay`.

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


class ConvMuon(keras.optimizers.Muon):  # type: ignore[misc]
    """Muon for all kernels but the first and the last, convolution kernels included.

    Keras' Muon trains convolution kernels with AdamW. Here each is a matrix with (height x width x
    input channels) rows and a column for each output channel, as in the code of Muon's authors.
    Keras has no public way to choose or reshape what Muon trains, hence the two overridden methods.

    Args:
        learning_rate: Number or schedule, of the size that AdamW needs: updates are scaled to it.
        weight_decay: Decoupled weight decay of all kernels.
        outer_kernels: Paths of the kernels that AdamW trains: the first, which sees pixels, and
            the last, which gives the logits.

    Source: Jordan et al. 2024, "Muon: An optimizer for hidden layers"; the scale is that of Liu et
    al. 2025, "Muon is Scalable for LLM Training", section 2.2.
    """

    def __init__(
        self, learning_rate: Any, *, weight_decay: float, outer_kernels: Collection[str]
    ) -> None:
        super().__init__(learning_rate, weight_decay=weight_decay, adam_weight_decay=weight_decay)
        self._outer_kernels = outer_kernels

    def _should_use_adamw(self, variable: Any) -> bool:
        return variable.path in self._outer_kernels or len(variable.shape) not in (2, 4)

    def _muon_update_step(self, gradient: Any, variable: Any, lr: Any, m: Any) -> None:
        self.assign_add(m, gradient + m * (self.momentum - 1))
        direction = keras.ops.reshape(gradient + self.momentum * m, (-1, variable.shape[-1]))
        update = self.lr_adjust(self.zeropower_via_newtonschulz5(direction, self.ns_steps))
        self.assign_sub(variable, lr * keras.ops.reshape(update, variable.shape))


class BalancedAccuracy(keras.metrics.Metric):  # type: ignore[misc]
    """Mean recall of the classes that occur; Keras has no such metric.

    Args:
        classes: Number of classes.
    """

    def __init__(self, classes: int) -> None:
        super().__init__(name="balanced_accuracy", dtype="float32")
        self._right = self.add_weight(shape=(classes,), initializer="zeros", name="right")
        self._all = self.add_weight(shape=(classes,), initializer="zeros", name="all")

    def update_state(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> None:
        """Count a batch.

        Args:
            y_true: (batch, classes), one-hot labels or soft targets, which count as the likeliest
                class.
            y_pred: (batch, classes) logits.
            sample_weight: Not used.
        """
        labels = keras.ops.argmax(y_true, axis=1)
        y_true = keras.ops.one_hot(labels, self._right.shape[0], dtype="float32")
        is_right = keras.ops.equal(labels, keras.ops.argmax(y_pred, axis=1))
        right = y_true * keras.ops.cast(is_right, "float32")[:, None]
        self._right.assign_add(keras.ops.sum(right, axis=0))
        self._all.assign_add(keras.ops.sum(y_true, axis=0))

    def result(self) -> Any:
        """Return the mean recall, from 0 to 1."""
        recalls = self._right / keras.ops.maximum(self._all, 1.0)
        occurring = keras.ops.sum(keras.ops.cast(self._all > 0, "float32"))
        return keras.ops.sum(recalls) / keras.ops.maximum(occurring, 1.0)
