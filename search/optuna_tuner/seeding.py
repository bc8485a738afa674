"""Random draws that depend on the search's seed and the trial's number, not on what ran before.

A search that is continued makes its sampler anew: left to its own random state, it would repeat
the draws of the first trials.
"""

from collections.abc import Iterator

from optuna.samplers import BaseSampler
from optuna.samplers._lazy_random_state import LazyRandomState

from search.study.study import trial_seed


def own_seed(sampler: BaseSampler) -> int | None:
    """A seed drawn from a sampler that was made with one; None if it was made without."""
    for state in _random_states(sampler):
        if state._rng is not None:
            return int(state.rng.randint(2**31))
    return None


def reseed(sampler: BaseSampler, seed: int, number: int) -> None:
    """Make what one of Optuna's samplers draws next depend only on these numbers.

    Args:
        sampler: The sampler; one that is not Optuna's keeps its own random state.
        seed: Seed of the search.
        number: Number of the trial.
    """
    for state in _random_states(sampler):
        state.rng.seed(trial_seed(seed, number))


def _random_states(sampler: BaseSampler) -> Iterator[LazyRandomState]:
    for value in vars(sampler).values():
        if isinstance(value, LazyRandomState):
            yield value
        elif isinstance(value, BaseSampler):
            yield from _random_states(value)
