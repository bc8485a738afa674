"""Real worker processes that keep a retraining without training, and so without TensorFlow."""

import os
import time
import zipfile
from pathlib import Path
from typing import Any

from reporting.retraining.order import Retrained
from reporting.retraining.worker import Kept, Order, Unwritable
from search.workers.messages import Epoch, Failed
from search.workers.process import Link, WorkerSettings


class _Model:
    def save(self, path: Path) -> None:
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("config.json", "{}")


class SimulatedRetrainer:
    """In place of `Retrainer`: does what the order's `params` say under `behaviour`."""

    def __init__(self, link: Link, settings: WorkerSettings) -> None:
        self._link = link

    def run(self, order: Order) -> Kept | Unwritable | Failed:
        retraining = order.retraining
        behaviour: Any = retraining.params.get("behaviour", "")
        marker = order.folder.parent.parent / f"died-{retraining.key}"
        if behaviour == "fail":
            return Failed(reason="ValueError: simulated")
        if behaviour == "die" or (behaviour == "die once" and not marker.exists()):
            marker.write_text("")
            os.kill(os.getpid(), 9)
        value = float(retraining.params.get("quality", 0.5)) + 0.001 * (retraining.seed % 7)
        rows = []
        for epoch in range(1, retraining.epochs + 1):
            if behaviour == "slow":
                time.sleep(0.2)
            rows.append({"accuracy": value})
            if retraining.part == "train":
                rows[-1]["val_accuracy"] = value
            self._link.ask(Epoch(epoch, rows[-1]))
        log_file = order.folder.parent.parent / "log.txt"
        if behaviour == "unwritable":
            for _ in range(600):  # the disk fills up after another was kept
                if log_file.exists():
                    break
                time.sleep(0.05)
            return Unwritable("No space left on device")
        Retrained(
            folder=order.folder,
            seed=retraining.seed,
            parameters=10,
            history=rows,
            train_seconds=1.0,
            cpu_seconds=1.0,
            val_accuracy=value if retraining.part == "train" else None,
            origin={},
        ).save(_Model())
        with log_file.open("a") as log:
            log.write(f"{retraining.params.get('name')} {retraining.seed}\n")
        return Kept()
