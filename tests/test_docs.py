"""The documentation: generated pages are current, and links lead somewhere."""

import re
from pathlib import Path

import pytest

from docs.cli import PAGE, page

ROOT = Path(__file__).parents[1]
PAGES = sorted(
    [ROOT / "README.md", *(ROOT / "docs").glob("*.md"), *ROOT.glob("*/README.md")],
    key=str,
)


def anchors(text: str) -> set[str]:
    """Return the anchors that GitHub gives to the headings of a page."""
    headings = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_the_page_of_flags_is_what_the_parsers_say() -> None:
    assert PAGE.read_text() == page(), "run python -m docs.cli"


@pytest.mark.parametrize("file", PAGES, ids=lambda file: str(file.relative_to(ROOT)))
def test_links_to_files_and_headings_exist(file: Path) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", file.read_text()):
        if "://" in target:
            continue
        path, _, anchor = target.partition("#")
        linked = (file.parent / path).resolve() if path else file
        assert linked.exists(), target
        if anchor:
            assert anchor in anchors(linked.read_text()), target


@pytest.mark.parametrize("file", PAGES, ids=lambda file: str(file.relative_to(ROOT)))
def test_files_of_the_project_that_a_page_names_exist(file: Path) -> None:
    named = re.findall(
        r"`((?:search|spaces|reporting|predicting|tests|benchmarks)/[\w/.]+)`", file.read_text()
    )
    assert [name for name in named if not (ROOT / name).exists()] == []
