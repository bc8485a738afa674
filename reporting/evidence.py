"""The evidence for a report: the search, the retrainings, and the test results."""

import math
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from operator import itemgetter
from typing import Any, Final, Literal

import numpy as np
import numpy.typing as npt
import pandas as pd
from sklearn.metrics import balanced_accuracy_score, log_loss

from reporting.choosing import has_rule, limits_of, prediction_costs, rule_of
from reporting.plan import DISTILLED, Candidate, Entry
from reporting.readout import PLAIN, Readout
from reporting.retraining import Retrained
from reporting.scoring import Probabilities, Scores
from reporting.settings import ReportSettings
from reporting.shared import FOLDER
from reporting.statistics import SHARE, Booleans, Difference, Interval, compare, interval
from reporting.study_tables import Record
from reporting.views import Views
from search.data.dataset import Dataset, LabeledImages
from search.data.split import Split
from search.study.objective import Limits, costs_of
from search.words import counted
from spaces import DEFAULT

Kind = Literal["tuned", "variant", "baseline"]
# Above this ratio of the largest class to the smallest, accuracy says little of the small ones.
_IMBALANCED: Final = 1.5


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Remeasured:
    """One of the chosen trials, retrained with new seeds on the training part.

    Args:
        candidate: The trial, its validation accuracy in the search, and its augmentation.
        runs: Its finished retrainings, with their validation accuracy.
    """

    candidate: Candidate
    runs: list[Retrained]

    @property
    def accuracy(self) -> Interval | None:
        """Validation accuracy over the new seeds; None without a finished retraining."""
        values = [run.val_accuracy for run in self.runs if run.val_accuracy is not None]
        return interval(values, SHARE) if values else None

    @property
    def searched(self) -> float | None:
        """Validation accuracy in the search; None if the trial had another augmentation there."""
        return self.candidate.value if self.candidate.augmentation is None else None


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Row:
    """One row of the comparison on the test part.

    Args:
        name: `tuned`, for what `best_model.keras` predicts; `tuned, network alone`, the name of a
            baseline and so on.
        kind: `tuned`, `baseline`, or `variant`: the tuned configuration, used or trained in
            another way.
        params: Hyperparameter values.
        runs: The finished final trainings, by seed.
        probabilities: (seeds, n, classes) on the test images; an ensemble counts as one seed.
        labels: (n,) of the test images.
        epochs: Planned epochs of each training; None without a finished one.
        readout: How outputs of the networks became these probabilities.
        uncalibrated: `probabilities` at temperature 1; None: theirs is 1.
        milliseconds_per_image: Median over the seeds; None if not measured.
        machines: Where that was measured, sorted: stored test results may be from elsewhere.
        gap: Why trainings are missing; empty if none is.
        models: Number of models behind one prediction: more than 1 for an ensemble.
        teachers: The trainings whose predictions a distilled network has learned; their cost is
            part of its own.
    """

    name: str
    kind: Kind
    params: Mapping[str, Any]
    runs: list[Retrained]
    probabilities: Probabilities
    labels: npt.NDArray[np.uint8]
    epochs: int | None = None
    readout: Readout = PLAIN
    uncalibrated: Probabilities | None = None
    milliseconds_per_image: float | None = None
    machines: Sequence[str] = ()
    gap: str = ""
    models: int = 1
    teachers: Sequence[Retrained] = ()

    @property
    def correct(self) -> Booleans:
        """(seeds, n), whether each model predicts each label."""
        return np.asarray(self.probabilities.argmax(axis=2) == self.labels)

    @property
    def accuracy(self) -> Interval:
        """Test accuracy over the seeds."""
        return interval([float(value) for value in self.correct.mean(axis=1)], SHARE)

    @property
    def balanced_accuracy(self) -> Interval:
        """Mean recall of the classes on the test part, over the seeds."""
        with warnings.catch_warnings():
            # About classes that the test part lacks: they are left out of the mean.
            warnings.simplefilter("ignore", UserWarning)
            return interval(
                [
                    float(balanced_accuracy_score(self.labels, given))
                    for given in self.probabilities.argmax(axis=2)
                ],
                SHARE,
            )

    @property
    def loss(self) -> Interval:
        """Cross-entropy on the test part over the seeds."""
        classes = list(range(self.probabilities.shape[2]))
        return interval(
            [float(log_loss(self.labels, part, labels=classes)) for part in self.probabilities],
            possible=(0.0, math.inf),
        )

    @property
    def parameters(self) -> int | None:
        """Number of weights of all models of a prediction; None without a finished training."""
        return self.models * self.runs[0].parameters if self.runs else None

    @property
    def train_seconds(self) -> float | None:
        """Mean wall time of training steps, for all models of a prediction and all teachers."""
        return self._trained(lambda run: run.train_seconds)

    @property
    def train_cpu_seconds(self) -> float | None:
        """Mean CPU time of training, for all models of a prediction and all teachers."""
        return self._trained(lambda run: run.cpu_seconds)

    def _trained(self, seconds: Callable[[Retrained], float]) -> float | None:
        if not self.runs:
            return None
        each = self.models * float(np.mean([seconds(run) for run in self.runs]))
        return each + sum(seconds(teacher) for teacher in self.teachers)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Evidence:
    """Everything that the chapters of a report use.

    Args:
        settings: Settings of the report.
        record: The search.
        dataset: Its data set.
        remeasured: The chosen trials, retrained, in the order of the search; some twice, as they
            were and with another augmentation.
        winner: The one of them that was chosen on validation; None until all are retrained.
        readout: How the winner's outputs become probabilities, chosen on validation.
        rows: `tuned`, its variants, then the baselines; a row without a finished training has no
            seeds in `probabilities`.
        differences: `tuned` minus each baseline, by name of the baseline.
        split: Training and validation images of the retrainings.
        images: Number of images of the training part of the data set.
        test: Test images; None while no winner is chosen: the test part then stays closed.
        command: Command that made this report.
        machine: Machine that it was made on.
        commit: Commit of this project.
        failures: Reasons of failed trainings, by label.
        scored_earlier: Number of trainings that are in no row of this report, but were scored on
            the test part by earlier reports or previews.
    """

    settings: ReportSettings
    record: Record
    dataset: Dataset
    remeasured: list[Remeasured]
    winner: Remeasured | None
    rows: list[Row]
    differences: Mapping[str, Difference]
    split: Split
    images: int
    test: LabeledImages | None
    command: str
    machine: str
    commit: str
    readout: Readout = PLAIN
    failures: Mapping[str, str] = field(default_factory=dict)
    scored_earlier: int = 0

    @property
    def rule(self) -> str:
        """Rule by which the candidates were chosen among the trials, in words."""
        return rule_of(self.settings, self.record)

    @property
    def limits(self) -> Limits:
        """Upper limits on the costs of the winner."""
        return limits_of(self.settings, self.record)

    @property
    def has_rule(self) -> bool:
        """Whether the candidates were chosen by another rule than accuracy alone."""
        return has_rule(self.settings, self.record)

    @property
    def prediction_costs(self) -> list[str]:
        """Limited or minimized costs of a prediction; if any, other views are not tried."""
        return prediction_costs(self.settings, self.record)

    @property
    def winner_costs(self) -> dict[str, float]:
        """What the winner's network costs, by key of `COSTS`; a latency as measured last."""
        if self.winner is None:
            return {}
        number = self.winner.candidate.number
        attrs = self.record.frozen[number].user_attrs
        return costs_of({**attrs, **self.record.times.get(number, {})})

    @property
    def retrained_trials(self) -> int:
        """Number of the trials in `remeasured`."""
        return len({one.candidate.number for one in self.remeasured})

    @property
    def scored(self) -> list[Row]:
        """Rows that have test results."""
        return [row for row in self.rows if len(row.probabilities)]

    @property
    def tuned(self) -> Row | None:
        """Row of the winner; None while it has no test results."""
        return next((row for row in self.scored if row.kind == "tuned"), None)

    @property
    def best_baseline(self) -> Row | None:
        """Baseline with the highest mean test accuracy."""
        baselines = [row for row in self.scored if row.kind == "baseline"]
        return max(baselines, key=lambda row: row.accuracy.mean, default=None)

    @property
    def has_baselines(self) -> bool:
        """Whether the report compares with published baselines, with results or without."""
        return any(row.kind == "baseline" for row in self.rows)

    @property
    def shows_balanced(self) -> bool:
        """Whether balanced accuracy matters: the search's objective, or classes differ in size."""
        if self.test is None:
            return False
        return self.record.objective == "balanced_accuracy" or self.is_imbalanced

    @property
    def is_imbalanced(self) -> bool:
        """Whether the classes of the test part differ in size."""
        if self.test is None:
            return False
        sizes = np.bincount(self.test.labels, minlength=len(self.dataset.class_names))
        return bool(sizes.max() > _IMBALANCED * sizes.min())

    @property
    def searched_epoch_size(self) -> int:
        """Number of images that an epoch of the search showed."""
        sizes = self.record.sizes
        # Not len(split.train_labels): --train-size of the report may be smaller.
        return sizes.epoch_size or sizes.train or self.images - len(self.split.val_labels)

    @property
    def default(self) -> Remeasured | None:
        """The better retrained version of the default configuration; None without any."""
        found = [
            (one.accuracy.mean, one)
            for one in self.remeasured
            if one.candidate.known_as == DEFAULT and one.accuracy is not None
        ]
        return max(found, key=itemgetter(0))[1] if found else None

    @property
    def default_is_added(self) -> bool:
        """Whether the default was retrained although other trials were better."""
        return self.retrained_trials > 1 and self.remeasured[-1].candidate.known_as == DEFAULT

    @property
    def search_length(self) -> str:
        """How long a trial of the search trained, and how many images an epoch had if a part."""
        epochs = counted(self.record.max_epochs, "epoch")
        images = self.searched_epoch_size
        if self.record.sizes.epoch_size is not None:
            return f"{epochs} of {images:,} images (others in each epoch)"
        same = images == len(self.split.train_labels)
        return epochs if same else f"{epochs} of {images:,} images"

    @property
    def final_length(self) -> str:
        """How long candidates and winner train, and on how many images if `--train-size` says."""
        epochs = counted(self.settings.final_epochs, "epoch")
        images = self.settings.train_size
        return epochs if images is None else f"{epochs} of the same {images:,} images"

    @property
    def no_test_results(self) -> str:
        """Why the tuned configuration has no test results, as a sentence."""
        if self.winner is None:
            return "Nothing was retrained, so no winner was chosen and the test part stayed closed."
        gap = next((row.gap for row in self.rows if row.kind == "tuned"), "")
        reason = f" ({gap})" if gap else ""
        return f"No final training of the winner is finished{reason}."

    def origins(self, what: str) -> list[str]:
        """Return the commits, machines or versions that its trainings were made with, sorted.

        Those of shared baselines are left out: they have the same code, versions and machine, also
        where the commit is another.

        Args:
            what: `commit`, `machine`, or the name of a package.
        """
        groups = [*(one.runs for one in self.remeasured), *(row.runs for row in self.rows)]
        here = [run for runs in groups for run in runs if run.folder.parent.name != FOLDER]
        return sorted({run.origin[what] for run in here if what in run.origin})

    def seeds_of(self, row: Row) -> int:
        """Return the planned number of seeds of a row."""
        settings = self.settings
        if row.name == DISTILLED:
            return 1
        return settings.seeds_of_baselines if row.kind == "baseline" else settings.seeds

    @property
    def gaps(self) -> str:
        """Which rows lack trainings, and why, as a sentence; empty where none does."""
        found = [
            f"{row.name}, {len(row.runs)} of {self.seeds_of(row)} trainings ({row.gap})"
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
        names = np.array(self.dataset.class_names, dtype=object)
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
    readout: Readout = PLAIN,
) -> Row:
    """Return the row of an entry whose models have been scored, with the views of the readout."""
    found = [scores for _, scores in scored]
    milliseconds = [scores.milliseconds_per_image for scores in found]
    nothing = np.empty((0, len(labels), 0))

    def read(way: Readout) -> Probabilities:
        return np.stack([way.probabilities(scores) for scores in found]) if found else nothing

    row = Row(
        name=entry.name,
        kind=kind,
        params=entry.params,
        runs=[kept for kept, _ in scored],
        probabilities=read(readout),
        labels=labels,
        epochs=entry.epochs if found else None,
        readout=readout,
        uncalibrated=None if readout.temperature == 1 else read(replace(readout, temperature=1.0)),
        milliseconds_per_image=float(np.median(milliseconds)) if milliseconds else None,
        machines=sorted({scores.machine for scores in found if scores.machine}),
        gap=gap,
        teachers=entry.teachers,
    )
    return _times(row, readout.views.count)


