"""Test accuracy and cost of every network, and how the winner was chosen."""

from collections.abc import Callable, Sequence
from functools import partial
from operator import attrgetter
from typing import Any, Final

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from reporting.dimensions import brief
from reporting.drawing.style import (
    BLUE,
    ORANGE,
    VERMILION,
    is_narrow,
    legend_above,
    new_figure,
    percent,
    points,
    spread,
    wrapped,
)
from reporting.evidence import Evidence, Remeasured, Row
from reporting.page.document import Block, Column, Paragraph, Picture, Table
from reporting.statistics import IMAGES_ONLY, Difference, Interval
from reporting.views import ALONE, trained_with_flips, views_of
from search.words import counted, listed
from spaces.baselines import BASELINES

_BASELINES: Final = {baseline.name: baseline for baseline in BASELINES}
_BELOW: Final = 0.22


def blocks(evidence: Evidence) -> list[Block]:
    """Write the main table, its details, every seed as a point, and the choice of the winner."""
    written: list[Block] = []
    if evidence.scored:
        columns = _columns(evidence)
        written = [
            _table(evidence, columns),
            _seeds(evidence, sorted(evidence.scored, key=lambda row: -row.accuracy.mean)),
            _details(evidence, columns),
            *_published(evidence),
        ]
    else:
        written = [Paragraph(evidence.no_test_results)]
    if evidence.gaps:
        written.append(Paragraph(evidence.gaps))
    if any(remeasured.runs for remeasured in evidence.remeasured):
        written += [_candidates(evidence)]
    written += [Paragraph(f"{label}: failed, {why}.") for label, why in evidence.failures.items()]
    return written


_CHOICE: Final = (
    "The winner has the highest mean {measure} over new seeds; ties go to the one that scored "
    "higher in the search. Candidates are trained as long as the final trainings ({epochs}), "
    "because the best augmentation depends on the length. Change: difference from the trial's "
    "score in the search after {searched}; the best of many scores is partly luck. "
    "The test images played no part in the choice."
)


def _table(evidence: Evidence, columns: Sequence[Column]) -> Table:
    shown = ("network", "parameters", _ACCURACY, _BALANCED, _DIFFERENCE, "training CPU s")
    notes = ["Test accuracy: mean over seeds and its 95 % t interval."]
    if evidence.shows_balanced:
        why = "; the classes of the test part differ in size" if evidence.is_imbalanced else ""
        notes.append(f"Balanced accuracy: mean recall of the classes, mean over seeds{why}.")
    if evidence.has_baselines:
        notes.append(
            f"Δ accuracy: tuned minus this network, in percentage points, {_bootstrap(evidence)}."
        )
        if not evidence.dataset.is_fashion_mnist:
            notes.append("Baselines: published for another data set.")
    notes.append(
        "Training CPU s: mean of one training in "
        f"{evidence.record.facts.get('precision')}{_several(evidence)}."
    )
    return Table(
        name="accuracy",
        caption="Test accuracy and training cost",
        note=" ".join([*notes, *_of_views(evidence), *_of_distillation(evidence)]),
        columns=[_only(column, shown) for column in columns],
        items=evidence.rows,
    )


def _several(evidence: Evidence) -> str:
    """Say which rows cost several trainings."""
    rows = evidence.rows
    ensemble = "; for an ensemble, all its models" if any(row.models > 1 for row in rows) else ""
    taught = [f"; for {row.name}, its teachers too" for row in _distilled(evidence)]
    return "".join([ensemble, *taught])


def _distilled(evidence: Evidence) -> list[Row]:
    return [row for row in evidence.scored if row.teachers]


def _of_distillation(evidence: Evidence) -> list[str]:
    """Say what the distilled network has learned, where there is one."""
    return [
        f"{row.name.capitalize()}: one network of the winner's configuration with another seed. "
        "Its target for an image is the mean of the label and of the mean prediction (views "
        "and temperature as for tuned) of "
        f"{counted(len(row.teachers), 'final training')}, which have trained on that label too. "
        "Augmented images keep the target of their original. It is read with tuned's temperature."
        for row in _distilled(evidence)
    ]


