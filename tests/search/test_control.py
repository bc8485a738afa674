"""Requests to a study from another process: what they change, and what they refuse."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.trial import TrialState

from search import control
from search import run as search_run
from search.control import send_request
from search.engines import oracles
from search.errors import SettingsError, StoppedError, StopReason, StudyError
from search.length import Speed
from search.settings import SearchSettings
from search.study.database import Outages
from search.study.requests import (
    ENQUEUED,
    PAUSE,
    REQUEST,
    STOP,
    Inbox,
    begin_run,
    end_run,
    put_request,
    request_of,
    takes_requests,
)
from search.study.storage import open_storage
from search.study.study import (
    ENGINE_FACTS,
    FINISHED,
    GIVEN,
    create_or_continue,
    is_searched,
    trial_params,
)
from tests.postgres import Postgres
from tests.search.harness import FACTS, RecordingDisplay, load, opened_study, search

DATASET = {
    "name": "tiny",
    "image_shape": [28, 28, 1],
    "class_names": ["a", "b"],
    "mirror": None,
}
MLP = FACTS | {"space": "mlp", "dataset": DATASET}


def make_study(results: Path, **facts: Any) -> optuna.Study:
    (results / "mine").mkdir()
    storage = open_storage(results / "mine" / "study.journal", None)
    return create_or_continue(storage, "mine", MLP | facts)


def send(results: Path, **flags: Any) -> str:
    return send_request(SearchSettings(**{"study": "mine", "results_dir": results, **flags}))


def trials_of(results: Path) -> list[optuna.trial.FrozenTrial]:
    storage = open_storage(results / "mine" / "study.journal", None)
    return optuna.load_study(study_name="mine", storage=storage).trials


@contextmanager
def held(results: Path) -> Iterator[optuna.Study]:
    """The study as a running search holds it."""
    outages = Outages(print)
    with opened_study("mine", None, results / "mine", MLP, {}, print, outages) as study:
        begin_run(study)
        yield study


@pytest.mark.parametrize("flag", ["stop", "pause", "resume"])
def test_without_a_running_search_nothing_is_changed(tmp_path: Path, flag: str) -> None:
    make_study(tmp_path)
    before = (tmp_path / "mine" / "study.journal").read_bytes()
    with pytest.raises(StudyError, match=r"no search of study 'mine' is running, .* was changed"):
        send(tmp_path, **{flag: True})
    assert (tmp_path / "mine" / "study.journal").read_bytes() == before


@pytest.mark.parametrize("flags", [{"stop": True}, {"enqueue": "{}"}])
def test_a_study_that_does_not_exist_is_refused(tmp_path: Path, flags: dict[str, Any]) -> None:
    make_study(tmp_path)
    with pytest.raises(StudyError, match=r"has no study 'min'; .* Did you mean 'mine'\?"):
        send(tmp_path, study="min", **flags)
    assert not (tmp_path / "min").exists()


def test_requests_are_written_into_a_running_search_s_study(tmp_path: Path) -> None:
    make_study(tmp_path)
    with held(tmp_path) as study:
        with pytest.raises(StudyError, match="the search of study 'mine' is not paused; nothing"):
            send(tmp_path, resume=True)
        assert "no new trial starts" in send(tmp_path, pause=True)
        assert request_of(study) == PAUSE
        assert "will resume within seconds" in send(tmp_path, resume=True)
        assert request_of(study) is None
        assert "will stop within seconds" in send(tmp_path, stop=True)
        assert request_of(study) == STOP
        for flag in ("pause", "resume"):
            with pytest.raises(StudyError, match="is being stopped; nothing was changed"):
                send(tmp_path, **{flag: True})


def test_a_request_is_for_the_run_that_was_asked(tmp_path: Path) -> None:
    make_study(tmp_path)
    with held(tmp_path):
        send(tmp_path, stop=True)
    with held(tmp_path) as study:
        assert Inbox(study).look() is None
        send(tmp_path, pause=True)
        assert Inbox(study).look() == PAUSE


def test_a_search_that_only_starts_takes_no_request(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_study(tmp_path)
    monkeypatch.setattr(control, "_BEGIN_SECONDS", 0.0)
    with held(tmp_path) as study:
        end_run(study)
        with pytest.raises(StudyError, match=r"^the search of study 'mine' is starting or ending;"):
            send(tmp_path, stop=True)
        assert REQUEST not in study.user_attrs


def test_a_search_that_measures_first_takes_no_request_in_the_name_of_a_killed_run(
    tmp_path: Path, small_data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    begin_run(make_study(tmp_path))  # and it was killed
    taken: list[bool] = []

    class Measuring:
        def __init__(self, *arguments: object) -> None: ...

        def required(self) -> Speed:
            storage = open_storage(tmp_path / "mine" / "study.journal", None)
            taken.append(takes_requests(optuna.load_study(study_name="mine", storage=storage)))
            raise StoppedError(StopReason.CTRL_C)

    monkeypatch.setattr(search_run, "Measurement", Measuring)
    settings = SearchSettings(
        study="mine",
        space="mlp",
        data=str(small_data),
        val_size=100,
        minutes=5.0,
        workers=1,
        results_dir=tmp_path,
    )
    with pytest.raises(StoppedError):
        search_run.run_search(settings, RecordingDisplay(), ["run_search.py"])
    assert taken == [False]


@pytest.mark.parametrize("flags", [{"stop": True}, {"enqueue": "{}"}])
@pytest.mark.parametrize(
    ("journal", "message"), [(b"", "holds no study"), (None, "a folder must have the name")]
)
def test_a_folder_without_its_study_is_refused(
    tmp_path: Path, flags: dict[str, Any], journal: bytes | None, message: str
) -> None:
    make_study(tmp_path)
    (tmp_path / "mine").rename(tmp_path / "other")
    if journal is not None:
        (tmp_path / "other" / "study.journal").write_bytes(journal)
    with pytest.raises(StudyError, match=message):
        send(tmp_path, study="other", **flags)


def test_one_flag_at_a_time() -> None:
    with pytest.raises(SettingsError, match=r"^--stop and --pause exclude each other; give one"):
        SearchSettings(stop=True, pause=True)


# Enqueue


def test_a_configuration_is_enqueued_with_defaults_and_says_where_it_comes_from(
    tmp_path: Path,
) -> None:
    make_study(tmp_path)
    said = send(tmp_path, enqueue='{"dense_layers": 1, "dense_1": 99}')
    assert said == (
        "trial 0 of study 'mine' has this configuration; no search is running. The next one starts "
        "with it; give it --trials above 0"
    )
    (trial,) = trials_of(tmp_path)
    assert trial.state == TrialState.WAITING
    given = trial.user_attrs[GIVEN]
    assert (given["dense_layers"], given["dense_1"], given["activation"]) == (1, 99, "relu")
    assert "dense_2" not in given
    put = trial.user_attrs[ENQUEUED]
    assert (put["flag"], json.loads(put["values"])) == (
        "--enqueue",
        {"dense_layers": 1, "dense_1": 99},
    )
    with held(tmp_path):
        said = send(tmp_path, enqueue='{"dense_1": 100}')
    assert said == (
        "trial 1 of study 'mine' has this configuration and runs next, after 1 enqueued before it, "
        "if --trials of that search allows another trial"
    )


def test_what_a_crash_left_is_repaired_before_a_configuration_is_enqueued(tmp_path: Path) -> None:
    make_study(tmp_path)
    with (tmp_path / "mine" / "study.journal").open("ab") as journal:
        journal.write(b'{"op_code":')
    said: list[str] = []
    given = SearchSettings(study="mine", results_dir=tmp_path, enqueue="{}")
    assert "trial 0" in send_request(given, said.append)
    (line,) = said
    assert line.endswith("cut off 11 bytes of an unfinished last line")
    assert len(trials_of(tmp_path)) == 1


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (
            "{",
            r"--enqueue is '\{', which is not valid JSON; write it as --enqueue '\{\"learning_rate",
        ),
        ("[1]", r"--enqueue is '\[1\]'; it must be an object"),
        ('{"dense_1": [1]}', r"--enqueue sets 'dense_1' to \[1\]; it must be a number, text, "),
        ('{"dense_1": 5}', r"of space 'mlp': dense_1 is 5; it must be a whole number in 16..1024"),
        ('{"dense_1": true}', r"dense_1 is True; it must be a whole number"),
        ('{"batch_size": 64.0}', r"batch_size is 64\.0; it must be 64, 128 or 256"),
        ('{"learning_rate": NaN}', r"learning_rate is nan; it must be a number in"),
        ('{"dens_1": 50}', r"dens_1 is 50, but it is not a .*out\. Did you mean 'dense_1'\?"),
        ('{"dense_layers": 1, "dense_2": 50}', "has an effect only when dense_layers is 2 or 3"),
    ],
)
def test_what_is_no_point_of_the_space_is_refused(tmp_path: Path, given: str, message: str) -> None:
    make_study(tmp_path)
    with pytest.raises(SettingsError, match=message):
        send(tmp_path, enqueue=given)
    assert not trials_of(tmp_path)


def test_a_configuration_that_was_tried_is_refused_by_its_trial(tmp_path: Path) -> None:
    study = make_study(tmp_path)
    send(tmp_path, enqueue='{"dropout": 0.3}')
    with pytest.raises(StudyError, match=r"repeats the configuration of trial 0, which is wait"):
        send(tmp_path, enqueue='{"dropout": 0.30000000000000004, "dense_layers": 2}')
    study.tell(study.ask(), state=TrialState.FAIL)
    assert "trial 1" in send(tmp_path, enqueue='{"dropout": 0.3}')  # its cause may be gone


def test_a_sampler_with_an_order_of_its_own_takes_none(tmp_path: Path) -> None:
    make_study(tmp_path, settings={"sampler": "grid"})
    with pytest.raises(StudyError, match=r"^--enqueue does not work with grid, which study 'mine'"):
        send(tmp_path, enqueue="{}")


def test_code_that_only_a_study_names_is_not_run(tmp_path: Path) -> None:
    make_study(tmp_path, space=f"{__name__}:Sized")
    with pytest.raises(StudyError, match=r"If it is yours, add --space tests.*test_control:Sized"):
        send(tmp_path, enqueue="{}")


class Sized:
    """A user's space; the numbers of its layers are asked for last."""

    def build(self, hp: Any) -> Any:
        import keras

        units = hp.Int("units", 8, 32, step=8)
        hp.Float("rate", 1e-4, 1e-1, sampling="reverse_log", default=0.01)
        hp.Fixed("kind", "dense")
        hp.Int("seed", 0, 2**31 - 1)  # too many values to list
        if hp.Boolean("second"):
            hp.Choice("more", [1, 2])
        inputs = keras.Input((28, 28, 1))
        hidden = keras.layers.Dense(units)(keras.layers.Flatten()(inputs))
        return keras.Model(inputs, keras.layers.Dense(2)(hidden))


