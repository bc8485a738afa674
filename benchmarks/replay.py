"""Compare pruners by replaying searches over a table of unpruned trainings.

python -m benchmarks.replay --record 300   # train the table; the same command continues it
python -m benchmarks.replay                # replay searches of a tenth and a quarter of it
python -m benchmarks.replay --trials 50    # replay whole searches of 50 trials
"""

import argparse
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import optuna
from optuna.storages import InMemoryStorage
from optuna.trial import FrozenTrial, TrialState
from rich.console import Console
from rich.table import Table
from scipy.stats import wilcoxon

from benchmarks.recorded import Row, make_recording, read
from benchmarks.recording import CONDITIONS, record, refuse_others
from benchmarks.replayed_pruners import CANDIDATES, Candidate
from reporting.statistics import interval
from search.engines.near_best import CHANGED

_CLOSE: Final = 0.3  # points; about the standard error of 92 % on 10,000 images


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """A replayed search at the end of its budget.

    Args:
        cpu_seconds: What its ended trials took.
        best: Highest final accuracy of a complete trial, in [0, 1]; NaN without one.
        begun: Number of trials.
        saved: Share of the epochs of the ended trials that were not trained.
        winner_lost: Whether the ended trial with the highest final accuracy had been pruned.
    """

    cpu_seconds: float
    best: float
    begun: int
    saved: float
    winner_lost: bool


class _Trials(InMemoryStorage):
    """The ended trials of a replayed study: what pruners read, without Optuna's copies."""

    def __init__(self) -> None:
        super().__init__()
        self.ended: list[FrozenTrial] = []
        self.running: FrozenTrial | None = None

    def get_all_trials(
        self, study_id: int, deepcopy: bool = True, states: Any = None
    ) -> list[FrozenTrial]:
        if states is None:
            return list(self.ended)
        return [trial for trial in self.ended if trial.state in states]

    def set_trial_system_attr(self, trial_id: int, key: str, value: Any) -> None:
        assert self.running is not None
        self.running.system_attrs[key] = value


def replay(
    rows: list[Row], candidate: Candidate, epochs: int, budgets: list[float], name: str
) -> list[Outcome]:
    """Run one search over the rows in their order, with one worker; one outcome for each budget.

    Args:
        rows: Rows of the table.
        candidate: The pruner.
        epochs: Epochs of a complete training.
        budgets: CPU seconds, ascending.
        name: Name of the study; Hyperband's brackets depend on it.
    """
    storage = _Trials()
    study = optuna.create_study(study_name=name, storage=storage, direction="maximize")
    pruner, steps = candidate.make(epochs), candidate.steps(epochs)
    left, outcomes = list(budgets), []
    spent, best, winner, winner_lost, trained = 0.0, math.nan, -1.0, False, 0
    ended, used = 0, 0.0

    def note() -> None:
        saved = 1 - trained / (ended * epochs) if ended else 0.0
        begun = ended + (ended < len(rows))
        outcomes.append(
            Outcome(cpu_seconds=used, best=best, begun=begun, saved=saved, winner_lost=winner_lost)
        )
        left.pop(0)

    for number, row in enumerate(rows):
        trial = optuna.trial.create_trial(state=TrialState.RUNNING, value=None)
        trial.number, storage.running = number, trial
        pruned, reached = False, 0
        for reached, accuracy in enumerate(row.accuracies, start=1):
            if reached in steps:
                trial.intermediate_values[steps[reached]] = accuracy
                if pruned := bool(pruner.prune(study, trial)):
                    break
        spent += row.cpu_seconds(reached)
        while left and spent > left[0]:
            note()
        if not left:
            return outcomes
        complete = reached == epochs and not pruned
        trial.state = (
            TrialState.COMPLETE if complete else TrialState.PRUNED if pruned else TrialState.FAIL
        )
        storage.ended.append(trial)
        ended, trained, used = ended + 1, trained + reached, spent
        final = row.accuracies[-1] if row.is_whole(epochs) else -1.0
        if complete:
            best = max(final, -1.0 if math.isnan(best) else best)
        if final > winner:
            winner, winner_lost = final, pruned
    while left:
        note()
    return outcomes


def orders(rows: list[Row], seeds: int, *, mixed: bool = False) -> list[list[Row]]:
    """Return the rows in random orders; unless `mixed`, the first configurations come first."""
    first = [row for row in rows if row.name and not mixed]
    drawn = [row for row in rows if not row.name or mixed]
    # Not in the order in which their trainings ended.
    drawn.sort(key=lambda row: (row.name, row.index))
    first.sort(key=lambda row: row.index)
    shuffled = [np.random.default_rng(seed).permutation(len(drawn)) for seed in range(seeds)]
    return [[*first, *(drawn[place] for place in order)] for order in shuffled]


def _spread(values: list[float], digits: int) -> str:
    found = interval([value for value in values if not math.isnan(value)] or [math.nan])
    if not found.sd or found.low is None:
        return f"{found.mean:.{digits}f}"
    return f"{found.mean:.{digits}f} ({found.low:.{digits}f} to {found.high:.{digits}f})"


def _table(title: str, outcomes: dict[str, list[Outcome]]) -> Table:
    table = Table(
        *("pruner", "best (%)", "Δ to none (pp)", "epochs saved (%)", "winner lost (%)"),
        *("trials", "CPU s"),
        title=title,
    )
    for name, found in outcomes.items():
        pairs = zip(found, outcomes["none"], strict=True)
        table.add_row(
            name,
            _spread([100 * one.best for one in found], 3),
            "-" if name == "none" else _spread([100 * (a.best - b.best) for a, b in pairs], 3),
            f"{100 * np.mean([one.saved for one in found]):.0f}",
            f"{100 * np.mean([one.winner_lost for one in found]):.1f}",
            f"{np.mean([one.begun for one in found]):.0f}",
            f"{np.mean([one.cpu_seconds for one in found]):,.0f}",
        )
    return table


