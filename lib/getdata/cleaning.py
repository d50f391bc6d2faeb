"""Cleaning of frames: hot pixels, normalisation, rebinning, threshold and spot mask (pure arrays).

What the users of 2017 did by hand. Each step is a function of one frame (y, x) that also says how
much it changed; `lib/pipeline.py` applies those that were asked for, in the order of this page.
scipy.ndimage is imported where it is used: it takes longer to load than a short scan to read.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from ..errors import Recon3DError

Frame = NDArray[np.float64]

NORMALIZATIONS = ("none", "current", "integral")
_LARGEST_FACTOR = 20.0  # of a normalisation; beyond it there was no beam
_FAR_DARKER = 0.1  # of the next darker frame of the same omega
_FEW_WITHOUT_BEAM = 2  # at one omega, that only their darkness tells
_DISK = np.array([[0, 1, 0], [1, 1, 1], [0, 1, 0]], dtype=bool)  # radius 1
_NEIGHBOURS = np.ones((3, 3), dtype=bool)  # pixels that touch at a corner are one region


def darkest_frames(sums: NDArray[np.float64], count: int = 2) -> NDArray[np.int64]:
    """Which `count` frames of one omega have the least intensity, by their sums (n_frames,), ascending.

    >>> darkest_frames(np.array([5.0, 1.0, 9.0, 2.0])).tolist()
    [1, 3]
    """
    return np.sort(np.argsort(sums, kind="stable")[:count])


def with_beam(
    sums: NDArray[np.float64], omegas: NDArray[np.int64], has_current: NDArray[np.bool_]
) -> NDArray[np.bool_]:
    """Which frames (n_frames,) were taken with beam: the darkest of the others are the background.

    sums are their intensities, omegas the number of the omega of each. A frame without ring current
    had no beam, if others have one; nor had the few of an omega that are far darker than all others of it.

    >>> with_beam(np.array([9.0, 8, 0, 8, 30]), np.zeros(5, int), np.ones(5, bool)).tolist()
    [True, True, False, True, True]
    """
    lit = has_current.copy() if has_current.any() else np.ones(sums.size, dtype=bool)
    for k in np.unique(omegas[lit]):
        own = np.flatnonzero((omegas == k) & lit)
        order = own[np.argsort(sums[own], kind="stable")]
        for i in range(min(own.size - 3, _FEW_WITHOUT_BEAM)):
            if sums[order[i]] < _FAR_DARKER * sums[order[i + 1]]:
                lit[order[: i + 1]] = False
    return lit


def remove_hot_pixels(frame: Frame, sigma: float) -> tuple[Frame, int]:
    """Replace pixels that exceed the median of their 3 x 3 neighbourhood by more than `sigma` deviations.

    The deviation expected of a pixel is that of photons, sqrt(median), and of the detector together;
    the latter is estimated from the frame, as 1.4826 times the median absolute difference from the
    local median. Where three or more of the nine pixels stand out it is the corner of a spot, not hot.
    Returns the frame and the number of pixels replaced (by the local median). NaN stays, and counts
    as the median of the frame to its neighbours.
    """
    from scipy import ndimage

    unknown = np.isnan(frame)
    if unknown.all():
        return frame, 0
    if unknown.any():
        filled, count = remove_hot_pixels(np.where(unknown, np.nanmedian(frame), frame), sigma)
        return np.where(unknown, np.nan, filled), count
    median = ndimage.median_filter(frame, 3, mode="nearest")
    third = ndimage.rank_filter(frame, -3, size=3, mode="nearest")
    noise = 1.4826 * np.median(np.abs(frame - median))
    limit = median + sigma * np.sqrt(noise**2 + np.maximum(median, 1.0))
    hot = (frame > limit) & (third <= limit)
    count = int(np.count_nonzero(hot))
    return (np.where(hot, median, frame), count) if count else (frame, 0)


def current_factors(currents_ma: Sequence[float | None]) -> NDArray[np.float64]:
    """Factors (n_frames,) that bring every frame to the mean ring current of all.

    >>> current_factors([100.0, 200.0]).tolist()
    [1.5, 0.75]
    """
    values = np.array([np.nan if c is None else c for c in currents_ma], dtype=np.float64)
    unknown = np.flatnonzero(~(values > 0))
    if unknown.size:
        raise Recon3DError(
            "--normalize current",
            f"{unknown.size} of {values.size} frames have no ring current in the header (counter srcur); "
            "use --normalize integral or none",
        )
    return values.mean() / values


def integral_factors(sums: NDArray[np.float64], measured: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Factors (n_omega,) that bring every omega to the same intensity, tilts summed.

    Parameters
    ----------
    sums : array (n_pairs, n_omega)
        Intensity of every frame, 0 where there is none.
    measured : array (n_pairs, n_omega) of bool
        Where there is one.

    Each omega is compared with the mean over the omegas *of the tilt pairs it has*, so that missing
    frames do not make it brighter. Valid only while the whole grain stays in the ROI.

    >>> integral_factors(np.array([[1.0, 2.0], [3.0, 6.0]]), np.ones((2, 2), bool)).tolist()
    [1.5, 0.75]
    """
    mean = sums.sum(axis=1) / np.maximum(measured.sum(axis=1), 1)
    expected = (measured * mean[:, None]).sum(axis=0)
    present = measured.any(axis=0)
    total = sums.sum(axis=0)
    weak = np.flatnonzero(present & (total * _LARGEST_FACTOR < expected))
    if weak.size:
        raise Recon3DError(
            "--normalize integral",
            f"at {weak.size} omegas, first number {weak[0]}, there is under 1/{_LARGEST_FACTOR:.0f} of "
            "the usual intensity (no beam?); leave these frames out, or use --normalize current or none",
        )
    return np.divide(expected, total, out=np.ones_like(expected), where=present & (total != 0))


