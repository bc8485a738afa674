"""The distilled network: when it is due, its key, its teachers, its cost."""

import io
import json
import zipfile
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from reporting.distillation import order_distillation
from reporting.errors import ReportError
from reporting.evidence import Evidence, make_row
from reporting.final_model import choose_readout
from reporting.fitting import wall_seconds
from reporting.plan import DISTILLED, Plan
from reporting.retraining import (
    MODEL_FILE,
    Folders,
    Results,
    Retrained,
    Retraining,
    Teachers,
    load_kept,
)
from reporting.scoring import Scorer
from reporting.views import Views
from search.data.dataset import LabeledImages
from search.data.split import Split, SplitSizes
from search.training.distillation import soft_targets
from search.workers.messages import Failed, Images
from spaces.mlp import MlpConfig
from tests.reporting.made_plan import TWICE_AS_LONG, made_plan
from tests.reporting.test_final_model import SPLIT, network, retrained, subclassed

MIRROR = Views(mirror=True)
OFFERED = ("flip", "flip_shift")


@pytest.fixture
def plan(tmp_path: Path) -> Plan:
    """One trial in two versions of 30 epochs of 10 s, two final trainings of 30 of 20 s."""
    (tmp_path / "study").mkdir()
    trials = [{"filters": 16, "augmentation": "flip"}]
    plan = made_plan(tmp_path / "study", trials, OFFERED, seeds=2, distill=True, **TWICE_AS_LONG)
    plan.baselines.clear()
    return plan


def kept(directory: Path, one: Retraining, content: str = "") -> Retrained:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("weights", f"{one.label} {content}")
    return Retrained(
        folder=directory / one.key,
        seed=one.seed,
        parameters=1,
        history=[{"loss": 1.0}],
        train_seconds=1,
        cpu_seconds=1,
        val_accuracy=0.9 if one.images is Images.TRAINING else None,
        origin={},
    ).save(file.getvalue())


def of_candidates(plan: Plan, directory: Path) -> dict[str, Retrained | Failed]:
    due = [one for candidate in plan.candidates for one in candidate.retrainings]
    return {one.key: kept(directory, one) for one in due}


def distilled_of(plan: Plan, results: Results) -> list[Retraining]:
    return [one for one in plan.due(results) if one.teachers is not None]


def test_it_is_due_once_its_teachers_are_finished(plan: Plan, tmp_path: Path) -> None:
    results = of_candidates(plan, tmp_path)
    winner = plan.choose(results)
    assert winner is not None
    [tuned] = plan.winners(winner)
    first, second = tuned.retrainings
    assert distilled_of(plan, {}) == distilled_of(plan, results) == []
    results[first.key] = kept(tmp_path, first)
    assert distilled_of(plan, results) == []
    results[second.key] = kept(tmp_path, second)
    [one] = distilled_of(plan, results)
    assert one.teachers == Teachers(
        finals=(results[first.key], results[second.key]),  # type: ignore[arg-type]
        candidates=(results[winner.retrainings[0].key],),  # type: ignore[arg-type]
        views=plan.views(winner),
    )
    assert (one.label, one.images, one.epochs) == ("distilled, seed 700000", Images.ALL, 30)
    assert one.params == tuned.params
    # One that failed is no teacher; without any there is nothing to learn.
    results[second.key] = Failed(reason="x")
    [fewer] = distilled_of(plan, results)
    assert fewer.teachers is not None and fewer.teachers.finals == (results[first.key],)
    assert fewer.key != one.key
    results[first.key] = Failed(reason="x")
    assert distilled_of(plan, results) == []


def test_it_is_found_though_a_teacher_failed_which_is_not_kept(plan: Plan, tmp_path: Path) -> None:
    folders = Folders(study=tmp_path / "kept", shared=tmp_path / "shared")
    assert load_kept(folders, plan.kept) == {}
    results = of_candidates(plan, folders.study)
    assert load_kept(folders, plan.kept).keys() == results.keys()
    first, second = plan.winners(plan.candidates[0])[0].retrainings
    results |= {
        first.key: kept(folders.study, first),
        second.key: Failed(reason="non-finite loss"),
    }
    [taught] = distilled_of(plan, results)
    assert taught.key not in load_kept(folders, plan.kept)
    kept(folders.study, taught)
    # What trains waits for the other teacher; what only reports does not.
    assert taught.key not in load_kept(folders, plan.due)
    found = load_kept(folders, plan.kept)
    assert found.keys() == {*results, taught.key} - {second.key}
    [entry] = plan.distilled(plan.candidates[0], found)
    assert [one.key for one in entry.retrainings] == [taught.key]


