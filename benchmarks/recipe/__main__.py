"""Measure changes to the default recipe, one at a time, paired by seed, on validation images.

python -m benchmarks.recipe                      # train what the file lacks, then print the table
python -m benchmarks.recipe --only "pool first"  # of this change and the default alone
python -m benchmarks.recipe --summary            # only print the tables, one for each number format
"""

import argparse
import json
import multiprocessing
import os
import sys
from pathlib import Path
from typing import Any, Final

from rich.console import Console
from rich.table import Table

from benchmarks.recipe.changes import CHANGES
from benchmarks.recipe.trainings import train_change
from reporting.statistics import interval
from search.training.hardware import best_precision, training_variables

_TRAININGS_PER_PROCESS: Final = 10  # TensorFlow keeps about 9 MB of each
_KEY: Final = ("change", "seed", "epochs", "train_size", "val_size", "precision")


def main() -> None:
    parser = argparse.ArgumentParser("python -m benchmarks.recipe", description=__doc__)
    parser.add_argument("--file", type=Path, default=Path(__file__).with_name("results.jsonl"))
    parser.add_argument("--only", nargs="+", choices=list(CHANGES), default=list(CHANGES))
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--epochs", type=int, default=8)
    parser.add_argument("--train-size", type=int, default=10_000)
    parser.add_argument("--val-size", type=int, default=10_000)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--summary", action="store_true")
    options = parser.parse_args()
    same = {
        "epochs": options.epochs,
        "train_size": options.train_size,
        "val_size": options.val_size,
    }
    if not options.summary:
        names = list(dict.fromkeys(["default", *options.only]))
        jobs = [
            {"change": name, "seed": seed, "precision": best_precision(), **same}
            for seed in range(options.seeds)
            for name in names
        ]
        _train_missing(options.file, jobs, options.workers)
    rows = [row for row in _rows(options.file) if same.items() <= row.items()]
    for precision in sorted({row["precision"] for row in rows}):
        _print(
            [row for row in rows if row["precision"] == precision],
            f"{options.train_size:,} training and {options.val_size:,} validation images, "
            f"{options.epochs} epochs, {precision}",
        )


def _train_missing(file: Path, jobs: list[dict[str, Any]], workers: int) -> None:
    done = {_key(row) for row in _rows(file)}
    todo = [job for job in jobs if _key(job) not in done]
    os.environ |= training_variables(threads=1)
    spawn = multiprocessing.get_context("spawn")
    # A ProcessPoolExecutor with `max_tasks_per_child` can stop for good (python/cpython#115634).
    with spawn.Pool(workers, maxtasksperchild=_TRAININGS_PER_PROCESS) as pool:
        for row in pool.imap_unordered(train_change, todo):
            with file.open("a") as opened:
                opened.write(json.dumps(row) + "\n")
            shown = f"{row['change']}, seed {row['seed']}: {row['accuracies'][-1]:.4f}"
            print(shown, file=sys.stderr, flush=True)


def _key(row: dict[str, Any]) -> tuple[Any, ...]:
    return tuple(row[name] for name in _KEY)


def _rows(file: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []


def _print(rows: list[dict[str, Any]], title: str) -> None:
    """Print a row for each change: its accuracy, and differences to the default by seed."""
    last = {(row["change"], row["seed"]): row for row in rows}
    table = Table(
        "change",
        "n",
        "val_accuracy, %",
        "minus default, points",
        "CPU s an epoch, ratio",
        title=title,
    )
    for name in CHANGES:
        seeds = [seed for other, seed in last if other == name and ("default", seed) in last]
        if not seeds:
            continue
        mine = [last[name, seed] for seed in seeds]
        theirs = [last["default", seed] for seed in seeds]
        accuracy = interval([100 * row["accuracies"][-1] for row in mine])
        difference = interval(
            [
                100 * (own["accuracies"][-1] - other["accuracies"][-1])
                for own, other in zip(mine, theirs, strict=True)
            ]
        )
        ratio = sum(row["epoch_cpu_seconds"] for row in mine) / sum(
            row["epoch_cpu_seconds"] for row in theirs
        )
        table.add_row(
            name,
            str(len(seeds)),
            f"{accuracy.mean:.2f}",
            "" if name == "default" else _shown(difference),
            f"{ratio:.2f}",
        )
    Console(width=110).print(table)


def _shown(difference: Any) -> str:
    if difference.low is None:
        return f"{difference.mean:+.2f}"
    return f"{difference.mean:+.2f} ({difference.low:+.2f} to {difference.high:+.2f})"


if __name__ == "__main__":
    main()
