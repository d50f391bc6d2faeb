"""The dark level that was left in an array, or that was taken off too much: found in the array itself.

At most tilts a pixel sees no grain. So the darkest frames of every omega show the level on which the grain's
light stands: one value per pixel (pedestal, halo, pattern) plus one per omega (slow changes). The method
then reads counts with the level taken off, cut at zero where the array was.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.ndimage import gaussian_filter

from ..errors import Recon3DError
from ..physics import censored

if TYPE_CHECKING:
    from .store import Scan

Array = NDArray[np.float64]
Image = NDArray[np.float32]

_SHARE_OF_TILTS = 8  # one tilt in so many is looked at, the darkest ones of each omega
_FEWEST, _MOST = 2, 16  # frames of an omega
_COLUMNS = 16  # of each frame, whose sum tells how dark it is
_BLOCK = 8  # pixels to a side, over which noise averages out
_GROUPS = 8  # of omegas: the median of their means forgets a stray particle in one of them
_QUICK_FRAMES = 16  # the darkest of the sample, for the quick look
_SMOOTH_PX = 4.0  # of the part of the level that has no pattern
_QUIET = 0.12  # of sigma, a median level below which nothing need be taken off
_BARELY = 0.25  # counts, likewise
_DARK_PERCENT = 35.0  # of the omegas, the darkest, whose agreement shows that a block is dark then
_LOOSE = 0.1  # of the level, by which it may change with omega in places
_SPARSE = 0.1  # counts, a mean below which most values are zero
_DEEPEST = -2.0  # sigma, below which so little noise is left above zero that it tells nothing
_FEWEST_KNOWN = 0.1  # of the blocks, from which the rest is filled in
_MOST_KNOWN = 0.5  # likewise, above which that needs no word


class Frames(Protocol):
    """An array on disk or in memory, as `store` reads it."""

    def __enter__(self) -> Frames:
        """Open."""

    def __exit__(self, kind: Any, error: Any, trace: Any) -> None:
        """Close."""

    def read_columns(self, index: tuple[int, ...], first_x: int, out: NDArray[Any]) -> None:
        """Fill `out` (x, n_y) with the pixels of one position from column first_x on."""


@dataclass(frozen=True)
class DarkLevel:
    """Counts on which the light stands: pattern (n_x, n_y), and what an omega adds (n_omega,).

    sigma is the noise of a dark pixel before it was cut at zero; signed says that it was not cut.
    """

    pattern: Image
    of_omega: Image
    sigma: float
    signed: bool

    @property
    def mean(self) -> float:
        """The level of the usual pixel at the usual omega."""
        return float(np.median(self.pattern) + np.median(self.of_omega))

    @property
    def largest(self) -> float:
        """The level of nearly the worst pixel and omega; negative where too much was taken off."""
        low, high = self.limits
        return high if abs(high) >= abs(low) else low

    @property
    def limits(self) -> tuple[float, float]:
        """The levels below and above which hardly any pixel at hardly any omega lies."""
        low, high = (float(np.percentile(self.pattern, q) + np.percentile(self.of_omega, q)) for q in (2, 98))
        return low, high

    @property
    def over_subtracted(self) -> float:
        """What is missing of counts that were cut at zero: a level that cannot be put back, at most 0."""
        return 0.0 if self.signed else min(self.mean, 0.0)

    def at(self, omega: int, dtype: np.dtype[Any]) -> NDArray[Any]:
        """What to take off (n_x, n_y) at an omega of the array, in a type of its pixels."""
        level = self.pattern + self.of_omega[omega]
        if dtype.kind == "f":
            return level.astype(dtype)
        if dtype.kind == "u":
            return np.clip(np.rint(level), 0, np.iinfo(dtype).max).astype(dtype)
        return np.rint(level).astype(dtype)


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
            np.maximum(out, level, out=out)
        np.subtract(out, level, out=out)


def given_level(scan: Scan, counts: tuple[float, ...]) -> DarkLevel | None:
    """The level that the user knows: one number, or one for each omega of the array."""
    n_omega = scan.shape[2]
    if len(counts) not in (1, n_omega):
        raise Recon3DError("background", f"has {len(counts)} numbers; give one, or {n_omega}, one per omega")
    if not any(counts):
        return None
    of_omega = np.broadcast_to(np.asarray(counts, dtype=np.float32), (n_omega,))
    return DarkLevel(np.zeros(scan.shape[3:], np.float32), of_omega.copy(), 0.0, scan.dtype.kind == "i")


@dataclass(frozen=True)
class Estimate:
    """A level, None where there is none to take off; known is the share of the image that shows one."""

    level: DarkLevel | None
    known: float = 1.0


def warnings_of(found: Estimate, signal: float) -> list[str]:
    """What a user should know of the level, in plain words; signal is that of bright pixels, in counts."""
    level = found.level
    shining = f"grain shines into even the darkest frames over {1.0 - found.known:.0%} of the image"
    if found.known < _FEWEST_KNOWN:
        return [
            f"{shining}, so that no dark level can be seen: scan a wider range of tilts, or give the key "
            "background (counts)"
        ]
    said = []
    if found.known < _MOST_KNOWN:
        said.append(f"{shining}: the dark level there is taken for that of the surroundings")
    worth = max(min(level.sigma / 3.0, 0.01 * signal), _BARELY) if level else 0.0
    if level is None or abs(level.largest) < worth:
        return said
    if level.over_subtracted < 0.0:
        return [
            *said,
            f"about {-level.mean:.2g} counts too much were taken off as background and cut at zero, which "
            "faint light does not survive: make the array again with a background that fits, or with "
            "--dtype int16",
        ]
    low, high = level.limits
    return [
        *said,
        f"the images stand on a dark level of {level.mean:.3g} counts ({low:.3g} to {high:.3g} over pixels "
        f"and omegas; noise {level.sigma:.2g}, bright pixels {signal:.3g}), which is taken off here: better "
        "make the array again with background frames that fit, or with --background scan",
    ]


def find_level(scan: Scan, omegas: NDArray[np.int64], sample: NDArray[Any]) -> Estimate:
    """The dark level of an array at some of its omegas.

    sample are some of its frames (n, n_x, n_y): they decide whether a closer look is worth while.
    """
    if not _worth_a_look(sample):
        return Estimate(None)
    signed = bool((sample < 0).any())
    return _estimate(scan, omegas, _look(scan, omegas), signed)


def _sigma_of(signed: bool, mean: ArrayLike, variance: ArrayLike) -> Array:
    return np.sqrt(variance) if signed else censored.sigma_of(mean, variance)


def _level_of(signed: bool, mean: ArrayLike, sigma: float) -> Array:
    return np.asarray(mean, dtype=np.float64) if signed else censored.level_of(mean, sigma)


def _blocks(image: NDArray[Any]) -> Array:
    """Means (..., m_x, m_y) over blocks of an image (..., n_x, n_y); the last of a row may be smaller."""
    for axis in (-2, -1):
        n = image.shape[axis]
        starts = np.arange(0, n, _BLOCK)
        sums = np.add.reduceat(image, starts, axis=axis, dtype=np.float64)
        widths = np.diff(np.append(starts, n))
        image = sums / (widths[:, None] if axis == -2 else widths)
    return image


def _worth_a_look(sample: NDArray[Any]) -> bool:
    """Whether the darkest frames of a sample stand on a level, a halo or a pattern."""
    darkest = np.argsort(sample.sum(axis=(1, 2), dtype=np.float64), kind="stable")[:_QUICK_FRAMES]
    frames = sample[np.sort(darkest)].astype(np.float64)
    signed = bool((frames < 0).any())
    mean = frames.mean(axis=0)
    variance = frames.var(axis=0, ddof=1) if len(frames) > 1 else np.zeros_like(mean)
    sigma = _sigma(mean, variance, signed)
    blocks = _level_of(signed, _blocks(mean), sigma)
    enough = max(_QUIET * sigma, _BARELY)
    by_frame = _level_of(signed, np.median(_blocks(frames), axis=(1, 2)), sigma)
    return bool(
        abs(np.median(blocks)) > enough
        or np.percentile(blocks, 90) > 4.0 * enough
        or np.abs(by_frame).max() > 4.0 * enough
        or _spread(mean) > 1.5 * np.sqrt(np.median(variance) / len(frames)) + _BARELY
    )


def _spread(values: Array) -> float:
    """Standard deviation of most of the values, about their median."""
    return float(1.4826 * np.median(np.abs(values - np.median(values))))


@dataclass
class _Darkest:
    """The darkest frames of every omega in use, by blocks of pixels.

    frames are the pairs of tilts (n, 2) of each omega, means (n_omega, m_x, m_y) their mean, variances alike
    half the mean squared difference of two frames.
    """

    frames: list[NDArray[np.int64]]
    means: Array
    variances: Array

    @property
    def n_frames(self) -> float:
        """Frames of an omega, in the mean."""
        return float(np.mean([len(pairs) for pairs in self.frames]))


def _look(scan: Scan, omegas: NDArray[np.int64]) -> _Darkest:
    """Find the darkest frames of every omega, and read them."""
    found = _Darkest([], *np.empty((2, omegas.size, *_blocks(np.empty(scan.shape[3:])).shape)))
    with scan.open() as array:
        for k, omega in enumerate(omegas.tolist()):
            found.frames.append(_darkest(scan, array, omega))
            frames = _read(scan, array, omega, found.frames[k])
            found.means[k] = _blocks(frames.mean(axis=0))
            half = len(frames) // 2
            apart = frames[:half] - frames[len(frames) - half :]
            found.variances[k] = _blocks(0.5 * (apart**2).mean(axis=0)) if half else 0.0
    return found


def _darkest(scan: Scan, array: Frames, omega: int) -> NDArray[np.int64]:
    """The pairs of tilts (n, 2) of the darkest frames of an omega, by some of their columns."""
    pairs = np.argwhere(scan.measured[:, :, omega])
    some = np.unique(np.linspace(0, scan.shape[3] - 1, _COLUMNS).round().astype(int)).tolist()
    column = np.empty((1, scan.shape[4]), dtype=scan.dtype)
    totals = np.zeros(len(pairs))
    for number, (i, j) in enumerate(pairs.tolist()):
        for x in some:
            array.read_columns((i, j, omega), x, column)
            totals[number] += column.sum(dtype=np.float64)
    n = min(max(len(pairs) // _SHARE_OF_TILTS, _FEWEST), _MOST, len(pairs))
    return pairs[np.argsort(totals, kind="stable")[:n]]


def _read(scan: Scan, array: Frames, omega: int, pairs: NDArray[np.int64]) -> Image:
    """Some frames (n, n_x, n_y) of an omega."""
    frames = np.empty((len(pairs), *scan.shape[3:]), dtype=scan.dtype)
    for frame, (i, j) in zip(frames, pairs.tolist(), strict=True):
        array.read_columns((i, j, omega), 0, frame)
    return frames.astype(np.float32)


def _estimate(scan: Scan, omegas: NDArray[np.int64], found: _Darkest, signed: bool) -> Estimate:
    """The level where the darkest frames show one.

    The level of a pixel is the same at every omega, but for what the omega adds everywhere; grain that
    shines into the frames comes and goes. So a block is dark at those omegas at which it is as dark as at
    a third of them; where these do not agree, it never is.
    """
    sigma = _sigma(np.median(found.means, axis=0), np.median(found.variances, axis=0), signed)
    levels = _level_of(signed, found.means, sigma)
    change = np.median(levels - np.median(levels, axis=0), axis=(1, 2))
    change -= change.mean()
    error = sigma / (_BLOCK * np.sqrt(found.n_frames))
    rest = levels - change[:, None, None]
    lowest, low = np.percentile(rest, [5.0, _DARK_PERCENT], axis=0)
    loose = _LOOSE * np.abs(low) + _BARELY / 4.0
    known = low - lowest <= 4.0 * error + loose
    share = float(known.mean())
    if share < _FEWEST_KNOWN:
        return Estimate(None, share)
    dark = rest <= low + 3.0 * error + loose
    mean = _mean_of_dark(scan, omegas, found.frames, dark)
    added = (dark * change[:, None, None]).sum(axis=0) / np.maximum(dark.sum(axis=0), 1)
    pattern = _level_of(signed, mean, sigma) - _whole(added, scan.shape[3:])
    pattern = _filled(pattern, known)
    n_frames = found.n_frames * float(dark.sum(axis=0)[known].mean())
    pattern = _without_noise(pattern, 1.2 * sigma / np.sqrt(n_frames))
    of_omega = np.zeros(scan.shape[2], dtype=np.float32)
    of_omega[omegas] = change
    level = DarkLevel(pattern.astype(np.float32), of_omega, sigma, signed)
    enough = max(_QUIET * sigma, _BARELY)
    nothing = max(abs(level.mean), abs(level.largest) / 2.0) < enough
    guessed = not signed and level.mean < _DEEPEST * sigma
    return Estimate(None, 1.0) if nothing or guessed else Estimate(level, share)


def _mean_of_dark(
    scan: Scan, omegas: NDArray[np.int64], frames: list[NDArray[np.int64]], dark: NDArray[np.bool_]
) -> Array:
    """The mean (n_x, n_y) of the darkest frames, of each block at the omegas at which it is dark.

    It is the median over groups of omegas, so that a stray particle does not count.
    """
    shape = scan.shape[3:]
    n_groups = min(_GROUPS, omegas.size)
    sums = np.zeros((n_groups, *shape), dtype=np.float32)
    counts = np.zeros((n_groups, *dark.shape[1:]), dtype=np.float32)
    with scan.open() as array:
        for k, omega in enumerate(omegas.tolist()):
            group = k % n_groups
            sums[group] += _read(scan, array, omega, frames[k]).sum(axis=0) * _whole(dark[k], shape)
            counts[group] += len(frames[k]) * dark[k]
    for group in range(n_groups):
        n = _whole(counts[group], shape)
        sums[group] = np.where(n > 0, sums[group] / np.maximum(n, 1), np.nan)
    return np.nanmedian(sums, axis=0).astype(np.float64)


def _whole(by_block: NDArray[Any], shape: tuple[int, ...]) -> NDArray[Any]:
    """The value of its block for every pixel."""
    n_x, n_y = shape
    return by_block.repeat(_BLOCK, axis=0).repeat(_BLOCK, axis=1)[:n_x, :n_y]


def _sigma(mean: Array, variance: Array, signed: bool) -> float:
    """The noise of dark pixels: of those with like means together, the median over the means."""
    order = np.argsort(mean, axis=None)
    if not signed and np.median(mean) < _SPARSE:  # few values are not zero: take them together
        by_block = _blocks(mean)
        dark = by_block <= np.median(by_block)
        return float(_sigma_of(signed, by_block[dark].mean(), _blocks(variance)[dark].mean()))
    parts = [part for part in np.array_split(order, 16) if part.size]
    found = [
        float(_sigma_of(signed, mean.flat[part].mean(), np.median(variance.flat[part]))) for part in parts
    ]
    return float(np.median(found))


def _filled(pattern: Array, known: NDArray[np.bool_]) -> Array:
    """With the surroundings where grain shines into the dark frames."""
    if known.all():
        return pattern
    whole = _whole(known, pattern.shape)
    reach = max(pattern.shape) / 4.0
    weight = gaussian_filter(whole.astype(np.float64), reach, mode="nearest")
    around = gaussian_filter(np.where(whole, pattern, 0.0), reach, mode="nearest")
    return np.where(whole, pattern, around / np.maximum(weight, 1e-9))


def _without_noise(pattern: Array, error: float) -> Array:
    """The smooth part, and of the rest so much as its own noise leaves certain."""
    smooth = gaussian_filter(pattern, _SMOOTH_PX, mode="nearest")
    fine = pattern - smooth
    usual = _spread(fine) ** 2
    certain = max(0.0, 1.0 - error**2 / usual) if usual > 0 else 0.0
    return smooth + np.where(np.abs(fine) > 4.0 * error, 1.0, certain) * fine
