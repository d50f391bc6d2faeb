"""A grain on its voxels, and how to read it between them without mixing in what is not grain."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter, map_coordinates

Array = NDArray[np.float64]
Mask = NDArray[np.bool_]

_LEAST = 1e-6  # weight below which nothing of the grain is near
_HALF = 0.5


@dataclass(frozen=True)
class Map:
    """mask (n_x, n_y, n_z) of a grain, first_um (3,) the centre of its first voxel, spacing_um (3,).

    tilts (2, n_x, n_y, n_z) in degrees, NaN where not known; None where the scan does not tell both. cell
    are labels from 1, 0 outside; None: the grain is one.
    """

    mask: Mask
    first_um: Array
    spacing_um: Array
    tilts: Array | None = None
    cell: NDArray[np.int32] | None = None

    def places_um(self, index: NDArray[Any]) -> Array:
        """Where voxels are: index (3, n) to (n, 3), sample frame."""
        return self.first_um + self.spacing_um * index.T

    def steps(self, places_um: Array) -> Array:
        """Places (n, 3) as fractional numbers of voxels (3, n)."""
        return ((places_um - self.first_um) / self.spacing_um).T

    def holds(self, places_um: Array) -> Mask:
        """Which places (n, 3) lie in the box of the voxels."""
        at, n = self.steps(places_um), np.array(self.mask.shape)[:, None]
        return np.asarray(((at >= -_HALF) & (at <= n - _HALF)).all(axis=0))

    def certain(self, places_um: Array, margin_um: float) -> Mask:
        """Which places (n, 3) are so far from where the box cuts the grain; no limit where it does not.

        Of a thin box less is left out.
        """
        at, n = self.steps(places_um), self.mask.shape
        result = np.ones(at.shape[1], dtype=np.bool_)
        for axis, wanted in enumerate(margin_um / self.spacing_um):
            margin = min(wanted, (n[axis] - 1) / 4)
            if self.mask.take(0, axis).any():
                result &= at[axis] >= margin - _HALF
            if self.mask.take(-1, axis).any():
                result &= at[axis] <= n[axis] - _HALF - margin
        return result

    @property
    def centre_um(self) -> Array:
        """Centre of mass of the grain."""
        return self.places_um(np.stack(np.nonzero(self.mask))).mean(axis=0)

    @property
    def known(self) -> Mask:
        """Where the grain has an orientation."""
        if self.tilts is None:
            return np.zeros_like(self.mask)
        return self.mask & np.isfinite(self.tilts).all(axis=0)


def between(values: NDArray[Any], at: Array) -> Array:
    """Values (n_x, n_y, n_z) at fractional numbers (3, n), linear; beyond the edge as at it."""
    limits = np.array(values.shape)[:, None] - 1.0
    return np.asarray(map_coordinates(values, np.clip(at, 0.0, limits), order=1, output=np.float64))


def read_inside(values: Array, inside: Mask, at: Array) -> Array:
    """Values between voxels (n,) from those inside alone; NaN where most of the weight is outside."""
    weight = between(inside.astype(np.float32), at)
    total = between(np.where(inside, values, 0.0), at)
    return np.where(weight >= _HALF, total / np.maximum(weight, _LEAST), np.nan)


def nearest(values: NDArray[Any], at: Array) -> NDArray[Any]:
    """The values of the voxels in which fractional numbers (3, n) lie; beyond the edge as there."""
    limits = np.array(values.shape)[:, None] - 1
    return values[tuple(np.clip(np.rint(at).astype(np.int64), 0, limits))]


def smoothed(values: Array, inside: Mask, sigma: Array) -> NDArray[np.float32]:
    """Values smoothed over those inside alone, by a Gaussian of sigma (3,) voxels; 0 far away from them."""
    weight = blurred(inside, sigma)
    total = blurred(np.where(inside, values, 0.0), sigma)
    return np.where(weight > 1e-3, total / np.maximum(weight, 1e-3), 0.0).astype(np.float32)


def blurred(values: NDArray[Any], sigma: Array) -> NDArray[np.float32]:
    """A Gaussian of sigma (3,) voxels; the edge goes on for ever, for a grain may be cut by its box."""
    return np.asarray(gaussian_filter(values.astype(np.float32), sigma, mode="nearest", truncate=3.0))
