"""Time the report of a large study, without retraining; the target is 60 s at 10,000 trials.

python -m benchmarks.report                 # 10,000 made-up trials of the cnn space
python -m benchmarks.report --trials 1000
"""

import argparse
import datetime
import random
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import optuna
from optuna.distributions import BaseDistribution
from optuna.trial import FrozenTrial, TrialState
from rich.console import Console
from rich.table import Table

from search.data.formats import open_dataset
from search.data.split import SplitSizes
from search.study.facts import split_fact
from search.study.storage import JOURNAL, open_storage
from search.training.hardware import machine
from search.training.hyperparameters import TrialHyperParameters
from spaces.baselines import PUBLISHED_FOR
from spaces.cnn import CnnConfig

ROOT = Path(__file__).resolve().parent.parent
EPOCHS = 8
# Sampling a configuration takes milliseconds, so only this many are sampled, then varied.
DRAWN = 300


def make_study(directory: Path, trials: int, val_size: int, seed: int = 0) -> None:
    """Write a study whose trials have random configurations and made-up learning curves."""
    directory.mkdir(parents=True)
    study = optuna.create_study(
        study_name=directory.name,
        storage=open_storage((directory / JOURNAL).resolve(), None),
        direction="maximize",
    )
    dataset = open_dataset(None)
    facts = {
        "space": "cnn",
        "data": dataset.fingerprint,
        "dataset": dataset.fact,
        "split": split_fact(SplitSizes(val=val_size)),
        "epochs": EPOCHS,
        "precision": "float32",
        "engine": "optuna",
        "seed": seed,
        "command": f"python run_search.py --trials {trials}",
    }
    for name, value in facts.items():
        study.set_user_attr(name, value)
    draw = random.Random(seed)
    configurations = [_configuration(draw) for _ in range(min(DRAWN, trials))]
    start = datetime.datetime(2026, 1, 1)
    for number in range(trials):
        study.add_trial(_trial(number, *configurations[number % len(configurations)], draw, start))


def _configuration(
    draw: random.Random,
) -> tuple[dict[str, Any], dict[str, BaseDistribution]]:
    sampler = optuna.samplers.RandomSampler(seed=draw.randrange(2**31))
    trial = optuna.create_study(sampler=sampler).ask()

    def answer(name: str, distribution: BaseDistribution) -> Any:
        # The public calls differ by kind of distribution; this one takes any.
        return trial._suggest(name, distribution)

    CnnConfig.sample(TrialHyperParameters(answer), PUBLISHED_FOR)
    return dict(trial.params), dict(trial.distributions)


def _trial(
    number: int,
    params: dict[str, Any],
    distributions: dict[str, BaseDistribution],
    draw: random.Random,
    start: datetime.datetime,
) -> FrozenTrial:
    params = dict(params)
    if "learning_rate" in params:
        params["learning_rate"] = 10 ** draw.uniform(-3.5, -2)
    epochs = EPOCHS if number < 7 else draw.choice([1, 1, 1, 3, EPOCHS])
    final = 0.88 + 0.05 * draw.random()
    curve = {
        epoch: final - 0.1 / epoch + 0.003 * draw.gauss(0, 1) for epoch in range(1, epochs + 1)
    }
    began = start + datetime.timedelta(seconds=30 * number)
    return FrozenTrial(
        number=number,
        trial_id=number,
        state=TrialState.COMPLETE if epochs == EPOCHS else TrialState.PRUNED,
        value=curve[epochs],
        datetime_start=began,
        datetime_complete=began + datetime.timedelta(seconds=55),
        params=params,
        distributions=distributions,
        user_attrs={
            "seed": number,
            "parameters": draw.randrange(50_000, 900_000),
            "epochs": epochs,
            "seconds": 6.0 * epochs,
            "train_seconds": 5.5 * epochs,
            "val_seconds": 0.3 * epochs,
            "images_per_second": 2000.0,
            "ended": "complete" if epochs == EPOCHS else f"pruned after epoch {epochs}",
        },
        system_attrs={},
        intermediate_values=curve,
    )


def main() -> None:
    """Make a study, time its report, and print the measurements."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--trials", type=int, default=10_000)
    parser.add_argument("--val-size", type=int, default=10_000)
    flags = parser.parse_args()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    with tempfile.TemporaryDirectory() as folder:
        make_study(Path(folder) / "large", flags.trials, flags.val_size)
        began = time.monotonic()
        command = [sys.executable, str(ROOT / "report.py"), "--no-retrain", "--results-dir", folder]
        subprocess.run(command, check=True)
        wall_seconds = time.monotonic() - began
        used = resource.getrusage(resource.RUSAGE_CHILDREN)
        size_mb = (Path(folder) / "large" / "report" / "report.html").stat().st_size / 1e6
    table = Table("trials", "wall s", "CPU s", "peak memory MB", "report.html MB")
    table.add_row(
        f"{flags.trials:,}",
        f"{wall_seconds:.1f}",
        f"{used.ru_utime + used.ru_stime:.1f}",
        f"{used.ru_maxrss / 1e3:.0f}",
        f"{size_mb:.1f}",
    )
    console = Console()
    console.print(f"machine: {machine()}; n = 1")
    console.print(table)


if __name__ == "__main__":
    main()
