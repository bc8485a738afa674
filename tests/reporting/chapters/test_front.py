"""The chapter on the front of a search with several objectives."""

import copy
import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest
from optuna.trial import TrialState

from reporting.chapters import accuracy, facts, front, verdict
from reporting.chapters.contents import document_of
from reporting.choosing import chosen_trials
from reporting.drawing.style import NARROW, WIDE
from reporting.errors import ReportError
from reporting.evidence import Evidence
from reporting.plan import Plan
from reporting.settings import ReportSettings
from reporting.study_tables import Record, read_study
from reporting.timing import times_again, times_of_choice
from reporting.views import ALONE, Views
from search.study.front import knee
from spaces import DataShape
from tests.reporting.made_evidence import CLOTHING, made_evidence, made_study
from tests.reporting.written import draw_all, drawn, pictures, tables, words

OBJECTIVE = "accuracy,parameters,latency"
TIMES = {
    "latency_ms": 0.5,
    "latency_quartiles_ms": [0.4, 0.6],
    "batch_latency_ms": 0.2,
    "batch_latency_quartiles_ms": [0.1, 0.3],
}


@pytest.fixture(scope="module")
def several(tmp_path_factory: pytest.TempPathFactory) -> Evidence:
    return made_evidence(tmp_path_factory.mktemp("several"), facts={"objective": OBJECTIVE})


def limited(made: Evidence, **limits: float) -> Evidence:
    """The same evidence with limits, and the winner that they choose."""
    settings = dataclasses.replace(made.settings, **limits)
    (candidate, *_) = Plan(settings, made.record, made.dataset.shape, 60_000).candidates
    assert made.winner is not None
    winner = dataclasses.replace(made.winner, candidate=candidate)
    return dataclasses.replace(made, settings=settings, winner=winner)


def test_the_front_is_a_table_and_a_figure_for_each_cost(several: Evidence) -> None:
    written = front.blocks(several)
    trials = several.record.front
    table = tables(written)["front"]
    assert table.shown["trial"].astype(int).tolist() == [trial.number for trial in trials]
    assert table.values["winner"].sum() == table.values["knee"].sum() == 1
    assert several.winner is not None
    chosen = several.winner.candidate.number
    assert table.values.set_index("trial")["knee"].idxmax() == chosen == knee(trials).number
    assert set(pictures(written)) == {"front-parameters", "front-latency-ms"}
    for picture in pictures(written).values():
        assert "star: the winner, the knee of the front" in picture.caption
        axes = drawn(picture).axes[0]
        stars, *_ = (part for part in axes.collections if part.get_label() == "winner")
        assert len(stars.get_offsets()) == 1
        complete = sum(trial.state == TrialState.COMPLETE for trial in several.record.frozen)
        counts = {str(part.get_label()): len(part.get_offsets()) for part in axes.collections}
        assert counts["front"] == len(trials)
        assert counts["dominated"] <= complete - len(trials)
    draw_all(written)
    said = words(written)
    assert f"The winner is trial {chosen}, the knee of the front: " in said
    assert "No trial was pruned" in said
    assert "Source: Das 1999" in said


def test_limits_choose_the_most_accurate_within_them(several: Evidence) -> None:
    made = limited(several, max_params=100_000, top=3)
    numbers = chosen_trials(made.settings, made.record)
    inside = [
        trial.number for trial in several.record.front if trial.user_attrs["parameters"] <= 100_000
    ]
    assert numbers == inside[:3]
    written = front.blocks(made)
    rule = "the most accurate within --max-params 100,000"
    assert f"The winner is trial {numbers[0]}, {rule}: " in words(written)
    assert "Das" not in words(written)
    table = tables(written)["front"].values.set_index("trial")
    assert table.index[table["within"]].tolist() == inside
    assert f"Trial {numbers[0]} was chosen as {rule}." in words(verdict.blocks(made))
    facts_shown = tables(facts.blocks(made))["facts"].values.set_index("fact")["value"]
    assert facts_shown["Rule of the winner"] == rule
    assert facts_shown["Objectives"] == OBJECTIVE


