"""Errors of a report; the message is one line for the user."""

from search.errors import SearchError


class ReportError(SearchError):
    """The study cannot be reported, or the report cannot be written."""


class Interrupted(ReportError):
    """A signal stopped the report; finished trainings are kept.

    Args:
        reason: `Ctrl-C`, `SIGTERM` or `SIGHUP`.
    """

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason
