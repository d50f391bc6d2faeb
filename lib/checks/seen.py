"""What the frames that were measured show of a voxel's light, by what is unknown of it.

All tilts together, voxels of any orientation are alike. Where frames of an omega are missing they are not:
those whose light the missing ones would have caught are faint.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import map_coordinates

from ..initfile.parameters import Parameters
from ..physics.tilts import USUAL_STEPS, OrientationGrid, Resolution
from ..scan.measurement import Measurement

Array = NDArray[np.float64]
Light = NDArray[np.float32]

_REFINEMENTS = (4, 2, 1)  # orientations per step of the scan, between which it is linear
_MOST_STATES = 5000


def as_found(resolution: Resolution, facts: Mapping[str, Any]) -> Resolution:
    """With a motor that moves while a frame is taken, tails and a lean, where these were found."""
    x, y = facts.get("roll_slope_deg_per_um", (0.0, 0.0))
    return replace(
        resolution,
        swept=float(facts.get("rock_box_deg", 0.0)),
        by_mu=bool(facts.get("rock_box_by_mu", False)),
        tails=float(facts.get("resolution_tails", 0.0)),
        slope=(float(x), float(y)),
    )


@dataclass(frozen=True)
class Seen:
    """How much of a voxel's light the measured frames of an omega hold, with such a resolution."""

    measurement: Measurement
    resolution: Resolution
    grid: OrientationGrid

    @classmethod
    def of(cls, measurement: Measurement, params: Parameters, facts: Mapping[str, Any]) -> Seen:
        """With the widths that were found, were given, or are usual."""
        kind = measurement.scan_type
        widths = [np.inf, np.inf]
        for i, key in enumerate(kind.widths):
            given = getattr(params, key)
            usual = np.inf if kind.one_for_two and i else USUAL_STEPS[i] * measurement.steps_deg[i]
            widths[i] = float(facts.get(f"{key}_deg", usual if given is None else given))
        grids = (kind.grid(measurement.relative_axes_deg(), n) for n in _REFINEMENTS)
        grid = next(g for g in grids if g.n_pairs <= _MOST_STATES or g.refinement == _REFINEMENTS[-1])
        return cls(measurement, as_found(Resolution(widths[0], widths[1]), facts), grid)

    def unknown(self, fields: Mapping[str, Array], places: NDArray[np.int64]) -> Light:
        """Positions (n, 2) on the axes of the unknown, from tilt_zero, of voxels given by their numbers."""
        kind, zero = self.measurement.scan_type, self.measurement.tilt_zero_deg
        first = kind.two_theta_axis(self.measurement.scanned_shape) if kind.of_strain else 0
        found = np.zeros((places.size, 2), dtype=np.float32)
        for column, axis in enumerate((first, 1) if kind.unknown[1] else (first,)):
            found[:, column] = fields[f"tilt{axis + 1}"].reshape(-1)[places] - zero[axis]
        return found

    def table(self, k: int) -> Light | None:
        """The share of the light by position on the grid of the unknown; None where no frame is missing."""
        measured = self.measurement.measured(k)
        if measured.all():
            return None
        share = self.measurement.put_together(measured.astype(np.float32)) / self.measurement.n_summed
        sees = self.measurement.response(self.measurement.relative_axes_deg(), self.grid, self.resolution, k)
        whole = sees.sum(axis=0)
        found = np.where(whole > 0.0, share @ sees / np.maximum(whole, np.float32(1e-30)), share.mean())
        shape = self.grid.axis1.size, self.grid.axis2.size
        return np.asarray(found.reshape(shape), dtype=np.float32)

    def share(self, table: Light, unknown: Light) -> Light:
        """The share (n,) of the light of voxels with such unknowns (n, 2); NaN: the usual one."""
        axes = self.grid.axis1, self.grid.axis2
        places = [
            np.interp(column, axis, np.arange(axis.size))
            for axis, column in zip(axes, np.nan_to_num(unknown).T, strict=True)
        ]
        found = map_coordinates(table, places, order=1, mode="nearest")
        return np.where(np.isfinite(unknown).all(axis=1), found, table.mean()).astype(np.float32)
