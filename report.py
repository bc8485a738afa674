#!/usr/bin/env python
"""Retrain the best configuration of a search and write its report: `python report.py`."""

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from reporting.errors import Interrupted
from reporting.settings import ReportSettings
from search.command_line import EXIT_CODES, Parser, let_signals_stop, worker_count
from search.errors import SearchError
from spaces import SpaceError

if TYPE_CHECKING:
    from reporting.run import Outcome


def main(arguments: Sequence[str] | None = None) -> int:
    """Parse, report, say what came out.

    Returns:
        0 after a report, 1 after a report that lacks trainings because they failed, 130, 143 or
        129 after Ctrl-C, SIGTERM or SIGHUP, 2 after an error.
    """
    given = sys.argv[1:] if arguments is None else list(arguments)
    flags = _parser().parse_args(given)
    try:
        return _run(_settings(flags), ["report.py", *given], quiet=flags.quiet)
    except KeyboardInterrupt:
        print("report: stopped; every finished training is kept.", file=sys.stderr)
        return EXIT_CODES["Ctrl-C"]
    except (SearchError, SpaceError, OSError) as error:
        print(f"report: {error}", file=sys.stderr)
        return 2


def _run(settings: ReportSettings, command: list[str], *, quiet: bool) -> int:
    # Heavy imports come after the flags: --help and a wrong flag answer at once.
    from reporting.retraining.progress import make_progress
    from reporting.run import run_report
    from search.study.provenance import command_line

    try:
        with make_progress(quiet=quiet) as progress:
            outcome = run_report(settings, progress, command)
    except Interrupted as stop:
        # A second Ctrl-C must not cut off the words that answer the first one.
        let_signals_stop(lambda reason: None)
        print(
            f"report: stopped by {stop}; every finished training is kept.\n"
            f"continue: {command_line(command)}",
            file=sys.stderr,
        )
        return EXIT_CODES[stop.reason]
    _say(outcome)
    return 1 if outcome.evidence.failures else 0


def _settings(flags: argparse.Namespace) -> ReportSettings:
    return ReportSettings(
        study=flags.study,
        results_dir=flags.results_dir,
        storage=flags.storage,
        data_dir=flags.data_dir,
        top=flags.top,
        candidate_seeds=flags.candidate_seeds,
        seeds=flags.seeds,
        epochs=flags.epochs,
        baseline_epochs=flags.baseline_epochs,
        ensemble=flags.ensemble,
        averaging=flags.averaging,
        workers=worker_count(flags.workers),
        retrain=not flags.no_retrain,
        quick=flags.quick,
    )


def _parser() -> argparse.ArgumentParser:
    parser = Parser(
        prog="report.py",
        description="Retrain the best trials of a search, choose one on validation, train it and "
        "the published baselines over several seeds, score all of them once on the test split, and "
        "write results/STUDY/report/. Finished trainings are kept: the same command continues, and "
        "more --seeds train only the new ones.",
        allow_abbrev=False,
    )
    defaults = ReportSettings()
    _add_study(parser, defaults)
    _add_training(parser, defaults)
    return parser


def _add_study(parser: argparse.ArgumentParser, defaults: ReportSettings) -> None:
    group = parser.add_argument_group("which study")
    group.add_argument(
        "--study", metavar="NAME", help="name of the study (default: the one searched last)"
    )
    group.add_argument(
        "--results-dir",
        type=Path,
        default=defaults.results_dir,
        metavar="DIR",
        help="folder of the studies (default: %(default)s)",
    )
    group.add_argument(
        "--storage", metavar="URL", help="database of the study, as for run_search.py"
    )
    group.add_argument(
        "--data-dir", type=Path, metavar="DIR", help="folder of the IDX files, the test files too"
    )


def _add_training(parser: argparse.ArgumentParser, defaults: ReportSettings) -> None:
    group = parser.add_argument_group("what is trained")
    for flag, default, text in (
        ("--top", defaults.top, "best trials to train again and choose from"),
        ("--candidate-seeds", defaults.candidate_seeds, "fresh seeds for each of them"),
        ("--seeds", defaults.seeds, "seeds of the winner and of every baseline"),
        ("--epochs", defaults.epochs, "epochs of the winner; its schedule is stretched"),
        ("--baseline-epochs", defaults.baseline_epochs, "epochs of the published baselines"),
    ):
        group.add_argument(
            flag, type=int, default=default, metavar="N", help=f"{text} (default: %(default)s)"
        )
    group.add_argument(
        "--ensemble", action="store_true", help="add the average over the winner's seeds as a row"
    )
    group.add_argument(
        "--averaging",
        action="store_true",
        help="add the winner with averaged weights as a row, if its configuration has none",
    )
    group.add_argument(
        "--workers",
        default="auto",
        metavar="auto|N",
        help="processes that train (default: one for each GPU, else one for each core)",
    )
    group.add_argument(
        "--no-retrain",
        action="store_true",
        help="train nothing: report with what earlier runs have left, gaps marked",
    )
    group.add_argument(
        "--quick",
        action="store_true",
        help="a small preview, marked as such, in results/STUDY/report-preview/",
    )
    group.add_argument("--quiet", action="store_true", help="show no progress")


def _say(outcome: "Outcome") -> None:
    from reporting.drawing.style import bounds, spread

    evidence = outcome.evidence
    for row in evidence.scored:
        interval = "" if row.accuracy.n == 1 else f", 95 % interval {bounds(row.accuracy)}"
        print(
            f"{row.name:24} test accuracy {spread(row.accuracy)} (n = {row.accuracy.n}{interval})"
        )
    for row in evidence.rows:
        if row.gap:
            print(f"{row.name:24} {row.gap}")
    if evidence.winner is None:
        print("no test results: the winner has not been chosen yet")
    if evidence.settings.averaging and evidence.tuned is not None:
        averages = evidence.tuned.params.get("weight_averaging")
        if averages is not False:
            why = "the winner averages its weights" if averages else "the space has no such choice"
            print(f"--averaging adds no row: {why}")
    if evidence.failures:
        print(f"failed trainings: {len(evidence.failures)}; the report says which, and why")
    print(f"report: {os.path.relpath(outcome.html)}")


if __name__ == "__main__":
    sys.exit(main())
