"""The answer, in a few sentences, for a reader who reads nothing else."""

from reporting.drawing.style import bounds, percent, points, spread
from reporting.evidence import Evidence, Row
from reporting.page.document import Block, Paragraph
from reporting.statistics import Difference


def blocks(evidence: Evidence) -> list[Block]:
    """What won, how good it is on the test split, and what it beats."""
    best = evidence.record.complete.iloc[0]
    searched = (
        f"The search's best trial, number {best.name}, reached {percent(best['value'])} on "
        "validation. That is the highest of many and owes part of it to luck."
    )
    tuned = evidence.tuned
    if evidence.winner is None or tuned is None:
        return [
            Paragraph("Nothing is shown yet: the winner has not been retrained.", strong=True),
            Paragraph(searched),
        ]
    accuracy = tuned.accuracy
    seeds = f"{accuracy.n} seeds" if accuracy.n > 1 else "one seed"
    interval = f"; 95 % interval of the mean {bounds(accuracy)}" if accuracy.n > 1 else ""
    written: list[Block] = [
        Paragraph(
            f"The tuned network (trial {evidence.winner.candidate.number}) has a mean test "
            f"accuracy of {spread(accuracy)} over {seeds}{interval}.",
            strong=True,
        )
    ]
    known = evidence.record.trials.loc[evidence.winner.candidate.number, "baseline"]
    if isinstance(known, str):
        written.append(
            Paragraph(f"It is {known} itself: the search found nothing better than its beginning.")
        )
    rival = evidence.best_baseline
    if rival is None:
        written.append(Paragraph("No baseline has test results to compare it with."))
    else:
        epochs = f"{tuned.epochs} epochs against {rival.epochs}, {rival.name} as published, untuned"
        sentence = _sentence(rival, evidence.differences[rival.name], epochs)
        written.append(Paragraph(sentence, strong=True))
        # Of rows that vary with an unknown spread, one sentence is enough: the table has them all.
        others = [
            _sentence(row, evidence.differences[row.name])
            for row in evidence.scored
            if row.kind == "baseline"
            and row is not rival
            and evidence.differences[row.name].seeds > 1
        ]
        if others:
            written.append(Paragraph(" ".join(others)))
    written.append(Paragraph(searched + _remeasured(evidence)))
    if gaps := [row.name for row in evidence.rows if row.gap]:
        written.append(Paragraph(f"Not all of it could be trained: see {', '.join(gaps)} below."))
    return written


def _sentence(row: Row, difference: Difference, *more: str) -> str:
    interval = f"95 % interval {points(difference.low)} to {points(difference.high)}"
    p_value = f"Holm-corrected p {_p_value(difference.p_holm)}"
    details = "; ".join([f"{interval}, {difference.sampled}", p_value, *more])
    if difference.shown:
        verb = "beats" if difference.mean > 0 else "is beaten by"
        size = points(abs(difference.mean)).lstrip("+")
        return f"Tuned {verb} {row.name} by {size} points ({details})."
    return f"A difference to {row.name} is not shown ({points(difference.mean)} points; {details})."


def _p_value(value: float) -> str:
    return "below 0.0001" if value < 1e-4 else f"{value:.4f}"


def _remeasured(evidence: Evidence) -> str:
    winner = evidence.winner
    if winner is None or winner.accuracy is None:
        return ""
    gap = winner.accuracy.mean - winner.candidate.value
    return (
        f" Trained again with fresh seeds, trial {winner.candidate.number} reached "
        f"{spread(winner.accuracy)} there (n = {winner.accuracy.n}), {points(gap)} points against "
        "its score in the search."
    )
