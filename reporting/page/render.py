"""Write a document as one HTML file, as Markdown, and as loose tables and figures."""

import base64
import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import jinja2
import pandas as pd

from reporting.page.document import Block, Code, Document, Paragraph, Picture, Table

_TEMPLATES: Final = Path(__file__).parent / "templates"
_DPI: Final = 150
_LONG_CELL: Final = 48
_WORD: Final = re.compile("[A-Za-z_]{3}")


def write_document(document: Document, directory: Path) -> None:
    """Write `report.html`, `report.md`, `tables/*.csv` and `figures/*.png` and `.svg`.

    The HTML file holds all it needs, pictures too; the Markdown file links to the pictures.

    Args:
        document: What to write.
        directory: Made if it is not there.

    Raises:
        OSError: The folder cannot be written.
    """
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_TEMPLATES),
        autoescape=jinja2.select_autoescape(["html.j2"]),
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    environment.filters["cell"] = _markdown_cell
    for folder in ("tables", "figures"):
        (directory / folder).mkdir(parents=True, exist_ok=True)
    shown = {
        "title": document.title,
        "subtitle": document.subtitle,
        "warning": document.warning,
        "sections": [
            {
                "name": section.name,
                "title": section.title,
                "blocks": [_written(block, directory) for block in section.blocks],
            }
            for section in document.sections
        ],
    }
    for name in ("report.md", "report.html"):
        text = environment.get_template(f"{name}.j2").render(document=shown)
        (directory / name).write_text(text, encoding="utf-8")


def _written(block: Block, directory: Path) -> dict[str, Any]:
    match block:
        case Paragraph(text, strong):
            return {"kind": "paragraph", "text": text, "strong": strong}
        case Code(text, language):
            return {"kind": "code", "text": text, "language": language}
        case Table():
            return _write_table(block, directory / "tables")
        case Picture():
            return _write_picture(block, directory / "figures")


def _write_table(table: Table, folder: Path) -> dict[str, Any]:
    values = table.shown if table.values is None else table.values
    if len(values.columns):
        values.to_csv(folder / f"{table.name}.csv", index=False)
    columns = (
        [
            _Column(str(name), left)
            for name, left in zip(table.shown.columns, table.left, strict=True)
        ]
        if table.columns
        else [_Column.of(table.shown, name) for name in table.shown.columns]
    )
    return {
        "kind": "table",
        "name": table.name,
        "caption": table.caption,
        "note": table.note,
        "fold": table.fold,
        "csv": len(values.columns) > 0,
        "columns": columns,
        "rows": list(_rows(table.shown, columns)),
    }


@dataclass(frozen=True, slots=True)
class _Column:
    name: str
    text: bool

    @classmethod
    def of(cls, frame: pd.DataFrame, name: str) -> "_Column":
        # Numbers stand right, words left; to pandas, formatted numbers are words too.
        return cls(str(name), any(_WORD.search(str(cell)) for cell in frame[name]))


def _rows(frame: pd.DataFrame, columns: list[_Column]) -> Iterator[list[dict[str, str]]]:
    for values in frame.itertuples(index=False, name=None):
        yield [
            {"text": text, "css": _css(text, column)}
            for text, column in zip(map(_cell, values), columns, strict=True)
        ]


def _cell(value: Any) -> str:
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return "-"
    return str(value)


def _css(text: str, column: _Column) -> str:
    if len(text) > _LONG_CELL:
        return "text long"
    return "text" if column.text else ""


def _write_picture(picture: Picture, folder: Path) -> dict[str, Any]:
    png = folder / f"{picture.name}.png"
    picture.figure.savefig(png, dpi=_DPI, facecolor="white")
    # Without a date, so that the same report is the same file.
    picture.figure.savefig(png.with_suffix(".svg"), facecolor="white", metadata={"Date": None})
    width, height = picture.figure.get_size_inches()
    return {
        "kind": "picture",
        "name": picture.name,
        "finding": picture.finding,
        "caption": picture.caption,
        "png": base64.b64encode(png.read_bytes()).decode(),
        "width": round(width * _DPI),
        "height": round(height * _DPI),
    }


def _markdown_cell(text: object) -> str:
    return str(text).replace("|", "\\|").replace("\n", " ")
