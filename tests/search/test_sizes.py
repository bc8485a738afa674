"""The sizes of a search: those that its study stores, or to be fitted to its minutes."""

import optuna
import pytest
from optuna.trial import TrialState, create_trial

from search.settings import SearchSettings
from search.sizes import known_sizes


@pytest.mark.parametrize("minutes", [5.0, 6.0])
def test_a_study_that_stores_no_epochs_has_no_known_sizes(minutes: float) -> None:
    study = optuna.create_study()
    study.set_user_attr("minutes", 5.0)
    study.set_user_attr("split", {"train": None, "val": 1})
    study.add_trial(create_trial(state=TrialState.FAIL))
    assert known_sizes(SearchSettings(minutes=minutes), study) is None
