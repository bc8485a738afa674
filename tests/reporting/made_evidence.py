"""Evidence as a real search and its retrainings would leave it, made in a second without training.

Learning curves and probabilities come from formulas; everything else is the real thing: an Optuna
study of the `cnn` space, its record, plan, rows and differences.
"""

import dataclasses
import datetime
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import optuna
from optuna.trial import TrialState

from reporting.evidence import (
    Evidence,
    Kind,
    Remeasured,
    Row,
    differences,
    ensemble,
    make_row,
    other_way,
)
from reporting.plan import Plan
from reporting.readout import PLAIN, Readout, Tried
from reporting.retraining import Retrained
from reporting.scoring import Scores
from reporting.settings import ReportSettings
from reporting.study_tables import read_study
from reporting.views import Views
from search.data.classes import FASHION_CLASSES, FASHION_FINGERPRINT
from search.data.dataset import Dataset, LabeledImages
from search.data.idx import IdxFiles
from search.data.split import Split, SplitSizes
from search.engines.near_best import contains
from search.study.facts import split_fact, split_sizes
from search.study.objective import COSTS, Objectives
from search.study.storage import open_storage
from search.study.study import GIVEN
from search.training.hyperparameters import TrialHyperParameters
from spaces import DataShape, PixelStatistics, first_configurations, published_configurations
from spaces.cnn import CnnConfig
from tests.spaces.random_params import random_params

FACTS = {
    "space": "cnn",
    "data": "0" * 32,
    "split": split_fact(SplitSizes(val=10_000)),
    "epochs": 8,
    "precision": "float32",
    "engine": "optuna",
    "seed": 0,
    "settings": {"sampler": "tpe", "pruner": "hyperband", "seed": 0},
    "versions": {"python": "3.11.7", "keras": "3.15.1"},
    "commit": "0123456789ab",
    "machine": "a test, 2 cores",
    "command": "python run_search.py --trials 30",
    "runs": [{"command": "python run_search.py --trials 30", "seed": 0}],
}
PIXELS = PixelStatistics((0.286,), (0.353,), ((0.08,) * 4,) * 4, normalized=False)
CLOTHING = DataShape((28, 28, 1), 10, pixels=PIXELS)
START = datetime.datetime(2026, 1, 1, 12)


def made_study(
    results_dir: Path, trials: int = 30, name: str = "cnn", **facts: Any
) -> optuna.Study:
    """Write a study of that many trials into `results_dir/<name>/study.journal`.

    Args:
        results_dir: Created if it does not exist.
        trials: Number of trials.
        name: Name of the study.
        **facts: In place of those in `FACTS`.
    """
    directory = results_dir / name
    directory.mkdir(parents=True)
    storage = open_storage((directory / "study.journal").resolve(), None)
    objectives = Objectives.read(facts.get("objective", "accuracy"))
    study = optuna.create_study(study_name=name, storage=storage, directions=objectives.directions)
    for key, value in (FACTS | {"pixels": PIXELS.facts} | facts).items():
        study.set_user_attr(key, value)
    rng = np.random.default_rng(0)
    named = published_configurations("cnn", CLOTHING) | first_configurations("cnn", CLOTHING)
    configurations: list[tuple[str | None, dict[str, Any]]] = list(named.items())
    drawn = random_params(CnnConfig.sample, trials, whitened=True)
    configurations += [(None, values) for values in drawn]
    clock = [0.0, 0.0]
    for number, (known_as, params) in enumerate(configurations[:trials]):
        study.add_trial(_trial(number, known_as, params, rng, clock, objectives))
    return study


