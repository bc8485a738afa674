"""Read what a study's report says about its winner; damaged files are refused."""

import io
import reprlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pandas as pd

from predicting.archive import ModelError
from predicting.config import CONFIG_FILE, read_config, read_content
from reporting.final_model import BEST_MODEL_FILE
from reporting.plan import Candidate
from reporting.readout import HIGHEST_TEMPERATURE, LOWEST_TEMPERATURE, Readout
from reporting.study_tables import Record
from reporting.views import Views
from search.data.split import SplitSizes
from search.escape import csv_text
from search.files import read_limited
from search.study.facts import is_number, is_whole
from spaces.errors import shown

_AUGMENTATION: Final = "augmentation"
_VIEWS: Final = ("mirror_averaged", "shift_averaged")
# Only where there is another rule than accuracy; not in reports of earlier versions.
_OPTIONAL: Final = ("rule", "train_size")
_MOST_PREDICTIONS: Final = 10**8  # bytes of predictions.csv


class MissingError(Exception):
    """Something that a new report would add is missing; a phrase without a full stop."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reported:
    """Facts of a report about its winner.

    Args:
        candidate: The winner.
        readout: How outputs of its final trainings become probabilities.
        epochs: Epochs of its final trainings.
        sizes: Sizes of the training and the validation part, which these join.
        seeds: Seed of each.
        accuracies: Test accuracy of each.
        labels: (n,) class of each test image.
        classes: Number of classes.
        rule: By what rule it was chosen, in words; empty: for its accuracy alone.
    """

    candidate: Candidate
    readout: Readout
    epochs: int
    sizes: SplitSizes
    seeds: list[int]
    accuracies: list[float]
    labels: npt.NDArray[np.uint8]
    classes: int
    rule: str = ""


def read_report(record: Record) -> Reported:
    """Read what a study's report says of its winner.

    Raises:
        MissingError: There is no report with test results, or a file of it is damaged.
    """
    folder = record.directory / "report"
    if not (folder / CONFIG_FILE).exists():
        raise MissingError("it has no report with test results")
    try:
        config, content = read_config(folder / BEST_MODEL_FILE), read_content(folder / CONFIG_FILE)
        classes = config.class_names
        labels = _read_labels(folder / "predictions.csv", classes)
    except (ModelError, OSError, ValueError) as error:
        raise MissingError(f"its report is damaged ({error})") from error
    assert content is not None
    _check(record, content)
    _refuse_earlier(content["model"])
    trial, params = content["trial"], content["params"]
    own, augmentation = record.trial_params(trial), params.get(_AUGMENTATION)
    return Reported(
        candidate=Candidate(
            number=trial,
            value=float(record.complete.loc[trial, "value"]),
            params=params,
            augmentation=None if augmentation == own.get(_AUGMENTATION) else augmentation,
            retrainings=[],
        ),
        readout=_readout(content["model"]),
        epochs=content["epochs"],
        # Reports of earlier versions trained on as many images as the search.
        sizes=replace(
            record.sizes,
            train=content.get("train_size", record.sizes.train),
            epoch_size=None,
        ),
        seeds=content["seeds"],
        accuracies=content["test_accuracy"],
        labels=labels,
        classes=len(classes),
        rule=shown(content.get("rule", "")),
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
        (
            "train_size",
            lambda value: value is None or is_whole(value, 1),
            "a whole number from 1, or null",
        ),
        ("seeds", _are_seeds, "a list of different whole numbers from 0"),
        (
            "test_accuracy",
            lambda value: _are_accuracies(value, len(content["seeds"])),
            "a list of a number for each seed",
        ),
        ("rule", lambda value: isinstance(value, str), "text"),
        (
            "model",
            _is_model,
            f"an object, its temperature a number from {LOWEST_TEMPERATURE:g} to "
            f"{HIGHEST_TEMPERATURE:g}, mirror_averaged and shift_averaged true or false",
        ),
    )
    for name, allowed, rule in rules:
        if name not in content and name in _OPTIONAL:
            continue
        if name not in content:
            raise MissingError(f"its {CONFIG_FILE} has no {name}")
        if not allowed(content[name]):
            raise MissingError(
                f"its {CONFIG_FILE} is damaged or of another study: {name} is "
                f"{shown(reprlib.repr(content[name]))}; it must be {rule}"
            )


def _refuse_earlier(model: Mapping[str, Any]) -> None:
    """Refuse a mean over mirror images of an earlier version: of probabilities, not of logits."""
    if model.get("mirror_averaged", False) and "shift_averaged" not in model:
        raise MissingError("its report was made by an earlier version")


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
    temperature = value.get("temperature", 1.0)
    return (
        is_number(temperature)
        and LOWEST_TEMPERATURE <= temperature <= HIGHEST_TEMPERATURE
        and all(isinstance(value.get(name, False), bool) for name in _VIEWS)
    )


def _readout(model: Mapping[str, Any]) -> Readout:
    """Return how a report reads its winner's outputs; without these values: as they are."""
    return Readout(
        views=Views(*(model.get(name, False) for name in _VIEWS)),
        temperature=float(model.get("temperature", 1)),
    )


def _read_labels(file: Path, classes: Sequence[str]) -> npt.NDArray[np.uint8]:
    """Read the labels of the test images.

    Raises:
        OSError: The file cannot be read.
        ValueError: It is too large, or has no labels, or one that is no class.
    """
    try:
        content = io.BytesIO(read_limited(file, _MOST_PREDICTIONS))
    except ValueError as error:
        raise ValueError(f"{file}: {error}") from None
    column = pd.read_csv(content, usecols=["label"], dtype=str, keep_default_na=False)["label"]
    known = {csv_text(name): index for index, name in enumerate(classes)}
    try:
        return np.array([known[label] for label in column], dtype=np.uint8)
    except KeyError as error:
        raise ValueError(f"{file} has the label {error}, which is no class") from None
