"""The tuner with real Keras models: KerasTuner's whole interface, and pruning between epochs."""

import inspect
import io
import json
import threading
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

import keras
import keras_tuner
import numpy as np
import optuna
import pytest
import tensorflow as tf
from optuna.pruners import NopPruner
from optuna.storages import InMemoryStorage, JournalStorage
from optuna.storages.journal import JournalFileBackend

from search.optuna_tuner import OptunaOracle, OptunaTuner
from tests.search.optuna_tuner.programs import FIT, StopsAt, X, Y, build, states


def make(folder: Path, hypermodel: Any = build, **kwargs: Any) -> OptunaTuner:
    """A tuner of the project in this folder."""
    kwargs = {"objective": "val_accuracy", "max_trials": 2, "seed": 0, **kwargs}
    return OptunaTuner(hypermodel, directory=str(folder), project_name="project", **kwargs)


def summary(call: Any) -> str:
    """What a method prints."""
    with redirect_stdout(io.StringIO()) as printed:
        call()
    return printed.getvalue()


def test_a_program_written_for_random_search_runs(tmp_path: Path) -> None:
    tuner = make(tmp_path)
    assert "units_1" not in summary(tuner.search_space_summary)
    tuner.search(X, Y, epochs=2, callbacks=[keras.callbacks.TerminateOnNaN()], **FIT)
    assert tuner.remaining_trials == 0
    assert states(tuner.study) == ["COMPLETE"] * 2
    best = tuner.get_best_hyperparameters(2)
    assert [hps.values for hps in best] == [
        trial.hyperparameters.values for trial in tuner.oracle.get_best_trials(2)
    ]
    assert best[0].values == tuner.study.best_params
    (model,) = tuner.get_best_models()
    _, accuracy = model.evaluate(X, Y, verbose=0)
    assert accuracy == pytest.approx(tuner.study.best_value)
    tuner.hypermodel.build(best[0]).fit(X, Y, verbose=0)
    assert f"Score: {tuner.study.best_value}" in summary(tuner.results_summary)
    for trial in tuner.study.trials:
        assert list(trial.intermediate_values) == [1, 2]
        assert trial.value == max(trial.intermediate_values.values())
        assert trial.user_attrs["epochs"] == 2
    reloaded = make(tmp_path)
    assert reloaded.get_best_hyperparameters()[0].values == best[0].values
    assert len(reloaded.get_best_models(2)) == 2
    more = make(tmp_path, max_trials=3)
    more.search(X, Y, epochs=1, **FIT)
    assert len(more.study.trials) == 3


class Watcher(keras.callbacks.Callback):
    """Reads the study's journal during the training, as the dashboard does."""

    journal = ""
    seen: list[tuple[str, list[str], list[int]]] = []  # noqa: RUF012

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        storage = JournalStorage(JournalFileBackend(self.journal))
        trial = optuna.load_study(study_name="project", storage=storage).trials[-1]
        self.seen.append((trial.state.name, list(trial.params), list(trial.intermediate_values)))


def test_the_study_is_live(tmp_path: Path) -> None:
    Watcher.journal = str(tmp_path / "project" / "study.journal")
    Watcher.seen.clear()
    make(tmp_path, max_trials=1).search(X, Y, epochs=2, callbacks=[Watcher()], **FIT)
    (state, params, none), (_, again, one) = Watcher.seen
    assert state == "RUNNING" and {"layers", "units_0", "rate"} <= set(params) == set(again)
    assert (none, one) == ([], [1])


def test_a_pruned_trial_stops_and_is_never_the_best(tmp_path: Path) -> None:
    tuner = make(tmp_path, max_trials=3, pruner=StopsAt(2), max_consecutive_failed_trials=1)
    tuner.search(X, Y, epochs=4, **FIT)
    assert states(tuner.study) == ["COMPLETE", "PRUNED", "PRUNED"]
    assert [trial.user_attrs["epochs"] for trial in tuner.study.trials] == [4, 2, 2]
    assert [t.status for t in tuner.oracle.trials.values()] == ["COMPLETED"] * 3
    assert tuner.oracle.get_trial("1").metrics.exists("val_loss")
    assert len(tuner.get_best_models(3)) == len(tuner.get_best_hyperparameters(3)) == 3
    assert tuner.oracle.get_best_trials()[0].trial_id == "0"


def test_nothing_is_pruned_after_its_last_epoch(tmp_path: Path) -> None:
    tuner = make(tmp_path, pruner=StopsAt(2))
    tuner.search(X, Y, epochs=2, **FIT)
    assert states(tuner.study) == ["COMPLETE"] * 2


