"""All that a report is written from: the search, the retrainings, and what the test split says."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pandas as pd
from sklearn.metrics import log_loss

from reporting.retraining.order import Retrained
from reporting.retraining.plan import Candidate, Entry
from reporting.scoring import Probabilities, Scores, TestSplit
from reporting.settings import ReportSettings
from reporting.statistics import Booleans, Difference, Interval, compare, interval
from reporting.study_tables import Record
from search.data.classes import CLASS_NAMES
from search.data.split import Split

Kind = Literal["tuned", "variant", "baseline"]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Remeasured:
    """One of the best trials, trained again with fresh seeds on the training part.

    Args:
        candidate: The trial, and its accuracy in the search.
        runs: Those that are finished, with their validation accuracy.
    """

    candidate: Candidate
    runs: list[Retrained]

    @property
    def accuracy(self) -> Interval | None:
        """Validation accuracy over the fresh seeds; None where nothing is finished."""
        values = [run.val_accuracy for run in self.runs if run.val_accuracy is not None]
        return interval(values) if values else None


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Row:
    """One row of the comparison on the test split.

    Args:
        name: `tuned`, `tuned, flip averaged`, a baseline's and so on.
        kind: `tuned`; `variant`: the same models used otherwise, or trained otherwise; `baseline`.
        params: Hyperparameter values.
        runs: The finished final trainings, by seed; empty where there is a gap.
        probabilities: (seeds, n, 10) on the test images; for an ensemble one row in place of the
            seeds.
        labels: (n,) of the test images.
        milliseconds_per_image: Median over the seeds; None where nothing was measured.
        gap: Why trainings are missing; empty if none is.
        models: So many are asked for one answer: all of an ensemble's, else 1.
    """

    name: str
    kind: Kind
    params: Mapping[str, Any]
    runs: list[Retrained]
    probabilities: Probabilities
    labels: npt.NDArray[np.uint8]
    milliseconds_per_image: float | None = None
    gap: str = ""
    models: int = 1

    @property
    def correct(self) -> Booleans:
        """(seeds, n), whether each model has each image right."""
        return np.asarray(self.probabilities.argmax(axis=2) == self.labels)

    @property
    def accuracy(self) -> Interval:
        """Test accuracy over the seeds."""
        return interval([float(value) for value in self.correct.mean(axis=1)])

    @property
    def loss(self) -> Interval:
        """Cross-entropy on the test split over the seeds."""
        classes = list(range(self.probabilities.shape[2]))
        return interval(
            [float(log_loss(self.labels, part, labels=classes)) for part in self.probabilities]
        )

    @property
    def parameters(self) -> int | None:
        """Weights of all models that one answer needs; None without a finished training."""
        return self.models * self.runs[0].parameters if self.runs else None

    @property
    def train_seconds(self) -> float | None:
        """Mean wall time in training steps, of all models that one answer needs."""
        return self._trained([run.train_seconds for run in self.runs])

    @property
    def train_cpu_seconds(self) -> float | None:
        """Mean processor time of training all models that one answer needs."""
        return self._trained([run.cpu_seconds for run in self.runs])

    @property
    def epochs(self) -> int | None:
        """Of each training; None without a finished one."""
        return len(self.runs[0].history) if self.runs else None

    def _trained(self, seconds: list[float]) -> float | None:
        return self.models * float(np.mean(seconds)) if seconds else None


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Evidence:
    """All that the sections of a report use.

    Args:
        settings: What was asked for.
        record: The search.
        remeasured: The best trials with their fresh seeds, in the search's order.
        winner: The one of them that was chosen on validation; None without retraining.
        rows: `tuned` first, its variants, then the baselines; those without a finished training
            have no seeds in `probabilities`.
        differences: `tuned` minus each baseline, by the baseline's name.
        split: Training and validation images.
        test: Test images; None while nothing is retrained: then it stays closed.
        command: That made this report.
        machine: Where it was made.
        commit: Of this project.
        failures: Why a training failed, by its label.
        scored_earlier: Trainings of this study that are in no row here, but which earlier reports
            or previews have scored on the test split.
    """

    settings: ReportSettings
    record: Record
    remeasured: list[Remeasured]
    winner: Remeasured | None
    rows: list[Row]
    differences: Mapping[str, Difference]
    split: Split
    test: TestSplit | None
    command: str
    machine: str
    commit: str
    failures: Mapping[str, str] = field(default_factory=dict)
    scored_earlier: int = 0

    @property
    def scored(self) -> list[Row]:
        """The rows that have test results."""
        return [row for row in self.rows if len(row.probabilities)]

    @property
    def tuned(self) -> Row | None:
        """The winner's row; None while it has no test results."""
        return next((row for row in self.scored if row.kind == "tuned"), None)

    @property
    def best_baseline(self) -> Row | None:
        """The baseline of the highest mean test accuracy."""
        baselines = [row for row in self.scored if row.kind == "baseline"]
        return max(baselines, key=lambda row: row.accuracy.mean, default=None)

    @property
    def no_test_results(self) -> str:
        """Why the tuned configuration has no test results, as a sentence."""
        if self.winner is None:
            return (
                "Nothing was retrained, so no winner was chosen and the test images stayed closed: "
                "there is nothing to show here."
            )
        gap = next((row.gap for row in self.rows if row.kind == "tuned"), "")
        reason = f" ({gap})" if gap else ""
        return (
            f"No final training of the winner is finished{reason}: there is nothing to show here."
        )

    @property
    def gaps(self) -> str:
        """Which rows lack trainings, and why, as a sentence; empty where none does."""
        found = [
            f"{row.name}, {len(row.runs)} of {self.settings.seeds} trainings ({row.gap})"
            for row in self.rows
            if row.gap
        ]
        return f"Not all final trainings are finished: {'; '.join(found)}." if found else ""

    def predictions(self) -> pd.DataFrame:
        """Return the predictions of every row, one line for each test image in file order.

        Columns: `image` (0-based index), `label`; for each row the class (`NAME: class`) and its
        probability (`NAME: probability`) that the model of its first seed predicts, for `tuned`
        that of `best_model.keras`; and how many of its seeds predict the label (`NAME: seeds
        right`). An ensemble counts as one seed.
        """
        names = np.array(CLASS_NAMES)
        test = self.test
        assert test is not None
        columns: dict[str, object] = {
            "image": np.arange(len(test.labels)),
            "label": names[test.labels],
        }
        for row in self.scored:
            first = row.probabilities[0]
            columns[f"{row.name}: class"] = names[first.argmax(axis=1)]
            columns[f"{row.name}: probability"] = first.max(axis=1).round(4)
            columns[f"{row.name}: seeds right"] = row.correct.sum(axis=0)
        return pd.DataFrame(columns)


