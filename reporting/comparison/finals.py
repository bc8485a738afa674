"""The final trainings of a study's winner, as its report has kept them, under one protocol."""

import reprlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pandas as pd

from predicting.archive import ModelError
from predicting.config import CONFIG_FILE, read_config, read_content
from reporting.drawing.style import counted
from reporting.evidence import Row, make_row
from reporting.final_model import BEST_MODEL_FILE
from reporting.plan import TUNED, Candidate, Entry
from reporting.readout import HIGHEST_TEMPERATURE, LOWEST_TEMPERATURE, Readout
from reporting.retraining import Folders, Retrained, Retraining
from reporting.scoring import SCORES_FILE, Scores, stored_scores
from reporting.settings import ReportSettings
from reporting.shared import FOLDER
from reporting.study_tables import Record
from search.escape import csv_text
from search.study.facts import is_number, is_whole, split_sizes
from search.study.provenance import command_line
from search.workers.messages import Images
from spaces.errors import shown

_AUGMENTATION: Final = "augmentation"
_ROUNDING: Final = 1e-9


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingProtocol:
    """What final trainings must share, so that their test accuracies can be compared.

    Args:
        study: Name of the study that it was taken from.
        epochs: Epochs of each training.
        seeds: Number of trainings.
        images: Number of images that each was trained on; None: all of the training part.
        test: Digest of the test split.
    """

    study: str
    epochs: int
    seeds: int
    images: int | None
    test: str


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Finals:
    """The final trainings of a winner, with their test results.

    Args:
        candidate: The winner: a trial, as it was or with another augmentation.
        row: Its parameters, accuracies and costs.
        protocol: How they were trained.
    """

    candidate: Candidate
    row: Row
    protocol: TrainingProtocol


class NoFinalsError(Exception):
    """Why a study has no place on the leaderboard; the message is a phrase without a full stop."""


class _MissingError(Exception):
    """What is missing and a report would make; a phrase without a full stop."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Reported:
    """What a report says of its winner.

    Args:
        candidate: The winner.
        readout: How outputs of its final trainings become probabilities.
        epochs: Epochs of its final trainings.
        seeds: Seed of each.
        accuracies: Test accuracy of each.
        labels: (n,) class of each test image.
        classes: Number of classes.
    """

    candidate: Candidate
    readout: Readout
    epochs: int
    seeds: list[int]
    accuracies: list[float]
    labels: npt.NDArray[np.uint8]
    classes: int


def read_finals(record: Record, wanted: TrainingProtocol | None, url: str | None) -> Finals:
    """Read the final trainings of a study's winner; nothing is trained or scored.

    Args:
        record: The study.
        wanted: The protocol of the comparison; None: that of the study's report.
        url: Database of the study; None: its journal.

    Raises:
        NoFinalsError: There are none under this protocol.
    """
    again = _again(record, wanted, url)
    try:
        reported = _read_report(record)
        if wanted:
            _require_same(record, reported, wanted)
        count = wanted.seeds if wanted else len(reported.seeds)
        kept = [_read_training(record, seed, reported) for seed in reported.seeds[:count]]
        row = make_row(
            Entry(name=TUNED, params=reported.candidate.params, retrainings=[]),
            "tuned",
            kept,
            reported.labels,
            gap="",
            readout=reported.readout,
        )
        found = row.correct.mean(axis=1)
        if not np.allclose(found, reported.accuracies[:count], rtol=0, atol=_ROUNDING):
            raise _MissingError("its report and its kept test results differ")
        tests = {scores.part for _, scores in kept}
        if len(tests) > 1 or (wanted is not None and tests != {wanted.test}):
            raise _MissingError("it was scored on other test images")
    except _MissingError as error:
        raise NoFinalsError(f"{error}; {again}") from error
    return Finals(
        candidate=reported.candidate,
        row=row,
        protocol=TrainingProtocol(
            study=record.name,
            epochs=reported.epochs,
            seeds=count,
            images=_images(record),
            test=tests.pop(),
        ),
    )


def _read_report(record: Record) -> _Reported:
    folder = record.directory / "report"
    if not (folder / CONFIG_FILE).exists():
        raise _MissingError("it has no report with test results")
    try:
        config, content = read_config(folder / BEST_MODEL_FILE), read_content(folder / CONFIG_FILE)
        classes = config.class_names
        labels = _read_labels(folder / "predictions.csv", classes)
    except (ModelError, OSError, ValueError) as error:
        raise _MissingError(f"its report is damaged ({error})") from error
    assert content is not None
    _check(record, content)
    trial, params = content["trial"], content["params"]
    own, augmentation = record.trial_params(trial), params.get(_AUGMENTATION)
    return _Reported(
        candidate=Candidate(
            number=trial,
            value=float(record.complete.loc[trial, "value"]),
            params=params,
            augmentation=None if augmentation == own.get(_AUGMENTATION) else augmentation,
            retrainings=[],
        ),
        readout=_readout(content["model"]),
        epochs=content["epochs"],
        seeds=content["seeds"],
        accuracies=content["test_accuracy"],
        labels=labels,
        classes=len(classes),
    )


def _check(record: Record, content: Mapping[str, Any]) -> None:
    """Refuse a `best_config.json` that lacks a value, or holds one that breaks its rule."""
    rules: tuple[tuple[str, Callable[[Any], bool], str], ...] = (
        (
            "trial",
            lambda value: is_whole(value) and value in record.complete.index,
            "the number of a complete trial",
        ),
        ("params", lambda value: isinstance(value, dict), "an object"),
        ("epochs", lambda value: is_whole(value, 1), "a whole number from 1"),
        ("seeds", _are_seeds, "a list of different whole numbers from 0"),
        (
            "test_accuracy",
            lambda value: _are_accuracies(value, len(content["seeds"])),
            "a list of a number for each seed",
        ),
        (
            "model",
            _is_model,
            f"an object, its temperature a number from {LOWEST_TEMPERATURE:g} to "
            f"{HIGHEST_TEMPERATURE:g} and mirror_averaged true or false",
        ),
    )
    for name, allowed, rule in rules:
        if name not in content:
            raise _MissingError(f"its {CONFIG_FILE} has no {name}")
        if not allowed(content[name]):
            raise _MissingError(
                f"its {CONFIG_FILE} is damaged or of another study: {name} is "
                f"{shown(reprlib.repr(content[name]))}; it must be {rule}"
            )


def _are_seeds(value: Any) -> bool:
    return (
        isinstance(value, list)
        and len(value) > 0
        and all(map(is_whole, value))
        and len(set(value)) == len(value)
    )


def _are_accuracies(value: Any, count: int) -> bool:
    return isinstance(value, list) and len(value) == count and all(map(is_number, value))


def _is_model(value: Any) -> bool:
    if not isinstance(value, dict):
        return False
    temperature, mirror = value.get("temperature", 1.0), value.get("mirror_averaged", False)
    return (
        is_number(temperature)
        and LOWEST_TEMPERATURE <= temperature <= HIGHEST_TEMPERATURE
        and isinstance(mirror, bool)
    )


def _readout(model: Mapping[str, Any]) -> Readout:
    """Return how a report reads its winner's outputs; without these values: as they are."""
    return Readout(
        mirror=model.get("mirror_averaged", False), temperature=float(model.get("temperature", 1))
    )


