"""A table whose rows a click puts in order."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from lib.page.skeleton import page
from lib.page.table import Column, table
from tests.page import browser

VALUES = [3.0, np.nan, 20.0, 1.0]
CLICKS = """
const rows = () => [...document.querySelectorAll("tbody tr")].map((row) => row.cells[0].textContent);
const heads = [...document.querySelectorAll("th")];
const sorts = () => heads.map((head) => head.getAttribute("aria-sort"));
found.rows = [rows()];
found.sorts = [sorts()];
for (const column of [1, 1, 0, 1]) {
  heads[column].querySelector("button").click();
  found.rows.push(rows());
  found.sorts.push(sorts());
}
found.colour = getComputedStyle(document.querySelector("td i")).backgroundColor;
found.wide = document.documentElement.scrollWidth;
"""


def made_up() -> str:
    colours = np.arange(12, dtype=np.uint8).reshape(4, 3)
    names = Column("name <a>", "", list("abcd"), [1, 2, 3, 4], colours)
    more = [Column(f"a long name {i}", "µm", [f"{v:g}" for v in VALUES], VALUES) for i in range(12)]
    return table([names, *more])


def test_a_click_puts_the_rows_in_order(tmp_path: Path) -> None:
    """Largest first, then smallest first; what is not a number last. A wide table scrolls by itself."""
    path = tmp_path / "page.html"
    path.write_text(page("recon3d", "table", "", [f"<section>{made_up()}</section>"]), encoding="utf-8")
    found = browser.visit(path, CLICKS, tmp_path, (390, 800))
    assert found["errors"] == []
    assert ["".join(rows) for rows in found["rows"]] == ["abcd", "cadb", "dacb", "dcba", "cadb"]
    assert [s[:2] for s in found["sorts"]] == [
        [None, None],
        [None, "descending"],
        [None, "ascending"],
        ["descending", None],
        [None, "descending"],
    ]
    assert found["colour"] in {f"rgb({3 * i}, {3 * i + 1}, {3 * i + 2})" for i in range(4)}
    assert found["wide"] <= 500


def test_names_are_escaped() -> None:
    assert "name &lt;a&gt;" in made_up() and "<a>" not in made_up()
