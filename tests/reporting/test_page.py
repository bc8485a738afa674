"""The page: all in one file, nothing from outside, nothing broken by odd text."""

import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from reporting.drawing.style import new_figure
from reporting.page.document import Code, Column, Document, Paragraph, Picture, Section, Table
from reporting.page.render import write_document


def document(**changes: object) -> Document:
    figure, axes = new_figure()
    axes.plot([1, 2, 3])
    rows = [{"name": "left|right", "value": 0.015}, {"name": "<c>", "value": None}]
    blocks = [
        Paragraph("A <b>sentence</b>.", strong=True),
        Table(
            name="numbers",
            caption="Numbers",
            columns=[
                Column("name", "name"),
                Column("value", "share", format=".1%"),
                Column("twice", value=lambda row: 2 * (row["value"] or 0)),
                Column(None, "letters", lambda row: len(row["name"]), "03d"),
            ],
            items=rows,
        ),
        Picture(name="line", finding="It rises", caption="To the right", figure=figure),
        Code("python report.py --study 'a & b'", "console"),
    ]
    sections = [
        Section(name="first", title="First", blocks=blocks),
        Section(name="second", title="Second", blocks=[Paragraph("End.")]),
    ]
    given = {"title": "Title", "subtitle": "Sub", "warning": "", "sections": sections}
    return Document(**(given | changes))  # type: ignore[arg-type]


def test_the_page_needs_no_other_file_and_no_network(tmp_path: Path) -> None:
    write_document(document(), tmp_path)
    html = (tmp_path / "report.html").read_text()
    assert not re.search(r"(src|href)=\"(?!data:|#)", html)
    assert "http" not in html
    assert html.count("data:image/png;base64,") == 1
    assert 'alt="It rises. To the right"' in html


def test_text_is_shown_as_it_is(tmp_path: Path) -> None:
    write_document(document(), tmp_path)
    html = (tmp_path / "report.html").read_text()
    assert "A &lt;b&gt;sentence&lt;/b&gt;." in html
    assert "&lt;c&gt;" in html
    markdown = (tmp_path / "report.md").read_text()
    assert "| left\\|right | 1.5% | 010 |" in markdown
    assert "python report.py --study 'a & b'" in markdown


def test_tables_and_figures_lie_beside_the_page(tmp_path: Path) -> None:
    write_document(document(), tmp_path)
    assert (tmp_path / "tables" / "numbers.csv").exists()
    assert (tmp_path / "figures" / "line.png").read_bytes().startswith(b"\x89PNG")
    assert "<svg" in (tmp_path / "figures" / "line.svg").read_text()
    assert "![It rises](figures/line.png)" in (tmp_path / "report.md").read_text()


def test_a_column_is_shown_as_text_and_written_as_a_value(tmp_path: Path) -> None:
    write_document(document(), tmp_path)
    written = pd.read_csv(tmp_path / "tables" / "numbers.csv")
    assert list(written.columns) == ["name", "value", "twice"]
    assert written["value"].tolist() == pytest.approx([0.015, np.nan], nan_ok=True)
    lines = (tmp_path / "report.md").read_text().splitlines()
    start = lines.index("| name | share | letters |")
    assert lines[start + 1] == "|:-|-:|-:|"
    assert lines[start + 2 : start + 4] == ["| left\\|right | 1.5% | 010 |", "| <c> | - | 003 |"]
    assert lines[start + 4] == ""


def test_a_long_table_is_cut_on_the_page_only() -> None:
    frame = pd.DataFrame({"n": range(1, 2001)})
    table = Table(name="n", caption="Numbers", columns=[Column("n", "n")], items=frame, most=20)
    assert len(table.shown) == 20
    assert table.below == "The first 20 of 2,000 rows; the CSV has all."
    assert len(table.values) == 2000


def test_a_warning_stands_in_both_files(tmp_path: Path) -> None:
    write_document(document(warning="Preview only"), tmp_path)
    html = (tmp_path / "report.html").read_text()
    assert 'role="alert">Preview only<' in html
    assert "> **Preview only**" in (tmp_path / "report.md").read_text()


def test_the_contents_name_every_chapter_after_the_first(tmp_path: Path) -> None:
    write_document(document(), tmp_path)
    html = (tmp_path / "report.html").read_text()
    assert '<a href="#second">Second</a>' in html
    assert '<a href="#first">' not in html


def test_a_table_whose_columns_are_shown_only_has_no_file(tmp_path: Path) -> None:
    more = Table(name="more", caption="More", columns=[Column(None, "n", len)], items=["abc"])
    sections = [Section(name="first", title="First", blocks=[more])]
    write_document(document(sections=sections), tmp_path)
    assert not (tmp_path / "tables" / "more.csv").exists()
    for name in ("report.html", "report.md"):
        assert "more.csv" not in (tmp_path / name).read_text()
