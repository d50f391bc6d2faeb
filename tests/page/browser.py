"""A page as a browser shows it: Chromium without a window, where one is installed.

Without one these tests are skipped; where the environment has RECON3D_NEEDS_BROWSER they fail instead.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from html import unescape
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")

_CATCH = """<script>
const errors = [];
addEventListener("error", (e) => errors.push(String(e.message)));
addEventListener("unhandledrejection", (e) => errors.push(String(e.reason)));
for (const name of ["error", "warn"]) console[name] = (...words) => errors.push(words.join(" "));
</script>"""
_RUN = """<script>
addEventListener("load", async () => {
  const found = {};
  try { await (async () => { %s })(); } catch (e) { errors.push(String(e)); }
  const end = document.createElement("pre");
  end.id = "found";
  end.textContent = JSON.stringify({ ...found, errors });
  document.body.append(end);
});
</script>"""


def command() -> str:
    """The browser; skips the test where there is none, or fails it where one is needed."""
    found = next((path for name in NAMES if (path := shutil.which(name))), None)
    if found is None:
        how = "no Chromium: install it (Debian: apt-get install chromium) to test the pages in a browser"
        (pytest.fail if os.environ.get("RECON3D_NEEDS_BROWSER") else pytest.skip)(how)
    return found


def _run(page: Path, folder: Path, size: tuple[int, int], *what: str) -> subprocess.CompletedProcess[str]:
    flags = ["--headless=new", "--no-sandbox", "--disable-gpu", "--virtual-time-budget=60000"]
    flags += ["--use-angle=swiftshader", "--enable-unsafe-swiftshader"]  # WebGL without a graphics card
    flags += [f"--user-data-dir={folder / 'profile'}", f"--window-size={size[0]},{size[1]}"]
    return subprocess.run(
        [command(), *flags, *what, page.resolve().as_uri()],
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )


def screenshot(page: Path, folder: Path, size: tuple[int, int]) -> NDArray[np.uint8]:
    """The page as one sees it, (height, width, 3)."""
    path = folder / "screenshot.png"
    _run(page, folder, size, f"--screenshot={path}")
    with Image.open(path) as image:
        return np.asarray(image.convert("RGB"))


def printed(page: Path, folder: Path) -> bytes:
    """The page as it is printed, a PDF."""
    path = folder / "printed.pdf"
    _run(page, folder, (1000, 900), f"--print-to-pdf={path}")
    return path.read_bytes()


def visit(
    page: Path, script: str, folder: Path, size: tuple[int, int] = (1000, 900), *flags: str
) -> dict[str, Any]:
    """Open the page, run a script that fills the object `found`; returns it, with what went wrong."""
    text = page.read_text(encoding="utf-8")
    text = text.replace("<head>", f"<head>{_CATCH}", 1).replace("</body>", f"{_RUN % script}</body>", 1)
    copy = folder / "visited.html"
    copy.write_text(text, encoding="utf-8")
    result = _run(copy, folder, size, *flags, "--dump-dom")
    match = re.search(r'<pre id="found">(.*?)</pre>', result.stdout, flags=re.DOTALL)
    assert match, result.stderr[-2000:]
    found: dict[str, Any] = json.loads(unescape(match[1]))
    return found
