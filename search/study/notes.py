"""The notes that the dashboard shows: one for the study, one for each trial, in Markdown."""

import re
from collections.abc import Mapping
from typing import Any, Final

import optuna
from optuna_dashboard._note import get_note_from_system_attrs, note_ver_key, split_body

# The dashboard looks through all notes for each trial of a page: with 10,000 of both it takes
# minutes. All that a note says is among the trial's attributes too.
NOTED_TRIALS: Final = 1_000


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


def save_trial_note(study: optuna.Study, trial_id: int, note: str, before: str | None) -> None:
    """Let the dashboard show a note beside a trial.

    `optuna_dashboard.save_note` does the same, but reads the notes of all trials each time, which
    takes seconds in a large study.

    Args:
        study: The study.
        trial_id: Of the trial.
        note: The note, in Markdown.
        before: The note that this one replaces, empty if it is the first; None: look for it.
    """
    if before is None:
        attrs = study._storage.get_study_system_attrs(study._study_id)
        before = get_note_from_system_attrs(attrs, trial_id)["body"]
    cleared = dict.fromkeys(split_body(before, trial_id), "")
    version = {note_ver_key(trial_id): 2 if before else 1}
    for name, value in {**version, **cleared, **split_body(note, trial_id)}.items():
        study._storage.set_study_system_attr(study._study_id, name, value)


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
