"""Baselines: trained once for all studies of a results folder, by the same code on a machine."""

import json
import os
import shutil
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from reporting import shared
from reporting.retraining import Retrained, Retraining, load_kept
from reporting.shared import code_digest
from search.data.split import SplitSizes
from search.errors import StopReason
from search.workers.messages import Images
from tests.reporting.made_plan import made_plan
from tests.reporting.test_retraining import done, folders, retrain, retraining


def baseline(name: str = "a", **params: Any) -> Retraining:
    return replace(retraining(name, images=Images.ALL, **params), shared=True)


@pytest.fixture
def studies(tmp_path: Path) -> list[Path]:
    """The folders of two studies of one results folder."""
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
    return [tmp_path / "one", tmp_path / "two"]


def test_a_baseline_is_trained_for_one_study_and_found_by_the_others(studies: list[Path]) -> None:
    one, two = studies
    due = [baseline(), retraining("winner", images=Images.ALL)]
    trained = retrain(one, due)
    found = load_kept(folders(two), lambda results: due)
    assert found == {due[0].key: trained[due[0].key]}
    kept = found[due[0].key]
    assert isinstance(kept, Retrained)
    assert kept.folder.parent == one.parent / ".baselines"
    assert kept.origin["study"] == "one"
    assert kept.origin["trained"].startswith("20")
    retrain(two, due)
    assert done(two) == ["winner 0"]


def test_a_baseline_that_an_earlier_version_kept_with_its_study_is_found(
    studies: list[Path],
) -> None:
    one, _ = studies
    made = baseline()
    (kept,) = retrain(one, [made]).values()
    assert isinstance(kept, Retrained)
    (one / "retrainings").mkdir(exist_ok=True)
    kept.folder.rename(one / "retrainings" / made.key)
    assert set(load_kept(folders(one), lambda results: [made])) == {made.key}


def test_a_winner_that_equals_a_baseline_is_kept_with_its_study(studies: list[Path]) -> None:
    one, _ = studies
    made = baseline()
    winner = replace(made, shared=False)
    assert winner.key == made.key
    for due in ([winner, made], [made]):
        kept = retrain(one, due)[made.key]
        assert isinstance(kept, Retrained)
        assert kept.folder == one / "retrainings" / made.key
    assert done(one) == ["a 0"]


@pytest.mark.parametrize("change", [{"seed": 7}, {"val_accuracy": 0.9}, {"origin": 3}, {"x": 1}])
def test_a_record_that_does_not_belong_there_counts_as_missing(
    studies: list[Path], change: dict[str, Any]
) -> None:
    one, two = studies
    made = baseline()
    (kept,) = retrain(one, [made]).values()
    assert isinstance(kept, Retrained)
    file = kept.folder / "record.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | change))
    assert load_kept(folders(two), lambda results: [made]) == {}
    (again,) = retrain(two, [made]).values()
    assert again == replace(kept, origin=again.origin, digest=again.digest)  # type: ignore[union-attr]
    assert load_kept(folders(one), lambda results: [made]) == {made.key: again}


def test_of_two_reports_at_once_the_faster_one_is_used_by_both(studies: list[Path]) -> None:
    one, two = studies
    made = baseline(behaviour="slow")
    (kept,) = retrain(one, [made]).values()
    assert isinstance(kept, Retrained)
    away = kept.folder.rename(one / "away")

    def stopped() -> StopReason | None:
        if not kept.folder.exists() and (two / "logs").exists():
            shutil.copytree(away, kept.folder)
        return None

    assert retrain(two, [made], stopped=stopped) == {made.key: kept}
    assert done(two) == ["a 0"]


def test_what_another_report_is_writing_is_left_alone(studies: list[Path]) -> None:
    one, _ = studies
    fresh, old = (one.parent / ".baselines" / f".partial-{name}-1" for name in ("fresh", "old"))
    for folder in (fresh, old):
        folder.mkdir(parents=True)
    os.utime(old, (time.time() - 100_000,) * 2)
    retrain(one, [baseline()])
    assert fresh.exists()
    assert not old.exists()


@pytest.mark.parametrize(
    "change",
    [
        {"seed": 1},
        {"epochs": 3},
        {"params": {"x": 1}},
        {"space": "mlp"},
        {"data": "1"},
        {"precision": "bfloat16"},
        {"sizes": SplitSizes(train=20, val=10)},
        {"pixels": {"mean": [0.1], "deviation": [0.2]}},
    ],
)
def test_whatever_changes_the_result_changes_the_key(change: dict[str, Any]) -> None:
    assert replace(baseline(), **change).shared_key != baseline().shared_key


@pytest.mark.parametrize("what", ["machine", "versions", "code_digest"])
def test_other_code_versions_or_machines_have_their_own_baselines(
    monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    before = baseline().shared_key
    assert baseline().shared_key == before
    monkeypatch.setattr(shared, what, lambda: "another")
    assert baseline().shared_key != before


def test_all_images_are_the_same_whatever_their_split() -> None:
    whole, other = (
        replace(baseline(), sizes=SplitSizes(val=val), objective=objective)
        for val, objective in ((10, "accuracy"), (20, "balanced_accuracy"))
    )
    assert whole.shared_key == other.shared_key
    parts = [replace(baseline(), sizes=SplitSizes(train=50, val=val)) for val in (10, 20)]
    assert len({part.shared_key for part in parts}) == 2


def test_studies_of_other_seeds_share_baselines_and_nothing_else(tmp_path: Path) -> None:
    plans = []
    for seed in (0, 5):
        (tmp_path / str(seed)).mkdir()
        plans.append(made_plan(tmp_path / str(seed), [{"filters": 16}], ["none"], seed=seed))
    one, two = plans
    assert len(one.baselines) == 6
    for first, second in zip(one.baselines, two.baselines, strict=True):
        assert all(retraining.shared for retraining in first.retrainings)
        assert [retraining.shared_key for retraining in first.retrainings] == [
            retraining.shared_key for retraining in second.retrainings
        ]
    for made in (plan.candidates[0].retrainings[0] for plan in plans):
        assert not made.shared
    assert one.candidates[0].retrainings[0].key != two.candidates[0].retrainings[0].key


BEFORE = '''"""Words."""

# a comment
def build(x):
    """More words."""
    return x + 1
'''


@pytest.mark.parametrize(
    ("file", "content", "is_same"),
    [
        ("search/training/loop.py", BEFORE, True),
        ("search/training/loop.py", "def build(x): return x+1", True),
        ("search/training/loop.py", "def build(x): return x+2", False),
        ("search/training/other.py", "", False),
        ("search/data/split.py", "x = 1", False),
        ("search/study/study.py", "x = 1", True),
        ("reporting/run.py", "x = 1", True),
    ],
)
def test_only_code_that_trains_counts_and_not_its_words(
    tmp_path: Path, file: str, content: str, is_same: bool
) -> None:
    for root in ("before", "after"):
        loop = tmp_path / root / "search" / "training" / "loop.py"
        loop.parent.mkdir(parents=True)
        loop.write_text(BEFORE)
    changed = tmp_path / "after" / file
    changed.parent.mkdir(parents=True, exist_ok=True)
    changed.write_text(content)
    before, after = (code_digest(tmp_path / root) for root in ("before", "after"))
    assert (before == after) is is_same


def test_the_digest_covers_this_project() -> None:
    assert code_digest() != code_digest(Path("nowhere"))
