"""Which trainings a report needs: candidates to choose from, then the winner and the baselines."""

from dataclasses import dataclass, replace
from typing import Any, Final

from reporting.retraining.order import Retrained, Retraining
from reporting.retraining.tasks import Results, Task
from reporting.settings import ReportSettings
from reporting.study_tables import Record
from search.study.study import split_sizes, trial_seed
from spaces import first_configurations

# In place of a trial's number: far from all of them, so that no retraining repeats its trial, and
# apart from each other, so that no seed that helped to choose the winner takes part in its score.
_CANDIDATE_SEED: Final = 500_000
_FINAL_SEED: Final = 600_000
TUNED: Final = "tuned"
AVERAGED: Final = "tuned, averaged weights"


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """One of the best trials, and its retrainings on the training part.

    Args:
        number: Of the trial.
        value: Validation accuracy in the search.
        tasks: One for each fresh seed.
    """

    number: int
    value: float
    tasks: list[Task]


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One row of the comparison on the test split.

    Args:
        name: `tuned`, or a baseline's.
        params: Its hyperparameter values.
        tasks: One for each seed, on training and validation images together.
    """

    name: str
    params: dict[str, Any]
    tasks: list[Task]


class Plan:
    """The trainings of one report.

    Args:
        settings: What was asked for.
        record: The search.
    """

    def __init__(self, settings: ReportSettings, record: Record) -> None:
        self._settings = settings
        self._record = record
        facts = record.facts
        self._common: dict[str, Any] = {
            name: facts[name] for name in ("space", "data", "split", "precision")
        }
        self._seed = int(facts.get("seed", 0))
        self.candidates = [
            Candidate(
                number=int(number),
                value=float(row["value"]),
                tasks=[
                    self._task(
                        f"trial {number}, seed {seed}",
                        record.trial_params(int(number)),
                        seed=seed,
                        epochs=record.max_epochs,
                        part="train",
                        seconds=self._seconds(record.trial_params(int(number))),
                    )
                    for seed in self._seeds(_CANDIDATE_SEED, settings.candidate_seeds)
                ],
            )
            for number, row in record.complete.head(settings.top).iterrows()
        ]
        self.baselines = [
            self._entry(name, params, settings.baseline_epochs)
            for name, params in first_configurations(str(facts["space"])).items()
            if name != "default"
        ]

    @property
    def candidate_tasks(self) -> list[Task]:
        """Of all candidates, the best of the search first."""
        return [task for candidate in self.candidates for task in candidate.tasks]

    def final_tasks(self, chosen: Candidate) -> list[Task]:
        """Of the winner and of the baselines, the winner first."""
        entries = (*self.winners(chosen), *self.baselines)
        return [task for entry in entries for task in entry.tasks]

    def choose(self, results: Results) -> Candidate | None:
        """The candidate of the highest mean validation accuracy over fresh seeds.

        Returns:
            None while one of their trainings is missing. Failed ones count as missing when all
            of a candidate's failed; else the others are its mean.
        """
        means: dict[int, float] = {}
        for index, candidate in enumerate(self.candidates):
            found = [results.get(task.retraining.key) for task in candidate.tasks]
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
        """The winner's final trainings; with averaged weights too where that was asked for."""
        params = self._record.trial_params(chosen.number)
        entries = [self._entry(TUNED, params, self._settings.epochs)]
        if self._settings.averaging and params.get("weight_averaging") is False:
            averaged = params | {"weight_averaging": True}
            entries.append(self._entry(AVERAGED, averaged, self._settings.epochs))
        return entries

    def _entry(self, name: str, params: dict[str, Any], epochs: int) -> Entry:
        sizes = split_sizes(str(self._record.facts["split"]))
        # All images against the search's training part, in whose epochs the times were taken.
        searched = (60_000 - sizes.val) if sizes.train is None else sizes.train
        seconds = self._seconds(params) * (searched + sizes.val) / searched
        return Entry(
            name=name,
            params=params,
            tasks=[
                self._task(
                    f"{name}, seed {seed}",
                    params,
                    seed=seed,
                    epochs=epochs,
                    part="all",
                    seconds=seconds,
                )
                for seed in self._seeds(_FINAL_SEED, self._settings.seeds)
            ],
        )

    def _seeds(self, first: int, count: int) -> list[int]:
        return [trial_seed(self._seed, first + index) for index in range(count)]

    def _task(self, label: str, params: dict[str, Any], *, seconds: float, **what: Any) -> Task:
        return Task(label, Retraining(params=params, **self._common, **what), seconds)

    def _seconds(self, params: dict[str, Any]) -> float:
        """Expected seconds of one epoch: what the trial of this configuration took, if any did."""
        trials = self._record.trials
        for trial in self._record.frozen:
            if trial.params == params and trial.user_attrs.get("epochs"):
                seconds = float(trial.user_attrs["seconds"])
                return max(seconds / float(trial.user_attrs["epochs"]), 1e-3)
        known = (trials["seconds"] / trials["epochs"]).dropna()
        return float(known.mean()) if len(known) else 1.0


def in_running_order(entries: list[Entry]) -> list[Task]:
    """Their tasks, seed by seed and dear ones first, so that workers end at about the same time."""
    tasks = [(index, task) for entry in entries for index, task in enumerate(entry.tasks)]
    return [
        task
        for _, task in sorted(
            tasks, key=lambda pair: (pair[0], -pair[1].seconds * pair[1].retraining.epochs)
        )
    ]


def preview(settings: ReportSettings) -> ReportSettings:
    """The settings of `--quick`: everything as small as it can be."""
    return replace(settings, top=1, candidate_seeds=1, seeds=1, epochs=2, baseline_epochs=2)
