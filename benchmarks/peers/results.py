"""The file of finished searches: one JSON object a line, so that a comparison can continue."""

import json
import threading
import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from benchmarks.peers.job import Job
from benchmarks.peers.running import Event
from search.training.hardware import versions

_LOCK = threading.Lock()
_NO_MODEL = 0.1  # accuracy of a guess: nothing was trained within the budget


@dataclass(frozen=True, slots=True, kw_only=True)
class Finished:
    """A finished search.

    Args:
        job: The search.
        machine: Where it ran.
        commit: Of the code that ran.
        budget: CPU seconds that it had.
        events: Its epochs.
    """

    job: Job
    machine: str
    commit: str
    budget: float
    events: list[Event]

    def score_at(self, cpu_seconds: float) -> float:
        """Return the score of the incumbent: of the best epoch so far, as the search sees it."""
        known = [event for event in self.events if event.cpu_seconds <= cpu_seconds]
        best = max(known, key=lambda event: event.search, default=None)
        return _NO_MODEL if best is None else best.score


def append(file: Path, finished: Finished) -> None:
    """Add a search to the file, with where and when it ran."""
    line = {
        **asdict(finished.job),
        "budget": finished.budget,
        "machine": finished.machine,
        "versions": versions(),
        "commit": finished.commit,
        "date": time.strftime("%Y-%m-%d"),
        "events": [[one.cpu_seconds, one.search, one.score] for one in finished.events],
    }
    with _LOCK, file.open("a") as opened:
        opened.write(f"{json.dumps(line)}\n")


def read(file: Path) -> list[Finished]:
    """Return the searches in a file; of one that ran twice, that with the larger budget.

    A search that ran on two machines is two: CPU seconds of different machines do not compare.
    """
    found: dict[tuple[Job, str], Finished] = {}
    for line in file.read_text().splitlines() if file.exists() else []:
        try:
            said = json.loads(line)
        except json.JSONDecodeError:
            continue  # cut off when the comparison was killed
        job = Job(**{name: said[name] for name in Job.__dataclass_fields__})
        events = [Event(cpu_seconds=c, search=a, score=b) for c, a, b in said["events"]]
        one = Finished(
            job=job,
            machine=said["machine"],
            commit=said["commit"],
            budget=said["budget"],
            events=events,
        )
        key = job, one.machine
        if key not in found or one.budget > found[key].budget:
            found[key] = one
    return list(found.values())


def in_league(searches: list[Finished], league: str) -> list[Finished]:
    """Return the searches of a league, with those that are the same in both."""
    return [
        replace(one, job=replace(one.job, league=league))
        for one in searches
        if one.job.league in (league, "both")
    ]
