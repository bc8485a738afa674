"""The settings and facts that differ between the studies, and those of their winners."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from reporting.comparison.studies import Compared
from reporting.page.document import MISSING, Block, Column, Paragraph, Table
from search.study.facts import split_sizes, split_words
from search.study.objective import objectives_of


def blocks(studies: Sequence[Compared]) -> list[Block]:
    """Write a table of facts and one of hyperparameters, a column for each study."""
    return [
        _differing(
            "settings",
            "Settings and facts that differ",
            "All settings and recorded facts are equal.",
            {study.name: _facts(study) for study in studies},
        ),
        _differing(
            "configurations",
            "Hyperparameters of the winners that differ",
            "The winners have the same hyperparameters.",
            {study.name: _winner(study) for study in studies},
            note="For a study that is not on the leaderboard: those of its best trial.",
        ),
    ]


def _differing(
    name: str,
    caption: str,
    otherwise: str,
    columns: Mapping[str, Mapping[str, str]],
    note: str = "",
) -> Block:
    """Return the rows in which the columns are not all equal."""
    names = list(dict.fromkeys(row for values in columns.values() for row in values))
    rows = [
        (row, [values.get(row, MISSING) for values in columns.values()])
        for row in names
        if len({values.get(row, MISSING) for values in columns.values()}) > 1
    ]
    if not rows:
        return Paragraph(otherwise)
    first = name.removesuffix("s")
    while first in columns:  # a study may be called so, and headings must differ
        first = f"{first} name"

    def value(place: int) -> Callable[[tuple[str, list[str]]], str]:
        return lambda row: row[1][place]

    return Table(
        name=name,
        caption=caption,
        note=note,
        columns=[
            Column(first, first, lambda row: row[0]),
            *(Column(study, study, value(place)) for place, study in enumerate(columns)),
        ],
        items=rows,
    )


def _facts(study: Compared) -> dict[str, str]:
    """Return the facts of a search in words, by the name of a flag or of the fact."""
    facts = study.record.facts
    runs = facts.get("runs", [])
    found: dict[str, Any] = {
        name: facts.get(name)
        for name in ("space", "engine", "epochs", "precision", "mirror", "seed", "minutes")
    }
    found["objective"] = objectives_of(facts).text
    found["split"] = split_words(split_sizes(facts["split"]))
    found["begun with"] = ", ".join(facts.get("from", {}))
    found |= {name: one for name, one in facts.get("settings", {}).items() if name not in found}
    found["commit"], found["machine"] = facts.get("commit"), facts.get("machine")
    found |= {f"version of {name}": one for name, one in facts.get("versions", {}).items()}
    found["command"] = next(
        (run["command"] for run in reversed(runs) if "command" in run), facts.get("command")
    )
    return {name: _words(value) for name, value in found.items()}


def _winner(study: Compared) -> dict[str, str]:
    """Return the configuration of the winner or, without a report, of the best trial."""
    if study.finals is not None:
        name, params = study.finals.candidate.name, study.finals.row.params
    else:
        best = int(study.record.complete.index[0])
        name, params = f"trial {best}", study.record.trial_params(best)
    return {"winner": name} | {key: _words(value) for key, value in params.items()}


def _words(value: Any) -> str:
    if value is None or value == "":
        return MISSING
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:.4g}" if isinstance(value, float) else str(value)
