"""The studies of a comparison: their searches, costs, and final trainings under one protocol."""

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

import pandas as pd

from reporting.comparison.finals import Finals, NoFinalsError, TrainingProtocol, read_finals
from reporting.errors import ReportError
from reporting.retraining import Retrained
from reporting.shared import FOLDER
from reporting.statistics import Difference, compare
from reporting.study_tables import Record, read_study, seconds_taken
from search.files import refuse_links


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Compared:
    """One study of a comparison.

    Args:
        record: The search.
        finals: The winner's final trainings; None: it has none under the protocol.
        gap: Why it has none; empty if it has.
        report_cpu_seconds: Processor time of all retrainings that its reports have kept in its
            folder, so without shared baselines; None without any.
        difference: Test accuracy of the first study with finals minus that of this one; None for
            the first, and without finals.
    """

    record: Record
    finals: Finals | None
    gap: str
    report_cpu_seconds: float | None
    difference: Difference | None = None

    @property
    def name(self) -> str:
        """Name of the study."""
        return self.record.name

    @property
    def worker_seconds(self) -> float:
        """Time of all trials, one after another; trials of unknown duration are left out."""
        return float(seconds_taken(self.record).sum())

    @property
    def cpu_seconds(self) -> float | None:
        """Processor time of the trials; None where an ended trial has none recorded."""
        recorded = pd.to_numeric(self.record.finished["cpu_seconds"], errors="coerce")
        return float(recorded.sum()) if len(recorded) and recorded.notna().all() else None


def read_studies(results_dir: Path, names: Sequence[str], url: str | None) -> list[Compared]:
    """Read studies of the same data; the first with finals sets the protocol.

    Args:
        results_dir: Folder of the studies.
        names: Names of two or more studies.
        url: Database of the studies; None: their journals.

    Raises:
        SettingsError: A name cannot be that of a folder.
        ReportError: A study has no complete trial, or their data differ.
        StudyError: There is no such study, or it is damaged.
        StorageError: The storage cannot be opened or read, or a folder holds a link.
    """
    records = [read_study(results_dir, name, url) for name in names]
    first = records[0]
    for record in records[1:]:
        if record.facts["data"] != first.facts["data"]:
            raise ReportError(
                f"study {record.name!r} was searched on {_data(record)}, study {first.name!r} on "
                f"{_data(first)}: accuracies on different data cannot be compared. Leave one out "
                "of --compare."
            )
    refuse_links(results_dir / FOLDER)  # where winners that equal a baseline may be
    protocol = _protocol(records, url)
    studies: list[Compared] = []
    for record in records:
        finals, gap = None, ""
        try:
            finals = read_finals(record, protocol, url)
        except NoFinalsError as error:
            gap = str(error)
        studies.append(
            Compared(
                record=record,
                finals=finals,
                gap=gap,
                report_cpu_seconds=_report_cpu_seconds(record),
            )
        )
    return _with_differences(studies)


def _protocol(records: Sequence[Record], url: str | None) -> TrainingProtocol | None:
    """Return that of the first study with finals; None if no study has any."""
    for record in records:
        with suppress(NoFinalsError):
            return read_finals(record, None, url).protocol
    return None


def _with_differences(studies: Sequence[Compared]) -> list[Compared]:
    """Return the studies, each with finals after the first compared with the first."""
    scored = [(study, study.finals.row.correct) for study in studies if study.finals]
    found: dict[str, Difference] = {}
    if len(scored) > 1:
        (_, first), *others = scored
        differences = compare(first, [correct for _, correct in others])
        found = {study.name: one for (study, _), one in zip(others, differences, strict=True)}
    return [replace(study, difference=found.get(study.name)) for study in studies]


def _report_cpu_seconds(record: Record) -> float | None:
    folders = sorted((record.directory / "retrainings").glob("[!.]*"))
    kept = [found for folder in folders if (found := Retrained.load(folder)) is not None]
    return sum(one.cpu_seconds for one in kept) if kept else None


def _data(record: Record) -> str:
    name = record.facts.get("dataset", {}).get("name")
    md5 = f"MD5 {record.facts['data']}"
    return f"data of {md5}" if name is None else f"{name} ({md5})"
