"""Predictions in words: for people a table, for programs plain records."""

from collections.abc import Sequence
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from predicting.prediction import Prediction


def as_records(
    names: Sequence[str], predictions: Sequence[Prediction], truth: Sequence[str] | None
) -> list[dict[str, Any]]:
    """What `--json` prints: for each image its path, class, probability and three best classes.

    Args:
        names: Path, or other name, of each image.
        predictions: One for each image.
        truth: Likewise, the true classes; None where nobody knows them.
    """
    records: list[dict[str, Any]] = [
        {
            "path": name,
            "class": said.class_name,
            "probability": said.probability,
            "top3": [{"class": label, "probability": share} for label, share in said.top3],
        }
        for name, said in zip(names, predictions, strict=True)
    ]
    for record, true_class in zip(records, truth or (), strict=False):
        record["true_class"] = true_class
    return records


def print_table(
    names: Sequence[str], predictions: Sequence[Prediction], truth: Sequence[str] | None
) -> None:
    """Print a line for each image: a table on a terminal, aligned text elsewhere.

    Args:
        names: Path, or other name, of each image.
        predictions: One for each image.
        truth: Likewise, the true classes; None where nobody knows them.
    """
    header = ["image", "class", "probability", "next"]
    rows = []
    for name, said in zip(names, predictions, strict=True):
        following = ", ".join(f"{label} {100 * share:.1f} %" for label, share in said.top3[1:])
        rows.append([name, said.class_name, f"{100 * said.probability:.1f} %", following])
    if truth is not None:
        header.append("true class")
        for row, true_class in zip(rows, truth, strict=True):
            row.append(true_class if row[1] == true_class else f"{true_class} (wrong)")
    console = Console(highlight=False)
    if console.is_terminal:
        table = Table(*header, box=None, header_style="dim")
        for row in rows:
            table.add_row(*(Text(cell, overflow="fold") for cell in row))
        console.print(table)
        return
    widths = [max(map(len, column)) for column in zip(header, *rows, strict=True)]
    for row in [header, *rows]:
        cells = (cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        print("  ".join(cells).rstrip())  # noqa: T201
