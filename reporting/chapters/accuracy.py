"""The main table: every row's accuracy, cost and difference, beside what was published."""

from typing import Any

import pandas as pd

from reporting.drawing.style import MISSING, bounds, listed, percent, points, spread
from reporting.evidence import Evidence, Row
from reporting.page.document import Block, Paragraph, Table
from reporting.retraining.plan import TUNED
from reporting.statistics import IMAGES_ONLY
from spaces.baselines import BASELINES


def blocks(evidence: Evidence) -> list[Block]:
    """Accuracy of the winner and of every baseline, then of the candidates on validation."""
    written: list[Block] = []
    if evidence.rows:
        written += [_main(evidence), _costs(evidence), *_notes(evidence)]
    else:
        written.append(Paragraph("Nothing has been retrained, so there are no test results."))
    if any(remeasured.runs for remeasured in evidence.remeasured):
        written += [_candidates(evidence), Paragraph(_CHOICE)]
    written += [Paragraph(f"{label}: failed, {why}.") for label, why in evidence.failures.items()]
    return written


_CHOICE = (
    "The winner is the candidate with the highest mean over fresh seeds, on validation. The best "
    "of many scores is partly luck, so most candidates lose a little when trained again; the test "
    "split had no part in the choice."
)


def _main(evidence: Evidence) -> Table:
    values = pd.DataFrame([_values(evidence, row) for row in evidence.rows])
    shown = pd.DataFrame([_shown(evidence, row) for row in evidence.rows])
    return Table(
        name="accuracy",
        caption="Test accuracy over seeds (mean ± standard deviation), its 95 % t interval, and "
        f"the tuned row minus each baseline (points, {_bootstrap(evidence)}; McNemar's exact test "
        "of the first seeds' models, Holm-corrected)",
        shown=shown,
        values=values,
    )


def _bootstrap(evidence: Evidence) -> str:
    """How the intervals of the differences treat seeds."""
    single = [name for name, found in evidence.differences.items() if found.seeds < 2]
    interval = "95 % bootstrap interval"
    if single and len(single) == len(evidence.differences):
        return f"{interval} {IMAGES_ONLY}"
    drawn = f"{interval} over images and seeds, each drawn on its own, seeds within their row"
    return f"{drawn}; to {listed(single)} {IMAGES_ONLY}" if single else drawn


def _shown(evidence: Evidence, row: Row) -> dict[str, Any]:
    name = row.name if not row.gap else f"{row.name} *"
    if not len(row.probabilities):
        return {"network": name, "test accuracy": MISSING}
    difference = evidence.differences.get(row.name)
    low, high = row.correct.mean(axis=1).min(), row.correct.mean(axis=1).max()
    one = row.accuracy.n == 1
    return {
        "network": name,
        "test accuracy": spread(row.accuracy),
        "95 % interval": bounds(row.accuracy),
        "n": row.accuracy.n,
        "published": _claim(row),
        "tuned minus it": MISSING if difference is None else points(difference.mean),
        "interval": MISSING
        if difference is None
        else f"{points(difference.low)} to {points(difference.high)}",
        "p (Holm)": MISSING
        if difference is None
        else ("<0.0001" if difference.p_holm < 1e-4 else f"{difference.p_holm:.4f}"),
        "lowest to highest": MISSING if one else f"{100 * low:.2f} to {100 * high:.2f}",
        "test loss": f"{row.loss.mean:.3f}" + ("" if one else f" ± {row.loss.sd:.3f}"),
        "validation, search": percent(_searched(evidence, row)),
        "validation, again": spread(_again(evidence, row)),
    }


def _values(evidence: Evidence, row: Row) -> dict[str, Any]:
    if not len(row.probabilities):
        return {"network": row.name, "gap": row.gap}
    difference = evidence.differences.get(row.name)
    again = _again(evidence, row)
    return {
        "network": row.name,
        "gap": row.gap,
        "test_accuracy": row.accuracy.mean,
        "test_accuracy_sd": row.accuracy.sd,
        "test_accuracy_low": row.accuracy.low,
        "test_accuracy_high": row.accuracy.high,
        "n": row.accuracy.n,
        "test_loss": row.loss.mean,
        "test_loss_sd": row.loss.sd,
        "val_accuracy_search": _searched(evidence, row),
        "val_accuracy_again": None if again is None else again.mean,
        "published": _claim(row),
        "difference": None if difference is None else difference.mean,
        "difference_low": None if difference is None else difference.low,
        "difference_high": None if difference is None else difference.high,
        "p_mcnemar": None if difference is None else difference.p_value,
        "p_holm": None if difference is None else difference.p_holm,
    }


