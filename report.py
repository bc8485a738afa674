#!/usr/bin/env python
"""Retrain the best configuration of a search and write its report: `python report.py`."""

import os
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from reporting.errors import Interrupted
from reporting.settings import ReportSettings
from search.command_line.parser import Parser, add_flags, called, print_error
from search.command_line.process import EXIT_CODES, let_signals_stop, prepare_process
from search.config_file import config_text, read_arguments
from search.errors import SearchError, StopReason
from spaces import SpaceError
from spaces.errors import one_line

if TYPE_CHECKING:
    from reporting.run import Outcome


def main(arguments: Sequence[str] | None = None) -> int:
    """Parse the flags, make the report, and print its results.

    Returns:
        Exit code: 0 after a complete report or comparison; 1 if results are missing (unless the
        report was asked not to retrain), an `--export` file could not be written, or a compared
        study has no results; 130, 143 or 129 after Ctrl-C, SIGTERM or SIGHUP; 2 after an error.
    """
    prepare_process()
    given = sys.argv[1:] if arguments is None else list(arguments)
    try:
        settings = read_arguments(make_parser(), ReportSettings, given)
        if settings.print_config:
            print(config_text(settings), end="", flush=True)
            return 0
        return _run(settings, ["report.py", *given])
    except KeyboardInterrupt:
        print_error("report.py", "stopped; every finished training is kept.")
        return EXIT_CODES[StopReason.CTRL_C]
    except (SearchError, SpaceError, OSError) as error:
        print_error("report.py", error)
        return 2


def _run(settings: ReportSettings, command: list[str]) -> int:
    if settings.compare:
        return _compare(settings, command)
    # Heavy imports come after the flags: --help and a wrong flag answer at once.
    from reporting.retrainer import make_progress
    from reporting.run import run_report
    from search.study.provenance import command_line

    try:
        with make_progress(quiet=settings.quiet) as progress:
            outcome = run_report(settings, progress, command)
    except Interrupted as stop:
        # A second Ctrl-C must not interrupt the message about the first one.
        let_signals_stop(lambda reason: None)
        print_error(
            "report.py",
            f"stopped by {stop}; every finished training is kept.\n"
            f"continue: {command_line(command)}",
        )
        return EXIT_CODES[stop.reason]
    _say(outcome)
    evidence = outcome.evidence
    if outcome.unexported:
        return 1
    whole = evidence.tuned is not None and not evidence.gaps and not evidence.failures
    return 0 if whole or not settings.retrain else 1


def _compare(settings: ReportSettings, command: list[str]) -> int:
    from reporting.comparison.page import run_comparison
    from reporting.drawing.style import bounds, spread

    comparison = run_comparison(settings, command)
    for study in comparison.studies:
        if study.finals is None:
            print(f"{one_line(study.name):26} {one_line(study.gap)}")
            continue
        accuracy = study.finals.row.accuracy
        interval = "" if accuracy.n == 1 else f", 95 % interval {bounds(accuracy)}"
        print(
            f"{one_line(study.name):26} test accuracy {spread(accuracy)} "
            f"(n = {accuracy.n}{interval})"
        )
    print(f"comparison: {os.path.relpath(comparison.html)}")
    return 0 if all(study.finals for study in comparison.studies) else 1


def make_parser() -> Parser:
    """Return the parser of the command."""
    parser = Parser(
        prog=called("report.py"),
        description="Retrain the best trials of a search and its default, choose one on validation "
        "images, train it and the published baselines over several seeds, score each once on the "
        "test images, and write results/STUDY/report/. Finished trainings are kept: repeat the "
        "command to resume; a larger --seeds trains only the new seeds.",
        allow_abbrev=False,
    )
    add_flags(parser, ReportSettings)
    return parser


def _say(outcome: "Outcome") -> None:
    from reporting.drawing.style import bounds, spread

    evidence = outcome.evidence
    for row in evidence.scored:
        interval = "" if row.accuracy.n == 1 else f", 95 % interval {bounds(row.accuracy)}"
        balanced = (
            f", balanced accuracy {spread(row.balanced_accuracy)}"
            if evidence.shows_balanced
            else ""
        )
        print(
            f"{row.name:26} test accuracy {spread(row.accuracy)} "
            f"(n = {row.accuracy.n}{interval}){balanced}"
        )
    for row in evidence.rows:
        if row.gap:
            print(f"{row.name:26} {one_line(row.gap)}")
    if evidence.winner is None:
        print("no test results: the winner has not been chosen yet")
    if evidence.settings.averaging and evidence.tuned is not None:
        averages = evidence.tuned.params.get("weight_averaging")
        if averages is not False:
            why = "the winner averages its weights" if averages else "the space has no such choice"
            print(f"--averaging adds no row: {why}")
    if evidence.failures:
        print(f"failed trainings: {len(evidence.failures)}; see the report for the reasons")
    for line in outcome.unexported:
        print(line)
    print(f"report: {os.path.relpath(outcome.html)}")


if __name__ == "__main__":
    sys.exit(main())
