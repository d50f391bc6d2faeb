"""What is done to the pixels of a frame before they enter the array: pure functions of arrays."""

from __future__ import annotations

from dataclasses import astuple, dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..errors import Recon3DError

OUTPUT_DTYPES: dict[str, np.dtype[Any]] = {
    "uint16": np.dtype("<u2"),
    "int16": np.dtype("<i2"),
    "float32": np.dtype("<f4"),
}


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


class FrameInfo(NamedTuple):
    """One frame of a file: where its pixels are and what its header says.

    path names the file that is read; number counts the frames in it (in an HDF5 file those of one image
    dataset, which `dataset` names). offset is the first byte of the pixels, None where they cannot be
    read in place (compressed files, HDF5). dtype is that of the file, with its byte order. unit is what
    the user knows it by where that is not the path: `file::entry`, whose pixels may lie in another file.
    n_under_header frames have one header together. A frame with a fault must not be read. The last frame
    of a unit knows how many more there should be, had the scan not been cut off (n_cut).
    """

    path: str
    number: int
    offset: int | None
    dtype: str
    shape_yx: tuple[int, int]
    ring_current_ma: float | None = None
    excess_bytes: int = 0
    dataset: str = ""
    unit: str = ""
    n_under_header: int = 1
    fault: str = ""
    n_cut: int = 0

    @property
    def name(self) -> str:
        """How a message names the frame."""
        unit = self.unit or self.path
        return f"{unit}[{self.number}]" if self.dataset or self.number else unit


@dataclass
class PixelCounts:
    """How many pixels were changed or are suspect; adds up over frames and ranks."""

    clipped_low: int = 0
    clipped_high: int = 0
    saturated: int = 0
    hot: int = 0
    below_threshold: int = 0
    regions_dropped: int = 0
    unmeasured: int = 0

    def __add__(self, other: PixelCounts) -> PixelCounts:
        return PixelCounts(*(a + b for a, b in zip(astuple(self), astuple(other), strict=True)))


def background_level(rows: NDArray[Any], statistic: str) -> NDArray[np.float64]:
    """Mean or median of the background frames (n, y, x), exact in float64; NaN is left out of both."""
    if rows.dtype.kind == "f" and np.isnan(rows).any():
        level = np.full(rows.shape[1:], np.nan)
        known = ~np.isnan(rows).all(axis=0)
        mean = np.nanmedian if statistic == "median" else np.nanmean
        level[known] = mean(rows[:, known].astype(np.float64), axis=0)
        return level
    return np.median(rows, axis=0) if statistic == "median" else rows.mean(axis=0, dtype=np.float64)


def subtract_background(frame: NDArray[Any], background: NDArray[np.float64] | None) -> NDArray[np.float64]:
    """`frame - background` in float64, both (y, x); None subtracts nothing."""
    return frame.astype(np.float64) if background is None else frame - background


class RoundedBackground:
    """The background (y, x) prepared for unsigned integer frames that are stored as uint16.

    `rint(frame - background)`, clipped at 0, is then integer arithmetic: subtract the background
    rounded down at one half, and where it ends in exactly one half drop the last bit, which is what
    rounding to even comes to.
    """

    def __init__(self, background: NDArray[np.float64]) -> None:
        lowest = np.nan_to_num(np.ceil(background - 0.5), nan=-1.0)
        self.fits = bool(lowest.min() >= 0 and lowest.max() <= np.iinfo(np.uint16).max)
        self._lowest = np.clip(lowest, 0, np.iinfo(np.uint16).max).astype(np.uint16)
        half = background - np.floor(background) == 0.5
        self._bits = np.where(half, 0xFFFE, 0xFFFF).astype(np.uint16) if half.any() else None
        self._difference = np.empty(background.shape, np.uint16)

    def subtract_turned(self, frame: NDArray[np.uint16], out: NDArray[np.uint16]) -> int:
        """Fill `out` (x, y) with the rounded, clipped difference of `frame` (y, x).

        Returns how many pixels were below 0.
        """
        difference = self._difference
        np.maximum(frame, self._lowest, out=difference)
        n_below = int(np.count_nonzero(difference != frame))
        np.subtract(difference, self._lowest, out=difference)
        if self._bits is not None:
            np.bitwise_and(difference, self._bits, out=difference)
        np.copyto(out, difference.T)
        return n_below


def mask_unmeasured(frame: NDArray[Any]) -> NDArray[Any]:
    """A raw frame with NaN where there is no count; the frame itself where there is one everywhere.

    No counts are NaN and infinities, and the largest value of unsigned types of 32 bits or more, which
    photon counting detectors write into gaps, dead pixels and those that overflow.
    """
    kind, n_bytes = frame.dtype.kind, frame.dtype.itemsize
    if kind == "f":
        bad = ~np.isfinite(frame)
    elif kind == "u" and n_bytes >= 4:
        bad = frame == np.iinfo(frame.dtype).max
    else:
        return frame
    return np.where(bad, np.nan, frame) if bad.any() else frame


def saturated_pixels(frame: NDArray[Any]) -> int:
    """Pixels of a raw integer frame that stand at the largest value of their type, and are counts."""
    if frame.dtype.kind not in "ui" or (frame.dtype.kind == "u" and frame.dtype.itemsize >= 4):
        return 0
    largest = np.iinfo(frame.dtype).max
    return int(np.count_nonzero(frame == largest)) if frame.size and frame.max() == largest else 0


def to_output(
    pixels: NDArray[np.float64], dtype: np.dtype[Any], *, clip: bool
) -> tuple[NDArray[Any], PixelCounts]:
    """Pixels as they are stored, with the count of those that were cut off.

    Integers are rounded to the nearest and clipped to what their type holds: uint16 to 0 .. 65535, int16
    to -32768 .. 32767, so that noise stays whole. float32 is clipped at 0 unless `clip` is false. NaN, a
    pixel that was not measured, stays NaN in float32 and becomes 0 in integers, which have no other place
    for it.
    """
    counts = PixelCounts(unmeasured=int(np.count_nonzero(np.isnan(pixels))))
    if dtype.kind in "ui":
        lowest, largest = np.iinfo(dtype).min, np.iinfo(dtype).max
        rounded = np.rint(np.nan_to_num(pixels) if counts.unmeasured else pixels)
        counts.clipped_low = int(np.count_nonzero(rounded < lowest))
        counts.clipped_high = int(np.count_nonzero(rounded > largest))
        return np.clip(rounded, lowest, largest).astype(dtype), counts
    if not clip:
        return pixels.astype(dtype), counts
    counts.clipped_low = int(np.count_nonzero(pixels < 0))
    return np.maximum(pixels, 0).astype(dtype), counts
