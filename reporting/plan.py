"""The retrainings of a report: the best trials, then the winner and the baselines."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import pandas as pd

from reporting.retraining import Results, Retrained, Retraining
from reporting.settings import ReportSettings
from reporting.study_tables import Record, epochs_trained, seconds_taken
from search.study.facts import split_sizes
from search.study.study import trial_params, trial_seed
from search.workers.messages import Images
from spaces import DataShape, published_configurations

TUNED: Final = "tuned"
AVERAGED: Final = "tuned, averaged weights"
# In place of a trial's number: far above all of them, so that no retraining repeats its trial, and
# apart from each other, so that no seed that helped to choose the winner takes part in its score.
_CANDIDATE_SEED: Final = 500_000
_FINAL_SEED: Final = 600_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """One of the best trials, to retrain on the training part with fresh seeds.

    Args:
        number: Number of the trial.
        value: Validation accuracy in the search.
        retrainings: One for each seed.
    """

    number: int
    value: float
    retrainings: list[Retraining]


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One row of the comparison on the test split.

    Args:
        name: `tuned`, or a baseline's name.
        params: Hyperparameter values.
        retrainings: One for each seed, on training and validation images together.
    """

    name: str
    params: dict[str, Any]
    retrainings: list[Retraining]


class Plan:
    """The retrainings of one report.

    Args:
        settings: Settings of the report.
        record: The search.
        data: What its data set looks like. Baselines are rows wherever images have the shape of
            Fashion-MNIST's; their published numbers are shown for Fashion-MNIST only.
    """

    def __init__(self, settings: ReportSettings, record: Record, data: DataShape) -> None:
        self._settings = settings
        self._record = record
        self._sizes = split_sizes(record.facts["split"])
        self._epoch_seconds = seconds_taken(record) / epochs_trained(record)
        self._images_per_second = pd.to_numeric(record.trials["images_per_second"], errors="coerce")
        self.candidates = [
            Candidate(
                number=int(number),
                value=float(row["value"]),
                retrainings=self._retrainings(
                    f"trial {number}",
                    record.trial_params(int(number)),
                    Images.TRAINING,
                    epochs=record.max_epochs,
                    first_seed=_CANDIDATE_SEED,
                    seeds=settings.candidate_seeds,
                ),
            )
            for number, row in record.complete.head(settings.top).iterrows()
        ]
        self.baselines = [
            self._entry(name, params, settings.baseline_epochs)
            for name, params in published_configurations(record.space, data).items()
        ]

    def due(self, results: Results) -> list[Retraining]:
        """Return the retrainings known so far, finished ones too, most urgent first.

        The winner's follow once the candidates are finished.
        """
        chosen = self.choose(results)
        return [
            *(_interleaved(self.winners(chosen)) if chosen is not None else []),
            *(one for candidate in self.candidates for one in candidate.retrainings),
            *_interleaved(self.baselines),
        ]

    def choose(self, results: Results) -> Candidate | None:
        """Return the candidate with the highest mean validation accuracy over fresh seeds.

        Returns:
            None while one of their retrainings is missing. Failed ones are left out of a mean; a
            candidate whose retrainings all failed is not chosen.
        """
        means: dict[int, float] = {}
        for index, candidate in enumerate(self.candidates):
            found = [results.get(one.key) for one in candidate.retrainings]
            if None in found:
                return None
            values = [
                kept.val_accuracy
                for kept in found
                if isinstance(kept, Retrained) and kept.val_accuracy is not None
            ]
            if values:
                means[index] = sum(values) / len(values)
        if not means:
            return None
        # max() keeps the first of equals: the better one in the search.
        return self.candidates[max(means, key=lambda index: means[index])]

    def winners(self, chosen: Candidate) -> list[Entry]:
        """Return the winner's row, and the one with averaged weights if that was asked for."""
        params = self._record.trial_params(chosen.number)
        entries = [self._entry(TUNED, params, self._settings.final_epochs)]
        if self._settings.averaging and params.get("weight_averaging") is False:
            averaged = params | {"weight_averaging": True}
            entries.append(self._entry(AVERAGED, averaged, self._settings.final_epochs))
        return entries

    def _entry(self, name: str, params: dict[str, Any], epochs: int) -> Entry:
        retrainings = self._retrainings(
            name,
            params,
            Images.ALL,
            epochs=epochs,
            first_seed=_FINAL_SEED,
            seeds=self._settings.seeds,
        )
        return Entry(name=name, params=params, retrainings=retrainings)

    def _retrainings(
        self,
        name: str,
        params: dict[str, Any],
        images: Images,
        *,
        epochs: int,
        first_seed: int,
        seeds: int,
    ) -> list[Retraining]:
        facts = self._record.facts
        epoch_seconds = self._estimate_epoch_seconds(params, images)
        given = [
            trial_seed(int(facts.get("seed", 0)), first_seed + index) for index in range(seeds)
        ]
        return [
            Retraining(
                space=self._record.space,
                params=params,
                seed=seed,
                epochs=epochs,
                images=images,
                data=facts["data"],
                sizes=self._sizes,
                precision=facts["precision"],
                objective=self._record.objective,
                label=f"{name}, seed {seed}",
                epoch_seconds=epoch_seconds,
            )
            for seed in given
        ]

    def _estimate_epoch_seconds(self, params: dict[str, Any], images: Images) -> float:
        """Estimate the time of an epoch from trials of this configuration, else from all."""
        seconds, speed = self._epoch_seconds, self._images_per_second
        same = [trial.number for trial in self._record.frozen if trial_params(trial) == params]
        known = seconds.index[seconds.between(0, float("inf"), inclusive="neither")]
        rows = known.intersection(same) if len(known.intersection(same)) else known
        if rows.empty:
            return 1.0
        estimate = float(seconds[rows].mean())
        if images is Images.ALL and speed[rows].mean() > 0:
            estimate += self._sizes.val / float(speed[rows].mean())
        return estimate


def _interleaved(entries: Sequence[Entry]) -> list[Retraining]:
    """Return their retrainings by seed, the longest first, so that workers end together."""
    numbered = [(index, one) for entry in entries for index, one in enumerate(entry.retrainings)]
    return [one for _, one in sorted(numbered, key=lambda pair: (pair[0], -pair[1].seconds))]
