"""Order the training of the distilled network, with the winner's final trainings as teachers."""

import os
from collections.abc import Callable
from dataclasses import replace

from predicting.model import load_model
from reporting.errors import ReportError
from reporting.final_model import choose_readout, graph_of
from reporting.retraining import MODEL_FILE, Retraining
from search.apart import ProcessEndedError, run_apart
from search.data.split import Split
from search.training.hardware import start_tensorflow, training_variables
from search.workers.messages import Train
from spaces import load_space
from spaces.errors import one_line


def order_distillation(load_split: Callable[[], Split], distilled: Retraining) -> Train:
    """Return the message that tells a worker to train the distilled network.

    It contains the teachers as files, so the worker may be on another machine. They are made in
    a separate process: here, TensorFlow would keep memory that the workers need, also of a GPU.

    Args:
        load_split: Loads the images; called in that process.
        distilled: With teachers.

    Raises:
        ReportError: A network cannot be a teacher.
    """
    try:
        made = run_apart(_teachers, load_split, distilled, name="teachers")
    except ProcessEndedError as error:
        made = f"the process that reads them ended, {error}"
    if isinstance(made, str):
        raise ReportError(f"the final trainings cannot be its teachers: {made}")
    return replace(distilled.order(), teachers=made)


def _teachers(load_split: Callable[[], Split], distilled: Retraining) -> tuple[bytes, ...] | str:
    """Return graphs from pixels to probabilities, or why there are none, in one line."""
    os.environ.update(training_variables())
    start_tensorflow()
    from search.training.saving import save_model

    teachers = distilled.teachers
    assert teachers is not None
    try:
        split = load_split()
        load_space(distilled.space, split.shape)  # registers its custom layers
        readout = choose_readout(
            teachers.candidates,
            split,
            views=teachers.views,
            objective=distilled.objective,
        )
        if readout.plain:
            return readout.plain
        return tuple(
            save_model(
                graph_of(load_model(one.folder / MODEL_FILE, split.shape), readout, split.shape),
                split.shape,
            )
            for one in teachers.finals
        )
    except Exception as error:  # code of the user
        return one_line(error)
