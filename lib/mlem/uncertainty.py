"""The errors of the orientations that the iterative method finds.

Photon noise does not tell them: unfolding amplifies it, the average over neighbours takes it away again,
and the positions of the grid pull. What noise is left shows in the result itself, as the scatter of
neighbours about a smooth course. The factors were found on phantoms, see docs/accuracy.md.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import uniform_filter

from .shape import Readings, as_field, slope

Array = NDArray[np.float64]
Mask = NDArray[np.bool_]

_LAG = 2  # voxels between those compared: the average over neighbours makes the next ones alike
_REACH = 5  # voxels, the side of the cube whose scatter counts
_CLIP = 2.5  # of the usual scatter, above which it is a boundary
_SCATTER_FACTOR = 1.25  # errors that neighbours share do not scatter
_WRONG_PEAK_POWER = 6.0  # two equal peaks are mistaken for each other every second time
_SLOPE_OF_NOISE = 1.2  # change per voxel that scatter of 1 makes
_MISSED, _STEEPEST = 0.5, 0.15  # of the change per voxel, up to so many steps


def orientation_errors(
    found: Readings, mask: Mask, steps: tuple[float, float], grid_steps: float, *, one_for_two: bool
) -> tuple[Array, Array]:
    """Standard deviations (n_voxels,) of the errors of tilt1 and tilt2, in the unit of the tilts.

    found are the readings inside the mask (n_x, n_y, n_z), steps those of the scan, grid_steps the part
    of one by which the positions of the grid pull. Added to the scatter is the risk that a second peak
    is taken for the main one, and where one angle tells of two, what bending hides: that angle sees only
    one direction at a time, and mixes up the voxels of a ray more easily.
    """
    wrong = 0.5 * np.minimum(found.second_peak, 1.0) ** _WRONG_PEAK_POWER
    fields = [as_field(values, mask) for values in (found.tilt1, found.tilt2)]
    noise = [scatter(field, mask)[mask] for field in fields]
    bent = np.zeros(found.density.size)
    if one_for_two:
        for field, own, step in zip(fields, noise, steps, strict=True):
            change = np.minimum(_steepness(field, mask)[mask], _STEEPEST * step)
            bent += change**2 - np.nan_to_num(_SLOPE_OF_NOISE * own) ** 2
    unseen = _MISSED**2 * np.maximum(bent, 0.0)
    errors = []
    for own, variance, apart, step in zip(
        noise, (found.var1, found.var2), (found.apart1, found.apart2), steps, strict=True
    ):
        scattered = np.where(np.isnan(own), variance, (_SCATTER_FACTOR * own) ** 2)
        errors.append(np.sqrt(scattered + (grid_steps * step) ** 2 + wrong * apart**2 + unseen))
    return errors[0], errors[1]


def scatter(values: Array, mask: Mask) -> Array:
    """Standard deviation of independent noise in a field (n_x, n_y, n_z), around every voxel of the mask.

    From second differences along the three axes, in which a gradient drops out, limited so that
    boundaries do not count for noise. NaN where the mask is too thin for any.
    """
    squares = [_second_difference(np.where(mask, values, np.nan), axis) ** 2 / 6.0 for axis in range(3)]
    known = [np.isfinite(square) for square in squares]
    if not any(there.any() for there in known):
        return np.full(mask.shape, np.nan)
    usual = np.median(np.concatenate([square[there] for square, there in zip(squares, known, strict=True)]))
    total, n = np.zeros(mask.shape), np.zeros(mask.shape)
    for square, there in zip(squares, known, strict=True):
        limited = np.where(there, np.minimum(square, _CLIP**2 * usual), 0.0)
        total += uniform_filter(limited, _REACH, mode="constant")
        n += uniform_filter(there.astype(np.float64), _REACH, mode="constant")
    some = n > 0.5 / _REACH**3
    mean = np.where(some, np.maximum(total, 0.0) / np.where(some, n, 1.0), usual)
    return np.where(mask, np.sqrt(mean), np.nan)


def _second_difference(values: Array, axis: int) -> Array:
    """How far each value is from the line through those _LAG before and after it: 2 x, NaN without them."""
    moved = np.moveaxis(values, axis, 0)
    result = np.full_like(moved, np.nan)
    if moved.shape[0] > 2 * _LAG:
        result[_LAG:-_LAG] = moved[2 * _LAG :] - 2.0 * moved[_LAG:-_LAG] + moved[: -2 * _LAG]
    return np.moveaxis(result, 0, axis)


def _steepness(values: Array, mask: Mask) -> Array:
    """Change per voxel of a field (n_x, n_y, n_z) along its gradient, from the neighbours inside the mask."""
    return np.sqrt(sum((slope(values, mask, axis) ** 2 for axis in range(3)), np.zeros(mask.shape)))
