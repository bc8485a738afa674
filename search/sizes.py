"""The epochs and the images of a search: as given, as its study stores them, or fitted."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final

import optuna

from search.engines.pruners import Rungs
from search.errors import StudyError
from search.length import LATENCY_SECONDS, Plan, Speed, default_epochs, fit_to, fitted_words
from search.preparation import Inputs
from search.secrets import hide_secrets
from search.settings import SearchSettings
from search.study.facts import split_sizes, split_words
from search.study.study import ENDED, FINISHED, keeps_facts
from search.training.hardware import machine

_STEP_MINUTES: Final = 5
_MOST_MINUTES: Final = 24 * 60


def known_sizes(settings: SearchSettings, study: optuna.Study | None) -> SearchSettings | None:
    """Return the settings with the sizes that are known before anything is measured.

    Args:
        settings: Settings of the search.
        study: Its study; None if there is none.

    Returns:
        Settings without `minutes`; None if the sizes must be fitted to them.

    Raises:
        StudyError: The study has trials, and was begun with other minutes.
    """
    minutes = settings.minutes
    if minutes is None:
        return settings
    if study is None or not {"split", "epochs"} <= study.user_attrs.keys():
        return None
    stored = study.user_attrs
    if not keeps_facts(study):  # the plan may have changed, too
        return None
    has_trials = bool(study.get_trials(deepcopy=False, states=ENDED))
    if stored.get("minutes") == minutes:
        sizes = split_sizes(stored["split"])
        known = _with(settings, stored["epochs"], sizes.epoch_size)
        # As given when the study began; earlier versions fitted it.
        known = replace(known, train_size=known.train_size or sizes.train)
        # With trials, `create_or_continue` says which size differs.
        given = (known.epochs, known.train_size, known.epoch_size)
        if has_trials or given == (stored["epochs"], sizes.train, sizes.epoch_size):
            return known
    elif has_trials:
        begun = "without --minutes"
        if "minutes" in stored:
            begun = f"with --minutes {stored['minutes']:g}"
        raise StudyError(
            f"study {study.study_name!r} was begun {begun} and has trials of {stored['epochs']} "
            f"epochs, {split_words(split_sizes(stored['split']))}; --minutes {minutes:g} cannot "
            f"change them. Continue it {begun}, or start another with --study NAME."
        )
    return None


def fitted_sizes(
    settings: SearchSettings, speed: Speed, inputs: Inputs, spent_seconds: float
) -> SearchSettings:
    """Return the settings with sizes that fit their `minutes`.

    Args:
        settings: Settings of the search, with `minutes`.
        speed: Measured speed.
        inputs: What the search starts from.
        spent_seconds: Seconds that it has spent before its first trial.

    Raises:
        SettingsError: The time is too short.
    """
    assert settings.minutes is not None
    fitted = fit_to(
        settings.minutes,
        speed,
        plan_of(settings, inputs),
        train_size=train_size_of(settings, inputs),
        usual_epochs=default_epochs(inputs.available),
        epochs=settings.epochs,
        epoch_size=settings.epoch_size,
        spent_seconds=spent_seconds,
    )
    is_all = fitted.epoch_size == train_size_of(settings, inputs)
    return _with(settings, fitted.epochs, None if is_all else fitted.epoch_size)


def fitted_line(
    given: SearchSettings,
    fitted: SearchSettings,
    speed: Speed,
    inputs: Inputs,
    spent_seconds: float,
) -> str:
    """Return in words what `fitted_sizes` has chosen; if it allows no pruning, what would.

    Args:
        given: Settings of the search, with `minutes`.
        fitted: What `fitted_sizes` returned for them.
        speed: Measured speed.
        inputs: What the search starts from.
        spent_seconds: Seconds that it has spent before its first trial.
    """
    assert given.minutes is not None
    train_size = train_size_of(fitted, inputs)
    words = fitted_words(given.minutes, plan_of(fitted, inputs), speed, train_size=train_size)
    wants_rungs = given.epochs is None and not given.has_budgets and given.pruner_used != "none"
    if not wants_rungs or not Rungs.of(fitted.max_epochs).are_none:
        return words
    first = _STEP_MINUTES * (int(given.minutes) // _STEP_MINUTES + 1)
    for minutes in range(first, _MOST_MINUTES, _STEP_MINUTES):
        longer = fitted_sizes(replace(given, minutes=minutes), speed, inputs, spent_seconds)
        if not Rungs.of(longer.max_epochs).are_none:
            plan = plan_of(longer, inputs)
            return (
                f"{words}, too few to prune trials; --minutes {minutes} allows {plan.epochs} "
                f"epochs of {plan.epoch_size:,}"
            )
    return f"{words}, too few to prune trials"


def train_size_of(settings: SearchSettings, inputs: Inputs) -> int:
    """Return the number of training images, of which an epoch may show a part."""
    return settings.train_size or inputs.available


def plan_of(settings: SearchSettings, inputs: Inputs) -> Plan:
    """Return the size of a search whose sizes are known.

    Costs relative to the default were recorded in the `cnn` space only. The default of `mlp` lies
    amid its ranges, and the speed of a user's space is that of random configurations (see
    `Measure`), so that all trials of these spaces are taken to cost the same.
    """
    costs = {} if settings.space == "cnn" else {"first_cost": 1.0, "sampled_cost": 1.0}
    return Plan(
        trials=settings.trials,
        first=len(inputs.first),
        epochs=settings.max_epochs,
        epoch_size=settings.epoch_size or train_size_of(settings, inputs),
        val=settings.split.val,
        pruner=settings.pruner_used,
        has_budgets=settings.has_budgets,
        extra_seconds=LATENCY_SECONDS if "latency" in settings.measured_costs else 0.0,
        **costs,
    )


def stored_speed(attrs: Mapping[str, Any], settings: SearchSettings, workers: int) -> Speed | None:
    """Return a study's stored speed; None without one of the same place and number of workers.

    Args:
        attrs: Attributes of the study.
        settings: Settings of this run.
        workers: Number of workers of this run.
    """
    stored = attrs.get("speed")
    if stored is None or stored["workers"] != workers:
        return None
    # Earlier versions stored no machine with it.
    if stored.get("machine", attrs.get("machine")) != _place(settings):
        return None
    return Speed.from_fact(stored)


def needs_speed(study: optuna.Study | None, trials: int) -> bool:
    """Return whether a search without a stored speed must measure it to estimate its length.

    Args:
        study: Its study; None if there is none.
        trials: Finished trials that the study is to hold.
    """
    if study is None:
        return True
    finished = len(study.get_trials(deepcopy=False, states=FINISHED))
    # Finished trials show the speed, but only that of the machine that ran them.
    return finished < trials and ("speed" in study.user_attrs or not finished)


def store_speed(study: optuna.Study, speed: Speed, settings: SearchSettings) -> None:
    """Store in its study the speed of a run with these settings."""
    fact = speed.fact | {"machine": _place(settings)}
    if fact != study.user_attrs.get("speed"):
        study.set_user_attr("speed", fact)


def _place(settings: SearchSettings) -> str:
    """Describe where the workers of a run train."""
    if settings.cluster is not None:
        cluster = hide_secrets(settings.cluster)  # `auto` and `local` are those of this machine
        cpus, gpus = settings.cpus_per_trial or 1.0, settings.gpus_per_trial or 0.0
        return f"{machine()}, cluster {cluster}, {cpus:g} CPUs and {gpus:g} GPUs a worker"
    return machine()


def _with(settings: SearchSettings, epochs: int, epoch_size: int | None) -> SearchSettings:
    return replace(
        settings,
        minutes=None,
        epochs=settings.epochs or epochs,
        epoch_size=settings.epoch_size or epoch_size,
    )