def _trial(
    number: int,
    known_as: str | None,
    params: dict[str, Any],
    rng: np.random.Generator,
    clock: list[float],
    objectives: Objectives,
) -> optuna.trial.FrozenTrial:
    distributions: dict[str, Any] = {}

    def answer(name: str, distribution: Any) -> Any:
        if contains(distribution, params[name]):
            distributions[name] = distribution
        return params[name]

    CnnConfig.sample(TrialHyperParameters(answer))
    final = 0.86 + 0.07 * rng.random() + (0.01 if params.get("residual") else 0)
    pruned, failed = number % 3 == 2 and not objectives.several, number % 11 == 9
    epochs = 0 if failed else (1 if rng.random() < 0.6 else 3) if pruned else 8
    curve = {e: float(final - 0.1 / e + 0.004 * rng.normal()) for e in range(1, epochs + 1)}
    worker = number % 2
    seconds = float(rng.uniform(5, 40)) * max(epochs, 1)
    started = START + datetime.timedelta(seconds=clock[worker])
    clock[worker] += seconds + 1
    attrs: dict[str, Any] = {"seed": number, "parameters": int(rng.integers(50_000, 900_000))}
    if objectives.several:
        # Networks of more parameters are better, up to a point.
        attrs["parameters"] = int(10 ** rng.uniform(4, 6))
        attrs["flops"] = 40 * attrs["parameters"]
        latency = attrs["parameters"] ** 0.5 / 1000
        attrs |= {
            "latency_ms": latency,
            "latency_quartiles_ms": [0.9 * latency, 1.2 * latency],
            "batch_latency_ms": 0.4 * latency,
            "batch_latency_quartiles_ms": [0.3 * latency, 0.5 * latency],
        }
        curve = {
            e: value + 0.02 * np.log10(attrs["parameters"]) - 0.1 for e, value in curve.items()
        }
    if known_as:
        attrs |= {"known_as": known_as, GIVEN: params}
    if failed:
        attrs["reason"] = "non-finite loss in epoch 1"
    else:
        attrs |= {
            "epochs": epochs,
            "seconds": seconds,
            "train_seconds": seconds * 0.9,
            "val_seconds": seconds * 0.05,
            "images_per_second": 1500.0,
        }
    attrs["ended"] = (
        "failed" if failed else f"pruned after epoch {epochs}" if pruned else "complete"
    )
    state = TrialState.FAIL if failed else TrialState.PRUNED if pruned else TrialState.COMPLETE
    return optuna.trial.FrozenTrial(
        number=number,
        state=state,
        value=None,
        values=None
        if failed
        else [float(curve[epochs]), *(attrs[COSTS[name].attr] for name in objectives.minimized)],
        datetime_start=started,
        datetime_complete=started + datetime.timedelta(seconds=seconds),
        params={name: params[name] for name in distributions},
        distributions=distributions,
        user_attrs=attrs,
        system_attrs={},
        intermediate_values=curve,
        trial_id=number,
    )


def made_dataset(
    image_shape: tuple[int, int, int] = CLOTHING.image_shape,
    class_names: Sequence[str] = FASHION_CLASSES,
    *,
    name: str = "fashion_mnist",
    mirror: bool | None = True,
) -> Dataset:
    """A data set without files; only the one of this name has the fingerprint of Fashion-MNIST."""
    return Dataset(
        name=name,
        image_shape=image_shape,
        class_names=tuple(class_names),
        mirror=mirror,
        fingerprint=FASHION_FINGERPRINT if name == "fashion_mnist" else "1" * 32,
        files=IdxFiles(Path("nowhere"), ()),
    )


def made_evidence(
    results_dir: Path,
    *,
    dataset: Dataset | None = None,
    baselines: bool = True,
    counts: Sequence[int] | None = None,
    trials: int = 30,
    images: int = 1000,
    retrained: bool = True,
    gaps: Sequence[str] = (),
    readout: Readout | None = None,
    facts: Mapping[str, Any] = MappingProxyType({}),
    **settings: Any,
) -> Evidence:
    """A study in `results_dir`, and evidence on it.

    Args:
        results_dir: An empty folder.
        dataset: The data set; None: like Fashion-MNIST.
        baselines: Whether there are baselines.
        counts: Test images of each class; None: equal numbers.
        trials: Trials of the study.
        images: Test images, if there are no counts.
        retrained: Whether anything was retrained.
        gaps: Names of rows without a finished training.
        readout: How the winner's outputs become probabilities; None: as is usual.
        facts: Of the study, in place of those in `FACTS`.
        **settings: Fields of `ReportSettings`.
    """
    chosen = ReportSettings(results_dir=results_dir, study="cnn", ensemble=True, **settings)
    made_study(results_dir, trials, **facts)
    record = read_study(results_dir, "cnn", None)
    chosen = chosen.for_study(record.max_epochs, split_sizes(record.facts["split"]))
    dataset = dataset or made_dataset()
    shape = dataset.shape
    plan = Plan(chosen, record, shape, 60_000)
    if not baselines:
        plan.baselines.clear()
    rng = np.random.default_rng(1)
    labels = (np.arange(images) % shape.classes).astype(np.uint8)
    if counts is not None:
        labels = np.repeat(np.arange(shape.classes, dtype=np.uint8), counts)
    test = LabeledImages(images=_images(labels, rng, shape), labels=labels)
    train_labels = (np.arange(2000) % shape.classes).astype(np.uint8)
    split = Split(
        train_images=_images(train_labels, rng, shape),
        train_labels=train_labels,
        val_images=_images(train_labels[:500], rng, shape),
        val_labels=train_labels[:500],
        classes=shape.classes,
    )
    remeasured = [
        Remeasured(
            candidate=candidate,
            runs=[
                _retrained(
                    record.directory,
                    index,
                    chosen.final_epochs,
                    candidate.value - 0.002,
                    validated=True,
                )
                for index in range(len(candidate.retrainings))
            ]
            if retrained
            else [],
        )
        for candidate in plan.candidates
    ]
    rows: list[Row] = []
    entries = [*plan.winners(plan.candidates[0]), *plan.baselines] if retrained else []
    if readout is None and entries:
        ways = plan.views(plan.candidates[0]).ways[:2]
        readout = Readout(
            views=ways[-1],
            temperature=0.8,
            images=500,
            runs=chosen.candidate_seeds,
            compared=dict(zip(ways, (Tried(0.93, 0.9), Tried(0.94, 0.8)), strict=True))
            if len(ways) > 1
            else {},
        )
    for index, entry in enumerate(entries):
        scored = [
            (
                _retrained(record.directory, seed, 10, 0.9, validated=False),
                _scores(
                    labels, shape.classes, 0.94 if index == 0 else 0.86 + 0.01 * index, index, seed
                ),
            )
            for seed in range(0 if entry.name in gaps else len(entry.retrainings))
        ]
        gap = "failed: out of memory" if entry.name in gaps else ""
        kind: Kind = "tuned" if index == 0 else "baseline"
        way = readout if index == 0 and readout is not None else PLAIN
        row = make_row(entry, kind, scored, labels, gap, way)
        rows.append(row)
        if index == 0 and scored:
            rows += [
                other_way(row, entry, scored, views) for views in way.compared if views != way.views
            ]
            rows.append(ensemble(row))
    return Evidence(
        settings=chosen,
        record=record,
        dataset=dataset,
        remeasured=remeasured,
        winner=remeasured[0] if retrained else None,
        rows=rows,
        differences=differences(rows),
        split=split,
        images=2500,
        test=test if retrained else None,
        command="python report.py",
        machine="a test, 2 cores",
        commit="0123456789ab",
        readout=readout or PLAIN,
    )


