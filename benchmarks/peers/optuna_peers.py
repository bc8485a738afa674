"""Optuna's TPE with its median pruner, and random search, as Optuna's tutorials use them."""

from typing import Any

import keras
import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, IntDistribution

from benchmarks.peers.job import Job
from benchmarks.peers.leagues import make_league
from search.training.hyperparameters import TrialHyperParameters


def search(job: Job) -> None:
    """Search until the process is ended."""
    league = make_league(job)

    def objective(trial: optuna.Trial) -> float:
        keras.backend.clear_session()
        hp = TrialHyperParameters(lambda name, kind: _suggest(trial, name, kind))
        model = league.build(hp)
        values: list[float] = []

        def on_epoch(epoch: int, value: float) -> bool:
            values.append(value)
            trial.report(value, epoch)
            return trial.should_prune()

        league.train(hp, model, on_epoch)
        if len(values) < job.epochs and values:
            raise optuna.TrialPruned
        return values[-1] if values else float("nan")

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    if job.peer == "random search":
        sampler: Any = optuna.samplers.RandomSampler(seed=job.seed)
        pruner: Any = optuna.pruners.NopPruner()
    else:
        sampler, pruner = optuna.samplers.TPESampler(seed=job.seed), optuna.pruners.MedianPruner()
    study = optuna.create_study(direction="maximize", sampler=sampler, pruner=pruner)
    for configuration in job.first_configurations():
        study.enqueue_trial(configuration)
    study.optimize(objective)


def _suggest(trial: optuna.Trial, name: str, kind: BaseDistribution) -> Any:
    if isinstance(kind, CategoricalDistribution):
        return trial.suggest_categorical(name, kind.choices)
    number: Any = kind
    if isinstance(kind, IntDistribution):
        return trial.suggest_int(name, number.low, number.high, step=number.step, log=number.log)
    return trial.suggest_float(name, number.low, number.high, step=number.step, log=number.log)


if __name__ == "__main__":
    search(Job.from_arguments())
