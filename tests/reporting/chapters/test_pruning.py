"""The chapter on pruning."""

from typing import Any

import pytest
from optuna.trial import TrialState
from scipy.stats import kendalltau, spearmanr

from reporting.chapters import pruning
from reporting.evidence import Evidence
from tests.reporting.made_studies import trial
from tests.reporting.written import tables, words


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
