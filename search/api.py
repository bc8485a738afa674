"""Python API for programs and notebooks: run a search, load a study."""

import signal
from pathlib import Path

import optuna

from search import run
from search.apart import require_main_program
from search.command_line.flags import flags_of, given_flags
from search.command_line.process import EXIT_CODES, stop_by_signal, stop_early
from search.display import make_display
from search.errors import SettingsError, StoppedEarly, StoppedError, StopReason
from search.outcome import Outcome
from search.settings import SearchSettings
from search.study.stored import known_study


def run_search(settings: SearchSettings | None = None) -> Outcome:
    """Search until the study holds its trials, or something stops it.

    Ctrl-C, or the stop button of a notebook, ends the search: finished trials are kept, the
    outcome says so in `stopped_by`, and the same call continues. Workers are spawned processes, so
    a script calls this under `if __name__ == "__main__":`; a notebook needs no such line.

    Args:
        settings: Settings of the search; None: those of `run_search.py` without flags.

    Raises:
        SearchError: Something that the user can fix; the message says how.
        SpaceError: The space does not exist.
        KeyboardInterrupt: Ctrl-C came before the study was opened or created.
        StoppedError: Ctrl-C came during the speed measurement that `minutes` needs, or while a
            database did not answer; a `SearchError`, with the signal in `reason`.
    """
    settings = settings or SearchSettings()
    require_main_program("run_search")
    for part, declared in flags_of(SearchSettings):
        value = getattr(settings, part.name)
        if (declared.once or part.name == "json") and value != part.default:
            raise SettingsError(
                f"{part.name} is {value!r}, but run_search only searches; leave it out, or use the "
                f"command run_search.py {declared.name}."
            )
    try:
        with stop_by_signal(stop_early), make_display(quiet=settings.quiet) as display:
            command = ["run_search.py", *given_flags(settings)]
            outcome = run.run_search(settings, display, command)
    except (StoppedEarly, StoppedError) as stop:
        _pass_on(stop.reason)
        raise
    _pass_on(outcome.stopped_by)
    return outcome


def load_study(
    name: str, results_dir: Path | str = "results", *, storage: str | None = None
) -> optuna.Study:
    """Return the study of a search, running or finished.

    Args:
        name: Name of the study, which is that of its folder.
        results_dir: Folder of the studies.
        storage: URL of the database that holds it; None: the journal file in its folder.

    Raises:
        StudyError: There is no such study, or it is damaged.
        StorageError: It cannot be opened, or its folder holds a link.
    """
    return known_study(name, Path(results_dir), storage)


def _pass_on(reason: StopReason | None) -> None:
    """Let a signal other than Ctrl-C end this program, as it would without a search."""
    if reason in (StopReason.SIGTERM, StopReason.SIGHUP):
        signal.raise_signal(EXIT_CODES[reason] - 128)
