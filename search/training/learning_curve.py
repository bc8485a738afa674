"""The learning curve of a trial, which the dashboard shows."""

import io
from collections.abc import Mapping, Sequence

from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator


def draw_learning_curve(
    history: Sequence[Mapping[str, float]], number: int, initial_epoch: int = 0
) -> bytes:
    """Draw accuracy and loss by epoch.

    Args:
        history: One mapping for each epoch, with `accuracy`, `val_accuracy`, `loss`, `val_loss`.
        number: Number of the trial.
        initial_epoch: Epochs that the trial's checkpoint had been trained for.

    Returns:
        A PNG file.
    """
    figure = Figure(figsize=(8, 3.2), layout="constrained")
    epochs = range(initial_epoch + 1, initial_epoch + len(history) + 1)
    for axes, metric, label in zip(
        figure.subplots(1, 2), ("accuracy", "loss"), ("accuracy", "cross-entropy loss"), strict=True
    ):
        for name, style, part in (
            (metric, "o--", "training, mean over the epoch"),
            (f"val_{metric}", "o-", "validation"),
        ):
            values = [row.get(name, float("nan")) for row in history]
            axes.plot(epochs, values, style, markersize=4, label=part)
        axes.set_xlabel("epoch")
        axes.set_ylabel(label)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.grid(alpha=0.3)
    figure.axes[0].legend(fontsize="small")
    last = history[-1].get("val_accuracy", float("nan")) if history else float("nan")
    figure.suptitle(f"Trial {number}: validation accuracy {last:.2%} after epoch {epochs.stop - 1}")
    file = io.BytesIO()
    figure.savefig(file, format="png", dpi=100)
    return file.getvalue()
