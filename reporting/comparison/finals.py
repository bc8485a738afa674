"""The final trainings of a study's winner, as its report has kept them, under one protocol."""

from dataclasses import dataclass
from typing import Final

import numpy as np

from reporting.comparison.reported import MissingError, Reported, read_report
from reporting.evidence import Row, make_row
from reporting.plan import TUNED, Candidate, Entry
from reporting.retraining import Folders, Retrained, Retraining
from reporting.scoring import SCORES_FILE, Scores, stored_scores
from reporting.settings import ReportSettings
from reporting.shared import FOLDER
from reporting.study_tables import Record
from search.study.provenance import command_line
from search.words import counted
from search.workers.messages import Images

_ROUNDING: Final = 1e-9


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingProtocol:
    """Conditions that final trainings must share, so that test accuracies can be compared.

    Args:
        study: Name of the study that it was taken from.
        epochs: Epochs of each training.
        seeds: Number of trainings.
        images: Number of images that each was trained on; None: all of the training part.
        test: Digest of the test part.
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
        rule: By what rule the winner was chosen, in words; empty: for its accuracy alone.
    """

    candidate: Candidate
    row: Row
    protocol: TrainingProtocol
    rule: str = ""


class NoFinalsError(Exception):
    """Why a study has no place on the leaderboard; the message is a phrase without a full stop."""


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
        reported = read_report(record)
        if wanted:
            _require_same(reported, wanted)
        count = wanted.seeds if wanted else len(reported.seeds)
        trainings = [_training(record, seed, reported) for seed in reported.seeds[:count]]
        kept = [_read_training(record, one, reported) for one in trainings]
        row = make_row(
            Entry(name=TUNED, params=reported.candidate.params, retrainings=trainings),
            "tuned",
            kept,
            reported.labels,
            gap="",
            readout=reported.readout,
        )
        found = row.correct.mean(axis=1)
        if not np.allclose(found, reported.accuracies[:count], rtol=0, atol=_ROUNDING):
            raise MissingError("its report and its kept test results differ")
        tests = {scores.part for _, scores in kept}
        if len(tests) > 1 or (wanted is not None and tests != {wanted.test}):
            raise MissingError("it was scored on other test images")
    except MissingError as error:
        raise NoFinalsError(f"{error}; {again}") from error
    return Finals(
        candidate=reported.candidate,
        row=row,
        protocol=TrainingProtocol(
            study=record.name,
            epochs=reported.epochs,
            seeds=count,
            images=_images(reported),
            test=tests.pop(),
        ),
        rule=reported.rule,
    )


def _require_same(reported: Reported, wanted: TrainingProtocol) -> None:
    """Refuse final trainings that the others cannot be compared with."""
    images = _images(reported)
    if images != wanted.images:
        raise MissingError(
            f"its winner was trained on {_images_words(images)}, that of {wanted.study} on "
            f"{_images_words(wanted.images)}"
        )
    if reported.epochs != wanted.epochs:
        raise MissingError(
            f"its winner was trained for {counted(reported.epochs, 'epoch')}, that of "
            f"{wanted.study} for {wanted.epochs}"
        )
    if len(reported.seeds) < wanted.seeds:
        raise MissingError(
            f"its winner was trained with {counted(len(reported.seeds), 'seed')}, that of "
            f"{wanted.study} with {wanted.seeds}"
        )


def _training(record: Record, seed: int, reported: Reported) -> Retraining:
    facts = record.facts
    return Retraining(
        space=record.space,
        params=reported.candidate.params,
        seed=seed,
        epochs=reported.epochs,
        images=Images.ALL,
        data=facts["data"],
        sizes=reported.sizes,
        precision=facts["precision"],
        pixels=facts.get("pixels"),
        # A winner that equals a baseline may have been trained as one.
        shared=True,
    )


def _read_training(
    record: Record, training: Retraining, reported: Reported
) -> tuple[Retrained, Scores]:
    folders = Folders(record.directory / "retrainings", record.directory.parent / FOLDER)
    kept = folders.load(training)
    if kept is None:
        raise MissingError(f"the final training with seed {training.seed} is not kept")
    scores = stored_scores(kept.folder / SCORES_FILE, (len(reported.labels), reported.classes))
    if scores is None or not reported.readout.views.others.keys() <= scores.others.keys():
        raise MissingError(f"the final training with seed {training.seed} has no test results")
    return kept, scores


def _images(reported: Reported) -> int | None:
    """Return the number of images of a final training: training and validation ones together."""
    sizes = reported.sizes
    return None if sizes.train is None else sizes.train + sizes.val


def _images_words(images: int | None) -> str:
    return "all images" if images is None else counted(images, "image")


def _again(record: Record, wanted: TrainingProtocol | None, url: str | None) -> str:
    """Return in words which command makes the missing results."""
    command = ["report.py", "--study", record.name]
    if record.directory.parent != ReportSettings().results_dir:
        command += ["--results-dir", str(record.directory.parent)]
    if url is not None:
        command += ["--storage", url]  # whose password is then hidden
    if ":" in record.space:
        command += ["--space", record.space]
    if wanted is not None:
        command += ["--epochs", str(wanted.epochs), "--seeds", str(wanted.seeds)]
        if wanted.images is not None:
            train_size = wanted.images - record.sizes.val
            command += ["--train-size", str(train_size)]
    return f"run {command_line(command)}"
