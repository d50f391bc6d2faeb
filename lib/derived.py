"""Fields that follow from the positions of the motors: strain, and the shape of the rocking curve."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from .rocking import polar
from .setting import Setting
from .strain import strain_fields

Array = NDArray[np.float64]


def add_polar(setting: Setting, fields: dict[str, Array]) -> None:
    """Add where in omega the rocking curve of each voxel culminates, and how high."""
    zero1, zero2 = setting.tilt_zero_deg
    a, b = fields["tilt1"] - zero1, fields["tilt2"] - zero2
    fields["rocking_omega0"], fields["rocking_amplitude"] = polar(setting.params.mode, a, b)


def add_strain(setting: Setting, fields: dict[str, Array], mask: NDArray[np.bool_]) -> None:
    """Add the strain that the position of the 2theta arm says."""
    arm = f"tilt{setting.scan_type.two_theta_axis(setting.scanned_shape) + 1}"
    params = setting.params
    angles = (fields[arm], fields[f"{arm}_std"])
    fields |= strain_fields(*angles, mask, params.geometry().theta_rad, params.strain_zero)
