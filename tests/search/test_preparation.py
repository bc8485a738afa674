"""What a search starts from: the statistics of pixels of a study that has begun, or of its data."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.trial import TrialState, create_trial

from search.errors import StudyError
from search.preparation import Inputs, find_inputs
from search.settings import DEFAULT_DATA, SearchSettings
from search.study.storage import open_storage
from search.study.study import create_or_continue
from tests.search.harness import FACTS


@pytest.fixture
def inputs(small_data: Path, tmp_path: Path) -> Inputs:
    settings = SearchSettings(data=str(small_data), results_dir=tmp_path / "results", epochs=2)
    return find_inputs(settings)


def test_baselines_that_a_space_does_not_have_are_mentioned(inputs: Inputs) -> None:
    with_baselines = replace(inputs.settings, baselines=True)
    assert not [line for line in replace(inputs, settings=with_baselines).notes if "--bas" in line]
    mine = replace(with_baselines, space="mine:Net")
    assert replace(inputs, settings=mine).notes[-1] == (
        "--baselines adds no trials: space 'mine:Net' has no published baselines for images of "
        "28x28x1"
    )
    default = replace(mine, data=DEFAULT_DATA)
    assert len(replace(inputs, settings=default).notes) == 1


def study(tmp_path: Path, **facts: Any) -> optuna.Study:
    storage = open_storage(tmp_path / "study.journal", None)
    return create_or_continue(storage, "s", FACTS | facts)


def test_a_study_that_has_begun_keeps_its_statistics(inputs: Inputs, tmp_path: Path) -> None:
    assert inputs.dataset.pixels is not None
    own = replace(inputs.dataset.pixels, mean=(0.25,), patches=None)
    begun = study(tmp_path, data=inputs.dataset.fingerprint, pixels=own.facts)
    assert inputs.of_study(begun) == inputs  # nothing in it has ended
    begun.add_trial(create_trial(state=TrialState.FAIL))
    kept = inputs.of_study(begun)
    assert kept.dataset.pixels == own
    assert "whitened" in inputs.first["default"]
    assert "whitened" not in kept.first["default"]
    assert inputs.of_study(None) == inputs


def test_a_study_of_other_data_gives_it_nothing(inputs: Inputs, tmp_path: Path) -> None:
    other = {"mean": [0.1] * 3, "deviation": [0.1] * 3}
    begun = study(tmp_path, data="other", pixels=other)
    begun.add_trial(create_trial(state=TrialState.FAIL))
    assert inputs.of_study(begun) == inputs


def test_statistics_of_other_channels_are_a_damaged_study(inputs: Inputs, tmp_path: Path) -> None:
    other = {"mean": [0.1] * 3, "deviation": [0.1] * 3}
    facts = {"data": inputs.dataset.fingerprint, "dataset": inputs.dataset.fact, "pixels": other}
    begun = study(tmp_path, **facts)
    begun.add_trial(create_trial(state=TrialState.FAIL))
    with pytest.raises(StudyError, match="pixels has the statistics of 3 channels, and its images"):
        inputs.of_study(begun)
