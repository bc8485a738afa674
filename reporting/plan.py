"""The retrainings of a report: the chosen trials, then the winner and the baselines.

The chosen trials are compared at the length of the final trainings, each also with shifts: the best
augmentation depends on the length, and trials of a search are shorter.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from optuna.distributions import CategoricalDistribution

from reporting.choosing import chosen_trials, prediction_costs
from reporting.retraining import Results, Retrained, Retraining, Teachers
from reporting.settings import ReportSettings
from reporting.study_tables import Record, training_costs
from reporting.views import ALONE, Views, views_of
from search.data.split import VALIDATION_COST
from search.study.provenance import module_digest
from search.study.study import known_as, trial_params, trial_seed
from search.workers.messages import Images
from spaces import DEFAULT, DataShape, published_configurations
from spaces.baselines import BASELINES
from spaces.training import SHIFTED

TUNED: Final = "tuned"
AVERAGED: Final = "tuned, averaged weights"
DISTILLED: Final = "distilled"
# Used in place of a trial's number. Far above all of them, so that no retraining repeats its trial,
# and far apart, so that no seed that helped to choose the winner takes part in its score.
_CANDIDATE_SEED: Final = 500_000
FINAL_SEED: Final = 600_000
_DISTILLED_SEED: Final = 700_000
_AUGMENTATION: Final = "augmentation"
# Final trainings train on validation images too.
_VALIDATION_COSTS: Final = {Images.TRAINING: VALIDATION_COST, Images.ALL: 1.0}
_EPOCH_COSTS: Final = {baseline.name: baseline.epoch_cost for baseline in BASELINES}


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """One of the chosen trials, with its own augmentation or another one, to retrain and compare.

    Args:
        number: Number of the trial.
        value: Validation accuracy of the trial in the search.
        params: Hyperparameter values, which the final trainings have too.
        augmentation: The augmentation in place of the trial's; None: its own.
        retrainings: One for each seed, on the training part, as long as the final trainings.
        known_as: Name of the trial's configuration; None: it was sampled.
    """

    number: int
    value: float
    params: dict[str, Any]
    augmentation: str | None
    retrainings: list[Retraining]
    known_as: str | None = None

    @property
    def name(self) -> str:
        """The trial, and how it was changed."""
        return _name(self.number, self.augmentation)


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One row of the comparison on the test part.

    Args:
        name: `tuned`, or a baseline's name.
        params: Hyperparameter values.
        retrainings: One for each seed, on training and validation images together.
    """

    name: str
    params: dict[str, Any]
    retrainings: list[Retraining]

    @property
    def epochs(self) -> int | None:
        """Planned epochs of each training; a space's own `fit` may record or train fewer."""
        return self.retrainings[0].epochs if self.retrainings else None

    @property
    def teachers(self) -> tuple[Retrained, ...]:
        """Trainings whose predictions it learns; none unless it is distilled."""
        return tuple(
            kept for one in self.retrainings if one.teachers for kept in one.teachers.finals
        )


