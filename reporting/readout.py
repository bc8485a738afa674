"""How outputs of a network become probabilities: mirror images and temperature."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax, logsumexp
from sklearn.metrics import accuracy_score, balanced_accuracy_score

from reporting.scoring import Probabilities, Scores
from search.data.dataset import Bytes

# A temperature outside would say that the network, or its few validation images, are useless.
LOWEST_TEMPERATURE: Final = 0.1
HIGHEST_TEMPERATURE: Final = 10.0
_BOUND: Final = 0.01  # of the logarithm: as near to an end, it is one
# In place of a probability of 0, whose logarithm is not finite; float32 can hold it.
SMALLEST: Final = 1e-37


@dataclass(frozen=True, slots=True, kw_only=True)
class Readout:
    """From logits to probabilities: divided by the temperature, softmax, mean over mirror images.

    Args:
        mirror: Whether to average the probabilities of an image and of its mirror image.
        temperature: Logits are divided by it, from 0.1 to 10: above 1 it takes confidence away,
            below 1 it adds some.
        images: Validation images that it was chosen on; 0: it was not chosen.
        runs: Trainings that have predicted these images.
        compared: Mean validation objective without and with mirror images; None: not compared,
            as mirror images make no sense for these data.
        plain: Why it is that of the network alone; empty if it was chosen.
    """

    mirror: bool = False
    temperature: float = 1.0
    images: int = 0
    runs: int = 0
    compared: tuple[float, float] | None = None
    plain: str = ""

    def probabilities(self, scores: Scores) -> Probabilities:
        """Return (n, classes) probabilities.

        Args:
            scores: Of a network; with those of mirrored images if they are to be averaged.
        """
        if not self.mirror and self.temperature == 1:
            return scores.probabilities
        found = np.exp(_log_probabilities(_logits(scores, self.mirror), self.temperature))
        return np.asarray(found / found.sum(axis=1, keepdims=True), np.float64)


# Of the network alone: baselines are used as they were published.
PLAIN: Final = Readout()


def choose(
    scored: Sequence[Scores], labels: Bytes, *, mirror: bool, objective: str = "accuracy"
) -> Readout:
    """Choose on images that the networks have not trained on.

    Mirror images are averaged if the mean objective over the networks does not fall by it. The
    temperature then minimizes the mean negative log-likelihood of the final probabilities, over
    all networks together; it stays 1 if that has no minimum in the range, as where all images are
    predicted right.

    Args:
        scored: Predictions of one or more networks, with those of mirrored images if `mirror`.
        labels: (n,) of the images.
        mirror: Whether averaging mirror images makes sense.
        objective: What the search maximized: `accuracy` or `balanced_accuracy`.

    Source: Guo et al. 2017, "On Calibration of Modern Neural Networks", section 4.2.
    """
    measure = balanced_accuracy_score if objective == "balanced_accuracy" else accuracy_score
    compared = None
    if mirror:
        alone, both = (
            float(
                np.mean([measure(labels, way.probabilities(one).argmax(axis=1)) for one in scored])
            )
            for way in (PLAIN, Readout(mirror=True))
        )
        compared = alone, both
    averages = compared is not None and compared[1] >= compared[0]
    logits = [_logits(scores, averages) for scores in scored]
    rows = np.arange(len(labels))

    def loss(log_temperature: float) -> float:
        temperature = float(np.exp(log_temperature))
        each = [_log_probabilities(views, temperature)[rows, labels].mean() for views in logits]
        return -float(np.mean(each))

    bounds = np.log([LOWEST_TEMPERATURE, HIGHEST_TEMPERATURE])
    best = minimize_scalar(loss, bounds=bounds, method="bounded", options={"xatol": 1e-4})
    has_minimum = bool(np.abs(bounds - best.x).min() > _BOUND)
    return Readout(
        mirror=averages,
        temperature=round(float(np.exp(best.x)), 4) if has_minimum else 1.0,
        images=len(labels),
        runs=len(scored),
        compared=compared,
    )


def _logits(scores: Scores, mirror: bool) -> Probabilities:
    """Return (views, n, classes) logits, up to a constant for each image."""
    views = [scores.probabilities]
    if mirror:
        assert scores.mirrored is not None  # the caller has asked for them
        views.append(scores.mirrored)
    shares = np.stack(views)
    return np.asarray(np.log(np.where(shares > 0, shares, SMALLEST)), np.float64)


def _log_probabilities(logits: Probabilities, temperature: float) -> Probabilities:
    """Return (n, classes) logarithms of the mean probabilities over the views."""
    each = log_softmax(logits / temperature, axis=-1)
    return np.asarray(logsumexp(each, axis=0) - np.log(len(logits)), np.float64)