def test_the_build_of_a_user_s_space_checks_and_completes_a_configuration(tmp_path: Path) -> None:
    space = f"{__name__}:Sized"
    make_study(tmp_path, space=space)
    send(tmp_path, space=space, enqueue='{"units": 16, "second": true, "seed": 2000000000}')
    (trial,) = trials_of(tmp_path)
    assert trial.user_attrs[GIVEN] == {
        "units": 16,
        "rate~reversed": pytest.approx(0.0901),
        "seed": 2_000_000_000,
        "second": True,
        "more": 1,
    }
    for given, message in (
        ('{"units": 12}', r"units is 12; it must be a whole number from 8 to 32 in steps of 8\."),
        ('{"more": 2}', r"more has no effect with these values; leave it out\.$"),
    ):
        with pytest.raises(SettingsError, match=message):
            send(tmp_path, space=space, enqueue=given)
    assert len(trials_of(tmp_path)) == 1


# A search


@pytest.mark.parametrize("kind", ["journal", "sqlite", "postgresql"])
def test_a_request_to_stop_ends_a_search_and_is_gone(
    tmp_path: Path, kind: str, request: pytest.FixtureRequest
) -> None:
    storage = request.getfixturevalue("server") if kind == "postgresql" else kind

    asked: list[str] = []

    def ask(text: str) -> None:
        if not asked:
            asked.append(text)
            put_request(load(tmp_path, storage), STOP)

    study, reason = search(
        tmp_path,
        space="slow",
        storage=storage,
        trials=500,
        pruner="none",
        display=RecordingDisplay(on_log=ask),
    )
    assert reason == StopReason.REQUESTED
    assert study.user_attrs[REQUEST] is None
    assert not study.get_trials(states=(TrialState.RUNNING, TrialState.FAIL))


