"""What the workers' room knows of its machine, and what it says when no worker can start."""

import os
import sys
from pathlib import Path

import pytest

from search.errors import SearchError
from search.local_workers import LocalWorkers, available_cores
from search.worker import Link, Trainer, WorkerSettings
from tests.search.simulated import no_images


@pytest.mark.parametrize(
    ("content", "cores"),
    [
        ("100000 100000\n", 1),
        ("50000 100000\n", 1),
        ("max 100000\n", None),
        ("99900000 100000", None),
    ],
)
def test_a_container_quota_limits_the_cores(
    tmp_path: Path, content: str, cores: int | None
) -> None:
    (tmp_path / "cpu.max").write_text(content)
    assert available_cores(tmp_path / "cpu.max") == (cores or len(os.sched_getaffinity(0)))


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
