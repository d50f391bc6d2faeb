"""What is to be said of each wall between two cells, as one row of a structured array."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from .surfaces import Surface

Array = NDArray[np.float64]

COLUMNS = np.dtype(
    [
        ("cell_1", "i4"),
        ("cell_2", "i4"),
        ("area_um2", "f8"),
        ("misorientation_deg", "f8"),
        ("normal_x", "f8"),
        ("normal_y", "f8"),
        ("normal_z", "f8"),
        ("normal_spread_deg", "f8"),
        ("x_um", "f8"),
        ("y_um", "f8"),
        ("z_um", "f8"),
    ]
)


def table_of_boundaries(found: Surface, cells: NDArray[Any]) -> NDArray[Any]:
    """A row of COLUMNS for each pair of cells that meet, from the surface of all and the table of cells.

    area_um2 is that of the smooth surface; misorientation_deg the angle between the mean orientations of both
    cells, projected: a rotation about the scattering vector does not show. The normal points from cell_1 to
    cell_2, and normal_spread_deg is the rms angle between it and those of the parts of the wall, weighted by
    area; x_um, y_um, z_um is the centre of the wall. All in the sample frame.
    """
    inner = found.between[:, 1] > 0
    pairs, which = np.unique(found.between[inner], axis=0, return_inverse=True)
    which = which.ravel()
    rows = np.zeros(len(pairs), dtype=COLUMNS)
    if not len(pairs):
        return rows
    vectors = found.areas_um2()[inner]
    areas = np.linalg.norm(vectors, axis=1)
    middle = found.points_um[found.corners[inner]].mean(axis=1)

    def total(values: Array) -> Array:
        return np.asarray(np.bincount(which, values, len(pairs)), dtype=np.float64)

    area = total(areas)
    normal = np.stack([total(v) for v in vectors.T], axis=1)
    normal /= np.maximum(np.linalg.norm(normal, axis=1, keepdims=True), 1e-300)
    cosine = (vectors * normal[which]).sum(axis=1) / np.maximum(areas, 1e-300)
    angle_deg = np.degrees(np.arccos(np.clip(cosine, -1.0, 1.0)))
    rows["cell_1"], rows["cell_2"] = pairs.T
    rows["area_um2"] = area
    rows["normal_spread_deg"] = np.sqrt(total(areas * angle_deg**2) / area)
    for i, axis in enumerate("xyz"):
        rows[f"normal_{axis}"] = normal[:, i]
        rows[f"{axis}_um"] = total(areas * middle[:, i]) / area
    tilts = np.stack([cells["tilt1_deg"], cells["tilt2_deg"]], axis=1)
    rows["misorientation_deg"] = np.linalg.norm(tilts[pairs[:, 1] - 1] - tilts[pairs[:, 0] - 1], axis=1)
    return rows
