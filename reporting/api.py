"""Python API for programs and notebooks: make a report, compare studies."""

from pathlib import Path

from reporting import run
from reporting.comparison.page import Comparison, run_comparison
from reporting.retrainer import make_progress
from reporting.run import Outcome
from reporting.settings import ReportSettings
from search.apart import require_main_program
from search.command_line.flags import given_flags
from search.errors import SettingsError


def run_report(settings: ReportSettings | None = None) -> Outcome:
    """Make the report of a study; finished trainings of earlier calls are used again.

    Like `search.run_search`, it starts workers: a script calls it under
    `if __name__ == "__main__":`.

    Args:
        settings: Settings of the report; None: those of `report.py` without flags.

    Raises:
        Interrupted: Ctrl-C stopped it; finished trainings are kept, and the same call continues.
        SearchError: Something that the user can fix; the message says how.
    """
    settings = settings or ReportSettings()
    require_main_program("run_report")
    if settings.compare:
        raise SettingsError("--compare makes no report; call compare_studies instead.")
    with make_progress(quiet=settings.quiet) as progress:
        return run.run_report(settings, progress, ["report.py", *given_flags(settings)])


def compare_studies(
    *names: str, results_dir: Path | str = "results", storage: str | None = None
) -> Comparison:
    """Compare finished studies on one page, from what their reports have kept.

    Args:
        *names: Names of two studies or more; the first with a report sets the protocol.
        results_dir: Folder of the studies.
        storage: URL of the database that holds them; None: the journal files in their folders.

    Raises:
        SearchError: Something that the user can fix; the message says how.
    """
    if len(names) < 2:
        raise SettingsError("compare_studies needs the names of two studies or more.")
    settings = ReportSettings(compare=names, results_dir=Path(results_dir), storage=storage)
    return run_comparison(settings, ["report.py", *given_flags(settings)])
