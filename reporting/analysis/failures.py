"""Trials that failed, in groups of one reason; those that only repeat another trial are apart."""

import re
from typing import Final

import pandas as pd

from reporting.record import Record

_NUMBER: Final = re.compile(r"\d+(?:[.,]\d+)*")
UNKNOWN: Final = "no reason was kept"


def duplicates(record: Record) -> pd.Series:
    """Whether each trial was refused, untrained, as the same configuration as an earlier one."""
    failed = record.trials["state"] == "FAIL"
    return failed & record.trials["duplicate_of"].notna()


def failure_reasons(record: Record) -> pd.Series:
    """The reason of each failed trial, without duplicates; numbers in it are written as N.

    So that `non-finite loss in epoch 1` and `... in epoch 2` are one reason.
    """
    failed = record.trials[(record.trials["state"] == "FAIL") & ~duplicates(record)]
    return failed["reason"].map(_kind).astype(object)


def _kind(reason: object) -> str:
    return _NUMBER.sub("N", reason) if isinstance(reason, str) and reason else UNKNOWN
