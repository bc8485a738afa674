"""What a search costs besides training: the coordinator's memory, asking for a trial, lost time.

python -m benchmarks.overhead                    # memory and asking time
python -m benchmarks.overhead --study cnn        # and where the time of that study went
"""

import argparse
import random
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import optuna
from rich.console import Console
from rich.table import Table

from search.engines.optuna_engine import OptunaEngine
from search.study.storage import JOURNAL, open_storage
from search.study.study import FINISHED
from search.training.hardware import machine
from spaces.baselines import PUBLISHED_FOR
from spaces.cnn import CnnConfig


def _suggest_all(engine: OptunaEngine, trial: optuna.Trial) -> None:
    from search.training.hyperparameters import TrialHyperParameters

    CnnConfig.sample(
        TrialHyperParameters(lambda name, distribution: engine.suggest(trial, name, distribution)),
        PUBLISHED_FOR,
    )


def _fill(study: optuna.Study, trials: int, seed: int) -> None:
    memory = optuna.create_study(
        direction="maximize", sampler=optuna.samplers.RandomSampler(seed=seed)
    )
    engine = OptunaEngine(memory, sampler="random", pruner="none", seed=seed, max_epochs=10)
    values = random.Random(seed)
    for _ in range(trials):
        trial = memory.ask()
        _suggest_all(engine, trial)
        memory.tell(trial, values.random())
    study.add_trials(memory.get_trials(deepcopy=False))


def ask_seconds(sampler: str, trials: int, repeats: int) -> list[float]:
    """Return the CPU seconds of each proposal of `cnn` in a study with `trials` finished trials."""
    with tempfile.TemporaryDirectory() as folder:
        study = optuna.create_study(
            study_name="asking",
            storage=open_storage(Path(folder) / JOURNAL, None),
            direction="maximize",
        )
        _fill(study, trials, seed=0)
        engine = OptunaEngine(study, sampler=sampler, pruner="hyperband", seed=0, max_epochs=10)
        seconds = []
        for _ in range(repeats):
            began = time.process_time()
            trial = engine.ask()
            assert trial is not None
            _suggest_all(engine, trial)
            seconds.append(time.process_time() - began)
            engine.complete(trial, 0.5)
    return seconds


def coordinator_memory_mb() -> float:
    """Return the resident memory of a process that has loaded all that the coordinator uses."""
    script = (
        "import psutil, sys; import search.run, search.display, optuna_dashboard;"
        "assert 'tensorflow' not in sys.modules;"
        "print(psutil.Process().memory_info().rss)"
    )
    ran = subprocess.run(
        [sys.executable, "-c", script],
        capture_output=True,
        text=True,
        check=True,
        cwd=Path(__file__).resolve().parent.parent,
    )
    return int(ran.stdout) / 1e6


def time_shares(study: optuna.Study) -> dict[str, float]:
    """Return where the seconds of a study's finished trials went."""
    trials = study.get_trials(deepcopy=False, states=FINISHED)
    attrs: list[dict[str, Any]] = [trial.user_attrs for trial in trials]
    training = sum(attr["train_seconds"] for attr in attrs)
    validation = sum(attr["val_seconds"] for attr in attrs)
    whole = sum(
        (trial.datetime_complete - trial.datetime_start).total_seconds()
        for trial in trials
        if trial.datetime_complete and trial.datetime_start
    )
    return {
        "training steps": training,
        "validation": validation,
        "all else from ask to tell": whole - training - validation,
    }


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--study", help="a finished study in --results-dir")
    parser.add_argument("--results-dir", type=Path, default=Path("results"))
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--sizes", type=int, nargs="+", default=[50, 1_000, 10_000])
    flags = parser.parse_args()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    console = Console()
    console.print(f"machine: {machine()}; n = {flags.repeats} proposals")

    table = Table("sampler", "finished trials", "CPU s to ask: median", "min", "max")
    for sampler in ("tpe", "random"):
        for trials in flags.sizes:
            seconds = ask_seconds(sampler, trials, flags.repeats)
            numbers = [f"{value:.3f}" for value in (min(seconds), max(seconds))]
            table.add_row(sampler, f"{trials:,}", f"{statistics.median(seconds):.3f}", *numbers)
    console.print(table)
    console.print(f"coordinator, everything loaded: {coordinator_memory_mb():.0f} MB resident")

    if flags.study:
        journal = (flags.results_dir / flags.study / JOURNAL).resolve()
        study = optuna.load_study(study_name=flags.study, storage=open_storage(journal, None))
        shares = time_shares(study)
        table = Table(f"study {flags.study}", "seconds", "share")
        for name, value in shares.items():
            table.add_row(name, f"{value:,.0f}", f"{value / sum(shares.values()):.2%}")
        console.print(table)


if __name__ == "__main__":
    main()
