"""Trials that failed, in groups of one reason; those that were not needed are apart."""

import re
from typing import Final

import pandas as pd

from reporting.study_tables import Record
from search.study.study import SURPLUS

_NUMBER: Final = re.compile(r"\d+(?:[.,]\d+)*")
UNKNOWN: Final = "no reason was kept"


def duplicates(record: Record) -> pd.Series:
    """Whether each trial was refused, untrained, as the same configuration as an earlier one."""
    failed = record.trials["state"] == "FAIL"
    return failed & record.trials["duplicate_of"].notna()


def surplus(record: Record) -> pd.Series:
    """Whether each trial was one too many, begun by several coordinators for one place."""
    return record.trials[SURPLUS].notna()


def failure_reasons(record: Record) -> pd.Series:
    """The reason of each trial that failed by itself; numbers in it are written as N.

    So that `non-finite loss in epoch 1` and `... in epoch 2` are one reason.
    """
    by_itself = ~duplicates(record) & ~surplus(record)
    failed = record.trials[(record.trials["state"] == "FAIL") & by_itself]
    return failed["reason"].map(_kind).astype(object)


def _kind(reason: object) -> str:
    return _NUMBER.sub("N", reason) if isinstance(reason, str) and reason else UNKNOWN
