#!/usr/bin/env python
"""Search hyperparameters of Keras CNNs on Fashion-MNIST: `python run_search.py --trials 50`."""

import argparse
import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from search.command_line import EXIT_CODES, Parser, worker_count
from search.errors import SearchError, StoppedError
from search.settings import (
    ENGINES,
    PRECISIONS,
    PRUNERS,
    SAMPLERS,
    TUNERS,
    SearchSettings,
    is_server,
)
from spaces import SpaceError

if TYPE_CHECKING:
    from search.run import Outcome


def main(arguments: Sequence[str] | None = None) -> int:
    """Parse, search, say what came out.

    Returns:
        0 after a search that ended as asked, 130, 143 or 129 after Ctrl-C, SIGTERM or
        SIGHUP, 2 after an error.
    """
    given = sys.argv[1:] if arguments is None else list(arguments)
    flags = _parser().parse_args(given)
    try:
        settings = _settings(flags)
        # Heavy imports come after the flags: --help and a wrong flag answer at once.
        from search.display import make_display
        from search.run import DashboardSettings, run_search

        dashboard = DashboardSettings(
            serve=flags.dashboard or flags.dashboard_writable or flags.dashboard_port is not None,
            port=flags.dashboard_port,
            writable=flags.dashboard_writable,
        )
        with make_display(quiet=flags.quiet) as display:
            outcome = run_search(settings, display, ["run_search.py", *given], dashboard)
        _report(outcome, settings, given, json_line=flags.json)
    except KeyboardInterrupt:
        print("run_search: stopped before the search began; nothing is lost.", file=sys.stderr)
        return EXIT_CODES["Ctrl-C"]
    except (SearchError, SpaceError, OSError) as error:
        print(f"run_search: {error}", file=sys.stderr)
        return EXIT_CODES[error.reason] if isinstance(error, StoppedError) else 2
    return EXIT_CODES.get(outcome.stopped_by, 0)


def _settings(flags: argparse.Namespace) -> SearchSettings:
    return SearchSettings(
        trials=flags.trials,
        max_epochs=flags.epochs,
        timeout_seconds=flags.timeout,
        workers=worker_count(flags.workers),
        seed=flags.seed,
        study=flags.study,
        results_dir=flags.results_dir,
        storage=flags.storage,
        join=flags.join,
        data_dir=flags.data_dir,
        train_size=flags.train_size,
        val_size=flags.val_size,
        space=flags.space,
        engine=flags.engine,
        sampler=flags.sampler,
        tuner=flags.tuner,
        pruner=flags.pruner,
        precision=flags.precision,
        max_params=flags.max_params,
        patience_trials=flags.patience_trials,
        trial_timeout_seconds=flags.trial_timeout,
        max_worker_memory_mb=flags.max_worker_memory,
        max_failures=flags.max_failures,
        cluster=flags.cluster,
        cpus_per_trial=flags.cpus_per_trial,
        gpus_per_trial=flags.gpus_per_trial,
        baselines=not flags.no_baselines,
    )


def _parser() -> argparse.ArgumentParser:
    parser = Parser(
        prog="run_search.py",
        description="Search hyperparameters of Keras CNNs on Fashion-MNIST. The same command "
        "continues a search that was stopped, whatever stopped it.",
        epilog="Only the 60,000 training images are used; the test files are never opened.",
        allow_abbrev=False,
    )
    defaults = SearchSettings()
    _add_budget(parser, defaults)
    _add_what(parser, defaults)
    _add_data(parser, defaults)
    _add_machine(parser, defaults)
    _add_where(parser, defaults)
    _add_view(parser)
    return parser


