"""The search command in the process of the tests, over workers that train by a formula."""

import io
import signal
import subprocess
import sys
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any

import pytest

from run_search import main
from search.command_line.process import STOP_SIGNALS
from search.workers.keras_trainer import WorkerSettings
from search.workers.local import workers_here
from search.workers.pool import WorkerPool
from tests.command_line import command, environment, exit_code
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
    0.5 s. No process is started, which takes 3 s, and no TensorFlow, which takes 8.

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

    out, errors = io.StringIO(), io.StringIO()
    handlers = {number: signal.getsignal(number) for number in STOP_SIGNALS}
    try:
        with pytest.MonkeyPatch.context() as patch, redirect_stdout(out), redirect_stderr(errors):
            patch.chdir(directory)
            patch.setattr(sys, "argv", command(*flags)[1:])
            for name in ("FASHION_MNIST_DIR", "PATH"):
                patch.setenv(name, environment(data)[name])
            patch.setattr("search.run.make_workers", make_workers)
            patch.setattr("search.dry_run.make_workers", make_workers)
            patch.setattr("search.dry_run.explore", lambda *arguments: EXPLORED)
            code = exit_code(main, *flags)
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
    return subprocess.CompletedProcess(flags, code, out.getvalue(), errors.getvalue())