class Plan:
    """The retrainings of one report.

    Args:
        settings: Settings of the report.
        record: The search.
        data: What its data set looks like. Baselines are rows wherever images have the shape of
            Fashion-MNIST's; their published numbers are shown for Fashion-MNIST only.
        images: Number of images of its training part, validation images included.

    Raises:
        ReportError: No trial is within the limits of the report.
    """

    def __init__(
        self, settings: ReportSettings, record: Record, data: DataShape, images: int
    ) -> None:
        self._settings = settings
        self._record = record
        self._mirror = data.mirror
        # Without training, what there is counts, of whatever code.
        self._code = module_digest(record.space) if settings.retrain else None
        self.sizes = settings.sizes(record.sizes)
        self.images = images
        self._costs = training_costs(record, images)
        self.candidates = self._candidates()
        self.baselines = [
            self._entry(
                name,
                params,
                settings.baseline_epochs,
                settings.seeds_of_baselines,
                shared=True,
            )
            for name, params in published_configurations(record.space, data).items()
        ]

    @property
    def more_images(self) -> str:
        """Say how many images the retrainings have, if epochs of the search had others."""
        images, searched = (
            sizes.epoch_images(self.images) for sizes in (self.sizes, self._record.sizes)
        )
        if images == searched:
            return ""
        return f" of {images:,} images ({searched:,} in the search)"

    def due(self, results: Results) -> list[Retraining]:
        """Return the retrainings known so far, finished ones too, most urgent first.

        The winner's follow once the candidates are finished, and the distilled network's once its
        teachers are.
        """
        chosen = self.choose(results)
        return [
            *(self._finals(chosen, results) if chosen is not None else []),
            *(one for candidate in self.candidates for one in candidate.retrainings),
            *_interleaved(self.baselines),
        ]

    def kept(self, results: Results) -> list[Retraining]:
        """Return the retrainings that a report without training loads, including those due.

        Failed trainings are not kept, so the distilled network is looked up even where teachers are
        missing: it may have been trained without them.
        """
        chosen = self.choose(results)
        distilled = [] if chosen is None else self.distilled(chosen, results)
        return [
            *self.due(results),
            *(one for entry in distilled if entry.teachers for one in entry.retrainings),
        ]

    def choose(self, results: Results) -> Candidate | None:
        """Return the candidate with the highest mean validation accuracy over new seeds.

        All candidates keep the rule of the report, so the winner does too. Ties go to the better
        one in the search. A small lead counts too: to require one above the noise would leave the
        choice to the search, whose trainings are shorter.

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
        # max() keeps the first of equals.
        return self.candidates[max(means, key=lambda index: means[index])]

    def views(self, chosen: Candidate) -> Views:
        """Return the views of an image that are tried for the winner."""
        if prediction_costs(self._settings, self._record):
            return ALONE
        return views_of(self._mirror, chosen.params)

    def winners(self, chosen: Candidate) -> list[Entry]:
        """Return the winner's row, and the one with averaged weights if that was asked for."""
        params, settings = chosen.params, self._settings
        entries = [self._entry(TUNED, params, settings.final_epochs, settings.seeds)]
        if settings.averaging and params.get("weight_averaging") is False:
            averaged = params | {"weight_averaging": True}
            entries.append(self._entry(AVERAGED, averaged, settings.final_epochs, settings.seeds))
        return entries

    def distilled(self, chosen: Candidate, results: Results) -> list[Entry]:
        """Return the row of the distilled network if it was asked for.

        Args:
            chosen: The winner.
            results: Its successful trainings of the winner become the teachers.
        """
        if not self._settings.distill:
            return []
        [retraining] = self._retrainings(
            DISTILLED,
            chosen.params,
            Images.ALL,
            epochs=self._settings.final_epochs,
            first_seed=_DISTILLED_SEED,
            seeds=1,
        )
        tuned, *_ = self.winners(chosen)
        teachers = Teachers(
            finals=finished(tuned.retrainings, results),
            candidates=finished(chosen.retrainings, results),
            views=self.views(chosen),
        )
        taught = replace(retraining, teachers=teachers)
        return [Entry(name=DISTILLED, params=chosen.params, retrainings=[taught])]

    def _finals(self, chosen: Candidate, results: Results) -> list[Retraining]:
        """Return the winner's final trainings, and the distilled one once its teachers are done."""
        tuned, *others = self.winners(chosen)
        is_taught = all(one.key in results for one in tuned.retrainings)
        distilled = self.distilled(chosen, results) if is_taught else []
        return _interleaved([tuned, *others, *(one for one in distilled if one.teachers)])

    def _candidates(self) -> list[Candidate]:
        """Return the chosen trials, each as it was and, if that is new, with shifts."""
        best = chosen_trials(self._settings, self._record)
        known = [self._record.trial_params(number) for number in best]
        found = []
        for number, params in zip(best, list(known), strict=True):
            versions: list[tuple[str | None, dict[str, Any]]] = [(None, params)]
            augmentation = self._shifted(number)
            shifted = params | {_AUGMENTATION: augmentation}
            if augmentation is not None and shifted not in known:
                known.append(shifted)
                versions.append((augmentation, shifted))
            found += [
                Candidate(
                    number=number,
                    value=float(self._record.trials.loc[number, "value"]),
                    params=values,
                    augmentation=changed,
                    known_as=known_as(self._record.frozen[number]),
                    retrainings=self._retrainings(
                        _name(number, changed),
                        values,
                        Images.TRAINING,
                        epochs=self._settings.final_epochs,
                        first_seed=_CANDIDATE_SEED,
                        seeds=self._settings.candidate_seeds,
                    ),
                )
                for changed, values in versions
            ]
        return found

    def _shifted(self, number: int) -> str | None:
        """Return a trial's augmentation with shifts; None if it has them, or the space has none."""
        offered = self._record.frozen[number].distributions.get(_AUGMENTATION)
        if not isinstance(offered, CategoricalDistribution):
            return None
        own = self._record.trial_params(number)[_AUGMENTATION]
        return next((one for one in SHIFTED.get(own, ()) if one in offered.choices), None)

    def _entry(
        self, name: str, params: dict[str, Any], epochs: int, seeds: int, *, shared: bool = False
    ) -> Entry:
        retrainings = self._retrainings(
            name,
            params,
            Images.ALL,
            epochs=epochs,
            first_seed=FINAL_SEED,
            seeds=seeds,
            shared=shared,
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
        shared: bool = False,
    ) -> list[Retraining]:
        facts = self._record.facts
        # A baseline is the same one in every study, whatever the seed of the search.
        seed = 0 if shared else int(facts.get("seed", 0))
        startup_seconds, image_seconds = self._estimate_seconds(params, name)
        epoch_cost = self.sizes.epoch_cost(self.images, _VALIDATION_COSTS[images])
        return [
            Retraining(
                space=self._record.space,
                params=params,
                seed=given,
                epochs=epochs,
                images=images,
                data=facts["data"],
                sizes=self.sizes,
                precision=facts["precision"],
                pixels=facts.get("pixels"),
                objective=self._record.objective,
                label=f"{name}, seed {given}",
                startup_seconds=startup_seconds,
                epoch_seconds=epoch_cost * image_seconds,
                shared=shared,
                code=self._code,
            )
            for given in (trial_seed(seed, first_seed + index) for index in range(seeds))
        ]

    def _estimate_seconds(self, params: dict[str, Any], name: str) -> tuple[float, float]:
        """Estimate the start and an image from trials of this configuration, else from others.

        A published system costs a known part of the default, which most searches have tried.
        """
        wanted = _without_augmentation(params)
        same = [
            trial.number
            for trial in self._record.frozen
            if _without_augmentation(trial_params(trial)) == wanted
        ]
        image = self._costs["image"]
        known = image.index[image.between(0, float("inf"), inclusive="neither")]
        if known.empty:
            return 0.0, 1.0 / self.sizes.epoch_cost(self.images)
        rows, cost = known.intersection(same), 1.0
        if rows.empty and self._record.space == "cnn" and name in _EPOCH_COSTS:
            names = self._record.trials["name"]
            rows, cost = known.intersection(names.index[names == DEFAULT]), _EPOCH_COSTS[name]
        if rows.empty:
            rows, cost = known, 1.0
        means = self._costs.loc[rows].mean()
        return float(means["startup"]), cost * float(means["image"])


def finished(retrainings: Sequence[Retraining], results: Results) -> tuple[Retrained, ...]:
    """Return the results of those that are finished and have not failed."""
    found = [results.get(retraining.key) for retraining in retrainings]
    return tuple(kept for kept in found if isinstance(kept, Retrained))


def _name(number: int, augmentation: str | None) -> str:
    return f"trial {number}" if augmentation is None else f"trial {number} with {augmentation}"


def _without_augmentation(params: Mapping[str, Any]) -> dict[str, Any]:
    """Return the hyperparameters that determine how long an epoch takes."""
    return {name: value for name, value in params.items() if name != _AUGMENTATION}


def _interleaved(entries: Sequence[Entry]) -> list[Retraining]:
    """Return their retrainings by seed, the longest first, so that workers end together."""
    numbered = [(index, one) for entry in entries for index, one in enumerate(entry.retrainings)]
    return [one for _, one in sorted(numbered, key=lambda pair: (pair[0], -pair[1].seconds))]
