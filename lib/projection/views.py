"""From voxels to pixels: a block of voxels, its projections at each omega, and the pixels that they need."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from . import kernels

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Views:
    """The projections of a set of omegas: px = matrix r + shift, as of `Geometry.sample_to_pixel`.

    matrix (n, 2, 3), shift (n, 2): one projection for all tilts of an omega; or (n, n_pairs, 2, 3) and
    (n, n_pairs, 2): one for every pair of tilts. detector_shape = (n_x, n_y) of the ROI.
    """

    matrix: Array
    shift: Array
    detector_shape: tuple[int, int]

    def __len__(self) -> int:
        return self.matrix.shape[0]

    def __getitem__(self, part: slice) -> Views:
        return Views(self.matrix[part], self.shift[part], self.detector_shape)

    @property
    def exact(self) -> bool:
        """Whether every pair of tilts has a projection of its own."""
        return self.matrix.ndim == 4


@dataclass(frozen=True)
class Block:
    """Voxels on a grid: the centres along each axis, in micrometres of the sample frame."""

    x_um: Array
    y_um: Array
    z_um: Array

    @property
    def axes_um(self) -> tuple[Array, Array, Array]:
        """The centres along x, y, z."""
        return self.x_um, self.y_um, self.z_um

    @property
    def shape(self) -> tuple[int, int, int]:
        """Number of voxels along x, y, z."""
        return self.x_um.size, self.y_um.size, self.z_um.size

    @property
    def n_voxels(self) -> int:
        """Number of voxels."""
        return self.x_um.size * self.y_um.size * self.z_um.size

    @property
    def corners_um(self) -> Array:
        """The centres (8, 3) of the voxels at the corners."""
        ends = [axis[[0, -1]] for axis in self.axes_um]
        return np.stack(np.meshgrid(*ends, indexing="ij"), axis=-1).reshape(8, 3)


def um_per_px(views: Views) -> Array:
    """The width (2,) on the sample of a pixel along x and y, in the mean over the views."""
    return np.asarray(1.0 / np.linalg.norm(views.matrix, axis=2).mean(axis=0))


def pixel_boxes(views: Views, block: Block, chosen: NDArray[np.int64] | None = None) -> NDArray[np.int64]:
    """The pixels that a block, or its chosen voxels, can project to at each omega: (n, 4).

    A box is x0, y0, n_x, n_y; it also holds the four pixels about each projection. The projection is
    affine, so the corners of the block bound it.
    """
    if chosen is None:
        pixels = project(views, block.corners_um).reshape(len(views), -1, 2)
        lowest, highest = pixels.min(axis=1), pixels.max(axis=1)
    else:
        lowest, highest = _limits(views, block, chosen)
    limits = np.array(views.detector_shape)
    low = np.clip(np.floor(lowest - 0.501), 0, limits).astype(np.int64)
    high = np.clip(np.ceil(highest + 0.501) + 1, 0, limits).astype(np.int64)
    return np.concatenate([low, np.maximum(high - low, 0)], axis=1)


def _limits(views: Views, block: Block, chosen: NDArray[np.int64]) -> tuple[Array, Array]:
    """Bounds (n, 2) of the projections of the chosen voxels; those of pairs bounded by the mean's."""
    common = mean_views(views)
    low, high = np.full((len(views), 2), np.inf), np.full((len(views), 2), -np.inf)
    ends = _ends_of_lines(chosen, block.z_um.size)
    kernels.project_limits(low, high, ends, common.matrix, common.shift, block.x_um, block.y_um, block.z_um)
    if views.exact:
        least, most = deviations(views, block)
        low, high = low + least, high + most
    return low, high


def _ends_of_lines(chosen: NDArray[np.int64], length: int) -> NDArray[np.int64]:
    """The first and the last of the chosen voxels of each line along z: no other bounds an image."""
    ordered = np.sort(chosen)
    new = np.flatnonzero(np.diff(ordered // length, prepend=-1))
    last = np.append(new[1:], ordered.size)[: new.size] - 1
    return np.concatenate([ordered[new], ordered[last]])


def mean_views(views: Views) -> Views:
    """One projection for each omega: the mean over the pairs."""
    if not views.exact:
        return views
    return Views(views.matrix.mean(axis=1), views.shift.mean(axis=1), views.detector_shape)


def deviations(views: Views, block: Block) -> tuple[Array, Array]:
    """How far, at least and at most (n, 2), the pairs' projections of a block lie from `mean_views`."""
    apart = project(views, block.corners_um) - project(mean_views(views), block.corners_um)[:, None]
    return apart.min(axis=(1, 2)), apart.max(axis=(1, 2))


def project(views: Views, points_um: Array) -> Array:
    """Projections (n, [n_pairs,] n_points, 2) of points (n_points, 3), in pixels."""
    return np.einsum("...ij,cj->...ci", views.matrix, points_um) + views.shift[..., None, :]


@dataclass
class PixelSet:
    """The tilt maps of the pixels in the boxes of some omegas; see `kernels` for the layout.

    unknown, like flat, is true where nothing was measured at a pixel, and flat is zero there; None where all
    of them were.
    """

    flat: NDArray[Any]
    boxes: NDArray[np.int64]
    first_row: NDArray[np.int64]
    unknown: NDArray[np.bool_] | None = None


def kernel_arguments(views: Views, pixels: PixelSet, block: Block) -> tuple[Any, ...]:
    """The last arguments of the gathering and scattering kernels, from `flat` on."""
    return (
        pixels.flat,
        views.matrix,
        views.shift,
        pixels.boxes,
        pixels.first_row,
        views.detector_shape,
        block.x_um,
        block.y_um,
        block.z_um,
    )
