"""Measure the latency of networks for a report, while nothing else of it runs."""

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, Final

from optuna.distributions import BaseDistribution

from reporting.choosing import chosen_trials, prediction_costs
from reporting.folder import writing
from reporting.settings import ReportSettings
from reporting.study_tables import Record
from search.apart import ProcessEndedError, run_apart
from search.files import read_object, write_atomically
from search.study.facts import is_number
from search.training.hardware import machine, set_precision, start_tensorflow, versions
from search.words import counted
from search.workers.process import redirect_output
from spaces import DataShape, load_space
from spaces.errors import one_line

_FILE: Final = "latency.json"
Times = Mapping[int, Mapping[str, Any]]  # attributes of latency, as of a trial, by its number


def times_of_choice(
    settings: ReportSettings, record: Record, data: DataShape, say: Callable[[str], None]
) -> Times:
    """Return the latencies by which a report chooses; empty if latency does not matter.

    They belong to the front of the search and to the trials to retrain. If one of these is above
    a limit, the next trials are measured, until all chosen trials are within it.

    Args:
        settings: Settings of the report.
        record: The search.
        data: What its data set looks like.
        say: Called with a line for the user.

    Raises:
        ReportError: No trial is within the limits, or the times cannot be stored.
    """
    if "latency" not in prediction_costs(settings, record):
        return {}
    times: dict[int, Mapping[str, Any]] = {}
    missing = [trial.number for trial in record.front] or chosen_trials(settings, record)
    asked: set[int] = set()
    while missing:
        asked.update(missing)
        times |= times_again(record, data, missing, measure=settings.retrain, say=say)
        chosen = chosen_trials(settings, replace(record, times=times))
        missing = [number for number in chosen if number not in asked]
    return times


def times_again(
    record: Record,
    data: DataShape,
    numbers: Sequence[int],
    *,
    measure: bool,
    say: Callable[[str], None],
) -> Times:
    """Return the latency of the networks of some trials, measured on this machine.

    Times are kept by network, machine and version of TensorFlow: a continued report has the same
    times, and a study that is begun anew under the same name has its own.

    Args:
        record: The search.
        data: What its data set looks like.
        numbers: Numbers of the trials.
        measure: Whether to measure those that are missing.
        say: Called with a line for the user.

    Raises:
        ReportError: The times cannot be stored.
    """
    directory = record.directory / "retrainings"
    kept = _kept(directory / _FILE)
    keys = {number: _key(record, data, number) for number in numbers}
    missing = {
        number: record.trial_params(number) for number in numbers if keys[number] not in kept
    }
    if measure and missing:
        say(f"measuring the latency of {counted(len(missing), 'network')} again, about 10 s each")
        logs = record.directory / "logs"
        with writing(logs):
            logs.mkdir(exist_ok=True)
        log = logs / "latency.log"
        try:
            found = run_apart(_measure, record.space, data, missing, log, name="latency")
        except ProcessEndedError as error:
            found = dict.fromkeys(missing, f"the process ended with {error}")
        for number, times in found.items():
            if isinstance(times, str):
                say(f"trial {number}: its latency was not measured again, {times} (more in {log})")
            else:
                kept[keys[number]] = times
        with writing(directory):
            write_atomically(directory / _FILE, (json.dumps(kept) + "\n").encode())
    return {number: kept[key] for number, key in keys.items() if key in kept}


def _key(record: Record, data: DataShape, number: int) -> str:
    """Return what the latency of a trial's network depends on, as a digest."""
    content = {
        "space": record.space,
        "params": record.trial_params(number),
        "image_shape": data.image_shape,
        "classes": data.classes,
        "pixels": None if data.pixels is None else data.pixels.facts,
        "machine": machine(),
        "tensorflow": versions().get("tensorflow"),
    }
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:16]


def _measure(
    space: str, data: DataShape, params: Mapping[int, Mapping[str, Any]], log: Path
) -> dict[int, dict[str, Any] | str]:
    """Build and measure networks; return their times, or why one was not measured."""
    redirect_output(log)
    start_tensorflow(devices=False)
    import keras

    from search.training.building import build_for_training
    from search.training.hyperparameters import TrialHyperParameters
    from search.training.latency import measure_latency

    set_precision("float32")  # as they are deployed
    found: dict[int, dict[str, Any] | str] = {}
    for number, values in params.items():
        keras.backend.clear_session()
        hp = TrialHyperParameters(partial(_answer, values))
        try:
            model, _ = build_for_training(load_space(space, data), hp, data)
            found[number] = measure_latency(model, data).attrs
        except Exception as error:  # code of the user
            found[number] = one_line(error)
    return found


def _answer(values: Mapping[str, Any], name: str, distribution: BaseDistribution) -> Any:
    return values[name]


def _kept(file: Path) -> dict[str, Mapping[str, Any]]:
    """Return the times that earlier reports have measured, by key; none if the file is damaged."""
    return {key: times for key, times in read_object(file).items() if _are_times(times)}


def _are_times(times: Any) -> bool:
    if not isinstance(times, dict):
        return False
    medians = [times.get(name) for name in ("latency_ms", "batch_latency_ms")]
    quartiles = [times.get(name) for name in ("latency_quartiles_ms", "batch_latency_quartiles_ms")]
    return all(is_number(one) for one in medians) and all(
        isinstance(pair, list) and len(pair) == 2 and all(map(is_number, pair))
        for pair in quartiles
    )