def _of_views(evidence: Evidence) -> list[str]:
    """Say what the mean over views of an image is, and why it was chosen or not."""
    tuned = next(row for row in evidence.rows if row.kind == "tuned")
    readout = evidence.readout
    if not readout.compared:
        untried = views_of(evidence.dataset.mirror, tuned.params)
        if untried == ALONE or not evidence.prediction_costs:
            return []
        return [
            f"Means over {untried} were not tried: {listed(evidence.prediction_costs)} is limited "
            "or minimized, and each view of an image costs a prediction."
        ]
    measure = evidence.record.measure
    most = list(readout.compared)[-1]
    notes = []
    if most.mirror:
        trained = (
            "the winner was trained on mirrored images too"
            if trained_with_flips(tuned.params)
            else "the winner was not trained on mirrored images, so this need not help"
        )
        notes.append(
            "Mirror images: each model's mean prediction for an image and its mirror image; "
            f"{trained}; chosen unless {measure} falls by it."
        )
    if most.shifts:
        notes.append(
            "Shifts: mean also over each image shifted by one pixel in four directions; chosen "
            f"only if {measure} rises above the best without shifts by more than half a standard "
            f"error of the paired difference over {readout.images:,} images."
        )
    found = listed([f"{percent(tried.value)} {way}" for way, tried in readout.compared.items()])
    why = "; best_model.keras is the network alone" if readout.plain else ""
    notes.append(f"{measure.capitalize()}: {found}; tuned: {readout.views}{why}.")
    if readout.views != ALONE and evidence.has_baselines:
        notes.append("Baselines use the image alone, as published.")
    return notes


def _details(evidence: Evidence, columns: Sequence[Column]) -> Table:
    left_out = ("parameters", _ACCURACY, _BALANCED, _DIFFERENCE, "training CPU s")
    test = (
        "p: McNemar's exact test between the models of the first seeds, Holm-corrected. "
        if evidence.has_baselines
        else ""
    )
    return Table(
        name="accuracy-details",
        caption="Details: spread over seeds, validation accuracy, cost",
        note=f"{test}ms/image: wall time in batches of at most 500 on all cores, float32; "
        "of several views or models: that of the network alone, times their number. These values "
        "are in tables/accuracy.csv too.",
        columns=[
            Column(None, column.heading, column.value, column.format)
            for column in columns
            if column.heading is not None and column.heading not in left_out
        ],
        items=evidence.rows,
        fold=True,
    )


def _only(column: Column, headings: Sequence[str]) -> Column:
    """Return the column, for the CSV file only unless its heading is among those given."""
    if column.heading in headings:
        return column
    return Column(column.name, None, column.value, column.format)


_ACCURACY: Final = "test accuracy (95 % interval)"
_BALANCED: Final = "balanced accuracy"
_DIFFERENCE: Final = "Δ accuracy (pp)"


def _columns(evidence: Evidence) -> list[Column]:
    """All columns of the CSV file and of the two tables on the page."""

    def difference(get: Callable[[Difference], Any]) -> Callable[[Row], Any]:
        def value(row: Row) -> Any:
            found = evidence.differences.get(row.name)
            return None if found is None else get(found)

        return value

    def again(row: Row) -> Interval | None:
        return evidence.winner.accuracy if row.kind == "tuned" and evidence.winner else None

    balanced = Column(
        "test_balanced_accuracy",
        _BALANCED,
        _scored(lambda row: row.balanced_accuracy.mean),
        percent,
    )
    shown_difference = Column(
        None, _DIFFERENCE, difference(lambda found: found), difference_with_interval
    )
    differences = [
        Column("difference", None, difference(lambda found: found.mean)),
        Column("difference_low", None, difference(lambda found: found.low)),
        Column("difference_high", None, difference(lambda found: found.high)),
        Column("p_mcnemar", None, difference(lambda found: found.p_value)),
        Column("p_holm", "p", difference(lambda found: found.p_holm), p_value_words),
    ]
    return [
        Column("network", "network", lambda row: row.name),
        Column("gap", None, lambda row: row.gap or None),
        Column(None, _ACCURACY, _scored(lambda row: row.accuracy), with_interval),
        *([balanced] if evidence.shows_balanced else []),
        *([shown_difference] if evidence.has_baselines else []),
        Column("parameters", "parameters", lambda row: row.parameters, ","),
        Column("test_accuracy", None, _scored(lambda row: row.accuracy.mean)),
        Column("test_accuracy_sd", "SD (pp)", _scored(lambda row: row.accuracy.sd), _sd),
        Column("test_accuracy_low", None, _scored(lambda row: row.accuracy.low)),
        Column("test_accuracy_high", None, _scored(lambda row: row.accuracy.high)),
        Column("n", "seeds", _scored(lambda row: row.accuracy.n)),
        Column("test_accuracy_min", "lowest", _scored(lambda row: min(_each(row))), percent),
        Column("test_accuracy_max", "highest", _scored(lambda row: max(_each(row))), percent),
        Column("test_loss", "test loss", _scored(lambda row: row.loss.mean), ".3f"),
        Column("test_loss_sd", None, _scored(lambda row: row.loss.sd)),
        *(differences if evidence.has_baselines else []),
        Column(
            "val_accuracy_search",
            "validation (search)",
            lambda row: _searched(evidence, row),
            percent,
        ),
        Column(
            "val_accuracy_again",
            "validation (retrained)",
            lambda row: None if (found := again(row)) is None else found.mean,
            percent,
        ),
        Column("epochs", "epochs", lambda row: row.epochs),
        Column("train_seconds", "training s", lambda row: row.train_seconds, ",.0f"),
        Column("train_cpu_seconds", "training CPU s", lambda row: row.train_cpu_seconds, ",.0f"),
        Column("milliseconds_per_image", "ms/image", lambda row: row.milliseconds_per_image, ".3f"),
        *(
            [Column("published_accuracy", None, published)]
            if evidence.dataset.is_fashion_mnist
            else []
        ),
        *(
            Column(f"seed {seed + 1}", None, _scored(partial(_seed, seed=seed)))
            for seed in range(max(evidence.seeds_of(row) for row in evidence.rows))
        ),
    ]


