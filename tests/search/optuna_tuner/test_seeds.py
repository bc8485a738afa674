"""Seeds of samplers: each trial draws by its number, not by what ran before."""

from typing import Any

import optuna
import pytest
from optuna import samplers

from search.optuna_tuner.record import own_seed, reseed


@pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning")
@pytest.mark.parametrize("kind", ["TPESampler", "RandomSampler", "CmaEsSampler", "NSGAIISampler"])
def test_a_reseeded_sampler_repeats_one_trial_and_no_other(kind: str) -> None:
    def draw(sampler: Any, number: int) -> float:
        study = optuna.create_study(sampler=sampler)
        reseed(sampler, 5, number)
        return study.ask().suggest_float("x", 0.0, 1.0)

    make = getattr(samplers, kind)
    sampler = make()
    values = [draw(sampler, number) for number in range(5)]
    assert len(set(values)) == 5
    assert [draw(make(seed=1), number) for number in range(5)] == values


def test_a_seeded_sampler_gives_a_seed_of_its_own() -> None:
    assert own_seed(samplers.RandomSampler()) is None
    assert own_seed(samplers.TPESampler()) is None
    assert own_seed(samplers.TPESampler(seed=3)) == own_seed(samplers.TPESampler(seed=3))
    assert own_seed(samplers.TPESampler(seed=3)) != own_seed(samplers.TPESampler(seed=4))
