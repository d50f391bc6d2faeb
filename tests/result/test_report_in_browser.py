"""report.html of a run as a browser shows it: on a screen, on a narrow one and on paper."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from lib import cli
from lib.parallel.communicator import SerialComm
from tests import phantoms
from tests.page import browser

CASE = phantoms.make(n=10, n_tilts=3, n_omega=12)
LOOK = """
const wait = (ms) => new Promise((done) => setTimeout(done, ms));
while (document.getElementById("viewer").dataset.ready !== "yes") await wait(20);
const solid = document.body.querySelector("#scene");
for (let i = 0; solid.dataset.ready !== "yes" && i < 400; i++) await wait(20);
found.turns = solid.querySelector("canvas")?.clientHeight;
found.colours = [...solid.querySelectorAll(".paints button")].map((button) => button.textContent);
document.querySelectorAll("th button")[1].click();
found.sorted = [...document.querySelectorAll("td:nth-child(2)")].map((cell) => Number(cell.dataset.value));
const viewer = document.body.querySelector("#viewer");
found.titles = [...document.querySelectorAll("h2")].map((h) => h.textContent);
found.broken = [...document.images].filter((i) => i.src && i.complete && !i.naturalWidth).map((i) => i.alt);
found.wide = document.documentElement.scrollWidth;
found.moves = viewer !== null && viewer.clientHeight > 100;
found.text = document.body.innerText.length;
"""


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("report")
    init = CASE.write(folder, threshold=5, method="mlem", iterations=2)
    assert cli.recon3d([str(init), "--quiet"], SerialComm()) == 0
    return folder / "report.html"


@pytest.mark.parametrize("width", [1280, 390])
def test_nothing_is_amiss_on_a_screen(report: Path, tmp_path: Path, width: int) -> None:
    found = browser.visit(report, LOOK, tmp_path, (width, 900))
    assert found["errors"] == []
    assert found["broken"] == []
    assert found["moves"]
    assert found["turns"] > 300
    assert found["colours"][:3] == ["Orientation", "Cells", "Misorientation"]
    assert found["colours"][-2:] == ["Error of tilt1", "Error of tilt2"]
    assert found["sorted"] == sorted(found["sorted"], reverse=True) and found["sorted"]
    assert {"Result", "Parameters", "Versions"} <= set(found["titles"])
    assert found["wide"] <= max(width, 500)  # the narrowest window that Chromium makes
    assert found["text"] > 1000


def test_a_screenshot_shows_the_page(report: Path, tmp_path: Path) -> None:
    """Text in its upper part, and colours of the grain further down."""
    seen = browser.screenshot(report, tmp_path, (1280, 2400)).astype(int)
    assert seen.shape[:2] == (2400, 1280)
    assert (seen[:400].sum(axis=2) < 300).any()
    assert (np.ptp(seen[400:], axis=2) > 60).mean() > 0.005


def test_it_prints(report: Path, tmp_path: Path) -> None:
    """As pages with the pictures on them."""
    paper = browser.printed(report, tmp_path)
    assert paper.startswith(b"%PDF-") and paper.rstrip().endswith(b"%%EOF")
    assert paper.count(b"/Subtype /Image") >= 3
