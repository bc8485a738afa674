"""The chapter on the space."""

from dataclasses import replace
from typing import Any

import pytest
from optuna.distributions import BaseDistribution, FloatDistribution, IntDistribution
from optuna.trial import TrialState

from reporting.chapters import space_health
from reporting.page.document import Code
from tests.reporting.made_studies import FILTERS, LEARNING_RATE, random_trials, trial
from tests.reporting.written import pictures, tables, words


def test_a_range_is_widened_where_the_best_trials_are_at_its_end(searched: Any) -> None:
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
    assert bounds.loc["learning_rate", "best at high end"] == "5 of 5 (100 %)"
    assert bounds.loc["learning_rate", "all at high end"] == "5 of 20 (25 %)"
    assert bounds.loc["learning_rate", "widen"] == "above 0.1"
    assert bounds.loc["momentum", "widen"] == "-"
    assert pictures(section)["space-bounds"].finding == (
        "Half or more of the best trials are at an end of learning_rate"
    )


@pytest.mark.parametrize(
    ("values", "best", "words"),
    [
        (IntDistribution(1, 2), 1, "-"),
        (IntDistribution(1, 2), 2, "-"),
        (IntDistribution(0, 4), 4, "-"),
        (IntDistribution(1, 100), 1, "-"),
        (IntDistribution(1, 100), 100, "above 100"),
        (FloatDistribution(0, 0.5), 0.0, "-"),
        (FloatDistribution(0, 0.5), 0.5, "above 0.5"),
        (FloatDistribution(0, 1), 1.0, "-"),
        (FloatDistribution(0.1, 1), 0.1, "below 0.1"),
    ],
)
def test_only_ends_that_can_move_are_widened(
    searched: Any, values: BaseDistribution, best: float, words: str
) -> None:
    made = [trial([0.9 - 0.01 * i], params={"x": (best, values)}) for i in range(20)]
    section = space_health.blocks(searched(made))
    assert tables(section)["space-bounds"].shown["widen"].tolist() == [words]
    narrow = pictures(section)["space-bounds"].finding
    assert (narrow == "No range looks too narrow") == (words == "-")


def test_choices_that_never_won_are_named(searched: Any) -> None:
    made = [
        trial([0.9 - 0.01 * i], params={"filters": (64 if i < 6 else 32, FILTERS)})
        for i in range(20)
    ]
    choices = tables(space_health.blocks(searched(made)))["space-choices"].values
    rows = choices.set_index("choice")
    assert rows["tried"].to_dict() == {16: 0, 32: 14, 64: 6}
    assert rows["best"].to_dict() == {16: 0, 32: 0, 64: 5}
    assert rows["verdict"].fillna("").tolist() == ["never tried", "candidate to drop", ""]
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
    assert "a changed space needs a new study: add --study own-2 --from own)" in words(section)


def promoted(number: int, parent: int | None) -> dict[str, Any]:
    """Facts of a trial of KerasTuner's Hyperband: 2 epochs, or 2 more than its parent."""
    return {
        "keras_tuner": {
            "tuner": "hyperband",
            "promoted_from": parent,
            "initial_epoch": 0 if parent is None else 2,
        }
    }


def test_a_configuration_that_a_later_trial_continued_counts_once(searched: Any) -> None:
    made = [
        trial(
            [0.5, 0.5 + 0.01 * i],
            TrialState.PRUNED,
            params={"filters": (64 if i > 7 else 32, FILTERS)},
            **promoted(i, None),
        )
        for i in range(12)
    ]
    for parent in (10, 11):
        best = trial([], params={"filters": (64, FILTERS)}, **promoted(0, parent))
        best.intermediate_values = {3: 0.7, 4: 0.8 + 0.01 * parent}
        best.value = 0.8 + 0.01 * parent
        made.append(best)
    evidence = searched(made, command="python run_search.py")
    for record, complete in ((evidence.record, 2), (evidence.record.after(2), 12)):
        section = space_health.blocks(replace(evidence, record=record))
        said = words(section)
        assert f"of {complete} complete trials, compared with all 12 finished conf" in said
        assert "up to 28 finished trials in total" in said
        choices = tables(section)["space-choices"].shown.set_index("choice")
        assert choices.loc["64", "tried"] == "4 of 12 (33 %)"
