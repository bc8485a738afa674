"""Compare all samplers and tuners on one space, with the same budget and seeds.

python -m benchmarks.engines                     # 5 seeds of each; about an hour of two cores
python -m benchmarks.engines --only tpe hyperband --seeds 10
"""

import argparse
import itertools
import json
import math
import os
import queue
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table

from reporting.statistics import interval
from search.engines.samplers import SAMPLERS
from search.engines.tuners import TUNERS
from search.training.hardware import machine, versions
from search.words import counted

_ROOT = Path(__file__).resolve().parent.parent
ALGORITHMS = {
    **{f"Optuna, {name}": ("--sampler", name) for name in SAMPLERS},
    **{f"KerasTuner, {name}": ("--engine", "keras-tuner", "--tuner", name) for name in TUNERS},
}


@dataclass(frozen=True, slots=True)
class Search:
    """Outcome of one search.

    Args:
        best: Highest validation accuracy of a trial that ran all its epochs, in [0, 1]; NaN if
            none did.
        cpu_seconds: User and system time of the search and its workers.
        epochs: Epochs trained in all trials.
    """

    best: float
    cpu_seconds: float
    epochs: int


def run_search(flags: tuple[str, ...], seed: int, cores: "queue.Queue[int]") -> Search | str:
    """Run a search by its command line on one core; return the last line of its error, if any."""
    core = cores.get()
    try:
        return _run_search(flags, seed, core)
    finally:
        cores.put(core)


def _run_search(flags: tuple[str, ...], seed: int, core: int) -> Search | str:
    with tempfile.TemporaryDirectory() as folder, tempfile.TemporaryFile("w+") as output:
        command = [sys.executable, str(_ROOT / "run_search.py"), *flags, "--seed", str(seed)]
        command += ["--results-dir", folder, "--study", "engines", "--json", "--quiet"]
        process = subprocess.Popen(
            command,
            cwd=_ROOT,
            stdout=output,
            stderr=subprocess.PIPE,
            text=True,
            preexec_fn=lambda: os.sched_setaffinity(0, {core}),
        )
        assert process.stderr is not None
        errors = process.stderr.read()
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            return (errors.strip().splitlines() or [f"exit code {process.returncode}"])[-1]
        output.seek(0)
        said = json.loads(output.read().splitlines()[-1])
        return Search(
            best=math.nan if said["best"] is None else said["best"]["value"],
            cpu_seconds=usage.ru_utime + usage.ru_stime,
            epochs=_epochs(Path(folder) / "engines" / "study.journal"),
        )


def _epochs(journal: Path) -> int:
    import optuna

    from search.study.storage import open_storage

    study = optuna.load_study(study_name="engines", storage=open_storage(journal, None))
    return sum(len(trial.intermediate_values) for trial in study.get_trials(deepcopy=False))


def _spread(values: list[float], digits: int) -> str:
    found = interval(values)
    if not found.sd:  # one value, or all the same
        return f"{found.mean:.{digits}f}"
    return f"{found.mean:.{digits}f} ({found.low:.{digits}f} to {found.high:.{digits}f})"


def _table(found: dict[str, list[Search]], reference: str) -> Table:
    table = Table("algorithm", "best (%)", f"Δ to {reference} (pp)", "CPU s", "epochs")
    for name, searches in sorted(
        found.items(), key=lambda item: -float(np.mean([one.best for one in item[1]]))
    ):
        difference = "-"
        if name != reference and reference in found:
            pairs = zip(searches, found[reference], strict=True)
            difference = _spread([100 * (a.best - b.best) for a, b in pairs], 2)
        table.add_row(
            name,
            _spread([100 * one.best for one in searches], 2),
            difference,
            _spread([one.cpu_seconds for one in searches], 0),
            f"{np.mean([one.epochs for one in searches]):.0f}",
        )
    return table


def main() -> None:
    """Run every algorithm with every seed and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=5, metavar="N", help="(default: %(default)s)")
    parser.add_argument("--trials", type=int, default=24, metavar="N", help="(default: 24)")
    parser.add_argument("--epochs", type=int, default=4, metavar="N", help="(default: 4)")
    parser.add_argument("--train-size", type=int, default=6000, metavar="N", help="(default: 6000)")
    parser.add_argument("--val-size", type=int, default=10_000, metavar="N")
    parser.add_argument("--space", default="mlp", help="(default: mlp)")
    parser.add_argument("--only", nargs="*", default=[], help="samplers and tuners to run")
    flags = parser.parse_args()
    budget = ("--trials", str(flags.trials), "--epochs", str(flags.epochs), "--workers", "1")
    budget += ("--train-size", str(flags.train_size), "--val-size", str(flags.val_size))
    budget += ("--space", flags.space, "--no-portfolio")
    algorithms = {
        name: given
        for name, given in ALGORITHMS.items()
        if not flags.only or given[-1] in flags.only
    }
    jobs = list(itertools.product(range(flags.seeds), algorithms))
    cores: queue.Queue[int] = queue.Queue()
    for core in sorted(os.sched_getaffinity(0)):
        cores.put(core)
    found: dict[str, list[Search]] = {name: [] for name in algorithms}
    left_out: dict[str, str] = {}
    console = Console(width=max(110, Console().width))
    with ThreadPoolExecutor(cores.qsize()) as pool:
        results = pool.map(
            lambda job: run_search((*budget, *algorithms[job[1]]), job[0], cores), jobs
        )
        for (seed, name), result in zip(jobs, results, strict=True):
            print(f"{name}, seed {seed}: {result}", file=sys.stderr, flush=True)
            if isinstance(result, Search):
                found[name].append(result)
            else:
                left_out[name] = result
    for name, reason in left_out.items():
        del found[name]
        console.print(f"{name}: left out, {reason}")
    console.print(
        f"{flags.space}, {flags.trials} trials of at most {flags.epochs} epochs, "
        f"{flags.train_size:,} training and {flags.val_size:,} validation images, n = "
        f"{counted(flags.seeds, 'seed')}; mean and 95 % t interval, differences paired by seed. "
        "CPU seconds of the whole search on one core, including TensorFlow in KerasTuner's "
        "coordinator. Trials of KerasTuner's hyperband are parts of trainings."
    )
    console.print(_table(found, "Optuna, random"))
    console.print(f"{machine()}; {', '.join(f'{k} {v}' for k, v in versions().items())}")


if __name__ == "__main__":
    main()
