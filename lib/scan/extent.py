"""How far the grain extends along x, y and z, from the images summed over the tilts.

A visual hull on a few voxels says where the grain can be, and a density on as few, fitted to the images
(ordered subsets, Hudson & Larkin 1994), where it is. The hull alone is too long where some sides of the
grain are never seen edge-on, as over a quarter of a turn or of a plate normal to the axis; and too short
where the rim is fainter than the noise.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage, sparse

from ..physics.geometry import voxel_axis
from ..projection import kernels
from ..projection.views import Views
from .spots import faintest

Array = NDArray[np.float64]
Values = NDArray[np.float32]
Bounds = tuple[Array, Array]  # lowest and highest x, y, z in um

_WIDTHS = (3, 5, 7)  # pixels of an average; the first that is good enough
_SIGMA, _FAINT_SIGMA = 3.0, 2.0  # the second where the rim is lost in noise
_BRIGHT, _FAINT = 99.0, 0.03  # of what a bright pixel (a percentile) has; a ray so short is no voxel long
_QUIET = 0.06  # of what a bright pixel has: noise below that hides no rim
_SEEN = 0.3  # of the omegas at which a voxel must be seen at all
_KNOWN = 0.3  # of the pixels of an average
_N_HULL, _N_DENSITY = 64, 32  # voxels along the longest side
_ROUNDS, _GROWTH, _LOOSE = 5, 0.4, 0.5  # of the hull, until its box fits: times and part of the size
_OMEGAS, _SUBSETS = 36, 6  # of the density
_SPECK = 0.01  # of the grain's light


@dataclass(frozen=True)
class _Ways:
    """How the noise asks to be met.

    share is that of the omegas at which a voxel of the hull must be lit; iterations those of the density,
    which is blurred by so many voxels; the grain has part of its density at its edge.
    """

    share: float
    iterations: int
    blur: float
    part: float


_CLEAN = _Ways(share=0.9, iterations=10, blur=0.7, part=0.25)
_NOISY = _Ways(share=0.9, iterations=10, blur=1.0, part=0.35)
_FAINTEST = _Ways(share=0.6, iterations=20, blur=1.25, part=0.38)
_FEW_SIDES, _MORE_ITERATIONS = (
    0.8 * np.pi,
    30,
)  # radians of omega; a density converges slowly along what is not seen


@dataclass(frozen=True)
class Small:
    """Images summed over the tilts, and over square bins of pixels.

    light (n_omega, n_x, n_y) are the counts above the dark level, NaN where nothing was measured; sigma
    (n_omega,) is their noise in the dark. views are the projections to these pixels, pixel_um wide.
    """

    light: NDArray[np.float32]
    sigma: Array
    views: Views
    pixel_um: float
    turn_rad: float = 2.0 * np.pi

    def binned(self, factor: int) -> Small:
        """The same with factor x factor pixels put together; what is left over at the end is dropped."""
        if factor == 1:
            return self
        views = in_bins(self.views, factor)
        n_x, n_y = views.detector_shape
        whole = self.light[:, : n_x * factor, : n_y * factor].reshape(-1, n_x, factor, n_y, factor)
        light, sigma, pixel_um = whole.sum(axis=(2, 4)), self.sigma * factor, self.pixel_um * factor
        return replace(self, light=light, sigma=sigma, views=views, pixel_um=pixel_um)

    def some(self, chosen: NDArray[np.int64]) -> Small:
        """The images of some of the omegas."""
        matrix, shift = (np.ascontiguousarray(v[chosen]) for v in (self.views.matrix, self.views.shift))
        views = Views(matrix, shift, self.views.detector_shape)
        return replace(self, light=self.light[chosen], sigma=self.sigma[chosen], views=views)


def in_bins(views: Views, factor: int) -> Views:
    """The projections to bins of factor x factor pixels; what is left over at the end is dropped."""
    n_x, n_y = views.detector_shape
    shift = (views.shift - (factor - 1) / 2.0) / factor
    return Views(views.matrix / factor, shift, (n_x // factor, n_y // factor))


def find_extent(small: Small, start: Bounds) -> Bounds | None:
    """The box of the grain, to about a voxel of these few; None where nothing is lit.

    start is a box that holds the grain, to begin with; it grows where the grain reaches its sides.
    """
    lit, known, ways = _lit(small)
    found = _hull(small, lit, known, ways, start)
    if found is None:
        return None
    axes, inside = found
    iterations = ways.iterations if small.turn_rad > _FEW_SIDES else _MORE_ITERATIONS
    density = _density(small, axes, inside, iterations)
    return _edges(axes, density, ways) or _bounds(axes, inside)


def _lit(small: Small) -> tuple[NDArray[np.bool_], NDArray[np.bool_], _Ways]:
    """Where an average of the images (n_omega, n_x, n_y) stands out from the noise, and where it is known."""
    measured = np.isfinite(small.light)
    light = np.where(measured, small.light, np.float32(0.0))
    for width in _WIDTHS:
        size = (0, width, width)
        part = ndimage.uniform_filter(measured.astype(np.float32), size, mode="nearest")
        smooth = ndimage.uniform_filter(light, size, mode="nearest") / np.maximum(part, _KNOWN)
        bright = np.maximum(np.percentile(smooth, _BRIGHT, axis=(1, 2)), 1e-9)
        noise = faintest(small.sigma, width, _SIGMA)
        quiet = bool(np.median(noise / bright) < _QUIET)
        if quiet:
            break
    ways = _FAINTEST if not quiet else _CLEAN if width == _WIDTHS[0] else _NOISY
    limit = np.maximum(noise if quiet else faintest(small.sigma, width, _FAINT_SIGMA), _FAINT * bright)
    return smooth > limit[:, None, None], part >= _KNOWN, ways


def _hull(
    small: Small, lit: NDArray[np.bool_], known: NDArray[np.bool_], ways: _Ways, start: Bounds
) -> tuple[list[Array], NDArray[np.bool_]] | None:
    """Voxels that are lit at enough omegas: their centres along x, y, z, and which they are.

    Looked for in a box about the grain, as long as that is not found to be too small or far too large.
    """
    bounds, found = start, None
    for _ in range(_ROUNDS):
        axes = _centres(bounds, _N_HULL)
        inside = _lit_voxels(small, lit, known, ways.share, axes)
        box = _bounds(axes, inside)
        if box is None:
            break
        found = (axes, inside), box
        low, high, size, cell = *bounds, bounds[1] - bounds[0], _cells(axes)
        cut = box[0] - cell / 2 < low, box[1] + cell / 2 > high
        if cut[0].any() or cut[1].any():
            bounds = low - np.where(cut[0], _GROWTH * size, 0.0), high + np.where(cut[1], _GROWTH * size, 0.0)
        elif (box[1] - box[0]).max() < _LOOSE * size.max():
            bounds = box[0] - 2 * cell, box[1] + 2 * cell
        else:
            break
    if found is None:
        return None
    (axes, _), box = found
    few = _centres((box[0] - _cells(axes), box[1] + _cells(axes)), _N_DENSITY)
    inside = _lit_voxels(small, lit, known, ways.share, few)
    return (few, ndimage.binary_dilation(inside, np.ones((3, 3, 3)))) if inside.any() else found[0]


def _lit_voxels(
    small: Small, lit: NDArray[np.bool_], known: NDArray[np.bool_], share: float, axes: list[Array]
) -> NDArray[np.bool_]:
    """Which voxels (n_x, n_y, n_z) are lit at that share of the omegas at which they are known."""
    n_omega = lit.shape[0]
    views = small.views

    def count(images: NDArray[np.bool_]) -> NDArray[np.int32]:
        counts = np.zeros([axis.size for axis in axes], dtype=np.int32)
        flat = images.reshape(n_omega, -1).view(np.uint8)
        kernels.count_hull(counts.reshape(-1), flat, views.matrix, views.shift, views.detector_shape, *axes)
        return counts

    counts = count(lit)
    n_known = n_omega - (0 if known.all() else count(~known & ~lit))
    return (counts >= share * n_known) & (counts >= _SEEN * n_omega)


def _density(small: Small, axes: list[Array], inside: NDArray[np.bool_], iterations: int) -> Array:
    """What the voxels inside give to the images: (n_x, n_y, n_z), in any unit, zero outside."""
    chosen = np.unique(np.linspace(0, len(small.views) - 1, _OMEGAS).round().astype(np.int64))
    few = small.some(chosen).binned(max(1, round(float(_cells(axes).max()) / small.pixel_um)))
    xyz = np.stack([axis[i] for axis, i in zip(axes, np.nonzero(inside), strict=True)], axis=1)
    subsets = [np.arange(first, chosen.size, _SUBSETS) for first in range(min(_SUBSETS, chosen.size))]
    parts = [_part(few, numbers, xyz) for numbers in subsets]
    values = np.ones(xyz.shape[0], dtype=np.float32)
    for _ in range(iterations):
        for onto, back, light, dark, weight in parts:
            ratio = light / (onto @ values + dark)
            values *= (back @ ratio) / np.maximum(weight, 1e-9)
    density = np.zeros(inside.shape)
    density[inside] = values
    return density


def _part(few: Small, numbers: NDArray[np.int64], xyz: Array) -> tuple[Any, Any, Values, Values, Values]:
    """Of a subset: the projection and its transpose, counts, what the dark adds, weight of each voxel."""
    n_x, n_y = few.views.detector_shape
    known = np.isfinite(few.light[numbers]).reshape(-1)
    dark = np.repeat(few.sigma[numbers] ** 2 + 1e-3, n_x * n_y).astype(np.float32)
    light = np.maximum(np.where(known, few.light[numbers].reshape(-1), np.float32(0.0)) + dark, 0.0)
    pixels = np.empty((len(xyz), numbers.size, 4), dtype=np.int32)
    weights = np.empty(pixels.shape, dtype=np.float32)
    for k, number in enumerate(numbers):
        place = xyz @ few.views.matrix[number].T + few.views.shift[number]
        low = np.floor(place).astype(np.int32)
        part = (place - low).astype(np.float32)
        for corner, (dx, dy) in enumerate(np.ndindex(2, 2)):
            x, y = low[:, 0] + dx, low[:, 1] + dy
            on = (x >= 0) & (y >= 0) & (x < n_x) & (y < n_y)
            pixels[:, k, corner] = np.where(on, (k * n_x + x) * n_y + y, 0)
            weights[:, k, corner] = on * np.abs(1 - dx - part[:, 0]) * np.abs(1 - dy - part[:, 1])
    weights *= known[pixels]
    starts = np.arange(len(xyz) + 1, dtype=np.int32) * pixels[0].size
    back = sparse.csr_matrix((weights.ravel(), pixels.ravel(), starts), shape=(len(xyz), light.size))
    return back.T, back, light, dark, weights.sum(axis=(1, 2))


def _edges(axes: list[Array], density: Array, ways: _Ways) -> Bounds | None:
    """Where the density falls to a part of that of the grain, but for specks of noise."""
    blurred = ndimage.gaussian_filter(density, ways.blur)
    ranked = np.sort(blurred, axis=None)
    mass = np.cumsum(ranked)
    if not mass[-1] > 0:
        return None
    limit = ways.part * ranked[np.searchsorted(mass, 0.5 * mass[-1])]
    labels, n_labels = ndimage.label(blurred > limit)
    light = ndimage.sum_labels(blurred, labels, np.arange(n_labels + 1))
    light[0] = 0.0
    grain = (light > _SPECK * light.sum())[labels]
    near = ndimage.binary_dilation(grain, np.ones((3, 3, 3)))
    ends = []
    for i, axis in enumerate(axes):
        profile = np.where(near, blurred, 0.0).max(axis=tuple({0, 1, 2} - {i})) - limit
        ends.append((-_crossing(-axis[::-1], profile[::-1]), _crossing(axis, profile)))
    low, high = np.array(ends).T
    return low, high


def _crossing(axis: Array, profile: Array) -> float:
    """Where a profile falls below zero for good, within half a voxel of its ends."""
    last = int(np.flatnonzero(profile > 0)[-1])
    cell = float(axis[1] - axis[0])
    if last + 1 == axis.size:
        return float(axis[last]) + cell / 2
    return float(axis[last]) + cell * float(profile[last] / (profile[last] - profile[last + 1]))


def _centres(bounds: Bounds, n: int) -> list[Array]:
    """Centres of voxels that fill a box along x, y, z, n of them along the longest side."""
    size = bounds[1] - bounds[0]
    counts = np.maximum(2, np.ceil(n * size / size.max() - 1e-9)).astype(int)
    steps = zip((bounds[0] + bounds[1]) / 2, size, counts, strict=True)
    return [voxel_axis(float(middle), float(length), int(count)) for middle, length, count in steps]


def _cells(axes: list[Array]) -> Array:
    """Size (3,) of the voxels."""
    return np.array([axis[1] - axis[0] for axis in axes])


def _bounds(axes: list[Array], inside: NDArray[np.bool_]) -> Bounds | None:
    """The box about the voxels inside, if there are any."""
    if not inside.any():
        return None
    ends = []
    for i, axis in enumerate(axes):
        some = np.flatnonzero(inside.any(axis=tuple({0, 1, 2} - {i})))
        ends.append(axis[some[[0, -1]]])
    low, high = np.array(ends).T
    return low - _cells(axes) / 2, high + _cells(axes) / 2