def _accuracies(rows: list[Row], epochs: int) -> Table:
    table = Table(
        *("trainings", "n", "mean (%)", "median (%)", "best (%)"),
        f"within {_CLOSE:g} of the best first (%)",
        title="Final accuracy of complete trainings",
    )
    complete = [row for row in rows if row.is_whole(epochs)]
    first = [100 * row.accuracies[-1] for row in complete if row.name]
    drawn = [100 * row.accuracies[-1] for row in complete if not row.name]
    for name, found in (("first configurations", first), ("draws", drawn)):
        if found and first:
            close = np.mean([value >= max(first) - _CLOSE for value in found])
            cells = (np.mean(found), np.median(found), max(found))
            table.add_row(name, f"{len(found)}", *(f"{x:.2f}" for x in cells), f"{100 * close:.0f}")
    return table


def _against(rows: list[Row], others: list[Row], epochs: int) -> str:
    """Compare the draws of two tables in pairs: those of a number have the same random numbers."""
    final, theirs = (
        {row.index: row.accuracies[-1] for row in each if not row.name and row.is_whole(epochs)}
        for each in (rows, others)
    )
    differences = [100 * (final[index] - theirs[index]) for index in sorted({*final} & {*theirs})]
    differing = [one for one in differences if one]
    if not differing:
        return f"The {len(differences)} draws that both tables have are the same."
    return (
        f"Draws minus those of the other table, {len(differences)} pairs: mean "
        f"{np.mean(differences):+.2f} points, median {np.median(differences):+.2f}; "
        f"{sum(one > 0 for one in differing)} of {len(differing)} that differ are above 0; "
        f"Wilcoxon's signed-rank test: p = {wilcoxon(differing).pvalue:.2g}"
    )


def main() -> None:
    """Record a table, or replay it."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--table", type=Path, default=Path("benchmarks/replay.csv"))
    parser.add_argument("--record", type=int, metavar="N", help="train N draws and the first rows")
    parser.add_argument("--train-size", type=int, default=10_000, help="(default: %(default)s)")
    parser.add_argument("--val-size", type=int, default=10_000, help="(default: %(default)s)")
    parser.add_argument("--epochs", type=int, default=8, help="(default: %(default)s)")
    parser.add_argument("--workers", type=int, default=2, help="processes (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="of draws and trainings")
    parser.add_argument(
        "--near",
        type=float,
        default=0.5,
        metavar="SHARE",
        help="draws near a first configuration (default: 0.5)",
    )
    parser.add_argument(
        "--changed",
        type=float,
        default=CHANGED,
        metavar="N",
        help="hyperparameters that these change on average (default: %(default)g)",
    )
    parser.add_argument(
        "--precision", choices=("bfloat16", "float32"), help="(default: this machine's fastest)"
    )
    parser.add_argument(
        "--against",
        type=Path,
        metavar="TABLE",
        help="only compare the draws with those of the same number in another table",
    )
    length = parser.add_mutually_exclusive_group()
    length.add_argument("--budget", type=float, nargs="+", metavar="CPU_SECONDS", default=[])
    length.add_argument("--trials", type=int, metavar="N", help="replay whole searches of N trials")
    parser.add_argument("--seeds", type=int, default=500, help="orders (default: %(default)s)")
    parser.add_argument(
        "--mixed", action="store_true", help="the first configurations too come in random order"
    )
    flags = parser.parse_args()
    if flags.record is not None:
        wanted = make_recording(
            train_size=flags.train_size,
            val_size=flags.val_size,
            epochs=flags.epochs,
            seed=flags.seed,
            near=flags.near,
            changed=flags.changed,
            precision=flags.precision,
        )
        record(flags.table, flags.record, wanted, flags.workers)
        return
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    recording, rows, facts = read(flags.table)
    epochs = recording.epochs
    console = Console(width=max(120, Console().width))
    if flags.against is not None:
        other, others, _ = read(flags.against)
        same = [name for name in CONDITIONS if name != "changed"]
        refuse_others(flags.against, other, recording, only=(*same, "first"))
        console.print(_against(rows, others, epochs))
        return
    whole = sum(row.cpu_seconds(len(row.accuracies)) for row in rows)
    budgets = sorted(flags.budget) or [whole / 10, whole / 4]
    titles = [f"{budget:,.0f} CPU s" for budget in budgets]
    if flags.trials is not None:
        if flags.trials < 1:
            parser.error(f"--trials is {flags.trials}; use 1 or more")
        budgets, titles = [math.inf], [f"{min(flags.trials, len(rows))} trials"]
    found: dict[str, list[list[Outcome]]] = {name: [] for name in CANDIDATES}
    for seed, whole_order in enumerate(orders(rows, flags.seeds, mixed=flags.mixed)):
        order = whole_order[: flags.trials]
        for name, candidate in CANDIDATES.items():
            found[name].append(replay(order, candidate, epochs, budgets, f"replay-{seed}"))
    console.print(
        f"{len(rows)} trainings of {epochs} epochs, {recording.train_size:,} images, "
        f"{whole:,.0f} CPU s; {flags.seeds} random orders"
        f"{'' if flags.mixed else ', first the rows with names'}; one worker. "
        "Mean and 95 % t interval over orders of this one table; differences paired by order."
    )
    console.print(_accuracies(rows, epochs))
    for place, title in enumerate(titles):
        console.print(
            _table(title, {name: [one[place] for one in each] for name, each in found.items()})
        )
    console.print(f"{facts['machine']}, {facts['isa']} instructions, {recording.precision}")


if __name__ == "__main__":
    main()
