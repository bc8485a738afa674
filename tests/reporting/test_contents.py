"""The report as a whole: every chapter, its names, and what it says of too small a study."""

import dataclasses
import importlib
import pkgutil
import re
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution
from optuna.trial import TrialState

from reporting import chapters
from reporting.chapters.contents import CHAPTERS, document_of
from reporting.evidence import Evidence
from reporting.page.document import Document, Paragraph, Picture, Table
from reporting.page.render import write_document
from tests.reporting.made_evidence import made_evidence
from tests.reporting.made_studies import trial
from tests.reporting.written import pictures


@pytest.fixture(scope="module")
def evidence(tmp_path_factory: pytest.TempPathFactory) -> Evidence:
    return made_evidence(tmp_path_factory.mktemp("full"), trials=60)


@pytest.fixture(scope="module")
def written(evidence: Evidence) -> Document:
    return document_of(evidence)


def test_every_module_of_the_folder_is_a_chapter() -> None:
    modules = {module.name for module in pkgutil.iter_modules(chapters.__path__)}
    listed = [chapter.module for chapter in CHAPTERS]
    assert sorted(listed) == sorted(modules - {"contents"})
    for name in listed:
        assert importlib.import_module(f"reporting.chapters.{name}").__doc__


def test_names_are_unique_so_that_no_file_is_overwritten(written: Document) -> None:
    for kind in (Table, Picture):
        names = [
            block.name
            for section in written.sections
            for block in section.blocks
            if isinstance(block, kind)
        ]
        assert names
        assert len(set(names)) == len(names)


def test_every_chapter_has_content_and_every_figure_words_beside_it(written: Document) -> None:
    for section in written.sections:
        assert section.blocks, section.name
        for block in section.blocks:
            if isinstance(block, Picture):
                assert block.finding
                assert block.caption


def test_a_chapter_that_needs_more_trials_says_so_in_one_line(tmp_path: Path) -> None:
    small = made_evidence(tmp_path, trials=12, retrained=False)
    complete = len(small.record.complete)
    sections = {section.name: section for section in document_of(small).sections}
    assert sections["importance"].blocks == [
        Paragraph(f"Needs 20 complete trials; the study has {complete}.")
    ]
    assert len(sections["trials"].blocks) > 1


def test_where_few_ran_to_the_end_chapters_compare_all_after_the_first_rung(tmp_path: Path) -> None:
    few = made_evidence(tmp_path, trials=60, retrained=False)
    record = few.record
    ended = record.complete.index[4:]
    for number in ended:
        record.frozen[number].state = TrialState.PRUNED
    record.trials.loc[ended, "state"] = "PRUNED"
    epoch = record.first_judged
    assert epoch is not None
    early = record.after(epoch)
    assert early.complete["value"].to_dict() == pytest.approx(
        record.curves.loc[early.complete.index, epoch].to_dict()
    )
    reached = len(early.complete)
    assert reached >= 20
    sections = {section.name: section for section in document_of(few).sections}
    for name in ("importance", "regularization", "space-health"):
        said, *others = sections[name].blocks
        assert isinstance(said, Paragraph)
        assert said.text.startswith(
            "Only 4 trials ran to the end. This chapter compares the "
            f"{reached} that reached epoch {epoch}, after"
        )
        assert len(others) > 1
    assert record.complete.index.size == 4  # the other chapters' trials are as they were


# One of each: formulas of matplotlib, markup of HTML and Markdown, format strings, formulas of
# spreadsheets, codes of terminals, half a letter.
ODD_NAMES = (
    "a$b_c$",
    "<b>bold</b>",
    "`tick` *w*",
    "{x} %s %(y)s",
    "=cmd()|x",
    "\\frac{ $\\alpha",
    "\x1b[31mred",
    "half \ud83d",
    "line\nbreak",
)


def test_odd_names_are_written_as_they_are(searched: Any, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    choices = CategoricalDistribution(ODD_NAMES)
    made = [
        trial(
            [value - 0.1, value],
            params={name: (ODD_NAMES[int(rng.integers(9))], choices) for name in ODD_NAMES}
            | {f"{name} dropout": (float(value), FloatDistribution(0, 1)) for name in ODD_NAMES},
            **({"known_as": ODD_NAMES[index]} if index < 9 else {}),
            parameters=10,
        )
        for index, value in enumerate(rng.uniform(0.8, 0.9, 40))
    ]
    odd = searched([*made, *(trial([], TrialState.FAIL, reason=name) for name in ODD_NAMES)])
    document = document_of(dataclasses.replace(odd, command=" ".join(ODD_NAMES)))
    names = {
        block.name for section in document.sections for block in pictures(section.blocks).values()
    }
    assert {"importance", "importance-parallel", "regularization", "progress"} <= names
    write_document(document, tmp_path)
    html = (tmp_path / "report.html").read_text()
    assert "<b>bold" not in html
    assert ">a$b_c$" in html  # drawn, too
    markdown = (tmp_path / "report.md").read_text()
    code = re.compile(r"^(`{3,}).*?^\1$", re.MULTILINE | re.DOTALL)
    assert "<b>bold" not in code.sub("", markdown)
    for file in (tmp_path / "tables").iterdir():
        assert not re.search(r"(^|,)\"?=cmd", file.read_text(), re.MULTILINE), file
    for file in (tmp_path / "figures").glob("*.svg"):
        ElementTree.parse(file)
