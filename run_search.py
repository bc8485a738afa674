#!/usr/bin/env python
"""Search hyperparameters of Keras image classifiers: `python run_search.py --trials 50`."""

import json
import os
import sys
import threading
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

from search.command_line.flags import given_flags
from search.command_line.parser import Parser, add_flags, called, print_error
from search.command_line.process import (
    EXIT_CODES,
    let_signals_stop,
    prepare_process,
    stop_by_signal,
    stop_early,
)
from search.config_file import config_text, read_arguments
from search.errors import SearchError, SettingsError, StoppedEarly, StoppedError, StopReason
from search.study.objective import COSTS
from search.words import counted
from spaces import SPACES, SpaceError
from spaces.errors import one_line

# Each worker process imports this module too, so the imports above stay light.
if TYPE_CHECKING:
    from search.outcome import Outcome
    from search.settings import SearchSettings


def main(arguments: Sequence[str] | None = None) -> int:
    """Parse the flags, search, and print the outcome.

    Returns:
        Exit code: 0 after a search that finished, or was ended by `--timeout` or
        `--patience-trials`, and whenever `--dashboard-only` ends; 130, 143 or 129 after Ctrl-C,
        SIGTERM or SIGHUP; 2 after an error.
    """
    prepare_process()
    given = sys.argv[1:] if arguments is None else list(arguments)
    try:
        from search.settings import SearchSettings

        settings = read_arguments(make_parser(), SearchSettings, given)
        if settings.print_config:
            print(config_text(settings), end="", flush=True)
            return 0
        if settings.dashboard_only:
            return _serve(settings)
        if settings.is_request:
            return _request(settings)
        # Until the coordinator handles signals: raise, so that cleanup ends all child processes.
        let_signals_stop(stop_early)
        if settings.dry_run:
            return _dry_run(settings)
        # Heavy imports come after the flags: --help and a wrong flag answer at once.
        from search.display import make_display
        from search.run import run_search

        with make_display(quiet=settings.quiet) as display:
            outcome = run_search(settings, display, ["run_search.py", *_flags(settings, given)])
        _report(outcome, settings, given)
    except KeyboardInterrupt as stop:
        let_signals_stop(lambda reason: None)  # a second one must not interrupt the message
        print_error("run_search.py", "stopped before the search started; nothing is lost.")
        return EXIT_CODES[stop.reason if isinstance(stop, StoppedEarly) else StopReason.CTRL_C]
    except (SearchError, SpaceError, OSError) as error:
        print_error("run_search.py", error)
        return EXIT_CODES[error.reason] if isinstance(error, StoppedError) else 2
    return 0 if outcome.stopped_by is None else EXIT_CODES.get(outcome.stopped_by, 0)


def _flags(settings: "SearchSettings", given: list[str]) -> list[str]:
    """Return the flags to store in the study, with those of a `--config` file: it may change."""
    return given if settings.config is None else given_flags(replace(settings, config=None))


def make_parser() -> Parser:
    """Return the parser of the command."""
    from search.settings import SearchSettings

    parser = Parser(
        prog=called("run_search.py"),
        description="Search hyperparameters of Keras image classifiers: CNNs on Fashion-MNIST, or "
        "your own images and search space. To resume a stopped search, repeat the command.",
        epilog="The search uses only training images; "
        f"{called('report.py')} alone scores the test part.",
        allow_abbrev=False,
    )
    add_flags(parser, SearchSettings)
    return parser


def _serve(settings: "SearchSettings") -> int:
    from search.study.dashboard import listen, serve_dashboard
    from search.study.journals import Journals
    from search.study.stored import require_studies, require_study

    stopped = threading.Event()
    with stop_by_signal(lambda reason: stopped.set()):
        # Without --study, show all studies, including those created later.
        every = None
        if settings.study is not None:
            require_study(settings.study, settings.results_dir, settings.storage)
        elif settings.dashboard_writable:
            raise SettingsError(
                "--dashboard-writable needs --study: all studies together are read-only."
            )
        elif settings.storage is not None:
            require_studies(settings.storage)
        else:
            every = Journals(settings.results_dir, partial(print_error, "run_search.py"))
            every.require_studies()
        address = serve_dashboard(
            settings.study_dir,
            settings.storage,
            listen(settings.dashboard_host, settings.dashboard_port),
            writable=settings.dashboard_writable,
            storage=every,
        )
        writable = "can be edited" if settings.dashboard_writable else "read-only"
        print(f"dashboard: {address} ({writable}; Ctrl-C ends it)", flush=True)
        stopped.wait()
    return 0


def _request(settings: "SearchSettings") -> int:
    from search.control import send_request

    try:
        answer = send_request(settings, partial(print_error, "run_search.py"))
    except KeyboardInterrupt:
        print_error("run_search.py", "stopped; the request may or may not have reached the search.")
        return EXIT_CODES[StopReason.CTRL_C]
    print(json.dumps({"study": settings.study_name, "answer": answer}) if settings.json else answer)
    return 0


