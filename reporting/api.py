"""What programs and notebooks call: make a report."""

import optuna

from reporting import run
from reporting.retraining import make_progress
from reporting.run import Outcome
from reporting.settings import ReportSettings
from search.apart import require_main_program
from search.command_line import given_flags


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
    verbosity = optuna.logging.get_verbosity()
    try:
        with make_progress(quiet=settings.quiet) as progress:
            return run.run_report(settings, progress, ["report.py", *given_flags(settings)])
    finally:
        optuna.logging.set_verbosity(verbosity)
