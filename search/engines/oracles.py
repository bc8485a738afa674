"""KerasTuner's oracles, without their early ends, driven by a study instead of their own files.

KerasTuner offers no public way to change how an oracle draws, compares or promotes. The classes
here override its underscored methods, which is why its release is pinned.
"""

import copy
import math
import random
import warnings
from typing import Any, Final

import keras_tuner
import numpy as np
from keras_tuner import oracles
from keras_tuner.engine import hyperparameters as kinds
from keras_tuner.engine.trial import Trial, TrialStatus
from scipy.linalg import solve_triangular
from sklearn.exceptions import ConvergenceWarning
from sklearn.gaussian_process import GaussianProcessRegressor
from threadpoolctl import threadpool_limits

from search.engines.near_best import contains
from search.engines.untried import find_untried, is_tried, question
from search.training.hyperparameters import to_params, to_values

_STOPPED: Final = {"status": TrialStatus.STOPPED, "values": None}


def read_space(space: list[dict[str, Any]]) -> keras_tuner.HyperParameters:
    """Return KerasTuner's hyperparameters with their defaults, from their configs."""
    config = {"space": copy.deepcopy(space), "values": {}}  # from_config changes it
    hyperparameters = keras_tuner.HyperParameters()
    hyperparameters.merge(keras_tuner.HyperParameters.from_config(config))
    return hyperparameters


class StudyOracle:
    """Mixin that drives a class of `keras_tuner.oracles` from the trials of a study.

    Trial ids are the numbers of the study's trials. If an oracle must know more about a trial
    than its values and its score, the study stores these facts.

    Args:
        seed: Seed of the search.
        space: The hyperparameters, as KerasTuner's configs.
        epochs: Maximum epochs of a trial.
        trials: Number of trials of the search.
        **arguments: Arguments of KerasTuner's class alone.

    Attributes:
        tried: Parameters that must not be proposed, in Optuna's terms.
    """

    def __init__(
        self, *, seed: int, space: list[dict[str, Any]], epochs: int, trials: int, **arguments: Any
    ) -> None:
        super().__init__(  # type: ignore[call-arg]
            objective=keras_tuner.Objective("val_accuracy", "max"),
            seed=seed % (2**32 - 1) + 1,  # NumPy takes 32 bits, and KerasTuner 0 for none
            hyperparameters=read_space(space),
            **arguments,
        )
        self.tried: list[dict[str, Any]] = []

    def seed_trial(self, seed: int, number: int) -> None:
        """Seed all draws for one trial with the seed of the search and the trial's number."""
        # Each draw takes the next seed: those of two trials must not overlap.
        own = int(np.random.SeedSequence([seed, number]).generate_state(1)[0])
        self._seed_state = own
        self._random_state = np.random.RandomState(own)

    def begin(self: Any, trial_id: str, params: dict[str, Any]) -> None:
        """Record that a trial is running, or has used more parameters than before."""
        if trial_id not in self.trials:
            trial = Trial(self.get_space(), trial_id=trial_id, status=TrialStatus.RUNNING)
            trial.hyperparameters.values = {}
            self.trials[trial_id] = self.ongoing_trials[trial_id] = trial
        hyperparameters = self.get_space()
        hyperparameters.values = {
            **self.trials[trial_id].hyperparameters.values,
            **to_values(self._possible(params), self.hyperparameters.space),
        }
        self.trials[trial_id].hyperparameters = hyperparameters

    def _possible(self: Any, params: dict[str, Any]) -> dict[str, Any]:
        """Return parameters without values outside of the space, which some baselines have."""
        asked = dict(
            question(each)
            for each in self.hyperparameters.space
            if not isinstance(each, kinds.Fixed)
        )
        return {
            name: value
            for name, value in params.items()
            if name in asked and contains(asked[name], value)
        }

    def end(self: Any, trial_id: str, score: float | None) -> None:
        """Record how a trial ended; a score of None means that it failed."""
        trial = self.trials[trial_id]
        trial.score = score
        trial.status = TrialStatus.FAILED if score is None else TrialStatus.COMPLETED
        self.ongoing_trials.pop(trial_id, None)

    def facts_of(self, trial_id: str, values: dict[str, Any]) -> dict[str, Any]:
        """Return what the study must keep of a trial that was just proposed."""
        return {}

    def recall(self, trial_id: str, facts: dict[str, Any]) -> None:
        """Restore the facts of a trial that an earlier run proposed; call it after `begin`."""

    def promotable(self) -> set[str]:
        """Return the trials that another one may still continue."""
        return set()

    def _duplicate(self: Any, values: dict[str, Any]) -> bool:
        return is_tried(to_params(values, self.hyperparameters.space), self.tried)

    def _random_values(self: Any) -> dict[str, Any] | None:
        # KerasTuner gives up after 20 collisions, with part of a finite space untried.
        values: dict[str, Any] | None = super()._random_values()  # type: ignore[misc]
        if values is None:
            values = self._untried(random.Random(self._seed_state))
        return values

    def _untried(self: Any, rng: random.Random | None) -> dict[str, Any] | None:
        space = self.hyperparameters.space
        params = find_untried(space, self.tried, rng)
        return None if params is None else to_values(params, space)


