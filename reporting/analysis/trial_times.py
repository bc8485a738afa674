"""When trials ran and how long, in seconds, as far as a study knows."""

from typing import Final

import pandas as pd

from reporting.study_tables import Record

_UNITS: Final = (
    (2 * 86_400.0, 86_400.0, "days"),
    (2 * 3_600.0, 3_600.0, "hours"),
    (2 * 60.0, 60.0, "minutes"),
)


def seconds_taken(record: Record) -> pd.Series:
    """Seconds of each trial: as its worker measured them, else from its start to its end."""
    measured = pd.to_numeric(record.trials["seconds"], errors="coerce")
    times = start_and_end(record)
    return measured.fillna(times["end"] - times["start"])


def epochs_trained(record: Record) -> pd.Series:
    """Epochs of each trial: as its worker counted them, else those that have a value."""
    counted = pd.to_numeric(record.trials["epochs"], errors="coerce")
    return counted.fillna(record.curves.notna().sum(axis="columns")).astype(float)


def start_and_end(record: Record) -> pd.DataFrame:
    """Columns `start` and `end` of each trial, in seconds since the first start of any."""
    started = pd.to_datetime(record.trials["started"])
    ended = pd.to_datetime(record.trials["ended_at"])
    first = started.min()
    return pd.DataFrame(
        {
            "start": (started - first).dt.total_seconds(),
            "end": (ended - first).dt.total_seconds(),
        }
    )


def time_unit(seconds: float) -> tuple[float, str]:
    """Seconds of the unit in which an axis of that length reads best, and the unit's name."""
    for least, length, name in _UNITS:
        if seconds >= least:
            return length, name
    return 1.0, "seconds"
