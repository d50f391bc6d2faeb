"""Basins of smoothness: small pieces of the grain whose borders lie where the orientation changes most."""

from __future__ import annotations

import itertools

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from .steps import Labels, Numbers, faces

Array = NDArray[np.float64]

_SMOOTH = 0.7  # voxels, standard deviation


def basins(tilts: Array, number: Numbers) -> Labels:
    """Labels (n,) from 0 of the voxels that are numbered, whose orientations are tilts (n, 2).

    From each voxel the way leads to that neighbour where the orientation changes least, and so on down to
    where it changes less than anywhere around: voxels whose ways end at the same place are one basin.
    """
    change = np.pad(_change(tilts, number), 1, constant_values=np.inf).ravel()
    padded = np.pad(number, 1, constant_values=-1)
    places = np.flatnonzero(padded >= 0)
    strides = np.array(padded.strides) // padded.itemsize
    padded = padded.ravel()
    down, least = np.arange(places.size, dtype=np.int32), change[places]
    for shift in itertools.product((-1, 0, 1), repeat=3):
        there = places + int(strides @ shift)
        lower = (change[there] < least) | (
            (change[there] == least) & (padded[there] < down) & (padded[there] >= 0)
        )
        least[lower] = change[there[lower]]
        down[lower] = padded[there[lower]]
    while not np.array_equal(down[down], down):
        down = down[down]
    return compact(down)


def compact(labels: Labels) -> Labels:
    """The labels numbered from 0 without gaps, in their order."""
    return np.unique(labels, return_inverse=True)[1].astype(np.int32)


def _change(tilts: Array, number: Numbers) -> Array:
    """Mean square change of the orientation to the neighbours of each voxel, smoothed; inf outside."""
    mask, n = number >= 0, tilts.shape[0]
    total, count = np.zeros(n), np.zeros(n)
    for axis in range(3):
        low, high = faces(number, axis)
        square = ((tilts[high] - tilts[low]) ** 2).sum(axis=1)
        for side in (low, high):
            total += np.bincount(side, square, n)
            count += np.bincount(side, minlength=n)
    field = np.zeros(mask.shape)
    field[mask] = total / np.maximum(count, 1)
    smooth = gaussian_filter(field, _SMOOTH) / np.maximum(gaussian_filter(mask.astype(float), _SMOOTH), 1e-9)
    return np.where(mask, smooth, np.inf)
