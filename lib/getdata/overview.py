"""What is kept of the frames while they pass, for a look at the scan before it is reconstructed.

Small pictures and sums only, so memory does not grow with the scan: the array is never read again.
Sums of integers are exact, so they do not depend on how the frames are shared among ranks.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..frames.pixels import OUTPUT_DTYPES
from ..parallel.communicator import Comm
from ..parallel.messages import add_up
from .headers import frame_name
from .plan import Plan
from .repeats import find_repeats
from .warnings import bright_frames, find_warnings, mean_over_tilts, name_bright, name_repeats, weak_current

_MOST_PIXELS = 1 << 20  # of all thumbnails together
_LARGEST_THUMBNAIL = 96
_SAMPLED_ROWS = 12  # of each frame, for its intensity and the histogram
_FRAMES_AT_ONCE = 32  # whose rows are looked at together, which is faster

HISTOGRAM_EDGES = np.unique(np.rint(2.0 ** (np.arange(0, 16 * 8 + 1) / 8))).astype(np.int64)
_BIN_OF_COUNT = np.searchsorted(HISTOGRAM_EDGES, np.arange(1 << 16), side="right").astype(np.uint8)

Array = NDArray[np.float64]


@dataclass
class Overview:
    """Sums over the frames that passed; `collect` adds those of all ranks.

    intensity : (n_cells,) counts per pixel of each frame, as stored, from some of its rows
    floor : (n_cells,) dark level of each frame, the median over some rows of their darkest pixel
    factors : (n_cells,) by which normalisation multiplied it
    tilt_sums : (n_omega, rows, columns) tilt-summed images, each pixel the sum over `shrink` x `shrink`
    profile_x, profile_y : (n_omega, w), (n_omega, h) tilt-summed and summed along y, along x
    montage : (n_pairs, rows, columns) the frames at omega number `montage_omega`, reduced
    histogram : pixels at HISTOGRAM_EDGES, below the first and above the last
    saturated : (n_omega,) pixels at the largest value of the file's type
    repeats : frames that are the same as an earlier one, number -> number of that
    """

    plan: Plan
    factors: Array
    shape_yx: tuple[int, int]
    montage_omega: int
    shrink: int
    montage_shrink: int
    intensity: Array
    floor: Array
    tilt_sums: Array
    profile_x: Array
    profile_y: Array
    montage: Array
    histogram: NDArray[np.int64]
    saturated: NDArray[np.int64]
    _sum: NDArray[Any] = field(repr=False)
    _rows: NDArray[Any] = field(repr=False)  # of the last frames, not yet looked at
    _numbers: list[int] = field(repr=False)  # of these frames
    _omegas: list[int] = field(repr=False)
    _pairs: list[int] = field(repr=False)
    _current: int = -1
    repeats: dict[int, int] = field(default_factory=dict)

    @classmethod
    def of(cls, plan: Plan, factors: Array | None, binning: int, dtype: str) -> Overview:
        """An empty overview of the scan, for frames of stored pixels of `dtype`."""
        n_omega, n_pairs = plan.grid.shape[2], plan.grid.shape[0] * plan.grid.shape[1]
        height, width = plan.roi.height // binning, plan.roi.width // binning
        shrink = _shrink(n_omega, height, width)
        montage_shrink = _shrink(n_pairs, height, width)
        small = (n_omega, -(-height // shrink), -(-width // shrink))
        mosaic = (n_pairs, -(-height // montage_shrink), -(-width // montage_shrink))
        return cls(
            plan=plan,
            factors=np.ones(plan.cells.size) if factors is None else factors,
            shape_yx=(height, width),
            montage_omega=_typical_omega(plan),
            shrink=shrink,
            montage_shrink=montage_shrink,
            intensity=np.zeros(plan.cells.size),
            floor=np.zeros(plan.cells.size),
            tilt_sums=np.zeros(small),
            profile_x=np.zeros((n_omega, width)),
            profile_y=np.zeros((n_omega, height)),
            montage=np.zeros(mosaic),
            histogram=np.zeros(HISTOGRAM_EDGES.size + 1, dtype=np.int64),
            saturated=np.zeros(n_omega, dtype=np.int64),
            _sum=np.zeros((width, height), np.uint32 if dtype == "uint16" else np.float64).T,
            _rows=np.empty(
                (_FRAMES_AT_ONCE, len(range(0, height, _every(height))), width), OUTPUT_DTYPES[dtype]
            ),
            _numbers=[],
            _omegas=plan.omega_of_cell.tolist(),
            _pairs=plan.pair_of_cell.tolist(),
        )

    def add(self, number: int, pixels: NDArray[Any], n_saturated: int = 0) -> None:
        """Take note of measured position `number`, whose stored pixels (x, y) these are."""
        pixels = pixels.T
        self._rows[len(self._numbers)] = pixels[:: _every(pixels.shape[0])]
        self._numbers.append(number)
        if len(self._numbers) == _FRAMES_AT_ONCE:
            self._measure_rows()
        k = self._omegas[number]
        if k != self._current:
            self._close_omega()
            self._current = k
        if pixels.dtype.kind == "f":  # NaN was not measured: dark in the pictures, not in the mean
            pixels = np.nan_to_num(pixels, nan=0.0)
        np.add(self._sum, pixels, out=self._sum)
        self.saturated[k] += n_saturated
        if k == self.montage_omega:
            self.montage[self._pairs[number]] = block_sums(pixels, self.montage_shrink)

    def _measure_rows(self) -> None:
        """Intensity, dark level and histogram of the last frames, by their rows."""
        rows, numbers = self._rows[: len(self._numbers)], self._numbers
        darkest = np.fmin.reduce(rows, axis=2)
        counts = rows.reshape(len(rows), int(np.prod(rows.shape[1:])))
        if rows.dtype.kind == "f":
            known = np.isfinite(counts)
            total, n_known = np.where(known, counts, 0.0).sum(axis=1, dtype=np.float64), known.sum(axis=1)
            self.intensity[numbers] = total / np.maximum(n_known, 1)
            self.floor[numbers] = [_median_of_known(values) for values in darkest]
            counts = counts[known]
        else:
            self.intensity[numbers] = counts.mean(axis=1, dtype=np.float64)
            self.floor[numbers] = np.median(darkest, axis=1)
        self.histogram += np.bincount(
            _BIN_OF_COUNT[_as_uint16(counts)].ravel(), minlength=self.histogram.size
        )
        self._numbers = []

    def _close_omega(self) -> None:
        """Move the sum of the frames of one omega to where it belongs."""
        k = self._current
        if k < 0:
            return
        whole = self._sum.astype(np.float64)
        self.tilt_sums[k] += block_sums(whole, self.shrink)
        self.profile_x[k] += whole.sum(axis=0)
        self.profile_y[k] += whole.sum(axis=1)
        self._sum[:] = 0

    def collect(self, comm: Comm, signatures: NDArray[np.uint64] | None = None) -> None:
        """Add what the other ranks saw; signatures are those of this rank's frames. Collective."""
        self._measure_rows()
        self._close_omega()
        self._current = -1
        for name in (
            "intensity", "floor", "tilt_sums", "profile_x", "profile_y", "montage", "histogram", "saturated"
        ):  # fmt: skip
            setattr(self, name, add_up(comm, getattr(self, name)))
        if signatures is not None:
            self.repeats = find_repeats(add_up(comm, signatures))

    def intensity_per_omega(self) -> tuple[Array, Array]:
        """Mean counts per pixel (n_omega,) before and after normalisation; NaN where nothing is."""
        omega, n_omega = self.plan.omega_of_cell, self.plan.grid.shape[2]
        n_frames = np.bincount(omega, minlength=n_omega)
        before, after = (
            np.bincount(omega, weights=w, minlength=n_omega) / np.where(n_frames, n_frames, np.nan)
            for w in (self.intensity / self.factors, self.intensity)
        )
        return before, after

    def tilt_means(self) -> Array:
        """Tilt-summed images (n_omega, rows, columns) per detector pixel, so that rims count in full."""
        pixels = block_sums(np.ones(self.shape_yx), self.shrink)
        return self.tilt_sums / pixels

    def montage_means(self) -> Array:
        """The frames at the omega of the montage (n_pairs, rows, columns), per detector pixel."""
        return self.montage / block_sums(np.ones(self.shape_yx), self.montage_shrink)

    def table(self) -> Array:
        """Intensity of every frame before normalisation (n_pairs, n_omega), NaN where there is none."""
        return self._on_grid(self.intensity / self.factors)

    def _on_grid(self, values: Array) -> Array:
        """Values of the measured positions as (n_pairs, n_omega), NaN elsewhere."""
        shape = self.plan.grid.shape
        table = np.full((shape[0] * shape[1], shape[2]), np.nan)
        table.flat[self.plan.cells] = values
        return table

    def bright(self) -> NDArray[np.bool_]:
        """Frames (n_pairs, n_omega) that are far brighter than those around them."""
        shape = self.plan.grid.shape
        floor = self._on_grid(self.floor / self.factors)
        found = bright_frames(self.table().reshape(shape), floor.reshape(shape))
        return found.reshape(floor.shape)

    def repeated(self) -> NDArray[np.bool_]:
        """Frames (n_pairs, n_omega) that are the same as another one."""
        cells = np.zeros(self.plan.cells.size, dtype=bool)
        cells[
            [n for n, frames in enumerate(self.plan.frames_of_cell) if self.repeats.keys() & set(frames)]
        ] = 1
        found = np.zeros((self.montage.shape[0], self.plan.grid.shape[2]), dtype=bool)
        found.flat[self.plan.cells] = cells
        return found

    def warnings(self) -> list[str]:
        """What is suspicious about the scan."""
        omega_deg, table, bright = self.plan.grid.axes[2].positions, self.table(), self.bright()
        names = [frame_name(self.plan.frames[frames[0]]) for frames in self.plan.frames_of_cell]
        found = name_bright(omega_deg, bright, np.flatnonzero(bright.flat[self.plan.cells]), names)
        found += name_repeats(omega_deg, self.repeated(), self.repeats, self.plan.frames)
        table = np.where(bright, np.nan, table)  # they have been named; the others are judged without them
        before = mean_over_tilts(table)
        found += find_warnings(omega_deg, self.tilt_means(), before, table, self.saturated)
        return found + weak_current(self.plan.frames)


