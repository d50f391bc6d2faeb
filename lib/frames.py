"""What is done to the pixels of a frame before they enter the array: pure functions of arrays."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .errors import Recon3DError

OUTPUT_DTYPES: dict[str, np.dtype[Any]] = {"uint16": np.dtype("<u2"), "float32": np.dtype("<f4")}


@dataclass(frozen=True)
class Roi:
    """Region of interest in detector pixels: columns x0 .. x0 + width, rows y0 .. y0 + height."""

    x0: int
    y0: int
    width: int
    height: int

    @classmethod
    def around(cls, poi: tuple[int, int], imgsize: tuple[int, int]) -> Roi:
        """The ROI of `imgsize` = (width, height) whose pixel (width // 2, height // 2) is `poi`."""
        return cls(poi[0] - imgsize[0] // 2, poi[1] - imgsize[1] // 2, *imgsize)

    def check_inside(self, shape_yx: tuple[int, int]) -> None:
        """Raise Recon3DError unless the ROI lies on a detector of `shape_yx` pixels."""
        if self.width < 1 or self.height < 1:
            raise Recon3DError("imgsize", f"{self.width},{self.height}: both sides must be at least 1 pixel")
        ends = (("x", self.x0, self.width, shape_yx[1]), ("y", self.y0, self.height, shape_yx[0]))
        for axis, start, length, available in ends:
            if start < 0 or start + length > available:
                raise Recon3DError(
                    "poi, imgsize",
                    f"the region of interest spans {axis} = {start}..{start + length - 1}, "
                    f"but the detector has pixels 0..{available - 1}; move poi or make imgsize smaller",
                )

    @property
    def shape_yx(self) -> tuple[int, int]:
        """Rows and columns, the shape of a cropped frame."""
        return self.height, self.width


@dataclass
class PixelCounts:
    """How many pixels were changed or are suspect; adds up over frames and ranks."""

    clipped_low: int = 0
    clipped_high: int = 0
    saturated: int = 0

    def __add__(self, other: PixelCounts) -> PixelCounts:
        return PixelCounts(
            self.clipped_low + other.clipped_low,
            self.clipped_high + other.clipped_high,
            self.saturated + other.saturated,
        )


def background_level(rows: NDArray[Any], statistic: str) -> NDArray[np.float64]:
    """Mean or median of the background frames (n, y, x), exact in float64."""
    return np.median(rows, axis=0) if statistic == "median" else rows.mean(axis=0, dtype=np.float64)


def subtract_background(frame: NDArray[Any], background: NDArray[np.float64] | None) -> NDArray[np.float64]:
    """`frame - background` in float64, both (y, x); None subtracts nothing."""
    return frame.astype(np.float64) if background is None else frame - background


def saturated_pixels(frame: NDArray[Any]) -> int:
    """Pixels of a raw integer frame that stand at the largest value of their type."""
    if frame.dtype.kind not in "ui":
        return 0
    return int(np.count_nonzero(frame == np.iinfo(frame.dtype).max))


def to_output(
    pixels: NDArray[np.float64], dtype: np.dtype[Any], *, clip: bool
) -> tuple[NDArray[Any], PixelCounts]:
    """Pixels as they are stored, with the count of those that were cut off.

    uint16 is rounded to the nearest integer and always clipped to 0 .. 65535; float32 is clipped
    at 0 unless `clip` is false.
    """
    if dtype.kind == "u":
        largest = np.iinfo(dtype).max
        rounded = np.rint(pixels)
        counts = PixelCounts(int(np.count_nonzero(rounded < 0)), int(np.count_nonzero(rounded > largest)))
        return np.clip(rounded, 0, largest).astype(dtype), counts
    if not clip:
        return pixels.astype(dtype), PixelCounts()
    return np.maximum(pixels, 0).astype(dtype), PixelCounts(int(np.count_nonzero(pixels < 0)))
