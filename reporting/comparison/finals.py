"""The final trainings of a study's winner, as its report has kept them, under one protocol."""

from collections.abc import Mapping, Sequence
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
from reporting.plan import FINAL_SEED, TUNED, Entry
from reporting.readout import HIGHEST_TEMPERATURE, LOWEST_TEMPERATURE, Readout
from reporting.retraining import Retrained, Retraining
from reporting.scoring import SCORES_FILE, Scores, stored_scores
from reporting.settings import ReportSettings
from reporting.study_tables import Record
from search.escape import csv_text
from search.study.facts import is_number, is_whole, split_sizes
from search.study.provenance import command_line
from search.study.study import trial_seed
from search.workers.messages import Images

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
        trial: Number of the winner.
        row: Its parameters, accuracies and costs.
        protocol: How they were trained.
    """

    trial: int
    row: Row
    protocol: TrainingProtocol


class NoFinalsError(Exception):
    """Why a study has no place on the leaderboard; the message is a phrase without a full stop."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Reported:
    """What a report says of its winner.

    Args:
        trial: Its number.
        params: Hyperparameter values of its final trainings.
        readout: How their outputs become probabilities.
        epochs: Epochs of its final trainings.
        accuracies: Test accuracy of each of them, by seed.
        labels: (n,) class of each test image.
        classes: Number of classes.
    """

    trial: int
    params: Mapping[str, Any]
    readout: Readout
    epochs: int
    accuracies: list[float]
    labels: npt.NDArray[np.uint8]
    classes: int


def read_finals(record: Record, wanted: TrainingProtocol | None) -> Finals:
    """Read the final trainings of a study's winner; nothing is trained or scored.

    Args:
        record: The study.
        wanted: The protocol of the comparison; None: that of the study's report.

    Raises:
        NoFinalsError: There are none under this protocol.
    """
    reported = _read_report(record)
    epochs = wanted.epochs if wanted else reported.epochs
    seeds = wanted.seeds if wanted else len(reported.accuracies)
    if wanted:
        _require_same(record, reported, wanted)
    kept = [_read_training(record, epochs, index, reported) for index in range(seeds)]
    row = make_row(
        Entry(name=TUNED, params=dict(reported.params), retrainings=[]),
        "tuned",
        kept,
        reported.labels,
        gap="",
        readout=reported.readout,
    )
    found = row.correct.mean(axis=1)
    if epochs == reported.epochs and not np.allclose(
        found, reported.accuracies[:seeds], rtol=0, atol=_ROUNDING
    ):
        raise NoFinalsError(f"its report and its kept test results differ; {_again(record)}")
    tests = {scores.test for _, scores in kept}
    if len(tests) > 1 or (wanted is not None and tests != {wanted.test}):
        raise NoFinalsError(f"it was scored on other test images; {_again(record)}")
    return Finals(
        trial=reported.trial,
        row=row,
        protocol=TrainingProtocol(
            study=record.name,
            epochs=epochs,
            seeds=seeds,
            images=_images(record),
            test=tests.pop(),
        ),
    )


def _read_report(record: Record) -> _Reported:
    folder = record.directory / "report"
    if not (folder / CONFIG_FILE).exists():
        raise NoFinalsError(f"it has no report with test results; {_again(record)}")
    try:
        config, content = read_config(folder / BEST_MODEL_FILE), read_content(folder / CONFIG_FILE)
        classes = config.class_names
        labels = _read_labels(folder / "predictions.csv", classes)
    except (ModelError, OSError, ValueError) as error:
        raise NoFinalsError(f"its report is damaged ({error}); {_again(record)}") from error
    assert content is not None
    trial: Any = content.get("trial")
    epochs: Any = content.get("epochs")
    accuracies: Any = content.get("test_accuracy")
    params: Any = content.get("params")
    readout = _readout(content.get("model"))
    sound = (
        is_whole(trial)
        and trial in record.complete.index
        and is_whole(epochs, 1)
        and isinstance(params, dict)
        and readout is not None
        and isinstance(accuracies, list)
        and len(accuracies) > 0
        and all(map(is_number, accuracies))
    )
    if not sound or readout is None:
        raise NoFinalsError(f"its report is damaged or of another study; {_again(record)}")
    return _Reported(
        trial=trial,
        params=params,
        readout=readout,
        epochs=epochs,
        accuracies=accuracies,
        labels=labels,
        classes=len(classes),
    )


def _readout(model: Any) -> Readout | None:
    """Return how a report reads its winner's outputs, from its `model` entry; None: damaged."""
    if not isinstance(model, dict):
        return None
    temperature, mirror = model.get("temperature", 1.0), model.get("mirror_averaged", False)
    if (
        not is_number(temperature)
        or not LOWEST_TEMPERATURE <= temperature <= HIGHEST_TEMPERATURE
        or not isinstance(mirror, bool)
    ):
        return None
    return Readout(mirror=mirror, temperature=float(temperature))


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
    asked = ["--epochs", str(wanted.epochs), "--seeds", str(wanted.seeds)]
    if reported.epochs != wanted.epochs:
        raise NoFinalsError(
            f"its winner was trained for {counted(reported.epochs, 'epoch')}, that of "
            f"{wanted.study} for {wanted.epochs}; {_again(record, *asked)}"
        )
    if len(reported.accuracies) < wanted.seeds:
        raise NoFinalsError(
            f"its winner was trained with {counted(len(reported.accuracies), 'seed')}, that of "
            f"{wanted.study} with {wanted.seeds}; {_again(record, *asked)}"
        )


def _read_training(
    record: Record, epochs: int, index: int, reported: _Reported
) -> tuple[Retrained, Scores]:
    facts = record.facts
    seed = trial_seed(int(facts.get("seed", 0)), FINAL_SEED + index)
    training = Retraining(
        space=record.space,
        params=reported.params,
        seed=seed,
        epochs=epochs,
        images=Images.ALL,
        data=facts["data"],
        sizes=split_sizes(facts["split"]),
        precision=facts["precision"],
    )
    folder = record.directory / "retrainings" / training.key
    kept = Retrained.load(folder)
    if kept is None:
        raise NoFinalsError(f"the final training with seed {seed} is not kept; {_again(record)}")
    scores = stored_scores(folder / SCORES_FILE, (len(reported.labels), reported.classes))
    if scores is None or (reported.readout.mirror and scores.mirrored is None):
        raise NoFinalsError(
            f"the final training with seed {seed} has no test results; {_again(record)}"
        )
    return kept, scores


def _images(record: Record) -> int | None:
    """Return how many images a final training is on: training and validation ones together."""
    sizes = split_sizes(record.facts["split"])
    return None if sizes.train is None else sizes.train + sizes.val


def _images_words(images: int | None) -> str:
    return "all images" if images is None else counted(images, "image")


def _again(record: Record, *flags: str) -> str:
    """Return in words what makes the missing results."""
    command = ["report.py", "--study", record.name]
    if record.directory.parent != ReportSettings().results_dir:
        command += ["--results-dir", str(record.directory.parent)]
    if ":" in record.space:
        command += ["--space", record.space]
    return f"run {command_line([*command, *flags])}"
