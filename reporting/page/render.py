"""Write a document as HTML, as Markdown, and as separate tables and figures."""

import base64
from pathlib import Path
from typing import Any, Final

import jinja2

from reporting.page.document import Block, Code, Document, Paragraph, Picture, Table

_TEMPLATES: Final = Path(__file__).parent / "templates"
_DPI: Final = 150
_LONG_CELL: Final = 48


def write_document(document: Document, directory: Path) -> None:
    """Write `report.html`, `report.md`, `tables/*.csv` and `figures/*.png` and `.svg`.

    The HTML file contains its figures; the Markdown file links to them.

    Args:
        document: The document.
        directory: Folder to write to; created if it does not exist.

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
    values = table.values
    has_file = len(values.columns) > 0
    if has_file:
        values.to_csv(folder / f"{table.name}.csv", index=False)
    shown, left = table.shown, table.left
    return {
        "kind": "table",
        "name": table.name,
        "caption": table.caption,
        "note": table.below,
        "fold": table.fold,
        "csv": has_file,
        "columns": [
            {"heading": heading, "css": "text" if words else ""}
            for heading, words in zip(shown.columns, left, strict=True)
        ],
        "rows": [
            [
                {"text": text, "css": _css(text, words=words)}
                for text, words in zip(row, left, strict=True)
            ]
            for row in shown.itertuples(index=False, name=None)
        ],
    }


def _css(text: str, *, words: bool) -> str:
    if len(text) > _LONG_CELL:
        return "text long"
    return "text" if words else ""


def _write_picture(picture: Picture, folder: Path) -> dict[str, Any]:
    png = folder / f"{picture.name}.png"
    picture.figure.savefig(png, dpi=_DPI, facecolor="white")
    # Without a date, so that the same report gives the same file.
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
