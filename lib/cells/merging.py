"""Merging of neighbouring regions whose orientations differ by no more than errors and bends explain.

What feigns a step is noise, which a large wall averages out; errors that neighbours share, which are in
the stated ones and do not average; and a bend that the slopes on both sides do not follow in full.
"""

from __future__ import annotations

import heapq
import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from .steps import Labels, Steps

Array = NDArray[np.float64]

_LIMIT = 4.0  # standard errors of the noise: there are many walls
_SHARED = 0.8  # stated errors: neighbours have some of theirs in common
_BENT = 0.33  # of the bend beside a wall, which a bend may differ by from the one that slopes tell
_DRAWN = 1.0  # of the noise of a face: a border that noise drew has a step, however long it is
_ALIKE = 9.0  # neighbouring faces whose noise is one: the map is smooth over about three voxels
_NECK = 0.75  # of a face of the smaller region, taken as a cube: what touches less is not joined by it


class Walls(NamedTuple):
    """Pairs of regions that meet: first < second (n,), number of faces (n,), sums of step and bend (n, 2)."""

    first: NDArray[np.int64]
    second: NDArray[np.int64]
    n_faces: Array
    step: Array
    bend: Array


def walls(n_regions: int, steps: Steps) -> Walls:
    """The walls between regions that are numbered from 0.

    What counts are faces that are sure, as if all of a wall were like these; where they are too few, all do.
    """
    a, b = steps.first.astype(np.int64), steps.second.astype(np.int64)
    sign = np.where(a < b, 1.0, -1.0)
    keys = np.minimum(a, b) * n_regions + np.maximum(a, b)
    key, where = np.unique(keys, return_inverse=True)
    n_faces = np.bincount(where, minlength=key.size).astype(np.float64)
    n_sure = np.bincount(where, steps.sure, key.size)
    told = (n_sure >= _ALIKE)[where]
    weight = np.where(told, steps.sure * (n_faces / np.maximum(n_sure, 1.0))[where], 1.0) * sign

    def sums(values: Array) -> Array:
        return np.stack([np.bincount(where, weight * column, key.size) for column in values.T], axis=1)

    return Walls(key // n_regions, key % n_regions, n_faces, sums(steps.step), sums(steps.bend))


def merge(found: Walls, sizes: NDArray[np.int64], errors: Array, noise: float, share: float) -> Labels:
    """New labels (n_regions,) from 0, after those walls went that are none, the surest ones first.

    sizes (n_regions,) are the voxels of the regions, errors (n_regions,) their stated errors; noise is that
    of the step of one face. A step up to this share of what noise, errors and bend explain is no wall.
    """
    parent, size, variance = np.arange(sizes.size), sizes.tolist(), (errors**2).tolist()
    around: list[dict[int, list[float]]] = [{} for _ in size]  # sums of a step from the smaller number on
    heap: list[tuple[float, int, int, float]] = []

    def put(a: int, b: int, sums: list[float]) -> None:
        around[a][b] = around[b][a] = sums
        n = sums[0]
        if n < max(_ALIKE, _NECK * min(size[a], size[b]) ** (2 / 3)):
            return
        step, bend = math.hypot(sums[1], sums[2]) / n, math.hypot(sums[3], sums[4]) / n
        shared = _SHARED * math.sqrt(variance[a] + variance[b])
        error = math.hypot(_LIMIT * noise / math.sqrt(1.0 + n / _ALIKE), _DRAWN * noise, shared)
        if step <= share * math.hypot(error, _BENT * bend):
            heapq.heappush(heap, (step + error, a, b, n))

    for a, b, n, step, bend in zip(*(values.tolist() for values in found), strict=True):
        put(a, b, [n, *step, *bend])
    while heap:
        _, a, b, n = heapq.heappop(heap)
        if around[a].get(b, [0.0])[0] != n:  # one of them is gone, or their wall has grown
            continue
        if len(around[a]) < len(around[b]):
            a, b = b, a
        variance[a] = min(variance[a], variance[b])
        size[a] += size[b]
        parent[b] = a
        del around[a][b], around[b][a]
        for c, sums in around[b].items():
            del around[c][b]
            turned = -1.0 if (a < c) != (b < c) else 1.0
            own = around[a].get(c, [0.0] * 5)
            put(a, c, [own[0] + sums[0], *(x + turned * y for x, y in zip(own[1:], sums[1:], strict=True))])
        around[b] = {}
    while not np.array_equal(parent[parent], parent):
        parent = parent[parent]
    return np.unique(parent, return_inverse=True)[1].astype(np.int32)
