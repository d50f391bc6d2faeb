"""What is suspicious about a scan, in plain words, from the small pictures of its overview (pure)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ..frames.pixels import FrameInfo
from .headers import frame_name

Array = NDArray[np.float64]

_SIDES = ("left", "right", "first rows", "last rows")  # of the ROI: x = 0, x = w - 1, y = 0, y = h - 1
_EDGE_NOISE, _EDGE_SHARE = 10.0, 0.15  # how bright an edge must be: in spreads of the dark, and of the peak
_SMALLEST = 8  # pixels; smaller pictures are all edge
_WINDOW = 9  # omegas that count as neighbours
_WEAK, _STRONG = 0.5, 1.6  # of the intensity of the neighbours
_DARK_FRAME, _DARK_SCATTER = 0.15, 6.0  # of the intensity around; and in usual deviations from it
_BRIGHT_FRAME, _BRIGHT_SHARE = 3.0, 0.15  # times the brightest of those around; of the usual peak at least
_FLASH_NOISE, _FLASH_SHARE = 6.0, 0.3  # how much of a flash is in the dark: in usual deviations, and of all
_OUTSHINES = 4.0  # times the usual peak


def list_omegas(omega_deg: Array, chosen: NDArray[np.bool_], most: int = 6) -> str:
    """The chosen omegas as ranges of neighbours.

    >>> list_omegas(np.array([0.0, 0.8, 1.6, 2.4, 3.2]), np.array([True, True, False, True, False]))
    '0..0.8, 2.4'
    """
    padded = np.concatenate([[False], chosen, [False]]).astype(int)
    starts, ends = np.flatnonzero(np.diff(padded) == 1), np.flatnonzero(np.diff(padded) == -1) - 1
    parts = [
        f"{omega_deg[a]:.4g}" if a == b else f"{omega_deg[a]:.4g}..{omega_deg[b]:.4g}"
        for a, b in zip(starts, ends, strict=True)
    ]
    return ", ".join(parts[:most]) + (f" and {len(parts) - most} more" if len(parts) > most else "")


def edges_touched(tilt_means: Array) -> NDArray[np.bool_]:
    """Which sides of the ROI the grain touches (n_omega, 4): left, right, first rows, last rows.

    tilt_means (n_omega, rows, columns) are the reduced tilt-summed images, in counts per pixel. A side
    is touched where pixels on it, not just a single one, stand out of the dark and have a good share of
    the peak.
    """
    if min(tilt_means.shape[1:]) < _SMALLEST:
        return np.zeros((tilt_means.shape[0], 4), dtype=bool)
    dark, darkish = np.percentile(tilt_means, (2, 10), axis=(1, 2))
    excess = tilt_means - dark[:, None, None]
    limit = np.maximum(_EDGE_NOISE * (darkish - dark), _EDGE_SHARE * excess.max(axis=(1, 2)))
    sides = (excess[:, :, 0], excess[:, :, -1], excess[:, 0, :], excess[:, -1, :])
    bright = np.stack([running_median(side, 5).max(axis=1) for side in sides], axis=1)
    return (bright > limit[:, None]) & (limit[:, None] > 0)


def running_median(values: Array, window: int) -> Array:
    """Median of `window` (odd) neighbours along the last axis; the ends are repeated outwards.

    >>> running_median(np.array([1.0, 9.0, 2.0, 3.0]), 3).tolist()
    [1.0, 2.0, 3.0, 3.0]
    """
    reach = [(0, 0)] * (values.ndim - 1) + [(window // 2, window // 2)]
    padded = np.pad(values, reach, mode="edge")
    return np.asarray(np.median(np.lib.stride_tricks.sliding_window_view(padded, window, axis=-1), axis=-1))


def relative_intensity(intensity: Array) -> Array:
    """Intensity of each omega over the median of its neighbours (n_omega,); NaN where nothing is."""
    known = np.isfinite(intensity)
    result = np.full(intensity.shape, np.nan)
    values = intensity[known]
    if values.size >= 3:
        around = running_median(values, min(_WINDOW, values.size // 2 * 2 - 1))
        result[known] = np.divide(values, around, out=np.ones_like(values), where=around > 0)
    return result


def dark_frames(table: Array) -> NDArray[np.bool_]:
    """Frames (n_pairs, n_omega) that are dark where the omegas before and after are bright."""
    excess = table - np.nanmin(table)
    filled = np.where(np.isfinite(excess), excess, 0.0)
    around = running_median(filled, 5)
    bright = np.isfinite(excess) & (around > 0.3 * around.max())
    drop = around - filled
    usual = 1.4826 * np.median(np.abs(drop[bright])) if bright.any() else 0.0  # how much intensities scatter
    return np.asarray(bright & (filled < _DARK_FRAME * around) & (drop > _DARK_SCATTER * usual))


def bright_frames(table: Array, floor: Array) -> NDArray[np.bool_]:
    """Frames (n_tilt1, n_tilt2, n_omega) that are far brighter than all around them.

    table is their mean, floor their dark level. Around is the frame's own and the adjacent pairs of tilts
    at two omegas before and after. A crystal may light up in a single frame where the resolution is
    sharp; but it leaves the dark between grains dark, and is as bright at other omegas. An omega most
    frames of which are bright is no matter of single frames.
    """
    excess = np.nan_to_num(table - np.nanpercentile(table, 5), nan=-np.inf)
    around, peaks = _brightest_around(excess), excess.max(axis=(0, 1))
    rise = floor - np.nanmedian(floor)
    usual = 0.5 + 1.4826 * np.nanmedian(np.abs(rise))  # how much it scatters, whole counts apart
    flash = rise > _FLASH_SHARE * (excess - np.maximum(around, 0.0))
    flash |= excess > _BRIGHT_FRAME * _brightest_of_others(excess)
    flash &= rise > _FLASH_NOISE * usual
    if table.shape[2] >= _WINDOW:
        outshines = excess > _OUTSHINES * np.percentile(peaks, 75)
    else:  # few omegas tell how bright a frame may be, unless all frames are much alike
        brightest = _brightest_of_others(np.nan_to_num(table, nan=-np.inf))
        outshines = (table > _BRIGHT_FRAME * brightest) & (np.nanmedian(table) > 0.5 * brightest)
    limit = np.maximum(_BRIGHT_FRAME * around, _BRIGHT_SHARE * np.median(peaks))
    bright = np.isfinite(around) & (excess > limit) & (excess > 0) & (flash | outshines)
    bright &= bright.sum(axis=(0, 1)) * 2 < np.isfinite(table).sum(axis=(0, 1))
    return np.asarray(bright)


def _brightest_around(excess: Array) -> Array:
    """The brightest of the frames around each (n_tilt1, n_tilt2, n_omega), -inf where there is none."""
    n1, n2, n_omega = excess.shape
    padded = np.pad(excess, ((1, 1), (1, 1), (2, 2)), constant_values=-np.inf)
    around = np.full(excess.shape, -np.inf)
    for i, j, k in np.ndindex(3, 3, 5):
        if (k != 2) if n_omega > 1 else (i, j) != (1, 1):
            around = np.maximum(around, padded[i : i + n1, j : j + n2, k : k + n_omega])
    return around


def _brightest_of_others(values: Array) -> float:
    """How bright frames are at most, but for one and 2 % of them."""
    return float(np.sort(values, axis=None)[-min(values.size, 2 + values.size // 50)])


def mean_over_tilts(table: Array) -> Array:
    """Mean of the frames (n_pairs, n_omega) of each omega that are known (n_omega,); NaN where none is."""
    known = np.isfinite(table)
    count = known.sum(axis=0)
    return np.where(known, table, 0.0).sum(axis=0) / np.where(count, count, np.nan)


def name_bright(
    omega_deg: Array, bright: NDArray[np.bool_], numbers: NDArray[np.int64], names: list[str]
) -> list[str]:
    """A warning for the bright frames (n_pairs, n_omega), whose names are those of numbers."""
    if not numbers.size:
        return []
    what = "frame is" if numbers.size == 1 else "frames are"
    return [
        f"{numbers.size} {what} far brighter than those around, at omega "
        f"{list_omegas(omega_deg, np.asarray(bright.any(axis=0)))}: {_few([names[n] for n in numbers])}; "
        "a flash or another sample in the beam? Leave them out if they are wrong"
    ]


def name_repeats(
    omega_deg: Array, repeated: NDArray[np.bool_], repeats: dict[int, int], frames: list[FrameInfo]
) -> list[str]:
    """A warning for the frames, number -> number of the one before, that are the same as another."""
    if not repeats:
        return []
    pairs = [f"{frame_name(frames[later])} = {_last_part(frames[first])}" for later, first in repeats.items()]
    frozen = all(first == later - 1 for later, first in repeats.items())
    what = "frame is" if len(pairs) == 1 else "frames are"
    return [
        f"{len(pairs)} {what} pixel by pixel the same as {'the frame before' if frozen else 'another'}, at "
        f"omega {list_omegas(omega_deg, np.asarray(repeated.any(axis=0)))}: {_few(pairs)}; a frozen "
        "detector, or frames written twice?"
    ]


def _few(names: list[str], most: int = 3) -> str:
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")


def _last_part(info: FrameInfo) -> str:
    return frame_name(info).rpartition("/")[2]


def find_warnings(
    omega_deg: Array, tilt_means: Array, before: Array, table: Array, saturated: NDArray[np.int64]
) -> list[str]:
    """Warnings in plain words.

    Parameters
    ----------
    omega_deg : (n_omega,) degrees
    tilt_means : (n_omega, rows, columns), see `edges_touched`
    before : (n_omega,) mean counts per pixel before normalisation, NaN where nothing is
    table : (n_pairs, n_omega) the same of every frame
    saturated : (n_omega,) saturated pixels
    """
    found = []
    touched = edges_touched(tilt_means)
    if touched.any():
        sides = ", ".join(name for name, side in zip(_SIDES, touched.T, strict=True) if side.any())
        found.append(
            f"the grain touches the edge of the region of interest ({sides}) at omega "
            f"{list_omegas(omega_deg, np.asarray(touched.any(axis=1)))}; make imgsize larger or move poi"
        )
    if saturated.any():
        found.append(
            f"{saturated.sum()} pixels are saturated, at omega {list_omegas(omega_deg, saturated > 0)}; "
            "their intensity is too low"
        )
    ratio = relative_intensity(before - np.nanmin(table))
    if (ratio < _WEAK).any():
        found.append(
            f"the intensity drops at omega {list_omegas(omega_deg, ratio < _WEAK)} to "
            f"{np.nanmin(ratio):.0%} of that around: beam lost? --normalize current or integral, "
            "or omega_exclude in the init file"
        )
    if (ratio > _STRONG).any():
        found.append(
            f"the intensity rises at omega {list_omegas(omega_deg, ratio > _STRONG)} to "
            f"{np.nanmax(ratio):.0%} of that around: another grain passing? See the contact sheet, "
            "and omega_exclude in the init file"
        )
    if table.shape[1] >= _WINDOW and (dark := dark_frames(table)).any() and not (ratio < _WEAK).any():
        found.append(
            f"{dark.sum()} single frames are dark between bright ones, at omega "
            f"{list_omegas(omega_deg, np.asarray(dark.any(axis=0)))}: shutter or beam?"
        )
    return found


def weak_current(frames: list[FrameInfo]) -> list[str]:
    """A warning where the ring current of some frames is less than half the usual."""
    currents = np.array([np.nan if f.ring_current_ma is None else f.ring_current_ma for f in frames])
    if not np.isfinite(currents).any():
        return []
    usual = float(np.nanmedian(currents))
    n_weak = int(np.count_nonzero(currents < 0.5 * usual))
    return [f"{n_weak} frames have less than half the usual ring current of {usual:.0f} mA"] if n_weak else []