def test_the_report_goes_by_the_times_that_it_has_measured(several: Evidence) -> None:
    before = several.record.front
    times = {trial.number: TIMES for trial in before}
    made = dataclasses.replace(several, record=dataclasses.replace(several.record, times=times))
    after = made.record.front
    assert {trial.number for trial in after} <= {trial.number for trial in before}
    assert all(trial.values[2] == 0.5 for trial in after)
    table = tables(front.blocks(made))["front"]
    assert set(table.shown["one image, again"]) == {"0.5 (0.4 to 0.6)"}
    searched = [several.record.frozen[one.number].user_attrs["latency_ms"] for one in after]
    assert table.values["latency_ms_search"].tolist() == searched
    assert "uses the new times" in words(front.blocks(made))
    assert "uses the new times" not in words(front.blocks(several))
    draw_all(front.blocks(made))


def test_a_winner_that_is_not_on_the_front_has_its_new_time_too(several: Evidence) -> None:
    on_front = {trial.number for trial in several.record.front}
    number = next(one for one in several.record.complete.index if one not in on_front)
    made = limited(several, max_latency_ms=4.0)
    assert made.winner is not None
    candidate = dataclasses.replace(made.winner.candidate, number=number)
    made = dataclasses.replace(
        made,
        record=dataclasses.replace(made.record, times={number: TIMES | {"latency_ms": 3.5}}),
        winner=dataclasses.replace(made.winner, candidate=candidate),
    )
    said = words(front.blocks(made))
    assert f"The winner is trial {number}, the most accurate within --max-latency-ms 4: " in said
    assert " and 3.5 ms for one image; it is not on the front" in said


def test_a_winner_far_below_the_front_has_its_star(several: Evidence) -> None:
    on_front = {trial.number for trial in several.record.front}
    number = next(one for one in several.record.complete.index if one not in on_front)
    frozen = list(several.record.frozen)
    frozen[number] = copy.copy(frozen[number])
    frozen[number].values = [0.3, *frozen[number].values[1:]]
    assert several.winner is not None
    candidate = dataclasses.replace(several.winner.candidate, number=number)
    made = dataclasses.replace(
        several,
        record=dataclasses.replace(several.record, frozen=frozen),
        winner=dataclasses.replace(several.winner, candidate=candidate),
    )
    for picture in pictures(front.blocks(made)).values():
        stars, *_ = (
            part for part in drawn(picture).axes[0].collections if part.get_label() == "winner"
        )
        assert len(stars.get_offsets()) == 1


@pytest.mark.parametrize("objective", ["accuracy", "accuracy,latency"])
def test_networks_are_measured_until_those_to_retrain_are_within_the_limit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, objective: str
) -> None:
    made_study(tmp_path, 30, objective=objective)
    (tmp_path / "cnn" / "retrainings").mkdir()
    runs: list[list[int]] = []
    record = read_study(tmp_path, "cnn", None)
    if objective == "accuracy":  # whose trials have no latency
        for trial in record.frozen:
            trial.user_attrs["latency_ms"] = 0.5
    ordered = record.complete.index.tolist()
    slow = ordered[:3]

    def measure(_: object, space: str, data: object, params: Any, *rest: object, name: str) -> Any:
        runs.append(list(params))
        return {number: TIMES | {"latency_ms": 9.0 * (number in slow)} for number in params}

    monkeypatch.setattr("reporting.timing.run_apart", measure)
    settings = ReportSettings(max_latency_ms=2.0, top=2)
    times = times_of_choice(settings, record, CLOTHING, print)
    chosen = chosen_trials(settings, dataclasses.replace(record, times=times))
    assert chosen[0] == ordered[3]
    assert set(chosen) <= times.keys()
    measured = [number for run in runs for number in run]
    assert len(measured) == len(set(measured))
    if objective == "accuracy":
        assert runs == [ordered[:2], ordered[2:4], ordered[4:5]]
    assert times_of_choice(settings, record, CLOTHING, print) == times  # they are kept
    slow += ordered
    with pytest.raises(ReportError, match=r"is within --max-latency-ms 2 \(lowest: 9 ms for"):
        (tmp_path / "cnn" / "retrainings" / "latency.json").unlink()
        times_of_choice(settings, record, CLOTHING, print)


def test_nothing_was_retrained(several: Evidence) -> None:
    written = front.blocks(dataclasses.replace(several, winner=None, rows=[]))
    assert "The winner will be the knee of the front." in words(written)
    for picture in pictures(written).values():
        for width in (WIDE, NARROW):
            drawn(picture, width)


