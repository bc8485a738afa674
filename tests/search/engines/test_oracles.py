"""KerasTuner's oracles: what was changed in them, beside their searches."""

import keras_tuner
import numpy as np
import pytest
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import Matern

from search.engines.oracles import BayesianOptimization, GaussianProcess


@pytest.mark.parametrize("normalize_y", [True, False])
def test_the_gaussian_process_predicts_what_scikit_learn_does(normalize_y: bool) -> None:
    rng = np.random.default_rng(0)
    known = rng.random((20, 4))
    scores = known.sum(axis=1) + 3
    arguments = {"kernel": Matern(nu=2.5), "alpha": 1e-4, "normalize_y": normalize_y}
    quick = GaussianProcess(**arguments, random_state=0).fit(known, scores)
    stock = GaussianProcessRegressor(**arguments, random_state=0).fit(known, scores)
    for points in (known, rng.random((50, 4)), rng.random((1, 4))):
        for mine, theirs in zip(
            quick.predict(points, return_std=True),
            stock.predict(points, return_std=True),
            strict=True,
        ):
            np.testing.assert_allclose(mine, theirs, rtol=1e-9, atol=1e-12)


def test_the_gaussian_process_without_data_predicts_what_scikit_learn_does() -> None:
    points = np.ones((3, 2))
    mean, deviation = GaussianProcess(kernel=Matern(nu=2.5)).predict(points, return_std=True)
    assert mean.tolist() == [0, 0, 0]
    assert deviation.tolist() == [1, 1, 1]


def test_the_gaussian_process_stays_in_a_range_at_its_very_end() -> None:
    hyperparameters = keras_tuner.HyperParameters()
    hyperparameters.Int("width", 16, 1024, sampling="log")
    hyperparameters.Choice("kind", ["a", "b"])
    space = hyperparameters.get_config()["space"]
    oracle = BayesianOptimization(seed=0, space=space, epochs=1, trials=8)
    # Its optimizer runs into the bounds of the unit cube.
    assert oracle._vector_to_values(np.ones(2)) == {"width": 1024, "kind": "b"}
    assert oracle._vector_to_values(np.zeros(2)) == {"width": 16, "kind": "a"}