def _add_budget(parser: argparse.ArgumentParser, defaults: SearchSettings) -> None:
    group = parser.add_argument_group("budget")
    group.add_argument(
        "--trials",
        type=int,
        default=defaults.trials,
        metavar="N",
        help="finished trials (complete or pruned) in the study in total (default: %(default)s)",
    )
    group.add_argument(
        "--epochs",
        type=int,
        default=defaults.max_epochs,
        metavar="N",
        help="most epochs of one trial (default: %(default)s)",
    )
    group.add_argument("--timeout", type=float, metavar="SECONDS", help="time for the whole search")
    group.add_argument(
        "--max-params",
        type=int,
        metavar="N",
        help="reject models with more parameters before training",
    )
    group.add_argument(
        "--patience-trials",
        type=int,
        metavar="K",
        help="stop when the last K finished trials brought nothing better",
    )
    group.add_argument(
        "--trial-timeout",
        type=float,
        metavar="SECONDS",
        help="stop a trial that takes longer; it counts as failed",
    )
    group.add_argument(
        "--max-failures",
        type=int,
        default=defaults.max_failures,
        metavar="K",
        help="stop when K trials in a row fail (default: %(default)s)",
    )


def _add_what(parser: argparse.ArgumentParser, defaults: SearchSettings) -> None:
    group = parser.add_argument_group("what is searched, and how")
    group.add_argument(
        "--space",
        default=defaults.space,
        metavar="NAME",
        help="cnn, mlp, or package.module:ClassName of any class with KerasTuner's build(hp) "
        "(default: %(default)s)",
    )
    group.add_argument(
        "--no-baselines",
        action="store_true",
        help="do not begin with the published baselines and the space's default",
    )
    group.add_argument(
        "--engine",
        default=defaults.engine,
        metavar="NAME",
        help=f"who proposes: {', '.join(ENGINES)} (default: %(default)s)",
    )
    group.add_argument(
        "--sampler",
        metavar="NAME",
        help=f"with --engine optuna: {', '.join(SAMPLERS)} (default: {SAMPLERS[0]})",
    )
    group.add_argument(
        "--tuner",
        metavar="NAME",
        help=f"with --engine keras-tuner: {', '.join(TUNERS)} (default: {TUNERS[0]}, whose epoch "
        "budgets take the pruner's place)",
    )
    group.add_argument(
        "--pruner",
        default=defaults.pruner,
        metavar="NAME",
        help=f"{', '.join(PRUNERS)} (default: %(default)s)",
    )
    group.add_argument(
        "--seed",
        type=int,
        default=defaults.seed,
        metavar="N",
        help="everything random derives from it (default: %(default)s)",
    )


def _add_data(parser: argparse.ArgumentParser, defaults: SearchSettings) -> None:
    group = parser.add_argument_group("data")
    group.add_argument(
        "--data-dir",
        type=Path,
        metavar="DIR",
        help="folder of the IDX files (default: $FASHION_MNIST_DIR, ../shared/fashion-mnist, "
        "or the Keras cache, downloading them)",
    )
    group.add_argument(
        "--train-size", type=int, metavar="N", help="training images (default: all others)"
    )
    group.add_argument(
        "--val-size",
        type=int,
        default=defaults.val_size,
        metavar="N",
        help="validation images, the same for every trial (default: %(default)s)",
    )


def _add_machine(parser: argparse.ArgumentParser, defaults: SearchSettings) -> None:
    group = parser.add_argument_group("machine")
    group.add_argument(
        "--workers",
        default="auto",
        metavar="auto|N",
        help="processes that train (default: one for each GPU, else one for each core; with "
        "--cluster as many as it has room for)",
    )
    group.add_argument(
        "--precision",
        default=defaults.precision,
        metavar="NAME",
        help=f"{', '.join(PRECISIONS)}; auto: bfloat16 where the hardware has it "
        "(default: %(default)s)",
    )
    group.add_argument(
        "--max-worker-memory",
        type=float,
        metavar="MB",
        help="replace a worker that uses more",
    )
    group.add_argument(
        "--cluster",
        metavar="ADDRESS",
        help="train on a Ray cluster: auto (this machine's), host:port, ray://host:port, or local "
        "(one that is started here)",
    )
    group.add_argument(
        "--cpus-per-trial",
        type=float,
        metavar="X",
        help="cores of each worker on a cluster; fractions share one (default: 1)",
    )
    group.add_argument(
        "--gpus-per-trial",
        type=float,
        metavar="X",
        help="GPUs of each worker on a cluster; fractions share one (default: 0)",
    )


