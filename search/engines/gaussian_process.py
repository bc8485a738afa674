"""scikit-learn's Gaussian process, quick enough to be asked about one point at a time."""

from typing import Any

import numpy as np
from scipy.linalg import solve_triangular
from sklearn.gaussian_process import GaussianProcessRegressor


class GaussianProcess(GaussianProcessRegressor):  # type: ignore[misc]
    """For one score a point; predicts without looking over what it is asked about.

    That took two thirds of a proposal's time.
    """

    def predict(self, X: Any, return_std: bool = False, return_cov: bool = False) -> Any:
        """See `GaussianProcessRegressor`, whose numbers these are.

        Args:
            X: (n, hyperparameters) finite floats.
            return_std: With the standard deviations.
            return_cov: With the covariances; these come from scikit-learn itself.

        Source: Rasmussen and Williams, Gaussian Processes for Machine Learning (2006), algorithm
            2.1; normalized as scikit-learn does.
        """
        if return_cov or not return_std or not hasattr(self, "X_train_"):
            return super().predict(X, return_std, return_cov)
        across = self.kernel_(X, self.X_train_)
        mean = self._y_train_std * (across @ self.alpha_) + self._y_train_mean
        known = solve_triangular(self.L_, across.T, lower=True, check_finite=False)
        variance = self.kernel_.diag(X) - np.einsum("ij,ij->j", known, known)
        return mean, self._y_train_std * np.sqrt(np.maximum(variance, 0.0))
