"""Notes and files of trials for the dashboard, and checkpoints for later trials."""

import csv
import io
import re
import tempfile
from collections.abc import Container, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import optuna
from optuna.artifacts import FileSystemArtifactStore, upload_artifact

from search.escape import code_fence, markdown_code, markdown_line, markdown_words
from search.files import write_atomically
from search.study.facts import split_sizes, split_words
from search.study.objective import COSTS, Objectives, objectives_of

# The dashboard reads all notes for each trial of a page, which takes minutes with 10,000 trials and
# notes. The attributes of every trial hold the same facts.
NOTED_TRIALS: Final = 1_000


def _data_words(facts: Mapping[str, Any]) -> str:
    known = facts.get("dataset")
    if known is None:
        return "training files"
    shape = "x".join(map(str, known["image_shape"]))
    name = markdown_words(known["name"])
    return f"training part of {name}: {len(known['class_names'])} classes, images of {shape}"


def study_note(facts: Mapping[str, Any]) -> str:
    """Return the note of a study, in Markdown: data, settings, versions, commit and command.

    Args:
        facts: What the study stores.
    """
    settings = ", ".join(f"{name} {value}" for name, value in facts["settings"].items())
    versions = ", ".join(f"{name} {value}" for name, value in facts["versions"].items())
    rows = {
        "Objective": _objective_words(objectives_of(facts)),
        "Space": markdown_code(facts["space"]),
        "Data": f"{_data_words(facts)}, MD5 {facts['data']}; test part unopened",
        "Split": f"stratified, fixed: {split_words(split_sizes(facts['split']))}",
        "Engine": markdown_words(facts["engine"]),
        "Maximum epochs of a trial": facts["epochs"],
        "Precision": facts["precision"],
        "Settings": markdown_words(settings),
        "Machine": markdown_words(facts["machine"]),
        "Versions": markdown_words(versions),
        "Commit": markdown_code(facts["commit"]),
        "Command": markdown_code(facts["command"]),
    }
    return _table(rows)


def _objective_words(objectives: Objectives) -> str:
    maximized = f"{objectives.words} after the last epoch (higher is better)"
    return "; ".join(
        [maximized, *(f"{COSTS[name].words} (lower is better)" for name in objectives.minimized)]
    )


def trial_note(*, description: str, name: str | None, ended: str, attrs: Mapping[str, Any]) -> str:
    """Return the note of a trial, in Markdown: configuration, size, cost and ending.

    Args:
        description: The configuration in words.
        name: Name, if its configuration is one that the search began with.
        ended: How it ended.
        attrs: Attributes of the trial that are known so far.
    """
    rows: dict[str, Any] = {"Ended": markdown_words(ended)}
    if name is not None:
        rows["Known as"] = markdown_words(name)
    formats = {
        "parameters": ("Parameters", "{:,}"),
        "flops": ("FLOPs for one image", "{:,}"),
        "latency_ms": ("Milliseconds for one image, median", "{:.3g}"),
        "batch_latency_ms": ("Milliseconds per image in a batch, median", "{:.3g}"),
        "epochs": ("Epochs", "{}"),
        "seconds": ("Seconds", "{:.1f}"),
        "images_per_second": ("Images/s in training steps", "{:,.0f}"),
        "seed": ("Seed", "{}"),
        "attempts": ("Earlier attempts", "{}"),
    }
    for key, (label, form) in formats.items():
        if key in attrs:
            value = attrs[key]
            shown = "; ".join(value) if isinstance(value, list) else form.format(value)
            rows[label] = markdown_words(shown)
    # The dashboard breaks no lines.
    parts = re.split(r"; | \| ", description) if description else []
    note = "".join(f"- {markdown_line(part)}\n" for part in parts) + f"\n{_table(rows)}"
    traceback = attrs.get("traceback")
    if not traceback:
        return note
    fence = code_fence(traceback)
    return f"{note}\n{fence}\n{traceback}\n{fence}\n"


def history_csv(history: Sequence[Mapping[str, float]], initial_epoch: int) -> bytes:
    """Return the metrics of each epoch as a CSV file.

    Args:
        history: Metrics of each epoch, by name; not empty.
        initial_epoch: Epochs of the trial that this one continues.
    """
    names = list(dict.fromkeys(name for row in history for name in row))
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["epoch", *names])
    for epoch, row in enumerate(history, start=initial_epoch + 1):
        writer.writerow([epoch, *(f"{row[name]:.6g}" if name in row else "" for name in names)])
    return text.getvalue().encode()


def _table(rows: Mapping[str, Any]) -> str:
    lines = ["| | |", "|-|-|", *(f"| {name} | {value} |" for name, value in rows.items())]
    return "\n".join(lines) + "\n"


class Artifacts:
    """Files that the dashboard shows beside a trial.

    Args:
        directory: Created if it does not exist.
    """

    def __init__(self, directory: Path) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self.directory = directory
        self._store = FileSystemArtifactStore(str(directory))

    def add(self, trial: optuna.Trial, name: str, content: bytes) -> None:
        """Attach a file to a trial that has not ended yet."""
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / name
            file.write_bytes(content)
            upload_artifact(artifact_store=self._store, file_path=str(file), study_or_trial=trial)


class Checkpoints:
    """States of trainings that ended at an early budget, for trials that continue them.

    Args:
        directory: Holds one file for each; created with the first.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def save(self, number: int, checkpoint: bytes) -> None:
        """Store the checkpoint of a trial."""
        self._directory.mkdir(parents=True, exist_ok=True)
        write_atomically(self._file(number), checkpoint)

    def __contains__(self, number: object) -> bool:
        return isinstance(number, int) and self._file(number).exists()

    def load(self, number: int) -> bytes | None:
        """Return the checkpoint of a trial; None if there is none."""
        file = self._file(number)
        return file.read_bytes() if file.exists() else None

    def keep_only(self, numbers: Container[int]) -> None:
        """Remove the checkpoints of all other trials."""
        for file in self._directory.glob("*.npz"):
            # Other programs leave files too: macOS copies come with a `._12.npz`.
            if file.stem.isdecimal() and int(file.stem) not in numbers:
                file.unlink(missing_ok=True)

    def _file(self, number: int) -> Path:
        return self._directory / f"{number}.npz"
