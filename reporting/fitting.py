"""How long the trainings of a report take, and how many of them fit its time."""

import heapq
import json
import math
from bisect import bisect_right
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from reporting.folder import writing
from reporting.plan import Plan
from reporting.retraining import Results, Retraining
from reporting.settings import FEWEST_FITTED_EPOCHS, MOST_FITTED_EPOCHS
from search.command_line.flags import MOST_EPOCHS
from search.errors import SettingsError
from search.files import read_object, write_atomically
from search.study.facts import is_whole
from search.words import counted, listed

_FILE: Final = "fitted.json"
PlanOf = Callable[[int, int], Plan]  # from the final epochs, and the seeds of every baseline


@dataclass(frozen=True, slots=True, kw_only=True)
class Fitted:
    """What `--minutes` has chosen.

    Args:
        epochs: Epochs of candidates and winner; 1 or more.
        baseline_seeds: Seeds of every baseline; 1 or more.
    """

    epochs: int
    baseline_seeds: int


def wall_seconds(plan: Plan, kept: Results, workers: int) -> float:
    """Return the expected wall time of the trainings that are missing.

    The final trainings start after the last candidate, and the distilled network after them;
    workers that become idle train baselines. Until a winner is chosen, the slowest candidate
    stands in for it.

    Args:
        plan: What is to be trained.
        kept: What earlier reports have trained.
        workers: Number of workers; 1 or more.
    """

    def missing(retrainings: Iterable[Retraining]) -> list[float]:
        return [one.seconds for one in retrainings if one.key not in kept]

    chosen = plan.choose(kept) or max(
        plan.candidates, key=lambda candidate: candidate.retrainings[0].seconds
    )
    stages = [
        missing(one for part in parts for one in part.retrainings)
        for parts in (plan.candidates, plan.winners(chosen), plan.distilled(chosen, kept))
    ]
    baselines = deque(missing(one for entry in plan.baselines for one in entry.retrainings))
    free = [0.0] * workers  # times at which workers become free, a heap
    ended = 0.0  # time at which the previous stage ends
    for stage in filter(None, stages):
        while baselines and free[0] < ended:
            heapq.heapreplace(free, free[0] + baselines.popleft())
        free = sorted(max(time, ended) for time in free)
        for seconds in stage:
            ended = max(ended, free[0] + seconds)
            heapq.heapreplace(free, free[0] + seconds)
    for seconds in baselines:
        heapq.heapreplace(free, free[0] + seconds)
    return max(free)


def epochs_to_fit(trial_epochs: int, searched: int, trained: int) -> range:
    """Return the final epochs that `--minutes` may choose.

    At least as many as show the images of a trial, but not so few that there is no schedule; at
    most 30, or those of a trial.

    Args:
        trial_epochs: Maximum epochs of a trial; 1 or more.
        searched: Training images of an epoch of the search.
        trained: Training images of an epoch of the report.
    """
    fewest = max(FEWEST_FITTED_EPOCHS, math.ceil(trial_epochs * searched / trained))
    return range(min(fewest, trial_epochs), max(MOST_FITTED_EPOCHS, trial_epochs) + 1)


def fit(
    plan_of: PlanOf,
    kept: Callable[[Plan], Results],
    *,
    minutes: float,
    epochs: range,
    baseline_seeds: Sequence[int],
    workers: int,
    directory: Path,
    train: bool,
) -> Fitted:
    """Return the most seeds of baselines, then the most epochs, with which all fits a time.

    Baselines get at most half of the time, unless the fewest seeds take more.

    The numbers are stored beside the trainings. A continued report has less left to train, so it
    would fit more, and could not use the trainings that are finished.

    Args:
        plan_of: Makes the plan.
        kept: Finds what earlier reports have trained of a plan.
        minutes: Planned wall time of all trainings; above 0.
        epochs: Final epochs to choose from, ascending.
        baseline_seeds: Seeds of every baseline to choose from, descending.
        workers: Number of workers; 1 or more.
        directory: Contains the retrainings of the study.
        train: Whether anything is to be trained; if not, the numbers must be stored.

    Raises:
        SettingsError: Not even the fewest epochs fit; the message says how many minutes would do.
            Or no numbers are stored, and nothing is to be trained.
        ReportError: The numbers cannot be stored.
    """
    stored = read_object(directory / _FILE)  # what was fitted, by minutes
    before = _read(stored.get(f"{minutes:g}"), baseline_seeds)
    if before is not None:
        return before
    if not train:
        raise SettingsError(
            f"--minutes is {minutes:g}, but no report of this study was fitted to that time, so "
            "there is nothing to report with --no-retrain: leave --no-retrain out, or give "
            "--epochs."
        )

    limit = 60 * minutes

    def seconds(epochs: int, seeds: int) -> float:
        plan = plan_of(epochs, seeds)
        return wall_seconds(plan, kept(plan), workers)

    def leaves_half(seeds: int) -> bool:
        plan = plan_of(epochs[0], seeds)
        done = kept(plan)
        due = (one for entry in plan.baselines for one in entry.retrainings)
        return sum(one.seconds for one in due if one.key not in done) / workers <= limit / 2

    seeds = next(
        (one for one in baseline_seeds if leaves_half(one) and seconds(epochs[0], one) <= limit),
        baseline_seeds[-1],
    )
    least = seconds(epochs[0], seeds)
    if least > limit:
        needed = math.ceil(least / 60)
        plan = plan_of(epochs[0], seeds)
        images = plan.sizes.epoch_images(plan.images)
        raise SettingsError(
            f"--minutes is {minutes:g}, but the trainings take about {needed} min here with "
            f"{counted(epochs[0], 'epoch')} of {images:,} images, the fewest that --minutes "
            f"chooses after this search; raise it to {needed}{''.join(_shorter(plan))}."
        )
    most = bisect_right(epochs, limit, lo=1, key=lambda count: seconds(count, seeds))
    found = Fitted(epochs=epochs[most - 1], baseline_seeds=seeds)
    with writing(directory):
        content = json.dumps(stored | {f"{minutes:g}": asdict(found)}) + "\n"
        write_atomically(directory / _FILE, content.encode())
    return found


def _shorter(plan: Plan) -> Iterator[str]:
    """Yield how a report could train less."""
    winner = plan.candidates[0]
    larger = {
        "--top": len({one.number for one in plan.candidates}) > 1,
        "--seeds": len(plan.winners(winner)[0].retrainings) > 1,
        "--baseline-seeds": any(len(entry.retrainings) > 1 for entry in plan.baselines),
        "--baseline-epochs": any((entry.epochs or 1) > 1 for entry in plan.baselines),
    }
    if flags := [flag for flag, is_larger in larger.items() if is_larger]:
        yield f", or lower {listed(flags, 'or')}"
    if plan.distilled(winner, {}):
        yield ", or leave --distill out"


def _read(stored: Any, baseline_seeds: Sequence[int]) -> Fitted | None:
    """Return what was fitted; None if that is damaged."""
    found: dict[str, Any] = stored if isinstance(stored, dict) else {}
    epochs, seeds = found.get("epochs", 0), found.get("baseline_seeds", 0)
    if not (is_whole(epochs, 1) and epochs <= MOST_EPOCHS and is_whole(seeds, 1)):
        return None
    # Flags may have changed since.
    allowed = (one for one in baseline_seeds if one <= seeds)
    return Fitted(epochs=epochs, baseline_seeds=next(allowed, baseline_seeds[-1]))
