"""TensorFlow's start, which writes lines to standard error whatever log level is asked for."""

import os
import sys


def start_tensorflow(*, devices: bool = True) -> None:
    """Start TensorFlow and Keras without a word, once; what comes later is shown as ever.

    Args:
        devices: Whether to take hold of GPUs too.

    Raises:
        ImportError: They are not installed.
    """
    os.environ.setdefault("KERAS_BACKEND", "tensorflow")
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    sys.stderr.flush()
    # Its C++ code knows the file descriptor, not sys.stderr.
    shown = os.dup(2)
    with open(os.devnull, "wb") as nowhere:
        os.dup2(nowhere.fileno(), 2)
    try:
        import keras  # noqa: F401
        import tensorflow as tf

        if devices:
            tf.constant(0)  # looks for them, and talks about them
    finally:
        os.dup2(shown, 2)
        os.close(shown)
