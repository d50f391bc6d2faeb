"""The table of the largest cells in report.html."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..page.table import Column, table
from ..physics.colours import cell_rgb

_MOST = 40
# name of the column, name and unit on the page, digits after the point (None: three digits in all)
_COLUMNS: tuple[tuple[str, str, str, int | None], ...] = (
    ("volume_um3", "volume", "µm³", None),
    ("diameter_um", "diameter", "µm", None),
    ("x_um", "x", "µm", 1),
    ("y_um", "y", "µm", 1),
    ("z_um", "z", "µm", 1),
    ("tilt1_deg", "tilt1", "deg", 4),
    ("tilt2_deg", "tilt2", "deg", 4),
    ("spread_deg", "spread", "deg", None),
    ("gradient_deg_per_um", "gradient", "deg/µm", None),
)


def section(cells: NDArray[Any]) -> str:
    """A section with a row for each of the largest cells; cells as in `lib.cells.table`. "" where none is."""
    if not cells.size:
        return ""
    some = cells[:_MOST]
    colours = cell_rgb(len(cells))[some["id"]]
    columns = [Column("cell", "", [str(i) for i in some["id"]], some["id"], colours)]
    for name, title, unit, digits in _COLUMNS:
        pattern = "{:.3g}" if digits is None else f"{{:.{digits}f}}"
        columns.append(Column(title, unit, [pattern.format(v) for v in some[name]], some[name]))
    where = np.where(some["at_surface"], "surface", "inside").tolist()
    columns.append(Column("where", "", where, some["at_surface"]))
    left_out = f" The {_MOST} largest of {len(cells)}; all are in cells.csv." if len(cells) > _MOST else ""
    return (
        "<section><h2>The largest cells</h2><p>Click the name of a column to put the rows in its order. "
        "Diameter is that of the sphere of the same volume, spread the rms angle to the mean orientation, "
        f"the colour that of the cell in 3D.{left_out}</p>{table(columns)}</section>"
    )
