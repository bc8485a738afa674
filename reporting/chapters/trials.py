"""All trials, and why those that failed did."""

from typing import Any, Final

import numpy as np
import pandas as pd

from reporting.drawing.style import MISSING, percent
from reporting.evidence import Evidence
from reporting.page.document import Block, Paragraph, Table
from reporting.study_tables import (
    Record,
    duplicates,
    epochs_trained,
    failure_reasons,
    seconds_taken,
)
from search.display import duration

_MOST_ROWS: Final = 200
_MOST_NUMBERS: Final = 10
# Those that have a final accuracy first; what comes later has none that can be compared.
_ORDER: Final = ("COMPLETE", "PRUNED", "RUNNING", "FAIL", "WAITING")


def blocks(evidence: Evidence) -> list[Block]:
    """Every trial of the study, then the failures."""
    record = evidence.record
    rows = _sorted(record)
    written: list[Block] = [
        Paragraph(
            "Complete trials by accuracy, then pruned ones by the accuracy of their last epoch, "
            "then the others. Accuracies after fewer epochs cannot be compared with final ones. "
            "The file has the hyperparameters too."
        )
    ]
    if len(rows) > _MOST_ROWS:
        written.append(
            Paragraph(
                f"Shown are the first {_MOST_ROWS} of {len(rows):,} trials; the file has all."
            )
        )
    written += [_all(record, rows), *_failures(record)]
    return written


def _sorted(record: Record) -> pd.DataFrame:
    order = {state: place for place, state in enumerate(_ORDER)}
    keys = pd.DataFrame(
        {
            "place": record.trials["state"].map(order).fillna(len(order)),
            "loss": -pd.to_numeric(record.trials["value"], errors="coerce"),
        }
    )
    return record.trials.loc[keys.sort_values(["place", "loss"], kind="stable").index]


def _all(record: Record, rows: pd.DataFrame) -> Table:
    params = record.params.add_prefix("params_")
    head = rows.head(_MOST_ROWS)
    epochs, seconds = epochs_trained(record), seconds_taken(record)
    shown = pd.DataFrame(
        {
            "trial": head.index,
            "state": [_state(state) for state in head["state"]],
            "validation accuracy": [percent(value) for value in head["value"].astype(float)],
            "epochs": [f"{epochs[number]:.0f}" for number in head.index],
            "parameters": [_known(value, "{:,.0f}") for value in head["parameters"]],
            "time": [
                duration(seconds[number]) if np.isfinite(seconds[number]) else MISSING
                for number in head.index
            ],
            "baseline": [_known(name, "{}") for name in head["baseline"]],
            "why it failed": [_known(reason, "{}") for reason in head["reason"]],
        }
    )
    if not head["reason"].notna().any():
        shown = shown.drop(columns="why it failed")
    return Table(
        name="trials",
        caption=f"{len(rows):,} trials"
        + (f", the first {len(head)}" if len(head) < len(rows) else ""),
        shown=shown,
        values=rows.join(params).reset_index(),
        fold=True,
    )


def _state(state: object) -> str:
    return "failed" if state == "FAIL" else str(state).lower()


def _known(value: Any, form: str) -> str:
    return MISSING if pd.isna(value) else form.format(value)


def _failures(record: Record) -> list[Block]:
    twins = int(duplicates(record).sum())
    text = "No trial was refused as a duplicate."
    if twins:
        text = (
            f"Apart from these, {twins} trial{'s were' if twins > 1 else ' was'} refused before "
            "training, as the same configuration as an earlier trial."
        )
    reasons = failure_reasons(record)
    if reasons.empty:
        return [Paragraph(f"No trial failed. {text.replace('Apart from these, ', '')}")]
    grouped = reasons.index.to_series().groupby(reasons)
    values = pd.DataFrame(
        {
            "trials": grouped.size(),
            "numbers": grouped.apply(lambda numbers: ", ".join(map(str, numbers))),
        }
    )
    values = values.sort_values("trials", ascending=False, kind="stable").rename_axis("reason")
    values = values.reset_index()
    shown = values.head(_MOST_ROWS).assign(
        numbers=[_cut(numbers) for numbers in values["numbers"].head(_MOST_ROWS)]
    )
    table = Table(
        name="trials-failures",
        caption="Failed trials by reason (N: any number)",
        shown=shown,
        values=values,
    )
    return [table, Paragraph(text)]


def _cut(numbers: str) -> str:
    parts = numbers.split(", ")
    cut = ", ".join(parts[:_MOST_NUMBERS])
    return cut if len(parts) <= _MOST_NUMBERS else f"{cut} and {len(parts) - _MOST_NUMBERS} more"
