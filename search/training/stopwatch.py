"""The process that measures a network: `python -m search.training.stopwatch FOLDER BATCH H W C`.

It prints the quartiles of the time per image in milliseconds, of single images and of batches.
"""

import json
import os
import sys
import time
from collections.abc import Callable
from typing import Any, Final

import numpy as np

from search.apart import end_after

# Fewest calls and fewest seconds, of the warm-up and of the two timings.
_WARM_UP: Final = (3, 0.2)
_SINGLE: Final = (30, 1.0)
_BATCH: Final = (5, 1.0)


def main(arguments: list[str]) -> None:
    """Load the graphs of `search.training.latency`, and time them.

    Args:
        arguments: Folder of the graphs, images of a batch, height, width and channels.
    """
    end_after(lambda: os.read(0, 1))  # not by `sys.stdin`, whose lock would be held to the end
    import tensorflow as tf

    folder, batch, *shape = arguments
    graphs: Any = tf.saved_model.load(folder)
    rng = np.random.default_rng(0)
    found = []
    for name, images, enough in (("single", 1, _SINGLE), ("batch", int(batch), _BATCH)):
        graph = graphs.signatures[name]
        # Noise: how long it takes does not depend on what the image shows.
        given = tf.constant(rng.random((images, *map(int, shape)), np.float32))
        (argument,) = graph.structured_input_signature[1]

        def call(graph: Any = graph, given: Any = given, argument: str = argument) -> None:
            for output in graph(**{argument: given}).values():
                output.numpy()  # waits for it

        _timed(call, _WARM_UP)
        seconds = _timed(call, enough)
        found.append([1000 * value / images for value in np.percentile(seconds, [25, 50, 75])])
    print(json.dumps(found))  # noqa: T201 - to the parent


def _timed(call: Callable[[], None], enough: tuple[int, float]) -> list[float]:
    calls, seconds = enough
    taken: list[float] = []
    while len(taken) < calls or sum(taken) < seconds:
        began = time.perf_counter()
        call()
        taken.append(time.perf_counter() - began)
    return taken


if __name__ == "__main__":
    main(sys.argv[1:])