class RandomSearch(StudyOracle, oracles.RandomSearchOracle):  # type: ignore[misc]
    """Random configurations."""


class GridSearch(StudyOracle, oracles.GridSearchOracle):  # type: ignore[misc]
    """Every combination of the values that KerasTuner lists, the defaults first.

    KerasTuner's class waits for the end of a trial before it proposes the next, and fails on
    trials that it has not proposed.
    """

    def populate_space(self, trial_id: str) -> dict[str, Any]:
        """See `keras_tuner.Oracle`."""
        values = self._untried(None)
        return _STOPPED if values is None else {"status": TrialStatus.RUNNING, "values": values}


class BayesianOptimization(StudyOracle, oracles.BayesianOptimizationOracle):  # type: ignore[misc]
    """Random configurations, then those that a Gaussian process rates highest.

    The process begins after a quarter of the trials at the latest. KerasTuner begins after three
    trials for each hyperparameter, which in a large space may be never.
    """

    def __init__(self, *, trials: int, **given: Any) -> None:
        super().__init__(trials=trials, **given)
        self._most_initial_points = trials // 4

    def populate_space(self, trial_id: str) -> dict[str, Any]:
        """See `keras_tuner.Oracle`; a random configuration replaces one that was tried."""
        usual = 3 * len(self.hyperparameters.space)
        self.num_initial_points = max(3, min(usual, self._most_initial_points))
        # The matrices are small, and the other cores train.
        with warnings.catch_warnings(), threadpool_limits(limits=1):
            warnings.simplefilter("ignore", ConvergenceWarning)
            response: dict[str, Any] = super().populate_space(trial_id)
        if response["values"] and self._duplicate(response["values"]):
            response = self._random_populate_space()
        return response

    def end(self, trial_id: str, score: float | None) -> None:
        """See `StudyOracle`; a failure counts as the worst score so far.

        KerasTuner leaves it out, learns nothing from it and proposes the same corner again.
        """
        trial = self.trials[trial_id]
        scored = [other for other in self.trials.values() if other.score is not None]
        values = trial.hyperparameters.values
        if score is None and all(other.hyperparameters.values != values for other in scored):
            score = min((other.score for other in scored), default=0.0)
        super().end(trial_id, score)

    def _make_gpr(self) -> "GaussianProcess":
        return GaussianProcess(**super()._make_gpr().get_params(deep=False))

    def _vector_to_values(self, vector: Any) -> dict[str, Any]:
        # At the bound of 1, KerasTuner's whole numbers without step exceed their maximum by one.
        values: dict[str, Any] = super()._vector_to_values(np.minimum(vector, 1 - 1e-9))
        return values


