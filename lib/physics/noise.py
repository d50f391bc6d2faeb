"""How bright a pixel must be to count as lit."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .censored import mean_of

Image = NDArray[np.float32]

LEAST_SIGMA = 3.0  # of the noise, above which its cut at zero does not matter
_MOST_SIGMA = 10.0  # that a value may be off in chi-square: a zinger is one value, not a bad fit
LIT_SIGMA = 4.0  # a dark pixel is taken for lit once in 30,000 times
_CLIP_SIGMA = 3.0  # above it there is signal
_CLIPPED_SECOND_MOMENT = 0.9733  # of a normal distribution cut off at 3 sigma
_ENOUGH_NEGATIVE = 100  # pixels, whose second moment is then known to 14 %


@dataclass(frozen=True)
class Dark:
    """What a value without light holds, in counts.

    level is what the light stands on: 0 where just the dark level was taken off, negative where more was.
    floor is the mean of what is stored of level 0: that of the upper half of the noise where it was cut at
    zero, 0 where it was not. variance is that of the noise before the cut. gain are the counts that a photon
    makes: light of n counts has a variance of gain n.
    """

    level: float = 0.0
    floor: float = 0.0
    variance: float = 0.0
    gain: float = 1.0

    @property
    def mean(self) -> float:
        """The mean of the dark values as they are stored."""
        return float(mean_of(self.level, self.floor * math.sqrt(2.0 * math.pi))) if self.floor else self.level

    @property
    def stored_variance(self) -> float:
        """The variance of the dark values as they are stored: less where their lower half was cut to zero."""
        return max(self.variance / 2.0 - self.floor**2, 0.0) if self.floor else self.variance

    def times(self, n: int) -> Dark:
        """Of the sum of n values."""
        return Dark(n * self.level, n * self.floor, n * self.variance, self.gain)

    def stored(self, light: Image) -> Image:
        """What is stored of some light, in the mean: a hyperbola close to `censored.mean_of`."""
        x = light + np.float32(self.level)
        return np.asarray(0.5 * (x + np.sqrt(x * x + np.float32(4.0 * self.floor**2))), dtype=np.float32)

    @property
    def least_light(self) -> float:
        """Counts of light from which on a pixel is lit: a photon, and well above what the noise is cut at."""
        return max(self.gain, LEAST_SIGMA * math.sqrt(self.variance)) - min(self.level, 0.0)

    @property
    def in_photons(self) -> float:
        """Counts of light whose own variance is that of the dark values."""
        return self.variance / self.gain

    def for_kernel(self) -> tuple[np.float32, np.float32, np.float32, np.float32, np.float32]:
        """As `mlem.map_kernels.compare` takes it.

        Level, twice the floor, `in_photons`, `least_light`, and the most that a value counts in chi-square.
        """
        most = _MOST_SIGMA**2 * self.gain
        numbers = self.level, 2.0 * self.floor, self.in_photons, self.least_light, most
        level, cut, noise, least, most_of_one = map(np.float32, numbers)
        return level, cut, noise, least, most_of_one


def dark_sigma(values: NDArray[Any]) -> float:
    """Standard deviation of the noise of the dark pixels, from background-subtracted values.

    Where values are negative, they are the lower half of the noise and tell its width. Else the noise
    was clipped at zero and shows only its upper half: sigma is then the smallest width that the second
    moment of all values below 3 sigma confirms; signal lies above. Data whose positive values are too
    few for the zeros to be half of a noise have none: sigma is 0. Assumes that most pixels are dark.
    """
    value, count = _distinct(values)
    negative = value < 0
    if count[negative].sum() >= _ENOUGH_NEGATIVE:
        # zeros of rounded noise belong to both halves, and rounding adds a variance of 1/12
        n_dark = 2 * count[negative].sum() + count[value == 0].sum()
        variance = 2.0 * float(value[negative] ** 2 @ count[negative]) / float(n_dark)
        rounded = np.array_equal(value, np.rint(value))
        return math.sqrt(max(variance - rounded / 12.0, 0.0))
    dark = np.maximum(value, 0.0)
    up_to = np.cumsum(count)  # how many values are not above each
    squares = np.cumsum(dark**2 * count)

    def last(highest: float) -> int:
        return int(np.searchsorted(dark, highest, side="right")) - 1

    n_all, n_zero = int(up_to[-1]), int(up_to[last(0.0)]) if last(0.0) >= 0 else 0
    if n_zero == n_all:
        return 0.0
    sigma = float(dark[np.searchsorted(up_to, n_zero + (n_all - n_zero) // 10, side="right")])
    for _ in range(200):
        below = last(_CLIP_SIGMA * sigma)
        new = float(np.sqrt(2.0 * squares[below] / up_to[below] / _CLIPPED_SECOND_MOMENT))
        if abs(new - sigma) <= 1e-6 * sigma:
            break
        sigma = new
    n_positive = int(up_to[last(_CLIP_SIGMA * sigma)]) - n_zero
    rounding = 0.5 if np.array_equal(dark, np.rint(dark)) else 0.0
    sigma = math.sqrt(max(sigma**2 - rounding**2 / 3.0, 0.0))  # rounding adds a variance of 1/12
    share_zero = 0.5 * math.erfc(-rounding / (sigma * math.sqrt(2.0))) if sigma else 1.0
    return sigma if n_positive > 0.9 * n_zero * (1.0 - share_zero) / share_zero > 0 else 0.0


def dark_background(values: NDArray[Any], sigma: float) -> float:
    """Mean of the dark pixels: zero, or that of the upper half of the noise where it was clipped."""
    clipped = np.count_nonzero(np.asarray(values) < 0) < _ENOUGH_NEGATIVE
    return sigma / math.sqrt(2.0 * math.pi) if clipped else 0.0


def _distinct(values: NDArray[Any]) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """The values in ascending order and how often each occurs; floats are not merged."""
    if values.dtype.kind == "u" and values.dtype.itemsize <= 2:
        count = np.bincount(values.ravel())
        present = np.flatnonzero(count)
        return present.astype(np.float64), count[present]
    return np.sort(values, axis=None).astype(np.float64), np.ones(values.size, dtype=np.int64)


def auto_threshold(values: NDArray[Any]) -> float:
    """The count above which a pixel is lit: LIT_SIGMA times the noise of the dark pixels."""
    return LIT_SIGMA * dark_sigma(values)