def _scored(get: Callable[[Row], Any]) -> Callable[[Row], Any]:
    """Read a value from a row that has test results; None from others."""
    return lambda row: get(row) if len(row.probabilities) else None


def _each(row: Row) -> list[float]:
    return [float(value) for value in row.correct.mean(axis=1)]


def _seed(row: Row, seed: int) -> float | None:
    each = _each(row)
    return each[seed] if seed < len(each) else None


def with_interval(accuracy: Interval) -> str:
    """Return `94.12 % (93.90 to 94.34)`, or the mean alone for one seed."""
    if accuracy.low is None or accuracy.high is None:
        return percent(accuracy.mean)
    return f"{percent(accuracy.mean)} ({100 * accuracy.low:.2f} to {100 * accuracy.high:.2f})"


def difference_with_interval(found: Difference) -> str:
    """Return `+2.10 (+1.80 to +2.40)`, in percentage points."""
    return f"{points(found.mean)} ({points(found.low)} to {points(found.high)})"


def _yes(value: bool) -> str:
    return "yes" if value else ""


def _sd(value: float) -> str:
    return f"{100 * value:.2f}"


def p_value_words(value: float) -> str:
    """Return a p-value with four digits."""
    return "<0.0001" if value < 1e-4 else f"{value:.4f}"


def _bootstrap(evidence: Evidence) -> str:
    """Say what the intervals of the differences are over."""
    single = [name for name, found in evidence.differences.items() if found.seeds < 2]
    interval = "with a 95 % bootstrap interval"
    if single and len(single) == len(evidence.differences):
        return f"{interval} {IMAGES_ONLY}"
    drawn = f"{interval} over images and seeds"
    return f"{drawn} (for {listed(single)} {IMAGES_ONLY})" if single else drawn


def _searched(evidence: Evidence, row: Row) -> float | None:
    """Validation accuracy of the row's configuration in the search; None if it has none."""
    if row.kind == "tuned" and evidence.winner is not None:
        return evidence.winner.searched
    complete = evidence.record.complete
    found = complete[complete["name"] == row.name]
    return float(found.iloc[0]["value"]) if len(found) else None


def published(row: Row) -> float | None:
    """Return the published accuracy of a baseline, in [0, 1]; None without one."""
    baseline = _BASELINES.get(row.name) if row.kind == "baseline" else None
    return None if baseline is None else baseline.published_accuracy


def _published(evidence: Evidence) -> list[Block]:
    if not evidence.dataset.is_fashion_mnist:
        return []
    found = [
        _BASELINES[row.name]
        for row in evidence.rows
        if row.kind == "baseline" and row.name in _BASELINES
    ]
    if not found:
        return [Paragraph("Only the spaces cnn and mlp have published baselines.")]
    table = Table(
        name="baselines",
        caption="Baselines as published",
        columns=[
            Column("network", "network", lambda baseline: baseline.name),
            Column("published", "published accuracy", lambda baseline: baseline.published),
            Column("architecture", "architecture", lambda baseline: baseline.architecture),
            Column("note", "note", lambda baseline: baseline.note or None),
        ],
        items=found,
        fold=True,
    )
    return [table]


