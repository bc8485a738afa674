"""Errors of a report; the message is one line for the user."""

from search.errors import SearchError, StopReason


class ReportError(SearchError):
    """The study cannot be reported, or the report cannot be written."""


class Interrupted(ReportError):
    """A signal stopped the report; finished trainings are kept.

    Args:
        reason: The signal.
    """

    def __init__(self, reason: StopReason) -> None:
        super().__init__(reason.value)
        self.reason = reason
