"""The pixels that a rank needs: read from dataarray.npy and transposed, a few omegas at a time.

A block of voxels projects to a box of the detector at each omega. Only those boxes are read, and each
pixel's tilts become contiguous on the way: no rank holds more of the array than it asked for, plus one
omega as it lies in the file.
"""

from __future__ import annotations

from types import TracebackType
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from ..parallel.partition import blocks_of_at_most
from ..physics.tilts import Interpolation
from ..projection import kernels
from ..projection.views import PixelSet
from .store import Scan

_TILE_BYTES = 4 << 20  # read before it is transposed; in fewer bytes the calls cost more than the caches give
_LEAST_KNOWN = 0.1  # of a weighted sum

Marks = NDArray[np.bool_] | None  # of what is unknown; None for nothing


class OverTilts(NamedTuple):
    """The pixels (n_x, n_y) of an omega over its measured tilts: the largest value, and the sum.

    Of a pixel that is unknown at some tilts, n_unknown of them, the sum is that of the others, scaled up; one
    that is at all of them has zero for the largest value and NaN for the sum. n_unknown is None where all
    pixels are known.
    """

    most: NDArray[Any]
    total: NDArray[np.float32]
    n_unknown: NDArray[np.uint16] | None = None


class Bands:
    """Reads tilt maps of a scan. Use in `with`.

    omega_index (n,) are the omegas in use, numbered 0 .. n - 1 in what follows. turns, one per omega or
    none, take each map into the sample frame. Where binarize_above is a number, a map says where its
    values are above it (uint8). Positions that were not measured read as zero, with a mark, and so do pixels
    that are no number in the array. Where `unknown` is NaN, nothing is marked and these pixels are NaN.
    """

    def __init__(
        self,
        scan: Scan,
        omega_index: NDArray[np.int64],
        turns: list[Interpolation] | None = None,
        binarize_above: float | None = None,
        unknown: float = 0.0,
        *,
        reuse: bool = False,
    ) -> None:
        self.scan = scan
        self.omega_index = omega_index
        self.turns = turns or []
        self.binarize_above = binarize_above
        self.unknown = unknown
        self.n_pairs = scan.shape[0] * scan.shape[1]
        self._native = scan.dtype.newbyteorder("=")
        self._file = scan.open()
        self._tile = np.empty(0, dtype=scan.dtype)
        self._flat = np.empty(0, dtype=self.dtype) if reuse else None

    def __enter__(self) -> Bands:
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._file.__exit__(kind, error, trace)

    @property
    def dtype(self) -> np.dtype[Any]:
        """Type of the values that `load` gives."""
        if self.binarize_above is not None:
            return np.dtype(np.uint8)
        return np.dtype(np.float32) if self.turns else self._native

    def load(self, part: slice, boxes: NDArray[np.int64]) -> PixelSet:
        """The maps of the pixels in the boxes (n, 4) of the omegas `part`, one omega after the other."""
        n_pixels = boxes[:, 2] * boxes[:, 3]
        first_row = np.concatenate([[0], np.cumsum(n_pixels)[:-1]]).astype(np.int64)
        flat = self._room(int(n_pixels.sum()))
        unknown: Marks = None
        for k, number in enumerate(range(*part.indices(self.omega_index.size))):
            if n_pixels[k] > 0:
                rows = slice(first_row[k], first_row[k] + n_pixels[k])
                for place, marks in self._load_omega(number, boxes[k], flat[rows]):
                    unknown = np.zeros(flat.shape, dtype=np.bool_) if unknown is None else unknown
                    unknown[rows][place] = marks
        return PixelSet(flat, boxes, first_row, unknown)

    def _room(self, n_pixels: int) -> NDArray[Any]:
        n_values = n_pixels * self.n_pairs
        if self._flat is None:
            return np.empty((n_pixels, self.n_pairs), dtype=self.dtype)
        if self._flat.size < n_values:
            self._flat = np.empty(n_values, dtype=self.dtype)
        return self._flat[:n_values].reshape(n_pixels, self.n_pairs)

    def _load_omega(
        self, number: int, box: NDArray[np.int64], rows: NDArray[Any]
    ) -> list[tuple[slice, NDArray[np.bool_]]]:
        """Fill rows (n_pixels, n_pairs) with one omega's pixels of the box (x0, y0, n_x, n_y).

        Returns which of them are unknown, by parts of the rows, where any are and read as zero.
        """
        x0, y0, n_x, n_y = (int(v) for v in box)
        column_bytes = self.n_pairs * self.scan.shape[4] * self.scan.dtype.itemsize
        marked = []
        for columns in blocks_of_at_most(range(n_x), _TILE_BYTES // column_bytes):
            frames, lost = self._read(self.omega_index[number], x0 + columns.start, len(columns))
            place = slice(columns.start * n_y, columns.stop * n_y)
            self._convert(frames, number, y0, n_y, rows[place])
            if lost is not None:
                marks = lost[:, :, y0 : y0 + n_y].reshape(self.n_pairs, -1).T
                marks = self.turns[number].leans_on(marks) if self.turns else marks
                rows[place][marks] = 0
                marked.append((place, marks))
        return marked

    def _read(self, omega: int, x0: int, n_x: int) -> tuple[NDArray[Any], Marks]:
        """All tilts (n_pairs, n_x, n_y) of some columns of one omega, valid until the next call.

        And which of the values are unknown and read as zero, if any are.
        """
        shape = (self.n_pairs, n_x, self.scan.shape[4])
        if self._tile.size < np.prod(shape):
            self._tile = np.empty(int(np.prod(shape)), dtype=self.scan.dtype)
        frames = self._tile[: np.prod(shape)].reshape(shape)
        n_2 = self.scan.shape[1]
        measured = self.scan.measured[:, :, omega].ravel()
        for s in range(self.n_pairs):
            if measured[s]:
                self._file.read_columns((s // n_2, s % n_2, omega), x0, frames[s])
            else:
                frames[s] = 0
        frames = frames if frames.dtype.isnative else frames.astype(self._native)
        lost: Marks = None
        if frames.dtype.kind == "f" and not (known := np.isfinite(frames)).all():
            lost = ~known
            frames[lost] = self.unknown
        if np.isnan(self.unknown):
            return frames, None
        if not measured.all():
            lost = np.zeros(shape, dtype=np.bool_) if lost is None else lost
            lost[~measured] = True
        return frames, lost

    def _convert(self, frames: NDArray[Any], number: int, y0: int, n_y: int, rows: NDArray[Any]) -> None:
        """Frames (n_pairs, n_x, n_y_all) to rows (n_x * n_y, n_pairs) as `load` gives them."""
        if not self.turns and self.binarize_above is None:
            kernels.transpose_frames(frames, y0, n_y, rows)
            return
        values = np.empty(rows.shape, dtype=self._native)
        kernels.transpose_frames(frames, y0, n_y, values)
        if self.turns:
            turned = rows if rows.dtype == np.float32 else np.empty(rows.shape, dtype=np.float32)
            kernels.interpolate_pairs(values, self.turns[number].index, self.turns[number].weight, turned)
            values = turned
        if self.binarize_above is not None:
            rows[:] = values > self.binarize_above

    def total(self, number: int) -> NDArray[np.float32]:
        """The sum (n_x, n_y) over the measured tilts of one omega, NaN where a pixel is unknown at all."""
        return self.over_tilts(number).total

    def over_tilts(self, number: int) -> OverTilts:
        """The largest value and the sum of each pixel over the measured tilts of one omega."""
        omega, shape = self.omega_index[number], self.scan.shape[3:]
        frame = np.empty(shape, dtype=self.scan.dtype)
        most, light = np.zeros(shape, dtype=self._native), np.zeros(shape, dtype=np.float32)
        n_unknown, places = np.zeros(shape, dtype=np.uint16), np.argwhere(self.scan.measured[:, :, omega])
        for i, j in places.tolist():
            self._file.read_columns((i, j, omega), 0, frame)
            values = frame.astype(self._native, copy=False)
            kernels.add_frame(values.ravel(), light.ravel(), most.ravel(), n_unknown.ravel())
        if n_unknown.any():
            n_known = (len(places) - n_unknown).astype(np.float32)
            light *= len(places) / np.where(n_known > 0, n_known, np.float32(np.nan))
            return OverTilts(most, light, n_unknown)
        return OverTilts(most, light)

    def weighted(self, number: int, weights: NDArray[np.float64]) -> NDArray[np.float32]:
        """The weighted sum (n_x, n_y) over the tilts (n_tilt1, n_tilt2) of one omega that were measured.

        Of a pixel that is unknown at some of them the sum is scaled up; NaN where that is too much.
        """
        frame = np.empty(self.scan.shape[3:], dtype=self.scan.dtype)
        light, known = np.zeros((2, *frame.shape), dtype=np.float32)
        for i, j in np.argwhere(self.scan.measured[:, :, self.omega_index[number]]).tolist():
            self._file.read_columns((i, j, self.omega_index[number]), 0, frame)
            there = np.isfinite(frame) if frame.dtype.kind == "f" else np.ones(frame.shape, dtype=np.bool_)
            light += np.float32(weights[i, j]) * np.where(there, frame, 0)
            known += np.float32(weights[i, j]) * there
        share = known / np.float32(weights.sum())
        return np.divide(light, share, out=np.full_like(light, np.nan), where=share > _LEAST_KNOWN)


def filled_in(image: NDArray[np.float32]) -> NDArray[np.float32]:
    """An image (n_x, n_y) with the nearest pixel that is known for those that are NaN; zero without any."""
    lost = np.isnan(image)
    if not lost.any():
        return image
    if lost.all():
        return np.zeros_like(image)
    nearest = ndimage.distance_transform_edt(lost, return_distances=False, return_indices=True)
    return image[tuple(nearest)]
