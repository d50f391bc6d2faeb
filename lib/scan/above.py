"""The frames of an array as they are read: with its gaps, and above its dark level.

The level is taken off on reading, cut at zero where the array was.
"""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from ..physics.dark import DarkLevel


class Frames(Protocol):
    """An array on disk or in memory, as `store` reads it."""

    def __enter__(self) -> Frames:
        """Open."""

    def __exit__(self, kind: Any, error: Any, trace: Any) -> None:
        """Close."""

    def read_columns(self, index: tuple[int, ...], first_x: int, out: NDArray[Any]) -> None:
        """Fill `out` (x, n_y) with the pixels of one position from column first_x on."""


class FramesWithGaps:
    """Frames of integers as float32, NaN at pixels (n_x, n_y) that were not measured at all."""

    def __init__(self, frames: Frames, gaps: NDArray[np.bool_], dtype: np.dtype[Any]) -> None:
        self._frames, self._gaps, self._dtype = frames, gaps, dtype

    def __enter__(self) -> FramesWithGaps:
        self._frames.__enter__()
        return self

    def __exit__(self, kind: Any, error: Any, trace: Any) -> None:
        """Close the array."""
        self._frames.__exit__(kind, error, trace)

    def read_columns(self, index: tuple[int, ...], first_x: int, out: NDArray[Any]) -> None:
        """Fill `out` (x, n_y) with the counts of one position from column first_x on."""
        stored = np.empty(out.shape, dtype=self._dtype)
        self._frames.read_columns(index, first_x, stored)
        np.copyto(out, stored)
        np.copyto(out, np.nan, where=self._gaps[first_x : first_x + out.shape[0]])


class FramesAbove:
    """The frames of an array above its dark level."""

    def __init__(self, frames: Frames, level: DarkLevel) -> None:
        self._frames, self._level = frames, level
        self._omega, self._image = -1, np.empty((0, 0))

    def __enter__(self) -> FramesAbove:
        self._frames.__enter__()
        return self

    def __exit__(self, kind: Any, error: Any, trace: Any) -> None:
        """Close the array."""
        self._frames.__exit__(kind, error, trace)

    def read_columns(self, index: tuple[int, ...], first_x: int, out: NDArray[Any]) -> None:
        """Fill `out` (x, n_y) with the counts above the level of one position from column first_x on."""
        self._frames.read_columns(index, first_x, out)
        if index[2] != self._omega:
            self._omega, self._image = int(index[2]), self._level.at(int(index[2]), out.dtype)
        level = self._image[first_x : first_x + out.shape[0]]
        if not self._level.signed:
            if out.dtype.kind == "f" and np.fmin.reduce(out, axis=None) == -np.inf:
                np.copyto(out, np.nan, where=np.isneginf(out))  # it is no number, and would become zero
            np.maximum(out, level, out=out)
        np.subtract(out, level, out=out)
