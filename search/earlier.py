"""The best configurations of an earlier study, for the first trials of another one."""

from pathlib import Path
from typing import Any, Final

import optuna

from search.errors import StudyError
from search.files import real_path
from search.settings import SearchSettings
from search.study.front import within
from search.study.objective import NO_LIMITS, Limits
from search.study.stored import find_study, listing, studies_in
from search.study.study import complete_trials, trial_params
from spaces import SPACES, DataShape, load_space
from spaces.errors import did_you_mean

MOST: Final = 8  # as many as a portfolio has, so that sampled trials remain


def earlier_study(settings: SearchSettings) -> optuna.Study:
    """Return the study that `--from` names, by its name or by the path of its folder.

    Args:
        settings: Settings of the search; `from_study` is set.

    Raises:
        StudyError: There is no such study, or it has no complete trial.
        StorageError: It cannot be read.
    """
    named = settings.from_study
    assert named is not None
    results = real_path(settings.results_dir)
    places: list[tuple[str | None, Path]] = [(None, results / named), (None, real_path(named))]
    if settings.storage is not None:
        places.insert(0, (settings.storage, results / named))
    for url, directory in places:
        study = find_study(directory.name, url, directory)
        if study is not None and not complete_trials(study):
            raise StudyError(
                f"--from is {named!r}, but that study has no complete trial; name another one, or "
                "leave --from out."
            )
        if study is not None:
            return study
    known = studies_in(results)
    raise StudyError(
        f"--from is {named!r}, which is not the folder of a study, and {results} has no study of "
        f"that name; {listing(known)}.{did_you_mean(named, known)}"
    )


def earlier_configurations(
    study: optuna.Study, space: str, data: DataShape, limits: Limits = NO_LIMITS
) -> dict[str, dict[str, Any]]:
    """Return the best configurations of an earlier study.

    In a built-in space, a hyperparameter that the earlier study lacks takes its default (except
    `whitened`, which is then off: the earlier networks were not whitened), and configurations
    outside of the space are left out.

    Args:
        study: From `earlier_study`.
        space: Space of the search, as for `load_space`.
        data: Data of the search.
        limits: The most that a network may cost in it: configurations that cost more on the same
            data are left out, if any is left.

    Returns:
        Hyperparameters by name, `STUDY trial N`, best first, at most 8.

    Raises:
        StudyError: None of them is a point of the space.
    """
    found: dict[str, dict[str, Any]] = {}
    complete = complete_trials(study)
    for trial in (_has_its_costs(study, data) and within(complete, limits)) or complete:
        params = _as_point(space, data, trial_params(trial))
        if params is not None and params not in found.values() and len(found) < MOST:
            found[f"{study.study_name} trial {trial.number}"] = params
    if not found:
        raise StudyError(
            f"--from is {study.study_name!r}, but none of its {len(complete)} complete trials is a "
            f"point of space {space!r}; name another one, or leave --from out."
        )
    return found


def _has_its_costs(study: optuna.Study, data: DataShape) -> bool:
    """Return whether the networks of a study cost the same with other data."""
    dataset = study.user_attrs.get("dataset", {})
    shape = tuple(dataset.get("image_shape", ())), len(dataset.get("class_names", ()))
    return shape == (data.image_shape, data.classes)


def _as_point(space: str, data: DataShape, params: dict[str, Any]) -> dict[str, Any] | None:
    """Return hyperparameters as a point of a built-in space; None where it has no such point."""
    if space not in SPACES:
        return params  # a user's space, whose code runs in workers only
    built_in: Any = load_space(space, data)
    try:
        return dict(built_in.configuration(params).params(data))
    except ValueError:
        return None
