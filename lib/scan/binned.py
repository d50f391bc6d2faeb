"""The frames of an array summed, as they are read, over whole bins of pixels.

Where voxels are wider than pixels the single pixels say nothing more of them, and sums are a fraction of the
work.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..projection.kernels import sum_bins
from .above import Frames

_LEAST_KNOWN = 0.5  # of the pixels of a bin, from which the others are taken to be alike


def whole_bins(shape: tuple[int, int], bins: tuple[int, int]) -> tuple[tuple[int, int], tuple[int, int]]:
    """The number of bins (n_x, n_y) that fit into an image, and the pixel where the first of them begins.

    What is left over is left out on both sides alike.
    """
    n_x, n_y = shape[0] // bins[0], shape[1] // bins[1]
    return (n_x, n_y), ((shape[0] - n_x * bins[0]) // 2, (shape[1] - n_y * bins[1]) // 2)


def binned(image: NDArray[Any], bins: tuple[int, int]) -> NDArray[np.float32]:
    """An image (n_x, n_y) summed over bins of pixels.

    Of a bin that is known in part (the others are NaN) the sum is scaled up; NaN where that is too little.
    """
    (n_x, n_y), (x0, y0) = whole_bins((image.shape[0], image.shape[1]), bins)
    out = np.empty((n_x, n_y), dtype=np.float32)
    sum_bins(image[x0 : x0 + n_x * bins[0]], y0, bins, _LEAST_KNOWN, out)
    return out


class FramesBinned:
    """Frames whose pixels are sums over bins of those of others, of a shape (n_x, n_y) and type."""

    def __init__(
        self, frames: Frames, shape: tuple[int, int], dtype: np.dtype[Any], bins: tuple[int, int]
    ) -> None:
        self._frames, self._dtype, self._bins, self._n_y = frames, dtype, bins, shape[1]
        _, (self._x0, self._y0) = whole_bins(shape, bins)
        self._columns = np.empty((0, shape[1]), dtype=dtype)

    def __enter__(self) -> FramesBinned:
        self._frames.__enter__()
        return self

    def __exit__(self, kind: Any, error: Any, trace: Any) -> None:
        """Close the array."""
        self._frames.__exit__(kind, error, trace)

    def read_columns(self, index: tuple[int, ...], first_x: int, out: NDArray[Any]) -> None:
        """Fill `out` (x, n_y) with the sums of one position from column first_x of the bins on."""
        n = out.shape[0] * self._bins[0]
        if self._columns.shape[0] < n:
            self._columns = np.empty((n, self._n_y), dtype=self._dtype)
        columns = self._columns[:n]
        self._frames.read_columns(index, self._x0 + first_x * self._bins[0], columns)
        native = columns if columns.dtype.isnative else columns.astype(columns.dtype.newbyteorder("="))
        sum_bins(native, self._y0, self._bins, _LEAST_KNOWN, out)
