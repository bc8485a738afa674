"""The measurement before the first trial, over real processes that fail, die and hang."""

import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import optuna
import pytest

from search import measuring
from search.errors import SearchError, StoppedError, StopReason
from search.length import Speed
from search.measuring import Measurement, Unmeasured, measure
from search.settings import SearchSettings
from search.study.requests import STOP, Inbox, put_request
from search.workers.keras_trainer import WorkerSettings
from search.workers.messages import Ready
from search.workers.pool import WorkerPool
from tests import LONGEST_SECONDS
from tests.search.harness import workers_at
from tests.search.simulated import SimulatedTrainer, no_images
from tests.search.threads import ThreadBackend

SETTINGS = SearchSettings(trials=9, workers=2, minutes=5.0)
anywhere = pytest.mark.parametrize(
    "place", ["processes", pytest.param("cluster", marks=pytest.mark.xdist_group("cluster"))]
)


def measured(
    directory: Path,
    space: str,
    use: Callable[[WorkerPool], Speed | Unmeasured] = lambda workers: measure(workers, 9),
    place: str = "processes",
) -> Speed | Unmeasured:
    with workers_at(place, SETTINGS, directory, space, silence_seconds=60) as workers:
        try:
            return use(workers)
        finally:
            workers.close()


@anywhere
def test_all_workers_are_measured_at_once_and_then_wait_for_trials(
    tmp_path: Path, place: str
) -> None:
    ready = []

    def use(workers: WorkerPool) -> Speed | Unmeasured:
        found = measure(workers, 9)
        ready.extend(workers.idle({}))
        return found

    speed = measured(tmp_path, "slow", use, place)
    assert speed == Speed(workers=2, images_per_second=100.0, startup_seconds=0.5)
    assert [worker.trials for worker in ready] == [0, 0]


def test_no_more_workers_are_measured_than_there_are_trials(tmp_path: Path) -> None:
    speed = measured(tmp_path, "slow", lambda workers: measure(workers, 1))
    assert isinstance(speed, Speed)
    assert speed.workers == 1


def test_nothing_is_known_before_a_cluster_has_room_for_a_worker() -> None:
    shared = WorkerSettings(space="slow", load_split=no_images, precision="float32")
    workers = WorkerPool(ThreadBackend(shared, SimulatedTrainer, count=0))
    assert measure(workers, 9) == Unmeasured("no node has room for a worker yet")


def test_a_model_that_fails_leaves_the_workers_for_its_trials(tmp_path: Path) -> None:
    left: list[int] = []

    def use(workers: WorkerPool) -> Speed | Unmeasured:
        found = measure(workers, 9)
        left.append(len(workers.idle({})))
        return found

    assert measured(tmp_path, "failing", use) == Unmeasured("ValueError: simulated")
    assert left == [2]


@anywhere
def test_a_worker_that_dies_is_replaced_and_nothing_is_known(tmp_path: Path, place: str) -> None:
    ready: list[object] = []

    def use(workers: WorkerPool) -> Speed | Unmeasured:
        found = measure(workers, 9)
        workers.start(9)
        end = time.monotonic() + LONGEST_SECONDS
        while len(ready) < 2 and time.monotonic() < end:
            ready.extend(m for _, m in workers.poll(0.1) if isinstance(m, Ready))
        return found

    found = measured(tmp_path, "dying", use, place)
    assert isinstance(found, Unmeasured)
    assert found.is_lost
    assert found.reason.startswith("worker died (")
    assert len(ready) == 2


def test_a_worker_that_does_not_answer_is_replaced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(measuring, "_ANSWER_SECONDS", 1.0)
    left: list[int] = []

    def use(workers: WorkerPool) -> Speed | Unmeasured:
        found = measure(workers, 9)
        left.append(len(workers.started))
        return found

    assert measured(tmp_path, "hanging", use) == Unmeasured("no answer in 1 s")
    assert left == [0]


def test_a_signal_ends_it(tmp_path: Path) -> None:
    def use(workers: WorkerPool) -> Speed | Unmeasured:
        measurement = Measurement(workers, SETTINGS, time.monotonic())
        measurement.stopped_by = StopReason.SIGTERM
        with pytest.raises(StoppedError, match=r"stopped \(SIGTERM\) before the first trial"):
            measurement.required()
        return measurement.run()

    assert measured(tmp_path, "hanging", use) == Unmeasured("stopped")


def test_a_request_to_stop_ends_it(tmp_path: Path) -> None:
    study = optuna.create_study()
    put_request(study, STOP)

    def use(workers: WorkerPool) -> Speed | Unmeasured:
        measurement = Measurement(workers, SETTINGS, time.monotonic())
        found = measurement.run(Inbox(study))
        assert measurement.stopped_by == StopReason.REQUESTED
        return found

    assert measured(tmp_path, "hanging", use) == Unmeasured("stopped")


def test_minutes_without_a_speed_are_one_line(tmp_path: Path) -> None:
    def use(workers: WorkerPool) -> Speed | Unmeasured:
        return Measurement(workers, SETTINGS, time.monotonic()).required()

    message = "--minutes is 5, but the speed was not measured: ValueError: simulated. Correct the"
    with pytest.raises(SearchError, match=message):
        measured(tmp_path, "failing", use)


def test_a_time_limit_that_ends_it_is_named(tmp_path: Path) -> None:
    settings = replace(SETTINGS, timeout_seconds=1.0)

    def use(workers: WorkerPool) -> Speed | Unmeasured:
        measurement = Measurement(workers, settings, time.monotonic())
        with pytest.raises(SearchError, match=r"^--timeout is 1 s, which expired before the speed"):
            measurement.required()
        return measurement.run()

    assert measured(tmp_path, "hanging", use) == Unmeasured("--timeout has expired")