def test_the_first_execution_reports_and_a_pruned_trial_has_no_other(
    tmp_path: Path, capfd: Any
) -> None:
    tuner = make(tmp_path, pruner=StopsAt(2), executions_per_trial=2)
    tuner.search(X, Y, epochs=2, **FIT)
    assert "Traceback" not in "".join(capfd.readouterr())
    assert states(tuner.study) == ["COMPLETE", "PRUNED"]
    whole, pruned = tuner.study.trials
    assert list(whole.intermediate_values) == list(pruned.intermediate_values) == [1, 2]
    assert (whole.user_attrs["epochs"], pruned.user_attrs["epochs"]) == (4, 2)
    assert tuner.oracle.get_trial("1").score == max(pruned.intermediate_values.values())


class OwnLoop(keras_tuner.HyperModel):
    """Trains like KerasTuner's guide to custom training, without a look at `stop_training`."""

    def __init__(self, as_list: bool) -> None:
        super().__init__()
        self.as_list = as_list
        self.epochs: list[int] = []

    def build(self, hp: Any) -> keras.Model:
        return build(hp)

    def fit(self, hp: Any, model: keras.Model, *args: Any, callbacks: Any, **kwargs: Any) -> float:
        hp.Choice("batch_size", [8, 16])
        if self.as_list:
            callbacks = keras.callbacks.CallbackList(callbacks, model=model, epochs=5)
        else:
            for callback in callbacks:
                callback.set_model(model)
        for epoch in range(5):
            self.epochs.append(epoch)
            loss = float(model.train_on_batch(X, Y)[0])
            for callback in [callbacks] if self.as_list else callbacks:
                callback.on_epoch_begin(epoch)
                callback.on_epoch_end(epoch, logs={"my_loss": loss})
        return loss


@pytest.mark.parametrize("as_list", [False, True])
def test_your_own_training_loop_is_stopped(as_list: bool, tmp_path: Path) -> None:
    hypermodel = OwnLoop(as_list)
    tuner = make(
        tmp_path,
        hypermodel,
        objective=keras_tuner.Objective("my_loss", "min"),
        pruner=StopsAt(2),
    )
    tuner.search(**FIT)
    assert tuner.study.direction.name == "MINIMIZE"
    # A CallbackList with parameters looks like that of Model.fit until it goes on.
    assert hypermodel.epochs == [0, 1, 2, 3, 4, 0, 1, *([2] if as_list else [])]
    assert states(tuner.study) == ["COMPLETE", "PRUNED"]
    pruned = tuner.study.trials[1]
    assert tuner.oracle.get_trial("1").score == min(pruned.intermediate_values.values())
    assert "batch_size" in pruned.params
    assert (tmp_path / "project" / "trial_1" / "checkpoint.weights.h5").exists()


class OwnRunTrial(OptunaTuner):
    """Trains in `run_trial`, and calls the hooks itself."""

    epochs = 0

    def run_trial(self, trial: Any, *args: Any, **kwargs: Any) -> float:
        trial.hyperparameters.Float("x", 0.0, 1.0)
        for epoch in range(4):
            self.on_epoch_begin(trial, None, epoch)
            self.epochs += 1
            self.on_epoch_end(trial, None, epoch, logs={"default_objective": 4.0 - epoch})
        return 1.0


def test_your_own_run_trial_is_stopped(tmp_path: Path, capfd: Any) -> None:
    tuner = OwnRunTrial(
        max_trials=3, pruner=StopsAt(1), directory=str(tmp_path), project_name="project"
    )
    tuner.search()
    assert states(tuner.study) == ["COMPLETE", "PRUNED", "PRUNED"]
    assert "Traceback" not in "".join(capfd.readouterr())
    assert tuner.epochs == 4 + 1 + 1
    assert [trial.score for trial in tuner.oracle.trials.values()] == [1.0, 4.0, 4.0]


class ReturnsFloat(keras_tuner.HyperModel):
    """Returns one number to minimize."""

    def build(self, hp: Any) -> keras.Model:
        return build(hp)

    def fit(self, hp: Any, model: keras.Model, *args: Any, **kwargs: Any) -> float:
        return float(hp.get("rate"))


def test_without_an_objective_a_returned_number_is_minimized(tmp_path: Path) -> None:
    tuner = make(tmp_path, ReturnsFloat(), objective=None)
    tuner.search(X, Y)
    assert tuner.study.direction.name == "MINIMIZE"
    assert [t.value for t in tuner.study.trials] == [t.params["rate"] for t in tuner.study.trials]


