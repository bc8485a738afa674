"""Give a stock Keras layer another computation for a while, without another class."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any


@contextmanager
def computed_by(layer: Any, call: Callable[..., Any]) -> Iterator[None]:
    """While open, what traces or calls a layer of this class runs `call`.

    Models are built of the stock class, so files of them load anywhere.

    Args:
        layer: A Keras layer class.
        call: Takes what the class's own `call` takes, the layer first.
    """
    previous = layer.call
    layer.call = call
    try:
        yield
    finally:
        layer.call = previous
