"""The sizes of a search: those that its study stores, or to be fitted to its minutes."""

import optuna
import pytest
from optuna.trial import TrialState, create_trial

from search.length import Speed
from search.settings import SearchSettings
from search.sizes import known_sizes, store_speed, stored_speed
from search.study.requests import ENQUEUED


@pytest.mark.parametrize("minutes", [5.0, 6.0])
def test_a_study_that_stores_no_epochs_has_no_known_sizes(minutes: float) -> None:
    study = optuna.create_study()
    study.set_user_attr("minutes", 5.0)
    study.set_user_attr("split", {"train": None, "val": 1})
    study.add_trial(create_trial(state=TrialState.FAIL))
    assert known_sizes(SearchSettings(minutes=minutes), study) is None


def test_a_stored_speed_is_that_of_the_same_machine_or_cluster(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    speed = Speed(workers=2, images_per_second=100.0, startup_seconds=0.5)
    study = optuna.create_study()
    places = [
        SearchSettings(),
        SearchSettings(cluster="head:6379"),
        SearchSettings(cluster="other:6379"),
        SearchSettings(cluster="head:6379", gpus_per_trial=1.0),
    ]
    for place in places:
        store_speed(study, speed, place)
        attrs = study.user_attrs
        same = [stored_speed(attrs, other, workers=2) for other in places]
        assert same == [speed if other == place else None for other in places]
        assert stored_speed(attrs, place, workers=1) is None
    store_speed(study, speed, SearchSettings())
    monkeypatch.setattr("search.sizes.machine", lambda: "another machine, or one with a GPU")
    assert stored_speed(study.user_attrs, SearchSettings(), workers=2) is None


@pytest.mark.parametrize("tie", [None, "ended", "enqueued"])
def test_sizes_are_fitted_again_until_a_trial_ties_the_study_to_them(tie: str | None) -> None:
    study = optuna.create_study()
    for name, fact in (("minutes", 5.0), ("epochs", 3), ("split", {"train": 500, "val": 1})):
        study.set_user_attr(name, fact)
    study.add_trial(create_trial(state=TrialState.WAITING))
    if tie == "ended":
        study.add_trial(create_trial(state=TrialState.FAIL))
    if tie == "enqueued":
        study.add_trial(create_trial(state=TrialState.WAITING, user_attrs={ENQUEUED: {}}))
    known = known_sizes(SearchSettings(minutes=5.0), study)
    if tie is None:  # --trials may be another one now
        assert known is None
    else:
        assert known is not None
        assert (known.epochs, known.train_size) == (3, 500)
