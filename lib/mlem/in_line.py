"""Where between two positions of a scan of one unknown an orientation lies.

Where the resolution is hardly wider than a step, an orientation is seen by one or two positions, and the
centre of its light is pulled to them: by 0.1 steps at a width of 0.9 steps. How far follows from the width.
The likeliest place is that at which a Gaussian, seen at the positions, has this centre.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from ..physics.tilts import BLUR_STEPS, SHARED_STEPS, OrientationGrid, Resolution
from ..scan.measurement import Measurement

Array = NDArray[np.float64]

_PARTS = 50  # of a step, in which places are told apart
_VARIANCE = 8.0 * float(np.log(2.0))  # square of the width over the variance, of a Gaussian
_LEAST = 0.2  # steps, of a width


@dataclass(frozen=True)
class InLine:
    """Reads a scan of one unknown: measurement, its resolution, and the grid of the maps."""

    measurement: Measurement
    resolution: Resolution
    grid: OrientationGrid

    def light(self) -> Array:
        """(2, n1): how brightly each orientation is seen, and where, in orientations of the grid."""
        bright, at = self._seen(self._sharp, self.grid)
        return np.stack([bright, np.interp(at, self.grid.axis1, np.arange(self.grid.axis1.size))])

    def placed(self, at: Array, variance: float) -> Array:
        """Places (n,) of orientations whose light has its centre at (n,), all in degrees from tilt_zero.

        variance is that of their maps, the usual one in square degrees. With the resolution with which these
        were unfolded it tells the width of the light, even where another one was found; less the spread of
        what lies amid orientations of the grid and is shared by them.
        """
        step = self.measurement.usual_step_deg
        shared = SHARED_STEPS * step / self.grid.refinement
        square = self._sharp.rocking**2 + _VARIANCE * variance - shared**2
        width = float(np.sqrt(max(square, (_LEAST * step) ** 2)))
        scanned = self.measurement.relative_axes_deg()
        fine = self.measurement.scan_type.grid(scanned, _PARTS)
        _, seen = self._seen(replace(self.resolution, rocking=width), fine)
        return np.interp(at, seen, fine.axis1)

    @property
    def _sharp(self) -> Resolution:
        return self.resolution.sharpened(BLUR_STEPS * self.measurement.usual_step_deg)

    def _seen(self, resolution: Resolution, grid: OrientationGrid) -> tuple[Array, Array]:
        """How brightly orientations (n,) of a grid are seen, and the centre of their light."""
        scanned = self.measurement.relative_axes_deg()
        sees = self.measurement.response(scanned, grid, resolution, 0).astype(np.float64)
        bright = np.maximum(sees.sum(axis=0), np.finfo(np.float32).tiny)
        return bright, max(scanned, key=len) @ sees / bright