def other_way(row: Row, entry: Entry, scored: list[tuple[Retrained, Scores]], views: Views) -> Row:
    """Return a row of the winner that uses views other than the chosen ones."""
    readout = row.readout
    way = replace(readout, views=views, temperature=readout.compared[views].temperature)
    other = make_row(entry, "variant", scored, row.labels, row.gap, way)
    return replace(other, name=f"{row.name}, {views}")


def ensemble(row: Row) -> Row:
    """Average the predictions of all seeds of a row."""
    count = len(row.probabilities)
    return replace(
        _times(row, count),
        name=f"{row.name}, ensemble of {count}",
        kind="variant",
        probabilities=row.probabilities.mean(axis=0, keepdims=True),
        uncalibrated=None,
        models=count,
    )


def _times(row: Row, factor: int) -> Row:
    """Return a row whose predictions take that many times as long."""
    one = row.milliseconds_per_image
    return replace(row, milliseconds_per_image=None if one is None else factor * one)


def differences(rows: list[Row]) -> dict[str, Difference]:
    """Compare `tuned` with each baseline that has test results, by name of the baseline."""
    tuned = next((row for row in rows if row.kind == "tuned" and len(row.probabilities)), None)
    baselines = [row for row in rows if row.kind == "baseline" and len(row.probabilities)]
    if tuned is None or not baselines:
        return {}
    found = compare(tuned.correct, [row.correct for row in baselines])
    return {row.name: difference for row, difference in zip(baselines, found, strict=True)}
