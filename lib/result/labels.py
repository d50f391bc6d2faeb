"""The cells of a result: the field `cell` and the table cells.csv."""

from __future__ import annotations

import csv
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..cells.find import find_cells
from ..cells.fits import Chi, LogNormal, chi, log_normal
from ..cells.table import table_of_cells

Array = NDArray[np.float64]
Fields = Mapping[str, NDArray[Any]]
Mask = NDArray[np.bool_]

CELL_FILES = ("cells.csv", "boundaries.csv", "boundaries.vtp")
_ENOUGH = 10  # cells inside of the grain
_TILTS, _ERRORS = ("tilt1", "tilt2"), ("tilt1_std", "tilt2_std")


class Fits(NamedTuple):
    """Distributions of greatest likelihood, NaN where there is too little to fit."""

    diameter_um: LogNormal
    misorientation_deg: Chi
    spread_deg: LogNormal


def cell_field(fields: Fields, mask: Mask, method: str) -> dict[str, NDArray[Any]]:
    """The field `cell` of a result of that method, from the fields (n_x, n_y, n_z) that it has."""
    errors = None if stated_errors(fields, method) is None else np.hypot(*(fields[name] for name in _ERRORS))
    tilt1, tilt2 = (fields[name] for name in _TILTS)
    return {"cell": find_cells(tilt1, tilt2, errors, mask)}


def table(
    fields: Fields, mask: Mask, axes_um: tuple[Array, Array, Array], spacing_um: Array, method: str
) -> NDArray[Any]:
    """The cells of a result with the field `cell`, see `table_of_cells`."""
    tilt1, tilt2 = (fields[name] for name in _TILTS)
    errors = stated_errors(fields, method)
    return table_of_cells(fields["cell"], mask, axes_um, spacing_um, (tilt1, tilt2), errors)


def write_table(path: Path, rows: NDArray[Any]) -> None:
    """Write a structured array as CSV (not atomic: give a temporary name and rename)."""
    with path.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(rows.dtype.names or ())
        for row in rows.tolist():
            writer.writerow([_written(v) for v in row])


def _written(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.6g}"
    return value if isinstance(value, str) else str(int(value))


def sizes(cells: NDArray[Any]) -> NDArray[Any]:
    """Diameters in um of the cells whose size is known: those inside of the grain, all if these are few."""
    inner = cells["diameter_um"][~cells["at_surface"]]
    return inner if inner.size >= _ENOUGH else cells["diameter_um"]


def fits(cells: NDArray[Any], boundaries: NDArray[Any]) -> Fits:
    """What papers fit: log-normal to diameters and spreads, chi to misorientations of neighbours."""
    angles = boundaries["misorientation_deg"]
    return Fits(log_normal(sizes(cells)), chi(angles), log_normal(cells["spread_deg"]))


def summary(rows: NDArray[Any]) -> str:
    """The cells in a line."""
    if not rows.size:
        return "none"
    sizes = f"{np.median(rows['diameter_um']):.3g} um"
    if rows.size == 1:
        return f"1, of {sizes}, orientations spread by {rows['spread_deg'][0]:.2g} deg (rms)"
    spread = f"orientations in each spread by {np.median(rows['spread_deg']):.2g} deg (rms)"
    return f"{rows.size}, of {sizes} (median of the equivalent diameters), {spread}"


def stated_errors(fields: Fields, method: str) -> tuple[NDArray[Any], NDArray[Any]] | None:
    """The errors of both tilts, where the method tells them; others give the width of a voxel's map."""
    if method != "mlem" or not set(_ERRORS) <= set(fields):
        return None
    if not all(np.isfinite(fields[name]).any() for name in _ERRORS):  # the key errors was none
        return None
    return fields[_ERRORS[0]], fields[_ERRORS[1]]