def _dry_run(settings: "SearchSettings") -> int:
    from search.display import make_display
    from search.dry_run import dry_run

    planned = dry_run(settings, make_display(quiet=settings.quiet))
    if settings.json:
        print(json.dumps(planned.as_json()), flush=True)
    else:
        print("\n".join(one_line(line) for line in planned.lines()), flush=True)
    return 0


def _report(outcome: "Outcome", settings: "SearchSettings", given: list[str]) -> None:
    from search.study.provenance import command_line

    dashboard = command_line(["run_search.py", "--dashboard-only", *settings.study_flags])
    if outcome.interrupted:
        following = command_line(["run_search.py", *given])
    elif outcome.best is None:
        following = dashboard
    else:
        following = command_line(_report_arguments(settings))
    if settings.json:
        line = {
            **outcome.as_json(),
            "storage": outcome.storage,
            "stopped_by": _why(outcome.stopped_by, settings),
            "next": following,
        }
        print(json.dumps(line), flush=True)
        return
    _say_trials(outcome, settings)
    _say_best(outcome, settings)
    for finding in outcome.findings:
        print(f"check: {one_line(str(finding))}")
    _say_next(outcome, settings, following, dashboard)


def _say_trials(outcome: "Outcome", settings: "SearchSettings") -> None:
    from search.display import duration

    if outcome.stopped_by is not None:
        print(f"stopped: {_why(outcome.stopped_by, settings)}")
    elif not outcome.ran:
        print(f"study {outcome.name!r} already has its {outcome.finished} finished trials")
    print(
        f"{outcome.finished} of {settings.trials} trials finished: {outcome.complete} complete, "
        f"{outcome.pruned} pruned; {outcome.failed} failed; {duration(outcome.seconds)}"
    )


def _say_best(outcome: "Outcome", settings: "SearchSettings") -> None:
    if outcome.front is not None and outcome.front.trials:
        print(f"Pareto front: {len(outcome.front.trials)} of {outcome.complete} complete trials")
        for point in outcome.front.trials:
            value = point[settings.objectives.names[0]]
            print(f"  trial {point['number']:<5} {value:.4f}{_costs(point)}")
        if outcome.best is not None:
            print(f"the best is {outcome.front.rule}:")
    if outcome.best is not None:
        best = outcome.best
        name = f" ({one_line(best.name)})" if best.name else ""
        print(
            f"best: trial {best.number}{name}, {settings.objectives.words} {best.value:.4f}"
            f"{_costs(best.values)}"
        )
        if best.description is not None:
            print(f"  {best.description}")
        else:
            for parameter, value in best.params.items():
                shown = f"{value:.4g}" if isinstance(value, float) else value
                print(f"  {one_line(parameter):24} {one_line(str(shown))}")
    elif outcome.complete:
        print(
            f"best: none; no complete trial is within {settings.limits.words}. Run more trials, "
            f"or raise {settings.limits.flags}"
        )
    elif outcome.pruned:
        raised = "; raise --trials" if outcome.finished >= settings.trials else ""
        print(f"no trial has completed its {outcome.max_epochs} epochs yet{raised}")


def _say_next(
    outcome: "Outcome", settings: "SearchSettings", following: str, dashboard: str
) -> None:
    """Print where the files are and which commands continue."""
    from search.study.storage import is_server

    directory = os.path.relpath(outcome.directory)
    if is_server(settings.storage):
        print(f"trials: {outcome.storage}; other files: {directory}")
    else:
        print(f"results: {directory}")
    if "***" in outcome.storage:
        print("in these commands, *** stands for the password:")
    elif "***" in following:
        print("in this command, *** stands for a value that may hold a secret:")
    if outcome.interrupted:
        print(f"dashboard: {dashboard}")
        print(f"continue: {following}")
        return
    if outcome.stopped_by is None and outcome.used_up:
        print("every configuration of the space has been tried")
    elif outcome.stopped_by is None:
        enqueued = counted(outcome.enqueued, "enqueued trial")
        words = f" ({enqueued} waiting)" if outcome.enqueued else ""
        print(f"more trials: repeat the command with a larger --trials{words}")
    print(f"dashboard: {dashboard}")
    if outcome.best is not None:
        print(f"retrain the best and report: {following}")


def _costs(values: Mapping[str, float]) -> str:
    """Return the costs among the values as text, each after a comma."""
    known = (cost for cost in COSTS.values() if cost.attr in values)
    return "".join(f", {cost.shown(values[cost.attr])}" for cost in known)


def _why(reason: StopReason | None, settings: "SearchSettings") -> str | None:
    match reason:
        case None:
            return None
        case StopReason.TIMEOUT:
            return f"time limit reached (--timeout {settings.timeout_seconds:g} s)"
        case StopReason.PATIENCE:
            return f"no better trial among the last {settings.patience_trials} (--patience-trials)"
        case _:
            return str(reason.value)


def _report_arguments(settings: "SearchSettings") -> list[str]:
    arguments = ["report.py", *settings.study_flags]
    if settings.space not in SPACES:
        arguments += ["--space", settings.space]
    return arguments


if __name__ == "__main__":
    sys.exit(main())
