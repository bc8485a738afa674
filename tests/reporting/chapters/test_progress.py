"""The chapter on the course of the search."""

from typing import Any

import pytest
from matplotlib.colors import to_hex
from matplotlib.text import Text
from optuna.trial import TrialState

from reporting.chapters import progress
from tests.reporting.made_studies import trial
from tests.reporting.written import pictures, tables, words


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
        "The best trial, 3, was number 3 of 4 finished trials"
    )
    assert (
        found["progress-time"].finding == "The best trial, 3, ended after 31 min 00 s of 1 h 00 min"
    )
    assert "Trial 3, finished trial 3, was the first to beat bn-cnn (90.00 %)" in words(section)
    steps = tables(section)["progress"].values
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


def test_states_differ_in_more_than_colour(searched: Any) -> None:
    made = [trial([0.9]), trial([0.8], TrialState.PRUNED), trial([0.85])]
    axes = pictures(progress.blocks(searched(made)))["progress-trials"].figure.axes[0]
    looks = {
        (to_hex(points.get_facecolor()[0]), points.get_paths()[0].vertices.tobytes())
        for points in axes.collections
        if len(points.get_offsets())
    }
    assert len({shape for _, shape in looks}) == len(looks) == 2
