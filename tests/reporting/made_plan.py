"""The plan of a report on a study of given trials, made without training."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

import optuna
from optuna.distributions import CategoricalDistribution
from optuna.trial import TrialState, create_trial

from reporting.plan import Plan
from reporting.settings import ReportSettings
from reporting.study_tables import read_study
from search.study.facts import split_sizes
from search.study.storage import open_storage
from tests.reporting.made_evidence import CLOTHING, FACTS

# An epoch on all images takes twice as long as one of a trial, which validates in 0.27 of the time
# of training: 73,000 are twice 23,000 + 0.27 * 50,000.
TWICE_AS_LONG: dict[str, Any] = {
    "images": 73_000,
    "facts": {"split": {"train": None, "val": 50_000}},
}


def made_plan(
    directory: Path,
    trials: Sequence[Mapping[str, Any]],
    offered: Sequence[str],
    *,
    space: str = "cnn",
    seed: int = 0,
    images: int = 60_000,
    attrs: Mapping[str, Any] = MappingProxyType({}),
    facts: Mapping[str, Any] = MappingProxyType({}),
    **settings: Any,
) -> Plan:
    """The plan of a study of these trials, the best first.

    Args:
        directory: An empty folder.
        trials: Their hyperparameters, all of which have `filters` and some an `augmentation`.
        offered: Augmentations that the space offers.
        space: Its name.
        seed: Seed of the search.
        images: Images of the training part.
        attrs: Further attributes of the trials.
        facts: Of the study, in place of those in `FACTS`.
        **settings: Fields of `ReportSettings`.
    """
    (directory / "own").mkdir()
    storage = open_storage((directory / "own" / "study.journal").resolve(), None)
    study = optuna.create_study(study_name="own", storage=storage, direction="maximize")
    given = FACTS | {"space": space, "seed": seed} | facts
    for key, value in given.items():
        study.set_user_attr(key, value)
    asked = {
        "filters": CategoricalDistribution([16, 32, 64]),
        "augmentation": CategoricalDistribution(list(offered)),
    }
    for index, params in enumerate(trials):
        trial = create_trial(
            state=TrialState.COMPLETE,
            value=0.9 - 0.01 * index,
            params=dict(params),
            distributions={name: asked[name] for name in params},
            user_attrs={"epochs": 8, "seconds": 80.0, "images_per_second": 1000.0} | attrs,
        )
        study.add_trial(trial)
    sizes = split_sizes(given["split"])
    chosen = ReportSettings(**settings).for_study(8, sizes)
    return Plan(chosen, read_study(directory, "own", None), CLOTHING, images)