def test_only_a_search_with_several_objectives_has_the_chapter(
    several: Evidence, evidence: Evidence
) -> None:
    titles = [section.title for section in document_of(several).sections]
    assert titles[:3] == ["Verdict", "Pareto front", "Accuracy"]
    assert "Pareto front" not in [section.title for section in document_of(evidence).sections]
    assert words(front.blocks(evidence)) == "The search had one objective, so there is no front."


def test_limits_of_the_last_search_hold_unless_the_report_has_its_own(tmp_path: Path) -> None:
    runs = [{"settings": {"max_params": 9}}, {"settings": {"max_params": 50_000}}]
    made_study(tmp_path, 30, objective="accuracy,parameters", runs=runs)
    record = read_study(tmp_path, "cnn", None)
    within = chosen_trials(ReportSettings(), record)
    assert all(record.frozen[number].user_attrs["parameters"] <= 50_000 for number in within)
    more = chosen_trials(ReportSettings(max_params=10**9), record)
    assert more == [trial.number for trial in record.front[:2]]


def test_a_limit_beside_the_objectives_counts_before_the_front(tmp_path: Path) -> None:
    made = made_evidence(tmp_path, facts={"objective": "accuracy,latency"})
    on_front = {trial.number for trial in made.record.front}
    number = next(one for one in made.record.complete.index if one not in on_front)
    frozen = list(made.record.frozen)
    frozen[number] = copy.copy(frozen[number])
    frozen[number].user_attrs = {**frozen[number].user_attrs, "flops": 5}
    made = limited(
        dataclasses.replace(made, record=dataclasses.replace(made.record, frozen=frozen)),
        max_flops=5,
    )
    assert chosen_trials(made.settings, made.record) == [number]
    said = words(front.blocks(made))
    assert f"The winner is trial {number}, the most accurate within --max-flops 5: " in said
    assert "not on the front, but no trial of the front within the limits is as accurate" in said


def test_a_trial_that_another_program_has_added_has_its_values_as_costs(tmp_path: Path) -> None:
    study = made_study(tmp_path, 30, objective="accuracy,parameters")
    study.tell(study.ask(), [0.999, 10])
    made = made_evidence(tmp_path / "other", facts={"objective": "accuracy,parameters"})
    made = dataclasses.replace(made, record=read_study(tmp_path, "cnn", None), winner=None)
    written = front.blocks(made)
    assert tables(written)["front"].values["parameters"].tolist() == [10]
    draw_all(written)
    assert chosen_trials(ReportSettings(max_params=10), made.record) == [30]


def test_limits_hold_with_one_objective_too(tmp_path: Path) -> None:
    made_study(tmp_path, 30)
    record = read_study(tmp_path, "cnn", None)
    numbers = chosen_trials(ReportSettings(max_params=400_000), record)
    complete = record.complete
    assert numbers == complete.index[complete["parameters"] <= 400_000].tolist()[:2]


@pytest.mark.parametrize("top", [1, 2, 3])
def test_the_default_takes_the_last_of_several_places(tmp_path: Path, top: int) -> None:
    made_study(tmp_path, 30)
    record = read_study(tmp_path, "cnn", None)
    [default] = record.trials.index[record.trials["name"] == "default"]
    best = record.complete.index.tolist()
    assert best.index(default) > 2
    expected = best[:1] if top == 1 else [*best[: top - 1], default]
    assert chosen_trials(ReportSettings(top=top), record) == expected
    assert chosen_trials(ReportSettings(top=30), record) == best


@pytest.mark.parametrize(
    ("limits", "message"),
    [
        (
            {"max_params": 10},
            r"^no complete trial of study 'cnn' is within --max-params 10 \(lowest: [\d,]+ "
            r"parameters\)\. Raise --max-params, or search for cheaper networks\.$",
        ),
        (
            {"max_latency_ms": 1.0},
            r"^--max-latency-ms 1 cannot be applied: no complete trial of study 'cnn' has its "
            r"latency. A search finds it out with --objective accuracy,latency or --max-latency-",
        ),
    ],
)
def test_limits_that_no_trial_keeps_are_refused(
    tmp_path: Path, limits: dict[str, float], message: str
) -> None:
    made_study(tmp_path, 30)
    with pytest.raises(ReportError, match=message):
        chosen_trials(ReportSettings(**limits), read_study(tmp_path, "cnn", None))


@pytest.fixture
def moved(several: Evidence, tmp_path: Path) -> Record:
    """The search, in a folder of which nothing is measured yet."""
    (tmp_path / "retrainings").mkdir()
    return dataclasses.replace(several.record, directory=tmp_path)


