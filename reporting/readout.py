"""How outputs of a network become probabilities: views of an image, and temperature."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

import numpy as np
import numpy.typing as npt
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax, softmax

from reporting.scoring import Probabilities, Scores, logarithms
from reporting.views import ALONE, Views
from search.data.dataset import Bytes

# Outside of these bounds, the network or the few validation images would be useless.
LOWEST_TEMPERATURE: Final = 0.1
HIGHEST_TEMPERATURE: Final = 10.0
_STANDARD_ERRORS: Final = 0.5
_ROUNDING: Final = 1e-9  # less than the effect of one image in any data set
_BOUND: Final = 0.01  # of the logarithm: a value this near to an end counts as the end


@dataclass(frozen=True, slots=True)
class Tried:
    """Result of a mean over some views, on validation images.

    Args:
        value: Mean objective, in [0, 1].
        temperature: The best one for this mean, as in `Readout`.
    """

    value: float
    temperature: float = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Readout:
    """From logits to probabilities: mean over views, divided by the temperature, softmax.

    Args:
        views: The views of an image whose logits are averaged.
        temperature: Logits are divided by it, from 0.1 to 10: above 1 it takes confidence away,
            below 1 it adds some.
        images: Number of validation images that it was chosen on; 0: it was not chosen.
        runs: Number of trainings that predicted these images.
        compared: Results by views; empty: only the image itself makes sense.
        plain: Why the network alone is used; empty if the readout was chosen.
    """

    views: Views = ALONE
    temperature: float = 1.0
    images: int = 0
    runs: int = 0
    compared: Mapping[Views, Tried] = field(default_factory=dict)
    plain: str = ""

    def probabilities(self, scores: Scores) -> Probabilities:
        """Return (n, classes) probabilities.

        Args:
            scores: Of a network, with those of all views that are averaged.
        """
        if self.views == ALONE and self.temperature == 1:
            return scores.probabilities
        found = softmax(_logits(scores, self.views) / self.temperature, axis=1)
        return np.asarray(found, np.float64)


# Of the network alone: baselines are used as they were published.
PLAIN: Final = Readout()


def choose(
    scored: Sequence[Scores], labels: Bytes, *, views: Views = ALONE, objective: str = "accuracy"
) -> Readout:
    """Choose on images that the networks have not trained on.

    Mirror images are averaged if this does not lower the mean objective over the networks.
    Shifts, which take five times as long, are averaged if the objective exceeds the best one
    without shifts by more than half a standard error of the paired difference over images. The
    temperature for each choice of views minimizes the mean negative log-likelihood over all
    networks together. It is 1 if there is no minimum in the range, for example if all images are
    predicted right.

    Args:
        scored: Predictions of one or more networks, with those of all views.
        labels: (n,) of the images.
        views: Views worth averaging.
        objective: What the search maximized: `accuracy` or `balanced_accuracy`.

    Source: Guo et al. 2017, "On Calibration of Modern Neural Networks", section 4.2.
    """
    weights = _weights(labels, balanced=objective == "balanced_accuracy")
    gained = {  # by each image, mean over the networks; the mean over the images is the objective
        way: weights * np.mean([_logits(one, way).argmax(axis=1) == labels for one in scored], 0)
        for way in views.ways
    }
    compared = {
        way: Tried(float(each.mean()), _temperature([_logits(one, way) for one in scored], labels))
        for way, each in gained.items()
    }
    best = ALONE
    for way in compared:
        if not way.shifts and compared[way].value >= compared[best].value - _ROUNDING:
            best = way
    without = best
    for way in compared:
        difference = gained[way] - gained[without]
        margin = _STANDARD_ERRORS * float(difference.std()) / np.sqrt(len(labels)) + _ROUNDING
        if way.shifts and difference.mean() > margin and compared[way].value > compared[best].value:
            best = way
    return Readout(
        views=best,
        temperature=compared[best].temperature,
        images=len(labels),
        runs=len(scored),
        compared=compared if len(compared) > 1 else {},
    )


def _temperature(logits: Sequence[Probabilities], labels: Bytes) -> float:
    """Return the temperature for logits (n, classes) of one or more networks."""
    rows = np.arange(len(labels))

    def loss(log_temperature: float) -> float:
        temperature = float(np.exp(log_temperature))
        each = [log_softmax(one / temperature, axis=1)[rows, labels].mean() for one in logits]
        return -float(np.mean(each))

    bounds = np.log([LOWEST_TEMPERATURE, HIGHEST_TEMPERATURE])
    found = minimize_scalar(loss, bounds=bounds, method="bounded", options={"xatol": 1e-4})
    has_minimum = bool(np.abs(bounds - found.x).min() > _BOUND)
    return round(float(np.exp(found.x)), 4) if has_minimum else 1.0


def _weights(labels: Bytes, *, balanced: bool) -> npt.NDArray[np.float64]:
    """Return (n,) weights of images, of mean 1; if balanced, each class has the same sum."""
    if not balanced:
        return np.ones(len(labels))
    counts = np.bincount(labels)
    return np.asarray(len(labels) / (np.count_nonzero(counts) * counts[labels]), np.float64)


def _logits(scores: Scores, views: Views) -> Probabilities:
    """Return (n, classes) logits, up to a constant for each image: the mean over the views."""
    parts = [scores.probabilities, *(scores.others[name] for name in views.others)]
    weights = [1, *views.others.values()]
    logs = [logarithms(part) for part in parts]
    return np.asarray(np.average(logs, axis=0, weights=weights), np.float64)
