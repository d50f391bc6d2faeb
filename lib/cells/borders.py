"""Where a wall runs: each voxel near one goes to the region whose orientation it has."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import find_objects, gaussian_filter

from .basins import compact
from .steps import Labels, Mask, Numbers, faces

Array = NDArray[np.float64]

_NEAR = 1.2  # voxels, standard deviation of the weights with which the inside of a region counts
_REACH = 3  # voxels from its core, where it meets another; further on something else was in between
_LEAST = 1e-7  # weight of what is too far away


def inside(labels: Labels, number: Numbers) -> Mask:
    """Which voxels (n,) have no neighbour of another label; those that have are smeared by the wall."""
    alone = np.ones(labels.size, dtype=np.bool_)
    for axis in range(3):
        low, high = faces(number, axis)
        apart = labels[low] != labels[high]
        alone[low[apart]] = alone[high[apart]] = False
    return alone


def core(labels: Labels, number: Numbers) -> Mask:
    """Which voxels (n,) lie at least two voxels away from another label."""
    alone = inside(labels, number)
    deep = alone.copy()
    for axis in range(3):
        low, high = faces(number, axis)
        deep[low] &= alone[high]
        deep[high] &= alone[low]
    return deep


def settle(labels: Labels, tilts: Array, number: Numbers) -> Labels:
    """Labels (n,) from 0, in which voxels at walls went to the nearby region that they resemble most.

    What a region is like near a voxel is the mean of its inside, the nearer the more it counts. A region
    that has no inside, being thinner than what is resolved, goes to those around it.
    """
    mask = number >= 0
    fields = np.zeros((2, *mask.shape))
    fields[:, mask] = tilts.T
    chosen = np.full(mask.shape, -1, dtype=np.int32)
    chosen[mask] = np.where(core(labels, number), labels, -1)
    boxes = find_objects(chosen + 1)
    given = chosen >= 0
    best = np.where(given | ~mask, -1.0, np.inf)
    for label, box in enumerate(boxes):
        if box is None:
            continue
        wide = tuple(slice(max(side.start - _REACH, 0), side.stop + _REACH) for side in box)
        own = ((chosen[wide] == label) & given[wide]).astype(np.float64)
        weight = _spread(own)
        open_ = (weight > _LEAST) & (best[wide] >= 0.0)
        off = np.zeros(int(open_.sum()))
        for values in fields:
            off += (values[wide][open_] - _spread(own * values[wide])[open_] / weight[open_]) ** 2
        better = np.zeros_like(open_)
        better[open_] = off < best[wide][open_]
        best[wide][better] = off[better[open_]]
        chosen[wide][better] = label
    found = chosen[mask]
    return compact(np.where(found >= 0, found, labels))


def _spread(values: Array) -> Array:
    return np.asarray(gaussian_filter(values, _NEAR, mode="constant", truncate=_REACH / _NEAR))
