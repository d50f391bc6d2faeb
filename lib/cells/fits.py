"""Distributions that papers fit to sizes and misorientations of cells: log-normal and chi."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import digamma, gammaln


class LogNormal(NamedTuple):
    """exp(mean of the logarithm), in the unit of the values, and the standard deviation of the logarithm."""

    median: float
    sigma: float

    def density(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """Probability density at positive values."""
        off = np.log(values / self.median) / self.sigma
        return np.asarray(np.exp(-(off**2) / 2) / (np.sqrt(2 * np.pi) * self.sigma * values))


class Chi(NamedTuple):
    """The length of a vector of k normal components, k not only whole, each of standard deviation scale."""

    k: float
    scale: float

    def density(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """Probability density at positive values."""
        x = values / self.scale
        logarithm = (self.k - 1) * np.log(x) - x**2 / 2 - (self.k / 2 - 1) * np.log(2) - gammaln(self.k / 2)
        return np.asarray(np.exp(logarithm) / self.scale)


_LEAST, _MOST = 1e-3, 1e6  # of k / 2


def log_normal(values: ArrayLike) -> LogNormal:
    """The log-normal distribution of greatest likelihood for positive values (n,); NaN without any."""
    logs = np.log(_positive(values))
    if not logs.size:
        return LogNormal(np.nan, np.nan)
    return LogNormal(float(np.exp(logs.mean())), float(logs.std()))


def chi(values: ArrayLike) -> Chi:
    """The chi distribution of greatest likelihood for positive values (n,); NaN for fewer than two.

    The squares have a gamma distribution of shape k / 2, whose likelihood is greatest where the logarithm of
    the mean less the mean of the logarithm is ln(k / 2) - digamma(k / 2).
    """
    from scipy.optimize import brentq  # here: it takes longer to load than all else that a start loads

    squares = _positive(values) ** 2
    if np.unique(squares).size < 2:
        return Chi(np.nan, np.nan)
    gap = float(np.log(squares.mean()) - np.log(squares).mean())
    if np.log(_MOST) - digamma(_MOST) >= gap:
        return Chi(np.nan, np.nan)
    shape = float(brentq(lambda a: np.log(a) - digamma(a) - gap, _LEAST, _MOST))
    return Chi(2.0 * shape, float(np.sqrt(squares.mean() / (2.0 * shape))))


def _positive(values: ArrayLike) -> np.ndarray:
    known = np.asarray(values, dtype=np.float64).ravel()
    return known[np.isfinite(known) & (known > 0.0)]
