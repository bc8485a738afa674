"""Retrainings: each runs once and is kept for good, whatever dies."""

import errno
import json
import os
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from reporting.errors import Interrupted, ReportError
from reporting.retrainer import Retrainings, make_progress
from reporting.retraining import Due, Folders, Results, Retrained, Retraining, load_kept
from search.data.split import SplitSizes
from search.errors import StopReason
from search.workers.messages import Failed, Images, Train
from search.workers.pool import make_pool
from tests.reporting.simulated_retrainer import SimulatedRetrainer, SimulatedSettings
from tests.search.simulated import no_images


def retraining(
    name: str, seed: int = 0, epochs: int = 2, images: Images = Images.TRAINING, **params: Any
) -> Retraining:
    return Retraining(
        space="cnn",
        params={"name": name, **params},
        seed=seed,
        epochs=epochs,
        images=images,
        data="0",
        sizes=SplitSizes(val=10),
        precision="float32",
        label=f"{name}, seed {seed}",
    )


def folders(directory: Path) -> Folders:
    return Folders(directory / "retrainings", directory.parent / ".baselines")


def retrain(
    directory: Path,
    due: Sequence[Retraining] | Due,
    stopped: Callable[[], StopReason | None] = lambda: None,
    order: Callable[[Retraining], Train] = Retraining.order,
) -> Results:
    settings = SimulatedSettings(
        space="cnn", load_split=no_images, precision="float32", folder=directory
    )
    pool = make_pool(
        settings, count=2, log_dir=directory / "logs", trainer_class=SimulatedRetrainer
    )
    with make_progress(quiet=True) as progress:
        running = Retrainings(
            pool, folders(directory), progress=progress, stopped=stopped, order=order
        )
        return running.run(due if callable(due) else lambda results: due)


def done(directory: Path) -> list[str]:
    return (directory / "log.txt").read_text().splitlines()


def test_every_retraining_runs_once_and_is_kept(tmp_path: Path) -> None:
    due = [retraining(name, seed) for name in "ab" for seed in range(2)]
    due += [retraining("c", seed, images=Images.ALL) for seed in range(2)]
    results = retrain(tmp_path, due)
    assert set(results) == {one.key for one in due}
    assert Counter(done(tmp_path)) == {f"{name} {seed}": 1 for name in "abc" for seed in range(2)}
    kept = results[due[0].key]
    assert isinstance(kept, Retrained)
    assert (kept.seed, kept.parameters, kept.val_accuracy, len(kept.history)) == (0, 10, 0.5, 2)
    assert {"commit", "machine", "keras"} <= set(kept.origin)
    on_all = results[due[-1].key]
    assert isinstance(on_all, Retrained)
    assert on_all.val_accuracy is None

    assert load_kept(folders(tmp_path), lambda results: due) == results
    assert retrain(tmp_path, due) == results
    assert len(done(tmp_path)) == 6


def test_a_training_of_other_code_is_repeated(tmp_path: Path) -> None:
    unknown = retraining("a")
    known, changed = (replace(unknown, code=digest) for digest in ("1", "2"))
    for one in (known, known, changed, unknown, changed):
        retrain(tmp_path, [one])
    assert done(tmp_path) == ["a 0", "a 0"]
    assert folders(tmp_path).outdated([unknown, known, changed, retraining("b")]) == 1
    assert retrain(tmp_path, [unknown])[unknown.key].origin["code"] == "2"


def test_more_seeds_train_only_the_new_ones(tmp_path: Path) -> None:
    retrain(tmp_path, [retraining("a", 0)])
    retrain(tmp_path, [retraining("a", 0), retraining("a", 1)])
    assert done(tmp_path) == ["a 0", "a 1"]


def test_retrainings_that_follow_from_results_go_before_those_that_wait(tmp_path: Path) -> None:
    first = retraining("candidate", quality=0.9)
    waiting = [retraining(f"baseline {index}", behaviour="slow") for index in range(6)]
    winner = retraining("winner")

    def due(results: Results) -> list[Retraining]:
        return [*([winner] if first.key in results else []), first, *waiting]

    retrain(tmp_path, due)
    order = [line.rsplit(" ", 1)[0] for line in done(tmp_path)]
    assert order.index("winner") < 4
    assert len(order) == 8
    assert winner.key in load_kept(folders(tmp_path), due)


def test_a_large_model_reaches_its_folder(tmp_path: Path) -> None:
    large = retraining("large", model_bytes=40_000_000)
    kept = retrain(tmp_path, [large])[large.key]
    assert isinstance(kept, Retrained)
    assert (kept.folder / "model.keras").stat().st_size > 40_000_000


def test_a_failure_is_a_result_and_stops_nothing(tmp_path: Path) -> None:
    bad, good = retraining("bad", behaviour="fail"), retraining("good")
    results = retrain(tmp_path, [bad, good])
    assert results[bad.key] == Failed(reason="ValueError: simulated")
    assert isinstance(results[good.key], Retrained)


def test_an_order_that_cannot_be_given_is_a_failure_too(tmp_path: Path) -> None:
    bad, good = retraining("bad"), retraining("good")

    def order(one: Retraining) -> Train:
        if one is bad:
            raise ReportError("it has no teachers.")
        return one.order()

    results = retrain(tmp_path, [bad, good], order=order)
    assert results[bad.key] == Failed(reason="it has no teachers")
    assert isinstance(results[good.key], Retrained)
    assert done(tmp_path) == ["good 0"]


