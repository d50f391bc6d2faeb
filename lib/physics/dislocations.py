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
    known = mask & np.isfinite(tilt1) & np.isfinite(tilt2)
    moments, mixed = _sums((tilt1, tilt2), known, spacing_um, kernel_um)
    slopes = np.einsum("ijn,tjn->tin", _inverse(moments[..., known]), mixed[..., known])  # deg/um
    return _density(_square(_along_g(slopes, mode)), known, burgers_angstrom)


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
    known = mask & np.isfinite(errors[0]) & np.isfinite(errors[1])
    moments, _ = _sums((), known, spacing_um, kernel_um)
    variance = np.einsum("iin->in", _inverse(moments[..., known]))
    both = np.stack([error[known] ** 2 * variance for error in errors])
    return _density(_square_of_variances(_along_g(both, mode)), known, burgers_angstrom)


def _density(square: Array, known: Mask, burgers_angstrom: float) -> Array:
    """In m^-2, from squares of curvatures (n,) in deg^2/um^2 of the voxels that are known; NaN elsewhere."""
    result = np.full(known.shape, np.nan)
    result[known] = _PER_M * np.sqrt(square) / (burgers_angstrom * _ANGSTROM)
    return result


def _sums(tilts: tuple[Array, ...], known: Mask, spacing_um: Array, kernel_um: float) -> tuple[Array, Array]:
    """Sums of the normal equations of planes: (3, 3, ...) in um^2 and (n_tilts, 3, ...) in deg um."""
    moments, mixed = np.zeros((3, 3, *known.shape)), np.zeros((len(tilts), 3, *known.shape))
    for step in steps_within(kernel_um, spacing_um):
        r = np.array(step) * spacing_um
        along = np.flatnonzero(r)
        for low, high in pairs(step, known.shape):
            both = known[low] & known[high]
            changes = [np.where(both, tilt[high] - tilt[low], 0.0) for tilt in tilts]
            for side in (low, high):
                for i in along:
                    for j in along:
                        moments[(i, j, *side)] += r[i] * r[j] * both
                    for total, change in zip(mixed, changes, strict=True):
                        total[(i, *side)] += r[i] * change
    return moments, mixed


def _inverse(m: Array) -> Array:
    """The inverse of symmetric matrices (3, 3, n); NaN where the neighbours do not tell all slopes."""
    cofactors = np.stack(
        [np.cross(m[1], m[2], axis=0), np.cross(m[2], m[0], axis=0), np.cross(m[0], m[1], axis=0)]
    )
    determinant = (m[0] * cofactors[0]).sum(axis=0)
    size = m[0, 0] + m[1, 1] + m[2, 2]
    flat = determinant <= 1e-6 * size**3
    return np.where(flat, np.nan, cofactors / np.where(flat, 1.0, determinant))


def _along_g(slopes: Array, mode: str) -> Array:
    """Curvatures (2, 3, n): of components 2 and 3 of the rotation, along 1, 2, 3.

    1 is along the scattering vector; the sign of both is left out. Horizontal: w_y = -b, w_z = -a, and 1, 2,
    3 are x, y, z; vertical: w_x = -a, w_y = -b, and they are z, x, y.
    """
    return slopes[::-1] if mode == "horizontal" else np.roll(slopes, 1, axis=1)


def _square(k: Array) -> Array:
    """The square under the root (n,), of curvatures (2, 3, n)."""
    cross = k[0, 0] ** 2 + k[0, 2] ** 2 + k[1, 0] ** 2 + k[1, 1] ** 2
    return cross + (k[0, 1] + k[1, 2]) ** 2 + (k[0, 1] - k[1, 2]) ** 2 / 2


def _square_of_variances(k: Array) -> Array:
    """What the square (n,) is on average for curvatures that are noise of variances (2, 3, n)."""
    return k[0, 0] + k[0, 2] + k[1, 0] + k[1, 1] + 1.5 * (k[0, 1] + k[1, 2])
