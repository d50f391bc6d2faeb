"""Spots: the lit regions of a tilt-summed image, one of which is the grain."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import ndimage

Array = NDArray[np.float64]

_LIT_SIGMA = {3: 3.5, 7: 4.5}  # by the width of an average: a lit one is a spot by itself where it is wide
_LIT_COUNTS = 0.5  # where there is no noise
_GROWN = 2  # pixels around what is lit that belong to a spot
_SMALLEST = 17  # pixels; a hot pixel or two light fewer
_MOST_SPOTS = 16
_SURELY_DARK = 20.0  # percent of the pixels
_CLEARLY = 1.7  # times the noise of what is lit
_EDGE_SHARE = 0.02  # of a spot's peak that a pixel needs to count as the spot's edge


@dataclass(frozen=True)
class Spot:
    """A lit region of a tilt-summed image: its counts, centroid (x, y) in pixels and furthest lit pixel."""

    total: float
    centroid_px: tuple[float, float]
    reach_px: float
    at_edge: bool

    def of_pixels(self, factor: int) -> Spot:
        """The spot in single pixels, where it was found in sums over factor x factor of them."""
        x, y = (factor * c + (factor - 1) / 2.0 for c in self.centroid_px)
        return Spot(self.total, (x, y), factor * self.reach_px, self.at_edge)


def faintest(sigma: ArrayLike, width: int, n_sigma: float) -> Array:
    """Counts above the background from which an average over width x width pixels of such noise is lit."""
    return np.maximum(n_sigma * np.asarray(sigma, dtype=np.float64) / width, _LIT_COUNTS)


def find_spots(image: ArrayLike, background: float, sigma: float) -> list[Spot]:
    """The lit regions of an image (n_x, n_y), the brightest first.

    background and sigma are the mean and noise of its dark pixels, a first guess that the dark
    surroundings correct. A region is summed with its margin, with no threshold of its own, so that
    its centroid has no bias. Where none is found, wider averages are looked at.
    """
    values = np.asarray(image, dtype=np.float64)
    background = max(background, float(np.percentile(values, _SURELY_DARK)))
    for width, n_sigma in _LIT_SIGMA.items():
        found = _spots(values, background, sigma, width, n_sigma)
        if found:
            break
    return found


def _spots(values: Array, background: float, sigma: float, width: int, n_sigma: float) -> list[Spot]:
    """The regions where averages over width x width pixels stand out by n_sigma of their noise."""
    for _ in range(3):
        smooth = ndimage.uniform_filter(values, width, mode="nearest") - background
        lit = smooth > faintest(sigma, width, n_sigma)
        dark = ~ndimage.binary_dilation(lit, iterations=2 * _GROWN)
        if np.count_nonzero(dark) > 0.05 * dark.size:
            background, sigma = float(values[dark].mean()), float(values[dark].std())
    labels, n_labels = ndimage.label(ndimage.binary_dilation(lit, iterations=_GROWN))
    spots = []
    for number, box in enumerate(ndimage.find_objects(labels), start=1):
        here = labels[box] == number
        if np.count_nonzero(lit[box] & here) < _SMALLEST:
            continue
        bright = np.where(lit[box] & here, smooth[box], 0.0)
        noise = min(float(faintest(sigma, width, _CLEARLY * n_sigma)), 0.5 * bright.max())
        clear = bright > max(_EDGE_SHARE * bright.max(), noise)
        corner = (box[0].start, box[1].start)
        spots.append(_spot(np.where(here, values[box] - background, 0.0), clear, corner, lit.shape))
    return sorted(spots, key=lambda spot: -spot.total)[:_MOST_SPOTS]


def _spot(signal: Array, lit: NDArray[np.bool_], corner: tuple[int, int], shape: tuple[int, ...]) -> Spot:
    """The spot whose signal and clearly lit pixels (n, m) begin at a corner of an image of some shape."""
    total = max(float(signal.sum()), 1e-9)
    x = np.arange(signal.shape[0]) + corner[0]
    y = np.arange(signal.shape[1]) + corner[1]
    centre_x, centre_y = float(signal.sum(axis=1) @ x) / total, float(signal.sum(axis=0) @ y) / total
    i, j = np.nonzero(lit)
    edges = (x[i] == 0) | (x[i] == shape[0] - 1) | (y[j] == 0) | (y[j] == shape[1] - 1)
    reach = float(np.hypot(x[i] - centre_x, y[j] - centre_y).max())
    return Spot(total, (centre_x, centre_y), reach, bool(edges.any()))
