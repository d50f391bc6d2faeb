"""The inner loops of the iterative method: bilinear projection of a list of voxels and its adjoint.

Images hold one row per active pixel, all orientations of a pixel contiguous; row_of (n_x * n_y of
the ROI) gives the row of a pixel, -1 where it is not active.
"""

from __future__ import annotations

import numba
import numpy as np


@numba.njit(cache=True, nogil=True, inline="always")
def _corner(x, y, z, matrix, shift):  # type: ignore[no-untyped-def]
    """Lower pixel of the four around the projection of a point, and its distance from it."""
    px = matrix[0, 0] * x + matrix[0, 1] * y + matrix[0, 2] * z + shift[0]
    py = matrix[1, 0] * x + matrix[1, 1] * y + matrix[1, 2] * z + shift[1]
    ix, iy = int(np.floor(px)), int(np.floor(py))
    return ix, iy, np.float32(px - ix), np.float32(py - iy)


@numba.njit(cache=True, nogil=True, fastmath={"contract", "reassoc"})
def scatter_bilinear(maps, xyz, matrix, shift, shape, row_of, image):  # type: ignore[no-untyped-def]
    """image[row(u)] += sum over voxels of P[u, v] maps[v]; maps (n_voxels, n), image (n_rows, n)."""
    one = np.float32(1.0)
    for v in range(maps.shape[0]):
        ix, iy, fx, fy = _corner(xyz[v, 0], xyz[v, 1], xyz[v, 2], matrix, shift)
        source = maps[v]
        for corner in range(4):
            i, j = ix + (corner >> 1), iy + (corner & 1)
            if i < 0 or j < 0 or i >= shape[0] or j >= shape[1]:
                continue
            row = row_of[i * shape[1] + j]
            if row < 0:
                continue
            weight = (fx if corner >> 1 else one - fx) * (fy if corner & 1 else one - fy)
            target = image[row]
            for s in range(source.size):
                target[s] += weight * source[s]


@numba.njit(cache=True, nogil=True, fastmath={"contract", "reassoc"})
def gather_bilinear(image, xyz, matrix, shift, shape, row_of, maps):  # type: ignore[no-untyped-def]
    """maps[v] += sum over pixels of P[u, v] image[row(u)]: the adjoint of `scatter_bilinear`."""
    one = np.float32(1.0)
    for v in range(maps.shape[0]):
        ix, iy, fx, fy = _corner(xyz[v, 0], xyz[v, 1], xyz[v, 2], matrix, shift)
        target = maps[v]
        for corner in range(4):
            i, j = ix + (corner >> 1), iy + (corner & 1)
            if i < 0 or j < 0 or i >= shape[0] or j >= shape[1]:
                continue
            row = row_of[i * shape[1] + j]
            if row < 0:
                continue
            weight = (fx if corner >> 1 else one - fx) * (fy if corner & 1 else one - fy)
            source = image[row]
            for s in range(target.size):
                target[s] += weight * source[s]


@numba.njit(cache=True, nogil=True)
def mark_pixels(xyz, matrix, shift, shape, hit, cover):  # type: ignore[no-untyped-def]
    """Mark the pixels (n_x * n_y) that the voxels hit; cover (n_voxels,) is their weight on the detector."""
    for v in range(xyz.shape[0]):
        ix, iy, fx, fy = _corner(xyz[v, 0], xyz[v, 1], xyz[v, 2], matrix, shift)
        total = 0.0
        for corner in range(4):
            i, j = ix + (corner >> 1), iy + (corner & 1)
            if i < 0 or j < 0 or i >= shape[0] or j >= shape[1]:
                continue
            hit[i * shape[1] + j] = True
            total += (fx if corner >> 1 else 1.0 - fx) * (fy if corner & 1 else 1.0 - fy)
        cover[v] = total
