"""The report as a whole: every chapter, its names, and what it says of too small a study."""

import importlib
import pkgutil
from pathlib import Path

import pytest

from reporting import chapters
from reporting.chapters.contents import CHAPTERS, document_of
from reporting.evidence import Evidence
from reporting.page.document import Document, Paragraph, Picture, Table
from tests.reporting.made_evidence import made_evidence


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
