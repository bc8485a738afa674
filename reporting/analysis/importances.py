"""How much each hyperparameter mattered: conditional PED-ANOVA with a bootstrap over trials."""

import math
import warnings
from collections.abc import Container
from dataclasses import dataclass
from typing import Final

import numpy as np
import optuna
import pandas as pd
from optuna.importance import PedAnovaImportanceEvaluator, get_param_importances
from optuna.trial import FrozenTrial, TrialState

from reporting.study_tables import Record

EVALUATOR: Final = "conditional PED-ANOVA (optuna.importance.PedAnovaImportanceEvaluator)"
LEAST_TRIALS: Final = 4
_MOST_TRIALS: Final = 2_000
_MOST_DRAWS: Final = 40
_LEAST_DRAWS: Final = 5
# Trials looked at in all draws together: about one second.
_DRAWN_TRIALS: Final = 5_000
# Optuna's documentation asks for five or more trials above the target quantile.
_LEAST_TOP: Final = 5
_QUANTILE: Final = 0.1


@dataclass(frozen=True, slots=True, kw_only=True)
class Importances:
    """Shares of all hyperparameters, highest first.

    Args:
        table: By name: `share` (all sum to 1), `low` and `high` (5 and 95 % points over the draws)
            and `n` (trials that have the hyperparameter).
        trials: Complete trials used.
        complete: Complete trials there are.
        top: Best trials that are compared with all, those equal to the last of them included.
        draws: Bootstrap draws.
    """

    table: pd.DataFrame
    trials: int
    complete: int
    top: int
    draws: int


def importances(record: Record) -> Importances | None:
    """Which hyperparameters tell the best complete trials from all complete ones.

    Pruned trials are left out: their accuracy after fewer epochs cannot be ranked with final ones.
    Conditional hyperparameters are compared among the trials that have them.

    Returns:
        None where it cannot be said: for fewer than four complete trials, or all of equal value.
    """
    complete = [
        trial
        for trial in record.frozen
        if trial.state == TrialState.COMPLETE
        and trial.value is not None
        and math.isfinite(trial.value)
    ]
    rng = np.random.default_rng(0)
    used = complete
    if len(complete) > _MOST_TRIALS:
        chosen = sorted(rng.choice(len(complete), _MOST_TRIALS, replace=False))
        used = [complete[index] for index in chosen]
    if len(used) < LEAST_TRIALS or len({trial.value for trial in used}) < 2:
        return None
    top = max(math.ceil(_QUANTILE * len(used)), min(_LEAST_TOP, len(used) // 2))
    shares = _evaluate(record.study, used, top)
    if shares.empty or shares.nunique() == 1:
        return None
    draws = max(_LEAST_DRAWS, min(_MOST_DRAWS, _DRAWN_TRIALS // len(used)))
    drawn = pd.DataFrame(
        [
            _evaluate(record.study, [used[i] for i in rng.integers(0, len(used), len(used))], top)
            for _ in range(draws)
        ],
        columns=shares.index,
    ).fillna(0.0)
    values = sorted((trial.value or 0.0 for trial in used), reverse=True)
    table = pd.DataFrame(
        {
            "share": shares,
            "low": drawn.quantile(0.05),
            "high": drawn.quantile(0.95),
            "n": [sum(name in trial.params for trial in used) for name in shares.index],
        }
    )
    return Importances(
        table=table.rename_axis("hyperparameter"),
        trials=len(used),
        complete=len(complete),
        top=sum(value >= values[top - 1] for value in values),
        draws=draws,
    )


def _evaluate(study: optuna.Study, trials: list[FrozenTrial], top: int) -> pd.Series:
    # Half a trial less than `top`, so that rounding cannot take in one more.
    evaluator = PedAnovaImportanceEvaluator(target_quantile=(top - 0.5) / len(trials))
    with warnings.catch_warnings():
        # Of conditional hyperparameters that one trial has: they count as unimportant.
        warnings.simplefilter("ignore")
        found = get_param_importances(_Drawn(study, trials), evaluator=evaluator)
    return pd.Series(found, dtype=float)


class _Drawn(optuna.Study):
    """A study that consists of some trials of another, which may be drawn more than once."""

    def __init__(self, study: optuna.Study, trials: list[FrozenTrial]) -> None:
        super().__init__(study_name=study.study_name, storage=study._storage)
        self._drawn = trials

    def get_trials(
        self, deepcopy: bool = True, states: Container[TrialState] | None = None
    ) -> list[FrozenTrial]:
        """See `optuna.Study`."""
        return [trial for trial in self._drawn if states is None or trial.state in states]
