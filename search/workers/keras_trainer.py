"""Build and train the Keras models of trials, one after another, in a worker process."""

import contextlib
import gc
import os
import platform
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeVar

from optuna.distributions import BaseDistribution

from search.errors import SearchError
from search.training.hardware import Precision, set_precision, start_tensorflow, visible_gpus
from search.workers.limits import memory_limit_words
from search.workers.link import CoordinatorGoneError, Link
from search.workers.messages import (
    Built,
    Epoch,
    Failed,
    Images,
    Measure,
    Measured,
    Suggest,
    Timed,
    Train,
    Trained,
)
from spaces import description
from spaces.errors import SpaceError, one_line, without_colors

if TYPE_CHECKING:
    import keras

    from search.data.split import Split
    from search.training.hyperparameters import Ask, TrialHyperParameters
    from spaces.training import TrainingConfig

_OURS: Final = f"{Path(__file__).resolve().parents[1]}{os.sep}"
_Ended = TypeVar("_Ended")


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerSettings:
    """Settings that all trials of a worker share.

    Args:
        space: Name of the space, as `spaces.load_space` takes it.
        load_split: Loads the images; called in the worker.
        precision: Number format in which models train.
    """

    space: str
    load_split: Callable[[], "Split"]
    precision: Precision


class KerasTrainer:
    """Builds and trains Keras models; data and space are loaded once."""

    def __init__(self, link: Link, settings: WorkerSettings) -> None:
        start_tensorflow(devices=False)
        _require_gpus()
        from search.training.building import WeightOwnership
        from spaces import SPACES, load_space

        # Keras collects garbage for each model, which takes half a second among the objects of
        # the imported libraries.
        gc.collect()
        gc.freeze()
        self._link = link
        self._split = settings.load_split()
        self._data = self._split.shape
        self._space_name = settings.space
        self._space = load_space(settings.space, self._data)
        self._precision = settings.precision
        self._weights = WeightOwnership()
        self._is_built_in = settings.space in SPACES
        # Whether a model was checked for use in a report; built-in spaces need no check.
        self._is_tried = self._is_built_in

    def run(self, order: Train) -> Trained | Failed:
        """Run one trial to its end; errors of the space and of the training fail the trial.

        Raises:
            SpaceError: The space can build no trial's model.
            CoordinatorGoneError: The coordinator is gone.
        """
        started = time.monotonic()
        return self._attempted(order.seed, lambda: self._build_and_train(order, started))

    def measure(self, order: Measure) -> Measured | Failed:
        """Train for a moment; errors of the space fail the measurement.

        If a random configuration cannot be trained, the default is measured.

        Raises:
            SpaceError: The space can build no trial's model.
        """
        import tensorflow as tf

        if tf.config.list_physical_devices("GPU"):
            # The first training of a process also loads the GPU's libraries, which no trial does
            # again. On an NVIDIA H200 it took 47 s, and the next of the same network 23 s (n = 1).
            self._attempted(0, lambda: self._measure(replace(order, seconds=0.1), is_random=False))
        if not self._is_built_in:
            measured = self._attempted(order.seed, lambda: self._measure(order, is_random=True))
            if isinstance(measured, Measured):
                return measured
        return self._attempted(0, lambda: self._measure(order, is_random=False))

    def _attempted(self, seed: int, work: Callable[[], _Ended]) -> _Ended | Failed:
        import keras
        import tensorflow as tf

        keras.backend.clear_session()
        set_precision(self._precision)
        keras.utils.set_random_seed(seed)
        try:
            return work()
        except (MemoryError, tf.errors.ResourceExhaustedError) as error:
            reason = f"out of memory{memory_limit_words()}"
            return Failed(reason=reason, traceback=_traceback(error))
        except (CoordinatorGoneError, SpaceError):  # no fault of this trial alone
            raise
        except SearchError as error:  # its message is complete without type and traceback
            return Failed(reason=str(error).rstrip("."))
        except (Exception, SystemExit) as error:  # code of the user may call sys.exit
            # Keras lists the arguments of the call too, which the traceback keeps.
            reason = one_line(error, typed=True).partition(" Arguments received by ")[0].rstrip(".")
            return Failed(reason=reason, traceback=_traceback(error))

    def _measure(self, order: Measure, *, is_random: bool) -> Measured:
        import keras_tuner

        from search.training.building import build_for_training, own_fit
        from search.training.speed import measure_speed

        started = time.monotonic()
        # KerasTuner's own class answers every question with its default.
        hp = _random_hyperparameters(order.seed) if is_random else keras_tuner.HyperParameters()
        model, config = build_for_training(self._space, hp, self._data)
        # A model that shares weights with those of the trials to come would train them here.
        self._weights.claim(model)
        speed = measure_speed(
            model,
            config,
            self._split,
            seconds=order.seconds,
            fit=own_fit(self._space, hp),
        )
        elapsed = time.monotonic() - started
        return Measured(
            images_per_second=speed.images_per_second,
            startup_seconds=max(0.0, elapsed - speed.seconds),
        )

    def _build_and_train(self, order: Train, started: float) -> Trained | Failed:
        from search.training.building import own_fit
        from search.training.flops import count_flops
        from search.training.learning_curve import draw_learning_curve
        from search.training.loop import Ending, Part, train

        answers: dict[str, Any] = {}

        def suggest(name: str, distribution: BaseDistribution) -> Any:
            given = order.params
            if given is None:
                answers[name] = self._link.ask(Suggest(name, distribution))
            elif name in given:
                answers[name] = given[name]
            else:
                raise SearchError(
                    f"the space asks for {name!r}, for which the trial has no value: the space has "
                    "changed since the search. Restore the earlier version, or start another study."
                )
            return answers[name]

        model, config, hp = self._build(suggest)
        if order.keep_model and not self._is_built_in:
            self._export(model, answers)  # a user's fails now, not after hours of training
        unusable = "" if order.keep_model else self._why_no_report(model, answers)
        built = self._describe(model, hp, unusable)
        if "flops" in order.costs:
            built = replace(built, flops=count_flops(model, self._data))
        if not self._link.ask(built):
            return Failed(reason="rejected")
        if "latency" in order.costs and not self._link.ask(self._time(model, answers)):
            return Failed(reason="rejected")
        validate = order.images is Images.TRAINING
        split = self._split if validate else self._split.merged()
        cpu_started = time.process_time()
        result = train(
            model,
            config,
            split,
            max_epochs=order.max_epochs,
            seed=order.seed,
            validate=validate,
            objective=order.objective,
            epoch_size=order.epoch_size,
            on_epoch=lambda epoch, metrics: bool(self._link.ask(Epoch(epoch, metrics))),
            part=Part(
                initial_epoch=order.initial_epoch,
                epochs=order.epochs,
                checkpoint=order.checkpoint,
                keep_checkpoint=order.keep_checkpoint,
            ),
            fit=own_fit(self._space, hp),
            teachers=order.teachers,
        )
        cpu_seconds = time.process_time() - cpu_started
        if result.ended is Ending.NON_FINITE_LOSS:
            failed_in = order.initial_epoch + result.epochs + 1
            return Failed(reason=f"{result.ended.value} in epoch {failed_in}")
        return Trained(
            epochs=result.epochs,
            seconds=time.monotonic() - started,
            train_seconds=result.train_seconds,
            val_seconds=result.val_seconds,
            cpu_seconds=cpu_seconds,
            images_per_second=result.images_per_second,
            curve_png=b""
            if order.number is None
            else draw_learning_curve(result.history, order.number, order.initial_epoch),
            checkpoint=result.checkpoint,
            space=hp.get_config()["space"],
            model=self._export(model, answers) if order.keep_model else None,
        )

    def _build(
        self, suggest: "Ask"
    ) -> tuple["keras.Model", "TrainingConfig", "TrialHyperParameters"]:
        from search.training.building import build_for_training
        from search.training.hyperparameters import TrialHyperParameters

        hp = TrialHyperParameters(suggest)
        model, config = build_for_training(self._space, hp, self._data)
        self._weights.claim(model)
        return model, config, hp

    def _describe(self, model: "keras.Model", hp: "TrialHyperParameters", unusable: str) -> Built:
        from search.training.building import own_fit

        lines: list[str] = []
        model.summary(print_fn=lines.append, line_length=90)
        return Built(
            parameters=model.count_params(),
            summary="\n".join(lines),
            description=description(self._space, hp.values) or _list_values(hp.values),
            fixed=hp.fixed,
            space=hp.get_config()["space"],
            unusable=unusable,
            may_ask_more=own_fit(self._space, hp) is not None,
        )

    def _why_no_report(self, model: "keras.Model", answers: dict[str, Any]) -> str:
        """Return why a report could not use the model; empty if it can, or if one was checked."""
        if self._is_tried:
            return ""
        self._is_tried = True
        try:
            self._export(model, answers)
        except SearchError as error:
            return str(error)
        except Exception as error:  # code of the user
            return f"a report cannot use the model: {one_line(error, typed=True)}"
        return ""

    def _export(self, model: "keras.Model", answers: dict[str, Any]) -> bytes:
        """Return the model as a `.keras` file in float32, so that it predicts alike everywhere.

        Raises:
            SearchError: The file cannot be used.
        """
        from search.training.saving import save_model

        weights = model.get_weights()  # float32 in every precision
        try:
            with self._in_float32(answers) as exported:
                exported.set_weights(weights)
                return save_model(exported, self._data)
        except SearchError as error:
            raise SearchError(f"a report cannot use the model: {error}") from error

    def _time(self, model: "keras.Model", answers: dict[str, Any]) -> Timed:
        """Measure the predictions of a model as it would be deployed, in float32.

        Raises:
            SearchError: They cannot be measured.
        """
        from search.training.latency import measure_latency

        started = time.monotonic()
        if self._precision == "float32":
            found = measure_latency(model, self._data)
        else:
            with self._in_float32(answers) as exported:
                found = measure_latency(exported, self._data)
        return Timed(found.attrs, seconds=time.monotonic() - started)

    @contextlib.contextmanager
    def _in_float32(self, answers: dict[str, Any]) -> Iterator["keras.Model"]:
        """Build the model again, with other weights."""
        import keras

        keras.backend.clear_session()  # names of layers start again
        set_precision("float32")
        try:
            yield self._build(lambda name, distribution: answers[name])[0]
        finally:
            set_precision(self._precision)


