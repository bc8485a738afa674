"""Measure what a study of many trials costs the coordinator and the dashboard.

python -m benchmarks.large_study                     # 10,000 and 100,000 made-up trials
"""

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import optuna
from rich.console import Console
from rich.table import Table

from benchmarks.report import ROOT, make_study
from search.training.hardware import machine

# Each runs in a separate process, which reports its memory at the end.
_OPENING = """
import json, psutil, sys, time
from pathlib import Path
import optuna
import search.run
from search.engines.optuna_engine import OptunaEngine
from optuna_dashboard import save_note
from search.study.storage import open_storage

began = time.process_time()
study = optuna.load_study(study_name="large", storage=open_storage(Path(sys.argv[1]), None))
trials = study.get_trials(deepcopy=False)
seconds = {"open": time.process_time() - began}
"""
_COORDINATOR = """
from benchmarks.sleeping import Questions
from spaces.baselines import PUBLISHED_FOR
from spaces.cnn import CnnConfig
engine = OptunaEngine(study, sampler="tpe", pruner="hyperband", seed=0, max_epochs=8)
for name in ("first", "ask"):  # the first one reads what the later ones know
    began = time.process_time()
    trial = engine.ask()
    CnnConfig.sample(
        Questions(lambda name, distribution: engine.suggest(trial, name, distribution)),
        PUBLISHED_FOR,
    )
    engine.duplicate_of(trial)
    seconds[name] = time.process_time() - began
    began = time.process_time()
    for epoch in (1, 2, 3):
        engine.report(trial, epoch, 0.9 + 0.01 * epoch)
    seconds["epoch"] = (time.process_time() - began) / 3
    began = time.process_time()
    save_note(trial, "x" * 1000)
    engine.complete(trial, 0.93)
    seconds["end"] = time.process_time() - began
"""
_DASHBOARD = """
import wsgiref.util
from optuna_dashboard import wsgi
application = wsgi(study._storage)
def get(path):
    environ = {"PATH_INFO": path, "REQUEST_METHOD": "GET"}
    wsgiref.util.setup_testing_defaults(environ)
    return b"".join(application(environ, lambda *answer: None))
began = time.process_time()
size = len(get(f"/api/studies/{study._study_id}"))
seconds |= {"page": time.process_time() - began, "page_mb": size / 1e6}
"""
_TELLING = """
seconds["memory_mb"] = psutil.Process().memory_info().rss / 1e6
print(json.dumps(seconds))
"""


def _measured(part: str, journal: Path) -> dict[str, Any]:
    ran = subprocess.run(
        [sys.executable, "-c", _OPENING + part + _TELLING, str(journal)],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    measured: dict[str, Any] = json.loads(ran.stdout.splitlines()[-1])
    return measured


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--trials", type=int, nargs="+", default=[10_000, 100_000])
    flags = parser.parse_args()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    table = Table(
        *("trials", "journal MB", "open, CPU s", "propose, CPU s", "an epoch, CPU s", "end, CPU s"),
        *("coordinator MB", "dashboard page, CPU s", "page MB", "dashboard MB"),
    )
    for trials in flags.trials:
        with tempfile.TemporaryDirectory() as folder:
            make_study(Path(folder) / "large", trials, val_size=10_000)
            journal = Path(folder) / "large" / "study.journal"
            dashboard = _measured(_DASHBOARD, journal)
            coordinator = _measured(_COORDINATOR, journal)
            table.add_row(
                f"{trials:,}",
                f"{journal.stat().st_size / 1e6:,.0f}",
                f"{coordinator['open']:.1f}",
                f"{coordinator['ask']:.3f}",
                f"{coordinator['epoch']:.4f}",
                f"{coordinator['end']:.4f}",
                f"{coordinator['memory_mb']:,.0f}",
                f"{dashboard['page']:.1f}",
                f"{dashboard['page_mb']:,.0f}",
                f"{dashboard['memory_mb']:,.0f}",
            )
    console = Console(width=max(150, Console().width))
    console.print("made-up trials of the cnn space in a journal, n = 1; TPE, Hyperband's pruner")
    console.print(table)
    console.print(machine())


if __name__ == "__main__":
    main()
