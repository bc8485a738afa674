import dataclasses
import datetime
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import pandas as pd
import pytest
from matplotlib.colors import to_hex
from matplotlib.text import Text
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)
from optuna.trial import FrozenTrial, TrialState
from scipy.stats import kendalltau, kruskal, spearmanr

from reporting.analysis.importances import importances
from reporting.chapters import importance, progress, pruning, space_health, trials
from reporting.evidence import Evidence
from reporting.page.document import Block, Code, Paragraph, Picture, Table
from reporting.study_tables import read_study
from search.study.storage import open_storage
from tests.reporting.made_evidence import FACTS, made_evidence

CHAPTERS = (progress, pruning, importance, space_health, trials)
START = datetime.datetime(2026, 1, 1)
LEARNING_RATE = FloatDistribution(1e-4, 1e-1, log=True)
FILTERS = CategoricalDistribution([16, 32, 64])
BATCH_NORM = CategoricalDistribution(["none", "before", "after"])


@pytest.fixture(scope="module")
def evidence(tmp_path_factory: pytest.TempPathFactory) -> Evidence:
    return made_evidence(tmp_path_factory.mktemp("made"), trials=30, images=100)


@pytest.fixture
def searched(evidence: Evidence, tmp_path: Path) -> Any:
    """Evidence on a study that consists of the given trials."""

    def make(made: Sequence[FrozenTrial], **facts: Any) -> Evidence:
        (tmp_path / "own").mkdir()
        storage = open_storage((tmp_path / "own" / "study.journal").resolve(), None)
        study = optuna.create_study(study_name="own", storage=storage, direction="maximize")
        for key, value in (FACTS | {"space": "my_module:MySpace"} | facts).items():
            study.set_user_attr(key, value)
        study.add_trials(made)
        return dataclasses.replace(
            evidence,
            record=read_study(tmp_path, "own", None),
            remeasured=[],
            winner=None,
            rows=[],
            differences={},
            test=None,
        )

    return make


def trial(
    curve: Sequence[float],
    state: TrialState = TrialState.COMPLETE,
    params: Mapping[str, tuple[Any, BaseDistribution]] | None = None,
    minutes: tuple[float, float] | None = None,
    **attrs: Any,
) -> FrozenTrial:
    """A trial with these accuracies after its epochs, from and to these minutes."""
    known = params or {}
    first, last = minutes or (0.0, 1.0)
    return FrozenTrial(
        number=0,
        trial_id=0,
        state=state,
        value=None if state == TrialState.FAIL else [0.5, *curve][-1],
        datetime_start=START + datetime.timedelta(minutes=first),
        datetime_complete=START + datetime.timedelta(minutes=last),
        params={name: value for name, (value, _) in known.items()},
        distributions={name: distribution for name, (_, distribution) in known.items()},
        user_attrs=attrs,
        system_attrs={},
        intermediate_values=dict(enumerate(curve, start=1)),
    )


def tables(section: list[Block]) -> dict[str, Table]:
    return {block.name: block for block in section if isinstance(block, Table)}


def pictures(section: list[Block]) -> dict[str, Picture]:
    return {block.name: block for block in section if isinstance(block, Picture)}


def words(section: list[Block]) -> str:
    return " ".join(block.text for block in section if isinstance(block, Paragraph))


def draw_all(blocks: Sequence[Block]) -> None:
    for block in blocks:
        if isinstance(block, Picture):
            block.figure.draw_without_rendering()


def random_trials(count: int, seed: int = 0) -> list[FrozenTrial]:
    """Complete trials whose accuracy depends on the learning rate and the batch norm alone."""
    rng = np.random.default_rng(seed)
    made = []
    for _ in range(count):
        rate, place = rng.random(), int(rng.integers(3))
        final = 0.8 + 0.1 * rate + 0.02 * (place == 1)
        made.append(
            trial(
                [final - 0.1, final],
                params={
                    "learning_rate": (float(1e-4 * 1000**rate), LEARNING_RATE),
                    "noise": (float(rng.random()), FloatDistribution(0, 1)),
                    "filters": (FILTERS.choices[int(rng.integers(3))], FILTERS),
                    "conv_batch_norm": (BATCH_NORM.choices[place], BATCH_NORM),
                },
            )
        )
    return made


