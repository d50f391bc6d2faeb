"""A page as a browser shows it: Chromium without a window, where one is installed."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from html import unescape
from pathlib import Path
from typing import Any

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


def command() -> str | None:
    """The browser, or None where there is none."""
    return next((path for name in NAMES if (path := shutil.which(name))), None)


def visit(page: Path, script: str, folder: Path, size: tuple[int, int] = (1000, 900)) -> dict[str, Any]:
    """Open the page, run a script that fills the object `found`; returns it, with what went wrong."""
    text = page.read_text(encoding="utf-8")
    text = text.replace("<head>", f"<head>{_CATCH}", 1).replace("</body>", f"{_RUN % script}</body>", 1)
    copy = folder / "visited.html"
    copy.write_text(text, encoding="utf-8")
    flags = ["--headless=new", "--no-sandbox", "--disable-gpu", "--virtual-time-budget=20000", "--dump-dom"]
    flags += [f"--user-data-dir={folder / 'profile'}", f"--window-size={size[0]},{size[1]}"]
    result = subprocess.run(
        [str(command()), *flags, copy.as_uri()], capture_output=True, text=True, timeout=120, check=True
    )
    match = re.search(r'<pre id="found">(.*?)</pre>', result.stdout, flags=re.DOTALL)
    assert match, result.stderr[-2000:]
    found: dict[str, Any] = json.loads(unescape(match[1]))
    return found