def _require_gpus() -> None:
    """Refuse a machine whose GPUs TensorFlow cannot use: the search is planned for them.

    Raises:
        SearchError: TensorFlow finds none of them.
    """
    import tensorflow as tf

    if visible_gpus() and not tf.config.list_physical_devices("GPU"):
        raise SearchError(
            f"TensorFlow finds no GPU on {platform.node()}, which has one. Install its CUDA "
            f'libraries, {sys.executable} -m pip install "tensorflow[and-cuda]=={tf.__version__}", '
            "or set CUDA_VISIBLE_DEVICES=-1 in the environment to train on the CPU."
        )


def _random_hyperparameters(seed: int) -> "TrialHyperParameters":
    """Return hyperparameters that answer every question at random."""
    import optuna

    from search.training.hyperparameters import TrialHyperParameters

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    sampler = optuna.samplers.RandomSampler(seed=seed)
    study = optuna.create_study()
    study.ask()
    (trial,) = study.get_trials()
    answers: dict[str, Any] = {}

    def suggest(name: str, distribution: BaseDistribution) -> Any:
        if name not in answers:
            answers[name] = sampler.sample_independent(study, trial, name, distribution)
        return answers[name]

    return TrialHyperParameters(suggest)


def _traceback(error: BaseException) -> str:
    """Return a traceback for the author of a space: plain, without our frames before theirs."""
    described = traceback.TracebackException.from_exception(error)
    part: traceback.TracebackException | None = described
    while part is not None:
        frames = list(part.stack)
        theirs = (at for at, one in enumerate(frames) if not one.filename.startswith(_OURS))
        part.stack = traceback.StackSummary.from_list(frames[next(theirs, 0) :])
        part = part.__cause__ or part.__context__
    return without_colors("".join(described.format()))


def _list_values(values: dict[str, Any]) -> str:
    return ", ".join(f"{name} {value}" for name, value in values.items())
