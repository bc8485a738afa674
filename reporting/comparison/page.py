"""Make the page of a comparison: read the studies, write the files."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from reporting.comparison import leaderboard, progress, settings
from reporting.comparison.studies import Compared, read_studies
from reporting.errors import ReportError
from reporting.folder import replaced, writing
from reporting.page.document import Document, Section
from reporting.page.render import write_document
from reporting.settings import ReportSettings
from search.files import locked
from search.study.names import COMPARISONS
from search.study.provenance import command_line
from search.study.storage import quiet_optuna
from search.words import listed

_LONGEST_NAME: Final = 150  # bytes of a folder's name; it gets a prefix while it is written


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """A written comparison.

    Args:
        html: The page.
        studies: What it was written from.
    """

    html: Path
    studies: list[Compared]


@quiet_optuna()
def run_comparison(wanted: ReportSettings, arguments: Sequence[str]) -> Comparison:
    """Compare the studies that `--compare` names.

    Args:
        wanted: Settings; `compare` names two studies or more.
        arguments: `sys.argv`, recorded on the page.

    Raises:
        ReportError: A study has no complete trial, the data differ, or the page cannot be written.
        SearchError: A study is missing or cannot be read.
    """
    studies = read_studies(wanted.results_dir, wanted.compare, wanted.storage)
    directory = wanted.results_dir / COMPARISONS

    def busy(holder: str) -> ReportError:
        return ReportError(f"{holder} is already comparing studies. Wait for it or stop it.")

    with writing(directory):
        directory.mkdir(parents=True, exist_ok=True)
        with locked(directory, busy), replaced(directory / _folder(wanted.compare)) as fresh:
            write_document(_document(studies, command_line(arguments)), fresh)
    return Comparison(html=directory / _folder(wanted.compare) / "report.html", studies=studies)


def _folder(names: Sequence[str]) -> str:
    joined = "+".join(names)
    if len(joined.encode()) <= _LONGEST_NAME:
        return joined
    return f"{len(names)} studies {hashlib.sha256(joined.encode()).hexdigest()[:12]}"


def _document(studies: Sequence[Compared], command: str) -> Document:
    names = [study.name for study in studies]
    facts = studies[0].record.facts
    data = facts.get("dataset", {}).get("name", f"of MD5 {facts['data']}")
    gaps = [study.name for study in studies if study.gap]
    return Document(
        title=f"Studies compared: {listed(names)}",
        subtitle=f"{len(names)} studies on data set {data}; {command}",
        warning=f"Without test results under one protocol: {listed(gaps)}." if gaps else "",
        sections=[
            Section(name="leaderboard", title="Leaderboard", blocks=leaderboard.blocks(studies)),
            Section(name="progress", title="Best so far", blocks=progress.blocks(studies)),
            Section(name="settings", title="Settings that differ", blocks=settings.blocks(studies)),
        ],
    )
