"""The search command in the process of the tests, over workers that train by a formula."""

import subprocess
from pathlib import Path
from typing import Any

import pytest

from run_search import main
from search.workers.keras_trainer import WorkerSettings
from search.workers.local import workers_here
from search.workers.pool import WorkerPool
from tests.command_line import call
from tests.search.simulated import SimulatedTrainer, no_images
from tests.search.threads import ThreadBackend

# What the exploring of a dry run finds: one hyperparameter in two scopes, and none to choose.
EXPLORED = [{"class_name": "Int", "config": {"name": "units"}}] * 2 + [
    {"class_name": "Fixed", "config": {"name": "kind"}}
]


def run_here(
    directory: Path, data: Path, *flags: str, orders: list[Any] | None = None
) -> subprocess.CompletedProcess[str]:
    """Run the search command in this process, over threads that train `mlp` by a formula.

    All else is real: flags, study, what is printed. A worker trains 100 images/s and starts in
    0.5 s. No TensorFlow is started, which takes 8 s.

    Args:
        directory: Its working directory.
        data: Folder of the IDX files.
        *flags: Of the command.
        orders: Takes the trials that the workers were given.
    """

    class Trainer(SimulatedTrainer):
        def run(self, order: Any) -> Any:
            if orders is not None:
                orders.append(order)
            return super().run(order)

    def make_workers(
        settings: Any, inputs: Any, precision: Any, cluster: Any, display: Any, log_dir: Path
    ) -> WorkerPool:
        log_dir.mkdir(parents=True, exist_ok=True)
        (log_dir / "worker-0.log").touch()  # as a process leaves it
        shared = WorkerSettings(space=settings.space, load_split=no_images, precision=precision)
        return WorkerPool(ThreadBackend(shared, Trainer, count=workers_here(settings.workers)))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("search.run.make_workers", make_workers)
        patch.setattr("search.dry_run.make_workers", make_workers)
        patch.setattr("search.dry_run.explore", lambda *arguments: EXPLORED)
        return call(main, directory, data, *flags, program="run_search.py")
