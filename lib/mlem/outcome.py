"""What method `mlem` makes of its readings: fields in the units of the scan, and facts."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..physics.tilts import Resolution
from ..scan.measurement import Measurement
from . import shape
from .errors import Errors, Grain
from .resolution import is_narrow
from .shape import Readings
from .uncertainty import orientation_errors

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Outcome:
    """What this method adds to the fields: for the report and the file."""

    resolution: Resolution
    sure: bool
    width_keys: tuple[str, ...]
    misfits: list[float]
    counts_per_density: float
    hull_share: float
    gain: float
    dark_noise_counts: float
    omega_factors: Array

    def facts(self) -> dict[str, Any]:
        """For the attributes of the result."""
        return {
            "n_iterations": len(self.misfits),
            "misfit": self.misfits,
            "gain": self.gain,
            "omega_factors": self.omega_factors,
            "dark_noise_counts": self.dark_noise_counts,
            "hull_share": self.hull_share,
            "resolution_found": self.sure,
            **{f"{key}_deg": width for key, width in self.widths.items() if np.isfinite(width)},
            "resolution_tails": self.resolution.tails,
            "rock_box_deg": self.resolution.swept,
            "rock_box_by_mu": self.resolution.by_mu,
            "roll_slope_deg_per_um": self.resolution.slope,
        }

    @property
    def widths(self) -> dict[str, float]:
        """The widths of the resolution by the names of their keys."""
        return dict(zip(self.width_keys, (self.resolution.rocking, self.resolution.rolling), strict=False))


def finish(
    measurement: Measurement, grain: Grain, inside: Readings, errors: Errors, outcome: Outcome
) -> dict[str, Array]:
    """The fields (n_x, n_y, n_z) from the grain, what was read inside of it, and the errors.

    Outside of the mask there is no orientation. Intensity is the density in counts at one omega.
    """
    inside = replace(inside, tilt1=grain.tilts[:, 0], tilt2=grain.tilts[:, 1])
    stated = errors.tilts
    if not self_test_holds(measurement, outcome.resolution) and np.isfinite(stated).any():
        scattered = _from_scatter(measurement, grain, inside, outcome.resolution)
        stated = np.maximum(stated, scattered) if measurement.scan_type.of_strain else scattered
    found = {
        **_tilts(measurement, inside, stated),
        "peaks": 1.0 + (inside.second_peak > shape.SECOND_PEAK),
    }
    volume_of = {name: shape.as_field(values, grain.mask) for name, values in found.items()}
    volume_of["intensity"] = grain.density * outcome.counts_per_density
    if errors.sure is not None:
        volume_of["sure"] = errors.sure
    return volume_of


def self_test_holds(measurement: Measurement, resolution: Resolution) -> bool:
    """Whether what a self-test differs by is what the orientations are off by.

    Not in a scan of strain, nor where a narrow resolution looks along the same line at every omega: what the
    data do not say at all the self-test does not miss. In a scan of strain that is the width of the
    resolution, and with it where between two positions an orientation lies; the rest it sees.
    """
    kind = measurement.scan_type
    if kind.of_strain:
        return False
    narrow = is_narrow(measurement, resolution)
    return not narrow or not kind.unknown[1] or kind.sees_around(resolution)


def _from_scatter(measurement: Measurement, grain: Grain, inside: Readings, resolution: Resolution) -> Array:
    """Errors (n_inside, 2) from the scatter of neighbours and the positions of the grid."""
    kind = measurement.scan_type
    pull = kind.pull(resolution, measurement.usual_step_deg)
    found = orientation_errors(inside, grain.mask, measurement.steps_deg, pull, one_for_two=kind.one_for_two)
    return np.stack(found, axis=1)


def _tilts(measurement: Measurement, inside: Readings, errors: Array) -> dict[str, Array]:
    """Positions of the motors at which the voxels diffract, with errors; NaN where it is not known.

    A motor that stood still in a scan of strain has its one position.
    """
    zero1, zero2 = measurement.tilt_zero_deg
    fields = {"tilt1": inside.tilt1 + zero1, "tilt2": inside.tilt2 + zero2}
    fields |= {"tilt1_std": errors[:, 0], "tilt2_std": errors[:, 1]}
    if measurement.scan_type.unknown[1]:
        with np.errstate(invalid="ignore"):
            fields["tilt_correlation"] = inside.cov12 / np.sqrt(inside.var1 * inside.var2)
        return fields
    nothing = np.full(inside.tilt1.size, np.nan)
    if not measurement.scan_type.of_strain:
        return fields | {"tilt2": nothing, "tilt2_std": nothing}
    moved = measurement.scan_type.two_theta_axis(measurement.scanned_shape)
    arm, still = ("tilt1", "tilt2") if moved == 0 else ("tilt2", "tilt1")
    stood = float((measurement.scan.tilt2_deg, measurement.scan.tilt1_deg)[moved][0])
    fields = {arm: inside.tilt1 + measurement.tilt_zero_deg[moved], f"{arm}_std": errors[:, 0]}
    return fields | {still: np.full(nothing.size, stood), f"{still}_std": nothing}
