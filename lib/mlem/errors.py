"""How far orientations are off, from differences between reconstructions: self-test and halves.

Local means over a cube of five voxels within the grain: what one voxel is off by chance, its neighbours are
too. Means of the roots of differences, which a few voxels at a boundary between two orientations do not rule.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import binary_dilation, binary_erosion, find_objects, uniform_filter
from scipy.special import ndtr

from .shape import (
    HALO,
    as_field,
    empty_density,
    full_density,
    fullness,
    grain_mask,
    half_of,
    surface_shift,
)

Array = NDArray[np.float64]
Mask = NDArray[np.bool_]

REACH = 5  # voxels, the side of the cube
_NORMAL = math.sqrt(math.pi / 2.0)  # standard deviation over mean absolute deviation
_OF_ROOTS = math.pi / (math.sqrt(2.0) * math.gamma(0.75) ** 2)  # over the square of the mean of its root


def local_error(difference: Array, mask: Mask) -> Array:
    """Standard deviation (n_inside,) that differences (n_inside,) of the voxels of a mask tell."""
    return _OF_ROOTS * _local_mean(np.sqrt(np.abs(difference)), mask) ** 2


def _local_mean(values: Array, mask: Mask) -> Array:
    """Mean in the cube around each voxel of a mask, of values (n_inside,) that are finite."""
    inside = mask[box_of(mask)]
    known = np.isfinite(values)
    total = _averaged(as_field(np.where(known, values, 0.0), inside), inside)
    share = _averaged(as_field(known.astype(np.float64), inside), inside)
    return np.asarray(total / np.maximum(share, 1.0 / (2 * REACH**3)))


def _averaged(field: Array, inside: Mask) -> Array:
    return np.asarray(uniform_filter(np.nan_to_num(field), REACH, mode="constant")[inside])


def box_of(mask: Mask) -> tuple[slice, ...]:
    """The smallest box around the mask; all of it where that is empty."""
    boxes = find_objects(mask.view(np.int8))
    return boxes[0] if boxes else (slice(None),) * mask.ndim


@dataclass(frozen=True)
class Grain:
    """What a reconstruction found: density and mask (n_x, n_y, n_z), and both tilts (n_inside, 2) in degrees.

    Relative to tilt_zero; where the maps were averaged at the surface of a smooth unknown, that is taken off,
    and `moved` (n_inside,) says how much.
    """

    density: Array
    mask: Mask
    tilts: Array
    moved: Array | float = 0.0

    @classmethod
    def of(cls, density: Array, mask: Mask, tilts: Array, *, smooth: bool) -> Grain:
        """From the readings inside a mask; a smooth unknown is one of strain."""
        if not smooth:
            return cls(density, mask, tilts)
        shift = surface_shift(as_field(tilts[:, 0], mask), mask)[mask]
        return cls(density, mask, np.stack([tilts[:, 0] - shift, tilts[:, 1]], axis=1), shift)

    @cached_property
    def full(self) -> float:
        """The density of a voxel that is wholly inside."""
        return full_density(self.density)

    @cached_property
    def empty(self) -> float:
        """The density of a voxel that is wholly outside."""
        return empty_density(self.density, self.full)

    @property
    def half(self) -> float:
        """The density of a voxel at the surface."""
        return half_of(self.full, self.empty)

    def less_bias(self, tested: Difference) -> Grain:
        """With the tilts less what the self-test has turned all voxels of a cube by, as far as it has.

        Their mean difference, if they all have its sign; none, if it is half of what they differ by or less.
        And none where it is no more than that in the whole of the grain: then walls between cells, or noise,
        make the difference, and what is alike of it by chance would be moved.
        """
        biases = []
        for difference in tested.tilts.T:
            mean, size = (_local_mean(values, self.mask) for values in (difference, np.abs(difference)))
            size = np.maximum(size, np.finfo(np.float64).tiny)
            in_whole = np.clip(4.0 * np.abs(mean).sum() / size.sum() - 2.0, 0.0, 1.0)
            biases.append(in_whole * mean * np.maximum(2.0 * np.abs(mean) / size - 1.0, 0.0))
        return replace(self, tilts=self.tilts - np.stack(biases, axis=1))

    def fullness(self) -> Array:
        """How full the voxels (n_x, n_y, n_z) of the mask, and beside it, are."""
        found = fullness(self.density, self.full, self.empty)
        return np.where(binary_dilation(self.mask), found, 0.0)

    def volume_error(self, tested: Difference) -> float:
        """Relative error of the volume of the mask, from the self-test, whose grain is as full as this one.

        And from where half of the density would be if it were that of some part of the inside, which should
        be as dense as all of it.
        """
        n = max(int(self.mask.sum()), 1)
        bias = (1.0 + tested.volume) * n / max(float(self.fullness().sum()), 1.0) - 1.0
        core = binary_erosion(self.mask, iterations=HALO)
        share = _averaged(core.astype(np.float64), core)
        local = _averaged(np.where(core, self.density, 0.0), core) / share
        uneven = float(np.sqrt(np.mean((local / self.full - 1.0) ** 2))) if local.size else 0.0
        low, high = ((self.density > (1.0 + x) * self.half).sum() for x in (-uneven, uneven))
        return math.hypot(bias, 0.5 * float(low - high) / n)

    def columns(self) -> list[Array]:
        """Density, alike everywhere inside and zero outside, and both tilts, as fields (n_x, n_y, n_z).

        Voxels at the surface are full in part, and those beside the mask like their neighbours: a surface of
        whole voxels would keep its place whatever is averaged over it.
        """
        density = self.full * self.fullness()
        rim = (density > 0.0) & ~self.mask
        share = uniform_filter(self.mask.astype(np.float64), 3, mode="constant")[rim]
        fields = [as_field(values, self.mask) for values in self.tilts.T]
        for field in fields:
            field[rim] = uniform_filter(np.where(self.mask, field, 0.0), 3, mode="constant")[rim] / share
        return [density, *fields]

    def less(self, density: Array, tilts: tuple[Array, Array], *, smooth: bool) -> Difference:
        """How far another reconstruction (fields n_x, n_y, n_z) is from this one."""
        density = np.nan_to_num(density)
        inside = np.stack([values[self.mask] for values in tilts], axis=1)
        there = Grain.of(density, self.mask, inside, smooth=smooth)
        n_here, n_there = int(self.mask.sum()), int(grain_mask(density).sum())
        return Difference(
            there.tilts - self.tilts, density - self.density, (n_there - n_here) / max(n_here, 1)
        )


@dataclass(frozen=True)
class Difference:
    """One reconstruction less another: tilts (n_inside, 2), density (n_x, n_y, n_z), volume as a share."""

    tilts: Array
    density: Array
    volume: float


def sureness(density: Array, half: float, difference: Array) -> Array:
    """How sure a voxel (n_x, n_y, n_z) is to be inside, 0 to 1: its density beside half of the full.

    difference is that of the densities between the self-test and the result.
    """
    known = np.isfinite(difference)
    size = uniform_filter(np.where(known, np.abs(difference), 0.0), REACH, mode="constant")
    share = uniform_filter(known.astype(np.float64), REACH, mode="constant")
    error = _NORMAL * size / np.maximum(share, 1.0 / (2 * REACH**3))
    sure = ndtr((density - half) / np.maximum(error, 1e-6 * max(half, 1e-30)))
    return np.asarray(np.where(density > 0.0, sure, 0.0))


@dataclass(frozen=True)
class Errors:
    """What a result says of its own errors: of both tilts (n_inside, 2) in degrees, NaN where not asked for.

    sure (n_x, n_y, n_z) is how sure a voxel is to be inside, volume the relative error of the grain's volume.
    """

    tilts: Array
    sure: Array | None = None
    volume: float = math.nan

    @classmethod
    def of(cls, grain: Grain, tested: Difference | None, half: Difference | None) -> Errors:
        """From the self-test, or where the data disagree by more than that, from the two halves.

        Half of the difference of the halves is that of one of them to the whole.
        """
        differences = [found for found in (tested, half) if found is not None]
        if not differences:
            return cls(np.full(grain.tilts.shape, np.nan))
        tilts = np.stack(
            [
                np.max([local_error(found.tilts[:, i], grain.mask) for found in differences], axis=0)
                for i in range(2)
            ],
            axis=1,
        )
        tilts[:, 0] = np.hypot(tilts[:, 0], 0.5 * np.abs(grain.moved))
        sure = sureness(grain.density, grain.half, differences[0].density)
        volumes = [] if tested is None else [grain.volume_error(tested)]
        volumes += [] if half is None else [abs(half.volume)]
        return cls(tilts, sure, max(volumes))

    def facts(self) -> dict[str, float]:
        """For the attributes of the result."""
        return {} if math.isnan(self.volume) else {"volume_error": self.volume}
