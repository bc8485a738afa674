"""The chapter on what mattered."""

from typing import Any

import numpy as np
import optuna
import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.trial import TrialState

from reporting.chapters import importance
from reporting.chapters.importance import importances
from reporting.evidence import Evidence
from tests.reporting.made_studies import FILTERS, random_trials, trial
from tests.reporting.written import drawn, pictures, tables, words


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
    assert len(section) == 1


def test_every_point_lies_within_its_interval(evidence: Evidence) -> None:
    section = importance.blocks(evidence)
    shares = tables(section)["importance"].values
    assert shares is not None
    assert shares["median"].between(shares["low"], shares["high"]).all()
    axes = drawn(pictures(section)["importance"]).axes[0]
    assert axes.lines[0].get_xdata() == pytest.approx(shares["median"].head(15)[::-1])


def test_an_uncertain_order_is_not_called_one(searched: Any) -> None:
    rng = np.random.default_rng(0)
    made = [
        trial(
            [0.9 + 0.001 * rng.random()],
            params={name: (float(rng.random()), FloatDistribution(0, 1)) for name in "abcdef"},
        )
        for _ in range(30)
    ]
    section = importance.blocks(searched(made))
    finding = pictures(section)["importance"].finding
    assert finding.startswith("Which hyperparameter mattered most is uncertain: ")
    assert "With 30 complete trials this chapter gives hints, not findings" in words(section)


def test_slices_name_the_axis_below_it_and_leave_out_batch_norm(searched: Any) -> None:
    picture = pictures(importance.blocks(searched(random_trials(60))))["importance-slices"]
    panels = [axes.get_xlabel() for axes in drawn(picture).axes if axes.axison]
    assert panels[0] == "learning_rate (n = 60)"
    assert len(panels) == 3
    assert not any("batch_norm" in name for name in panels)
    assert not any(axes.get_title() for axes in drawn(picture).axes)
    assert "have their own chapter" in picture.caption


def test_ticks_of_a_log_axis_are_round_numbers(searched: Any) -> None:
    dense = IntDistribution(16, 512, log=True)
    made = [
        trial([0.8 + 0.0001 * units], params={"dense_1": (units, dense), "same": (16, FILTERS)})
        for units in (16, 20, 40, 60, 90, 130, 200, 400)
    ]
    axes = drawn(pictures(importance.blocks(searched(made)))["importance-slices"]).axes[0]
    axes.figure.draw_without_rendering()
    low, high = axes.get_xlim()
    ticks = axes.xaxis.get_major_ticks()
    shown = [tick.label1.get_text() for tick in ticks if low <= tick.get_loc() <= high]
    assert shown == ["20", "50", "100", "200"]


def test_the_pair_map_is_left_out_where_most_cells_hold_one_trial(searched: Any) -> None:
    few = [
        trial([0.8 + 0.001 * i], params={name: (i / 30, FloatDistribution(0, 1)) for name in "ab"})
        for i in (3, 8, 13, 18, 23, 28)
    ]
    assert "importance-pair" not in pictures(importance.blocks(searched(few)))


def test_the_pair_map_names_the_cell_of_the_highest_median(searched: Any) -> None:
    values = CategoricalDistribution(["low", "high"])
    made = [
        trial(
            [0.8 + 0.05 * (x == y == "high") + 0.01 * (x == "high")],
            params={"x": (x, values), "y": (y, values)},
        )
        for x in values.choices
        for y in values.choices
        for _ in range(3)
    ]
    picture = pictures(importance.blocks(searched(made)))["importance-pair"]
    assert "is at x high and y high (n = 3)" in picture.finding.replace(
        "y high and x", "x high and y"
    )


def test_parallel_axes_label_each_value_once_and_end_at_the_accuracy(searched: Any) -> None:
    made = random_trials(24)
    for index, one in enumerate(made):
        one.params["convs"] = 1 + index % 2
        one.distributions["convs"] = IntDistribution(1, 2)
    picture = pictures(importance.blocks(searched(made)))["importance-parallel"]
    axes = drawn(picture).axes[0]
    names = [label.get_text().replace("\n", "") for label in axes.get_xticklabels()]
    assert names[-1] == "validationaccuracy"
    index = names.index("convs")
    labels = [text.get_text() for text in axes.texts if int(text.get_position()[0]) == index]
    assert labels == ["1", "2"]
    best, worst = axes.lines[-1], axes.lines[0]
    assert best.get_ydata()[-1] == 1
    assert best.get_color() != worst.get_color()
    assert best.get_linewidth() > worst.get_linewidth()
