"""KerasTuner's oracles, mended where they give up early, and told what a study knows."""

import functools
import math
from collections.abc import Callable
from typing import Any, Final

import keras_tuner
import numpy as np
from keras_tuner import oracles
from keras_tuner.engine.trial import Trial, TrialStatus


class StudyOracle:
    """What KerasTuner's oracles learn here: to live without files of their own.

    Mixed in before one of `keras_tuner.oracles`. Trials have the numbers of the study's trials as
    ids; what an oracle must know of a trial beyond its values and its score are `facts`, which
    the study keeps.
    """

    failed_score: float | None = None  # None: a failed trial teaches nothing

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
            self.start_order.append(trial_id)
        hyperparameters = self.get_space()
        hyperparameters.values = values
        self.trials[trial_id].hyperparameters = hyperparameters
        self._tried_so_far.add(self._compute_values_hash(values))

    def end(self: Any, trial_id: str, score: float | None) -> None:
        """Take in how a trial ended; None: it failed."""
        trial = self.trials[trial_id]
        trial.score = self.failed_score if score is None else score
        trial.status = TrialStatus.FAILED if trial.score is None else TrialStatus.COMPLETED
        self.ongoing_trials.pop(trial_id, None)
        self.end_order.append(trial_id)

    def facts_of(self, trial_id: str, values: dict[str, Any]) -> dict[str, Any]:
        """What must be known of a trial that was just proposed."""
        return {}

    def recall(self, trial_id: str, facts: dict[str, Any]) -> None:
        """Take in a trial that an earlier run proposed, after `begin`."""

    def _random_values(self) -> dict[str, Any] | None:
        # KerasTuner's draws end after 20 collisions, with part of a finite space untried.
        values: dict[str, Any] | None = super()._random_values()  # type: ignore[misc]
        return self._next_untried() if values is None else values

    def _next_untried(self: Any) -> dict[str, Any] | None:
        space = self.get_space()
        grid = oracles.GridSearchOracle(objective=self.objective, hyperparameters=space)
        values = {hp.name: hp.default for hp in space.space if space.is_active(hp)}
        while values is not None and self._duplicate(values):
            values = grid._get_next_combination(values)
        return values


class RandomSearch(StudyOracle, oracles.RandomSearchOracle):  # type: ignore[misc]
    """Random configurations."""


class BayesianOptimization(StudyOracle, oracles.BayesianOptimizationOracle):  # type: ignore[misc]
    """Random configurations, then those that a Gaussian process expects most of."""

    def populate_space(self, trial_id: str) -> dict[str, Any]:
        """See `keras_tuner.Oracle`; what was tried already gives way to a random configuration."""
        response: dict[str, Any] = super().populate_space(trial_id)
        if response["values"] and self._duplicate(response["values"]):
            response = self._random_populate_space()
        return response


class GridSearch(StudyOracle, oracles.GridSearchOracle):  # type: ignore[misc]
    """Every combination of the values that KerasTuner lists, the defaults first."""

    def end(self, trial_id: str, score: float | None) -> None:
        """See `StudyOracle`."""
        super().end(trial_id, score)
        self._populate_next.append(trial_id)

    def recall(self, trial_id: str, facts: dict[str, Any]) -> None:
        """See `StudyOracle`."""
        order = functools.cmp_to_key(
            lambda a, b: self._compare(
                self.trials[a].hyperparameters.values, self.trials[b].hyperparameters.values
            )
        )
        known = self._ordered_ids._memory
        before = [other for other in known if order(other) < order(trial_id)]
        self._ordered_ids.insert(trial_id, max(before, key=order) if before else None)


class Hyperband(StudyOracle, oracles.HyperbandOracle):  # type: ignore[misc]
    """Many configurations for few epochs, the best of them for more, from where they ended."""

    # A round waits for all its trials: one that failed is its worst.
    failed_score = -math.inf

    def facts_of(self, trial_id: str, values: dict[str, Any]) -> dict[str, Any]:
        """The trial's bracket (counted from 0), round, epochs, and whom it goes on with."""
        self._count_brackets()
        bracket, number, entry = next(
            (bracket, number, entry)
            for bracket in self._brackets
            for number, entries in enumerate(bracket["rounds"])
            for entry in entries
            if entry["id"] == trial_id
        )
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
        self._count_brackets()
        while self._brackets[-1]["serial"] < facts["bracket"]:
            self._increment_bracket_num()
            self._start_new_bracket()
            self._count_brackets()
        parent = facts["promoted_from"]
        bracket = next(one for one in self._brackets if one["serial"] == facts["bracket"])
        bracket["rounds"][facts["round"]].append(
            {"past_id": None if parent is None else str(parent), "id": trial_id}
        )

    def _count_brackets(self) -> None:
        """Number the brackets as they come: those that are complete are forgotten."""
        for bracket in self._brackets:
            if "serial" not in bracket:
                bracket["serial"] = self._serial = getattr(self, "_serial", -1) + 1


_ORACLES: Final[dict[str, Callable[..., Any]]] = {
    "random": RandomSearch,
    "bayesian": BayesianOptimization,
    "hyperband": Hyperband,
    "grid": GridSearch,
}


def make_oracle(tuner: str, *, seed: int, max_epochs: int, trials: int, space: Any) -> Any:
    """The oracle of a tuner; it ends for want of configurations only.

    Args:
        tuner: One of `search.settings.TUNERS`.
        seed: 0 or more.
        max_epochs: Most epochs of one trial.
        trials: Of the search. The Gaussian process begins after a quarter of them at the latest:
            KerasTuner's own three for each hyperparameter would leave it none in a large space.
        space: `keras_tuner.HyperParameters` that hold the space.

    Returns:
        A `StudyOracle` that is one of `keras_tuner.oracles` too.
    """
    special: dict[str, dict[str, Any]] = {
        "bayesian": {"num_initial_points": max(3, min(3 * len(space.space), trials // 4))},
        "hyperband": {"max_epochs": max_epochs, "hyperband_iterations": None},
    }
    return _ORACLES[tuner](
        objective=keras_tuner.Objective("val_accuracy", "max"),
        seed=seed + 1,  # 0 means none there
        hyperparameters=space,
        **({} if tuner == "hyperband" else {"max_trials": None}),
        **special.get(tuner, {}),
    )