@pytest.mark.parametrize(
    "made",
    [
        [trial([0.5, 0.9])],
        [trial([])],
        [trial([0.9])] * 12,
        [trial([0.9], params={"filters": (16, FILTERS)})] * 12,
        [trial([0.8, 0.9]), trial([0.7], TrialState.PRUNED), trial([], TrialState.FAIL)],
        [trial([0.8, 0.9]), trial([], TrialState.PRUNED), trial([0.6], TrialState.FAIL)],
        random_trials(3),
    ],
    ids=["one", "without values", "equal", "one choice", "no params", "no curves", "three"],
)
def test_chapters_do_without_what_a_small_study_lacks(
    searched: Any, made: list[FrozenTrial]
) -> None:
    small = searched(made)
    for chapter in CHAPTERS:
        section = chapter.blocks(small)
        assert section
        draw_all(section)


def test_chapters_do_without_times_and_attributes(searched: Any) -> None:
    untimed = searched(random_trials(8))
    untimed.record.trials[["started", "ended_at"]] = pd.NaT
    untimed.record.trials[["seconds", "epochs", "parameters", "reason", "baseline"]] = None
    for chapter in CHAPTERS:
        draw_all(chapter.blocks(untimed))
    assert "8 of 8 ended trials have no start or end time." in words(progress.blocks(untimed))
    assert "No timeline" in words(trials.blocks(untimed))
    assert set(tables(trials.blocks(untimed))["budget"].shown["worker hours"]) == {"-"}


def test_progress_names_the_best_trial_and_when_it_came(searched: Any) -> None:
    section = progress.blocks(
        searched(
            [
                trial([0.90], minutes=(0, 10), baseline="bn-cnn"),
                trial([0.99], TrialState.PRUNED, minutes=(0, 5)),
                trial([0.99], TrialState.FAIL, minutes=(5, 6)),
                trial([0.93], minutes=(10, 31)),
                trial([0.92], minutes=(6, 60)),
            ]
        )
    )
    found = pictures(section)
    assert found["progress-trials"].finding == (
        "The best trial, 3, was finished trial 3 of 4; the 1 after it did not beat it"
    )
    assert (
        found["progress-time"].finding == "The best trial, 3, ended after 31 min 00 s of 1 h 00 min"
    )
    assert "Trial 3, finished trial 3, was the first to beat bn-cnn (90.00 %)" in words(section)
    steps = tables(section)["progress"].values
    assert steps is not None
    assert steps["trial"].tolist() == [0, 3]
    assert steps["gain"].iloc[1] == pytest.approx(0.03)


def test_progress_says_when_no_trial_passed_the_first_configurations(searched: Any) -> None:
    made = [trial([0.93], baseline="default"), trial([0.92])]
    text = words(progress.blocks(searched(made)))
    assert "It is a baseline (default): no other trial beat it." in text


def test_labels_of_near_baselines_do_not_overlap(searched: Any) -> None:
    made = [trial([0.9 + 0.0001 * i], baseline=f"baseline-{i}") for i in range(8)]
    figure = pictures(progress.blocks(searched([*made, trial([0.8])])))["progress-trials"].figure
    figure.draw_without_rendering()
    boxes = [Text.get_window_extent(text) for text in figure.axes[0].texts]
    assert len(boxes) == 8
    assert not any(a.overlaps(b) for i, a in enumerate(boxes) for b in boxes[i + 1 :])