def rebin(frame: Frame, n: int) -> Frame:
    """Mean of n x n pixels (of those that are known), so that counts keep their meaning.

    Sides must be multiples of n.

    >>> rebin(np.arange(16.0).reshape(4, 4), 2).tolist()
    [[2.5, 4.5], [10.5, 12.5]]
    """
    height, width = frame.shape
    blocks = frame.reshape(height // n, n, width // n, n)
    known = ~np.isnan(blocks)
    if known.all():
        return blocks.mean(axis=(1, 3))
    n_known = known.sum(axis=(1, 3))
    total = np.where(known, blocks, 0.0).sum(axis=(1, 3))
    return np.divide(total, n_known, out=np.full(total.shape, np.nan), where=n_known > 0)


def apply_threshold(frame: Frame, threshold: float) -> tuple[Frame, int]:
    """Set pixels below `threshold` counts to 0; returns the frame and how many pixels lost intensity."""
    return _keep(frame, frame >= threshold)


def spot_mask(frame: Frame, threshold: float, min_area: int) -> tuple[NDArray[np.bool_], int]:
    """The diffraction spots of a frame: the mask, and how many regions were too small to count.

    Pixels of at least `threshold` counts, holes filled, closed with a disk of radius 1, without
    regions under `min_area` pixels.
    """
    from scipy import ndimage

    lit = ndimage.binary_fill_holes(frame >= threshold)
    closed = ndimage.binary_closing(np.pad(lit, 1), _DISK)[1:-1, 1:-1]  # the edge of the frame is no wall
    regions, n_regions = ndimage.label(closed, _NEIGHBOURS)
    large = np.bincount(regions.ravel(), minlength=n_regions + 1) >= min_area
    large[0] = False  # what is outside all regions
    return large[regions], n_regions - int(np.count_nonzero(large))


def apply_spot_mask(frame: Frame, threshold: float, min_area: int) -> tuple[Frame, int, int]:
    """Keep the spots only; returns the frame, the pixels that lost intensity, the regions dropped."""
    mask, n_dropped = spot_mask(frame, threshold, min_area)
    kept, n_zeroed = _keep(frame, mask)
    return kept, n_zeroed, n_dropped


def _keep(frame: Frame, mask: NDArray[np.bool_]) -> tuple[Frame, int]:
    mask = mask | np.isnan(frame)  # what was not measured is not dark either
    return np.where(mask, frame, 0.0), int(np.count_nonzero(~mask & (frame != 0)))
