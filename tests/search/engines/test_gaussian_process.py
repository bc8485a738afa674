"""The quick Gaussian process predicts what scikit-learn's does."""

import numpy as np
import pytest
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import Matern

from search.engines.gaussian_process import GaussianProcess


@pytest.mark.parametrize("normalize_y", [True, False])
def test_it_predicts_what_scikit_learn_does(normalize_y: bool) -> None:
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


def test_before_it_has_seen_anything_it_knows_what_scikit_learn_does() -> None:
    points = np.ones((3, 2))
    mean, deviation = GaussianProcess(kernel=Matern(nu=2.5)).predict(points, return_std=True)
    assert mean.tolist() == [0, 0, 0]
    assert deviation.tolist() == [1, 1, 1]