def test_budget_counts_states_and_estimates_what_pruning_saved(searched: Any) -> None:
    section = trials.blocks(
        searched(
            [
                trial([0.9] * 8, seconds=80.0, epochs=8),
                trial([0.5] * 2, TrialState.PRUNED, seconds=30.0, epochs=2),
                trial([], TrialState.FAIL, minutes=(0, 2), reason="non-finite loss in epoch 1"),
                trial([], TrialState.FAIL, minutes=(2, 3), reason="non-finite loss in epoch 2"),
                trial([], TrialState.FAIL, reason="the same configuration", duplicate_of=0),
                trial([], TrialState.FAIL, reason="one more than", surplus=True),
            ]
        )
    )
    rows = tables(section)["budget"].values
    assert rows is not None
    assert dict(zip(rows["ending"], rows["trials"], strict=True)) == {
        "complete": 1,
        "pruned": 1,
        "failed": 2,
        "duplicate": 1,
        "surplus": 1,
    }
    assert rows["share of seconds"].sum() == pytest.approx(1)
    text = words(section)
    assert "skipped 6 epochs in 1 trial;" in text
    assert "saved about 1 min 30 s of worker time" in text
    assert "Refused before training: 1 duplicate proposal, at" in text
    failures = tables(section)["budget-failures"].values
    assert failures is not None
    assert failures.to_dict("records") == [
        {
            "reason": "non-finite loss in epoch N",
            "trials": 2,
            "epochs": 0.0,
            "seconds": 180.0,
            "numbers": "2, 3",
        }
    ]


def test_budget_rebuilds_lanes_of_workers(searched: Any) -> None:
    section = trials.blocks(
        searched(
            [
                trial([0.9], minutes=(0, 10)),
                trial([0.8], TrialState.PRUNED, minutes=(0, 4)),
                trial([0.8], TrialState.PRUNED, minutes=(4, 10)),
            ]
        )
    )
    timeline = pictures(section)["budget-timeline"]
    assert timeline.finding == (
        "At most 2 trials ran in parallel; 100 % of the capacity was used in 10 min 00 s"
    )
    heights = {
        round(float(np.ptp(path.vertices[:, 1])), 3)
        for bars in timeline.figure.axes[0].collections
        for path in bars.get_paths()
    }
    assert len(heights) == 2  # states are told apart without colour


def test_pruning_correlations_are_those_of_scipy(evidence: Evidence) -> None:
    record = evidence.record
    complete = record.trials["state"] == "COMPLETE"
    ranks = tables(pruning.blocks(evidence))["pruning-correlation"].values
    assert ranks is not None
    row = ranks.set_index("epoch").loc[2]
    early, final = record.curves.loc[complete, 2], record.trials.loc[complete, "value"]
    assert row["n"] == complete.sum()
    assert row["spearman"] == pytest.approx(spearmanr(early, final).statistic)
    assert row["kendall"] == pytest.approx(kendalltau(early, final).statistic)


def test_pruning_counts_trials_stopped_in_the_upper_half(searched: Any) -> None:
    section = pruning.blocks(
        searched(
            [
                trial([0.80, 0.90]),
                trial([0.70, 0.85]),
                trial([0.75], TrialState.PRUNED),
                trial([0.60], TrialState.PRUNED),
                trial([0.85], TrialState.PRUNED),
            ]
        )
    )
    # The median after epoch 1 is 0.75, which is not above itself.
    text = words(section)
    assert "1 of 3 pruned trials were in the upper half" in text
    assert "1 was ahead of trial 0" in text
    assert "Only 2 complete trials" in text
    assert "cannot be said" in text


def test_pruning_judges_by_the_guide(searched: Any) -> None:
    made = [trial([0.1 * i, 0.5 + 0.01 * i]) for i in range(1, 7)]
    text = words(pruning.blocks(searched([*made, trial([0.1], TrialState.PRUNED)])))
    assert "correlation 1.00 (n = 6): a very strong relationship by DeepCAVE's guide" in text
    assert "none was ahead" in text


def test_importance_finds_what_accuracy_depends_on(searched: Any) -> None:
    section = importance.blocks(searched(random_trials(60)))
    assert pictures(section)["importance"].finding.startswith("learning_rate mattered most")
    assert "PedAnova" in words(section) and "hint" not in words(section)
    shares = tables(section)["importance"].values
    assert shares is not None
    assert shares["share"].sum() == pytest.approx(1)
    assert shares["n"].tolist() == [60] * 4


def test_importance_agrees_with_optuna_and_is_repeatable(searched: Any) -> None:
    record = searched(random_trials(50)).record
    found, again = importances(record), importances(record)
    assert found is not None and again is not None
    assert found.table.equals(again.table)
    assert (found.trials, found.top) == (50, 5)
    theirs = optuna.importance.get_param_importances(record.study)
    assert found.table["share"].to_dict() == pytest.approx(theirs)


def test_importance_takes_in_conditional_hyperparameters_and_no_pruned_trials(
    searched: Any,
) -> None:
    depth = IntDistribution(1, 9)
    made = random_trials(12)
    made += [trial([0.8 + 0.02 * i], params={"depth": (i, depth)}) for i in range(1, 9)]
    made += [trial([0.99], TrialState.PRUNED, params={"depth": (9, depth)})] * 5
    found = importances(searched(made).record)
    assert found is not None
    assert found.table.loc["depth", "n"] == 8
    assert found.complete == 20


def test_importance_is_not_claimed_where_nothing_differs(searched: Any) -> None:
    section = importance.blocks(searched([trial([0.9], params={"filters": (16, FILTERS)})] * 9))
    assert "Importance cannot be computed" in words(section)
    assert "are not compared" in words(section)
    assert "Only 9 complete trials" in words(section)


def test_batch_norm_is_compared_by_the_test_of_scipy(searched: Any) -> None:
    made = searched(random_trials(60))
    tests = tables(importance.blocks(made))["importance-tests"].values
    assert tests is not None
    record = made.record
    groups = [part for _, part in record.trials["value"].groupby(record.params["conv_batch_norm"])]
    row = tests.set_index("hyperparameter").loc["conv_batch_norm"]
    assert row["n"] == 60
    assert row["p"] == pytest.approx(kruskal(*groups).pvalue)
    assert len(tests) == 1


def test_dropout_rates_are_grouped(searched: Any) -> None:
    rates = FloatDistribution(0, 0.5, step=0.05)
    made = [
        trial([0.9 + 0.001 * i], params={"conv_dropout": (rate, rates)})
        for i, rate in enumerate([0.0, 0.05, 0.2, 0.25, 0.35, 0.4, 0.5])
    ]
    groups = tables(importance.blocks(searched(made)))["importance-choices"].values
    assert groups is not None
    assert dict(zip(groups["group"], groups["complete trials"], strict=True)) == {
        "0": 1,
        "up to 0.2": 2,
        "0.2 to 0.35": 2,
        "above 0.35": 2,
    }


def test_space_health_widens_where_the_best_sit_at_a_bound(searched: Any) -> None:
    momentum = FloatDistribution(0, 1)
    made = [
        trial(
            [0.9 - 0.01 * i],
            params={
                "learning_rate": (0.09 if i < 5 else 0.001, LEARNING_RATE),
                "momentum": (0.01 if i < 5 else 0.5, momentum),
                "filters": (64 if i < 6 else 32, FILTERS),
            },
        )
        for i in range(20)
    ]
    section = space_health.blocks(searched(made))
    bounds = tables(section)["space-bounds"].shown.set_index("hyperparameter")
    assert bounds.loc["learning_rate", "best at high end"] == "5 of 5"
    assert bounds.loc["learning_rate", "all at high end"] == "5 of 20 (25 %)"
    assert bounds.loc["learning_rate", "suggestion"] == "widen above 0.1"
    assert bounds.loc["momentum", "suggestion"] == "0 is a natural end"
    assert pictures(section)["space-bounds"].finding.endswith("a bound of learning_rate")


