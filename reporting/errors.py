"""What can go wrong with a report that its user can mend: each error is one clear line."""

from search.errors import SearchError


class ReportError(SearchError):
    """The study cannot be reported, or the report not be written."""


class Interrupted(ReportError):
    """The user stopped it; what is finished is kept.

    Args:
        reason: `Ctrl-C`, `SIGTERM` or `SIGHUP`.
    """

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason
