"""KerasTuner's oracles, mended where they give up early, and told what a study knows."""

import copy
import math
import warnings
from collections.abc import Callable, Iterator
from typing import Any, Final

import keras_tuner
import numpy as np
from keras_tuner import oracles
from keras_tuner.engine.trial import Trial, TrialStatus
from sklearn.exceptions import ConvergenceWarning
from threadpoolctl import threadpool_limits

from search.engines.gaussian_process import GaussianProcess

_STOPPED: Final = {"status": TrialStatus.STOPPED, "values": None}


def read_space(space: list[dict[str, Any]]) -> keras_tuner.HyperParameters:
    """KerasTuner's hyperparameters as objects, each with its default where it is active.

    Args:
        space: As KerasTuner writes them down.
    """
    # Reading changes what is read.
    written = {"space": copy.deepcopy(space), "values": {}}
    hyperparameters = keras_tuner.HyperParameters()
    hyperparameters.merge(keras_tuner.HyperParameters.from_config(written))
    return hyperparameters


class StudyOracle:
    """What KerasTuner's oracles learn here: to live without files of their own.

    Mixed in before one of `keras_tuner.oracles`. Trials have the numbers of the study's trials as
    ids; what an oracle must know of a trial beyond its values and its score are `facts`, which
    the study keeps.
    """

    def seed_trial(self, seed: int, number: int) -> None:
        """Let all that is drawn for one trial follow from the search's seed and its number."""
        # Each draw takes the next seed: those of two trials must not overlap.
        own = int(np.random.SeedSequence([seed, number]).generate_state(1)[0])
        self._seed_state = own
        self._random_state = np.random.RandomState(own)

    def begin(self: Any, trial_id: str, values: dict[str, Any]) -> None:
        """Take in that a trial runs, or runs with more values than it was known to have."""
        if trial_id not in self.trials:
            trial = Trial(self.get_space(), trial_id=trial_id, status=TrialStatus.RUNNING)
            self.trials[trial_id] = self.ongoing_trials[trial_id] = trial
        hyperparameters = self.get_space()
        hyperparameters.values = values
        self.trials[trial_id].hyperparameters = hyperparameters
        self._tried_so_far.add(self._compute_values_hash(values))

    def end(self: Any, trial_id: str, score: float | None) -> None:
        """Take in how a trial ended; None: it failed."""
        trial = self.trials[trial_id]
        trial.score = score
        trial.status = TrialStatus.FAILED if score is None else TrialStatus.COMPLETED
        self.ongoing_trials.pop(trial_id, None)

    def facts_of(self, trial_id: str, values: dict[str, Any]) -> dict[str, Any]:
        """What must be known of a trial that was just proposed."""
        return {}

    def recall(self, trial_id: str, facts: dict[str, Any]) -> None:
        """Take in a trial that an earlier run proposed, after `begin`."""

    def promotable(self) -> set[str]:
        """Trials that another one may still go on with."""
        return set()

    def _random_values(self) -> dict[str, Any] | None:
        # KerasTuner's draws end after 20 collisions, with part of a finite space untried.
        values: dict[str, Any] | None = super()._random_values()  # type: ignore[misc]
        return next(self._untried(), None) if values is None else values

    def _untried(self: Any) -> Iterator[dict[str, Any]]:
        """Combinations of the values that KerasTuner lists, defaults first, that no trial had."""
        space = self.get_space()
        grid = oracles.GridSearchOracle(objective=self.objective, hyperparameters=space)
        values = dict(read_space(space.get_config()["space"]).values)
        while values is not None:
            if not self._duplicate(values):
                yield values
            values = grid._get_next_combination(values)


class RandomSearch(StudyOracle, oracles.RandomSearchOracle):  # type: ignore[misc]
    """Random configurations."""


class BayesianOptimization(StudyOracle, oracles.BayesianOptimizationOracle):  # type: ignore[misc]
    """Random configurations, then those that a Gaussian process expects most of.

    Args:
        most_initial_points: It begins after so many trials at the latest: KerasTuner's own three
            for each hyperparameter would leave it none in a large space.
        **arguments: KerasTuner's.
    """

    def __init__(self, *, most_initial_points: int, **arguments: Any) -> None:
        super().__init__(**arguments)
        self._most_initial_points = most_initial_points

    def populate_space(self, trial_id: str) -> dict[str, Any]:
        """See `keras_tuner.Oracle`; what was tried already gives way to a random configuration."""
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

        Left out, as KerasTuner has it, it would teach nothing: the same corner is proposed again.
        """
        trial = self.trials[trial_id]
        scored = [other for other in self.trials.values() if other.score is not None]
        values = trial.hyperparameters.values
        if score is None and all(other.hyperparameters.values != values for other in scored):
            score = min((other.score for other in scored), default=0.0)
        super().end(trial_id, score)

    def _make_gpr(self) -> GaussianProcess:
        return GaussianProcess(**super()._make_gpr().get_params(deep=False))

    def _vector_to_values(self, vector: Any) -> dict[str, Any]:
        # At its bound of 1 KerasTuner's whole numbers without step are one above their maximum.
        values: dict[str, Any] = super()._vector_to_values(np.minimum(vector, 1 - 1e-9))
        return values


class GridSearch(StudyOracle, oracles.GridSearchOracle):  # type: ignore[misc]
    """Every combination of the values that KerasTuner lists, the defaults first.

    KerasTuner's own waits for a trial's end before it proposes the next, and is lost among trials
    that it has not proposed.
    """

    def __init__(self, **arguments: Any) -> None:
        super().__init__(**arguments)
        self._size = -1
        self._waiting: Iterator[dict[str, Any]] = iter(())

    def populate_space(self, trial_id: str) -> dict[str, Any]:
        """See `keras_tuner.Oracle`."""
        if len(self.hyperparameters.space) != self._size:
            self._size = len(self.hyperparameters.space)
            self._waiting = self._untried()
        for values in self._waiting:
            # It may have come by another way meanwhile.
            if not self._duplicate(values):
                return {"status": TrialStatus.RUNNING, "values": values}
        return _STOPPED


class Hyperband(StudyOracle, oracles.HyperbandOracle):  # type: ignore[misc]
    """Many configurations for few epochs, the best of them for more, from where they ended."""

    def __init__(self, **arguments: Any) -> None:
        self._serial = -1
        super().__init__(**arguments)

    def populate_space(self, trial_id: str) -> dict[str, Any]:
        """See `keras_tuner.Oracle`."""
        response: dict[str, Any] = super().populate_space(trial_id)
        while (parent := self._failed_parent(response)) is not None:
            # It has nothing to go on with: its place in the round is used up.
            self._entry(trial_id)[2]["id"] = parent
            response = super().populate_space(trial_id)
        if response["status"] == TrialStatus.STOPPED:
            return self._promote_anyway(trial_id)
        return response

    def end(self, trial_id: str, score: float | None) -> None:
        """See `StudyOracle`; another configuration takes the place of one that failed at once."""
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
            # Its round waits for it: it is the worst of all.
            self.trials[trial_id].score = -math.inf
            self.trials[trial_id].status = TrialStatus.COMPLETED

    def facts_of(self, trial_id: str, values: dict[str, Any]) -> dict[str, Any]:
        """The trial's bracket (counted from 0), round, epochs, and whom it goes on with."""
        bracket, number, entry = self._entry(trial_id)
        parent = entry["past_id"]
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
        bracket = next(one for one in self._brackets if one["serial"] == facts["bracket"])
        bracket["rounds"][facts["round"]].append(
            {"past_id": None if parent is None else str(parent), "id": trial_id}
        )

    def promotable(self) -> set[str]:
        """See `StudyOracle`; with those whose successor has not ended, and may have to restart."""
        found: set[str] = set()
        for bracket in self._brackets:
            for number, entries in enumerate(bracket["rounds"][1:], start=1):
                found |= {one["past_id"] for one in entries if one["id"] in self.ongoing_trials}
                if len(entries) < self._get_size(bracket["bracket_num"], number):
                    passed = {one["past_id"] for one in entries}
                    found |= {one["id"] for one in bracket["rounds"][number - 1]} - passed
        return found

    def _start_new_bracket(self) -> None:
        super()._start_new_bracket()
        # Complete brackets are forgotten, so that their place in the list does not name them.
        self._serial += 1
        self._brackets[-1]["serial"] = self._serial

    def _entry(self, trial_id: str) -> Any:
        """The bracket, the round's number and the entry of a trial; None if it is in none."""
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
        """Nothing new is left to fill the rounds with: the best of those there are go on."""
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


def make_oracle(
    tuner: str, *, seed: int, max_epochs: int, trials: int, space: list[dict[str, Any]]
) -> Any:
    """The oracle of a tuner; it ends for want of configurations only.

    Args:
        tuner: One of `search.settings.TUNERS`.
        seed: 0 or more.
        max_epochs: Most epochs of one trial.
        trials: Of the search; the Gaussian process begins after a quarter of them at the latest.
        space: The hyperparameters, as KerasTuner writes them down.

    Returns:
        A `StudyOracle` that is one of `keras_tuner.oracles` too.
    """
    common = {
        "objective": keras_tuner.Objective("val_accuracy", "max"),
        "seed": seed + 1,  # 0 means none there
        "hyperparameters": read_space(space),
    }
    makers: dict[str, Callable[[], Any]] = {
        "random": lambda: RandomSearch(max_trials=None, **common),
        "bayesian": lambda: BayesianOptimization(
            max_trials=None, most_initial_points=trials // 4, **common
        ),
        "hyperband": lambda: Hyperband(max_epochs=max_epochs, hyperband_iterations=None, **common),
        "grid": lambda: GridSearch(max_trials=None, **common),
    }
    return makers[tuner]()
