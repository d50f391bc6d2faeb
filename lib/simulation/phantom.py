"""A grain to simulate: its shape, subgrains and orientation as functions of the position."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

_ROUNDNESS = 2.5  # exponent of the superellipsoid; 2 would be an ellipsoid
_NOTCH_CENTER, _NOTCH_RADIUS = np.array([0.55, 0.75, 0.45]), 0.5  # in units of the semi-axes


@dataclass(frozen=True)
class Phantom:
    """A superellipsoid with a notch, divided into subgrains, with a gradient of orientation.

    center_um and semi_axes_um (3,); seeds (n_subgrains, 3) are positions in units of the semi-axes,
    each point belongs to the nearest; offsets_deg (n_subgrains, 2) are the orientations of the
    subgrains relative to the mean; gradient_deg (3, 2) the change of orientation per semi-axis, and
    strain_gradient (3,) that of the axial strain.
    """

    center_um: Array
    semi_axes_um: Array
    seeds: Array
    offsets_deg: Array
    gradient_deg: Array
    strain_gradient: Array

    @classmethod
    def random(
        cls,
        center_um: tuple[float, ...],
        semi_axes_um: tuple[float, ...],
        n_subgrains: int,
        width_deg: tuple[float, ...],
        seed: int,
        strain: float = 0.0,
    ) -> Phantom:
        """A grain whose orientations deviate from the mean by at most width_deg (of tilt1, tilt2).

        Its strain goes from about -strain to strain.
        """
        rng = np.random.default_rng(seed)
        seeds = rng.uniform(-0.6, 0.6, (n_subgrains, 3))
        width = np.array(width_deg)
        turn = 2.0 * np.pi * (np.arange(n_subgrains) / n_subgrains + rng.uniform())
        offsets = 0.6 * width * np.column_stack([np.cos(turn), np.sin(turn)])
        if n_subgrains == 1:
            offsets[:] = 0.0
        gradient = rng.normal(size=(3, 2))
        gradient *= 0.4 * width / np.abs(gradient).sum(axis=0)
        direction = rng.normal(size=3)
        direction /= np.linalg.norm(direction)
        return cls(np.array(center_um), np.array(semi_axes_um), seeds, offsets, gradient, strain * direction)

    def inside(self, points_um: Array) -> NDArray[np.bool_]:
        """Which of the points (..., 3) belong to the grain."""
        u = (points_um - self.center_um) / self.semi_axes_um
        body = (np.abs(u) ** _ROUNDNESS).sum(axis=-1) <= 1.0
        notch = ((u - _NOTCH_CENTER) ** 2).sum(axis=-1) < _NOTCH_RADIUS**2
        return body & ~notch

    def orientation_deg(self, points_um: Array) -> Array:
        """Deviation (..., 2) of tilt1 and tilt2 from the mean at the points (..., 3)."""
        u = (points_um - self.center_um) / self.semi_axes_um
        distance = ((u[..., None, :] - self.seeds) ** 2).sum(axis=-1)
        return self.offsets_deg[distance.argmin(axis=-1)] + u @ self.gradient_deg

    def strain(self, points_um: Array) -> Array:
        """Axial strain (...) at the points (..., 3)."""
        u = (points_um - self.center_um) / self.semi_axes_um
        return np.asarray(u @ self.strain_gradient)

    def sample(self, n_points: int, seed: int) -> Array:
        """About n_points points (n, 3) inside the grain, one at random in each cell of a fine lattice."""
        rng = np.random.default_rng(seed)
        trial = rng.uniform(-1.0, 1.0, (20000, 3)) * self.semi_axes_um + self.center_um
        share = max(self.inside(trial).mean(), 1e-3)
        volume = 8.0 * self.semi_axes_um.prod() * share
        cell = (volume / n_points) ** (1.0 / 3.0)
        counts = np.ceil(2.0 * self.semi_axes_um / cell).astype(int)
        corner = np.stack(np.meshgrid(*(np.arange(n) for n in counts), indexing="ij"), axis=-1).reshape(-1, 3)
        points = (corner + rng.uniform(size=corner.shape)) * cell - self.semi_axes_um + self.center_um
        return points[self.inside(points)]
