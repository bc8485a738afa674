"""A figure as SVG inside a page, whose colors it follows."""

import io
import re
from typing import Final
from xml.etree import ElementTree

from matplotlib.figure import Figure

from reporting.drawing.style import DARK
from search.escape import printable

_SVG: Final = "{http://www.w3.org/2000/svg}"
_LINK: Final = "{http://www.w3.org/1999/xlink}href"
_DECIMALS: Final = re.compile(r"-?\d+\.\d{3,}")
_COLOR: Final = re.compile(r"#[0-9a-f]{6}")
_FONT: Final = re.compile(r"font-family:[^;]*;? ?")
_REFERENCE: Final = re.compile(r"url\(#([^)]+)\)")


def inline_svg(figure: Figure, name: str) -> str:
    """Return the figure as an `svg` element without a background.

    Text stays text, in the font of the page. Colors that the style names become variables of the
    page (see `variable`); all others stay.

    Args:
        figure: Drawn with the style of figures.
        name: Prefix of its ids: unique in the page.
    """
    file = io.StringIO()
    none = dict.fromkeys(("Date", "Creator", "Format", "Type"))
    figure.savefig(file, format="svg", transparent=True, metadata=none)
    ElementTree.register_namespace("", _SVG[1:-1])
    ElementTree.register_namespace("xlink", _LINK[1:-5])
    root = ElementTree.fromstring(printable(file.getvalue()))
    for style in root.iter(f"{_SVG}style"):
        style.text = None  # it would hold for the whole page
    for element in root.iter():
        _adapt(element, name)
    for size in ("width", "height"):
        del root.attrib[size]  # those of `viewBox`, stretched to the page
    return ElementTree.tostring(root, encoding="unicode")


def variable(color: str) -> str:
    """Return the name of the page's variable for a color such as `#0072b2`."""
    return f"--figure-{color.lower()[1:]}"


def _adapt(element: ElementTree.Element, name: str) -> None:
    for key, value in element.attrib.items():
        if key == "style":
            value = _FONT.sub("", value)
            value = _COLOR.sub(_themed, value)
            value = _REFERENCE.sub(rf"url(#{name}-\1)", value)
        elif key == "id":
            value = f"{name}-{value}"
        elif key == "clip-path":
            value = _REFERENCE.sub(rf"url(#{name}-\1)", value)
        elif key == _LINK and value.startswith("#"):
            value = f"#{name}-{value[1:]}"
        elif key in ("d", "x", "y"):
            value = _DECIMALS.sub(lambda found: f"{float(found[0]):.2f}", value)
        element.set(key, value)


def _themed(found: re.Match[str]) -> str:
    return f"var({variable(found[0])})" if found[0] in DARK else found[0]