def _add_where(parser: argparse.ArgumentParser, defaults: SearchSettings) -> None:
    group = parser.add_argument_group("where it is kept")
    group.add_argument(
        "--study", metavar="NAME", help="name of the study (default: the name of the space)"
    )
    group.add_argument(
        "--results-dir",
        type=Path,
        default=defaults.results_dir,
        metavar="DIR",
        help="one folder a study is made in it (default: %(default)s)",
    )
    group.add_argument(
        "--storage",
        metavar="URL",
        help="sqlite:///..., postgresql://... or mysql+pymysql://... (default: a journal file in "
        "the study's folder)",
    )
    group.add_argument(
        "--join",
        action="store_true",
        help="help others that search this study in a database on a server",
    )


def _add_view(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("what is shown")
    group.add_argument(
        "--dashboard", action="store_true", help="serve optuna-dashboard while the search runs"
    )
    group.add_argument(
        "--dashboard-port",
        type=int,
        metavar="PORT",
        help="serve it there (default: 8080, or a free one if that is taken)",
    )
    group.add_argument(
        "--dashboard-writable",
        action="store_true",
        help="serve it with its buttons that change and delete studies",
    )
    group.add_argument("--quiet", action="store_true", help="show no progress")
    group.add_argument(
        "--json",
        action="store_true",
        help="print the outcome as one JSON object, the last line of standard output",
    )


def _report(
    outcome: "Outcome", settings: SearchSettings, given: list[str], *, json_line: bool
) -> None:
    from search.display import duration
    from search.study.provenance import command_line

    if outcome.interrupted:
        following = command_line(["run_search.py", *given])
    elif outcome.best is None:
        following = outcome.dashboard
    else:
        following = command_line(_report_arguments(settings))
    if json_line:
        line = {
            "study": outcome.study,
            "storage": outcome.storage,
            "finished": outcome.finished,
            "complete": outcome.complete,
            "pruned": outcome.pruned,
            "failed": outcome.failed,
            "best": outcome.best,
            "seconds": round(outcome.seconds, 3),
            "stopped_by": outcome.stopped_by or None,
            "next": following,
        }
        print(json.dumps(line), flush=True)
        return
    if outcome.stopped_by:
        print(f"stopped: {outcome.stopped_by}")
    elif not outcome.ran:
        print(f"study {outcome.study!r} holds its {outcome.finished} finished trials already")
    print(
        f"{outcome.finished} of {settings.trials} trials finished: {outcome.complete} complete, "
        f"{outcome.pruned} pruned; {outcome.failed} failed; {duration(outcome.seconds)}"
    )
    if outcome.best is not None:
        best = outcome.best
        name = f" ({best['baseline']})" if best["baseline"] else ""
        print(f"best: trial {best['number']}{name}, validation accuracy {best['value']:.4f}")
        for parameter, value in best["params"].items():
            shown = f"{value:.4g}" if isinstance(value, float) else value
            print(f"  {parameter:24} {shown}")
    elif outcome.pruned:
        print(f"no trial has run all its {settings.max_epochs} epochs yet: more --trials let some")
    directory = os.path.relpath(outcome.directory)
    if is_server(settings.storage):
        print(f"the trials are in {outcome.storage}, all else in {directory}")
    else:
        print(f"everything is in {directory}")
    if "***" in outcome.storage:
        print("in these commands, *** stands for the password:")
    if outcome.interrupted:
        print(f"continue: {following}")
        return
    if not outcome.stopped_by:
        print("more trials: the same command with a larger --trials")
    print(f"look at it: {outcome.dashboard}")
    if outcome.best is not None:
        print(f"retrain the best and report: {following}")


def _report_arguments(settings: SearchSettings) -> list[str]:
    arguments = ["report.py", "--study", settings.study_name]
    if settings.results_dir != SearchSettings().results_dir:
        arguments += ["--results-dir", str(settings.results_dir)]
    if settings.storage is not None:
        arguments += ["--storage", settings.storage]
    if settings.data_dir is not None:
        arguments += ["--data-dir", str(settings.data_dir)]
    return arguments


if __name__ == "__main__":
    sys.exit(main())
