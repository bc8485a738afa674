"""Limits of the system that worker processes meet, in words."""

import resource
import signal
from pathlib import Path
from typing import Final

import psutil

from search.errors import SearchError, SettingsError

# Journal, lock, artifacts, connections to a database and to the dashboard.
_SPARE_DESCRIPTORS: Final = 20
_ROOT: Final = Path("/")
_PER_CORE: Final = 4  # more take turns on the cores, and no trial ends sooner
_WORKER_MB: Final = 900  # resident memory of a worker that trains
_UNLIMITED: Final = 1 << 60  # version 1 of cgroups gives a number of this size


def require_descriptors(slot: int, count: int) -> None:
    """Check that another worker leaves this process enough file descriptors.

    Args:
        slot: Number of the worker, counted from 0.
        count: Number of workers wanted.

    Raises:
        SearchError: It does not; the journal would be the next file to fail.
    """
    limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if psutil.Process().num_fds() + _SPARE_DESCRIPTORS > limit:
        fewer = f", or use --workers {slot}" if slot else ""
        raise SearchError(
            f"worker {slot + 1} of {count} cannot be started: `ulimit -n` allows {limit} open "
            f"files. Raise it{fewer}."
        )


def require_room(count: int, cores: int, free_mb: float | None = None) -> None:
    """Check that this machine has room for the workers that `--workers` asks for.

    Args:
        count: Number of workers; as many as there are cores, the default, are always allowed.
        cores: Number of cores that this process may use.
        free_mb: Memory; None: what is available now.

    Raises:
        SettingsError: The limits of the system allow fewer workers.
    """
    most = _PER_CORE * cores
    if count > most:
        raise SettingsError(
            f"--workers is {count}; on {cores} cores it must be {most} or less. Leave it out for "
            "one worker per core."
        )
    free_mb = psutil.virtual_memory().available / 1e6 if free_mb is None else free_mb
    if count > cores and count * _WORKER_MB > free_mb:
        raise SettingsError(
            f"--workers is {count}, which take about {count * _WORKER_MB:,} MB of memory; "
            f"{free_mb:,.0f} MB are free. Use {max(cores, int(free_mb / _WORKER_MB))} or fewer, or "
            "free memory."
        )


def exit_words(code: int | None, root: Path = _ROOT) -> str:
    """Return in words how a process ended, and which memory limit may have ended it.

    Args:
        code: Its exit code; negative: the signal.
        root: Contains `proc` and `sys`.
    """
    if not code:
        return f"exit code {code}"
    words = f"signal {-code} {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"
    if limited := memory_limit_words():
        return f"{words}{limited}"  # libraries that get no memory end in many ways
    if code != -signal.SIGKILL:
        return words
    limit = _cgroup_limit(root)
    where = "" if limit is None else f"; the limit of its cgroup is {limit / 1e6:,.0f} MB"
    return f"{words}, as when memory runs out{where}"


def memory_limit_words() -> str:
    """Return in words the memory limit that a worker inherits; empty without one."""
    limit, _ = resource.getrlimit(resource.RLIMIT_AS)
    if limit == resource.RLIM_INFINITY:
        return ""
    return f"; `ulimit -v` limits a process to {limit / 1e6:,.0f} MB"


def _cgroup_limit(root: Path) -> int | None:
    """Return the lowest memory limit of this process' control groups, in bytes; None without."""
    limits = []
    for line in _read(root / "proc/self/cgroup").splitlines():
        _, controllers, path = line.split(":", 2)
        if controllers not in ("", "memory"):
            continue
        top = root / "sys/fs/cgroup" / controllers
        group = top / path.strip("/")
        # A container shows its own group as the top, under the path that the host knows.
        for folder in {top, group, *(one for one in group.parents if top in one.parents)}:
            for name in ("memory.max", "memory.limit_in_bytes"):
                limits.append(_read(folder / name).strip())
    known = [int(limit) for limit in limits if limit.isdigit()]
    return min((limit for limit in known if limit < _UNLIMITED), default=None)


def _read(file: Path) -> str:
    try:
        return file.read_text()
    except OSError:
        return ""
