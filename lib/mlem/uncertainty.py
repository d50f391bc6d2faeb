"""The errors of orientations where a self-test does not see them: see `outcome.self_test_holds`.

Photon noise does not tell them: unfolding amplifies it, the average over neighbours takes it away again,
and the positions of the grid pull. What noise is left shows in the result itself, as the scatter of
neighbours about a smooth course. The factors were found on phantoms, see docs/accuracy.md.
"""

from __future__ import annotations

from functools import partial

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import find_objects, uniform_filter

from .shape import Readings, as_field, slope

Array = NDArray[np.float64]
Mask = NDArray[np.bool_]

_LAG = 2  # voxels between those compared: the average over neighbours makes the next ones alike
_REACH = 5  # voxels, the side of the cube whose scatter counts
_CLIP = 2.5  # of the usual scatter, above which it is a boundary
_SCATTER_FACTOR = {False: 1.25, True: 0.9}  # errors that neighbours share do not scatter; if one tells of two
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
    mask = mask[_box(mask)]  # what is made on the way is as large
    wrong = 0.5 * np.minimum(found.second_peak, 1.0) ** _WRONG_PEAK_POWER
    noise = []
    bent = np.zeros(found.density.size)
    for values, step in zip((found.tilt1, found.tilt2), steps, strict=True):
        field = as_field(values, mask)
        noise.append(scatter(field, mask)[mask])
        if one_for_two:
            change = np.minimum(_steepness(field, mask)[mask], _STEEPEST * step)
            bent += change**2 - np.nan_to_num(_SLOPE_OF_NOISE * noise[-1]) ** 2
    unseen = _MISSED**2 * np.maximum(bent, 0.0)
    errors = []
    for own, variance, apart, step in zip(
        noise, (found.var1, found.var2), (found.apart1, found.apart2), steps, strict=True
    ):
        scattered = np.where(np.isnan(own), variance, (_SCATTER_FACTOR[one_for_two] * own) ** 2)
        errors.append(np.sqrt(scattered + (grid_steps * step) ** 2 + wrong * apart**2 + unseen))
    return errors[0], errors[1]


def _box(mask: Mask) -> tuple[slice, ...]:
    """The smallest box around the mask; all of it where that is empty."""
    boxes = find_objects(mask.view(np.int8))
    return boxes[0] if boxes else (slice(None),) * mask.ndim


def scatter(values: Array, mask: Mask) -> Array:
    """Standard deviation of independent noise in a field (n_x, n_y, n_z), around every voxel of the mask.

    From second differences along the three axes, in which a gradient drops out, limited so that
    boundaries do not count for noise. NaN where the mask is too thin for any.
    """
    values = np.where(mask, values, np.nan)
    known = [square[np.isfinite(square)] for square in map(partial(_squares, values), range(3))]
    if not any(some.size for some in known):
        return np.full(mask.shape, np.nan)
    usual = np.median(np.concatenate(known))
    del known
    total, n = np.zeros(mask.shape), np.zeros(mask.shape)
    for axis in range(3):  # made anew, one at a time: they are as large as the volume
        square = _squares(values, axis)
        there = np.isfinite(square)
        limited = np.where(there, np.minimum(square, _CLIP**2 * usual), 0.0)
        total += uniform_filter(limited, _REACH, mode="constant")
        n += uniform_filter(there.astype(np.float64), _REACH, mode="constant")
    some = n > 0.5 / _REACH**3
    mean = np.where(some, np.maximum(total, 0.0) / np.where(some, n, 1.0), usual)
    return np.where(mask, np.sqrt(mean), np.nan)


def _squares(values: Array, axis: int) -> Array:
    """The variance that each second difference along an axis tells; NaN without one."""
    return _second_difference(values, axis) ** 2 / 6.0


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
