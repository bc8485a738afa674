"""The worker pool: how many workers, and which of them are replaced."""

import builtins
import contextlib
import multiprocessing
import os
import signal
import struct
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import psutil
import pytest

from search.errors import SearchError, StorageError
from search.workers.keras_trainer import WorkerSettings
from search.workers.link import Link
from search.workers.local import LocalBackend, _environment
from search.workers.messages import Beat, Died, Failed, Message, Ready, Train
from search.workers.pool import Worker, WorkerPool, make_pool
from tests.search.simulated import SimulatedTrainer, no_images


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
    assert make_pool(settings, count=None, log_dir=tmp_path).count == (cores or len(affinity))
    os.sched_setaffinity(0, {min(affinity)})
    try:
        assert make_pool(settings, count=None, log_dir=tmp_path).count == 1
    finally:
        os.sched_setaffinity(0, affinity)


@pytest.mark.parametrize(
    ("visible", "present", "gpus"),
    [
        (None, 1, ["0"]),
        (None, 2, ["0", "1"]),
        ("1", 2, ["1"]),
        ("2,3,", 4, ["2", "3"]),
        ("2,3,99", 4, ["2", "3"]),
        ("MIG-5,MIG-7", 1, ["MIG-5", "MIG-7"]),
    ],
)
def test_each_worker_gets_one_of_the_visible_gpus(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    visible: str | None,
    present: int,
    gpus: list[str],
) -> None:
    program = tmp_path / "nvidia-smi"
    listed = "".join(f"echo 'GPU {index}: any'\n" for index in range(present))
    program.write_text(f"#!/bin/sh\n{listed}")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}/bin")
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    if visible is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    settings = WorkerSettings(space="any", load_split=no_images, precision="float32")
    backend = LocalBackend(settings, Dying, count=None, log_dir=tmp_path)
    given = [backend._variables(slot)["CUDA_VISIBLE_DEVICES"] for slot in range(backend.count)]
    assert given == gpus


