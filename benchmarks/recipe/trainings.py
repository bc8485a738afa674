"""Train the network of a change."""

import time
from dataclasses import replace
from typing import Any

from search.training.hardware import machine, start_tensorflow


def train_change(job: dict[str, Any]) -> dict[str, Any]:
    """Train one network of a change in this process, and return the job with what it gave."""
    start_tensorflow(devices=False)
    import keras

    from benchmarks.recipe.changes import CHANGES
    from search.data.formats import open_dataset
    from search.data.split import SplitSizes, load_split
    from search.training.hardware import set_precision
    from search.training.loop import train
    from spaces import load_space

    split = load_split(open_dataset(None), SplitSizes(train=job["train_size"], val=job["val_size"]))
    change = CHANGES[job["change"]]
    default = replace(load_space("cnn", split.shape).default, whitened=False)
    config = change.config(default)
    ends, accuracies, losses = [time.process_time()], [], []

    def on_epoch(epoch: int, entry: dict[str, float]) -> bool:
        ends.append(time.process_time())
        accuracies.append(entry["val_accuracy"])
        losses.append(round(entry["val_loss"], 4))
        return False

    keras.backend.clear_session()
    set_precision(job["precision"])
    keras.utils.set_random_seed(job["seed"])
    with change.trainer():
        model = change.network.build(config, split.shape, split.train_images)
        train(
            model,
            change.training(config.training),
            split,
            max_epochs=job["epochs"],
            seed=job["seed"],
            on_epoch=on_epoch,
        )
    first, rest = ends[1] - ends[0], ends[-1] - ends[1]
    return {
        **job,
        "machine": machine(),
        "parameters": model.count_params(),
        "first_cpu_seconds": round(first, 2),
        "epoch_cpu_seconds": round(rest / (len(ends) - 2) if rest else first, 3),
        "accuracies": accuracies,
        "losses": losses,
    }
