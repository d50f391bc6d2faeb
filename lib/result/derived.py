"""Fields that follow from the positions of the motors: strain, and the shape of the rocking curve."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ..backprojection.rocking import polar
from ..physics.strain import strain_fields
from ..scan.measurement import Measurement

Array = NDArray[np.float64]


def add_derived(
    measurement: Measurement,
    fields: dict[str, Array],
    mask: NDArray[np.bool_],
    theta_rad: float,
    strain_zero_deg: float | None,
) -> None:
    """Add what a scan of strain says of it, and what rocking curves say of their shape; in place."""
    kind = measurement.scan_type
    if kind.of_strain:
        arm = f"tilt{kind.two_theta_axis(measurement.scanned_shape) + 1}"
        fields |= strain_fields(fields[arm], fields[f"{arm}_std"], mask, theta_rad, strain_zero_deg)
    elif kind.one_for_two:
        a, b = (fields[f"tilt{i + 1}"] - zero for i, zero in enumerate(measurement.tilt_zero_deg))
        fields["rocking_omega0"], fields["rocking_amplitude"] = polar(measurement.mode, a, b)
