"""Axial strain from the scattering angle: eps = -cot(theta) d_theta, d_theta half the change of 2theta."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


def strain_per_degree(theta_rad: float) -> float:
    """Axial strain for a degree more of 2theta, at the Bragg angle theta."""
    return float(-np.radians(0.5) / np.tan(theta_rad))


def strain_fields(
    two_theta_deg: Array, std_deg: Array, mask: NDArray[np.bool_], theta_rad: float, zero_deg: float | None
) -> dict[str, Array]:
    """Axial strain of every voxel, along the scattering vector, and its standard deviation.

    two_theta_deg is the scattering angle and std_deg its error, of any one shape, NaN where not known;
    zero_deg the angle without strain, None for the mean over the mask.
    """
    slope = strain_per_degree(theta_rad)
    known = two_theta_deg[mask & np.isfinite(two_theta_deg)]
    if zero_deg is None:
        zero_deg = float(known.mean()) if known.size else 0.0
    return {"strain": slope * (two_theta_deg - zero_deg), "strain_std": abs(slope) * std_deg}
