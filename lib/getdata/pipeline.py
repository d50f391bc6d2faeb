"""From the frames of one position to the pixels that are stored: read, clean, round.

The order of the steps: mean of duplicates, background, hot pixels, normalisation, rebinning,
threshold or spot mask, rounding. One frame at a time; buffers are reused.
"""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from ..frames.pixels import (
    OUTPUT_DTYPES,
    PixelCounts,
    RoundedBackground,
    mask_unmeasured,
    saturated_pixels,
    subtract_background,
    to_output,
)
from ..frames.sources import RoiReader
from .cleaning import apply_spot_mask, apply_threshold, rebin, remove_hot_pixels
from .parameters import GetdataParameters
from .plan import Plan
from .repeats import signature


class Background(Protocol):
    """What is subtracted from the frames of one omega."""

    def of_omega(self, k: int) -> NDArray[np.float64] | None:
        """Counts (y, x), or None for nothing; the same object as long as it does not change."""


class PositionReader:
    """Reads the frames of a position; counts the saturated pixels. NaN is a pixel that was not measured.

    With `sign`, keeps the signature of every frame (n_frames,) that it has read.
    """

    def __init__(self, plan: Plan, *, sign: bool = False) -> None:
        self.plan = plan
        self.signatures = np.zeros(len(plan.frames), np.uint64) if sign else None
        self._reader = RoiReader(plan.roi)

    def read(self, number: int) -> tuple[NDArray[Any], int]:
        """Pixels (y, x) of measured position `number`, valid until the next call, and those saturated.

        They are in the type of the file; float64 where several frames are averaged, or some pixels are
        no counts.
        """
        frames = self.plan.frames_of_cell[number]
        raw = self._read_frame(frames[0])
        n_saturated = saturated_pixels(raw)
        if len(frames) == 1:
            return mask_unmeasured(raw), n_saturated
        total, n_known = np.zeros(raw.shape), np.zeros(raw.shape)
        for number_of_frame, i in enumerate(frames):
            if number_of_frame:
                raw = self._read_frame(i)
                n_saturated += saturated_pixels(raw)
            pixels = mask_unmeasured(raw)
            known = np.isfinite(pixels)
            total += np.where(known, pixels, 0.0)
            n_known += known
        return np.divide(total, n_known, out=np.full(raw.shape, np.nan), where=n_known > 0), n_saturated

    def _read_frame(self, i: int) -> NDArray[Any]:
        raw = self._reader.read(self.plan.frames[i])
        if self.signatures is not None:
            self.signatures[i] = signature(raw)
        return raw


class Pipeline:
    """Makes the stored pixels of one position after the other, and counts what it changed."""

    def __init__(
        self,
        params: GetdataParameters,
        plan: Plan,
        background: Background,
        factors: NDArray[np.float64] | None = None,
    ) -> None:
        self.params = params
        self.factors = factors
        self.counts = PixelCounts()
        self.n_saturated = 0  # of the last position
        self.blank: list[int] = []  # positions whose frames are zero in every pixel
        self.lost: list[int] = []  # positions whose frames have no pixel that was measured
        self._reader = PositionReader(plan, sign=params.report)
        self._background = background
        self._omegas = plan.omega_of_cell.tolist()
        self._dtype = OUTPUT_DTYPES[params.dtype]
        self._plain = (
            params.dtype == "uint16"
            and params.bin == 1
            and factors is None
            and params.hot_pixels is None
            and params.threshold is None
        )
        self._rounded: tuple[object, RoundedBackground | None] = (None, None)
        self._out = np.empty((plan.roi.width, plan.roi.height), np.uint16)

    @property
    def signatures(self) -> NDArray[np.uint64] | None:
        """Of every frame (n_frames,) that was read, if there is to be a report."""
        return self._reader.signatures

    def stored(self, number: int) -> NDArray[Any]:
        """Pixels (x, y) of measured position `number` as stored, valid until the next call."""
        raw, self.n_saturated = self._reader.read(number)
        self.counts.saturated += self.n_saturated
        if not raw[0].any() and not raw.any():
            self.blank.append(number)
        if _is_lost(raw):
            self.lost.append(number)
            width, height = raw.shape[1] // self.params.bin, raw.shape[0] // self.params.bin
            return np.zeros((width, height), self._dtype)
        level = self._background.of_omega(self._omegas[number])
        if self._plain and raw.dtype == np.uint16:
            if level is None:
                return np.ascontiguousarray(raw.T)
            rounded = self._round(level)
            if rounded.fits:
                self.counts.clipped_low += rounded.subtract_turned(raw, self._out)
                return self._out
        pixels, counts = to_output(
            self._finish(self._subtract(raw, level), number), self._dtype, clip=self.params.clip
        )
        self.counts += counts
        return np.ascontiguousarray(pixels.T)

    def integral(self, number: int) -> float:
        """Intensity of the position as far as normalisation counts it: background and hot pixels gone."""
        raw, _ = self._reader.read(number)
        if _is_lost(raw):
            return 0.0  # at this omega there may be no background
        level = self._background.of_omega(self._omegas[number])
        return float(np.nansum(self._subtract(raw, level, count=False)))

    def _round(self, level: NDArray[np.float64]) -> RoundedBackground:
        """The background prepared for integers; prepared again only when it changes."""
        known, rounded = self._rounded
        if rounded is None or known is not level:
            rounded = RoundedBackground(level)
            self._rounded = (level, rounded)
        return rounded

    def _subtract(
        self, raw: NDArray[Any], level: NDArray[np.float64] | None, *, count: bool = True
    ) -> NDArray[np.float64]:
        pixels = subtract_background(raw, level)
        if self.params.hot_pixels is not None:
            pixels, n_hot = remove_hot_pixels(pixels, self.params.hot_pixels)
            self.counts.hot += n_hot if count else 0
        return pixels

    def _finish(self, pixels: NDArray[np.float64], number: int) -> NDArray[np.float64]:
        params = self.params
        if self.factors is not None:
            pixels = pixels * self.factors[number]
        if params.bin > 1:
            pixels = rebin(pixels, params.bin)
        if params.threshold is None:
            return pixels
        if params.min_area is None:
            pixels, n_zeroed = apply_threshold(pixels, params.threshold)
        else:
            pixels, n_zeroed, n_dropped = apply_spot_mask(pixels, params.threshold, params.min_area)
            self.counts.regions_dropped += n_dropped
        self.counts.below_threshold += n_zeroed
        return pixels


def _is_lost(raw: NDArray[Any]) -> bool:
    """Whether no pixel was measured."""
    return raw.dtype.kind == "f" and bool(np.isnan(raw).all())