def _shrink(n_images: int, height: int, width: int) -> int:
    """By how much n images must be reduced so that all of them stay small."""
    shrink = -(-max(height, width) // _LARGEST_THUMBNAIL)
    while n_images * (height // shrink) * (width // shrink) > _MOST_PIXELS and shrink < max(height, width):
        shrink += 1
    return shrink


def _every(height: int) -> int:
    """One row in so many is sampled."""
    return max(1, height // _SAMPLED_ROWS)


def _as_uint16(counts: NDArray[Any]) -> NDArray[np.uint16]:
    """Counts of any type, those beyond the ends of uint16 at its ends; none of them NaN."""
    if counts.dtype == np.uint16:
        return counts
    top = _BIN_OF_COUNT.size - 1
    if counts.dtype.kind in "ui":  # a limit that does not fit into the type is an error to NumPy 2.0
        top = min(top, np.iinfo(counts.dtype).max)
    return np.clip(counts, 0, top).astype(np.uint16)


def _median_of_known(values: NDArray[Any]) -> float:
    known = values[np.isfinite(values)]
    return float(np.median(known)) if known.size else np.nan


def _typical_omega(plan: Plan) -> int:
    """The omega with the most frames; of several the one nearest the middle."""
    counts = np.bincount(plan.omega_of_cell, minlength=plan.grid.shape[2])
    full = np.flatnonzero(counts == counts.max())
    return int(full[np.argmin(np.abs(full - counts.size // 2))])


def block_sums(image: NDArray[Any], n: int) -> Array:
    """Sums over n x n pixels; the last blocks may be smaller.

    >>> block_sums(np.ones((3, 4)), 2).tolist()
    [[4.0, 4.0], [2.0, 2.0]]
    """
    if image.flags.f_contiguous and not image.flags.c_contiguous:  # whole lines of memory first: faster
        return block_sums(image.T, n).T
    rows = np.add.reduceat(image.astype(np.float64, copy=False), np.arange(0, image.shape[0], n), axis=0)
    return np.asarray(np.add.reduceat(rows, np.arange(0, image.shape[1], n), axis=1))
