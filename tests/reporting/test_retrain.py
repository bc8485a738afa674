"""Retrainings: each once, kept for good, whatever dies."""

from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from reporting.errors import Interrupted, ReportError
from reporting.retraining.order import Part, Retrained, Retraining
from reporting.retraining.progress import make_progress
from reporting.retraining.tasks import Results, Retrainings, Task
from search.workers.messages import Failed
from search.workers.process import WorkerSettings
from tests.reporting.simulated_retrainer import SimulatedRetrainer
from tests.search.simulated import no_images


def task(name: str, seed: int = 0, epochs: int = 2, part: Part = "train", **params: Any) -> Task:
    retraining = Retraining(
        space="cnn",
        params={"name": name, **params},
        seed=seed,
        epochs=epochs,
        part=part,
        data="0",
        split="",
        precision="float32",
    )
    return Task(f"{name}, seed {seed}", retraining)


def retrain(
    directory: Path,
    tasks: Sequence[Task],
    follow_up: Callable[[Results], Sequence[Task]] = lambda results: [],
    stopped: Callable[[], str] = lambda: "",
) -> Results:
    settings = WorkerSettings(space="cnn", load_split=no_images, precision="float32")
    with make_progress(quiet=True) as progress:
        return Retrainings(
            settings,
            directory / "retrainings",
            log_dir=directory / "logs",
            workers=2,
            progress=progress,
            stopped=stopped,
            make_trainer=SimulatedRetrainer,
        ).run(tasks, follow_up)


def done(directory: Path) -> list[str]:
    return (directory / "log.txt").read_text().splitlines()


def test_every_task_is_done_once_and_kept(tmp_path: Path) -> None:
    tasks = [task(name, seed) for name in "ab" for seed in range(2)]
    tasks += [task("c", seed, part="all") for seed in range(2)]
    results = retrain(tmp_path, tasks)
    assert set(results) == {one.retraining.key for one in tasks}
    assert Counter(done(tmp_path)) == {f"{name} {seed}": 1 for name in "abc" for seed in range(2)}
    assert retrain(tmp_path, tasks) == results
    assert len(done(tmp_path)) == 6


def test_more_seeds_train_only_the_new_ones(tmp_path: Path) -> None:
    retrain(tmp_path, [task("a", 0)])
    retrain(tmp_path, [task("a", 0), task("a", 1)])
    assert done(tmp_path) == ["a 0", "a 1"]


def test_what_follows_from_the_results_goes_before_what_waits(tmp_path: Path) -> None:
    first = task("candidate", quality=0.9)
    waiting = [task(f"baseline {index}", behaviour="slow") for index in range(6)]
    asked: list[int] = []

    def follow_up(results: Results) -> list[Task]:
        if first.retraining.key not in results or asked:
            return []
        asked.append(len(results))
        return [task("winner")]

    retrain(tmp_path, [first, *waiting], follow_up)
    order = [line.rsplit(" ", 1)[0] for line in done(tmp_path)]
    assert order.index("winner") < 4
    assert len(order) == 8


def test_a_failure_is_a_result_and_stops_nothing(tmp_path: Path) -> None:
    bad, good = task("bad", behaviour="fail"), task("good")
    results = retrain(tmp_path, [bad, good])
    assert results[bad.retraining.key] == Failed(reason="ValueError: simulated")
    assert isinstance(results[good.retraining.key], Retrained)


def test_a_worker_that_dies_costs_one_attempt(tmp_path: Path) -> None:
    once, always = task("once", behaviour="die once"), task("always", behaviour="die")
    results = retrain(tmp_path, [once, always])
    assert isinstance(results[once.retraining.key], Retrained)
    failed = results[always.retraining.key]
    assert isinstance(failed, Failed)
    assert failed.reason == "worker died (signal 9 SIGKILL), 3 times"


def test_an_interruption_keeps_what_is_finished(tmp_path: Path) -> None:
    tasks = [task(f"task {index}", behaviour="slow") for index in range(6)]

    def stopped() -> str:
        log = tmp_path / "log.txt"
        return "Ctrl-C" if log.exists() and len(log.read_text().splitlines()) >= 2 else ""

    with pytest.raises(Interrupted, match="Ctrl-C"):
        retrain(tmp_path, tasks, stopped=stopped)
    assert 2 <= len(done(tmp_path)) < 6
    retrain(tmp_path, tasks)
    assert Counter(done(tmp_path)) == {f"task {index} 0": 1 for index in range(6)}
    assert not list((tmp_path / "retrainings").glob(".partial*"))


def test_a_half_written_folder_counts_as_missing(tmp_path: Path) -> None:
    one = task("a")
    folder = tmp_path / "retrainings" / one.retraining.key
    folder.mkdir(parents=True)
    (folder / "model.keras").write_text("torn")
    for record in (None, "", "{}", '{"seed": 0}'):
        if record is not None:
            (folder / "record.json").write_text(record)
        assert isinstance(retrain(tmp_path, [one])[one.retraining.key], Retrained)
        assert Retrained.load(folder) is not None
    (folder / "model.keras").write_text("torn later")
    assert Retrained.load(folder) is None


def test_what_a_killed_worker_left_half_written_is_removed(tmp_path: Path) -> None:
    (tmp_path / "retrainings" / ".partial-abc").mkdir(parents=True)
    retrain(tmp_path, [task("a")])
    assert [folder.name for folder in (tmp_path / "retrainings").iterdir()] == [
        task("a").retraining.key
    ]


def test_a_full_disk_ends_it_in_one_line_and_keeps_what_there_is(tmp_path: Path) -> None:
    with pytest.raises(ReportError, match=r"retrainings cannot be written \(No space left on dev"):
        retrain(tmp_path, [task("a"), task("b", behaviour="unwritable"), task("c", epochs=500)])
    assert Retrained.load(tmp_path / "retrainings" / task("a").retraining.key) is not None


def test_a_task_that_follows_while_it_runs_is_not_done_twice(tmp_path: Path) -> None:
    slow, quick = task("slow", behaviour="slow"), task("quick")
    retrain(tmp_path, [slow, quick], lambda results: [slow] if results else [])
    assert sorted(done(tmp_path)) == ["quick 0", "slow 0"]


@pytest.mark.parametrize(
    "change",
    [{"seed": 1}, {"epochs": 3}, {"part": "all"}, {"params": {"x": 1}}, {"precision": "bfloat16"}],
)
def test_what_matters_changes_the_key(change: dict[str, Any]) -> None:
    given: dict[str, Any] = {
        "space": "cnn",
        "params": {},
        "seed": 0,
        "epochs": 2,
        "part": "train",
        "data": "0",
        "split": "",
        "precision": "float32",
    }
    assert Retraining(**given).key == Retraining(**given).key
    assert Retraining(**given).key != Retraining(**(given | change)).key