class GaussianProcess(GaussianProcessRegressor):  # type: ignore[misc]
    """scikit-learn's Gaussian process for one score a point, without checks of its input.

    Checks take two thirds of a proposal's time, because it predicts one point at a time.
    """

    def predict(self, X: Any, return_std: bool = False, return_cov: bool = False) -> Any:
        """Return what `GaussianProcessRegressor` returns.

        Args:
            X: (n, hyperparameters) finite floats.
            return_std: Also return the standard deviations.
            return_cov: Also return the covariances, computed by scikit-learn itself.

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


class Hyperband(StudyOracle, oracles.HyperbandOracle):  # type: ignore[misc]
    """Many configurations for few epochs; the best of them continue for more."""

    def __init__(self, *, epochs: int, **given: Any) -> None:
        self._serial = -1  # number of the latest bracket: KerasTuner drops the complete ones
        # Of every trial that continues one: a bracket is dropped when its last trial begins.
        self._parents: dict[str, str] = {}
        super().__init__(epochs=epochs, max_epochs=epochs, hyperband_iterations=None, **given)

    def populate_space(self, trial_id: str) -> dict[str, Any]:
        """See `keras_tuner.Oracle`."""
        response: dict[str, Any] = super().populate_space(trial_id)
        while (parent := self._failed_parent(response)) is not None:
            # There is nothing to continue: its place in the round is used up.
            self._entry(trial_id)[2]["id"] = parent
            response = super().populate_space(trial_id)
        if response["status"] == TrialStatus.STOPPED:
            return self._promote_anyway(trial_id)
        return response

    def end(self, trial_id: str, score: float | None) -> None:
        """See `StudyOracle`; in a first round, another configuration replaces a failed one."""
        super().end(trial_id, score)
        if score is not None:
            return
        found = self._entry(trial_id)
        if found is None:
            return
        bracket, number, entry = found
        if number == 0:
            bracket["rounds"][0].remove(entry)
        else:
            # Its round waits for a score, so it gets the worst.
            self.trials[trial_id].score = -math.inf
            self.trials[trial_id].status = TrialStatus.COMPLETED

    def facts_of(self, trial_id: str, values: dict[str, Any]) -> dict[str, Any]:
        """Return the trial's bracket and round, counted from 0, its epochs and its parent."""
        bracket, number, entry = self._entry(trial_id)
        parent = entry["past_id"]
        if parent is not None:
            self._parents[trial_id] = parent
        return {
            "bracket": bracket["serial"],
            "round": number,
            "initial_epoch": values["tuner/initial_epoch"],
            "epochs": values["tuner/epochs"],
            "promoted_from": None if parent is None else int(parent),
        }

    def recall(self, trial_id: str, facts: dict[str, Any]) -> None:
        """See `StudyOracle`."""
        while self._serial < facts["bracket"]:
            self._increment_bracket_num()
            self._start_new_bracket()
        parent = facts["promoted_from"]
        if parent is not None:
            self._parents[trial_id] = str(parent)
        bracket = next(one for one in self._brackets if one["serial"] == facts["bracket"])
        bracket["rounds"][facts["round"]].append(
            {"past_id": None if parent is None else str(parent), "id": trial_id}
        )

    def promotable(self) -> set[str]:
        """See `StudyOracle`; parents of running trials count, as these may have to restart."""
        found = {self._parents[one] for one in self.ongoing_trials if one in self._parents}
        for bracket in self._brackets:
            for number, entries in enumerate(bracket["rounds"][1:], start=1):
                if len(entries) < self._get_size(bracket["bracket_num"], number):
                    passed = {one["past_id"] for one in entries}
                    found |= {one["id"] for one in bracket["rounds"][number - 1]} - passed
        return found

    def _start_new_bracket(self) -> None:
        super()._start_new_bracket()
        self._serial += 1
        self._brackets[-1]["serial"] = self._serial

    def _entry(self, trial_id: str) -> Any:
        """Return the bracket, the number of the round and the entry of a trial."""
        for bracket in self._brackets:
            for number, entries in enumerate(bracket["rounds"]):
                for entry in entries:
                    if entry["id"] == trial_id:
                        return bracket, number, entry
        return None

    def _failed_parent(self, response: dict[str, Any]) -> str | None:
        parent: str | None = (response.get("values") or {}).get("tuner/trial_id")
        failed = parent is not None and self.trials[parent].score == -math.inf
        return parent if failed else None

    def _promote_anyway(self, trial_id: str) -> dict[str, Any]:
        """Promote the best trials of rounds that no new configuration is left to fill."""
        for bracket in self._brackets:
            for number, entries in enumerate(bracket["rounds"][1:], start=1):
                passed = {one["past_id"] for one in entries}
                left = [
                    self.trials[one["id"]]
                    for one in bracket["rounds"][number - 1]
                    if one["id"] not in passed and self.trials[one["id"]].score != -math.inf
                ]
                if not left or len(entries) >= self._get_size(bracket["bracket_num"], number):
                    continue
                best = max(left, key=lambda trial: trial.score)
                entries.append({"past_id": best.trial_id, "id": trial_id})
                values = best.hyperparameters.values | {
                    "tuner/initial_epoch": self._get_epochs(bracket["bracket_num"], number - 1),
                    "tuner/epochs": self._get_epochs(bracket["bracket_num"], number),
                }
                return {"status": TrialStatus.RUNNING, "values": values}
        return _STOPPED
