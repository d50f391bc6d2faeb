"""What is to be said of each cell, as one row of a structured array."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import binary_erosion

from .borders import inside
from .planes import means, slopes
from .steps import Labels, Mask, numbers

Array = NDArray[np.float64]

COLUMNS = np.dtype(
    [
        ("id", "i4"),
        ("volume_um3", "f8"),
        ("diameter_um", "f8"),
        ("x_um", "f8"),
        ("y_um", "f8"),
        ("z_um", "f8"),
        ("tilt1_deg", "f8"),
        ("tilt2_deg", "f8"),
        ("tilt1_error_deg", "f8"),
        ("tilt2_error_deg", "f8"),
        ("spread_deg", "f8"),
        ("gradient_deg_per_um", "f8"),
        ("at_surface", "?"),
    ]
)
_ALIKE = 27.0  # neighbouring voxels whose error is one


def table_of_cells(
    labels: Labels,
    mask: Mask,
    axes_um: tuple[Array, Array, Array],
    spacing_um: Array,
    tilts: tuple[Array, Array],
    errors: tuple[Array, Array] | None,
) -> NDArray[Any]:
    """A row of COLUMNS for each cell.

    labels (n_x, n_y, n_z) count from 1; tilts and errors (standard deviations; None: not known) are fields of
    the same shape in degrees. diameter_um is that of the sphere of the same volume; x_um, y_um, z_um the
    centre of mass in the sample frame; the tilts are means, and spread_deg is the rms angle between the
    orientations of voxels and the mean; gradient_deg_per_um is the change along the direction in which the
    plane through the orientations is steepest. All these are of the inside, a voxel away from walls, where
    there is any, for at a wall the map mixes two cells. at_surface tells whether the cell touches what is
    not grain. A rotation about the scattering vector does not show in any of them.
    """
    n = int(labels.max(initial=0))
    table = np.zeros(n, dtype=COLUMNS)
    known = labels > 0
    which = labels[known] - 1
    index = np.stack(np.nonzero(known))
    places = np.stack([axis[i] for axis, i in zip(axes_um, index, strict=True)], axis=1)
    count = np.bincount(which, minlength=n)
    table["id"] = np.arange(1, n + 1)
    table["volume_um3"] = count * float(np.prod(spacing_um))
    table["diameter_um"] = np.cbrt(6.0 / np.pi * table["volume_um3"])
    for i, name in enumerate(("x_um", "y_um", "z_um")):
        table[name] = np.bincount(which, places[:, i], n) / count
    table["at_surface"] = np.bincount(which, ~binary_erosion(mask)[known], n) > 0

    pure = inside(labels[known], numbers(known))
    pure |= (np.bincount(which, pure, n) == 0)[which]
    which, places, n_pure = which[pure], places[pure], np.bincount(which[pure], minlength=n)
    values = np.stack([tilt[known][pure] for tilt in tilts], axis=1)
    mean = means(which, values, n)
    off = values - mean[which]
    table["tilt1_deg"], table["tilt2_deg"] = mean.T
    table["spread_deg"] = np.sqrt(np.bincount(which, (off**2).sum(axis=1), n) / n_pure)
    table["gradient_deg_per_um"] = np.linalg.norm(slopes(which, places, off, n), ord=2, axis=(1, 2))
    for name, error in zip(("tilt1_error_deg", "tilt2_error_deg"), errors or (), strict=False):
        table[name] = error_of_mean(which, error[known][pure], n)
    if errors is None:
        table["tilt1_error_deg"] = table["tilt2_error_deg"] = np.nan
    return table


def error_of_mean(which: Labels, errors: Array, n: int) -> Array:
    """Errors (n,) of the means over the voxels of each cell: which (n_voxels,) from 0, and errors of each."""
    count = np.maximum(np.bincount(which, minlength=n), 1)
    variance = np.bincount(which, errors**2, n) / count
    return np.sqrt(variance / np.maximum(count / _ALIKE, 1.0))
