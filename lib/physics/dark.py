"""The dark level on which the light of a scan stands, found in its darkest frames.

At most tilts a pixel sees no grain. So the darkest frames of every omega show the level: one value per pixel
(pedestal, halo, pattern) plus one per omega (slow changes).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from . import censored

Array = NDArray[np.float64]
Image = NDArray[np.float32]

_BLOCK = 8  # pixels to a side, over which noise averages out
_GROUPS = 8  # of omegas: the median of their means forgets a stray particle in one of them
_QUICK_FRAMES = 16  # the darkest of the sample, for the quick look
_SMOOTH_PX = 4.0  # of the part of the level that has no pattern
_QUIET = 0.12  # of sigma, a median level below which nothing need be taken off
BARELY = 0.25  # counts, likewise
_DARK_PERCENT = 35.0  # of the omegas, the darkest, whose agreement shows that a block is dark then
_LOOSE = 0.1  # of the level, by which it may change with omega in places
_SPARSE = 0.1  # counts, a mean below which most values are zero
_DEEPEST = -2.0  # sigma, below which so little noise is left above zero that it tells nothing
_SURELY_MISSING = 0.3  # of sigma, by which too much was taken off
_SQUARES = 6.0  # 1 + 4 + 1, of the weights of a second difference
_ROUNDING = 1.0 / 24.0  # of a count squared, that rounding adds to the variance of a noise cut in half
_JUDGED = 8  # omegas whose values must scatter like noise
_SHARE_OFF = 0.03  # of the values, by which they may not
_ROUNDED = 0.2  # more, over sigma in counts: half a count times the density of a normal distribution
_FEWEST_KNOWN = 0.1  # of the blocks, from which the rest is filled in
_MOST_KNOWN = 0.5  # likewise, above which that needs no word


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

    def of_omegas(self, omegas: NDArray[np.int64]) -> Image:
        """The level of the usual pixel at some omegas of the array."""
        return self.of_omega[omegas] + np.float32(np.median(self.pattern))

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


@dataclass(frozen=True)
class Estimate:
    """A level, None where there is none to take off; known is the share of the image that shows one.

    doubtful says that there is something, which is no level.
    """

    level: DarkLevel | None
    known: float = 1.0
    doubtful: bool = False

    @property
    def anywhere(self) -> bool:
        """Whether there is a dark place at all."""
        return self.known >= _FEWEST_KNOWN

    @property
    def mostly(self) -> bool:
        """Whether most of the image shows its level itself."""
        return self.known >= _MOST_KNOWN


def estimate(
    frames_of: Callable[[int], Image], n_omega: int, shape: tuple[int, int], *, signed: bool
) -> Estimate:
    """The level of a scan where its darkest frames show one.

    frames_of(k) gives the darkest frames (n, n_x, n_y) of omega k; it is asked twice for each. signed says
    that noise was not cut at zero. shape is (n_x, n_y).

    The level of a pixel is the same at every omega, but for what the omega adds everywhere; grain that
    shines into the frames comes and goes. So a block is dark at those omegas at which it is as dark as at
    a third of them; where these do not agree, it never is.
    """
    means, variances, n_frames = _by_block(frames_of, n_omega, shape)
    sigma = _sigma(np.median(means, axis=0), np.median(variances, axis=0), signed)
    levels = _level_of(signed, means, sigma)
    change = np.median(levels - np.median(levels, axis=0), axis=(1, 2))
    change -= change.mean()
    error = sigma / (_BLOCK * np.sqrt(n_frames.mean()))
    rest = levels - change[:, None, None]
    lowest, low = np.percentile(rest, [5.0, _DARK_PERCENT], axis=0)
    loose = _LOOSE * np.abs(low) + BARELY / 4.0
    known = low - lowest <= 4.0 * error + loose
    share = float(known.mean())
    if share < _FEWEST_KNOWN:
        return Estimate(None, share)
    dark = rest <= low + 3.0 * error + loose
    added = (dark * change[:, None, None]).sum(axis=0) / np.maximum(dark.sum(axis=0), 1)
    pattern = _level_of(signed, _mean_of_dark(frames_of, dark, shape), sigma) - _whole(added, shape)
    n_dark = n_frames.mean() * float(dark.sum(axis=0)[known].mean())
    pattern = _without_noise(_filled(pattern, known), 1.2 * sigma / np.sqrt(n_dark))
    level = DarkLevel(pattern.astype(np.float32), change.astype(np.float32), sigma, signed)
    nothing = max(abs(level.mean), abs(level.largest) / 2.0) < max(_QUIET * sigma, BARELY)
    guessed = not signed and (level.mean < _DEEPEST * sigma or -_SURELY_MISSING * sigma < level.mean < 0.0)
    if nothing:
        return Estimate(None)
    if guessed or not _is_noise(frames_of, dark & known, level):
        return Estimate(None, doubtful=True)
    return Estimate(level, share)


def _is_noise(frames_of: Callable[[int], Image], dark: NDArray[np.bool_], level: DarkLevel) -> bool:
    """Whether the dark frames scatter about the level as noise does, and not as something that shines.

    The shares of the values below the level and 0.5, 1.5 and 2.5 sigma more are those of a normal
    distribution; where there is no noise, the values are the level.
    """
    from scipy.special import ndtr  # here: it takes longer to load than a short scan to read

    some = np.unique(np.linspace(0, len(dark) - 1, _JUDGED).round().astype(int)).tolist()
    apart, floor = [], -np.inf if level.signed else 0.0
    for k in some:
        here = _whole(dark[k], level.pattern.shape)
        base = (level.pattern + level.of_omega[k])[here]
        values = frames_of(k)[:, here]
        apart.append((values - np.maximum(base, floor)).ravel() if level.sigma < BARELY else values - base)
    found = np.concatenate([part.ravel() for part in apart])
    if not found.size:
        return False
    if level.sigma < BARELY:
        return float(np.mean(np.abs(found) < 1.0)) > 1.0 - _SHARE_OFF
    for place in (0.5, 1.5, 2.5):
        if level.mean + place * level.sigma > floor + 0.5:
            expected = ndtr(place)
            below = np.mean(found < place * level.sigma)
            if abs(below - expected) > _SHARE_OFF + _ROUNDED / level.sigma * np.exp(-0.5 * place**2):
                return False
    return True


def _by_block(
    frames_of: Callable[[int], Image], n_omega: int, shape: tuple[int, int]
) -> tuple[Array, Array, Array]:
    """Means of the frames of each omega by blocks of pixels (n_omega, m_x, m_y); how many frames (n_omega,).

    Between them: half the mean squared difference of two frames, alike.
    """
    means, variances = np.zeros((2, n_omega, *_blocks(np.zeros(shape)).shape))
    n_frames = np.zeros(n_omega)
    for k in range(n_omega):
        frames = frames_of(k)
        n_frames[k], half = len(frames), len(frames) // 2
        means[k] = _blocks(frames.mean(axis=0))
        apart = frames[:half] - frames[len(frames) - half :]
        variances[k] = _blocks(0.5 * (apart**2).mean(axis=0)) if half else 0.0
    return means, variances, n_frames


def _mean_of_dark(
    frames_of: Callable[[int], Image], dark: NDArray[np.bool_], shape: tuple[int, int]
) -> Array:
    """The mean (n_x, n_y) of the frames, of each block at the omegas (n_omega, m_x, m_y) at which it is dark.

    It is the median over groups of omegas, so that a stray particle does not count.
    """
    n_groups = min(_GROUPS, len(dark))
    sums = np.zeros((n_groups, *shape), dtype=np.float32)
    counts = np.zeros((n_groups, *dark.shape[1:]), dtype=np.float32)
    for k, here in enumerate(dark):
        frames, group = frames_of(k), k % n_groups
        sums[group] += frames.sum(axis=0) * _whole(here, shape)
        counts[group] += len(frames) * here
    for group in range(n_groups):
        n = _whole(counts[group], shape)
        sums[group] = np.where(n > 0, sums[group] / np.maximum(n, 1), np.nan)
    return np.nanmedian(sums, axis=0).astype(np.float64)


def worth_a_look(sample: NDArray[Any]) -> bool:
    """Whether the darkest frames of a sample stand on a level, a halo or a pattern."""
    darkest = np.argsort(sample.sum(axis=(1, 2), dtype=np.float64), kind="stable")[:_QUICK_FRAMES]
    frames = sample[np.sort(darkest)].astype(np.float64)
    signed = bool((frames < 0).any())
    mean = frames.mean(axis=0)
    variance = frames.var(axis=0, ddof=1) if len(frames) > 1 else np.zeros_like(mean)
    sigma = _sigma(mean, variance, signed)
    blocks = _level_of(signed, _blocks(mean), sigma)
    enough = max(_QUIET * sigma, BARELY)
    by_frame = _level_of(signed, np.median(_blocks(frames), axis=(1, 2)), sigma)
    return bool(
        abs(np.median(blocks)) > enough
        or np.percentile(blocks, 90) > 4.0 * enough
        or np.abs(by_frame).max() > 4.0 * enough
        or _spread(mean) > 1.5 * np.sqrt(np.median(variance) / len(frames)) + BARELY
    )


def noise_of(frames: NDArray[Any]) -> float:
    """The noise of dark pixels of some frames (n, n_x, n_y), before its cut at zero; 0 where there is none.

    From second differences of neighbouring pixels, in all but the brightest blocks: faint light is smooth, so
    that it is not taken for noise.
    """
    means, variances = [], []
    for frame in frames:
        values = frame.astype(np.float32)
        bend = values[2:] - 2.0 * values[1:-1] + values[:-2]
        if min(bend.shape) == 0:
            return 0.0
        rounding = _ROUNDING if np.array_equal(values, np.rint(values)) else 0.0
        means.append(_blocks(values[1:-1]))
        variances.append(_blocks(bend**2) / _SQUARES - rounding)
    return _sigma(np.stack(means), np.stack(variances), signed=bool((frames < 0).any()))


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


def _spread(values: Array) -> float:
    """Standard deviation of most of the values, about their median."""
    return float(1.4826 * np.median(np.abs(values - np.median(values))))


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
    from scipy.ndimage import gaussian_filter

    if known.all():
        return pattern
    whole = _whole(known, pattern.shape)
    reach = max(pattern.shape) / 4.0
    weight = gaussian_filter(whole.astype(np.float64), reach, mode="nearest")
    around = gaussian_filter(np.where(whole, pattern, 0.0), reach, mode="nearest")
    return np.where(whole, pattern, around / np.maximum(weight, 1e-9))


def _without_noise(pattern: Array, error: float) -> Array:
    """The smooth part, and of the rest so much as its own noise leaves certain."""
    from scipy.ndimage import gaussian_filter

    smooth = gaussian_filter(pattern, _SMOOTH_PX, mode="nearest")
    fine = pattern - smooth
    usual = _spread(fine) ** 2
    certain = max(0.0, 1.0 - error**2 / usual) if usual > 0 else 0.0
    return smooth + np.where(np.abs(fine) > 4.0 * error, 1.0, certain) * fine
