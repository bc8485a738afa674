"""A training that another trial may go on with: all numbers of a model and of its optimizer."""

import io
from typing import Any

import keras
import numpy as np

from search.training.averaging import WeightAverage


def pack_checkpoint(model: keras.Model, average: WeightAverage | None) -> bytes:
    """Take everything that training has changed, as bytes that travel anywhere.

    Args:
        model: Compiled.
        average: The average of its weights, if its training keeps one.
    """
    arrays = [np.asarray(variable) for variable in _variables(model)]
    file = io.BytesIO()
    np.savez(file, *arrays, *(() if average is None else average.state()))
    return file.getvalue()


def unpack_checkpoint(checkpoint: bytes, model: keras.Model, average: WeightAverage | None) -> None:
    """Put a checkpoint into the same model, compiled in the same way.

    Args:
        checkpoint: From `pack_checkpoint`.
        model: Compiled; changed in place.
        average: Of its weights, if its training keeps one; changed in place.

    Raises:
        ValueError: The checkpoint is of another model.
    """
    variables = _variables(model)
    with np.load(io.BytesIO(checkpoint)) as packed:
        arrays = [packed[name] for name in packed.files]
    shapes = [tuple(variable.shape) for variable in variables]
    if [array.shape for array in arrays[: len(shapes)]] != shapes:
        raise ValueError("the checkpoint is of another model: does build(hp) draw anything itself?")
    for variable, array in zip(variables, arrays, strict=False):
        variable.assign(array)
    if average is not None:
        average.restore(arrays[len(variables) :])


def _variables(model: keras.Model) -> list[Any]:
    optimizer = getattr(model, "optimizer", None)
    if optimizer is None:  # a training loop of the space's own keeps it to itself
        return list(model.variables)
    optimizer.build(model.trainable_variables)
    return [*model.variables, *optimizer.variables]
