"""What the workers' room knows of its machine, and what it says when no worker can start."""

import builtins
import os
import sys
from pathlib import Path
from typing import Any

import pytest

from search.errors import SearchError
from search.workers.local import LocalWorkers
from search.workers.pool import Worker, Workers
from search.workers.process import Link, Trainer, WorkerSettings
from tests.search.simulated import no_images


@pytest.mark.parametrize(
    ("content", "cores"), [("100000 100000\n", 1), ("50000 100000\n", 1), ("max 100000\n", None)]
)
def test_as_many_workers_as_affinity_and_a_container_quota_leave_cores(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: str, cores: int | None
) -> None:
    quota = tmp_path / "cpu.max"
    quota.write_text(content)
    files = {"/sys/fs/cgroup/cpu.max": str(quota)}
    exists = os.path.exists
    opened = builtins.open
    monkeypatch.setattr(os.path, "exists", lambda path: exists(files.get(path, path)))
    monkeypatch.setattr(
        builtins, "open", lambda file, *rest, **more: opened(files.get(file, file), *rest, **more)
    )
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "-1")
    settings = WorkerSettings(space="any", load_split=no_images, precision="float32")
    affinity = os.sched_getaffinity(0)
    workers = LocalWorkers(settings, count=None, log_dir=tmp_path)
    assert workers.count == (cores or len(affinity))
    os.sched_setaffinity(0, {min(affinity)})
    try:
        assert LocalWorkers(settings, count=None, log_dir=tmp_path).count == 1
    finally:
        os.sched_setaffinity(0, affinity)


def _die(link: Link, settings: WorkerSettings) -> Trainer:
    sys.stdout.write("a first line\nImportError: no such library\n")
    sys.exit(7)


def test_workers_that_die_before_their_first_trial_end_the_search(tmp_path: Path) -> None:
    settings = WorkerSettings(space="any", load_split=no_images, precision="float32")
    workers = LocalWorkers(settings, count=1, log_dir=tmp_path / "logs", make_trainer=_die)
    message = r"workers die before their first trial \(exit code 7\): .*no such library"
    with pytest.raises(SearchError, match=message):
        for _ in range(200):
            workers.start(1)
            list(workers.poll(0.1))


class _Imagined(Worker):
    def _send(self, message: object) -> None: ...

    def last_words(self) -> str:
        return ""

    def kill(self) -> None: ...


class _Shrinking(Workers[_Imagined]):
    """As many as a cluster has room for, which may become fewer."""

    count = 4

    def _spawn(self, slot: int) -> _Imagined:
        return _Imagined(slot, heard=None)

    def _wait(self, timeout_seconds: float) -> list[_Imagined]:
        return []

    def _read(self, worker: _Imagined) -> list[Any]:
        return []


def test_no_more_run_than_there_is_room_for_when_some_are_lost() -> None:
    workers = _Shrinking(max_memory_mb=None, silence_seconds=60)
    workers.start(9)
    first, second, *left = list(workers._workers.values())
    for lost in (first, second):
        workers.replace(lost)
    workers.count = 2
    workers.start(9)
    assert list(workers._workers.values()) == left
    workers.count = 3
    workers.start(9)
    assert [worker.slot for worker in list(workers._workers.values())] == [2, 3, 0]
