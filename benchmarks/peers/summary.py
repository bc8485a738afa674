"""Tables and a figure of finished searches."""

from typing import Final

import numpy as np
from rich.console import Console
from rich.table import Table
from scipy.stats import rankdata, wilcoxon
from statsmodels.stats.multitest import multipletests

from benchmarks.peers.registry import LEAGUES, OURS, PEERS
from benchmarks.peers.results import Finished, in_league
from reporting.statistics import interval

# With fewer, p is above 0.05 even if all differences have the same sign.
LEAST_SEEDS: Final = 6
Scores = dict[str, dict[int, float]]  # of each method, by seed


def print_summary(searches: list[Finished], budgets: list[float], console: Console) -> None:
    """Print a table for each league, with and without first configurations, and budget."""
    for title, group in groups(searches).items():
        for budget in budgets:
            scores = scores_at(group, budget)
            if scores:
                console.print(_table(f"{title}; {budget:g} CPU s", scores))


def groups(searches: list[Finished]) -> dict[str, list[Finished]]:
    """Return the searches that can be compared, by a description of what they share."""
    found: dict[str, list[Finished]] = {}
    for league in LEAGUES:
        for one in in_league(searches, league):
            job = one.job
            title = (
                f"{league} league, {'with' if job.first else 'without'} first configurations; "
                f"{job.space}, {job.train_size:,} + {job.val_size:,} images, {job.epochs} epochs, "
                f"{job.isa} instructions; {one.machine}"
            )
            found.setdefault(title, []).append(one)
    return {
        title: group
        for title, group in found.items()
        if len(methods(group)) > 1 and any(PEERS[name].in_leagues for name in methods(group))
    }


def methods(group: list[Finished]) -> list[str]:
    """Return the methods of a group, in the order of the registry."""
    present = {one.job.peer for one in group}
    return [name for name in PEERS if name in present]


def scores_at(group: list[Finished], budget: float) -> Scores:
    """Return the score of each method's incumbent at a budget, by seed."""
    found: Scores = {}
    for name in methods(group):
        scores = {
            one.job.seed: one.score_at(budget)
            for one in group
            if one.job.peer == name and one.budget >= budget
        }
        if scores:
            found[name] = scores
    return found


def _table(title: str, scores: Scores) -> Table:
    table = Table(
        *("method", "n", "accuracy (%)", "ours minus it (pp)", "p (Holm)", "mean rank"),
        title=title,
    )
    p_values, ranks = corrected_p_values(scores), mean_ranks(scores)
    for name in sorted(scores, key=lambda name: -float(np.mean(list(scores[name].values())))):
        values = scores[name]
        ours = scores.get(OURS, {})
        shared = sorted(values.keys() & ours.keys())
        difference = "-"
        if name != OURS and shared:
            difference = _spread([ours[seed] - values[seed] for seed in shared])
        p_value = f"{p_values[name]:.3f}" if name in p_values else "-"
        rank = f"{ranks[name]:.1f}" if name in ranks else "-"
        table.add_row(
            name, str(len(values)), _spread(list(values.values())), difference, p_value, rank
        )
    return table


def corrected_p_values(scores: Scores) -> dict[str, float]:
    """Return p of ours against each other method: Wilcoxon, paired by seed, Holm-corrected."""
    ours, found = scores.get(OURS, {}), {}
    for name, values in scores.items():
        shared = sorted(values.keys() & ours.keys())
        differences = np.array([ours[seed] - values[seed] for seed in shared])
        if name != OURS and len(shared) >= LEAST_SEEDS:
            found[name] = float(wilcoxon(differences).pvalue) if differences.any() else 1.0
    if not found:
        return {}
    corrected = multipletests(list(found.values()), method="holm")[1]
    return dict(zip(found, map(float, corrected), strict=True))


def mean_ranks(scores: Scores) -> dict[str, float]:
    """Return each method's mean rank over the seeds that all methods have; 1 is best."""
    seeds = sorted(set.intersection(*(set(values) for values in scores.values())))
    if not seeds:
        return {}
    table = np.array([[values[seed] for seed in seeds] for values in scores.values()])
    means = rankdata(-table, axis=0).mean(axis=1)
    return dict(zip(scores, map(float, means), strict=True))


def _spread(values: list[float]) -> str:
    found = interval([100 * value for value in values])
    if found.low is None or not found.sd:
        return f"{found.mean:.2f}"
    return f"{found.mean:.2f} ({found.low:.2f} to {found.high:.2f})"
