"""All figures of a report: readable on a page and on a phone, in the colors of either."""

import re
from itertools import combinations

import pytest
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.text import Text
from matplotlib.transforms import Bbox

from reporting.chapters.contents import document_of
from reporting.drawing.style import DARK, GROUND, NARROW, WIDE, figure_style
from reporting.page.document import Picture
from reporting.page.svg import inline_svg
from tests.reporting.made_evidence import made_evidence
from tests.reporting.written import drawn

pytestmark = pytest.mark.xdist_group("figures")  # drawn once

# Points: 9.4 pixels on a phone of 390 pixels, whose page is 358 wide.
SMALLEST_TEXT = 7.5


@pytest.fixture(scope="module")
def figures(tmp_path_factory: pytest.TempPathFactory) -> dict[tuple[str, float], Figure]:
    evidence = made_evidence(tmp_path_factory.mktemp("full"), trials=60)
    found = [
        block
        for section in document_of(evidence).sections
        for block in section.blocks
        if isinstance(block, Picture)
    ]
    assert len(found) > 15
    return {
        (picture.name, width): drawn(picture, width)
        for picture in found
        for width in (WIDE, NARROW)
    }


def labels(axis: Axis) -> list[Text]:
    """The labels of the ticks that can be seen."""
    low, high = sorted(axis.get_view_interval())
    return [
        text
        for tick in axis.get_major_ticks()
        for text in (tick.label1, tick.label2)
        if low <= tick.get_loc() <= high
        and text.get_visible()
        and text.get_text()
        and axis.axes.axison
    ]


def texts(figure: Figure) -> list[Text]:
    return [text for text in figure.findobj(Text) if text.get_visible() and text.get_text().strip()]


def test_figures_have_the_width_that_is_asked_for(
    figures: dict[tuple[str, float], Figure],
) -> None:
    for (name, width), figure in figures.items():
        assert figure.get_figwidth() == width, name


def test_no_text_leaves_its_figure(figures: dict[tuple[str, float], Figure]) -> None:
    for key, figure in figures.items():
        for axes in figure.axes:
            names = [axes.xaxis.label, axes.yaxis.label] if axes.axison else []
            names = [name for name in names if name.get_text()]
            for text in [*names, *axes.texts, *labels(axes.xaxis), *labels(axes.yaxis)]:
                box = Text.get_window_extent(text)
                inside = Bbox.intersection(box, figure.bbox.padded(3))
                assert inside is not None, (key, text.get_text())
                assert inside.width == pytest.approx(box.width), (key, text.get_text())
                assert inside.height == pytest.approx(box.height), (key, text.get_text())


def test_text_can_be_read_on_a_phone(figures: dict[tuple[str, float], Figure]) -> None:
    for (name, width), figure in figures.items():
        if width == NARROW:
            small = [t.get_text() for t in texts(figure) if t.get_fontsize() < SMALLEST_TEXT]
            assert not small, (name, small)


def test_labels_of_an_axis_do_not_overlap(figures: dict[tuple[str, float], Figure]) -> None:
    for key, figure in figures.items():
        for axis in [axis for axes in figure.axes for axis in (axes.xaxis, axes.yaxis)]:
            boxes = [
                Text.get_window_extent(text) for text in labels(axis) if not text.get_rotation()
            ]
            for first, second in combinations(boxes, 2):
                assert not first.overlaps(second), (key, axis.get_label_text())


def test_figures_follow_the_colors_of_the_page(figures: dict[tuple[str, float], Figure]) -> None:
    for (name, width), figure in figures.items():
        with figure_style():
            svg = inline_svg(figure, name)
        styles = " ".join(re.findall(r'style="([^"]*)"', svg))
        assert not re.findall(r"#[0-9a-f]{6}", styles), (name, width)
        # Nothing of the size of the figure: no ground.
        width_points, height_points = (72 * side for side in figure.get_size_inches())
        corner = f"L {width_points:g} {height_points:g}"
        for path in re.findall(r"<path[^>]*>", svg):
            assert corner not in path or "fill: none" in path, (name, path)


def test_dark_colors_differ_from_the_dark_ground() -> None:
    def light(color: str) -> float:
        parts = [int(color[place : place + 2], 16) / 255 for place in (1, 3, 5)]
        linear = [v / 12.92 if v <= 0.04045 else ((v + 0.055) / 1.055) ** 2.4 for v in parts]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    for bright, dark in DARK.items():
        if bright != GROUND:
            # Source: WCAG 2.2, 1.4.11: parts of figures need a contrast of 3 to 1.
            assert (light(dark) + 0.05) / (light(DARK[GROUND]) + 0.05) > 3, dark
