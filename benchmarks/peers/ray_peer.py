"""Ray Tune's ASHA over random draws, as its user guide uses it."""

import os
from functools import lru_cache
from typing import Any

import keras_tuner
from keras_tuner.engine import hyperparameters as kinds

from benchmarks.peers.job import Job, data_shape

_ENDLESS = 10_000  # trials: the budget ends the search


def search(job: Job) -> None:
    """Search until the process is ended."""
    import ray
    from ray import tune
    from ray.tune.schedulers import ASHAScheduler
    from ray.tune.search.basic_variant import BasicVariantGenerator

    from spaces import load_space

    hp = keras_tuner.HyperParameters()
    # Declares the hyperparameters, inactive ones too.
    load_space(job.space, data_shape()).build(hp)
    ray.init(num_cpus=1, include_dashboard=False, log_to_driver=False, _temp_dir=os.getcwd())
    tune.Tuner(
        tune.with_parameters(_train, job=job),
        param_space={one.name: _domain(one) for one in hp.space},
        tune_config=tune.TuneConfig(
            metric="val_accuracy",
            mode="max",
            num_samples=_ENDLESS,
            search_alg=BasicVariantGenerator(
                points_to_evaluate=job.first_configurations(),
                max_concurrent=1,
                random_state=job.seed,
            ),
            scheduler=ASHAScheduler(max_t=job.epochs),
            # Every trial imports TensorFlow: an actor whose trial was stopped cannot be reused, and
            # the search then hangs.
            reuse_actors=False,
        ),
        run_config=tune.RunConfig(storage_path=os.path.join(os.getcwd(), "results"), verbose=0),
    ).fit()


def _domain(one: Any) -> Any:
    from ray import tune

    if isinstance(one, kinds.Boolean):
        return tune.choice([True, False])
    if isinstance(one, kinds.Choice):
        return tune.choice(list(one.values))
    if one.step:  # KerasTuner adds up steps to 0.15000000000000002
        return tune.choice([round(value, 10) for value in one.values])
    whole, log = isinstance(one, kinds.Int), one.sampling == "log"
    if whole:
        return (tune.lograndint if log else tune.randint)(one.min_value, one.max_value + 1)
    return (tune.loguniform if log else tune.uniform)(one.min_value, one.max_value)


@lru_cache(maxsize=1)
def _league(argument: str) -> Any:
    import json

    from benchmarks.peers.leagues import make_league

    return make_league(Job(**json.loads(argument)))


def _train(config: dict[str, Any], job: Job) -> None:
    import keras
    from ray import tune

    keras.backend.clear_session()
    hp = keras_tuner.HyperParameters()
    hp.values = dict(config)
    league = _league(job.to_argument())

    def on_epoch(epoch: int, value: float) -> bool:
        tune.report({"val_accuracy": value})
        return False

    league.train(hp, league.build(hp), on_epoch)


if __name__ == "__main__":
    # Under the module's own name, by which Ray's workers import what they run.
    from benchmarks.peers import ray_peer

    ray_peer.search(Job.from_arguments())