def test_it_is_trained_only_if_it_was_asked_for(tmp_path: Path) -> None:
    trials = [{"filters": 16, "augmentation": "flip"}]
    plan = made_plan(tmp_path, trials, OFFERED, seeds=1)
    assert plan.distilled(plan.candidates[0], {}) == []


def test_in_a_preview_it_learns_from_the_one_final_training(tmp_path: Path) -> None:
    trials = [{"filters": 16, "augmentation": "flip"}]
    plan = made_plan(tmp_path, trials, OFFERED, quick=True, distill=True)
    results = of_candidates(plan, tmp_path)
    winner = plan.choose(results)
    assert winner is not None
    [tuned] = plan.winners(winner)
    [final] = tuned.retrainings
    results[final.key] = kept(tmp_path, final)
    [one] = distilled_of(plan, results)
    assert one.teachers is not None and one.teachers.finals == (results[final.key],)


@pytest.mark.parametrize("changed", ["final", "candidate"])
def test_other_teachers_make_another_key(plan: Plan, tmp_path: Path, changed: str) -> None:
    results = of_candidates(plan, tmp_path)
    winner = plan.choose(results)
    assert winner is not None
    [tuned] = plan.winners(winner)
    results |= {one.key: kept(tmp_path, one) for one in tuned.retrainings}
    [before] = distilled_of(plan, results)
    key = before.key
    assert [one.key for one in distilled_of(plan, results)] == [key]
    other = tuned.retrainings[1] if changed == "final" else winner.retrainings[0]
    results[other.key] = kept(tmp_path, other, "trained again")
    [after] = distilled_of(plan, results)
    assert after.key != key
    assert replace(before, teachers=None).key not in (key, after.key)


def test_other_views_of_its_teachers_make_another_key(tmp_path: Path) -> None:
    def key(views: Views) -> str:
        one = lesson(candidates=())
        return replace(one, teachers=Teachers(finals=(), candidates=(), views=views)).key

    assert key(MIRROR) == key(Views(mirror=True)) != key(Views())


def test_its_key_is_known_though_a_teacher_disappears(plan: Plan, tmp_path: Path) -> None:
    made = of_candidates(plan, tmp_path)
    [tuned] = plan.winners(plan.candidates[0])
    made |= {one.key: kept(tmp_path, one) for one in tuned.retrainings}
    [before] = distilled_of(plan, made)
    loaded = {key: Retrained.load(tmp_path / key) for key in made}
    (tmp_path / tuned.retrainings[0].key / MODEL_FILE).unlink()
    [after] = distilled_of(plan, {key: one for key, one in loaded.items() if one is not None})
    assert after.key == before.key
    assert "digest" not in json.loads(
        (tmp_path / tuned.retrainings[0].key / "record.json").read_text()
    )


def test_the_plan_of_its_time_has_it_wait_for_its_teachers(plan: Plan, tmp_path: Path) -> None:
    # Two candidates of 300 s, two final trainings of 600 s, and as long for the distilled one.
    assert wall_seconds(plan, {}, 1) == 600 + 1200 + 600
    assert wall_seconds(plan, {}, 9) == 300 + 600 + 600
    results = of_candidates(plan, tmp_path)
    assert wall_seconds(plan, results, 2) == 600 + 600
    [tuned] = plan.winners(plan.candidates[0])
    results |= {one.key: kept(tmp_path, one) for one in tuned.retrainings}
    assert wall_seconds(plan, results, 2) == 600
    [one] = distilled_of(plan, results)
    results[one.key] = kept(tmp_path, one)
    assert wall_seconds(plan, results, 2) == 0


def test_baselines_fill_the_gap_while_it_waits(tmp_path: Path) -> None:
    trials = [{"filters": 16, "augmentation": "flip"}]
    flags = {"seeds": 1, "baseline_seeds": 1, "distill": True}
    plan = made_plan(tmp_path, trials, OFFERED, **flags, **TWICE_AS_LONG)
    del plan.baselines[3:]  # of 200 s each
    # One worker trains the final one until 900 s, the other the baselines.
    assert wall_seconds(plan, {}, 2) == 300 + 600 + 600


