"""The page: all in one file, nothing from outside, nothing broken by odd text."""

import re
from pathlib import Path

import pandas as pd

from reporting.drawing.style import new_figure
from reporting.page.document import Code, Document, Paragraph, Picture, Section, Table
from reporting.page.render import write_document


def document(**changes: object) -> Document:
    figure, axes = new_figure()
    axes.plot([1, 2, 3])
    frame = pd.DataFrame({"name": ["left|right", "<c>"], "value": ["1.5 %", "-"]})
    blocks = [
        Paragraph("A <b>sentence</b>.", strong=True),
        Table(
            name="numbers", caption="Numbers", shown=frame, values=pd.DataFrame({"value": [0.015]})
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
    assert "| left\\|right | 1.5 % |" in markdown
    assert "python report.py --study 'a & b'" in markdown


def test_tables_and_figures_lie_beside_the_page(tmp_path: Path) -> None:
    write_document(document(), tmp_path)
    assert pd.read_csv(tmp_path / "tables" / "numbers.csv")["value"].tolist() == [0.015]
    assert (tmp_path / "figures" / "line.png").read_bytes().startswith(b"\x89PNG")
    assert "<svg" in (tmp_path / "figures" / "line.svg").read_text()
    assert "![It rises](figures/line.png)" in (tmp_path / "report.md").read_text()


def test_a_markdown_table_has_a_row_for_each_line(tmp_path: Path) -> None:
    write_document(document(), tmp_path)
    lines = (tmp_path / "report.md").read_text().splitlines()
    start = lines.index("| name | value |")
    assert lines[start + 1] == "|:-|-:|"
    assert lines[start + 2 : start + 4] == ["| left\\|right | 1.5 % |", "| <c> | - |"]
    assert lines[start + 4] == ""


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
