"""Limits of the system that workers meet: the one that ended a worker is named."""

import re
import resource
from collections.abc import Iterator
from pathlib import Path

import pytest

from search.errors import SearchError, SettingsError
from search.workers.keras_trainer import WorkerSettings
from search.workers.limits import exit_words, require_room
from search.workers.pool import make_pool
from tests.search.simulated import SimulatedTrainer, no_images

MB = 10**6


@pytest.fixture
def soft_limit() -> Iterator[list[tuple[int, tuple[int, int]]]]:
    """Takes the limits that a test has changed, and restores them."""
    before: list[tuple[int, tuple[int, int]]] = []
    yield before
    for kind, limits in before:
        resource.setrlimit(kind, limits)


def limit(before: list[tuple[int, tuple[int, int]]], kind: int, value: int) -> None:
    soft, hard = resource.getrlimit(kind)
    before.append((kind, (soft, hard)))
    resource.setrlimit(kind, (value, hard))


@pytest.mark.parametrize(
    ("code", "words"),
    [
        (1, "exit code 1"),
        (0, "exit code 0"),
        (None, "exit code None"),
        (-11, "signal 11 SIGSEGV"),
        (-9, "signal 9 SIGKILL, as when memory runs out"),
    ],
)
def test_without_a_limit_only_sigkill_points_to_memory(
    tmp_path: Path, code: int | None, words: str
) -> None:
    assert exit_words(code, tmp_path) == words


@pytest.mark.parametrize(
    ("groups", "file"),
    [
        ("0::/user/search.scope\n", "user/search.scope/memory.max"),
        ("0::/user/search.scope\n", "user/memory.max"),
        ("0::/\n", "memory.max"),
        ("3:cpu:/a\n2:memory:/docker/42\n", "memory/docker/42/memory.limit_in_bytes"),
        ("2:memory:/docker/42\n", "memory/memory.limit_in_bytes"),
    ],
)
def test_the_memory_limit_of_a_control_group_is_named(
    tmp_path: Path, groups: str, file: str
) -> None:
    for name, content in (
        ("proc/self/cgroup", groups),
        (f"sys/fs/cgroup/{file}", f"{500 * MB}\n"),
        ("sys/fs/cgroup/cpu/a/memory.max", "1\n"),
    ):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(content)
    words = "signal 9 SIGKILL, as when memory runs out; the limit of its cgroup is 500 MB"
    assert exit_words(-9, tmp_path) == words
    assert exit_words(1, tmp_path) == "exit code 1"
    for no_limit in ("max\n", "9223372036854771712\n"):
        (tmp_path / "sys/fs/cgroup" / file).write_text(no_limit)
        assert exit_words(-9, tmp_path) == "signal 9 SIGKILL, as when memory runs out"


def test_a_limit_of_the_shell_is_named_however_a_worker_ends(
    tmp_path: Path, soft_limit: list[tuple[int, tuple[int, int]]]
) -> None:
    limit(soft_limit, resource.RLIMIT_AS, 900_000 * MB)
    for code, words in ((1, "exit code 1"), (-6, "signal 6 SIGABRT")):
        said = exit_words(code, tmp_path)
        assert said == f"{words}; `ulimit -v` limits a process to 900,000 MB"


def test_too_few_open_files_are_an_error_that_says_how_many_workers_fit(
    tmp_path: Path, soft_limit: list[tuple[int, tuple[int, int]]]
) -> None:
    pool = make_pool(
        WorkerSettings(space="slow", load_split=no_images, precision="float32"),
        count=24,
        log_dir=tmp_path,
        trainer_class=SimulatedTrainer,
    )
    used = len(list(Path("/proc/self/fd").iterdir()))
    limit(soft_limit, resource.RLIMIT_NOFILE, used + 25)
    try:
        with pytest.raises(SearchError) as refused:
            pool.start(24)
    finally:
        pool.close()
    said = re.fullmatch(
        r"worker (\d+) of 24 cannot be started: `ulimit -n` allows (\d+) open files. Raise it, or "
        r"use --workers (\d+).",
        str(refused.value),
    )
    assert said is not None, refused.value
    number, files, fitting = map(int, said.groups())
    assert (files, fitting) == (used + 25, number - 1)


@pytest.mark.parametrize(
    ("count", "free_mb", "words"),
    [
        (9999, 1e6, r"^--workers is 9999; on 2 cores it must be 8 or less\. Leave it out"),
        (6, 3000, r"^--workers is 6, .* about 5,400 MB .*; 3,000 MB are free\. Use 3 or fewer"),
        (6, 100, r"Use 2 or fewer, or free memory\.$"),
    ],
)
def test_more_workers_than_cores_or_memory_carry_are_refused(
    count: int, free_mb: float, words: str
) -> None:
    with pytest.raises(SettingsError, match=words):
        require_room(count, 2, free_mb)


def test_as_many_workers_as_cores_are_allowed_whatever_is_free() -> None:
    require_room(2, 2, 0)
    require_room(8, 2, 7200)
