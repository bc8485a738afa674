"""The answer in a few sentences, for readers who read nothing else."""

from collections.abc import Mapping
from typing import Final

from scipy.stats import binomtest

from reporting.chapters.accuracy import p_value_words
from reporting.drawing.style import bounds, percent, points, spread
from reporting.evidence import Evidence, Remeasured, Row
from reporting.page.document import Block, Paragraph
from reporting.plan import Candidate
from reporting.statistics import Difference
from reporting.views import ALONE
from search.words import counted, listed

# Our choice: with fewer test images, the 95 % interval of an accuracy of 94 % is 3 points wide.
_FEW_IMAGES: Final = 1_000


def blocks(evidence: Evidence) -> list[Block]:
    """Say what won, its test accuracy, and which baselines it beats."""
    best = evidence.record.complete.iloc[0]
    searched = (
        f"The highest {evidence.record.measure} in the search was {percent(best['value'])} (trial "
        f"{best.name}). The best of many scores is partly luck."
    )
    tuned, winner = evidence.tuned, evidence.winner
    if winner is None or tuned is None:
        return [
            Paragraph("No test results yet: the winner has not been retrained.", strong=True),
            Paragraph(searched),
        ]
    candidate = winner.candidate
    number = candidate.number
    written: list[Block] = [Paragraph(_tuned(evidence, candidate, tuned), strong=True)]
    if len(tuned.labels) < _FEW_IMAGES:
        written.append(Paragraph(_of_few_images(tuned)))
    known = evidence.record.trials.loc[number, "name"]
    if isinstance(known, str):
        if not evidence.record.trials["name"].isna().any():
            nothing = ": it tried only such ones"
        elif candidate.augmentation is None and number == best.name:
            nothing = ": it found nothing better"
        elif evidence.retrained_trials > 1:
            nothing = ": no retrained trial was better"
        else:
            nothing = ""
        written.append(
            Paragraph(
                f"Trial {number} is {known}, a configuration that the search starts with{nothing}."
            )
        )
    if evidence.has_rule:
        written.append(Paragraph(f"Trial {number} was chosen as {evidence.rule}."))
    rival = evidence.best_baseline
    if rival is None and evidence.has_baselines:
        written.append(Paragraph("No baseline has test results to compare with."))
    if rival is not None:
        written.append(Paragraph(_against_best(evidence, tuned, rival), strong=True))
        if others := _against_others(evidence, rival):
            written.append(Paragraph(others))
    if winner.accuracy is not None:
        searched += (
            f" Retrained with new seeds for {evidence.final_length}, "
            f"{candidate.name} reached {spread(winner.accuracy)} on validation "
            f"(n = {winner.accuracy.n}), {points(winner.accuracy.mean - candidate.value)} points "
            f"from the trial's score after {evidence.search_length} in the search."
        )
    written.append(Paragraph(searched))
    if (default := _against_default(evidence, winner)) is not None:
        written.append(Paragraph(default))
    if gaps := [row.name for row in evidence.rows if row.gap]:
        written.append(Paragraph(f"Some trainings are missing or failed: {'; '.join(gaps)}."))
    return written


def _against_default(evidence: Evidence, winner: Remeasured) -> str | None:
    """Say how far the winner is above the default; None if that was not measured."""
    default = evidence.default
    if default is None or default is winner or not (default.accuracy and winner.accuracy):
        return None
    above = 100 * (winner.accuracy.mean - default.accuracy.mean)
    return (
        f"Without a search: the default configuration ({default.candidate.name}), trained as long "
        f"on the same images, reached {spread(default.accuracy)} on validation (n = "
        f"{default.accuracy.n}). The winner is {above:.2f} points above it; it was chosen by these "
        "scores, so it cannot be below."
    )


