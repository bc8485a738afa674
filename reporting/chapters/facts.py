"""Where every number comes from: data, splits, settings, versions, machine, commands."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from reporting.drawing.style import listed
from reporting.evidence import Evidence
from reporting.page.document import Block, Code, Paragraph, Table
from search.display import duration


def blocks(evidence: Evidence) -> list[Block]:
    """Facts of the search and of this report, and which images each number is measured on."""
    return [
        _facts(evidence),
        _splits(evidence),
        *_warnings(evidence),
        Paragraph("To make both again:"),
        Code(_commands(evidence), "console"),
    ]


def _facts(evidence: Evidence) -> Table:
    record, facts, settings = evidence.record, evidence.record.facts, evidence.settings
    states = record.trials["state"].value_counts()
    started, ended = record.trials["started"].min(), record.trials["ended_at"].max()
    rows: dict[str, Any] = {
        "Study": f"{record.name} in {_from_here(record.storage)}",
        "Space": facts.get("space"),
        "Trials": ", ".join(f"{count} {state.lower()}" for state, count in states.items()),
        "Most epochs a trial": facts.get("epochs"),
        "Search": _words(
            {
                name: value
                for name, value in dict(facts.get("settings", {})).items()
                if name not in ("sampler", "tuner")
            }
        ),
        "Engine": _engine(facts),
        "Searched": f"{_minute(started)} to {_minute(ended)}"
        + ("" if pd.isna(started) or pd.isna(ended) else f" ({_span(started, ended)})"),
        "Data": f"Fashion-MNIST format, MD5 of the training files {facts.get('data')}",
        "Precision of training": facts.get("precision"),
        "Precision of every test result": "float32",
        "Best trials trained again": f"{len(evidence.remeasured)}, fresh seeds for each: "
        f"{settings.candidate_seeds}",
        "Final trainings": f"seeds: {settings.seeds}; epochs: {settings.epochs} for the winner, "
        f"{settings.baseline_epochs} for the baselines",
        "Machine of the search": facts.get("machine"),
        "Machine of this report": evidence.machine,
        "Versions": _words(facts.get("versions", {})),
        "Commit of the search": facts.get("commit"),
        "Commit of this report": evidence.commit,
    }
    frame = pd.DataFrame({"fact": list(rows), "value": [str(value) for value in rows.values()]})
    return Table(name="facts", caption="Search and report", shown=frame)


def _from_here(storage: str) -> str:
    """A file in the current directory without the way there, which is nobody's business."""
    path = Path(storage)
    return str(path.relative_to(Path.cwd())) if path.is_relative_to(Path.cwd()) else storage


def _engine(facts: Mapping[str, Any]) -> str:
    """The engine, and the algorithms of all runs."""
    used: list[str] = []
    for run in (facts, *facts.get("runs", [])):
        settings = run.get("settings", {})
        kinds = [kind for kind in ("sampler", "tuner") if kind in settings]
        used += [f"{kind} {settings[kind]}" for kind in kinds]
    used = list(dict.fromkeys(used))
    return ", ".join([str(facts.get("engine")), *used])


def _splits(evidence: Evidence) -> Table:
    train, val = len(evidence.split.train_labels), len(evidence.split.val_labels)
    test = "the test split" if evidence.test is None else f"{len(evidence.test.labels):,} test"
    rows = [
        ("validation accuracy in the search", f"{train:,} training", f"{val:,} validation"),
        ("validation accuracy re-measured", f"{train:,} training", f"{val:,} validation"),
        ("test accuracy and all from it", f"{train + val:,} training + validation", test),
    ]
    return Table(
        name="splits",
        caption="Images that each number is measured on: this report opened the test split after "
        "the configuration was chosen",
        shown=pd.DataFrame(rows, columns=["number", "trained on", "measured on"]),
    )


def _warnings(evidence: Evidence) -> list[Block]:
    warnings: list[Block] = []
    if evidence.scored_earlier:
        warnings.append(
            Paragraph(
                f"The test split has been looked at before: {evidence.scored_earlier} other "
                "trainings of this study were scored on it by earlier reports or previews. If "
                "these results led to the settings of this one, they are no longer independent.",
                strong=True,
            )
        )
    runs = [run for row in evidence.rows for run in row.runs]
    for what, name in (("commit", "commits"), ("machine", "machines"), ("keras", "Keras versions")):
        found = sorted({run.origin[what] for run in runs if what in run.origin})
        if len(found) > 1:
            warnings.append(
                Paragraph(
                    f"The trainings come from several {name}: {listed(found)}. Seeds of one row "
                    "may differ by more than chance."
                )
            )
    return warnings


def _commands(evidence: Evidence) -> str:
    runs = evidence.record.facts.get("runs", [])
    # The last one asked for the whole study; those before it were parts of the same search.
    last = [str(run["command"]) for run in runs if "command" in run][-1:]
    return "\n".join([*last, evidence.command])


def _words(values: Any) -> str:
    return ", ".join(f"{name} {value}" for name, value in dict(values).items()) or "-"


def _minute(moment: Any) -> str:
    return "-" if pd.isna(moment) else f"{moment:%Y-%m-%d %H:%M}"


def _span(started: Any, ended: Any) -> str:
    return duration((ended - started).total_seconds())
