"""The file of recorded trainings: a line that describes them all, then a CSV row for each."""

import csv
import json
import os
import shlex
import sys
import time
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, Final

from search.engines.near_best import CHANGED
from search.training.hardware import (
    Precision,
    best_precision,
    machine,
    versions,
)

_COLUMNS: Final = (
    *("index", "name", "parameters", "first_cpu_seconds", "epoch_cpu_seconds", "val_accuracy"),
    "params",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Recording:
    """Conditions that all rows of a table share.

    Args:
        train_size: Training images.
        val_size: Validation images.
        epochs: Epochs of each training.
        seed: Seed of the draws and the trainings.
        near: Share of the draws that are near a first configuration.
        changed: Hyperparameters of it that these draw anew, on average.
        precision: Number format.
        first: Hyperparameters of the first rows, by name.
    """

    train_size: int
    val_size: int
    epochs: int
    seed: int
    near: float
    changed: float
    precision: Precision
    first: dict[str, dict[str, Any]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One training.

    Args:
        index: Number of the draw, from 0; of a first configuration, its place.
        name: Name of a first configuration; empty for a draw.
        parameters: Number of weights.
        first_cpu_seconds: CPU seconds of building the model and of the first epoch, in which
            TensorFlow compiles.
        epoch_cpu_seconds: Mean CPU seconds of the other epochs, with their validation.
        accuracies: Validation accuracy after each epoch, in [0, 1]; fewer than the recording's
            epochs if the training diverged or ran out of memory.
        params: Hyperparameters.
    """

    index: int
    name: str
    parameters: int
    first_cpu_seconds: float
    epoch_cpu_seconds: float
    accuracies: tuple[float, ...]
    params: dict[str, Any]

    def cpu_seconds(self, epochs: int) -> float:
        """Return the CPU seconds of the first epochs; at least those of one."""
        return self.first_cpu_seconds + max(0, epochs - 1) * self.epoch_cpu_seconds

    def is_whole(self, epochs: int) -> bool:
        """Whether it has all epochs of its recording."""
        return len(self.accuracies) == epochs

    def cells(self) -> list[Any]:
        """Return the row as the file has it."""
        return [
            *(self.index, self.name, self.parameters),
            *(round(self.first_cpu_seconds, 3), round(self.epoch_cpu_seconds, 3)),
            *(" ".join(f"{value:.4f}" for value in self.accuracies), json.dumps(self.params)),
        ]


def make_recording(
    *,
    train_size: int,
    val_size: int,
    epochs: int,
    seed: int,
    near: float,
    changed: float = CHANGED,
    precision: Precision | None = None,
) -> Recording:
    """Describe a table of the current space; by default in this machine's fastest precision."""
    from search.data.formats import open_dataset
    from spaces import first_configurations

    return Recording(
        train_size=train_size,
        val_size=val_size,
        epochs=epochs,
        seed=seed,
        near=near,
        changed=changed,
        precision=precision or best_precision(),
        first=first_configurations("cnn", open_dataset(None).shape),
    )


def read(table: Path) -> tuple[Recording, list[Row], dict[str, Any]]:
    """Return what a table holds, its rows, and where and how they were trained.

    Raises:
        SystemExit: An earlier version wrote it.
    """
    with table.open(newline="") as file:
        header = json.loads(file.readline().removeprefix("# "))
        known = {field.name for field in fields(Recording)}
        if missing := sorted(known - set(header)):
            raise SystemExit(
                f"{table} is of an earlier version (it has no {', '.join(missing)}); "
                "name another table."
            )
        recording = Recording(**{name: header.pop(name) for name in known})
        rows = [
            Row(
                index=int(cells["index"]),
                name=cells["name"],
                parameters=int(cells["parameters"]),
                first_cpu_seconds=float(cells["first_cpu_seconds"]),
                epoch_cpu_seconds=float(cells["epoch_cpu_seconds"]),
                accuracies=tuple(map(float, cells["val_accuracy"].split())),
                params=json.loads(cells["params"]),
            )
            for cells in csv.DictReader(file)
            if cells["params"]
        ]
    return recording, rows, header


def write_header(table: Path, recording: Recording) -> None:
    """Begin a table; say where and how its rows are trained."""
    facts = {
        "machine": machine(),
        "isa": os.environ.get("ONEDNN_MAX_CPU_ISA", "all"),
        "versions": versions(),
        "command": f"python -m benchmarks.{Path(sys.argv[0]).stem} {shlex.join(sys.argv[1:])}",
        "date": time.strftime("%Y-%m-%d"),
    }
    with table.open("w", newline="") as file:
        file.write(f"# {json.dumps(asdict(recording) | facts)}\n")
        csv.writer(file).writerow(_COLUMNS)


def append(table: Path, row: Row) -> None:
    """Add a row to a table."""
    with table.open("a", newline="") as file:
        csv.writer(file).writerow(row.cells())
