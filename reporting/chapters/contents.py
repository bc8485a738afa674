"""The chapters of a report, in reading order."""

from dataclasses import dataclass, replace
from importlib import import_module
from typing import Final

from reporting.evidence import Evidence
from reporting.page.document import Block, Document, Paragraph, Section
from search.words import counted


@dataclass(frozen=True, slots=True)
class Chapter:
    """One chapter.

    Args:
        module: Module of this package; its function `blocks(evidence)` writes the chapter.
        title: Heading.
        complete: Fewest complete trials that the chapter needs; with fewer, one line says so in
            its place.
        takes_early: Whether, with fewer, it compares all trials after the epoch at which the first
            ones were stopped.
        several: Whether only the report of a search with several objectives has it.
    """

    module: str
    title: str
    complete: int = 1
    takes_early: bool = False
    several: bool = False

    def section(self, evidence: Evidence) -> Section:
        """Return the chapter as written, or the line that says what it lacks."""
        complete = len(evidence.record.complete)
        written: list[Block]
        if complete >= self.complete:
            written = self._blocks(evidence)
        elif self.takes_early and (early := _early(evidence, self.complete)) is not None:
            said, judged = early
            written = [said, *self._blocks(judged)]
        else:
            needs = f"Needs {self.complete} complete trials; the study has {complete}."
            written = [Paragraph(needs)]
        name = self.module.replace("_", "-")
        return Section(name=name, title=self.title, blocks=written)

    def _blocks(self, evidence: Evidence) -> list[Block]:
        written: list[Block] = import_module(f"reporting.chapters.{self.module}").blocks(evidence)
        return written


# To add a chapter: a module in this folder, and its line here.
CHAPTERS: Final = (
    Chapter("verdict", "Verdict"),
    Chapter("front", "Pareto front", several=True),
    Chapter("accuracy", "Accuracy"),
    Chapter("tradeoff", "Accuracy against cost"),
    Chapter("winner", "Winner"),
    Chapter("classes", "Per-class results"),
    Chapter("mistakes", "Mistakes and calibration"),
    Chapter("checks", "Checks"),
    Chapter("progress", "Search progress"),
    Chapter("trials", "Trials and time"),
    Chapter("pruning", "Pruning", complete=5),
    Chapter("importance", "Hyperparameter importance", complete=20, takes_early=True),
    Chapter("regularization", "Batch normalization and dropout", complete=20, takes_early=True),
    Chapter("space_health", "Search space", complete=20, takes_early=True),
    Chapter("data", "Data"),
    Chapter("facts", "Settings and versions"),
    Chapter("limits", "Limitations"),
)


def _early(evidence: Evidence, least: int) -> tuple[Paragraph, Evidence] | None:
    """Return all trials after the first were stopped, and what to say; None with too few."""
    record = evidence.record
    epoch = record.first_judged
    if epoch is None:
        return None
    early = record.after(epoch)
    reached = len(early.complete)
    if reached < least:
        return None
    said = (
        f"Only {counted(len(record.complete), 'trial')} ran to the end. This chapter compares the "
        f"{reached:,} that reached epoch {epoch:,}, after which the first were stopped, by their "
        "validation accuracy then; its complete trials are these. What is good early may not be "
        "best at the end."
    )
    return Paragraph(said, strong=True), replace(evidence, record=early)


def document_of(evidence: Evidence) -> Document:
    """Write all chapters."""
    record = evidence.record
    return Document(
        title=f"Search report: {record.name}",
        subtitle=f"{counted(len(record.finished), 'finished trial')} of space {record.space} on "
        f"data set {evidence.dataset.name}; {evidence.command}",
        warning=_warning(evidence),
        sections=[
            chapter.section(evidence)
            for chapter in CHAPTERS
            if record.objectives.several or not chapter.several
        ],
    )


def _warning(evidence: Evidence) -> str:
    settings = evidence.settings
    if settings.quick:
        return (
            f"Preview (--quick): {settings.seeds} seed, {settings.final_epochs} epochs. "
            "Do not quote these accuracies."
        )
    if evidence.winner is None:
        return "Unfinished: no winner has been chosen yet, so there are no test results."
    if any(row.gap for row in evidence.rows):
        return "Unfinished: some trainings are missing; see Accuracy."
    return ""
