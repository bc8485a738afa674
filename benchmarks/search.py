"""Run the default search on the full data: accuracy, time, and the baselines for comparison.

python -m benchmarks.search                 # runs `run_search.py --trials 50` (about an hour)
python -m benchmarks.search --study cnn     # the same tables from an existing study
"""

import argparse
import os
import resource
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import optuna
from optuna.trial import FrozenTrial, TrialState
from rich.console import Console
from rich.table import Table

from search.engines.pruners import PRUNERS
from search.length import FIRST_COST, SAMPLED_COST
from search.study.facts import split_sizes
from search.study.storage import JOURNAL, open_storage
from search.study.study import FINISHED, best_trial, count_states, known_as
from search.training.hardware import machine

ROOT = Path(__file__).resolve().parent.parent


def run(results_dir: Path, flags: Sequence[str]) -> None:
    """Run the search and print its wall and CPU seconds."""
    began = time.monotonic()
    command = [sys.executable, str(ROOT / "run_search.py"), "--results-dir", str(results_dir)]
    subprocess.run([*command, *flags], check=True)
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    print(
        f"wall {(time.monotonic() - began) / 60:.1f} min, "
        f"CPU {(used.ru_utime + used.ru_stime) / 60:.1f} core-minutes (coordinator and workers)"
    )


def print_tables(study: optuna.Study, console: Console) -> None:
    """Print a summary of the search, and its baselines beside the best trial."""
    states = count_states(study)
    finished = study.get_trials(deepcopy=False, states=FINISHED)
    best = best_trial(study)
    assert best is not None
    begin = min(trial.datetime_start for trial in study.trials if trial.datetime_start)
    end = max(trial.datetime_complete for trial in finished if trial.datetime_complete)
    facts = Table("search", "")
    rows = {
        "machine": study.user_attrs["machine"],
        "commit": study.user_attrs["commit"],
        "command": study.user_attrs["command"],
        "trials": f"{states[TrialState.COMPLETE]} complete, {states[TrialState.PRUNED]} pruned, "
        f"{states[TrialState.FAIL]} failed",
        "epochs trained": f"{sum(trial.user_attrs['epochs'] for trial in finished)}",
        "worker time in trials": f"{sum(t.user_attrs['seconds'] for t in finished) / 60:.1f} min",
        "first start to last end": f"{(end - begin).total_seconds() / 60:.1f} min",
        "best validation accuracy": f"{best.value:.2%} (trial {best.number})",
    }
    for name, value in rows.items():
        facts.add_row(name, value)
    console.print(facts)

    print_constants(study, console)
    table = Table("trial", "configuration", "parameters", "epochs", "seconds", "val_accuracy")
    first = [trial for trial in finished if known_as(trial)]
    for trial in [*first, *([] if best in first else [best])]:
        table.add_row(*_row(trial))
    console.print(table)


def print_constants(study: optuna.Study, console: Console) -> None:
    """Print what trials have cost beside what `search/length.py` assumes.

    For a search that has tried the default to its end; the constants themselves come from
    benchmarks/replay.csv.

    Validation and training images are those of Fashion-MNIST where the study uses all of them.
    """
    finished = study.get_trials(deepcopy=False, states=FINISHED)
    attrs = [trial.user_attrs for trial in finished]
    names = [known_as(trial) for trial in finished]
    default = attrs[names.index("default")] if "default" in names else None
    max_epochs = study.user_attrs["epochs"]
    if default is None or default["epochs"] < max_epochs:
        return
    # Without one, epoch budgets are those of Hyperband.
    pruner = PRUNERS[study.user_attrs["settings"].get("pruner", "hyperband")]
    table = Table("trials", "epochs trained", "epochs expected", "epoch_cost", "assumed")
    for assumed, is_first in ((FIRST_COST, True), (SAMPLED_COST, False)):
        kind = [
            one for one, name in zip(attrs, names, strict=True) if (name is not None) is is_first
        ]
        epochs = sum(one["epochs"] for one in kind)
        if not epochs:
            continue
        cost = sum(one["seconds"] for one in kind) / epochs / (default["seconds"] / max_epochs)
        table.add_row(
            "first" if is_first else "sampled",
            f"{epochs / (max_epochs * len(kind)):.2f}",
            f"{pruner.expected_epochs(max_epochs, is_first=is_first) / max_epochs:.2f}",
            f"{cost:.2f}",
            f"{assumed:.2f}",
        )
    console.print(table)
    sizes = split_sizes(study.user_attrs["split"])
    seconds = [sum(one[f"{part}_seconds"] for one in attrs) for part in ("val", "train")]
    console.print(
        f"VALIDATION_COST: {seconds[0] / sizes.val / (seconds[1] / sizes.epoch_images(60_000)):.2f}"
    )


def _row(trial: FrozenTrial) -> list[str]:
    attrs = trial.user_attrs
    pruned = " (pruned)" if trial.state == TrialState.PRUNED else ""
    return [
        str(trial.number),
        known_as(trial) or "best found",
        f"{attrs['parameters']:,}",
        f"{attrs['epochs']}{pruned}",
        f"{attrs['seconds']:.0f}",
        f"{trial.intermediate_values[attrs['epochs']]:.2%}",
    ]


def main() -> None:
    """Run a search unless --study names one, and print its tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--study", help="print the tables of this study instead of searching")
    parser.add_argument("--results-dir", type=Path, default=Path("results"))
    parser.add_argument("flags", nargs="*", help="flags for run_search.py, after --")
    given = parser.parse_args()
    console = Console(width=int(os.environ.get("COLUMNS", "110")), highlight=False)
    console.print(f"machine: {machine()}")
    name = given.study
    if name is None:
        name = f"benchmark-{time.strftime('%Y%m%d-%H%M%S')}"
        run(given.results_dir, ["--trials", "50", "--study", name, *given.flags])
    journal = (given.results_dir / name / JOURNAL).resolve()
    print_tables(optuna.load_study(study_name=name, storage=open_storage(journal, None)), console)


if __name__ == "__main__":
    main()
