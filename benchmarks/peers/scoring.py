"""Score the weights of every epoch on images that no search sees."""

import json
import os
import time
from functools import lru_cache
from pathlib import Path
from typing import Any, Final

import numpy as np

from benchmarks.peers.images import SCORING_FILE
from benchmarks.peers.job import EVENTS_VARIABLE, FOLDER_VARIABLE

_BATCH: Final = 500


def scored(model: Any) -> Any:
    """Let a model score itself after each validation of its training, with the same weights.

    `fit` validates by `evaluate`, around which callbacks swap averaged weights in and out; so the
    scoring is a second `evaluate` with the same callbacks. Its CPU time is reported, to be left
    out of the search's.
    """
    evaluate = model.evaluate

    def evaluate_and_score(*args: Any, **given: Any) -> Any:
        logs = evaluate(*args, **given)
        began = time.process_time()
        score = evaluate(x=_images(), callbacks=given.get("callbacks"), verbose=0, return_dict=True)
        _send(
            {
                "search": float(logs["accuracy"]),
                "score": float(score["accuracy"]),
                "scoring_cpu_seconds": time.process_time() - began,
            }
        )
        return logs

    model.evaluate = evaluate_and_score
    return model


@lru_cache(maxsize=1)
def _images() -> Any:
    import keras
    import tensorflow as tf

    with np.load(Path(os.environ[FOLDER_VARIABLE]) / SCORING_FILE) as arrays:
        images, labels = arrays["images"], arrays["labels"]
    inputs = images.astype(np.float32) / 255
    targets = keras.utils.to_categorical(labels)
    return tf.data.Dataset.from_tensor_slices((inputs, targets)).batch(_BATCH)


def _send(event: dict[str, float]) -> None:
    # A line that is shorter than the pipe's buffer arrives whole, whichever processes write.
    pipe = os.open(os.environ[EVENTS_VARIABLE], os.O_WRONLY)
    try:
        os.write(pipe, f"{json.dumps(event)}\n".encode())
    finally:
        os.close(pipe)
