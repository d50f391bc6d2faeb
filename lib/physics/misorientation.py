"""How far the orientation turns from voxel to voxel."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from .neighbours import pairs, steps_within

Array = NDArray[np.float64]


def neighbour_misorientation(
    tilt1: Array,
    tilt2: Array,
    mask: NDArray[np.bool_],
    spacing_um: Array | None = None,
    kernel_um: float = 0.0,
) -> Array:
    """Kernel average misorientation (KAM): mean angle between a voxel's and its neighbours' orientation.

    tilt1, tilt2 (n_x, n_y, n_z) in degrees; neighbours share a face or are at most kernel_um away (voxels are
    spacing_um (3,) large), and lie inside the mask. The angle is that between the scattering vectors,
    sqrt(d_tilt1^2 + d_tilt2^2) for the small tilts of a scan; a rotation about the scattering vector does not
    show. The result (n_x, n_y, n_z) is in degrees, NaN outside of the mask and where there is no neighbour.

    >>> tilt1 = np.array([0.0, 0.3, 0.3, 9.0]).reshape(4, 1, 1)
    >>> tilt2 = np.array([0.0, 0.4, 0.4, 9.0]).reshape(4, 1, 1)
    >>> inside = np.array([True, True, True, False]).reshape(4, 1, 1)
    >>> neighbour_misorientation(tilt1, tilt2, inside).ravel()
    array([0.5 , 0.25, 0.  ,  nan])
    >>> neighbour_misorientation(tilt1, tilt2, inside, np.ones(3), 2.0).ravel()
    array([0.5 , 0.25, 0.25,  nan])
    """
    known = mask & np.isfinite(tilt1) & np.isfinite(tilt2)
    total, count = np.zeros(mask.shape), np.zeros(mask.shape, dtype=np.int32)
    for step in steps_within(kernel_um, np.ones(3) if spacing_um is None else spacing_um):
        for low, high in pairs(step, mask.shape):
            both = known[low] & known[high]
            angle = np.where(both, np.hypot(tilt1[high] - tilt1[low], tilt2[high] - tilt2[low]), 0.0)
            for side in (low, high):
                total[side] += angle
                count[side] += both
    return np.where(count > 0, total / np.maximum(count, 1), np.nan)
