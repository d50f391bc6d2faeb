"""The grain as a solid body: the voxels that a picture in 3D shows, and their smooth surface."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..cells.surfaces import surface
from .pictures import Array, Body, Mask


@dataclass(frozen=True)
class Net:
    """The surface of a solid: points (n, 3) in um, corners (m, 4) of quadrilaterals that number them.

    The normals of the right hand point outwards. owner (m,) is the voxel that a quadrilateral belongs to, as
    a number in the list of voxels.
    """

    points_um: Array
    corners: NDArray[np.int64]
    owner: NDArray[np.int64]


@dataclass(frozen=True)
class Solid:
    """The voxels shown: part of the volume, mask (n_x, n_y, n_z) of the grain among them.

    start_um is the corner of the first voxel, pitch_um the distance of two.
    """

    part: tuple[slice, ...]
    mask: Mask
    start_um: Array
    pitch_um: Array

    def of(self, values: NDArray[Any]) -> NDArray[Any]:
        """Values (n,) of the voxels of the grain, in order of x, y, z, from a field of the volume."""
        return np.asarray(values[self.part][self.mask])

    @property
    def centres_um(self) -> Array:
        """Centres (n, 3) of the voxels of the grain."""
        return np.asarray(self.start_um + self.pitch_um * (np.argwhere(self.mask) + 0.5))

    def net(self, mask: Mask | None = None) -> Net:
        """The smooth surface of the grain, or of a part of it."""
        shown = self.mask if mask is None else mask
        found = surface(shown.astype(np.int32), self.start_um, self.pitch_um)
        numbers = np.cumsum(self.mask).reshape(self.mask.shape) - 1
        return Net(found.points_um, found.corners, numbers[tuple(found.voxels.T)])


def solid(body: Body, most: int) -> Solid:
    """The box about the grain; where it is longer than `most` voxels, every n-th. There must be a grain."""
    low = np.array([w.min() for w in np.nonzero(body.mask)])
    high = np.array([w.max() + 1 for w in np.nonzero(body.mask)])
    steps = -(-(high - low) // most)
    part = tuple(slice(a + s // 2, b, s) for a, b, s in zip(low, high, steps, strict=True))
    size_um = np.ptp(body.limits_um, axis=1) / body.mask.shape
    return Solid(part, body.mask[part], body.limits_um[:, 0] + size_um * low, size_um * steps)
