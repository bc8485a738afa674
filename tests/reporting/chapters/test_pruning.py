"""The chapter on pruning."""

from typing import Any

import pytest
from optuna.trial import TrialState
from scipy.stats import kendalltau, spearmanr

from reporting.chapters import pruning
from reporting.evidence import Evidence
from tests.reporting.made_studies import trial
from tests.reporting.written import drawn, pictures, tables, words


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
    assert "is unknown" in text


def test_a_trial_below_the_axis_is_a_cross_on_its_edge(searched: Any) -> None:
    made = [trial([0.85, 0.9 + 0.001 * i]) for i in range(6)]
    made.append(trial([0.2], TrialState.PRUNED))
    picture = pictures(pruning.blocks(searched(made)))["pruning-curves"]
    assert "Below the axis, with crosses on its edge: 1 trial." in picture.caption
    (axes,) = drawn(picture).axes
    crosses = axes.collections[-1]
    assert crosses.get_offsets().tolist() == [[1.0, pytest.approx(axes.get_ylim()[0])]]


def test_an_early_ranking_that_agrees_is_trusted(searched: Any) -> None:
    made = [trial([0.1 * i, 0.5 + 0.01 * i]) for i in range(1, 7)]
    text = words(pruning.blocks(searched([*made, trial([0.1], TrialState.PRUNED)])))
    assert "correlation 1.00 (n = 6): at or above the 0.70 that DeepCAVE's guide asks for" in text
    assert "none was ahead" in text


def test_an_early_ranking_that_disagrees_is_not_trusted(searched: Any) -> None:
    first = (0.3, 0.1, 0.2, 0.6, 0.5, 0.4)
    made = [trial([value, 0.5 + 0.01 * i]) for i, value in enumerate(first)]
    text = words(pruning.blocks(searched([*made, trial([0.1], TrialState.PRUNED)])))
    assert "correlation 0.60 (n = 6): below the 0.70" in text


def test_the_title_and_the_table_name_the_same_epoch(searched: Any) -> None:
    # Spearman's correlation is 0.697 after the first epoch, which the table rounds to 0.70.
    places = (2, 5, 3, 4, 6, 7, 1, 8, 10, 9)
    differences = sum((place - i) ** 2 for i, place in enumerate(places, start=1))
    assert 0.695 <= 1 - 6 * differences / 990 < 0.70
    made = [
        trial([0.1 + 0.01 * place, 0.5 + 0.01 * i, 0.5 + 0.01 * i])
        for i, place in enumerate(places)
    ]
    section = pruning.blocks(searched([*made, trial([0.1], TrialState.PRUNED)]))
    assert tables(section)["pruning-correlation"].shown["Spearman"].iloc[0] == "0.70"
    assert pictures(section)["pruning-correlation"].finding == (
        "The correlation with the final ranking first reaches 0.70 at epoch 1"
    )
    assert "at or above the 0.70" in words(section)