def test_space_health_says_which_choices_never_won(searched: Any) -> None:
    made = [
        trial([0.9 - 0.01 * i], params={"filters": (64 if i < 6 else 32, FILTERS)})
        for i in range(20)
    ]
    choices = tables(space_health.blocks(searched(made)))["space-choices"].values
    assert choices is not None
    rows = choices.set_index("choice")
    assert rows["tried"].to_dict() == {16: 0, 32: 14, 64: 6}
    assert rows["best"].to_dict() == {16: 0, 32: 0, 64: 5}
    assert rows["verdict"].to_dict() == {16: "never tried", 32: "candidate to drop", 64: ""}
    # 6 / 20 * 5 / 19 * 4 / 18 * 3 / 17 * 2 / 16
    assert rows.loc[32, "chance"] == pytest.approx(6 * 5 * 4 * 3 * 2 / (20 * 19 * 18 * 17 * 16))


@pytest.mark.parametrize(
    ("command", "following"),
    [
        ("python run_search.py --trials 5 --seed 1", "python run_search.py --trials 8 --seed 1"),
        ("python run_search.py --seed 1 --trials=5", "python run_search.py --seed 1 --trials 8"),
        (
            "python run_search.py --patience-trials 3",
            "python run_search.py --patience-trials 3 --trials 8",
        ),
    ],
)
def test_the_next_command_asks_for_twice_the_finished_trials(
    searched: Any, command: str, following: str
) -> None:
    made = [*random_trials(3), trial([0.5], TrialState.PRUNED), trial([], TrialState.FAIL)]
    section = space_health.blocks(searched(made, command=command))
    codes = [block.text for block in section if isinstance(block, Code)]
    assert codes == [following]


def test_all_trials_are_sorted_with_their_hyperparameters(evidence: Evidence) -> None:
    table = tables(trials.blocks(evidence))["trials"]
    assert table.fold and table.values is not None
    assert len(table.values) == len(table.shown) == 30
    states = table.shown["state"].tolist()
    assert states == sorted(states, key=["complete", "pruned", "failed"].index)
    best = evidence.record.complete.index[0]
    assert int(table.shown["trial"].iloc[0]) == table.values["number"].iloc[0] == best
    values = table.values.loc[table.values["state"] == "COMPLETE", "value"]
    assert values.is_monotonic_decreasing
    assert {f"params_{name}" for name in evidence.record.params} <= set(table.values.columns)


def test_long_tables_of_trials_are_cut_and_say_so(searched: Any) -> None:
    section = trials.blocks(searched(random_trials(203)))
    table = tables(section)["trials"]
    assert table.values is not None
    assert (len(table.shown), len(table.values)) == (200, 203)
    assert "(the first 200 of 203; the CSV has all)" in table.caption


def test_failures_are_listed_with_their_reasons_and_duplicates_apart(searched: Any) -> None:
    section = trials.blocks(
        searched(
            [
                trial([0.9]),
                trial([], TrialState.FAIL, reason="2,000,000 parameters, above --max-params 1"),
                trial([], TrialState.FAIL, reason="3,000,000 parameters, above --max-params 1"),
                trial([], TrialState.FAIL),
                trial([], TrialState.FAIL, reason="the same", duplicate_of=0),
            ]
        )
    )
    shown = tables(section)["budget-failures"].shown
    assert shown[["reason", "trials", "trial numbers"]].to_dict("records") == [
        {"reason": "N parameters, above --max-params N", "trials": "2", "trial numbers": "1, 2"},
        {"reason": "no reason was kept", "trials": "1", "trial numbers": "3"},
    ]
    assert "Refused before training: 1 duplicate proposal, at" in words(section)


def test_states_differ_in_more_than_colour(searched: Any) -> None:
    made = [trial([0.9]), trial([0.8], TrialState.PRUNED), trial([0.85])]
    axes = pictures(progress.blocks(searched(made)))["progress-trials"].figure.axes[0]
    looks = {
        (to_hex(points.get_facecolor()[0]), points.get_paths()[0].vertices.tobytes())
        for points in axes.collections
        if len(points.get_offsets())
    }
    assert len({shape for _, shape in looks}) == len(looks) == 2
