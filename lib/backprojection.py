"""Method `backprojection`: sum the tilt maps that a voxel projects to, and read off its orientation.

White paper (Poulsen et al. 2017, J. Appl. Cryst. 50, 1441), section 2.2.2: for each voxel
p(tilt1, tilt2) is the sum over omega of the intensity at the nearest pixel; the orientation is the
centre of mass of p on the real axes, its error the standard deviation, and the completeness the
share of the measured omegas at which the brightest pair is lit.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from . import kernels

Array = NDArray[np.float64]

FIELDS = ("tilt1", "tilt2", "tilt1_std", "tilt2_std", "completeness", "intensity")


@dataclass(frozen=True)
class Views:
    """The projections of a set of omegas: px = matrix r + shift, as of `Geometry.sample_to_pixel`.

    matrix (n, 2, 3), shift (n, 2); detector_shape = (n_x, n_y) of the ROI.
    """

    matrix: Array
    shift: Array
    detector_shape: tuple[int, int]

    def __len__(self) -> int:
        return self.matrix.shape[0]

    def __getitem__(self, part: slice) -> Views:
        return Views(self.matrix[part], self.shift[part], self.detector_shape)


@dataclass(frozen=True)
class Block:
    """Voxels on a grid: the centres along each axis, in micrometres of the sample frame."""

    x_um: Array
    y_um: Array
    z_um: Array

    @property
    def shape(self) -> tuple[int, int, int]:
        """Number of voxels along x, y, z."""
        return self.x_um.size, self.y_um.size, self.z_um.size

    @property
    def n_voxels(self) -> int:
        """Number of voxels."""
        return self.x_um.size * self.y_um.size * self.z_um.size


def pixel_boxes(views: Views, block: Block) -> NDArray[np.int64]:
    """The pixels that a block can project to at each omega: (n, 4) of x0, y0, n_x, n_y.

    The projection is affine, so the corners of the block bound it.
    """
    ends = [axis[[0, -1]] for axis in (block.x_um, block.y_um, block.z_um)]
    corners = np.stack(np.meshgrid(*ends, indexing="ij"), axis=-1).reshape(8, 3)
    pixels = np.einsum("kij,cj->kci", views.matrix, corners) + views.shift[:, None, :]
    limits = np.array(views.detector_shape)
    low = np.clip(np.floor(pixels.min(axis=1) - 0.501).astype(np.int64), 0, limits)
    high = np.clip(np.ceil(pixels.max(axis=1) + 0.501).astype(np.int64) + 1, 0, limits)
    return np.concatenate([low, np.maximum(high - low, 0)], axis=1)


@dataclass
class PixelSet:
    """The tilt maps of the pixels in the boxes of some omegas; see `kernels` for the layout."""

    flat: NDArray[Any]
    boxes: NDArray[np.int64]
    first_row: NDArray[np.int64]


def sum_dtype(pixel_dtype: np.dtype[Any]) -> np.dtype[Any]:
    """Type of the sums: exact for the detector's integers, float32 for everything else."""
    small = pixel_dtype.kind == "u" and pixel_dtype.itemsize <= 2
    return np.dtype(np.uint32 if small else np.float32)


class Backprojection:
    """The sums of one block of voxels, filled omega by omega.

    Adding the same omegas in the same chunks gives the same bits for a voxel in whatever block it is.
    """

    def __init__(self, block: Block, n_pairs: int, pixel_dtype: np.dtype[Any], threshold: float) -> None:
        self.block = block
        self.threshold = threshold
        self.sums = np.zeros((block.n_voxels, n_pairs), dtype=sum_dtype(pixel_dtype))
        self.seen = np.zeros(block.n_voxels, dtype=np.int32)
        self._lit_bits: list[tuple[Views, PixelSet]] = []

    def add(self, views: Views, pixels: PixelSet) -> None:
        """Add the pixels of some omegas, and remember as bits which of their pairs are lit."""
        kernels.gather_nearest(self.sums, self.seen, *_kernel_arguments(views, pixels, self.block))
        bits = np.empty((pixels.flat.shape[0], -(-pixels.flat.shape[1] // 8)), dtype=np.uint8)
        kernels.pack_lit(pixels.flat, self.threshold, bits)
        self._lit_bits.append((views, PixelSet(bits, pixels.boxes, pixels.first_row)))

    def finish(self, tilt1_deg: Array, tilt2_deg: Array, n_omega: int) -> dict[str, Array]:
        """The result of the block: each of FIELDS as (n_x, n_y, n_z); n_omega measured omegas.

        Orientations and their standard deviations in degrees on the given axes; NaN where the sum
        over all tilts is not positive. Intensity is the mean over the omegas at which the voxel falls
        on the detector, in counts of all tilts together; NaN where it never does.
        """
        tilt1, tilt2 = (g.ravel() for g in np.meshgrid(tilt1_deg, tilt2_deg, indexing="ij"))
        moments = np.empty((self.block.n_voxels, 5))
        pair = np.empty(self.block.n_voxels, dtype=np.int64)
        kernels.tilt_moments(self.sums, tilt1, tilt2, moments, pair)
        lit = np.zeros(self.block.n_voxels, dtype=np.int64)
        for views, bits in self._lit_bits:
            kernels.count_lit(lit, pair, *_kernel_arguments(views, bits, self.block))
        with np.errstate(invalid="ignore"):
            intensity = np.where(self.seen > 0, moments[:, 0], np.nan) / np.maximum(self.seen, 1)
        columns = (*moments[:, 1:].T, lit / n_omega, intensity)
        return {name: c.reshape(self.block.shape) for name, c in zip(FIELDS, columns, strict=True)}


def _kernel_arguments(views: Views, pixels: PixelSet, block: Block) -> tuple[Any, ...]:
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


def apply_cutoff(fields: dict[str, Array], completeness_cutoff: float) -> NDArray[np.bool_]:
    """Blank the orientation below the cutoff (in place); returns the mask of the grain.

    The grain is where the completeness reaches the cutoff and there is an orientation.
    """
    below = fields["completeness"] < completeness_cutoff
    for name in FIELDS[:4]:
        fields[name][below] = np.nan
    return np.isfinite(fields["tilt1"]) & ~below & (fields["completeness"] > 0)
