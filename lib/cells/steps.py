"""Steps of the orientation from voxel to voxel: what is left of a change when the bend is taken off.

A wall between two cells is smeared over about three voxels, for the projections mix what is there. So the
orientations on both sides are read a voxel away from a face, and the slopes on both sides say what a bend
alone would have changed in between. A voxel beside a third region tells neither: the wall to that one is
smeared, too.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Numbers = NDArray[np.int32]
Labels = NDArray[np.int32]
Mask = NDArray[np.bool_]

_BACK, _FURTHER = 1, 3  # voxels from the one at a face to those that give value and slope


class Steps(NamedTuple):
    """Steps at the n faces between voxels of different regions, and of how large others are.

    first and second (n,) are the regions; step and bend (n, 2) the change of the orientation from the first
    to the second, in the unit of the tilts: what the slopes do not account for, and what they do; sure (n,)
    tells where it was read off as it should be. inner are the sizes of the steps between voxels of the same
    region.
    """

    first: Labels
    second: Labels
    step: Array
    bend: Array
    sure: Mask
    inner: Array


def numbers(mask: Mask) -> Numbers:
    """The number of each voxel within the mask, in C order; -1 outside."""
    return np.where(mask, np.cumsum(mask, dtype=np.int32).reshape(mask.shape) - 1, -1).astype(np.int32)


def faces(number: Numbers, axis: int) -> tuple[Numbers, Numbers]:
    """The voxels of the mask on the low and the high side of the faces across an axis."""
    moved = np.moveaxis(number, axis, 0)
    both = (moved[:-1] >= 0) & (moved[1:] >= 0)
    return moved[:-1][both], moved[1:][both]


def steps(tilts: Array, number: Numbers, labels: Labels, *, trusted: bool) -> Steps:
    """The steps of all faces. tilts (n, 2) and labels (n,) from 0 of the voxels that are numbered.

    Where the labels are trusted, a voxel of another label than the one at the face, or with a neighbour of a
    third one, tells neither value nor slope. Where not, the smaller of the two slopes counts: the other one
    may come from beyond the next wall.
    """
    regions = _Regions(labels, *_around(labels, number)) if trusted else None
    parts, inner = [], []
    for axis in range(3):
        first, second, step, bend, sure = _along(tilts, number, regions, axis)
        first, second = labels[first], labels[second]
        apart = first != second
        inner.append(np.hypot(*step[~apart].T))
        parts.append((first[apart], second[apart], step[apart], bend[apart], sure[apart]))
    first, second, step, bend, sure = (np.concatenate(values) for values in zip(*parts, strict=True))
    return Steps(first, second, step, bend, sure, np.concatenate(inner))


class _Regions(NamedTuple):
    """Labels (n,) of the voxels, and the smallest and the largest other one among their neighbours'."""

    labels: Labels
    low: Labels
    high: Labels

    def tell(self, voxels: Numbers, own: Numbers, other: Numbers) -> Mask:
        """Whether voxels (n_faces,), -1 where there is none, are as `own` and see no third region."""
        mine, theirs = self.labels[own], self.labels[other]
        alone = self.high[voxels] < 0
        beside = (self.low[voxels] == theirs) & (self.high[voxels] == theirs)
        return (voxels >= 0) & (self.labels[voxels] == mine) & (alone | beside)


def _around(labels: Labels, number: Numbers) -> tuple[Labels, Labels]:
    """Of each voxel (n,) the smallest and the largest label of other neighbours; -1 where none is."""
    most = np.iinfo(np.int32).max
    field = np.where(number >= 0, labels[number], -1)
    low, high = np.full(field.shape, most, dtype=np.int32), np.full(field.shape, -1, dtype=np.int32)
    for axis in range(3):
        here, there, smallest, largest = (np.moveaxis(f, axis, 0) for f in (field, field, low, high))
        for at, beside in ((slice(1, None), slice(None, -1)), (slice(None, -1), slice(1, None))):
            other = (there[beside] >= 0) & (there[beside] != here[at])
            np.minimum(smallest[at], there[beside], out=smallest[at], where=other)
            np.maximum(largest[at], there[beside], out=largest[at], where=other)
    inside = number >= 0
    return np.where(high < 0, -1, low)[inside], high[inside]


def _along(
    tilts: Array, number: Numbers, regions: _Regions | None, axis: int
) -> tuple[Numbers, Numbers, Array, Array, Mask]:
    """Voxels, steps and bends of the faces across an axis, and which are sure."""
    moved = np.moveaxis(number, axis, 0)
    n = moved.shape[0] - 1
    moved = np.pad(moved, ((_FURTHER, _FURTHER), (0, 0), (0, 0)), constant_values=-1)
    at = _FURTHER, _FURTHER + 1
    both = (moved[at[0] : at[0] + n] >= 0) & (moved[at[1] : at[1] + n] >= 0)
    low, high = (
        [moved[start : start + n][both] for start in (here, here + way * _BACK, here + way * _FURTHER)]
        for here, way in zip(at, (-1, 1), strict=True)
    )
    value_low, back_low, slope_low = _side(tilts, regions, high[0], *low)
    value_high, back_high, slope_high = _side(tilts, regions, low[0], *high)
    slope, known = _slope(-slope_low, slope_high, mean=regions is not None)
    bend = slope * (1 + back_low + back_high)[:, None]
    sure = known & (back_low + back_high == 2 * _BACK) if regions else np.ones(known.shape, dtype=np.bool_)
    return low[0], high[0], value_high - value_low - bend, bend, sure


def _side(
    tilts: Array, regions: _Regions | None, other: Numbers, own: Numbers, near: Numbers, far: Numbers
) -> tuple[Array, NDArray[np.int8], Array]:
    """Of one side: the orientation read there, how many voxels back, and the slope outward (NaN: unknown)."""
    near_known, far_known = near >= 0, far >= 0
    if regions is not None:
        near_known, far_known = (regions.tell(voxels, own, other) for voxels in (near, far))
    value = tilts[np.where(near_known, near, own)]
    slope = (tilts[far] - value) / (_FURTHER - _BACK)
    slope[~(near_known & far_known)] = np.nan
    return value, np.where(near_known, _BACK, 0).astype(np.int8), slope


def _slope(low: Array, high: Array, *, mean: bool) -> tuple[Array, Mask]:
    """The slope (n, 2) at faces from those of both sides, and where one of them at least is known."""
    sizes = [np.nan_to_num(np.hypot(*side.T), nan=np.inf) for side in (low, high)]
    known = np.isfinite(sizes[0]) | np.isfinite(sizes[1])
    smaller = np.nan_to_num(np.where((sizes[0] <= sizes[1])[:, None], low, high))
    if not mean:
        return smaller, known
    both = np.isfinite(sizes[0]) & np.isfinite(sizes[1])
    return np.where(both[:, None], (low + high) / 2, smaller), known