def test_a_dead_worker_costs_one_attempt_of_three(tmp_path: Path) -> None:
    once, always = retraining("once", behaviour="die once"), retraining("always", behaviour="die")
    results = retrain(tmp_path, [once, always])
    assert isinstance(results[once.key], Retrained)
    failed = results[always.key]
    assert isinstance(failed, Failed)
    assert failed.reason.startswith("worker died (signal 9 SIGKILL")
    assert failed.reason.endswith(", 3 times")


def test_an_interruption_keeps_what_is_finished(tmp_path: Path) -> None:
    due = [retraining(f"number {index}", behaviour="slow") for index in range(6)]

    def stopped() -> StopReason | None:
        kept = list((tmp_path / "retrainings").glob("*/record.json"))
        return StopReason.CTRL_C if len(kept) >= 2 else None

    with pytest.raises(Interrupted, match="Ctrl-C"):
        retrain(tmp_path, due, stopped=stopped)
    kept = load_kept(folders(tmp_path), lambda results: due)
    assert 2 <= len(kept) < 6
    before = len(done(tmp_path))
    retrain(tmp_path, due)
    assert len(done(tmp_path)) == before + 6 - len(kept)
    assert not list((tmp_path / "retrainings").glob(".partial*"))


def test_a_damaged_folder_counts_as_missing(tmp_path: Path) -> None:
    one = retraining("a")
    folder = tmp_path / "retrainings" / one.key
    folder.mkdir(parents=True)
    (folder / "model.keras").write_text("torn")
    for record in (None, "", "{}", '{"seed": 0}'):
        if record is not None:
            (folder / "record.json").write_text(record)
        assert isinstance(retrain(tmp_path, [one])[one.key], Retrained)
        assert Retrained.load(folder) is not None
    (folder / "model.keras").write_text("torn later")
    assert Retrained.load(folder) is None


WRONG: dict[str, Any] = {
    "seed": 7,
    "parameters": "many",
    "history": [{"accuracy": "good"}],
    "train_seconds": -1.0,
    "cpu_seconds": float("nan"),
    "val_accuracy": None,
    "origin": ["x"],
}


@pytest.mark.parametrize("name", WRONG)
def test_a_record_that_does_not_belong_to_the_retraining_counts_as_missing(
    tmp_path: Path, name: str
) -> None:
    one = retraining("a")
    retrain(tmp_path, [one])
    file = tmp_path / "retrainings" / one.key / "record.json"
    record = json.loads(file.read_text())
    file.write_text(json.dumps(record | {name: WRONG[name]}))
    assert load_kept(folders(tmp_path), lambda results: [one]) == {}
    for text in ("[" * 100_000, json.dumps(record) + " " * 10**7):
        file.write_text(text)
        assert load_kept(folders(tmp_path), lambda results: [one]) == {}
    file.write_text(json.dumps(record))
    assert list(load_kept(folders(tmp_path), lambda results: [one])) == [one.key]


def test_a_folder_that_a_killed_report_left_half_written_is_removed(tmp_path: Path) -> None:
    for name in (retraining("a").key, "abc"):
        (tmp_path / "retrainings" / f".partial-{name}").mkdir(parents=True)
    retrain(tmp_path, [retraining("a")])
    assert [folder.name for folder in (tmp_path / "retrainings").iterdir()] == [retraining("a").key]


def test_a_full_disk_is_one_line_and_keeps_what_there_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = retraining("a")
    retrain(tmp_path, [first])

    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(ReportError, match=r"retrainings cannot be written \(No space left on dev"):
        retrain(tmp_path, [first, retraining("b"), retraining("c", epochs=500, behaviour="slow")])
    assert [folder.name for folder in (tmp_path / "retrainings").iterdir()] == [first.key]


def test_a_retraining_that_becomes_due_again_while_it_runs_is_not_repeated(tmp_path: Path) -> None:
    slow, quick = retraining("slow", behaviour="slow"), retraining("quick")
    retrain(tmp_path, lambda results: [slow, quick, slow] if results else [slow, quick])
    assert sorted(done(tmp_path)) == ["quick 0", "slow 0"]


GIVEN: dict[str, Any] = {
    "space": "cnn",
    "params": {"optimizer": "adam", "learning_rate": 0.001, "residual": True},
    "seed": 600000,
    "epochs": 30,
    "images": Images.ALL,
    "data": "0" * 32,
    "sizes": SplitSizes(val=10_000),
    "precision": "bfloat16",
}


@pytest.mark.parametrize(
    "change",
    [
        {"seed": 1},
        {"epochs": 3},
        {"images": Images.TRAINING},
        {"params": {"x": 1}},
        {"precision": "float32"},
        {"sizes": SplitSizes(val=9_999)},
        {"pixels": {"mean": [0.1], "deviation": [0.2]}},
        {"sizes": SplitSizes(train=1, val=10_000)},
    ],
)
def test_whatever_changes_the_result_changes_the_key(change: dict[str, Any]) -> None:
    assert Retraining(**GIVEN).key == Retraining(**GIVEN, label="x", epoch_seconds=9.0).key
    assert Retraining(**GIVEN).key != Retraining(**(GIVEN | change)).key


@pytest.mark.parametrize(
    ("sizes", "key"),
    [
        (SplitSizes(val=10_000), "1c0ea63794c47a48"),
        (SplitSizes(train=20_000, val=1_000), "96e31d3cba571e59"),
    ],
)
def test_folders_of_the_first_version_are_found(sizes: SplitSizes, key: str) -> None:
    assert Retraining(**(GIVEN | {"sizes": sizes})).key == key
