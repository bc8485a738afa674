"""Mirror images and temperature, chosen on validation images."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scipy.special import softmax
from sklearn.metrics import balanced_accuracy_score, log_loss

from reporting.evidence import make_row, other_way
from reporting.plan import Entry
from reporting.readout import PLAIN, Readout, choose
from reporting.retraining import Retrained
from reporting.scoring import Scores
from reporting.views import ALONE, Views, views_of

MIRROR, SHIFTS, ALL = Views(mirror=True), Views(shifts=True), Views(True, True)
CLASSES = 5
LABELS = (np.arange(2000) % CLASSES).astype(np.uint8)


def logits(seed: int, *, strength: float = 2.0) -> np.ndarray:
    """Logits that are calibrated: labels are as probable as their softmax says."""
    rng = np.random.default_rng(seed)
    drawn = rng.normal(size=(len(LABELS), CLASSES))
    drawn[np.arange(len(LABELS)), LABELS] += strength  # of two normal densities, the ratio
    return strength * drawn


def scores(given: np.ndarray, mirrored: np.ndarray | None = None) -> Scores:
    return Scores(
        probabilities=softmax(given, axis=1),
        others={} if mirrored is None else {"mirrored": softmax(mirrored, axis=1)},
        milliseconds_per_image=1.0,
    )


@pytest.mark.parametrize("planted", [0.5, 1.0, 3.0])
def test_the_temperature_that_was_planted_is_found(planted: float) -> None:
    scored = [scores(planted * logits(seed)) for seed in range(2)]
    found = choose(scored, LABELS, views=ALONE)
    assert found.temperature == pytest.approx(planted, rel=0.1)
    assert (found.views, found.images, found.runs, found.compared) == (ALONE, 2000, 2, {})
    calibrated = found.probabilities(scored[0])
    np.testing.assert_allclose(
        calibrated, softmax(planted * logits(0) / found.temperature, axis=1), atol=1e-9
    )
    np.testing.assert_allclose(calibrated.sum(axis=1), 1, rtol=1e-12)


def test_the_temperature_is_that_of_the_mean_over_mirror_images() -> None:
    scored = [scores(0.5 * logits(0), 0.5 * logits(1))]
    found = choose(scored, LABELS, views=MIRROR)
    assert found.views == MIRROR
    assert found.temperature < 0.5  # the mean of two is less sure than each

    def loss(temperature: float) -> float:
        way = Readout(views=MIRROR, temperature=temperature)
        return float(log_loss(LABELS, way.probabilities(scored[0])))

    best = loss(found.temperature)
    assert best < min(loss(1.0), loss(1.05 * found.temperature), loss(found.temperature / 1.05))
    mean = softmax((logits(0) + logits(1)) / 4 / found.temperature, axis=1)
    np.testing.assert_allclose(found.probabilities(scored[0]), mean, atol=1e-9)


def test_each_way_has_its_own_temperature() -> None:
    scored = [scores(0.5 * logits(0), 0.5 * logits(1))]
    found = choose(scored, LABELS, views=MIRROR)
    assert found.temperature == found.compared[MIRROR].temperature
    alone = choose(scored, LABELS, views=ALONE).temperature
    assert found.compared[ALONE].temperature == alone == pytest.approx(0.5, rel=0.1)
    entry = Entry(name="tuned", params={}, retrainings=[])
    run = Retrained(
        folder=Path("nowhere"),
        seed=0,
        parameters=1,
        history=[{"loss": 1.0}],
        train_seconds=1.0,
        cpu_seconds=1.0,
        val_accuracy=None,
        origin={},
    )
    one = [(run, scored[0])]
    row = make_row(entry, "tuned", one, LABELS, "", found)
    other = other_way(row, entry, one, ALONE)
    assert (other.name, other.readout.temperature) == ("tuned, network alone", alone)
    np.testing.assert_allclose(other.probabilities[0], softmax(0.5 * logits(0) / alone, axis=1))


def test_mirror_images_are_chosen_if_mean_accuracy_does_not_fall() -> None:
    good, bad = logits(0), logits(1, strength=0.1)
    same = choose([scores(good, good)], LABELS, views=MIRROR)
    assert same.views == MIRROR
    assert same.compared[ALONE] == same.compared[MIRROR]
    worse = choose([scores(good, 20 * bad)], LABELS, views=MIRROR)
    assert worse.views == ALONE
    assert worse.compared[MIRROR].value < worse.compared[ALONE].value
    # It is the mean that counts: one network may lose by it.
    mixed = choose([scores(good, 20 * bad), *[scores(20 * bad, good)] * 3], LABELS, views=MIRROR)
    assert mixed.views == MIRROR
    assert choose([scores(good, good)], LABELS, views=ALONE).views == ALONE


def test_shifts_are_chosen_only_if_mean_accuracy_rises() -> None:
    good, bad = logits(0), logits(1, strength=0.1)

    def chosen(mirrored: np.ndarray, shifted: np.ndarray, both: np.ndarray) -> Views:
        groups = {"mirrored": mirrored, "shifted": shifted, "mirrored_shifted": both}
        given = replace(scores(good), others={k: softmax(v, axis=1) for k, v in groups.items()})
        found = choose([given], LABELS, views=ALL)
        assert list(found.compared) == [ALONE, MIRROR, SHIFTS, ALL]
        return found.views

    assert chosen(good, good, good) == MIRROR
    assert chosen(20 * bad, 20 * bad, 20 * bad) == ALONE
    assert chosen(good, logits(2), logits(3)) == ALL
    # Where mirroring hurts, shifts may pay all the same.
    assert chosen(20 * bad, logits(2), 20 * bad) == SHIFTS


def outputs_of(right: np.ndarray, labels: np.ndarray = LABELS) -> np.ndarray:
    """Sure outputs, right for some images."""
    return 9 * np.eye(CLASSES)[np.where(right, labels, (labels + 1) % CLASSES)]


@pytest.mark.parametrize(
    ("won", "lost", "views"),
    [
        (0, 0, ALONE),
        (52, 48, ALONE),  # 4 of 100 images that differ: 0.4 standard errors
        (53, 47, SHIFTS),  # 0.6
        (1, 0, SHIFTS),
    ],
)
def test_shifts_must_gain_half_a_standard_error(won: int, lost: int, views: Views) -> None:
    images = np.arange(len(LABELS))
    alone = images >= 1000
    shifted = (alone | (images < won)) & (images < len(LABELS) - lost)
    # The mean of two sure outputs must follow the shifted ones.
    given = replace(
        scores(outputs_of(alone)), others={"shifted": softmax(outputs_of(shifted), axis=1)}
    )
    for scored in ([given], [given, given]):  # seeds that agree say no more than one
        assert choose(scored, LABELS, views=SHIFTS).views == views


def test_shifts_must_gain_half_a_standard_error_of_the_objective() -> None:
    images = np.arange(1000)
    labels = np.where(images < 10, 0, 1).astype(np.uint8)
    alone = (images >= 5) & (images < 900)
    # They mend 40 images of the frequent class, and lose one of the ten of the rare one.
    shifted = (images >= 6) & (images < 940)
    given = replace(
        scores(outputs_of(alone, labels)),
        others={"shifted": softmax(outputs_of(shifted, labels), axis=1)},
    )
    assert choose([given], labels, views=SHIFTS).views == SHIFTS
    found = choose([given], labels, views=SHIFTS, objective="balanced_accuracy")
    assert found.views == ALONE
    balanced = [
        balanced_accuracy_score(labels, np.where(x, labels, 1 - labels)) for x in (alone, shifted)
    ]
    assert [tried.value for tried in found.compared.values()] == pytest.approx(balanced)
    # Five images more are half of the rare class.
    rare = alone | (images < 10)
    given = replace(given, others={"shifted": softmax(outputs_of(rare, labels), axis=1)})
    assert choose([given], labels, views=SHIFTS, objective="balanced_accuracy").views == SHIFTS


@pytest.mark.parametrize(
    ("mirror", "augmentation", "views"),
    [
        (None, "flip", MIRROR),
        (None, "flip_shift", ALL),
        (True, "shift_erase", ALL),
        (False, "shift", SHIFTS),
        (False, "none", ALONE),
        # Of a space of the user's.
        (None, "no_shift", ALONE),
        (None, "colour flip", ALONE),
        (None, ["shift"], ALONE),
    ],
)
def test_views_follow_the_augmentation(
    mirror: bool | None, augmentation: object, views: Views
) -> None:
    assert views_of(mirror, {"augmentation": augmentation}) == views
    assert views_of(mirror, {}) == (MIRROR if mirror else ALONE)


def test_each_shifted_view_counts_as_much_as_the_image_itself() -> None:
    groups = {"mirrored": logits(1), "shifted": logits(2), "mirrored_shifted": logits(3)}
    given = replace(scores(logits(0)), others={k: softmax(v, axis=1) for k, v in groups.items()})
    mean = (logits(0) + logits(1) + 4 * logits(2) + 4 * logits(3)) / 10
    np.testing.assert_allclose(
        Readout(views=ALL).probabilities(given), softmax(mean, axis=1), atol=1e-9
    )


@pytest.mark.parametrize("shift", [0, 1], ids=["all right", "all wrong"])
def test_without_a_minimum_in_the_range_the_temperature_stays_1(shift: int) -> None:
    outputs = np.roll(2 * np.eye(CLASSES)[LABELS], shift, axis=1)
    assert choose([scores(outputs)], LABELS, views=ALONE).temperature == 1


def test_the_mirror_is_chosen_by_the_objective_of_the_search() -> None:
    rare = LABELS[0] == LABELS
    labels = np.where(rare, 0, 1).astype(np.uint8)
    labels[np.flatnonzero(rare)[5:]] = 1
    right = 4 * np.eye(CLASSES)[labels]
    alone = right.copy()
    alone[labels == 1] = 4 * np.eye(CLASSES)[0] * (np.arange((labels == 1).sum()) < 10)[:, None] + (
        4 * np.eye(CLASSES)[1] * (np.arange((labels == 1).sum()) >= 10)[:, None]
    )
    # The mirror images mend those ten, and are sure of the wrong class of the rare five.
    mirrored = 20 * np.eye(CLASSES)[np.ones_like(labels)]
    given = [scores(alone, mirrored)]
    assert choose(given, labels, views=MIRROR).views == MIRROR
    assert choose(given, labels, views=MIRROR, objective="balanced_accuracy").views == ALONE


def test_a_network_alone_keeps_its_probabilities() -> None:
    given = scores(logits(0), logits(1))
    assert PLAIN.probabilities(given) is given.probabilities
