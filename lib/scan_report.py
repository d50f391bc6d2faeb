"""getdata.html."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from .overview import Overview
from .plan import Plan


def write(path: Path, info: dict[str, Any], overview: Overview, plan: Plan) -> None:
    """Write the page."""
    path.write_text("<html></html>")
