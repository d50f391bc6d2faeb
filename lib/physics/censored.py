"""Noise that was cut at zero: the mean and spread that are left, and the level that they tell.

Dark pixels read a level L with noise sigma. Where counts cannot be negative, max(0, L + noise) is stored:
its mean lies above L, and its spread below sigma, the more the lower L is (a censored normal distribution).
All functions take arrays or numbers in one unit, counts. scipy is imported where it is used: it takes
longer to load than a short scan to read.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import ArrayLike, NDArray

Array = NDArray[np.float64]

_LOWEST, _HIGHEST = -4.0, 40.0  # levels in sigma that a table spans; outside it the mean is 0, or the level
_TABLE = np.linspace(_LOWEST, _HIGHEST, 4401)


def _moments(level: Array) -> tuple[Array, Array]:
    """Mean and variance of max(0, level + noise), for sigma 1."""
    from scipy.special import ndtr

    density = np.exp(-0.5 * level**2) / np.sqrt(2.0 * np.pi)
    share = ndtr(level)
    mean = level * share + density
    square = (level**2 + 1.0) * share + level * density
    return mean, np.maximum(square - mean**2, 0.0)


@lru_cache
def _means_and_ratios() -> tuple[Array, Array]:
    """Of the levels of the table: the mean, and the variance over its square, which falls all the way."""
    means, variances = _moments(_TABLE)
    return means, variances / means**2


def mean_of(level: ArrayLike, sigma: float) -> Array:
    """Mean of what is stored of a level."""
    values = np.asarray(level, dtype=np.float64)
    if sigma <= 0.0:
        return np.maximum(values, 0.0)
    return np.asarray(sigma * _moments(values / sigma)[0])


def level_of(mean: ArrayLike, sigma: float) -> Array:
    """The level whose stored values have this mean; no lower than -4 sigma, below which nothing is left."""
    values = np.asarray(mean, dtype=np.float64)
    if sigma <= 0.0:
        return values
    scaled, (means, _) = values / sigma, _means_and_ratios()
    return sigma * np.where(scaled < means[-1], np.interp(scaled, means, _TABLE), scaled)


def sigma_of(mean: ArrayLike, variance: ArrayLike) -> Array:
    """The noise before the cut, of stored values with this mean and variance; 0 where there is none."""
    mean, variance = np.asarray(mean, dtype=np.float64), np.asarray(variance, dtype=np.float64)
    known = (mean > 0.0) & (variance > 0.0)
    ratio = np.where(known, variance / np.where(known, mean, 1.0) ** 2, 0.0)
    means, ratios = _means_and_ratios()
    level = np.interp(-ratio, -ratios, _TABLE)
    high = ratio < ratios[-1]
    sigma = np.where(high, np.sqrt(np.maximum(variance, 0.0)), mean / np.interp(level, _TABLE, means))
    return np.where(known, sigma, 0.0)
