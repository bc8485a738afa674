"""The default configuration merely trained by this project's trainer: no search."""

from typing import Any

import keras_tuner

from benchmarks.peers.job import Job, data_shape
from benchmarks.peers.leagues import make_league
from spaces import load_space


def search(job: Job) -> None:
    """Train the default configuration once."""
    space: Any = load_space(job.space, data_shape())
    hp = keras_tuner.HyperParameters()
    hp.values = space.default.params()
    league = make_league(job)
    league.train(hp, league.build(hp), lambda epoch, value: False)


if __name__ == "__main__":
    search(Job.from_arguments())
