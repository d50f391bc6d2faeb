"""From the maps of the iterative method to the grain: density, mask, orientation of every voxel.

Noise grows with the iterations from voxel to voxel while neighbours share the truth; so maps are
averaged over the next neighbours with a narrow Gaussian before anything is read off them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import binary_dilation, correlate1d, label

from ..physics.tilts import OrientationGrid
from ..projection.jit import kernel
from .map_kernels import RUN
from .maps import Maps

SMOOTHING_VOXELS = 0.8  # sigma of the average over neighbours
HALO = 2  # layers of neighbours that take part
_SPECK = 27  # voxels, of the smallest part of a grain
_HALF = 0.5  # of the density inside: where a voxel is half full
_INSIDE = 0.5  # of the 90th percentile: what surely belongs to the grain
_FAR = 3  # voxels from the grain, where its surface does not reach
NO_LIGHT = np.empty((2, 0))  # where it is not told
_STILL, _MOST_MOVES = 1e-3, 30  # of an orientation, by which the window of a peak may move in the end


@kernel(inline="always")
def _share(i, centre, window):  # type: ignore[no-untyped-def]
    """The part of orientation i, from half of the way to its neighbours, within a window of a centre."""
    return max(min(i + 0.5, centre + window) - max(i - 0.5, centre - window), 0.0)


@kernel()
def _peaks(first, run, values, index, ijk, weights, n1, n2, window, light, out):  # type: ignore[no-untyped-def]
    """Moments of the main peak of each voxel's averaged map: see `read_maps`."""
    halo = weights.shape[0] // 2
    n_pairs = n1 * n2
    total = np.empty(-(-n_pairs // RUN) * RUN, dtype=np.float32)
    for v in range(ijk.shape[0]):
        total[:] = 0.0
        for di in range(-halo, halo + 1):
            for dj in range(-halo, halo + 1):
                for dk in range(-halo, halo + 1):
                    i, j, k = ijk[v, 0] + di, ijk[v, 1] + dj, ijk[v, 2] + dk
                    if not (0 <= i < index.shape[0] and 0 <= j < index.shape[1] and 0 <= k < index.shape[2]):
                        continue
                    row = index[i, j, k]
                    if row < 0:
                        continue
                    weight = weights[di + halo, dj + halo, dk + halo]
                    for r in range(first[row], first[row + 1]):
                        for s in range(RUN):
                            total[run[r] * RUN + s] += weight * values[r, s]
        density, best = 0.0, 0
        for s in range(n_pairs):
            density += total[s]
            if total[s] > total[best]:
                best = s
        out[v, 0] = density
        i0, j0 = best // n2, best % n2
        mass, m1, m2 = 0.0, float(i0), float(j0)
        v1 = v2 = c12 = 0.0
        for _ in range(_MOST_MOVES):
            c1, c2 = m1, m2
            mass = m1 = m2 = v1 = v2 = c12 = 0.0
            for i in range(max(int(c1 - window), 0), min(int(c1 + window) + 2, n1)):
                along = _share(i, c1, window)
                for j in range(max(int(c2 - window), 0), min(int(c2 + window) + 2, n2)):
                    value, x, y = along * _share(j, c2, window) * total[i * n2 + j], i - c1, j - c2
                    mass += value
                    m1 += value * x
                    m2 += value * y
                    v1 += value * x * x
                    v2 += value * y * y
                    c12 += value * x * y
            if not mass > 0.0:
                break
            x, y = m1 / mass, m2 / mass
            v1, v2, c12 = v1 / mass - x * x, v2 / mass - y * y, c12 / mass - x * y
            m1, m2 = c1 + x, c2 + y
            if abs(x) < _STILL and abs(y) < _STILL:
                break
        if not mass > 0.0:
            out[v, 1:] = np.nan
            continue
        second, i2, j2 = np.float32(0.0), i0, j0
        for i in range(n1):
            for j in range(n2):
                outside = abs(i - i0) > window or abs(j - j0) > window
                if outside and total[i * n2 + j] > second:
                    second, i2, j2 = total[i * n2 + j], i, j
        if light.shape[1] > 0:
            mass_lit = at = 0.0
            for i in range(max(int(c1 - window), 0), min(int(c1 + window) + 2, n1)):
                value = _share(i, c1, window) * total[i] * light[0, i]
                mass_lit += value
                at += value * light[1, i]
            m1 = at / mass_lit if mass_lit > 0.0 else m1
        out[v, 1], out[v, 2] = m1, m2
        out[v, 3], out[v, 4], out[v, 5] = v1, v2, c12
        out[v, 6] = mass
        out[v, 7] = second / total[best]
        out[v, 8], out[v, 9] = abs(i2 - i0), abs(j2 - j0)


@dataclass(frozen=True)
class Readings:
    """What the averaged maps say, each (n_voxels,).

    density: total of the map; tilt1, tilt2: centre of mass of the main peak, relative to tilt_zero;
    var1, var2, cov12: second moments of the peak; peak_mass: its part of the density; second_peak:
    the brightest orientation outside of it, as a share of the peak's height, and apart1, apart2: how
    far that lies from the main one.
    """

    density: NDArray[np.float64]
    tilt1: NDArray[np.float64]
    tilt2: NDArray[np.float64]
    var1: NDArray[np.float64]
    var2: NDArray[np.float64]
    cov12: NDArray[np.float64]
    peak_mass: NDArray[np.float64]
    second_peak: NDArray[np.float64]
    apart1: NDArray[np.float64]
    apart2: NDArray[np.float64]


def read_maps(
    maps: Maps,
    index: NDArray[np.int64],
    ijk: NDArray[np.int64],
    grid: OrientationGrid,
    light: NDArray[np.float64] = NO_LIGHT,
) -> Readings:
    """Read density and orientation off the maps.

    index (n_x, n_y, n_z) gives the number of a voxel among the maps, -1 for none; ijk
    (n_voxels, 3) are the places in `index` to read. The main peak is what lies within one step of the
    scan of its own centre of mass: looked for from the brightest orientation, about which a window would
    cut a wider peak on one side. light (2, n1) says, where there is one unknown, how brightly each of its
    orientations is seen, and where, in orientations: tilt1 is then the centre of that light.
    """
    out = np.empty((ijk.shape[0], 10))
    n1, n2 = grid.axis1.size, grid.axis2.size
    what = maps.first, maps.run, maps.values, index, ijk, neighbour_weights(), n1, n2
    _peaks(*what, grid.refinement, light, out)
    places = (np.arange(grid.axis1.size), np.arange(grid.axis2.size))
    tilt1 = np.interp(out[:, 1], places[0], grid.axis1)
    tilt2 = np.interp(out[:, 2], places[1], grid.axis2)
    step1, step2 = (float(np.ptp(a)) / max(a.size - 1, 1) for a in (grid.axis1, grid.axis2))
    return Readings(
        out[:, 0],
        np.where(np.isnan(out[:, 1]), np.nan, tilt1),
        np.where(np.isnan(out[:, 2]), np.nan, tilt2),
        out[:, 3] * step1**2,
        out[:, 4] * step2**2,
        out[:, 5] * step1 * step2,
        out[:, 6],
        out[:, 7],
        out[:, 8] * step1,
        out[:, 9] * step2,
    )


def as_field(values: NDArray[Any], mask: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Values (n_voxels,) inside the mask (n_x, n_y, n_z) as a field, NaN outside of it."""
    field = np.full(mask.shape, np.nan)
    field[mask] = values
    return field


def surface_shift(values: NDArray[np.float64], mask: NDArray[np.bool_]) -> NDArray[np.float64]:
    """By how much the average over neighbours moves a smooth field (n_x, n_y, n_z) at the grain's surface.

    There the neighbours lie on one side: the value is that of their middle, off by the gradient times its
    distance. To first order; zero in the inside, NaN outside of the mask.
    """
    offsets = np.arange(-HALO, HALO + 1)
    line = neighbour_weights()[:, HALO, HALO].astype(np.float64)
    inside = mask.astype(np.float64)

    def averaged(by: int | None) -> NDArray[np.float64]:
        result = inside
        for axis in range(3):
            weights = line * offsets if axis == by else line
            result = correlate1d(result, weights, axis=axis, mode="constant")
        return result

    total = np.where(mask, averaged(None), 1.0)
    shift = np.zeros(mask.shape)
    for axis in range(3):
        shift += averaged(axis) / total * slope(values, mask, axis)
    return np.where(mask, shift, np.nan)


def slope(values: NDArray[np.float64], mask: NDArray[np.bool_], axis: int) -> NDArray[np.float64]:
    """Change of values per voxel along an axis, from neighbours inside the mask; 0 without any."""
    change = np.diff(np.where(mask, values, 0.0), axis=axis)
    both = np.logical_and(*(np.delete(mask, end, axis=axis) for end in (0, -1)))
    change = np.where(both, change, 0.0)
    sides = [[end if i == axis else (0, 0) for i in range(3)] for end in ((1, 0), (0, 1))]
    total = sum(np.pad(change, side) for side in sides)
    n_sides = sum(np.pad(both.astype(np.float64), side) for side in sides)
    return np.asarray(total / np.maximum(n_sides, 1.0))


def neighbour_weights() -> NDArray[np.float32]:
    """Weights of the average over neighbours (5, 5, 5), sum 1."""
    line = np.exp(-0.5 * (np.arange(-HALO, HALO + 1) / SMOOTHING_VOXELS) ** 2)
    weights = line[:, None, None] * line[:, None] * line
    return (weights / weights.sum()).astype(np.float32)


def grain_mask(density: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Where the averaged density (any shape) is at least amid those inside and outside of the grain.

    A crystal diffracts alike everywhere, so the density has one value inside, one outside, and the one amid
    them at the surface, whatever the counts. The value inside is the median of what surely belongs
    to the grain; the few stray voxels far above it do not matter. Outside it is zero, but for what dark noise
    of few counts and scattered light leave. Specks that hang together with nothing
    larger are noise, hardly larger than what it is averaged over.
    """
    full = full_density(density)
    mask = np.asarray(density > half_of(full, empty_density(density, full)))
    parts, n_parts = label(mask)
    if n_parts < 2:  # noqa: PLR2004 - several
        return mask
    sizes = np.bincount(parts.ravel())
    kept = sizes >= min(_SPECK, sizes[1:].max())
    kept[0] = False
    return np.asarray(kept[parts])


def half_of(full: float, empty: float) -> float:
    """The density amid those inside and outside of the grain; infinite where there is none."""
    return _HALF * (full + empty) if full else np.inf


def empty_density(density: NDArray[np.float64], full: float) -> float:
    """The averaged density (any shape) of what was looked at outside the grain, whose inside has `full`."""
    outside = (density > 0.0) & ~binary_dilation(density > _HALF * full, iterations=_FAR)
    return float(np.median(density[outside])) if outside.any() else 0.0


def full_density(density: NDArray[np.float64]) -> float:
    """The averaged density (any shape) inside the grain; zero without any."""
    positive = density[density > 0]
    if not positive.size:
        return 0.0
    sure = positive[positive > _INSIDE * np.percentile(positive, 90)]
    return float(np.median(sure))


def fullness(density: NDArray[np.float64], full: float, empty: float) -> NDArray[np.float64]:
    """How full voxels are, 0 to 1, from the averaged density (any shape) and those of full and empty ones.

    Across a flat surface the average over neighbours falls with the slope of its kernel, widened by a voxel.
    """
    width = np.sqrt(2.0 * np.pi * (SMOOTHING_VOXELS**2 + 1.0 / 12.0))
    share = (density - empty) / max(full - empty, 1e-30)
    return np.asarray(np.clip(_HALF + width * (share - _HALF), 0.0, 1.0))


SECOND_PEAK = 0.35  # of the height of the main one, at which another counts
