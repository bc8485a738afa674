"""Run one search in a process of its own, on one core, until its CPU seconds are used up."""

import contextlib
import ctypes
import json
import os
import select
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import psutil

from benchmarks.peers.job import EVENTS_VARIABLE, FOLDER_VARIABLE, Job
from benchmarks.peers.registry import PEERS
from search.training.hardware import training_variables

_ROOT: Final = Path(__file__).resolve().parents[2]
_POLL_SECONDS: Final = 0.2
_GRACE: Final = 15  # CPU seconds beyond the budget for the scoring of an epoch that ended within
_PATIENCE: Final = 20  # seconds that may pass for one of the budget, beside other work
# What a shell may hold that would change a stock installation.
_PREFIXES: Final = ("TF_", "OMP_", "ONEDNN_", "OPENBLAS_", "MKL_", "KERAS_", "XLA_", "RAY_")
# Of Linux' prctl.
_SET_PARENT_DEATH_SIGNAL: Final = 1
_SET_CHILD_SUBREAPER: Final = 36


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """One epoch of a search.

    Args:
        cpu_seconds: User and system time of the search so far, scoring left out.
        search: Validation accuracy that the search sees, in [0, 1].
        score: Accuracy of the same weights on images that it does not see.
    """

    cpu_seconds: float
    search: float
    score: float


class SearchFailedError(Exception):
    """A search ended by itself before its budget, with an error."""


def run(job: Job, *, core: int, budget: float, images: Path) -> list[Event]:
    """Run a search on one core until it ends or has used its budget.

    Args:
        job: The search.
        core: Number of the core.
        budget: CPU seconds of all its processes.
        images: Folder from `write_images`.

    Raises:
        SearchFailedError: It failed.
    """
    with tempfile.TemporaryDirectory(prefix="peer", ignore_cleanup_errors=True) as name:
        folder = Path(name)
        os.mkfifo(folder / "events")
        # Open for writing too: a pipe without a writer would always be readable.
        pipe = os.open(folder / "events", os.O_RDWR | os.O_NONBLOCK)
        try:
            with (folder / "log").open("w") as log:
                process = subprocess.Popen(
                    [
                        *(sys.executable, "-m", f"benchmarks.peers.{PEERS[job.peer].module}"),
                        job.to_argument(),
                    ],
                    cwd=folder,
                    env=_environment(job, folder, images),
                    stdout=log,
                    stderr=subprocess.STDOUT,
                    preexec_fn=lambda: _prepare(core),
                )
            try:
                events, code = _watch(process, pipe, budget)
            finally:
                _end(process)
        finally:
            os.close(pipe)
        if code:
            lines = (folder / "log").read_text(errors="replace").strip().splitlines()
            raise SearchFailedError(" | ".join(lines[-5:]) or f"exit code {code}")
    return events


def _watch(
    process: "subprocess.Popen[bytes]", pipe: int, budget: float
) -> tuple[list[Event], int | None]:
    """Return the events within the budget, and the exit code of a search that ended by itself."""
    events: list[Event] = []
    clock, scoring, unread = _CpuClock(process.pid), 0.0, b""
    deadline = time.monotonic() + _PATIENCE * (budget + 60)
    while True:
        code = process.poll()
        readable, _, _ = select.select([pipe], [], [], 0 if code is not None else _POLL_SECONDS)
        used = clock.seconds()
        if readable:
            *lines, unread = (unread + os.read(pipe, 1 << 16)).split(b"\n")
            for line in lines:
                said: dict[str, Any] = json.loads(line)
                scoring += said["scoring_cpu_seconds"]
                events.append(
                    Event(
                        cpu_seconds=round(used - scoring, 2),
                        search=said["search"],
                        score=said["score"],
                    )
                )
        over = used - scoring - budget
        if over > _GRACE or (code is not None and not readable):
            within = [event for event in events if event.cpu_seconds <= budget]
            return within, code if over <= 0 else None
        if time.monotonic() > deadline:
            raise SearchFailedError(f"it used {used:.0f} CPU s only, and seems to hang")


class _CpuClock:
    """User and system time of a process and all its descendants, ended ones too.

    The times of an ended child pass to a parent that waits for it, but are lost if the parent
    ignores its end, as Ray's does. So each process is remembered as it was seen last.
    """

    def __init__(self, pid: int) -> None:
        self._process = psutil.Process(pid)
        self._seen: dict[psutil.Process, _Times] = {}
        self._seconds = 0.0

    def seconds(self) -> float:
        """Return the time so far."""
        alive = set()
        for process in _family(self._process):
            with contextlib.suppress(psutil.Error):
                times = process.cpu_times()
                known = self._seen.get(process)
                self._seen[process] = _Times(
                    own=times.user + times.system,
                    waited_for=times.children_user + times.children_system,
                    # The first one: an orphan gets another.
                    parent=process.parent() if known is None else known.parent,
                )
                alive.add(process)
        ended: dict[psutil.Process | None, list[psutil.Process]] = {}
        for process, spent in self._seen.items():
            if process not in alive:
                ended.setdefault(spent.parent, []).append(process)

        def total(process: psutil.Process) -> float:
            spent = self._seen[process]
            return spent.own + max(spent.waited_for, sum(map(total, ended.get(process, []))))

        # A process may end between two of these readings, and be in neither.
        self._seconds = max(self._seconds, sum(map(total, alive)))
        return self._seconds


@dataclass(frozen=True, slots=True, kw_only=True)
class _Times:
    own: float
    waited_for: float
    parent: psutil.Process | None


def _family(process: psutil.Process) -> Iterator[psutil.Process]:
    yield process
    with contextlib.suppress(psutil.Error):
        yield from process.children(recursive=True)


def _prepare(core: int) -> None:
    os.sched_setaffinity(0, {core})
    prctl = ctypes.CDLL(None).prctl
    # Orphans, as Ray leaves them, stay descendants of this process.
    prctl(_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    # A search is endless: it must not outlive a comparison that was killed.
    prctl(_SET_PARENT_DEATH_SIGNAL, signal.SIGKILL, 0, 0, 0)


def _end(process: "subprocess.Popen[bytes]") -> None:
    """Kill a search and all its descendants."""
    # Stopped first, the search cannot start more while its descendants are listed.
    with contextlib.suppress(psutil.Error):
        family = psutil.Process(process.pid)
        family.send_signal(signal.SIGSTOP)
        for member in [*family.children(recursive=True), family]:
            with contextlib.suppress(psutil.Error):
                member.kill()
    process.wait()


def _environment(job: Job, folder: Path, images: Path) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith(_PREFIXES)}
    kept |= {
        EVENTS_VARIABLE: str(folder / "events"),
        FOLDER_VARIABLE: str(images),
        "PYTHONPATH": str(_ROOT),
        "RAY_USAGE_STATS_ENABLED": "0",
    }
    if job.isa == "avx2":
        kept["ONEDNN_MAX_CPU_ISA"] = "AVX2"
        if job.league == "system":
            # As TensorFlow decides where the CPU has no newer instructions.
            kept["TF_ENABLE_ONEDNN_OPTS"] = "0"
    if job.league != "system":
        kept |= training_variables(threads=1)
    return kept
