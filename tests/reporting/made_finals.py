"""Studies with the files of a finished report: kept final trainings, test scores, predictions."""

import io
import json
import zipfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from predicting.config import CONFIG_FILE
from reporting.evidence import make_row
from reporting.final_model import config_of
from reporting.plan import Plan
from reporting.readout import PLAIN, Readout
from reporting.retraining import Retrained, Retraining
from reporting.scoring import SCORES_FILE, Scorer
from reporting.settings import ReportSettings
from reporting.study_tables import read_study
from search.data.classes import FASHION_CLASSES
from search.data.dataset import LabeledImages
from search.escape import write_csv
from tests.reporting.made_evidence import CLOTHING, _scores, made_dataset, made_study

LABELS = (np.arange(1000) % 10).astype(np.uint8)
TEST = LabeledImages(images=np.zeros((1000, 28, 28, 1), np.uint8), labels=LABELS)


def made_report(
    results_dir: Path,
    name: str,
    accuracy: float = 0.9,
    *,
    seeds: int = 3,
    epochs: int = 20,
    train_size: int | None = None,
    trials: int = 12,
    test: LabeledImages = TEST,
    class_names: Sequence[str] = FASHION_CLASSES,
    readout: Readout = PLAIN,
    shifted: bool = False,
    failed: int = 0,
    recorded: int | None = None,
    **facts: Any,
) -> Path:
    """Write a study and what its report keeps; return the study's folder.

    Args:
        results_dir: Folder of the studies.
        name: Name of the study.
        accuracy: Expected test accuracy of its winner.
        seeds: Final trainings.
        epochs: Epochs of each.
        train_size: Training images of each; None: all.
        trials: Trials of the study.
        test: Test split that they were scored on.
        class_names: Names of the classes.
        readout: How the winner's outputs become probabilities.
        shifted: Whether the winner has another augmentation than its trial.
        failed: Number of the first final trainings that have failed.
        recorded: Epochs in their histories; None: all.
        **facts: As for `made_study`.
    """
    made_study(results_dir, trials, name, **facts)
    record = read_study(results_dir, name, None)
    settings = ReportSettings(seeds=seeds, epochs=epochs, train_size=train_size)
    plan = Plan(settings, record, CLOTHING, 60_000)
    winner = next(one for one in plan.candidates if shifted == (one.augmentation is not None))
    [entry] = plan.winners(winner)
    number = sum(map(ord, name))
    scored = []
    for index, training in enumerate(entry.retrainings):
        if index < failed:
            continue
        kept = _kept(record.directory, training, recorded or epochs)
        alone, mirrored = (
            _scores(test.labels, len(class_names), accuracy, number + view, index)
            for view in (0, 1)
        )
        scores = replace(
            alone, others={"mirrored": mirrored.probabilities}, part=Scorer(test, CLOTHING)._digest
        )
        Scorer._save(kept.folder / SCORES_FILE, scores)
        scored.append((kept, scores))
    row = make_row(entry, "tuned", scored, test.labels, "", readout)
    report = record.directory / "report"
    report.mkdir()
    dataset = made_dataset(class_names=class_names)
    config = config_of(
        record, winner, row, dataset, train_size=train_size, gives_probabilities=False
    )
    (report / CONFIG_FILE).write_text(json.dumps(config))
    names = np.array(class_names, dtype=object)
    write_csv(pd.DataFrame({"label": names[test.labels]}), report / "predictions.csv")
    return record.directory


def _kept(directory: Path, training: Retraining, recorded: int) -> Retrained:
    history = [{"loss": 1.0, "accuracy": 0.9} for _ in range(recorded)]
    kept = Retrained(
        folder=directory / "retrainings" / training.key,
        seed=training.seed,
        parameters=123_456,
        history=history,
        train_seconds=1800.0,
        cpu_seconds=3600.0,
        val_accuracy=None,
        origin={},
    )
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("model.weights.h5", b"")
    kept.save(file.getvalue())
    return kept
