"""What is trained for a report: an order, and the folder that keeps what came of it."""

import hashlib
import json
import os
import shutil
import tempfile
import zipfile
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final, Literal, Self

from search.training.hardware import Precision

# `train`: the search's training part, and validation on its validation part, as in a trial;
# `all`: both parts together, with nothing left to validate on.
Part = Literal["train", "all"]
MODEL_FILE: Final = "model.keras"
_RECORD_FILE: Final = "record.json"
_PARTIAL: Final = ".partial-"


@dataclass(frozen=True, slots=True, kw_only=True)
class Retraining:
    """One training of one configuration.

    Args:
        space: Name of the space, as `spaces.load_space` takes it.
        params: Hyperparameter values by name.
        seed: 0 or more.
        epochs: 1 or more; learning-rate schedules are stretched to them.
        part: What to train on.
        data: Fingerprint of the training files.
        split: How they are parted, in words.
        precision: Number format.
    """

    space: str
    params: Mapping[str, Any]
    seed: int
    epochs: int
    part: Part
    data: str
    split: str
    precision: Precision

    @property
    def key(self) -> str:
        """Names the folder: the same for two orders exactly if all that matters is the same."""
        content = json.dumps(asdict(self), sort_keys=True)
        return hashlib.sha256(content.encode()).hexdigest()[:16]


@dataclass(frozen=True, slots=True, kw_only=True)
class Retrained:
    """A finished retraining.

    Args:
        folder: Holds its model, `model.keras`: stock Keras, float32.
        seed: That it was trained with.
        parameters: Weights of the model.
        history: One entry for each epoch, as `search.training.loop` gives it; without `val_...`
            where nothing was left to validate on.
        train_seconds: Wall time in training steps.
        cpu_seconds: Processor time of the whole training, user and system.
        val_accuracy: After the last epoch; None where nothing was left to validate on.
        origin: Commit, machine and versions that it was made with.
    """

    folder: Path
    seed: int
    parameters: int
    history: list[dict[str, float]]
    train_seconds: float
    cpu_seconds: float
    val_accuracy: float | None
    origin: dict[str, str]

    @classmethod
    def load(cls, folder: Path) -> Self | None:
        """What the folder keeps; None if it is torn, or that training was never finished."""
        try:
            record = json.loads((folder / _RECORD_FILE).read_text())
            if not zipfile.is_zipfile(folder / MODEL_FILE):
                return None
            return cls(folder=folder, **record)
        except (OSError, ValueError, TypeError):
            return None

    def save(self, model: Any) -> None:
        """Put record and model into `folder`, both or neither.

        Raises:
            OSError: The folder cannot be written.
        """
        self.folder.parent.mkdir(parents=True, exist_ok=True)
        partial = Path(tempfile.mkdtemp(dir=self.folder.parent, prefix=_PARTIAL))
        try:
            model.save(partial / MODEL_FILE)
            record = {name: value for name, value in asdict(self).items() if name != "folder"}
            (partial / _RECORD_FILE).write_text(json.dumps(record))
            # A power cut after the renaming must not find the names without the contents.
            for file in (*partial.iterdir(), partial):
                _flush(file)
            if self.folder.exists():
                shutil.rmtree(self.folder)
            os.replace(partial, self.folder)
        finally:
            shutil.rmtree(partial, ignore_errors=True)


def remove_partial(directory: Path) -> None:
    """Remove what killed workers have left half written; only while no worker runs."""
    for partial in directory.glob(f"{_PARTIAL}*"):
        shutil.rmtree(partial, ignore_errors=True)


def _flush(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
