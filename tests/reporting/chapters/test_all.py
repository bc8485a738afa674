"""Every chapter does without what a small or unfinished study lacks."""

import dataclasses
from types import ModuleType
from typing import Any

import numpy as np
import pandas as pd
import pytest
from optuna.trial import FrozenTrial, TrialState

from reporting.chapters import (
    accuracy,
    classes,
    data,
    mistakes,
    progress,
    pruning,
    tradeoff,
    trials,
    verdict,
    winner,
)
from reporting.chapters.contents import CHAPTERS
from reporting.evidence import Evidence
from tests.reporting.made_studies import FILTERS, random_trials, trial
from tests.reporting.written import draw_all, drawn, pictures, tables, words

RESULTS = (verdict, accuracy, tradeoff, winner, classes, mistakes, data)
SEARCH = (progress, pruning, trials)


@pytest.mark.parametrize("chapter", [accuracy, tradeoff, winner, classes, mistakes])
def test_nothing_retrained(chapter: ModuleType, untrained: Evidence) -> None:
    section = chapter.blocks(untrained)
    assert "Nothing was retrained, so no winner was chosen" in words(section)
    assert len(section) == 1


@pytest.mark.parametrize("chapter", RESULTS)
def test_one_seed_and_gaps(chapter: ModuleType, single: Evidence) -> None:
    section = chapter.blocks(single)
    for picture in pictures(section).values():
        drawn(picture)


@pytest.mark.parametrize("chapter", RESULTS)
@pytest.mark.parametrize("kept", ["tuned", "baseline", ""])
def test_only_some_rows(chapter: ModuleType, kept: str, evidence: Evidence) -> None:
    empty = np.empty((0, 1000, 10))
    rows = [
        row
        if row.kind == kept
        else dataclasses.replace(row, runs=[], probabilities=empty, gap="killed")
        for row in evidence.rows
    ]
    section = chapter.blocks(dataclasses.replace(evidence, rows=rows))
    for picture in pictures(section).values():
        drawn(picture)
    if kept != "tuned" and chapter in (classes, mistakes):
        assert words(section) == ("No final training of the winner is finished (killed).")


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
        section = chapter.section(small)
        assert section.blocks
        draw_all(section.blocks)


def test_chapters_do_without_times_and_attributes(searched: Any) -> None:
    untimed = searched(random_trials(8))
    untimed.record.trials[["started", "ended_at"]] = pd.NaT
    untimed.record.trials[["seconds", "epochs", "parameters", "reason", "name"]] = None
    for chapter in SEARCH:
        draw_all(chapter.blocks(untimed))
    assert set(tables(progress.blocks(untimed))["progress"].shown["time"]) == {"-"}
    assert "No timeline" in words(trials.blocks(untimed))
    assert set(tables(trials.blocks(untimed))["budget"].shown["worker hours"]) == {"-"}
