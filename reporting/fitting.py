"""How long the trainings of a report take, and how many epochs fit its time."""

import heapq
import json
import math
from collections import deque
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, Final

from reporting.folder import writing
from reporting.plan import Plan
from reporting.retraining import Results, Retraining
from reporting.settings import MOST_FITTED_EPOCHS
from search.command_line.flags import MOST_EPOCHS
from search.errors import SettingsError
from search.files import read_limited, write_atomically
from search.study.facts import is_whole
from search.words import counted

_FILE: Final = "fitted.json"
PlanOf = Callable[[int], Plan]  # from the number of final epochs


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


def fit_epochs(
    plan_of: PlanOf,
    kept: Callable[[Plan], Results],
    *,
    minutes: float,
    fewest: int,
    workers: int,
    directory: Path,
    train: bool,
) -> int:
    """Return the largest number of final epochs with which all trainings fit a time.

    It is at most `MOST_FITTED_EPOCHS`, or `fewest` if that is more.

    The number is stored beside the trainings. A continued report has less left to train, so it
    would fit more epochs, and could not use the trainings that are finished.

    Args:
        plan_of: Makes the plan.
        kept: Finds what earlier reports have trained of a plan.
        minutes: Planned wall time of all trainings; above 0.
        fewest: Epochs of a trial.
        workers: Number of workers; 1 or more.
        directory: Contains the retrainings of the study.
        train: Whether anything is to be trained; if not, the number must be stored.

    Raises:
        SettingsError: Not even the fewest epochs fit; the message says how many minutes would do.
            Or no number is stored, and nothing is to be trained.
        ReportError: The number cannot be stored.
    """

    stored = _stored(directory)
    before = stored.get(f"{minutes:g}", 0)
    if is_whole(before, 1) and before <= MOST_EPOCHS:
        return int(before)
    if not train:
        raise SettingsError(
            f"--minutes is {minutes:g}, but no report of this study was fitted to that time, so "
            "there is nothing to report with --no-retrain: leave --no-retrain out, or give "
            "--epochs."
        )

    def seconds(epochs: int) -> float:
        plan = plan_of(epochs)
        return wall_seconds(plan, kept(plan), workers)

    least = seconds(fewest)
    if least > 60 * minutes:
        needed = math.ceil(least / 60)
        plan = plan_of(fewest)
        distills = plan.distilled(plan.candidates[0], {})
        leave_out = ", or leave --distill out" if distills else ""
        raise SettingsError(
            f"--minutes is {minutes:g}, but the trainings take about {needed} min here with "
            f"{counted(fewest, 'epoch')}, as many as a trial has; raise it to {needed}, or "
            f"lower --top, --seeds or --baseline-seeds{leave_out}."
        )
    low, high = fewest, MOST_FITTED_EPOCHS
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if seconds(middle) <= 60 * minutes else (low, middle - 1)
    with writing(directory):
        content = json.dumps(stored | {f"{minutes:g}": low}) + "\n"
        write_atomically(directory / _FILE, content.encode())
    return low


def _stored(directory: Path) -> dict[str, Any]:
    """Return fitted epochs by minutes; nothing if the file is missing or damaged."""
    try:
        stored = json.loads(read_limited(directory / _FILE))
    except (OSError, ValueError, RecursionError):
        return {}
    return stored if isinstance(stored, dict) else {}
