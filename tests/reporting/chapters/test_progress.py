"""The chapter on the course of the search."""

from typing import Any

import pytest
from matplotlib.colors import to_hex
from matplotlib.text import Text
from optuna.trial import TrialState

from reporting.chapters import progress, trials
from tests.reporting.made_studies import trial
from tests.reporting.written import drawn, pictures, tables, words


def test_progress_names_the_best_trial_and_when_it_came(searched: Any) -> None:
    section = progress.blocks(
        searched(
            [
                trial([0.90], minutes=(0, 10), known_as="bn-cnn"),
                trial([0.99], TrialState.PRUNED, minutes=(0, 5)),
                trial([0.99], TrialState.FAIL, minutes=(5, 6)),
                trial([0.93], minutes=(10, 31)),
                trial([0.92], minutes=(6, 60)),
            ]
        )
    )
    assert [picture.finding for picture in pictures(section).values()] == [
        "The best accuracy rose from 90.00 % to 93.00 %, all of it within the first 3 of 4 trials"
    ]
    assert "Trial 3, finished trial 3, was the first to beat bn-cnn (90.00 %)" in words(section)
    steps = tables(section)["progress"].values
    assert steps["trial"].tolist() == [0, 3]
    assert steps["gain"].iloc[1] == pytest.approx(0.03)


def test_a_trial_that_a_user_enqueued_is_called_so(searched: Any) -> None:
    made = [trial([0.9], known_as="default"), trial([0.93], enqueued={"flag": "--enqueue"})]
    evidence = searched(made)
    assert "Trial 1, which a user enqueued, finished trial 2, was the first to beat default" in (
        words(progress.blocks(evidence))
    )
    names = tables(trials.blocks(evidence))["trials"].values["name"]
    assert names.fillna("").tolist() == ["enqueued", "default"]


def test_progress_says_how_soon_most_of_the_rise_came(searched: Any) -> None:
    made = [trial([value]) for value in (0.80, 0.90, 0.895, 0.905, 0.85, 0.906)]
    finding = pictures(progress.blocks(searched(made)))["progress"].finding
    assert finding == (
        "The best accuracy rose from 80.00 % to 90.60 %, 94 % of the rise within the first 2 of 6 "
        "trials"
    )


def test_progress_of_a_search_whose_first_trial_stays_the_best(searched: Any) -> None:
    made = [trial([0.9]), trial([0.8])]
    found = pictures(progress.blocks(searched(made)))["progress"]
    assert found.finding == "No later trial beat trial 0, with 90.00 %"


def test_pruned_trials_do_not_set_the_scale(searched: Any) -> None:
    pruned = [trial([0.1], TrialState.PRUNED) for _ in range(5)]
    found = pictures(progress.blocks(searched([trial([0.9]), *pruned, trial([0.92])])))["progress"]
    assert drawn(found).axes[0].get_ylim()[0] > 0.89
    assert "5 points are below the axis" in found.caption


def test_progress_says_when_no_trial_passed_the_first_configurations(searched: Any) -> None:
    made = [trial([0.93], known_as="default"), trial([0.92])]
    text = words(progress.blocks(searched(made)))
    assert "The search began with it (default): no other trial beat it." in text


def test_labels_of_near_baselines_do_not_overlap(searched: Any) -> None:
    made = [trial([0.9 + 0.0001 * i], known_as=f"baseline-{i}") for i in range(8)]
    figure = drawn(pictures(progress.blocks(searched([*made, trial([0.8])])))["progress"])
    figure.draw_without_rendering()
    boxes = [Text.get_window_extent(text) for text in figure.axes[0].texts]
    assert len(boxes) == 8
    assert not any(a.overlaps(b) for i, a in enumerate(boxes) for b in boxes[i + 1 :])
    lines = [text.arrow_patch.get_window_extent() for text in figure.axes[0].texts]
    assert not any(line.x1 > box.x0 + 1 for line in lines for box in boxes)


def test_states_differ_in_more_than_colour(searched: Any) -> None:
    made = [trial([0.9]), trial([0.8], TrialState.PRUNED), trial([0.85])]
    axes = drawn(pictures(progress.blocks(searched(made)))["progress"]).axes[0]
    looks = {
        (to_hex(points.get_facecolor()[0]), points.get_paths()[0].vertices.tobytes())
        for points in axes.collections
        if len(points.get_offsets())
    }
    assert len({shape for _, shape in looks}) == len(looks) == 2
