"""One worker process: builds and trains the trials that the coordinator sends, in turn."""

import contextlib
import os
import re
import sys
import threading
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from optuna.distributions import BaseDistribution

from search.errors import SearchError
from search.training.hardware import Precision
from search.workers.messages import (
    Answer,
    Beat,
    Built,
    Epoch,
    Failed,
    Ready,
    Suggest,
    Train,
    Trained,
    Unusable,
)

if TYPE_CHECKING:
    from search.data.split import Split
    from spaces import Space

BEAT_SECONDS = 2.0
Outcome = TypeVar("Outcome")


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerSettings:
    """What every worker of a search needs to know before its first trial.

    Args:
        space: Name of the space, for `spaces.load_space`.
        load_split: Reads the images where the worker runs.
        precision: Number format of the models.
    """

    space: str
    load_split: Callable[[], "Split"]
    precision: Precision


class Line(Protocol):
    """A line to the coordinator: a pipe, or what a cluster has in its place."""

    def send(self, message: object) -> None:
        """Hand a message to the coordinator."""

    def recv(self) -> Any:
        """Wait for what the coordinator says; `EOFError` or `OSError` when it is gone."""


class Link:
    """The worker's end of the line; two threads write to it."""

    def __init__(self, connection: Line) -> None:
        self._connection = connection
        self._lock = threading.Lock()

    def send(self, message: object) -> None:
        """Say something that needs no answer."""
        with self._lock:
            self._connection.send(message)

    def receive(self) -> Any:
        """Wait for what the coordinator says.

        Raises:
            EOFError: The coordinator is gone.
        """
        return self._connection.recv()

    def ask(self, message: object) -> Any:
        """Say something and wait for its answer."""
        self.send(message)
        answer = self.receive()
        assert isinstance(answer, Answer), answer
        return answer.value


class Trainer(Protocol):
    """Whoever runs the trials of one worker."""

    def run(self, order: Any) -> object:
        """Carry out one order to one of its endings, and say what came of it."""


MakeTrainer = Callable[[Link, Any], Trainer]


def run_worker(connection: Connection, settings: Any, log: Path, make_trainer: MakeTrainer) -> None:
    """Serve one coordinator until it is gone, as the only task of a process.

    Args:
        connection: The line to the coordinator.
        settings: What all trials share.
        log: File that takes everything that this process prints.
        make_trainer: As for `serve`.
    """
    redirect_output(log)
    serve(connection, settings, make_trainer)


def serve(
    line: Line, settings: Any, make_trainer: MakeTrainer, *, beat_seconds: float = BEAT_SECONDS
) -> None:
    """The life of a worker, whatever its trials are: beat, get ready, run trial after trial.

    Args:
        line: To the coordinator.
        settings: What all trials share.
        make_trainer: Loads it, and gives what runs the trials.
        beat_seconds: Time between two signs of life.
    """
    link = Link(line)
    threading.Thread(target=_beat, args=(link, beat_seconds), daemon=True).start()
    try:
        trainer = make_trainer(link, settings)
    except Exception as error:
        traceback.print_exc()
        link.send(Unusable(" ".join(str(error).split()) or type(error).__name__))
        return
    link.send(Ready())
    # A broken line means that the coordinator is gone, and with it the sense of going on.
    with contextlib.suppress(EOFError, OSError):
        while True:
            link.send(trainer.run(link.receive()))