def _costs(evidence: Evidence) -> Table:
    rows = [row for row in evidence.rows if len(row.probabilities)]
    values = pd.DataFrame(
        [
            {
                "network": row.name,
                "parameters": row.parameters,
                "epochs": row.epochs,
                "train_seconds": row.train_seconds,
                "train_cpu_seconds": row.train_cpu_seconds,
                "milliseconds_per_image": row.milliseconds_per_image,
            }
            for row in rows
        ]
    )
    shown = pd.DataFrame(
        [
            {
                "network": row.name,
                "parameters": f"{row.parameters:,}",
                "epochs": row.epochs,
                "training s": f"{row.train_seconds:,.0f}",
                "training CPU s": f"{row.train_cpu_seconds:,.0f}",
                "ms/image": MISSING
                if row.milliseconds_per_image is None
                else f"{row.milliseconds_per_image:.3f}",
            }
            for row in rows
        ]
    )
    return Table(
        name="costs",
        caption="Cost: training is of one seed's model (mean over seeds; wall and processor time), "
        f"in {evidence.record.facts.get('precision')}, beside other trainings; of an ensemble, of "
        "all its models. ms/image is wall time of prediction in batches of 500 on all cores, in "
        "float32",
        shown=shown,
        values=values,
    )


def _searched(evidence: Evidence, row: Row) -> float | None:
    """Validation accuracy of the row's trial, if it was trained to its end."""
    if row.name == TUNED and evidence.winner is not None:
        return evidence.winner.candidate.value
    complete = evidence.record.complete
    found = complete[complete["baseline"] == row.name]
    return float(found.iloc[0]["value"]) if len(found) else None


def _again(evidence: Evidence, row: Row) -> Any:
    if row.name == TUNED and evidence.winner is not None:
        return evidence.winner.accuracy
    return None


def _claim(row: Row) -> str:
    for baseline in BASELINES:
        if baseline.name == row.name:
            return baseline.published
    return MISSING


def _notes(evidence: Evidence) -> list[Block]:
    notes: list[Block] = [
        Paragraph(f"{row.name}: {baseline.architecture}. {baseline.note}".strip())
        for row in evidence.rows
        for baseline in BASELINES
        if baseline.name == row.name
    ]
    notes += [Paragraph(f"* {row.name}: {row.gap}.") for row in evidence.rows if row.gap]
    if not any(row.kind == "baseline" for row in evidence.rows):
        notes.append(
            Paragraph(
                "The published baselines are points of the cnn space; a search of another space is "
                "reported without them."
            )
        )
    return notes


def _candidates(evidence: Evidence) -> Table:
    rows, values = [], []
    for remeasured in evidence.remeasured:
        again, searched = remeasured.accuracy, remeasured.candidate.value
        chosen = evidence.winner is remeasured
        rows.append(
            {
                "trial": f"{remeasured.candidate.number}" + (" (chosen)" if chosen else ""),
                "validation, search": percent(searched),
                "validation, fresh seeds": spread(again),
                "n": len(remeasured.runs),
                "change, points": MISSING if again is None else points(again.mean - searched),
            }
        )
        values.append(
            {
                "trial": remeasured.candidate.number,
                "chosen": chosen,
                "val_accuracy_search": searched,
                "val_accuracy_again": None if again is None else again.mean,
                "val_accuracy_again_sd": None if again is None else again.sd,
                "n": len(remeasured.runs),
            }
        )
    return Table(
        name="candidates",
        caption="The search's best trials, trained again on the training part with fresh seeds",
        shown=pd.DataFrame(rows),
        values=pd.DataFrame(values),
    )
