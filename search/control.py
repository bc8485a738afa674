"""Requests to a study from another terminal or machine: stop, pause, resume, try this next."""

import json
import reprlib
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, Final

import optuna
from optuna.trial import FrozenTrial, TrialState

from search.engines.points import PointError, point_of
from search.engines.samplers import SAMPLERS, Sampler
from search.engines.trials import is_same
from search.engines.tuners import TUNERS, Tuner
from search.errors import SettingsError, StudyError
from search.settings import SearchSettings
from search.study.database import Outages
from search.study.facts import last_settings, pixels_of
from search.study.requests import (
    ENQUEUED,
    PAUSE,
    STOP,
    put_request,
    request_of,
    takes_requests,
)
from search.study.storage import quiet_optuna, storage_errors
from search.study.stored import known_study
from search.study.study import FINISHED, GIVEN, is_searched, study_storage, trial_params
from spaces import SPACES, DataShape, load_space
from spaces.baselines import PUBLISHED_FOR
from spaces.errors import HyperparameterError, did_you_mean

_BEGIN_SECONDS: Final = 10.0  # a search measures its speed before it creates a study
_PAUSE_SECONDS: Final = 0.2
_ALGORITHMS: Final[dict[str, Sampler | Tuner]] = {**TUNERS, **SAMPLERS}


@quiet_optuna()
def send_request(settings: SearchSettings, say: Callable[[str], None] = lambda text: None) -> str:
    """Send the request of `--stop`, `--pause`, `--resume` or `--enqueue` to a study.

    Args:
        settings: Name the study and the request.
        say: Called with a line for the user about repairs of a study that no search holds.

    Returns:
        A sentence about what happens next.

    Raises:
        SearchError: There is no such study, no search of it runs, or it cannot take the
            configuration; nothing was changed.
        SpaceError: The space does not exist.
    """
    name = settings.study_name
    study = known_study(name, settings.results_dir, settings.storage)
    with storage_errors(f"study {name!r}"):
        if settings.enqueue is not None:
            return _enqueue(settings, study, say)
        if not _is_searched(settings):
            raise StudyError(
                f"no search of study {name!r} is running, so there is nothing to stop, pause or "
                "resume; nothing was changed."
            )
        _wait_for_begin(study)
        return _ask(settings, study)


def _is_searched(settings: SearchSettings) -> bool:
    return is_searched(settings.study_name, settings.storage, settings.study_dir)


def _wait_for_begin(study: optuna.Study) -> None:
    """Wait until the current search has registered its run, so that requests reach that run."""
    end = time.monotonic() + _BEGIN_SECONDS
    while not takes_requests(study):
        if time.monotonic() > end:
            raise StudyError(
                f"the search of study {study.study_name!r} is starting or ending; nothing was "
                "changed. Repeat the request once its first trial runs."
            )
        time.sleep(_PAUSE_SECONDS)


def _ask(settings: SearchSettings, study: optuna.Study) -> str:
    name, before = settings.study_name, request_of(study)
    if settings.stop:
        put_request(study, STOP)
        return (
            f"the search of study {name!r} will stop within seconds; repeat its command to resume "
            "it"
        )
    if before == STOP:
        raise StudyError(f"the search of study {name!r} is being stopped; nothing was changed.")
    if settings.pause:
        put_request(study, PAUSE)
        return (
            f"the search of study {name!r} will pause within seconds: running trials finish, no "
            "new trial starts; --resume continues it"
        )
    if before != PAUSE:
        raise StudyError(f"the search of study {name!r} is not paused; nothing was changed.")
    put_request(study, None)
    return f"the search of study {name!r} will resume within seconds"


def _enqueue(settings: SearchSettings, study: optuna.Study, say: Callable[[str], None]) -> str:
    assert settings.enqueue is not None
    values = _parsed(settings.enqueue)
    _check_algorithm(study)
    params = _point(settings, study, values)
    put = {
        "flag": "--enqueue",
        "values": json.dumps(values, sort_keys=True),
        "time": datetime.now(UTC).isoformat(timespec="microseconds"),
    }
    if _is_searched(settings):
        what, before, _ = _put(study, params, put)
        return f"{what} and runs next{before}, if --trials of that search allows another trial"
    # Lock the study as a search does, which repairs what a crash left before we append.
    name, url, directory = settings.study_name, settings.storage, settings.study_dir
    with study_storage(name, url, directory, say, Outages(say)) as storage:
        what, before, finished = _put(
            optuna.load_study(study_name=name, storage=storage), params, put
        )
    return (
        f"{what}; no search is running. The next one starts with it{before}; give it --trials "
        f"above {finished}"
    )


