"""Planes through the orientations of each cell: how they change over it on the whole."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


def means(which: NDArray[Any], values: Array, n: int) -> Array:
    """Means (n, k) over each cell, from 0 in which (n_voxels,), of values (n_voxels, k); NaN without any."""
    count = np.bincount(which, minlength=n)
    totals = np.stack([np.bincount(which, v, n) for v in values.T], axis=1)
    return np.where(count > 0, totals.T / np.maximum(count, 1), np.nan).T


def slopes(which: NDArray[Any], places_um: Array, values: Array, n: int) -> Array:
    """Change (n, 3, k) of values (n_voxels, k) for each um along x, y, z, over each cell as a whole.

    By least squares; none along a direction in which a cell has no extent.
    """
    r = places_um - means(which, places_um, n)[which]
    off = values - means(which, values, n)[which]
    moments, mixed = np.zeros((n, 3, 3)), np.zeros((n, 3, values.shape[1]))
    for i in range(3):
        for j in range(3):
            moments[:, i, j] = np.bincount(which, r[:, i] * r[:, j], n)
        for j in range(values.shape[1]):
            mixed[:, i, j] = np.bincount(which, r[:, i] * off[:, j], n)
    return np.asarray(np.linalg.pinv(moments, rcond=1e-9, hermitian=True) @ mixed)
