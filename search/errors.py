"""Errors that a user can fix, each with a one-line message; and why a search stopped.

SearchError
├── DataError      the images or labels are missing, damaged or too few
├── SettingsError  a flag, or a combination of flags, that cannot work
├── UnusableError  a worker cannot use the space or the data
├── StudyError     the study does not fit this run, or another process holds it
├── StorageError   the storage cannot be opened, read or written
│   └── StoppedError   a signal ended the wait for a database or a measurement
├── ClusterError   the cluster cannot be reached, or has no node that can be used
└── NodeError      one of its nodes cannot be used
"""

from enum import Enum


class StopReason(Enum):
    """Why a search ended before its study held all its trials; the value is for a person."""

    CTRL_C = "Ctrl-C"
    SIGTERM = "SIGTERM"
    SIGHUP = "SIGHUP"
    REQUESTED = "a request (--stop)"
    TIMEOUT = "--timeout"
    PATIENCE = "--patience-trials"
    EXHAUSTED = "every configuration of the space has been tried"


class SearchError(Exception):
    """Base of all errors that the command lines print as one line, exit code 2."""


class DataError(SearchError):
    """The images or labels are missing, damaged or too few."""


class SettingsError(SearchError):
    """A flag, or a combination of flags, that cannot work."""


class UnusableError(SearchError):
    """A worker cannot use the space or the data."""


class StudyError(SearchError):
    """The study does not fit this run, or another process holds it."""


class StorageError(SearchError):
    """The storage cannot be opened, read or written."""


class StoppedError(StorageError):
    """A signal ended the wait for a database or a measurement.

    Args:
        reason: The signal.
        when: When it came and what repeating the command does, in words.
    """

    def __init__(
        self,
        reason: StopReason,
        when: str = "while the database did not answer; repeat the command once it does",
    ) -> None:
        super().__init__(f"stopped ({reason.value}) {when}.")
        self.reason = reason


class ClusterError(SearchError):
    """The cluster cannot be reached, or has no node that can be used."""


class StoppedEarly(KeyboardInterrupt):
    """A signal arrived before the search was ready to stop by itself; not an `Exception`.

    Args:
        reason: The signal.
    """

    def __init__(self, reason: StopReason) -> None:
        super().__init__(reason.value)
        self.reason = reason


class NodeError(SearchError):
    """One node of a cluster cannot be used.

    Args:
        reason: Why, in words.
        node: Its id.
    """

    def __init__(self, reason: str, node: str) -> None:
        super().__init__(reason, node)
        self.reason = reason
        self.node = node
