"""The response K_w of one omega as the iterative method uses it: in blocks, without those that are empty.

A scanned position sees the orientations next to it, so most of K is zero unless it has tails; and a pixel
holds few orientations. Both are left out, which takes a third of the time of a product with the whole matrix.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from . import map_kernels
from .map_kernels import RUN
from .maps import Maps, padded

Image = NDArray[np.float32]
Strips = NDArray[np.int32]


@dataclass(frozen=True)
class BlockResponse:
    """K (n_scanned, n_pairs), one or several for as many strips of an image, cut into blocks.

    Of RUN tilts by RUN orientations: the blocks of the run r of strip i are first[j] .. first[j + 1] with
    j = i * n_runs + r; block b is that of the tilts' run column[b]. blocks (n_blocks, RUN * RUN) holds them
    with the tilts contiguous, turned with the orientations contiguous. seen (n_strips, n_padded) is what all
    positions together see of each orientation. row_strip (n_rows,) and voxel_strip (n_voxels,) say to which
    strip the rows of the image and the voxels belong, where there are several.
    """

    n_scanned: int
    first: NDArray[np.int64]
    column: NDArray[np.int64]
    blocks: Image
    turned: Image
    seen: Image
    row_strip: Strips | None = None
    voxel_strip: Strips | None = None

    @classmethod
    def of(cls, *matrices: Image, rows: Strips | None = None, voxels: Strips | None = None) -> BlockResponse:
        """From the whole matrices of the strips."""
        whole = np.concatenate([padded(padded(matrix).T) for matrix in matrices])  # scanned filled up as well
        blocks = whole.reshape(whole.shape[0] // RUN, RUN, -1, RUN).transpose(0, 2, 1, 3)
        eight = (whole != 0.0).view(np.uint64)  # RUN values that are something, or nothing, in one number
        held = (eight != 0).reshape(-1, RUN, eight.shape[1]).any(axis=1)
        return cls(
            n_scanned=matrices[0].shape[0],
            first=np.concatenate([[0], np.cumsum(held.sum(axis=1))]).astype(np.int64),
            column=np.nonzero(held)[1].astype(np.int64),
            blocks=np.ascontiguousarray(blocks[held]).reshape(-1, RUN * RUN),
            turned=np.ascontiguousarray(blocks[held].transpose(0, 2, 1)).reshape(-1, RUN * RUN),
            seen=whole.sum(axis=1).reshape(len(matrices), -1),
            row_strip=rows,
            voxel_strip=voxels,
        )

    @property
    def n_padded(self) -> int:
        """Number of orientations, filled up to whole runs."""
        return self.seen.shape[1]

    def _strips(self, n_rows: int) -> Strips:
        """The strip of each row of an image."""
        return np.zeros(n_rows, dtype=np.int32) if self.row_strip is None else self.row_strip

    def of_pixels(self, image: Image) -> tuple[Image, NDArray[np.bool_]]:
        """K image^T, (n_rows, n_scanned), of rows of orientations; and which of their runs hold something."""
        expected = np.empty((image.shape[0], self.n_scanned), dtype=np.float32)
        lit = np.empty((image.shape[0], image.shape[1] // RUN), dtype=np.bool_)
        strips = self._strips(image.shape[0])
        map_kernels.respond_pixels(image, strips, self.first, self.column, self.blocks, expected, lit)
        return expected, lit

    def of_pixels_back(self, image: Image, lit: NDArray[np.bool_]) -> Image:
        """The adjoint of `of_pixels` in the runs that are lit; zero in the others."""
        back = np.empty((image.shape[0], self.n_padded), dtype=np.float32)
        strips = self._strips(image.shape[0])
        map_kernels.respond_pixels_back(image, strips, self.first, self.column, self.turned, lit, back)
        return back

    def of_voxels(self, maps: Maps) -> Image:
        """K maps^T, (n_voxels, n_scanned)."""
        out = np.empty((maps.n_voxels, self.n_scanned), dtype=np.float32)
        map_kernels.respond_voxels(
            maps.first, maps.run, maps.values, self.first, self.column, self.blocks, out
        )
        return out

    def of_voxels_back(self, seen: Image, maps: Maps) -> None:
        """Add the adjoint of `of_voxels` of seen (n_voxels, n_scanned) to what the maps hold."""
        map_kernels.respond_voxels_back(
            seen, self.first, self.column, self.turned, maps.first, maps.run, maps.values
        )


NO_RESPONSE = BlockResponse.of(np.zeros((1, 1), dtype=np.float32))  # before there is one
