"""Write a document as HTML, as Markdown, and as separate tables and figures."""

from pathlib import Path
from typing import Any, Final

import jinja2
import matplotlib
from matplotlib.figure import Figure

from reporting.drawing.style import DARK, NARROW, WIDE, figure_style
from reporting.page.document import Block, Code, Document, Paragraph, Picture, Table
from reporting.page.svg import inline_svg, variable
from search.escape import (
    code_fence,
    markdown_line,
    markdown_words,
    printable,
    write_csv,
)

_TEMPLATES: Final = Path(__file__).parent / "templates"
_DPI: Final = 150
_LONG_CELL: Final = 48


def write_document(document: Document, directory: Path) -> None:
    """Write `report.html`, `report.md`, `tables/*.csv` and `figures/*.png` and `.svg`.

    The HTML file contains its figures, each for a page and for a phone; the Markdown file links to
    them.

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
    environment.filters["cell"] = markdown_words
    environment.filters["line"] = markdown_line
    environment.filters["fence"] = code_fence
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
        "colors": [(variable(light), light, dark) for light, dark in DARK.items()],
    }
    for name in ("report.md", "report.html"):
        text = environment.get_template(f"{name}.j2").render(document=shown)
        (directory / name).write_text(printable(text), encoding="utf-8")


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
        write_csv(values, folder / f"{table.name}.csv")
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
    with figure_style():
        wide, narrow = _laid_out(picture.draw(WIDE)), _laid_out(picture.draw(NARROW))
        path = folder / f"{picture.name}.svg"
        wide.savefig(path.with_suffix(".png"), dpi=_DPI, facecolor="white")
        with matplotlib.rc_context({"svg.fonttype": "path"}):
            wide.savefig(path, facecolor="white", metadata={"Date": None})
        return {
            "kind": "picture",
            "name": picture.name,
            "finding": picture.finding,
            "caption": picture.caption,
            "wide": inline_svg(wide, f"wide-{picture.name}"),
            "narrow": inline_svg(narrow, f"narrow-{picture.name}"),
        }


def _laid_out(figure: Figure) -> Figure:
    """Lay the figure out once, not for each file."""
    figure.draw_without_rendering()
    figure.set_layout_engine("none")
    return figure
