"""The density of geometrically necessary dislocations (GND), as far as one reflection tells it.

The orientation of one reflection gives two of the three components of the lattice's rotation w, those
normal to the scattering vector, everywhere in space: six of the nine curvatures k_ij = dw_i/dx_j. With the
strain neglected, Nye's dislocation tensor is a_ij = k_ji - d_ij k_ll (Nye 1953, Acta Metall. 1, 153). With 1
along the scattering vector a_12, a_13, a_23, a_32 and a_11 = -k_22 - k_33 are known, and of a_22 and a_33 the
difference (a surface tells about as much in EBSD: Pantleon 2008, Scr. Mater. 58, 994).

A density r_s of lines along t_s with Burgers vectors b_s makes a = sum r_s b_s t_s; each product has the
norm b, so that the sum of the densities is at least |a| / b. What is not known only adds to |a|, the mean of
a_22 and a_33 included, so that

    density >= sqrt(k_21^2 + k_23^2 + k_31^2 + k_32^2 + (k_22 + k_33)^2 + (k_22 - k_33)^2 / 2) / b.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from .neighbours import pairs, steps_within

Array = NDArray[np.float64]
Mask = NDArray[np.bool_]

_PER_M = 1e6 * np.pi / 180  # of deg/um
_ANGSTROM = 1e-10  # m


def gnd_density(
    tilt1: Array,
    tilt2: Array,
    mask: Mask,
    spacing_um: Array,
    mode: str,
    burgers_angstrom: float,
    kernel_um: float = 0.0,
) -> Array:
    """The lower bound (n_x, n_y, n_z) of the density in m^-2; NaN where a slope is not known.

    tilt1, tilt2 (n_x, n_y, n_z) in degrees. Slopes are those of the plane through the orientations of a voxel
    and of its neighbours in the grain, which share a face or are within kernel_um.
    """
    moments, mixed = _sums(tilt1, tilt2, mask, spacing_um, kernel_um)
    inverse = _inverse(moments)
    slopes = np.einsum("...ij,...jt->...ti", inverse, mixed)  # deg/um; (..., tilt, x y z)
    return _PER_M * np.sqrt(_square(_along_g(slopes, mode))) / (burgers_angstrom * _ANGSTROM)


def gnd_of_errors(
    errors: tuple[Array, Array],
    mask: Mask,
    spacing_um: Array,
    mode: str,
    burgers_angstrom: float,
    kernel_um: float = 0.0,
) -> Array:
    """The rms density (n_x, n_y, n_z) in m^-2 that errors of the tilts in degrees make where there is none.

    Of errors that neighbours do not share; those that they share make less. Squares add up: what is seen is
    sqrt(true^2 + this^2) on average.
    """
    inverse = _inverse(_sums(*errors, mask, spacing_um, kernel_um)[0])
    variance = np.einsum("...ii->...i", inverse)[..., None, :]
    both = np.stack(errors, axis=-1)[..., None] ** 2 * variance
    square = _square_of_variances(_along_g(both, mode))
    return _PER_M * np.sqrt(square) / (burgers_angstrom * _ANGSTROM)


def _sums(tilt1: Array, tilt2: Array, mask: Mask, spacing_um: Array, kernel_um: float) -> tuple[Array, Array]:
    """Of the normal equations of a plane about each voxel: (..., 3, 3) in um^2, (..., 3, 2) in deg um."""
    known = mask & np.isfinite(tilt1) & np.isfinite(tilt2)
    moments, mixed = np.zeros((*mask.shape, 3, 3)), np.zeros((*mask.shape, 3, 2))
    for step in steps_within(kernel_um, spacing_um):
        r = np.array(step) * spacing_um
        for low, high in pairs(step, mask.shape):
            both = known[low] & known[high]
            change = np.stack([tilt[high] - tilt[low] for tilt in (tilt1, tilt2)], axis=-1)
            for side in (low, high):
                moments[side] += np.where(both[..., None, None], np.outer(r, r), 0.0)
                mixed[side] += np.where(both[..., None, None], r[:, None] * change[..., None, :], 0.0)
    return moments, mixed


def _inverse(moments: Array) -> Array:
    """The inverse of each; NaN where the neighbours lie in a plane and do not tell all slopes."""
    size = np.trace(moments, axis1=-2, axis2=-1)
    flat = np.linalg.det(moments) <= 1e-6 * size**3
    safe = np.where(flat[..., None, None], np.eye(3), moments)
    return np.where(flat[..., None, None], np.nan, np.linalg.inv(safe))


def _along_g(slopes: Array, mode: str) -> Array:
    """Curvatures (..., 2, 3): of components 2 and 3 of the rotation, along 1, 2, 3.

    1 is along the scattering vector; the sign of both is left out. Horizontal: w_y = -b, w_z = -a, and 1, 2,
    3 are x, y, z; vertical: w_x = -a, w_y = -b, and they are z, x, y.
    """
    if mode == "horizontal":
        return slopes[..., ::-1, :]
    return np.roll(slopes, 1, axis=-1)


def _square(k: Array) -> Array:
    """The square under the root, of curvatures (..., 2, 3)."""
    cross = k[..., 0, 0] ** 2 + k[..., 0, 2] ** 2 + k[..., 1, 0] ** 2 + k[..., 1, 1] ** 2
    return cross + (k[..., 0, 1] + k[..., 1, 2]) ** 2 + (k[..., 0, 1] - k[..., 1, 2]) ** 2 / 2


def _square_of_variances(k: Array) -> Array:
    """What the square is on average for curvatures that are noise of variances (..., 2, 3)."""
    cross = k[..., 0, 0] + k[..., 0, 2] + k[..., 1, 0] + k[..., 1, 1]
    return cross + 1.5 * (k[..., 0, 1] + k[..., 1, 2])