def test_its_cost_is_that_of_its_teachers_and_its_own(evidence: Evidence) -> None:
    tuned = evidence.tuned
    assert tuned is not None
    own = replace(tuned.runs[0], train_seconds=7.0, cpu_seconds=9.0)
    row = replace(tuned, name=DISTILLED, kind="variant", runs=[own], teachers=tuned.runs)
    assert row.train_cpu_seconds == 9 + sum(run.cpu_seconds for run in tuned.runs)
    assert row.train_seconds == 7 + sum(run.train_seconds for run in tuned.runs)
    assert row.parameters == own.parameters
    assert replace(row, runs=[]).train_cpu_seconds is None
    assert evidence.seeds_of(row) == 1


def test_a_row_takes_its_teachers_from_its_plan(plan: Plan, tmp_path: Path) -> None:
    results = of_candidates(plan, tmp_path)
    [tuned] = plan.winners(plan.candidates[0])
    results |= {one.key: kept(tmp_path, one) for one in tuned.retrainings}
    [entry] = plan.distilled(plan.candidates[0], results)
    row = make_row(entry, "variant", [], np.zeros(3, np.uint8), "not trained yet")
    assert list(row.teachers) == [results[one.key] for one in tuned.retrainings]
    assert make_row(tuned, "tuned", [], np.zeros(3, np.uint8), "").teachers == ()


def loaded() -> Split:
    return SPLIT


def exits() -> Split:
    raise SystemExit(3)


def lesson(*teachers: Retrained, candidates: tuple[Retrained, ...]) -> Retraining:
    return Retraining(
        space="mlp",
        params=MlpConfig.from_params({}).params() | {"augmentation": "flip"},
        seed=1,
        epochs=1,
        images=Images.ALL,
        data="0",
        sizes=SplitSizes(val=200),
        precision="float32",
        teachers=Teachers(finals=teachers, candidates=candidates, views=MIRROR),
    )


def test_the_order_carries_calibrated_and_mirrored_teachers(tmp_path: Path) -> None:
    finals = [retrained(tmp_path / name, network(name)) for name in ("logits", "softmax")]
    candidate = retrained(tmp_path / "candidate", network("logits"))
    one = lesson(*finals, candidates=(candidate,))
    order = order_distillation(loaded, one)
    assert (len(order.teachers), order.params, order.images) == (2, one.params, Images.ALL)
    readout = choose_readout([candidate], SPLIT, views=MIRROR)
    assert readout.compared
    assert readout.temperature != 1
    images = LabeledImages(images=SPLIT.train_images, labels=SPLIT.train_labels)
    scorer = Scorer(images, SPLIT.shape, "train_scores.npz")
    mean = np.mean([readout.probabilities(scorer.score(kept, MIRROR)) for kept in finals], axis=0)
    expected = (np.eye(10) + mean) / 2
    np.testing.assert_allclose(soft_targets(order.teachers, SPLIT), expected, atol=1e-5)


def broken(folder: Path) -> Retrained:
    run = retrained(folder, network("logits"))
    (folder / "model.keras").write_bytes(b"")
    return run


def call_here(function: Callable[..., Any], *given: object, name: str) -> Any:
    """In place of `run_apart`, where the process makes no difference."""
    return function(*given)


def users(folder: Path) -> Retrained:
    return retrained(folder, subclassed("compute_output_shape"))


@pytest.mark.parametrize(
    ("final", "candidate", "load", "why"),
    [
        (broken, None, loaded, "is not a .keras file"),
        (None, broken, loaded, "is not a .keras file"),
        (None, users, loaded, "keras.saving.load_model cannot load it"),
        (None, None, exits, "the process that reads them ended, exit code 3"),
    ],
)
def test_networks_that_cannot_be_teachers_are_one_line(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    final: Callable[[Path], Retrained] | None,
    candidate: Callable[[Path], Retrained] | None,
    load: Callable[[], Split],
    why: str,
) -> None:
    if broken in (final, candidate):
        monkeypatch.setattr("reporting.distillation.run_apart", call_here)
        monkeypatch.setattr("reporting.distillation.training_variables", dict)
    sound = partial(retrained, model=network("logits"))
    taught = lesson(
        (final or sound)(tmp_path / "final"),
        candidates=((candidate or sound)(tmp_path / "candidate"),),
    )
    with pytest.raises(ReportError) as refused:
        order_distillation(load, taught)
    said = str(refused.value)
    assert said.startswith("the final trainings cannot be its teachers: ")
    assert why in said and "\n" not in said