@pytest.mark.parametrize("algorithm", ["tpe", "keras-tuner:random", "keras-tuner:hyperband"])
def test_an_enqueued_configuration_is_begun_before_those_that_wait(
    tmp_path: Path, algorithm: str
) -> None:
    is_enqueued = False

    def enqueue(text: str) -> None:
        nonlocal is_enqueued
        if not is_enqueued:
            is_enqueued = True
            params = {"layers": 0, "rate": 0.5, "kind": "b"}
            load(tmp_path).enqueue_trial(params, user_attrs={GIVEN: params, ENQUEUED: {}})

    first = {str(number): {"layers": 0, "rate": number / 10, "kind": "a"} for number in range(1, 4)}
    study, _ = search(
        tmp_path,
        space="conditional",
        algorithm=algorithm,
        first=first,
        trials=6,
        workers=1,
        display=RecordingDisplay(on_log=enqueue),
    )
    begun = sorted(study.trials, key=lambda trial: trial.datetime_start)
    assert [trial.number for trial in begun[:4]] == [0, 3, 1, 2]
    assert trial_params(begun[1]) == {"layers": 0, "rate": 0.5, "kind": "b"}
    assert begun[1].state in (TrialState.COMPLETE, TrialState.PRUNED)


def test_a_number_that_another_process_takes_first_costs_a_tuner_no_proposal(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    propose = oracles.Hyperband.populate_space
    taken: list[str] = []

    def propose_late(oracle: Any, trial_id: str) -> Any:
        response = propose(oracle, trial_id)
        if trial_id == "2":
            params = {"layers": 0, "rate": 0.005, "kind": "b"}
            load(tmp_path).enqueue_trial(params, user_attrs={GIVEN: params, ENQUEUED: {}})
            taken.append(trial_id)
        return response

    monkeypatch.setattr(oracles.Hyperband, "populate_space", propose_late)
    study, reason = search(
        tmp_path, space="conditional", algorithm="keras-tuner:hyperband", trials=20, workers=1
    )
    assert reason is None
    assert taken == ["2"]
    assert len(study.get_trials(states=FINISHED)) == 20
    assert [ENQUEUED in trial.user_attrs for trial in study.trials[2:4]] == [True, False]
    assert study.trials[3].user_attrs[ENGINE_FACTS]["tuner"] == "hyperband"


def test_who_searches_a_study_in_a_database_is_known_from_every_machine(
    tmp_path: Path, server: Postgres
) -> None:
    url = server.database(tmp_path)
    elsewhere = tmp_path / "elsewhere"
    assert not is_searched("test", url, elsewhere)
    with opened_study("test", url, tmp_path, FACTS, {}, print, Outages(print)):
        assert is_searched("test", url, elsewhere)
        assert not is_searched("other", url, elsewhere)
    assert not is_searched("test", url, elsewhere)


@pytest.mark.parametrize("url", [None, "sqlite:///{}/study.db"])
def test_who_searches_a_study_in_a_file_is_known(tmp_path: Path, url: str | None) -> None:
    database = None if url is None else url.format(tmp_path)
    assert not is_searched("mine", database, tmp_path)
    with opened_study("mine", database, tmp_path, FACTS, {}, print, Outages(print)):
        assert is_searched("mine", database, tmp_path)
    assert not is_searched("mine", database, tmp_path)


def test_what_only_fit_asks_for_can_be_enqueued(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).resolve().parents[2]))
    space = "tests.search.engines.spaces_of_others:CustomTrainingLoop"
    make_study(tmp_path, space=space)
    send(tmp_path, space=space, enqueue='{"units": 16, "batch_size": 96}')
    (trial,) = trials_of(tmp_path)
    assert trial.user_attrs[GIVEN] == {"units": 16, "batch_size": 96}
    with pytest.raises(SettingsError, match="units is 17; it must be one of 8, 16, 32"):
        send(tmp_path, space=space, enqueue='{"units": 17}')
