"""The cells of a grain, from its orientation and the errors of that."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from .basins import basins
from .borders import settle
from .merging import merge, walls
from .steps import Labels, Mask, numbers, steps

Array = NDArray[np.float64]

_ROUNDS = 10  # at most; five or six do
_GENTLE = 4  # rounds, in which the limit of a step that is no wall grows to the full one
_BEST_QUARTER = 0.25  # of the errors of a region: those beside a wall are the wall's own


def find_cells(tilt1: Array, tilt2: Array, errors: Array | None, mask: Mask) -> Labels:
    """Labels (n_x, n_y, n_z) of the cells, from 1, the largest first; 0 outside.

    tilt1, tilt2 (n_x, n_y, n_z) in degrees; errors likewise, of both tilts together, or None where nothing
    is known but what the field tells of itself. mask is the grain; a voxel without orientation is in no
    cell. The grain falls into basins of smoothness; of these the neighbours that no step separates are
    merged, and walls are drawn where the orientation changes sides; with what is then known of the cells,
    both are done again until no more merge. What was merged stays so: a piece at a wall that seems to belong
    to both sides would join them. So the first rounds merge only what is surest, and larger regions, whose
    walls tell more, judge the rest.
    """
    known = mask & np.isfinite(tilt1) & np.isfinite(tilt2)
    if errors is not None:
        known &= np.isfinite(errors)
    result = np.zeros(mask.shape, dtype=np.int32)
    if not known.any():
        return result
    number = numbers(known)
    tilts = np.stack([tilt1[known], tilt2[known]], axis=1)
    labels = basins(tilts, number)
    for done in range(_ROUNDS):
        n = int(labels.max()) + 1
        found = steps(tilts, number, labels, trusted=done > 0)
        noise = _usual(found.inner)
        stated = np.full(n, noise) if errors is None else _best(errors[known], labels)
        share = min((done + 1) / _GENTLE, 1.0)
        merged = merge(walls(n, found), np.bincount(labels), stated, noise, share)[labels]
        labels = settle(merged, tilts, number)
        if share == 1.0 and labels.max() + 1 == n:
            break
    result[known] = _by_size(labels)
    return result


def _usual(sizes: Array) -> float:
    """The rms size of normal vectors in two dimensions, from their median size, which walls do not move."""
    return float(np.median(sizes) / np.sqrt(np.log(2.0))) if sizes.size else 0.0


def _best(errors: Array, labels: Labels) -> Array:
    """The error of each region (n_regions,): that of its best quarter, which is away from walls."""
    order = np.lexsort((errors, labels))
    count = np.bincount(labels)
    first = np.cumsum(count) - count
    return errors[order][first + (_BEST_QUARTER * (count - 1)).astype(np.int64)]


def _by_size(labels: Labels) -> Labels:
    """Numbered from 1, the largest first; of equal ones the one that comes first."""
    count = np.bincount(labels)
    place = np.empty(count.size, dtype=np.int32)
    place[np.argsort(-count, kind="stable")] = np.arange(1, count.size + 1)
    return place[labels]