def _tuned(evidence: Evidence, candidate: Candidate, row: Row) -> str:
    accuracy = row.accuracy
    if accuracy.n == 1:
        over = "with one seed"
    else:
        over = f"over {accuracy.n} seeds (95 % interval of the mean: {bounds(accuracy)})"
    split = evidence.split
    words = (
        f"The tuned network ({candidate.name}{_changed(candidate)}), trained for "
        f"{counted(row.epochs or 0, 'epoch')} on "
        f"{len(split.train_labels) + len(split.val_labels):,} images, reaches a test accuracy of "
        f"{spread(accuracy)} on {len(row.labels):,} images {over}"
    )
    if not evidence.shows_balanced:
        return f"{words}."
    return (
        f"{words} and a balanced accuracy, the mean recall of the classes, of "
        f"{spread(row.balanced_accuracy)}."
    )


def _of_few_images(row: Row) -> str:
    images, accuracy = len(row.labels), row.accuracy.mean
    found = binomtest(round(accuracy * images), images).proportion_ci(method="wilson")
    return (
        f"One of {images:,} test images is {percent(1 / images)}. An interval over seeds leaves "
        f"that out; the 95 % Wilson interval over images is {100 * found.low:.1f} to "
        f"{percent(found.high, 1)}."
    )


def _changed(candidate: Candidate) -> str:
    return "" if candidate.augmentation is None else ", chosen at the final length"


def _against_best(evidence: Evidence, tuned: Row, rival: Row) -> str:
    difference = evidence.differences[rival.name]
    details = (
        f"95 % interval {points(difference.low)} to {points(difference.high)}, "
        f"{difference.sampled}; Holm-corrected p {p_value_words(difference.p_holm)}"
    )
    if difference.seeds == 1:
        few = (
            f"One seed cannot show a difference from {rival.name}, the best baseline"
            if tuned.accuracy.n == 1
            else f"One seed of {rival.name}, the best baseline, cannot show a difference from it"
        )
        words = f"{few} ({points(difference.mean)} points; {details})."
    elif not difference.shown:
        words = (
            f"No significant difference from {rival.name}, the best baseline "
            f"({points(difference.mean)} points; {details})."
        )
    else:
        verb = "beats" if difference.mean > 0 else "is worse than"
        words = f"Tuned {verb} {rival.name}, the best baseline, by {_size(difference)} ({details})."
    published = (
        "as published" if evidence.dataset.is_fashion_mnist else "published for another data set"
    )
    views = tuned.readout.views
    averaged = (
        f" Tuned is the mean over {views.count} views of an image ({views}), as chosen on "
        "validation; baselines are not."
        if views != ALONE
        else ""
    )
    return (
        f"{words} Tuned was trained for {counted(tuned.epochs or 0, 'epoch')}; {rival.name}, "
        f"{published} and not tuned, for {rival.epochs}.{averaged}"
    )


def _against_others(evidence: Evidence, rival: Row) -> str:
    """Compare with the other baselines; those of one seed are left to the table."""
    others = {
        name: difference
        for name, difference in evidence.differences.items()
        if name != rival.name and difference.seeds > 1
    }
    return compared_words("Tuned", others)


def compared_words(name: str, differences: Mapping[str, Difference]) -> str:
    """Say which of the others one network, or study, differs from; empty without others.

    Args:
        name: Its name.
        differences: It minus each other one, by the name of the other one.
    """
    found = differences.items()
    beaten = [f"{other} by {_size(d)}" for other, d in found if d.shown and d.mean > 0]
    better = [f"{other} by {_size(d)}" for other, d in found if d.shown and d.mean < 0]
    unshown = [(other, d) for other, d in found if not d.shown]
    same = [f"{other} ({points(d.mean)} points)" for other, d in unshown if d.seeds > 1]
    single = [other for other, d in unshown if d.seeds == 1]
    sentences = [
        f"{name} beats {listed(beaten)}." if beaten else "",
        f"{name} is worse than {listed(better)}." if better else "",
        f"No significant difference between {name} and {listed(same)}." if same else "",
        f"One seed cannot show a difference between {name} and {listed(single)}." if single else "",
    ]
    return " ".join(sentence for sentence in sentences if sentence)


def _size(difference: Difference) -> str:
    return f"{100 * abs(difference.mean):.2f} points"
