"""The page in a real browser: nothing scrolls sideways, and dark figures have no white ground."""

import json
import re
import shutil
import subprocess
from collections.abc import Callable
from html import unescape
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from reporting.chapters.contents import document_of
from reporting.page.document import Code, Document, Paragraph, Section
from reporting.page.render import write_document
from tests.reporting.made_evidence import made_evidence

CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
OFFLINE = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
)
LONG = "my_package.my_module:" + "VeryLongClassName" * 8

pytestmark = [
    pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium"),
    pytest.mark.xdist_group("browser"),  # the page is written once
]

# Opens what is folded, and says how far anything reaches.
MEASURE = """
<script>
for (const folded of document.querySelectorAll("details")) folded.open = true;
const reach = [...document.querySelectorAll("main *")].filter(e => !e.closest("svg, table, code"));
const boxes = [...document.querySelectorAll(".scroll, pre")];
parent.postMessage(JSON.stringify({
  page: document.documentElement.scrollWidth,
  window: innerWidth,
  reach: Math.max(...reach.map(e => e.getBoundingClientRect().right)),
  wide: boxes.filter(e => e.scrollWidth > e.clientWidth).length,
  uncued: boxes.filter(e => !getComputedStyle(e).backgroundImage.includes("gradient")).length,
  figures: [...document.querySelectorAll("figure svg")].filter(e => e.clientWidth > 0).length,
}), "*");
</script>
"""


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A full report, with a chapter of names without a place to break them."""
    evidence = made_evidence(tmp_path_factory.mktemp("full"), trials=60)
    written = document_of(evidence)
    blocks = [Paragraph(LONG), Code(f"python run_search.py --space {LONG}", "console")]
    odd = Section(name="odd", title=LONG, blocks=[*blocks, Code(f"import {LONG}", "python")])
    document = Document(title=LONG, subtitle=LONG, warning=LONG, sections=[*written.sections, odd])
    folder = tmp_path_factory.mktemp("page")
    write_document(document, folder)
    return folder / "report.html"


@pytest.fixture(scope="module")
def measured(page: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[[int], Any]:
    """The measures of the page in a window of some width."""

    def measure(width: int) -> Any:
        folder = tmp_path_factory.mktemp("measured")
        (folder / "page.html").write_text(page.read_text() + MEASURE)
        # In a frame, since a window of Chromium is never narrower than 500 pixels.
        (folder / "frame.html").write_text(
            "<script>onmessage = e => document.body.innerText = e.data</script><body>"
            f'<iframe src="page.html" width="{width}" height="900" style="border: 0"></iframe>'
        )
        flags = (f"--user-data-dir={folder}/user", "--window-size=1400,1000", "--dump-dom")
        shown = browse(*flags, "--virtual-time-budget=10000", f"file://{folder}/frame.html")
        found = re.search(r"\{.*\}", unescape(shown))
        assert found is not None, shown[:500]
        return json.loads(found[0])

    return measure


def browse(*flags: str) -> str:
    assert CHROMIUM is not None
    ended = subprocess.run(
        [CHROMIUM, *OFFLINE, *flags], capture_output=True, text=True, timeout=120, check=True
    )
    return ended.stdout


@pytest.mark.parametrize("width", [390, 1300])
def test_the_page_does_not_scroll_sideways(measured: Callable[[int], Any], width: int) -> None:
    found = measured(width)
    assert found["window"] == width
    assert found["page"] <= width
    assert found["reach"] <= width
    # What is wider than its box scrolls in it, and a shadow says so.
    assert found["wide"] > (1 if width == 390 else 0)
    assert found["uncued"] == 0
    assert found["figures"] > 15  # each once: for a page or for a phone


@pytest.mark.parametrize(("mode", "ground"), [(0, (22, 24, 28)), (1, (255, 255, 255))])
def test_figures_stand_on_the_ground_of_the_page(
    page: Path, tmp_path: Path, mode: int, ground: tuple[int, int, int]
) -> None:
    html = page.read_text()
    style = html[html.index("<style>") : html.index("</style>") + len("</style>")]
    # Photographs have their own background.
    figures = [
        figure
        for figure in re.findall(r"<figure>.*?</figure>", html, re.DOTALL)
        if "data:image/png" not in figure
    ]
    assert len(figures) > 10
    (tmp_path / "figures.html").write_text(f"<!DOCTYPE html>{style}<main>{''.join(figures)}</main>")
    browse(
        f"--user-data-dir={tmp_path}/user",
        f"--blink-settings=preferredColorScheme={mode}",
        f"--screenshot={tmp_path}/figures.png",
        "--window-size=1000,9000",
        f"file://{tmp_path}/figures.html",
    )
    pixels = np.asarray(Image.open(tmp_path / "figures.png").convert("RGB")).reshape(-1, 3)
    assert np.mean(np.all(pixels == ground, axis=1)) > 0.8
    if mode == 0:
        assert np.mean(np.all(pixels > 230, axis=1)) < 0.01  # text only