def make_row(
    entry: Entry,
    kind: Kind,
    scored: list[tuple[Retrained, Scores]],
    labels: npt.NDArray[np.uint8],
    gap: str,
) -> Row:
    """The row of an entry whose models have been scored."""
    return Row(
        name=entry.name,
        kind=kind,
        params=entry.params,
        runs=[kept for kept, _ in scored],
        probabilities=_stack([scores.probabilities for _, scores in scored], labels),
        labels=labels,
        milliseconds_per_image=_median([scores.milliseconds_per_image for _, scores in scored]),
        gap=gap,
    )


def flip_averaged(row: Row, scored: list[tuple[Retrained, Scores]]) -> Row:
    """The same models, each asked about an image and its mirror image; twice the time."""
    both = [(scores.probabilities + scores.mirrored) / 2 for _, scores in scored]
    milliseconds = row.milliseconds_per_image
    return Row(
        name=f"{row.name}, flip averaged",
        kind="variant",
        params=row.params,
        runs=row.runs,
        probabilities=_stack(both, row.labels),
        labels=row.labels,
        milliseconds_per_image=None if milliseconds is None else 2 * milliseconds,
        gap=row.gap,
    )


def ensemble(row: Row) -> Row:
    """All seeds of a row together: the mean of their probabilities."""
    count = len(row.probabilities)
    milliseconds = row.milliseconds_per_image
    return Row(
        name=f"{row.name}, ensemble of {count}",
        kind="variant",
        params=row.params,
        runs=row.runs,
        probabilities=row.probabilities.mean(axis=0, keepdims=True),
        labels=row.labels,
        milliseconds_per_image=None if milliseconds is None else count * milliseconds,
        gap=row.gap,
        models=count,
    )


def differences(rows: list[Row]) -> dict[str, Difference]:
    """`tuned` minus each baseline that has test results, corrected for their number."""
    tuned = next((row for row in rows if row.kind == "tuned" and len(row.probabilities)), None)
    baselines = [row for row in rows if row.kind == "baseline" and len(row.probabilities)]
    if tuned is None:
        return {}
    found = compare(tuned.correct, [row.correct for row in baselines])
    return {row.name: difference for row, difference in zip(baselines, found, strict=True)}


def _stack(parts: list[Probabilities], labels: npt.NDArray[np.uint8]) -> Probabilities:
    return np.stack(parts) if parts else np.empty((0, len(labels), 10))


def _median(values: list[float]) -> float | None:
    return float(np.median(values)) if values else None