def _images(labels: np.ndarray, rng: np.random.Generator, shape: DataShape) -> np.ndarray:
    images = rng.integers(0, 60, (len(labels), *shape.image_shape), dtype=np.uint8)
    images[np.arange(len(labels)), (2 * labels + 2) % shape.image_shape[0], :] = 250
    return images


def _retrained(
    directory: Path, seed: int, epochs: int, final: float, *, validated: bool
) -> Retrained:
    history = [
        {
            "loss": 1 / epoch,
            "accuracy": final - 0.1 / epoch + 0.002 * seed,
            "seconds": 20.0,
            "learning_rate": 1e-3 * (1 - epoch / (epochs + 1)),
        }
        | (
            {"val_loss": 1.1 / epoch, "val_accuracy": final - 0.09 / epoch + 0.001 * seed}
            if validated
            else {}
        )
        for epoch in range(1, epochs + 1)
    ]
    return Retrained(
        folder=directory / "retrainings" / f"{seed}-{epochs}",
        seed=1_000_000 + seed,
        parameters=123_456,
        history=history,
        train_seconds=20.0 * epochs,
        cpu_seconds=19.0 * epochs,
        val_accuracy=history[-1].get("val_accuracy"),
        origin={},
    )


def _scores(labels: np.ndarray, classes: int, accuracy: float, row: int, seed: int) -> Scores:
    """Probabilities whose mistakes are largely shared between rows and seeds."""
    hard = np.random.default_rng(7).random(len(labels))
    rng = np.random.default_rng(100 * row + seed)
    wrong = hard + 0.05 * rng.normal(size=len(labels)) > accuracy
    given = np.where(
        wrong, (labels + 1 + rng.integers(0, classes - 1, len(labels))) % classes, labels
    )
    probabilities = rng.dirichlet(np.ones(classes), len(labels))
    confidence = rng.uniform(0.5, 0.99, len(labels))[:, None]
    probabilities *= 1 - confidence
    probabilities[np.arange(len(labels)), given] += confidence[:, 0]
    return Scores(
        probabilities=probabilities,
        others=dict.fromkeys(Views(True, True).others, probabilities),
        milliseconds_per_image=0.1 + 0.05 * row,
    )


def true_labels(evidence: Evidence) -> np.ndarray:
    assert evidence.test is not None
    return evidence.test.labels.astype(int)


def planted(evidence: Evidence, given: list[np.ndarray]) -> Evidence:
    """Evidence whose row `tuned` gives these labels, one array for each seed."""
    classes = len(evidence.dataset.class_names)
    probabilities = np.full((len(given), 1000, classes), 0.1 / classes)
    for seed, labels in enumerate(given):
        probabilities[seed, np.arange(1000), labels] += 0.9
    rows = [
        dataclasses.replace(row, probabilities=probabilities) if row.kind == "tuned" else row
        for row in evidence.rows
    ]
    return dataclasses.replace(evidence, rows=rows)