def test_several_objectives_are_summed_and_nothing_is_pruned(tmp_path: Path) -> None:
    tuner = make(tmp_path, objective=["val_loss", "val_accuracy"], pruner=StopsAt(1))
    tuner.search(X, Y, epochs=2, **FIT)
    assert states(tuner.study) == ["COMPLETE"] * 2
    for trial in tuner.study.trials:
        score = tuner.oracle.get_trial(trial.user_attrs["trial_id"]).score
        assert score == min(trial.intermediate_values.values())


def test_the_other_arguments_of_a_tuner_work(tmp_path: Path) -> None:
    arguments: dict[str, Any] = {
        "optimizer": "rmsprop",
        "loss": "sparse_categorical_crossentropy",
        "metrics": ["sparse_categorical_accuracy"],
        "objective": "val_sparse_categorical_accuracy",
        "distribution_strategy": tf.distribute.OneDeviceStrategy("/cpu:0"),
        "tuner_id": "mine",
        "max_model_size": 10_000,
        "max_trials": 1,
        "storage": InMemoryStorage(),
        "study_name": "named",
    }
    tuner = make(tmp_path, **arguments)
    tuner.search(X, Y, epochs=1, **FIT)
    (model,) = tuner.get_best_models()
    assert isinstance(model.optimizer, keras.optimizers.RMSprop)
    assert tuner.tuner_id == "mine"
    assert tuner.oracle.get_trial("0").metrics.exists("val_sparse_categorical_accuracy")
    assert tuner.study.study_name == "named"
    assert make(tmp_path, **arguments).remaining_trials == 0
    with pytest.warns(DeprecationWarning, match="`logger` argument"):
        make(tmp_path / "logger", logger=object())


def test_a_model_that_is_too_large_fails_with_its_reason(tmp_path: Path) -> None:
    tuner = make(tmp_path, max_model_size=1, max_consecutive_failed_trials=2)
    with pytest.raises(RuntimeError, match="exceeded the limit of 2"):
        tuner.search(X, Y, **FIT)
    assert states(tuner.study) == ["FAIL"] * 2
    assert "Oversized model" in tuner.study.trials[0].user_attrs["failure"]


def test_what_keras_tuner_refuses_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="Received `hypermodel=None`"):
        make(tmp_path, None)
    with pytest.raises(ValueError, match=r"Unrecognized arguments \['nonsense'\]"):
        make(tmp_path, nonsense=1)
    with pytest.raises(ValueError, match="two conditions"):
        make(tmp_path, two_conditions)


def two_conditions(hp: Any) -> keras.Model:
    hp.Choice("kind", ["a", "b"])
    for kind in ("a", "b"):
        with hp.conditional_scope("kind", [kind]):
            hp.Int("x", 1, 2)
    return build(hp)


def test_showing_values_in_tensorboard_does_not_read_them(tmp_path: Path) -> None:
    space = keras_tuner.HyperParameters()
    space.Int("unread", 1, 9)
    tuner = make(tmp_path, hyperparameters=space, max_trials=1)
    logs = tmp_path / "logs"
    tuner.search(X, Y, epochs=1, callbacks=[keras.callbacks.TensorBoard(str(logs))], **FIT)
    assert list((logs / "0" / "execution0").iterdir())
    assert "unread" not in tuner.study.trials[0].params


class Interrupts(keras.callbacks.Callback):
    """Ctrl-C in the second epoch."""

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        if epoch == 1:
            raise KeyboardInterrupt


@pytest.mark.parametrize("same_process", [True, False])
def test_ctrl_c_in_the_first_trial_loses_nothing(same_process: bool, tmp_path: Path) -> None:
    tuner = make(tmp_path, pruner=NopPruner())
    with pytest.raises(KeyboardInterrupt):
        tuner.search(X, Y, epochs=2, callbacks=[Interrupts()], **FIT)
    assert states(tuner.study) == ["FAIL"]
    assert tuner.study.trials[0].user_attrs["failure"] == "interrupted (KeyboardInterrupt)"
    if not same_process:
        tuner = make(tmp_path, pruner=NopPruner())
    tuner.search(X, Y, epochs=2, **FIT)
    assert states(tuner.study) == ["FAIL", "COMPLETE", "COMPLETE"]
    assert tuner.study.trials[1].params == tuner.study.trials[0].params
    assert list(tuner.oracle.trials) == ["0", "1"]


