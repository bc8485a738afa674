"""Measure how long a network takes for its predictions, in a process that does nothing else."""

import json
import os
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import keras
import tensorflow as tf

from search.errors import SearchError
from search.training.flops import image_spec, prediction
from search.training.hardware import training_variables
from spaces import DataShape
from spaces.errors import one_line

BATCH: Final = 500
# Of a batch: larger images are measured in smaller ones, since the memory is the same.
_BATCH_PIXELS: Final = 2**22
_CUT: Final = 200  # characters of what the process has printed last


@dataclass(frozen=True, slots=True, kw_only=True)
class Latency:
    """How long predictions take: float32, one thread, no GPU, after a warm-up.

    Args:
        single_ms: Milliseconds for one image, median.
        single_quartiles_ms: Lower and upper quartile of the same.
        batch_ms: Milliseconds per image in a batch, median.
        batch_quartiles_ms: Lower and upper quartile of the same.
        batch: Images in that batch: 500, or fewer large ones.
    """

    single_ms: float
    single_quartiles_ms: tuple[float, float]
    batch_ms: float
    batch_quartiles_ms: tuple[float, float]
    batch: int

    @property
    def attrs(self) -> dict[str, Any]:
        """The times as attributes of a trial."""
        return {
            "latency_ms": self.single_ms,
            "latency_quartiles_ms": list(self.single_quartiles_ms),
            "batch_latency_ms": self.batch_ms,
            "batch_latency_quartiles_ms": list(self.batch_quartiles_ms),
        }


def measure_latency(model: keras.Model, data: DataShape) -> Latency:
    """Measure the predictions of a model in another process; that takes about 5 s.

    The model is handed over as a graph, so no code of its space runs there. The time does
    not depend on the weights.

    Args:
        model: Built, computing in float32, as it would be deployed.
        data: What its images look like.

    Raises:
        SearchError: The model cannot be exported, or the process has failed.
    """
    height, width, _ = data.image_shape
    batch = min(BATCH, max(1, _BATCH_PIXELS // (height * width)))
    with tempfile.TemporaryDirectory() as folder:
        graphs = tf.Module()
        graphs.model = model  # whose weights are then found
        call = prediction(model)
        signatures = {
            name: call.get_concrete_function(image_spec(data, images))
            for name, images in (("single", 1), ("batch", batch))
        }
        try:
            tf.saved_model.save(graphs, folder, signatures)
        except Exception as error:  # a model of the user's
            raise SearchError(
                f"its latency cannot be measured: {one_line(error, typed=True)}"
            ) from error
        single, many = _quartiles(Path(folder), batch, data)
    return Latency(
        single_ms=single[1],
        single_quartiles_ms=(single[0], single[2]),
        batch_ms=many[1],
        batch_quartiles_ms=(many[0], many[2]),
        batch=batch,
    )


def _quartiles(folder: Path, batch: int, data: DataShape) -> tuple[list[float], list[float]]:
    """Run `search.training.stopwatch`; it ends with this process, however that ends."""
    variables = training_variables(threads=1) | {
        "CUDA_VISIBLE_DEVICES": "-1",
        "PYTHONPATH": os.pathsep.join(path for path in sys.path if path),
    }
    # -P: Python would put the current directory first, where files of the user's may have any name.
    command = [sys.executable, "-P", "-m", "search.training.stopwatch", str(folder)]
    with tempfile.TemporaryFile() as said:
        process = subprocess.Popen(
            [*command, *map(str, (batch, *data.image_shape))],
            stdin=subprocess.PIPE,  # closed by the end of this process
            stdout=subprocess.PIPE,
            stderr=said,
            env=os.environ | variables,
        )
        try:
            assert process.stdout is not None
            answer = process.stdout.read()
            process.wait()
        finally:
            process.kill()
            process.wait()
            for pipe in (process.stdin, process.stdout):
                if pipe is not None:
                    pipe.close()
        if process.returncode != 0:
            said.seek(0)
            last = said.read().decode(errors="replace").strip().splitlines()[-1:]
            raise SearchError(
                f"its latency cannot be measured: the process ended with exit code "
                f"{process.returncode}{''.join(f' ({one_line(line)[:_CUT]})' for line in last)}"
            )
    single, many = json.loads(answer)
    return single, many
