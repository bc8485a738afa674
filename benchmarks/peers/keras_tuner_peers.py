"""KerasTuner's Hyperband and BayesianOptimization, as its guides use them."""

import os
from typing import Any

import keras_tuner

from benchmarks.peers.job import Job
from benchmarks.peers.leagues import League, make_league

_ENDLESS = 10_000  # trials, or iterations of Hyperband: the budget ends the search


class _HyperModel(keras_tuner.HyperModel):  # type: ignore[misc]
    """The space, with the training of a league."""

    def __init__(self, league: League) -> None:
        super().__init__()
        self._league = league
        self.trial_id = ""
        self._checkpoints: dict[str, bytes | None] = {}

    def build(self, hp: Any) -> Any:
        """See `keras_tuner.HyperModel`."""
        return self._league.build(hp)

    def fit(self, hp: Any, model: Any, *args: Any, **given: Any) -> dict[str, float]:
        """See `keras_tuner.HyperModel`."""
        values = [0.0]

        def on_epoch(epoch: int, value: float) -> bool:
            values.append(value)
            return False

        self._checkpoints[self.trial_id] = self._league.train(
            hp,
            model,
            on_epoch,
            epochs=given.get("epochs"),
            initial_epoch=given.get("initial_epoch", 0),
            checkpoint=self._checkpoints.get(hp.values.get("tuner/trial_id", "")),
            callbacks=given.get("callbacks", ()),
        )
        return {"val_accuracy": max(values)}


class _OurHyperband(keras_tuner.Hyperband):  # type: ignore[misc]
    """Hyperband whose trials continue from checkpoints of our trainer."""

    def run_trial(self, trial: Any, *args: Any, **given: Any) -> Any:
        """See `keras_tuner.Tuner`."""
        self.hypermodel.trial_id = trial.trial_id
        return super().run_trial(trial, *args, **given)

    def _build_hypermodel(self, hp: Any) -> Any:
        # Stock Hyperband would load the weights that a callback of `fit` saved.
        return keras_tuner.Tuner._build_hypermodel(self, hp)


def search(job: Job) -> None:
    """Search until the process is ended."""
    hypermodel = _HyperModel(make_league(job))
    common: dict[str, Any] = {
        "objective": keras_tuner.Objective("val_accuracy", "max"),
        "seed": job.seed + 1,  # KerasTuner takes 0 for none
        "directory": os.getcwd(),
    }
    if job.peer == "KerasTuner Hyperband":
        kind = keras_tuner.Hyperband if job.league == "system" else _OurHyperband
        tuner = kind(hypermodel, max_epochs=job.epochs, hyperband_iterations=_ENDLESS, **common)
        given = {}
    else:
        tuner = keras_tuner.BayesianOptimization(hypermodel, max_trials=_ENDLESS, **common)
        given = {"epochs": job.epochs}
    _enqueue(tuner.oracle, job.first_configurations())
    tuner.search(verbose=0, **given)


def _enqueue(oracle: Any, configurations: list[dict[str, Any]]) -> None:
    # KerasTuner has no way to begin with given configurations: they replace its first draws.
    draw = oracle._random_values
    oracle._random_values = lambda: dict(configurations.pop(0)) if configurations else draw()


if __name__ == "__main__":
    search(Job.from_arguments())