def _put(study: optuna.Study, params: dict[str, Any], put: dict[str, Any]) -> tuple[str, str, int]:
    """Enqueue a configuration.

    Returns:
        What was done and how many trials are queued before it, in words; number of finished trials.
    """
    trials = study.get_trials(deepcopy=False)
    twin = next((trial for trial in trials if _has(trial, params)), None)
    if twin is not None:
        raise StudyError(
            f"--enqueue repeats the configuration of trial {twin.number}, which is "
            f"{twin.state.name.lower()}; nothing was changed."
        )
    study.enqueue_trial(params, user_attrs={GIVEN: params, ENQUEUED: put})
    number = next(
        trial.number
        for trial in reversed(study.get_trials(deepcopy=False))
        if trial.user_attrs.get(ENQUEUED) == put
    )
    before = sum(
        trial.state == TrialState.WAITING and ENQUEUED in trial.user_attrs for trial in trials
    )
    return (
        f"trial {number} of study {study.study_name!r} has this configuration",
        f", after {before} enqueued before it" if before else "",
        sum(trial.state in FINISHED for trial in trials),
    )


def _parsed(text: str) -> dict[str, Any]:
    """Read the JSON of `--enqueue`."""
    example = """write it as --enqueue '{"learning_rate": 0.01}'"""
    try:
        values = json.loads(text)
    except (ValueError, RecursionError):
        raise SettingsError(
            f"--enqueue is {reprlib.repr(text)}, which is not valid JSON; {example}."
        ) from None
    if not isinstance(values, dict):
        raise SettingsError(f"--enqueue is {reprlib.repr(text)}; it must be an object: {example}.")
    for name, value in values.items():
        if not isinstance(value, str | int | float | bool):
            raise SettingsError(
                f"--enqueue sets {name!r} to {reprlib.repr(value)}; it must be a number, text, "
                "true or false."
            )
    return values


def _check_algorithm(study: optuna.Study) -> None:
    """Refuse a study whose algorithm tries a fixed list of configurations."""
    noted = last_settings(study.user_attrs)
    name = noted.get("sampler", noted.get("tuner"))
    algorithm = _ALGORITHMS.get(name)
    if algorithm is not None and not algorithm.takes_first:
        raise StudyError(
            f"--enqueue does not work with {name}, which study {study.study_name!r} used last: it "
            "tries a fixed list of configurations. Continue the study with another sampler or "
            "tuner first."
        )


def _point(settings: SearchSettings, study: optuna.Study, values: dict[str, Any]) -> dict[str, Any]:
    """Return the given values, completed by defaults, as a point of the study's space."""
    space, data = study.user_attrs.get("space"), _data(study)
    if space in SPACES:
        built_in: Any = load_space(space, data)
        try:
            return dict(built_in.default.from_params(values, data).params(data))
        except HyperparameterError as error:
            known = built_in.default.params()
            raise SettingsError(
                f"--enqueue is not a valid configuration of space {space!r}: {error.name} "
                f"{error.reason}{'' if error.is_known else did_you_mean(error.name, known)}"
            ) from None
    if settings.space != space:
        raise StudyError(
            f"study {study.study_name!r} uses space {space!r}, whose code must check the values; "
            f"code that only a study names is not run. If it is yours, add --space {space}."
        )
    try:
        return point_of(space, data, values, settings.study_dir / "logs" / "enqueue.log")
    except PointError as error:
        raise SettingsError(
            f"--enqueue is not a valid configuration of space {space!r}: {error}"
        ) from error


def _data(study: optuna.Study) -> DataShape:
    known = study.user_attrs.get("dataset")
    if known is None:  # earlier versions searched no other data
        return PUBLISHED_FOR
    height, width, channels = known["image_shape"]
    return DataShape(
        (height, width, channels),
        len(known["class_names"]),
        known["mirror"],
        pixels_of(study.user_attrs),
    )


def _has(trial: FrozenTrial, params: dict[str, Any]) -> bool:
    """Return whether a trial that has not failed is of this configuration."""
    own = trial_params(trial)
    return (
        trial.state != TrialState.FAIL
        and own.keys() == params.keys()
        and all(is_same(own[name], value) for name, value in params.items())
    )
