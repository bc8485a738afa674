"""Ask whether trials of equal epochs or of equal cost find what long trainings find.

python -m benchmarks.equal_cost            # train what the tables lack, then compare
python -m benchmarks.equal_cost --summary  # only compare
"""

import argparse
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table
from scipy.stats import kendalltau

from benchmarks.recorded import Recording, Row, make_recording, read
from benchmarks.recording import record, refuse_others


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """A rule that gives each configuration a number of epochs.

    Args:
        epochs: Its epochs in a trial, by configuration.
        cpu_seconds: What all trials cost.
        tau: Kendall's rank correlation of the trials with the long trainings.
        winner: The configuration that the trials have as the best.
        loss: Accuracy of the best long training minus that of `winner`, in [0, 1].
    """

    epochs: dict[str, int]
    cpu_seconds: float
    tau: float
    winner: str
    loss: float


def compare(tables: dict[int, dict[str, Row]], trial: int, truth: int) -> dict[str, Rule]:
    """Return both rules.

    Args:
        tables: Trainings by epochs and by name of the configuration, the same in all.
        trial: Epochs of a trial where all have the same.
        truth: Epochs of the long trainings.
    """
    long, lengths = tables[truth], sorted(set(tables) - {truth})
    seconds = {name: row.epoch_cpu_seconds for name, row in tables[trial].items()}
    # The mean cost of an epoch, so that both rules cost about the same in all.
    allowed = trial * float(np.mean(list(seconds.values())))
    equal_cost = {
        name: min(lengths, key=lambda length: abs(np.log(length * each / allowed)))
        for name, each in seconds.items()
    }
    rules = {"equal epochs": dict.fromkeys(seconds, trial), "equal cost": equal_cost}
    return {rule: _judged(epochs, tables, long) for rule, epochs in rules.items()}


def _judged(
    epochs: dict[str, int], tables: dict[int, dict[str, Row]], long: dict[str, Row]
) -> Rule:
    rows = {name: tables[length][name] for name, length in epochs.items()}
    short = {name: row.accuracies[-1] for name, row in rows.items()}
    final = {name: long[name].accuracies[-1] for name in rows}
    winner = max(short, key=short.__getitem__)
    return Rule(
        epochs=epochs,
        cpu_seconds=sum(row.cpu_seconds(epochs[name]) for name, row in rows.items()),
        tau=float(kendalltau(list(short.values()), list(final.values())).statistic),
        winner=winner,
        loss=max(final.values()) - final[winner],
    )


def _named(rows: list[Row], epochs: int) -> dict[str, Row]:
    """Return the complete trainings by the name of their configuration."""
    return {row.name or f"draw {row.index}": row for row in rows if row.is_whole(epochs)}


def _shared(tables: dict[int, dict[str, Row]]) -> dict[int, dict[str, Row]]:
    """Return the trainings of the configurations that all tables have.

    Raises:
        SystemExit: There are fewer than two.
    """
    names = set.intersection(*map(set, tables.values()))
    if len(names) < 2:
        raise SystemExit("equal_cost: the tables share fewer than two configurations.")
    return {
        length: {name: row for name, row in rows.items() if name in names}
        for length, rows in tables.items()
    }


def _print(
    tables: dict[int, dict[str, Row]], rules: dict[str, Rule], trial: int, truth: int
) -> None:
    console = Console(width=max(120, Console().width))
    summary = Table("rule", "CPU s", "Kendall's tau", "its best", "lost by it (pp)")
    for name, rule in rules.items():
        cells = (
            f"{rule.cpu_seconds:,.0f}",
            f"{rule.tau:.2f}",
            rule.winner,
            f"{100 * rule.loss:.2f}",
        )
        summary.add_row(name, *cells)
    lengths = sorted(tables)
    trained = Table(
        "configuration", "CPU s an epoch", *(f"{n} epochs (%)" for n in lengths), "equal cost"
    )
    for name in sorted(tables[truth], key=lambda name: -tables[truth][name].accuracies[-1]):
        trained.add_row(
            name,
            f"{tables[trial][name].epoch_cpu_seconds:.2f}",
            *(f"{100 * tables[length][name].accuracies[-1]:.2f}" for length in lengths),
            f"{rules['equal cost'].epochs[name]} epochs",
        )
    console.print(trained)
    console.print(summary)


def main() -> None:
    """Train what is missing, and compare."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--tables", type=Path, default=Path("benchmarks/equal_cost"))
    parser.add_argument("--draws", type=int, default=6, help="variants of first configurations")
    parser.add_argument("--epochs", type=int, nargs="+", default=[4, 8, 16], metavar="N")
    parser.add_argument("--trial", type=int, default=8, metavar="N", help="where all have the same")
    parser.add_argument("--truth", type=int, default=24, metavar="N", help="of a long training")
    parser.add_argument("--train-size", type=int, default=10_000, metavar="N")
    parser.add_argument("--val-size", type=int, default=10_000, metavar="N")
    parser.add_argument("--workers", type=int, default=2, metavar="N")
    parser.add_argument("--seed", type=int, default=0, help="of draws and trainings")
    parser.add_argument("--summary", action="store_true", help="train nothing")
    flags = parser.parse_args()
    if flags.trial not in flags.epochs or flags.truth in flags.epochs:
        parser.error(f"--epochs {flags.epochs} must have --trial {flags.trial}, and not --truth")
    tables: dict[int, dict[str, Row]] = {}
    for epochs in sorted({*flags.epochs, flags.truth}):
        table, wanted = flags.tables / f"{epochs}.csv", _recording(flags, epochs)
        if not flags.summary:
            flags.tables.mkdir(parents=True, exist_ok=True)
            record(table, flags.draws, wanted, flags.workers)
        elif not table.exists():
            parser.error(f"{table} does not exist; leave out --summary to train it")
        recording, rows, _ = read(table)
        # A summary may be of tables of an earlier space, or another machine.
        refuse_others(table, recording, wanted, only=("train_size", "val_size", "epochs", "near"))
        tables[epochs] = _named(rows, epochs)
    shared = _shared(tables)
    _print(shared, compare(shared, flags.trial, flags.truth), flags.trial, flags.truth)


def _recording(flags: argparse.Namespace, epochs: int) -> Recording:
    return make_recording(
        train_size=flags.train_size,
        val_size=flags.val_size,
        epochs=epochs,
        seed=flags.seed,
        near=1.0,
    )


if __name__ == "__main__":
    main()