def _seeds(evidence: Evidence, rows: Sequence[Row]) -> Picture:
    claims = evidence.dataset.is_fashion_mnist and any(published(row) is not None for row in rows)
    alone = " Published numbers are often from a single training." if claims else ""
    return Picture(
        name="seeds-points",
        finding=_finding(rows),
        caption=f"Every final training, ordered by mean. No interval for n = 1.{alone}",
        draw=lambda width: _draw_seeds(width, rows, claims),
    )


def _draw_seeds(width: float, rows: Sequence[Row], claims: bool) -> Figure:
    figure, axes = new_figure(width, 0.42 * len(rows) + 1.2)
    for position, row in enumerate(rows):
        _draw_row(axes, position, row, claims)
    handles = [
        axes.plot([], [], "o", color=BLUE, markersize=5, alpha=0.7, label="one seed")[0],
        axes.errorbar(
            [], [], xerr=[], fmt="D", color=ORANGE, markersize=5, label="mean, 95 % interval"
        ),
    ]
    if claims:
        handles.append(
            axes.plot([], [], "s", mfc="none", color=VERMILION, markersize=8, label="published")[0]
        )
    legend_above(figure, handles)
    longest = 18 if is_narrow(width) else 40
    names = [
        wrapped(f"{brief(row.name, 2 * longest)} (n\xa0=\xa0{row.accuracy.n})", longest)
        for row in rows
    ]
    axes.set_yticks(range(len(rows)), names)
    axes.set_ylim(len(rows) - 0.4, -0.6)
    axes.margins(x=0.05)
    axes.set_xlabel("test accuracy (%)")
    return figure


def _draw_row(axes: Axes, position: int, row: Row, claims: bool) -> None:
    values = 100 * row.correct.mean(axis=1)
    axes.plot(values, np.full(len(values), position), "o", color=BLUE, markersize=5, alpha=0.7)
    accuracy = row.accuracy
    below = position + _BELOW
    axes.plot(100 * accuracy.mean, below, "D", color=ORANGE, markersize=5)
    if accuracy.low is not None and accuracy.high is not None:
        axes.hlines(below, 100 * accuracy.low, 100 * accuracy.high, ORANGE, linewidth=1.5)
    claim = published(row)
    if claims and claim is not None:
        axes.plot(100 * claim, position, "s", mfc="none", color=VERMILION, markersize=8)


def _finding(rows: Sequence[Row]) -> str:
    first = rows[0]
    words = f"{first.name} has the highest mean test accuracy, {percent(first.accuracy.mean)}"
    tuned = next((row for row in rows if row.kind == "tuned"), None)
    baseline = next((row for row in rows if row.kind == "baseline"), None)
    if tuned is None or baseline is None:
        return words
    ours, theirs = (row.correct.mean(axis=1) for row in (tuned, baseline))
    if len(ours) == len(theirs) == 1:
        return words
    if ours.min() > theirs.max():
        return f"{words}; every tuned seed beats every seed of {baseline.name}, the best baseline"
    if ours.max() < theirs.min():
        return f"{words}; every seed of {baseline.name}, the best baseline, beats every tuned seed"
    return f"{words}; the seeds of tuned and {baseline.name}, the best baseline, overlap"


def _candidates(evidence: Evidence) -> Table:
    def again(get: Callable[[Interval], Any]) -> Callable[[Remeasured], Any]:
        return lambda one: None if one.accuracy is None else get(one.accuracy)

    def change(one: Remeasured) -> float | None:
        before = one.searched
        return None if before is None else again(lambda found: found.mean - before)(one)

    trials = "the trials that the rule chose" if evidence.has_rule else "the chosen trials"
    return Table(
        name="candidates",
        caption=f"{evidence.record.measure.capitalize()} of {trials}, retrained with new seeds",
        note=_CHOICE.format(
            measure=evidence.record.measure,
            epochs=evidence.final_length,
            searched=evidence.search_length,
        ),
        columns=[
            Column("trial", "trial", lambda one: one.candidate.number),
            Column("name", "name", attrgetter("candidate.known_as")),
            Column("augmentation", "augmentation", lambda one: one.candidate.augmentation or "own"),
            Column("val_accuracy_search", "in the search", attrgetter("searched"), percent),
            Column("val_accuracy_again", None, again(lambda accuracy: accuracy.mean)),
            Column("val_accuracy_again_sd", None, again(lambda accuracy: accuracy.sd)),
            Column(None, "retrained", lambda one: one.accuracy, spread),
            Column("n", "seeds", lambda one: len(one.runs)),
            Column("change", "change (pp)", change, points),
            Column("chosen", "chosen", lambda one: evidence.winner is one, _yes),
        ],
        items=evidence.remeasured,
    )