@pytest.mark.parametrize("content", [None, "{", "[]", '{"3": {}}', '{"3": 1}'])
def test_a_damaged_file_of_times_holds_none(moved: Record, content: str | None) -> None:
    if content is not None:
        (moved.directory / "retrainings" / "latency.json").write_text(content)
    assert times_again(moved, CLOTHING, [3], measure=False, say=print) == {}


def test_times_are_measured_once_and_kept(moved: Record) -> None:
    said: list[str] = []
    number = moved.front[0].number
    found = [
        times_again(moved, CLOTHING, [number], measure=True, say=said.append) for _ in range(2)
    ]
    assert found[0] == found[1]
    low, high = found[0][number]["latency_quartiles_ms"]
    assert 0 < low <= found[0][number]["latency_ms"] <= high
    assert said == ["measuring the latency of 1 network again, about 10 s each"]
    file = moved.directory / "retrainings" / "latency.json"
    (key,) = json.loads(file.read_text())
    file.write_text(json.dumps({key: {**TIMES, "latency_ms": "x"}}))
    assert times_again(moved, CLOTHING, [number], measure=False, say=print) == {}
    file.write_text(json.dumps({key: TIMES}))
    assert times_again(moved, CLOTHING, [number], measure=False, say=print) == {number: TIMES}
    file.write_text(json.dumps({key: TIMES}) + " " * 10**7)
    assert times_again(moved, CLOTHING, [number], measure=False, say=print) == {}


def test_times_are_those_of_the_network_not_of_the_number(
    moved: Record, monkeypatch: pytest.MonkeyPatch
) -> None:
    number, other = (trial.number for trial in moved.front[:2])

    def measure(_: object, space: str, data: object, params: Any, *rest: object, name: str) -> Any:
        return dict.fromkeys(params, TIMES)

    def kept(record: Record, data: DataShape = CLOTHING) -> bool:
        return number in times_again(record, data, [number], measure=False, say=print)

    monkeypatch.setattr("reporting.timing.run_apart", measure)
    times_again(moved, CLOTHING, [number], measure=True, say=print)
    assert kept(moved)
    # A study that is begun anew under the same name.
    frozen = list(moved.frozen)
    frozen[number] = frozen[other]
    assert not kept(dataclasses.replace(moved, frozen=frozen))
    assert not kept(dataclasses.replace(moved, facts={**moved.facts, "space": "mlp"}))
    assert not kept(moved, dataclasses.replace(CLOTHING, classes=11))
    assert not kept(moved, dataclasses.replace(CLOTHING, pixels=None))
    monkeypatch.setattr("reporting.timing.versions", dict)
    assert not kept(moved)


def test_a_network_that_cannot_be_built_is_said(moved: Record) -> None:
    said: list[str] = []
    broken = dataclasses.replace(moved, facts={**moved.facts, "space": "nowhere"})
    assert times_again(broken, CLOTHING, [0], measure=True, say=said.append) == {}
    assert said[1].startswith("trial 0: its latency was not measured again, ")
    assert f"more in {moved.directory / 'logs' / 'latency.log'}" in said[1]


def test_views_are_not_tried_where_a_prediction_must_be_cheap(
    tmp_path: Path, several: Evidence
) -> None:
    def views(made: Evidence, **limits: float) -> Views:
        settings = dataclasses.replace(made.settings, **limits)
        plan = Plan(settings, made.record, made.dataset.shape, 60_000)
        return plan.views(plan.candidates[0])

    made = made_evidence(tmp_path)
    for trial in made.record.frozen:
        trial.user_attrs |= {"flops": 10**6, "latency_ms": 1.0}
    assert views(made).mirror
    assert views(made, max_params=10**9).mirror
    assert views(made, max_flops=10**12) == views(made, max_latency_ms=1e9) == ALONE
    runs = [{"settings": {"max_flops": 10**12}}]
    searched = dataclasses.replace(made.record, facts=made.record.facts | {"runs": runs})
    assert views(dataclasses.replace(made, record=searched)) == ALONE
    # The limits of a report take the place of those of the search.
    assert views(dataclasses.replace(made, record=searched), max_params=10**9).mirror
    assert views(several) == ALONE
    note = tables(accuracy.blocks(several))["accuracy"].note
    assert note is not None
    assert "Means over mirror images" in note
    assert note.endswith(
        "were not tried: latency is limited or minimized, and each view of an image costs a "
        "prediction."
    )