def test_overwriting_deletes_the_study_too(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/study.db"
    make(tmp_path, storage=url, max_trials=1).search(X, Y, **FIT)
    tuner = make(tmp_path, storage=url, overwrite=True, max_trials=1)
    assert optuna.get_all_study_names(url) == []
    tuner.study.enqueue_trial({"layers": 1, "units_0": 4, "rate": 0.01})
    tuner.search(X, Y, **FIT)
    assert states(tuner.study) == ["COMPLETE"]
    assert tuner.study.best_params == {"layers": 1, "units_0": 4, "rate": 0.01}
    again = make(tmp_path, overwrite=True, max_trials=1)
    again.search(X, Y, **FIT)
    assert states(again.study) == ["COMPLETE"]


ARGUMENTS = {
    "objective": "val_loss",
    "max_trials": 7,
    "sampler": optuna.samplers.RandomSampler(),
    "pruner": NopPruner(),
    "storage": InMemoryStorage(),
    "study_name": "named",
    "seed": 5,
    "hyperparameters": keras_tuner.HyperParameters(),
    "tune_new_entries": False,
    "allow_new_entries": False,
    "max_retries_per_trial": 2,
    "max_consecutive_failed_trials": 4,
}


OURS, ITS = (inspect.signature(each).parameters for each in (OptunaTuner, OptunaOracle))


@pytest.mark.parametrize("name", ITS)
def test_every_argument_of_the_oracle_reaches_it(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given: dict[str, Any] = {}
    init = OptunaOracle.__init__

    def note(self: Any, *args: Any, **kwargs: Any) -> None:
        given.update(inspect.signature(init).bind(self, *args, **kwargs).arguments)
        init(self, *args, **{**kwargs, "tune_new_entries": True, "allow_new_entries": True})

    monkeypatch.setattr(OptunaOracle, "__init__", note)
    OwnRunTrial(directory=str(tmp_path), project_name="project", **{name: ARGUMENTS[name]})
    assert given[name] is ARGUMENTS[name]


def test_the_tuner_takes_the_arguments_of_the_oracle() -> None:
    assert set(ITS) == set(OURS) - {"hypermodel", "kwargs"} == set(ARGUMENTS)
    assert all(OURS[name].default == ITS[name].default for name in ITS)


def test_a_project_is_searched_once_at_a_time(tmp_path: Path) -> None:
    inside, outside = threading.Event(), threading.Event()

    class Waits(OwnRunTrial):
        def on_search_begin(self) -> None:
            inside.set()
            outside.wait(60)

    first = Waits(max_trials=1, directory=str(tmp_path), project_name="project")
    thread = threading.Thread(target=first.search)
    thread.start()
    assert inside.wait(60)
    second = OwnRunTrial(max_trials=1, directory=str(tmp_path), project_name="project")
    with pytest.raises(RuntimeError, match="is being searched by this process"):
        second.search()
    journal = tmp_path / "project" / "study.journal"
    before = journal.read_bytes()
    with pytest.raises(RuntimeError, match="is being searched by this process"):
        make(tmp_path, overwrite=True)
    assert journal.read_bytes() == before
    outside.set()
    thread.join()
    assert states(first.study) == ["COMPLETE"]


def test_keras_tuners_own_tuner_prunes_through_the_oracle(tmp_path: Path) -> None:
    class Own(keras_tuner.Tuner):  # type: ignore[misc]
        def on_epoch_end(self, trial: Any, model: Any, epoch: int, logs: Any = None) -> None:
            if self.oracle.report(trial.trial_id, logs["val_accuracy"], epoch + 1):
                model.stop_training = True

    oracle = OptunaOracle("val_accuracy", 2, pruner=StopsAt(1))
    tuner = Own(oracle, build, directory=str(tmp_path), project_name="project")
    tuner.search(X, Y, epochs=3, **FIT)
    assert states(oracle.study) == ["COMPLETE", "PRUNED"]
    assert list(oracle.study.trials[1].intermediate_values) == [1]


def test_the_projects_files_are_json_in_plain_python(tmp_path: Path) -> None:
    make(tmp_path, max_trials=1).search(X, np.asarray(Y), **FIT)
    stored = json.loads((tmp_path / "project" / "trial_0" / "trial.json").read_text())
    assert (stored["status"], stored["pruned"]) == ("COMPLETED", False)
    assert set(stored["hyperparameters"]["values"]) >= {"layers", "units_0", "rate"}
