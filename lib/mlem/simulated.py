"""Frames that a result would have given: as the scan was made, with its resolution, noise and gaps.

For the self-test of a reconstruction. The voxels of the result are boxes here, and their orientations lie on
a grid much finer than that of the maps, so that the test does not forgive the method its own grids.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..physics.noise import Dark
from ..physics.tilts import OrientationGrid
from ..projection.jit import kernel
from ..projection.views import Views
from .map_kernels import RUN
from .maps import Maps

Array = NDArray[np.float64]
Image = NDArray[np.float32]

FINER = 5  # orientations on a step of the scan, linear between them
_POOL = 1 << 16  # normal numbers, of which every pixel takes a stretch of its own
_LEAST_PX = 1e-3  # width of the image of a box
_FEW, _HALF, _ZERO = np.float32(0.5), np.float32(0.5), np.float32(0.0)


@dataclass(frozen=True)
class Truth:
    """Voxels of a made-up grain.

    Centres (n, 3) in micrometres, orientations (n, 2) in degrees from tilt_zero, densities (n,) as of maps.
    """

    xyz_um: Array
    tilts_deg: Array
    density: Array

    def part(self, start: int, stop: int) -> Truth:
        """Some voxels in a row."""
        here = slice(start, stop)
        return Truth(self.xyz_um[here], self.tilts_deg[here], self.density[here])


def as_maps(truth: Truth, grid: OrientationGrid) -> Maps:
    """The orientations of the voxels on a grid, each shared among the four around it."""
    low, part = [], []
    for axis, tilt in zip((grid.axis1, grid.axis2), truth.tilts_deg.T, strict=True):
        place = np.interp(tilt, axis, np.arange(axis.size))
        low.append(np.minimum(place.astype(np.int64), max(axis.size - 2, 0)))
        part.append(place - low[-1])
    n1, n2 = grid.axis1.size, grid.axis2.size
    corners = [(i, j) for i in (0, 1) for j in (0, 1)]
    pair = np.stack(
        [np.minimum(low[0] + i, n1 - 1) * n2 + np.minimum(low[1] + j, n2 - 1) for i, j in corners], axis=1
    )
    share = np.stack([np.abs(1 - i - part[0]) * np.abs(1 - j - part[1]) for i, j in corners], axis=1)
    run = pair // RUN  # ascending in a voxel, each held once
    new = np.ones(run.shape, dtype=np.bool_)
    new[:, 1:] = run[:, 1:] != run[:, :-1]
    number = np.cumsum(new.ravel()) - 1
    values = np.zeros((int(new.sum()), RUN), dtype=np.float32)
    np.add.at(values, (number, pair.ravel() % RUN), (share * truth.density[:, None]).ravel())
    first = np.concatenate([[0], np.cumsum(new.sum(axis=1))]).astype(np.int64)
    return Maps(grid.n_pairs, first, run[new].astype(np.int32), values)


def box_widths_px(views: Views, voxel_um: tuple[float, float, float]) -> Array:
    """Widths (n, 2, 2) as of `footprint.widths_px`, of boxes that are seen by pixels as they are."""
    edges = np.sort(np.abs(views.matrix) * np.asarray(voxel_um), axis=2)
    widths = np.stack([edges[:, :, 2], np.hypot(edges[:, :, 0], edges[:, :, 1])], axis=2)
    return np.maximum(widths, _LEAST_PX)


def normal_numbers(n_scanned: int) -> Image:
    """The pool that `add_noise` takes from; the same on every rank."""
    return np.random.default_rng(0).standard_normal(_POOL + n_scanned, dtype=np.float32)


def add_noise(light: Image, pixels: NDArray[np.int64], omega: int, dark: Dark, pool: Image) -> None:
    """Turn expected light (n_rows, n_scanned) into counts with noise, in place.

    The noise of a value follows from omega and the number of its pixel, whichever rank works it out, and is a
    continuous function of the light, so that a rounding error stays one.
    """
    numbers = map(np.float32, (dark.level, math.sqrt(dark.variance), dark.gain))
    _add_noise(light, pixels, omega, pool, *numbers, dark.floor > 0.0)


@kernel()
def _add_noise(light, pixels, omega, pool, level, sigma, gain, is_cut):  # type: ignore[no-untyped-def]
    """See `add_noise`. Photon noise is that of a squared normal number, mean and variance the photons.

    That of the dark is normal, and with the light cut at zero where that of the scan was.
    """
    for r in range(light.shape[0]):
        row = light[r]
        h = np.uint64(pixels[r]) * np.uint64(0x9E3779B97F4A7C15)
        h = h + np.uint64(omega) * np.uint64(0xC2B2AE3D27D4EB4F)
        h = (h ^ (h >> np.uint64(29))) * np.uint64(0xBF58476D1CE4E5B9)
        h = (h ^ (h >> np.uint64(32))) * np.uint64(0x94D049BB133111EB)
        h = h ^ (h >> np.uint64(29))
        photons, rest = np.int64(h & np.uint64(0xFFFF)), np.int64((h >> np.uint64(16)) & np.uint64(0xFFFF))
        for t in range(row.size):
            e, n = row[t] / gain, pool[photons + t]
            if e > _FEW:
                spread = e - np.sqrt(e * e - _HALF * e)
                n = np.sqrt(e - spread) + np.sqrt(spread) * n
                x = gain * n * n + level
            else:
                x = gain * e * n * n + level
            x += sigma * pool[rest + t]
            row[t] = max(x, _ZERO) if is_cut else x