def test_the_environment_of_a_starting_worker_is_undone_in_every_thread(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("MPLBACKEND", "mine")
    for name in ("OMP_NUM_THREADS", "SET_MEANWHILE"):
        monkeypatch.delenv(name, raising=False)
    before = dict(os.environ)
    entered, leave = threading.Event(), threading.Event()

    def start_another() -> None:
        with _environment({"OMP_NUM_THREADS": "2"}):
            entered.set()
            leave.wait(60)

    other = threading.Thread(target=start_another)
    with _environment({"OMP_NUM_THREADS": "1", "MPLBACKEND": "agg"}):
        other.start()
        assert not entered.wait(0.2)
        assert (os.environ["OMP_NUM_THREADS"], os.environ["MPLBACKEND"]) == ("1", "agg")
        monkeypatch.setenv("SET_MEANWHILE", "kept")
    assert entered.wait(60)
    assert os.environ["OMP_NUM_THREADS"] == "2"
    leave.set()
    other.join()
    assert dict(os.environ) == before | {"SET_MEANWHILE": "kept"}


class Dying:
    """A trainer that ends its process."""

    def __init__(self, link: Link, settings: WorkerSettings) -> None:
        sys.stdout.write("a first line\nImportError: no such library\n")
        sys.exit(7)

    def run(self, order: Train) -> Failed:
        raise AssertionError


def test_a_log_that_cannot_be_written_is_one_line(tmp_path: Path) -> None:
    settings = WorkerSettings(space="any", load_split=no_images, precision="float32")
    (tmp_path / "worker-0.log").mkdir()
    for log_dir in (tmp_path, Path("/dev/null/logs")):
        pool = make_pool(settings, count=1, log_dir=log_dir, trainer_class=Dying)
        message = rf"{log_dir}/worker-0.log cannot be written \(.*run the same command again"
        with pytest.raises(StorageError, match=message):
            pool.start(1)
        pool.close()


def test_workers_that_die_before_their_first_trial_end_the_search(tmp_path: Path) -> None:
    settings = WorkerSettings(space="any", load_split=no_images, precision="float32")
    pool = make_pool(settings, count=1, log_dir=tmp_path / "logs", trainer_class=Dying)
    message = (
        r"workers die before their first trial \(exit code 7\): .*no such library "
        r"\(whole log: .*/logs/worker-0.log\)$"
    )
    with pytest.raises(SearchError, match=message):
        for _ in range(3000):  # three starts take seconds, far more beside other tests
            pool.start(1)
            list(pool.poll(0.1))


def test_a_long_order_to_a_frozen_worker_blocks_nothing(tmp_path: Path) -> None:
    settings = WorkerSettings(space="slow", load_split=no_images, precision="float32")
    pool = make_pool(settings, count=1, log_dir=tmp_path / "logs", trainer_class=SimulatedTrainer)
    pool.start(1)
    (worker,) = pool.started
    for _ in range(3000):  # a start takes seconds
        list(pool.poll(0.1))
        if worker.ready:
            break
    (child,) = (one for one in multiprocessing.active_children() if one.name == "worker-0")
    assert child.pid is not None
    os.kill(child.pid, signal.SIGSTOP)
    checkpoint = bytes(10_000_000)
    order = Train(number=0, seed=0, max_epochs=2, epochs=2, initial_epoch=1, checkpoint=checkpoint)
    sending = threading.Thread(target=worker.send, args=(order,), daemon=True)
    sending.start()
    sending.join(60)
    was_blocked = sending.is_alive()
    pool.close()
    assert not was_blocked
    assert not child.is_alive()


def ran_once(
    trainer_class: type[Any], log_dir: Path, silence_seconds: float = 60
) -> Iterator[tuple[WorkerPool, Worker, list[Message]]]:
    """Run one trial: the pool, its worker, and what has ended a trial or a worker, poll by poll."""
    settings = WorkerSettings(space="any", load_split=no_images, precision="float32")
    pool = make_pool(
        settings,
        count=1,
        log_dir=log_dir,
        trainer_class=trainer_class,
        silence_seconds=silence_seconds,
    )
    pool.start(1)
    (worker,) = pool.started
    for _ in range(3000):  # a start takes seconds, far more beside other tests
        ended = [message for _, message in pool.poll(0.1) if isinstance(message, Failed | Died)]
        yield pool, worker, ended
        if worker.ready and not worker.trials:
            worker.send(Train(number=0, seed=0, max_epochs=1, epochs=1))


class Frozen:
    """A trainer whose process stops in the middle of a message."""

    def __init__(self, link: Link, settings: WorkerSettings) -> None:
        self._pipe = link._channel.fileno()  # type: ignore[attr-defined]

    def run(self, order: Train) -> Failed:
        os.write(self._pipe, struct.pack("!i", 10_000_000) + bytes(1000))
        os.kill(os.getpid(), signal.SIGSTOP)
        raise AssertionError


def test_a_worker_that_freezes_while_it_sends_is_replaced(tmp_path: Path) -> None:
    # A worker must also start within the time of silence.
    for pool, worker, died in ran_once(Frozen, tmp_path / "logs", silence_seconds=20):  # noqa: B007
        if died:
            break
    pool.close()
    assert worker.trials == 1
    (message,) = died
    assert isinstance(message, Died)
    assert message.reason.startswith("worker silent for ")


class Parallel:
    """A trainer that starts processes, as a user's `fit` may."""

    def __init__(self, link: Link, settings: WorkerSettings) -> None: ...

    def run(self, order: Train) -> Failed:
        found = []
        for method in ("spawn", "fork"):
            with multiprocessing.get_context(method).Pool(2) as pool:
                found.append(pool.map(abs, [-1, 2]))
        return Failed(reason=f"computed {found}")


def test_a_training_may_start_processes(tmp_path: Path) -> None:
    for pool, _, ended in ran_once(Parallel, tmp_path / "logs"):  # noqa: B007
        if ended:
            break
    pool.close()
    assert ended == [Failed(reason="computed [[1, 2], [1, 2]]")]


class Busy(Parallel):
    """A trainer whose training hangs, as does a process that it has started."""

    def run(self, order: Train) -> Failed:
        with multiprocessing.get_context("fork").Pool(1) as pool:
            pool.apply(signal.pause)
        raise AssertionError


def started_by(worker: psutil.Process) -> list[psutil.Process]:
    """What a training has forked, without what `multiprocessing` starts for itself."""
    with contextlib.suppress(psutil.Error):
        return [one for one in worker.children() if one.cmdline() == worker.cmdline()]
    return []


def test_what_a_training_has_started_ends_with_its_worker(tmp_path: Path) -> None:
    for pool, _, _ in ran_once(Busy, tmp_path / "logs"):  # noqa: B007
        begun = [one for child in psutil.Process().children() for one in started_by(child)]
        if begun:
            break
    assert begun
    pool.close()
    assert not psutil.wait_procs(begun, timeout=60)[1]


def test_a_worker_that_dies_while_its_training_has_processes_is_noticed(tmp_path: Path) -> None:
    grandchildren: list[psutil.Process] = []
    for pool, _, died in ran_once(Busy, tmp_path / "logs"):  # noqa: B007
        if died:
            break
        for child in psutil.Process().children() if not grandchildren else ():
            if grandchildren := started_by(child):
                child.kill()
    for process in grandchildren:
        process.kill()
    pool.close()
    (message,) = died
    assert isinstance(message, Died)
    assert "signal 9 SIGKILL" in message.reason


class Process:
    """A worker process without a process."""

    log = "nowhere"

    def __init__(self, slot: int) -> None:
        self.slot = slot
        self.heard: float | None = None
        self.messages: list[Message] = []
        self.killed: list[bool] = []

    def send(self, message: object) -> None: ...

    def read(self) -> list[Message]:
        messages, self.messages = self.messages, []
        return messages

    def last_lines(self) -> str:
        return "nothing logged"

    def kill(self, *, wait: bool = True) -> None:
        self.killed.append(wait)


class Shrinking:
    """A backend with as many workers as a cluster has room for, which may become fewer."""

    def __init__(self, count: int) -> None:
        self.count = count
        self.spawned: list[Process] = []

    def spawn(self, slot: int) -> Process:
        self.spawned.append(Process(slot))
        return self.spawned[-1]

    def wait(self, processes: Sequence[Process], timeout_seconds: float) -> list[Process]:
        return [process for process in processes if process.messages]


def test_no_more_run_than_there_is_room_for_when_some_are_lost() -> None:
    backend = Shrinking(4)
    pool = WorkerPool(backend)
    pool.start(9)
    assert [process.slot for process in backend.spawned] == [0, 1, 2, 3]
    for process in backend.spawned[:2]:
        process.messages = [Died("node lost", is_own_fault=False)]
    assert [message for _, message in pool.poll(0)] == [Died("worker died (node lost)")] * 2
    backend.count = 2
    pool.start(9)
    assert len(backend.spawned) == 4
    backend.count = 3
    pool.start(9)
    assert [process.slot for process in backend.spawned] == [0, 1, 2, 3, 0]


@pytest.mark.parametrize(("is_own_fault", "ends"), [(True, True), (False, False)])
def test_lost_nodes_do_not_count_as_failed_starts(is_own_fault: bool, ends: bool) -> None:
    backend = Shrinking(1)
    pool = WorkerPool(backend)
    ended = False
    try:
        for _ in range(9):
            pool.start(1)
            backend.spawned[-1].messages = [Died("gone", is_own_fault=is_own_fault)]
            list(pool.poll(0))
    except SearchError as error:
        assert "workers die before their first trial (gone): nothing logged" in str(error)
        ended = True
    assert ended == ends


@pytest.mark.parametrize(("messages", "ends"), [([], True), ([Beat(50)], True), ([Ready()], False)])
def test_workers_that_freeze_before_they_are_ready_end_the_search(
    messages: list[Message], ends: bool
) -> None:
    backend = Shrinking(1)
    pool = WorkerPool(backend, silence_seconds=40)
    ended = False
    try:
        for _ in range(9):
            pool.start(1)
            backend.spawned[-1].messages = list(messages)
            list(pool.poll(0))
            backend.spawned[-1].heard = time.monotonic() - 60
            ((_, message),) = list(pool.poll(0))
            assert isinstance(message, Died)
    except SearchError as error:
        assert "workers die before their first trial (silent for 6" in str(error)
        ended = True
    assert ended == ends
    assert len(backend.spawned) == (3 if ends else 9)


def test_a_worker_that_is_used_up_or_too_large_is_replaced() -> None:
    backend = Shrinking(1)
    pool = WorkerPool(backend, max_memory_mb=100)
    order = Train(number=0, seed=0, max_epochs=1, epochs=1)
    for trials, memory_mb, left in ((0, 500, 1), (1, 50, 1), (1, 500, 0), (25, 50, 0)):
        pool.start(1)
        backend.spawned[-1].messages = [Ready(), Beat(memory_mb)]
        (worker, _), _ = list(pool.poll(0))
        for _ in range(trials):
            worker.send(order)
        assert len(pool.idle({worker: None})) == 0
        assert len(pool.idle({})) == left
        pool.close()


def test_every_worker_is_killed_before_the_end_of_one_is_waited_for() -> None:
    backend = Shrinking(3)
    pool = WorkerPool(backend)
    pool.start(3)
    order: list[bool] = []
    for process in backend.spawned:
        process.killed = order
    pool.close()
    assert order == [False] * 3 + [True] * 3
