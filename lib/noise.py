"""How bright a pixel must be to count as lit."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

LIT_SIGMA = 4.0  # a dark pixel is taken for lit once in 30,000 times
_CLIP_SIGMA = 3.0
_CLIPPED_SECOND_MOMENT = 0.9733  # of a normal distribution cut off at 3 sigma
_ENOUGH_NEGATIVE = 100


def dark_sigma(values: NDArray[Any]) -> float:
    """Standard deviation of the noise of the dark pixels, from background-subtracted values.

    Where values are negative, they are the lower half of the noise and tell its width. Else the noise
    was clipped at zero and shows only its upper half: sigma is then the smallest width that the second
    moment of all values below 3 sigma confirms; signal lies above. Data whose positive values are too
    few for the zeros to be half of a noise have none: sigma is 0. Assumes that most pixels are dark.
    """
    flat = np.asarray(values, dtype=np.float64).ravel()
    negative = flat[flat < 0]
    if negative.size >= _ENOUGH_NEGATIVE:
        return float(np.sqrt(np.mean(negative**2)))
    dark = np.sort(np.maximum(flat, 0.0))
    n_zero = int(np.searchsorted(dark, 0.0, side="right"))
    if n_zero == dark.size:
        return 0.0
    squares = np.cumsum(dark**2)
    sigma = float(dark[n_zero + (dark.size - n_zero) // 10])
    for _ in range(200):
        n_below = int(np.searchsorted(dark, _CLIP_SIGMA * sigma, side="right"))
        new = float(np.sqrt(2.0 * squares[n_below - 1] / n_below / _CLIPPED_SECOND_MOMENT))
        if abs(new - sigma) <= 1e-6 * sigma:
            break
        sigma = new
    n_positive = int(np.searchsorted(dark, _CLIP_SIGMA * sigma, side="right")) - n_zero
    rounding = 0.5 if np.array_equal(dark, np.rint(dark)) else 0.0
    sigma = math.sqrt(max(sigma**2 - rounding**2 / 3.0, 0.0))  # rounding adds a variance of 1/12
    share_zero = 0.5 * math.erfc(-rounding / (sigma * math.sqrt(2.0))) if sigma else 1.0
    return sigma if n_positive > 0.9 * n_zero * (1.0 - share_zero) / share_zero > 0 else 0.0


def dark_background(values: NDArray[Any], sigma: float) -> float:
    """Mean of the dark pixels: zero, or that of the upper half of the noise where it was clipped."""
    clipped = np.count_nonzero(np.asarray(values) < 0) < _ENOUGH_NEGATIVE
    return sigma / math.sqrt(2.0 * math.pi) if clipped else 0.0


def auto_threshold(values: NDArray[Any]) -> float:
    """The count above which a pixel is lit: LIT_SIGMA times the noise of the dark pixels."""
    return LIT_SIGMA * dark_sigma(values)