def _read_labels(file: Path, classes: Sequence[str]) -> npt.NDArray[np.uint8]:
    """Read the labels of the test images.

    Raises:
        OSError: The file cannot be read.
        ValueError: It has no labels, or one that is no class.
    """
    column = pd.read_csv(file, usecols=["label"], dtype=str, keep_default_na=False)["label"]
    known = {csv_text(name): index for index, name in enumerate(classes)}
    try:
        return np.array([known[label] for label in column], dtype=np.uint8)
    except KeyError as error:
        raise ValueError(f"{file} has the label {error}, which is no class") from None


def _require_same(record: Record, reported: _Reported, wanted: TrainingProtocol) -> None:
    """Refuse final trainings that the others cannot be compared with."""
    images = _images(record)
    if images != wanted.images:
        raise NoFinalsError(
            f"its winner was trained on {_images_words(images)}, that of {wanted.study} on "
            f"{_images_words(wanted.images)}"
        )
    if reported.epochs != wanted.epochs:
        raise _MissingError(
            f"its winner was trained for {counted(reported.epochs, 'epoch')}, that of "
            f"{wanted.study} for {wanted.epochs}"
        )
    if len(reported.seeds) < wanted.seeds:
        raise _MissingError(
            f"its winner was trained with {counted(len(reported.seeds), 'seed')}, that of "
            f"{wanted.study} with {wanted.seeds}"
        )


def _read_training(record: Record, seed: int, reported: _Reported) -> tuple[Retrained, Scores]:
    facts = record.facts
    folders = Folders(record.directory / "retrainings", record.directory.parent / FOLDER)
    kept = folders.load(
        Retraining(
            space=record.space,
            params=reported.candidate.params,
            seed=seed,
            epochs=reported.epochs,
            images=Images.ALL,
            data=facts["data"],
            sizes=split_sizes(facts["split"]),
            precision=facts["precision"],
            # A winner that equals a baseline may have been trained as one.
            shared=True,
        )
    )
    if kept is None:
        raise _MissingError(f"the final training with seed {seed} is not kept")
    scores = stored_scores(kept.folder / SCORES_FILE, (len(reported.labels), reported.classes))
    if scores is None or (reported.readout.mirror and scores.mirrored is None):
        raise _MissingError(f"the final training with seed {seed} has no test results")
    return kept, scores


def _images(record: Record) -> int | None:
    """Return how many images a final training is on: training and validation ones together."""
    sizes = split_sizes(record.facts["split"])
    return None if sizes.train is None else sizes.train + sizes.val


def _images_words(images: int | None) -> str:
    return "all images" if images is None else counted(images, "image")


def _again(record: Record, wanted: TrainingProtocol | None, url: str | None) -> str:
    """Return in words what makes the missing results."""
    command = ["report.py", "--study", record.name]
    if record.directory.parent != ReportSettings().results_dir:
        command += ["--results-dir", str(record.directory.parent)]
    if url is not None:
        command += ["--storage", url]  # whose password is then hidden
    if ":" in record.space:
        command += ["--space", record.space]
    if wanted is not None:
        command += ["--epochs", str(wanted.epochs), "--seeds", str(wanted.seeds)]
    return f"run {command_line(command)}"