class KerasTrainer:
    """Runs trials on data that is loaded once."""

    def __init__(self, link: Link, settings: WorkerSettings) -> None:
        self._link = link
        self._split, self._space = load_data_and_space(settings)
        self._precision = settings.precision

    def run(self, order: Train) -> Trained | Failed:
        """Run one trial to one of its endings."""
        started = time.monotonic()
        return in_fresh_session(
            lambda: self._build_and_train(order, started), self._precision, order.seed
        )

    def _build_and_train(self, order: Train, started: float) -> Trained | Failed:
        from search.training.building import build_for_training
        from search.training.hyperparameters import TrialHyperParameters
        from search.training.learning_curve import draw_learning_curve
        from search.training.loop import Part, train
        from search.training.own_fit import own_fit

        hp = TrialHyperParameters(self._suggest)
        model, config = build_for_training(self._space, hp)
        describe = getattr(self._space, "describe", _list_values)
        lines: list[str] = []
        model.summary(print_fn=lines.append, line_length=90)
        wanted = self._link.ask(
            Built(
                parameters=model.count_params(),
                summary="\n".join(lines),
                description=describe(hp.values),
                fixed=hp.fixed,
                space=hp.get_config()["space"],
            )
        )
        if not wanted:
            return Failed(reason="rejected")
        result = train(
            model,
            config,
            self._split,
            max_epochs=order.max_epochs,
            seed=order.seed,
            on_epoch=lambda epoch, metrics: bool(self._link.ask(Epoch(epoch, metrics))),
            part=Part(
                initial_epoch=order.initial_epoch,
                epochs=order.epochs,
                checkpoint=order.checkpoint,
                keep_checkpoint=order.keep_checkpoint,
            ),
            fit=own_fit(self._space, hp),
        )
        if result.ended == "non-finite loss":
            failed_in = order.initial_epoch + result.epochs + 1
            return Failed(reason=f"non-finite loss in epoch {failed_in}")
        return Trained(
            epochs=result.epochs,
            seconds=time.monotonic() - started,
            train_seconds=result.train_seconds,
            val_seconds=result.val_seconds,
            images_per_second=result.images_per_second,
            curve_png=draw_learning_curve(result.history, order.number, order.initial_epoch),
            checkpoint=result.checkpoint,
            space=hp.get_config()["space"],
        )

    def _suggest(self, name: str, distribution: BaseDistribution) -> Any:
        return self._link.ask(Suggest(name, distribution))


def load_data_and_space(settings: WorkerSettings) -> tuple["Split", "Space"]:
    """What all work of one worker shares.

    Raises:
        DataError: The data cannot be used.
        SpaceError: The space cannot be used.
    """
    from spaces import load_space

    return settings.load_split(), load_space(settings.space)


def in_fresh_session(
    work: Callable[[], Outcome], precision: Precision, seed: int
) -> Outcome | Failed:
    """Build and train without a trace of earlier models; what goes wrong with that is an ending.

    Args:
        work: Builds and trains.
        precision: Number format of the models that it builds.
        seed: 0 or more; of the weights that they start with.
    """
    import keras
    import tensorflow as tf

    from search.training.loop import set_precision

    keras.backend.clear_session()
    set_precision(precision)  # clearing the session resets it too
    keras.utils.set_random_seed(seed)
    try:
        return work()
    except (MemoryError, tf.errors.ResourceExhaustedError):
        return Failed(reason="out of memory", traceback=traceback.format_exc())
    except (EOFError, ConnectionError):
        raise
    except SearchError as error:  # it says all there is to say
        return Failed(reason=str(error).rstrip("."))
    except Exception as error:
        return Failed(reason=_in_one_line(error), traceback=traceback.format_exc())


def _list_values(values: dict[str, Any]) -> str:
    return ", ".join(f"{name} {value}" for name, value in values.items())


def _in_one_line(error: BaseException) -> str:
    # Keras says what it was doing, in bold, and on the next line what went wrong.
    plain = re.sub(r"\x1b\[[0-9;]*m", "", str(error))
    lines = [line.strip().rstrip(".") for line in plain.splitlines() if line.strip()]
    return ": ".join([type(error).__name__, *lines[:2]])


def redirect_output(log: Path) -> None:
    """Send all that this process prints to the end of a file."""
    # At the level of file descriptors, since TensorFlow's C++ part prints past sys.stderr.
    file = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    sys.stdout.flush()
    os.dup2(file, 1)
    os.dup2(file, 2)
    os.close(file)


def _beat(link: Link, seconds: float) -> None:
    import psutil

    process = psutil.Process()
    while True:
        try:
            link.send(Beat(process.memory_info().rss / 1e6))
        except OSError:
            os._exit(0)  # the coordinator is gone: nobody wants the trial in the main thread
        time.sleep(seconds)
