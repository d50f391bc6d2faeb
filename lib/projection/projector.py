"""How the volume projects: its voxels, layer by layer, and where each omega sees them."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from . import footprint
from .views import Block, Views

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Projector:
    """The voxels of the volume and their projections at the omegas in use.

    axis is that of the volume which omega turns about; a layer is normal to it. views (at the mean tilt) and
    pair_views (at every pair of tilts; None for `projection mean`) have an entry for each omega. center_px is
    the image of the rotation axis in them. voxel_um are the edges of a voxel. A pixel of the views is the sum
    of `bins` (along x, along y) pixels of the detector.
    """

    volume: Block
    axis: int
    views: Views
    pair_views: Views | None
    center_px: tuple[float, float]
    voxel_um: tuple[float, float, float]
    bins: tuple[int, int] = (1, 1)

    @property
    def detector_shape(self) -> tuple[int, int]:
        """Number of pixels (n_x, n_y) of the region."""
        return self.views.detector_shape

    @property
    def n_layers(self) -> int:
        """Number of layers along the rotation axis."""
        return self.volume.shape[self.axis]

    @property
    def n_in_layer(self) -> int:
        """Number of voxels in a layer."""
        return self.volume.n_voxels // self.n_layers

    def moved(self, center_px: tuple[float, float], drift_px: Array) -> Projector:
        """With the axis at another place of the image, and the projections of omega k by drift_px (n, 2)."""
        move = np.subtract(center_px, self.center_px) + drift_px
        views = replace(self.views, shift=self.views.shift + move)
        pairs = self.pair_views
        if pairs is not None:
            pairs = replace(pairs, shift=pairs.shift + move[:, None, :])
        return replace(self, views=views, pair_views=pairs, center_px=center_px)

    def binned(self, bins: tuple[int, int], first: tuple[int, int], shape: tuple[int, int]) -> Projector:
        """On images of so many bins (n_x, n_y) of pixels, the first of which begins at a pixel `first`."""
        size = np.array(bins, dtype=np.float64)
        middle = np.array(first) + (size - 1.0) / 2.0

        def small(views: Views) -> Views:
            return Views(views.matrix / size[:, None], (views.shift - middle) / size, shape)

        cx, cy = (np.subtract(self.center_px, middle) / size).tolist()
        pairs = None if self.pair_views is None else small(self.pair_views)
        total = (self.bins[0] * bins[0], self.bins[1] * bins[1])
        return replace(self, views=small(self.views), pair_views=pairs, center_px=(cx, cy), bins=total)

    @property
    def widths_px(self) -> Array:
        """How a voxel is spread over the pixels of the views: see `footprint.widths_px`."""
        return footprint.widths_px(self.views, self.voxel_um)

    @property
    def layered_shape(self) -> tuple[int, int, int]:
        """Shape of the volume with the rotation axis first: voxels are numbered in its C order."""
        first, second, third = (self.volume.shape[i] for i in self._layered_axes)
        return first, second, third

    @property
    def _layered_axes(self) -> list[int]:
        return [self.axis, *(i for i in range(3) if i != self.axis)]

    def centres_um(self, voxels: NDArray[np.int64]) -> Array:
        """Positions (n, 3) of voxels that are numbered layer by layer."""
        xyz = np.empty((voxels.size, 3))
        for axis, index in zip(self._layered_axes, np.unravel_index(voxels, self.layered_shape), strict=True):
            xyz[:, axis] = self.volume.axes_um[axis][index]
        return xyz

    def c_order(self, voxels: NDArray[np.int64]) -> NDArray[np.int64]:
        """Numbers in C order of (x, y, z) of voxels that are numbered layer by layer."""
        if self.axis == 0:
            return voxels
        layer, place = np.divmod(voxels, self.n_in_layer)
        return place * self.n_layers + layer
