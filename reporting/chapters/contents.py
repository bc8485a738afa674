"""The chapters of a report, in reading order."""

from reporting.chapters import (
    accuracy,
    budget,
    classes,
    data,
    facts,
    importance,
    limits,
    mistakes,
    progress,
    pruning,
    seeds,
    space_health,
    tradeoff,
    trials,
    verdict,
    winner,
)
from reporting.evidence import Evidence
from reporting.page.document import Document

CHAPTERS = (
    *(verdict, facts, accuracy, seeds, progress, budget, pruning, importance, space_health),
    *(winner, classes, mistakes, tradeoff, data, trials, limits),
)


def document_of(evidence: Evidence) -> Document:
    """Write all chapters."""
    record = evidence.record
    states = record.trials["state"]
    finished = int(states.isin(["COMPLETE", "PRUNED"]).sum())
    return Document(
        title=f"Search report: {record.name}",
        subtitle=f"{finished} finished trials of space {record.facts['space']} on data in "
        f"Fashion-MNIST format; made by {evidence.command}",
        warning=_warning(evidence),
        sections=[chapter.section(evidence) for chapter in CHAPTERS],
    )


def _warning(evidence: Evidence) -> str:
    if evidence.settings.quick:
        return (
            f"Preview (--quick): {evidence.settings.seeds} seed, {evidence.settings.epochs} "
            "epochs. Its numbers say nothing about what the networks can do."
        )
    if evidence.winner is None:
        return "Unfinished: the winner has not been chosen, so there are no test results."
    if any(row.gap for row in evidence.rows):
        return "Unfinished: some trainings are missing; rows with gaps are marked."
    return ""
