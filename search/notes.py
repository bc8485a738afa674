"""The notes that the dashboard shows: one for the study, one for each trial, in Markdown."""

import re
from collections.abc import Mapping
from typing import Any


def study_note(facts: Mapping[str, Any]) -> str:
    """Data, split, space, settings, versions, commit and command of a study.

    Args:
        facts: What the study stores (see `search.run`).
    """
    settings = ", ".join(f"{name} {value}" for name, value in facts["settings"].items())
    versions = ", ".join(f"{name} {value}" for name, value in facts["versions"].items())
    rows = {
        "Objective": "validation accuracy after the last epoch (higher is better)",
        "Space": f"`{facts['space']}`",
        "Data": f"training files of Fashion-MNIST format, MD5 {facts['data']}; test files unopened",
        "Split": facts["split"],
        "Engine": facts["engine"],
        "Most epochs a trial": facts["epochs"],
        "Precision": facts["precision"],
        "Settings": settings,
        "Machine": facts["machine"],
        "Versions": versions,
        "Commit": f"`{facts['commit']}`",
        "Command": f"`{facts['command']}`",
    }
    return _table(rows)


def trial_note(
    *, description: str, baseline: str | None, ended: str, attrs: Mapping[str, Any]
) -> str:
    """One trial: its configuration in words, its size, its cost, and why it stopped.

    Args:
        description: The configuration in words.
        baseline: Name of the published baseline that it is; None for others.
        ended: Why it stopped.
        attrs: The trial's attributes, as far as it got.
    """
    rows: dict[str, Any] = {"Ended": ended}
    if baseline is not None:
        rows["Known as"] = baseline
    formats = {
        "parameters": ("Parameters", "{:,}"),
        "epochs": ("Epochs", "{}"),
        "seconds": ("Seconds", "{:.1f}"),
        "images_per_second": ("Images/s in training steps", "{:,.0f}"),
        "seed": ("Seed", "{}"),
        "attempts": ("Earlier attempts", "{}"),
    }
    for key, (label, form) in formats.items():
        if key in attrs:
            value = attrs[key]
            shown = "; ".join(value) if isinstance(value, list) else form.format(value)
            rows[label] = shown
    # The dashboard breaks no lines.
    parts = re.split(r"; | \| ", description) if description else []
    note = "".join(f"- {part}\n" for part in parts) + f"\n{_table(rows)}"
    traceback = attrs.get("traceback")
    return f"{note}\n```\n{traceback}\n```\n" if traceback else note


def _table(rows: Mapping[str, Any]) -> str:
    lines = ["| | |", "|-|-|", *(f"| {name} | {value} |" for name, value in rows.items())]
    return "\n".join(lines) + "\n"
