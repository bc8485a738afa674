"""Trainings of given configurations, and their results, which are kept for good.

A retraining is an ordinary trial with given hyperparameters. A finished one is kept in
results/STUDY/retrainings/KEY/, or in results/.baselines/KEY/ if it is a baseline, and is not
repeated, unless the module of a user's space has changed since.
"""

import hashlib
import json
import os
import shutil
import zipfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final, Self

from reporting.shared import shared_key
from reporting.views import Views
from search.data.split import SplitSizes
from search.files import read_limited, replace_folder
from search.study.facts import is_number, is_whole
from search.training.hardware import Precision
from search.workers.messages import (
    Failed,
    Images,
    Train,
)

MODEL_FILE: Final = "model.keras"
_RECORD_FILE: Final = "record.json"
PARTIAL: Final = ".partial-"


@dataclass(frozen=True, slots=True, kw_only=True)
class Retraining:
    """One training of one configuration with one seed.

    Args:
        space: Name of the space, as `spaces.load_space` takes it.
        params: Hyperparameter values by name.
        seed: 0 or more.
        epochs: 1 or more; learning-rate schedules are stretched to them.
        images: Images to train on.
        data: Fingerprint of the training files.
        sizes: Sizes of the training and the validation part.
        precision: Number format in which the model trains.
        pixels: Statistics of the study by which the network normalizes images; None: not at all.
        objective: What the search maximized; not part of the key, as a study has one.
        label: Name in messages; not part of the key.
        startup_seconds: Expected time before the first epoch; not part of the key.
        epoch_seconds: Expected time of one epoch, above 0; not part of the key.
        shared: Whether all studies of a results folder share the result, as for a baseline that is
            trained on all images; not part of the key.
        teachers: Networks whose predictions it learns besides the labels; None: labels alone.
        code: Digest of the module of a user's space; not part of the key. A kept training of other
            code is repeated. None: unknown, so that any is taken.
    """

    space: str
    params: Mapping[str, Any]
    seed: int
    epochs: int
    images: Images
    data: str
    sizes: SplitSizes
    precision: Precision
    pixels: Mapping[str, Any] | None = None
    objective: str = "accuracy"
    label: str = ""
    startup_seconds: float = 0.0
    epoch_seconds: float = 1.0
    shared: bool = False
    teachers: "Teachers | None" = None
    code: str | None = None

    @property
    def key(self) -> str:
        """Name of the folder in a study; equal for two whose results would be equal."""
        train = "all other" if self.sizes.train is None else f"{self.sizes.train:,}"
        content: dict[str, Any] = {
            "space": self.space,
            "params": dict(self.params),
            "seed": self.seed,
            "epochs": self.epochs,
            "part": str(self.images),
            "data": self.data,
            # Names and wording are those of the first version, so that its folders are found.
            "split": f"stratified, fixed: {self.sizes.val:,} validation images, "
            f"{train} for training",
            "precision": self.precision,
        }
        if self.pixels is not None:  # the first version knew none
            content["pixels"] = self.pixels
        if self.teachers is not None:
            content["teachers"] = self.teachers.digest
        encoded = json.dumps(content, sort_keys=True).encode()
        return hashlib.sha256(encoded).hexdigest()[:16]

    @property
    def shared_key(self) -> str:
        """Name of the folder that studies share."""
        sizes = self.sizes
        pixels = self.pixels or {"normalized": False}
        return shared_key(
            {
                "space": self.space,
                "params": dict(self.params),
                "seed": self.seed,
                "epochs": self.epochs,
                "data": self.data,
                # All images are the same ones, however many of them a study validates on.
                "images": None if sizes.train is None else [sizes.train, sizes.val],
                "precision": self.precision,
                # Baselines are not whitened.
                "normalized": [pixels["mean"], pixels["deviation"]]
                if pixels.get("normalized", True)
                else None,
            }
        )

    @property
    def seconds(self) -> float:
        """Expected time of the whole training."""
        return self.seconds_until(self.epochs)

    def seconds_until(self, epoch: int) -> float:
        """Return the expected time until the end of an epoch, from 1; 0: before the start."""
        return self.startup_seconds + epoch * self.epoch_seconds if epoch else 0.0

    def order(self) -> Train:
        """Return the message that tells a worker to run it."""
        return Train(
            number=None,
            seed=self.seed,
            max_epochs=self.epochs,
            epochs=self.epochs,
            params=self.params,
            images=self.images,
            keep_model=True,
            objective=self.objective,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Retrained:
    """A finished retraining.

    Args:
        folder: Contains `model.keras`: stock Keras, float32.
        seed: Random seed of the training.
        parameters: Number of weights.
        history: One entry for each epoch, as `search.training.loop` gives it; without `val_...`
            if it was trained on all images.
        train_seconds: Wall time in training steps.
        cpu_seconds: Processor time of the whole training, user and system.
        val_accuracy: Value of the objective after the last epoch; None if it was trained on all
            images.
        origin: Commit, machine and versions that it was made with, and the code of a user's space.
        digest: SHA-256 of the model, once it is saved or loaded; not part of the record.

    Raises:
        ValueError: A value is of another kind: the record is damaged.
    """

    folder: Path
    seed: int
    parameters: int
    history: list[dict[str, float]]
    train_seconds: float
    cpu_seconds: float
    val_accuracy: float | None
    origin: dict[str, str]
    digest: str = ""

    def __post_init__(self) -> None:
        costs = (self.train_seconds, self.cpu_seconds)
        sound = (
            is_whole(self.seed)
            and is_whole(self.parameters)
            and all(is_number(value) and value >= 0 for value in costs)
            and (self.val_accuracy is None or is_number(self.val_accuracy))
            and isinstance(self.history, list)
            and len(self.history) > 0
            and all(map(_is_entry, self.history))
            and isinstance(self.origin, dict)
            and all(isinstance(value, str) for value in self.origin.values())
        )
        if not sound:
            raise ValueError(f"{self.folder} has another record than a retraining writes")

    @classmethod
    def load(cls, folder: Path) -> Self | None:
        """Load what a folder contains; None if it is missing or damaged."""
        try:
            record = json.loads(read_limited(folder / _RECORD_FILE))
            if not zipfile.is_zipfile(folder / MODEL_FILE):
                return None
            with (folder / MODEL_FILE).open("rb") as model:
                digest = hashlib.file_digest(model, "sha256").hexdigest()
            return cls(folder=folder, digest=digest, **record)
        except (OSError, ValueError, TypeError, RecursionError):
            return None

    def save(self, model: bytes) -> Self:
        """Write record and model to `folder`, both or neither; return it with its digest.

        Args:
            model: Content of a `.keras` file.

        Raises:
            OSError: The folder cannot be written.
        """
        partial_folder = self.folder.with_name(f"{PARTIAL}{self.folder.name}-{os.getpid()}")
        old = partial_folder.with_name(f"{partial_folder.name}-old")
        for left in (partial_folder, old):
            shutil.rmtree(left, ignore_errors=True)
        partial_folder.mkdir(parents=True)
        try:
            record = asdict(self)
            del record["folder"], record["digest"]
            (partial_folder / _RECORD_FILE).write_text(json.dumps(record))
            (partial_folder / MODEL_FILE).write_bytes(model)
            # After a power cut the renamed folder must not be empty.
            for file in (*partial_folder.iterdir(), partial_folder):
                _flush(file)
            replace_folder(partial_folder, self.folder, aside=old)
        finally:
            for left in (partial_folder, old):
                shutil.rmtree(left, ignore_errors=True)
        return replace(self, digest=hashlib.sha256(model).hexdigest())


@dataclass(frozen=True, slots=True)
class Teachers:
    """Trainings of the winner that a distilled network learns from.

    Args:
        finals: Its finished final trainings, whose mean prediction is learned.
        candidates: Its finished retrainings on the training part, whose predictions for the
            validation images decide how outputs become probabilities.
        views: The views of an image that are tried.
    """

    finals: tuple[Retrained, ...]
    candidates: tuple[Retrained, ...]
    views: Views

    @property
    def digest(self) -> str:
        """Digest of everything that determines their predictions, and so the distilled network."""
        digest = hashlib.sha256(f"{self.views}\n".encode())
        for part in (self.finals, self.candidates):
            digest.update(f"{len(part)}\n".encode())
            for one in part:
                digest.update(bytes.fromhex(one.digest))
        return digest.hexdigest()


Results = Mapping[str, Retrained | Failed]  # by the key of the retraining
Due = Callable[[Results], Sequence[Retraining]]
NONE: Final[Results] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Folders:
    """Where finished retrainings are kept, one folder each.

    Args:
        study: Those of one study.
        shared: Those that all studies of a results folder share.
    """

    study: Path
    shared: Path

    def of(self, one: Retraining) -> Path:
        """Return the folder to keep a retraining in."""
        return self.shared / one.shared_key if one.shared else self.study / one.key

    def load(self, one: Retraining) -> Retrained | None:
        """Return a kept retraining; None if there is none, or another one in its folder."""
        # Earlier versions kept baselines with the other retrainings of a study.
        for folder in dict.fromkeys((self.study / one.key, self.of(one))):
            kept = Retrained.load(folder)
            validated = one.images is Images.TRAINING
            if (
                kept is not None
                and kept.seed == one.seed
                and validated == (kept.val_accuracy is not None)
                and not _is_outdated(kept, one)
            ):
                return kept
        return None

    def outdated(self, due: Iterable[Retraining]) -> int:
        """Return how many of these were trained before the module of their space changed."""
        kept = ((Retrained.load(self.study / one.key), one) for one in due)
        return sum(found is not None and _is_outdated(found, one) for found, one in kept)


def _is_outdated(kept: Retrained, wanted: Retraining) -> bool:
    code = wanted.code
    return code is not None and kept.origin.get("code", code) != code


def by_key(retrainings: Iterable[Retraining]) -> dict[str, Retraining]:
    """Return retrainings by key, in order; for equal keys, the first one.

    So a winner that equals a baseline is kept with its study, and the baseline is found there.
    """
    found: dict[str, Retraining] = {}
    for one in retrainings:
        found.setdefault(one.key, one)
    return found


def load_kept(folders: Folders, due: Due, known: Results = NONE) -> Results:
    """Return the results, extended by due retrainings that earlier reports have kept.

    Args:
        folders: Where they are kept.
        due: Which to load; asked again after some are found, as the winner's follow from them.
        known: Results that need not be loaded.
    """
    results = dict(known)
    while found := _newly_kept(folders, due, results):
        results |= found
    return results


def _newly_kept(folders: Folders, due: Due, results: Results) -> dict[str, Retrained]:
    missing = by_key(one for one in due(results) if one.key not in results)
    found = {key: folders.load(one) for key, one in missing.items()}
    return {key: kept for key, kept in found.items() if kept is not None}


def _is_entry(entry: object) -> bool:
    """Return whether an entry of a history maps names to numbers; one that is NaN is allowed."""
    return isinstance(entry, dict) and all(
        isinstance(value, float) or is_whole(value) for value in entry.values()
    )


def _flush(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
