"""The chapter on all trials."""

from typing import Any

import numpy as np
import pytest
from optuna.trial import TrialState

from reporting.chapters import trials
from reporting.evidence import Evidence
from tests.reporting.made_studies import random_trials, trial
from tests.reporting.written import drawn, pictures, tables, words


def test_budget_counts_states_and_estimates_what_pruning_saved(searched: Any) -> None:
    section = trials.blocks(
        searched(
            [
                trial([0.9] * 8, seconds=80.0, epochs=8),
                trial([0.5] * 2, TrialState.PRUNED, seconds=30.0, epochs=2),
                trial([], TrialState.FAIL, minutes=(0, 2), reason="non-finite loss in epoch 1"),
                trial([], TrialState.FAIL, minutes=(2, 3), reason="non-finite loss in epoch 2"),
                trial([], TrialState.FAIL, reason="the same configuration", duplicate_of=0),
            ]
        )
    )
    rows = tables(section)["budget"].values
    assert dict(zip(rows["ending"], rows["trials"], strict=True)) == {
        "complete": 1,
        "pruned": 1,
        "failed": 2,
        "duplicate": 1,
    }
    assert rows["share of seconds"].sum() == pytest.approx(1)
    text = words(section)
    assert "skipped 6 epochs in 1 trial;" in text
    assert "saved at most about 1 min 30 s of worker time" in text
    assert "Rejected before training: 1 duplicate proposal, at" in text
    failures = tables(section)["budget-failures"].values
    assert failures.to_dict("records") == [
        {
            "reason": "non-finite loss in epoch N",
            "trials": 2,
            "epochs": 0.0,
            "seconds": 180.0,
            "numbers": "2, 3",
        }
    ]


def test_pruning_saves_no_share_of_no_time(searched: Any) -> None:
    section = trials.blocks(
        searched(
            [
                trial([0.9] * 8, seconds=0.0, epochs=8),
                trial([0.5] * 2, TrialState.PRUNED, seconds=0.0, epochs=2),
            ]
        )
    )
    text = words(section)
    assert "skipped 6 epochs in 1 trial; 10 epochs were trained in all." in text
    assert "This saved" not in text


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
        "Up to 2 trials ran at a time; workers were busy 100 % of 10 min 00 s"
    )
    heights = {
        round(float(np.ptp(path.vertices[:, 1])), 3)
        for bars in drawn(timeline).axes[0].collections
        for path in bars.get_paths()
    }
    assert len(heights) == 2  # states are told apart without colour


def test_all_trials_are_sorted_with_their_hyperparameters(evidence: Evidence) -> None:
    table = tables(trials.blocks(evidence))["trials"]
    assert table.fold
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
    assert (len(table.shown), len(table.values)) == (200, 203)
    assert "The first 200 of 203 rows; the CSV has all." in table.below


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
        {"reason": "no reason recorded", "trials": "1", "trial numbers": "3"},
    ]
    assert "Rejected before training: 1 duplicate proposal, at" in words(section)
