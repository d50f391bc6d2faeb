"""The pixels that a rank needs: read from dataarray.npy and transposed, a few omegas at a time.

A block of voxels projects to a box of the detector at each omega. Only those boxes are read, and each
pixel's tilts become contiguous on the way: no rank holds more of the array than it asked for, plus one
omega as it lies in the file.
"""

from __future__ import annotations

from types import TracebackType
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from ..parallel.partition import blocks_of_at_most
from ..physics.tilts import Interpolation
from ..projection import kernels
from ..projection.views import PixelSet
from .store import Scan

_TILE_BYTES = 2 << 20  # read before it is transposed; fits into the caches


class Bands:
    """Reads tilt maps of a scan. Use in `with`.

    omega_index (n,) are the omegas in use, numbered 0 .. n - 1 in what follows. turns, one per omega or
    none, take each map into the sample frame. Where binarize_above is a number, a map says where its
    values are above it (uint8). Positions that were not measured read as zero; `unknown` is what pixels
    read as that were not, and are no number in the array.
    """

    def __init__(
        self,
        scan: Scan,
        omega_index: NDArray[np.int64],
        turns: list[Interpolation] | None = None,
        binarize_above: float | None = None,
        unknown: float = 0.0,
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
        flat = np.empty((int(n_pixels.sum()), self.n_pairs), dtype=self.dtype)
        for k, number in enumerate(range(*part.indices(self.omega_index.size))):
            if n_pixels[k] > 0:
                self._load_omega(number, boxes[k], flat[first_row[k] : first_row[k] + n_pixels[k]])
        return PixelSet(flat, boxes, first_row)

    def _load_omega(self, number: int, box: NDArray[np.int64], rows: NDArray[Any]) -> None:
        """Fill rows (n_pixels, n_pairs) with one omega's pixels of the box (x0, y0, n_x, n_y)."""
        x0, y0, n_x, n_y = (int(v) for v in box)
        column_bytes = self.n_pairs * self.scan.shape[4] * self.scan.dtype.itemsize
        for columns in blocks_of_at_most(range(n_x), _TILE_BYTES // column_bytes):
            frames = self._read(self.omega_index[number], x0 + columns.start, len(columns))
            self._convert(frames, number, y0, n_y, rows[columns.start * n_y : columns.stop * n_y])

    def _read(self, omega: int, x0: int, n_x: int) -> NDArray[Any]:
        """All tilts (n_pairs, n_x, n_y) of some columns of one omega; valid until the next call."""
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
        if frames.dtype.kind == "f" and not (known := np.isfinite(frames)).all():
            frames[~known] = self.unknown
        return frames

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
        """The sum (n_x, n_y) over the measured tilts of one omega."""
        return self.brightest_and_total(number, brightest=False)[1]

    def brightest_and_total(
        self, number: int, *, brightest: bool = True, total: bool = True
    ) -> tuple[NDArray[Any], NDArray[np.float32]]:
        """The largest value and the sum of each pixel (n_x, n_y) over the measured tilts of one omega.

        Zeros for what is not wanted. Of a pixel that is unknown at some tilts the sum is that of the others,
        scaled up; one that is at all of them is like the nearest that is not.
        """
        omega, shape = self.omega_index[number], self.scan.shape[3:]
        frame = np.empty(shape, dtype=self.scan.dtype)
        most, light = np.zeros(shape, dtype=self._native), np.zeros(shape, dtype=np.float32)
        n_unknown, places = np.zeros(shape, dtype=np.int64), np.argwhere(self.scan.measured[:, :, omega])
        for i, j in places.tolist():
            self._file.read_columns((i, j, omega), 0, frame)
            if frame.dtype.kind == "f" and not (known := np.isfinite(frame)).all():
                frame[~known] = 0
                n_unknown += ~known
            if total:
                light += frame
            if brightest:
                np.maximum(most, frame, out=most)
        if n_unknown.any():
            light *= len(places) / np.maximum(len(places) - n_unknown, 1).astype(np.float32)
            lost = n_unknown == len(places)
            nearest = tuple(ndimage.distance_transform_edt(lost, return_distances=False, return_indices=True))
            most, light = most[nearest], light[nearest]
        return most, light
