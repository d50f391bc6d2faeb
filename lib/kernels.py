"""The inner loops, compiled by numba; everything else is numpy.

`flat` arrays hold one row per detector pixel with the tilt pairs contiguous: gathering is bound by
memory, and this is the layout in which a voxel reads whole cache lines. A set of omegas shares one
`flat`; omega k owns the pixels of the box boxes[k] = (x0, y0, n_x, n_y) from row first_row[k] on.
"""

from __future__ import annotations

import numba
import numpy as np

_PIXELS_AT_ONCE = 64


@numba.njit(cache=True, nogil=True)
def transpose_frames(frames, y0, n_y, out):  # type: ignore[no-untyped-def]
    """Frames (n_pairs, n_x, n_y_all) -> out (n_x * n_y, n_pairs), columns y0 .. y0 + n_y only."""
    n_pairs, n_x, _ = frames.shape
    for ix in range(n_x):
        for start in range(0, n_y, _PIXELS_AT_ONCE):
            stop = min(start + _PIXELS_AT_ONCE, n_y)
            for t in range(n_pairs):
                for iy in range(start, stop):
                    out[ix * n_y + iy, t] = frames[t, ix, y0 + iy]


@numba.njit(cache=True, nogil=True)
def interpolate_pairs(flat, index, weight, out):  # type: ignore[no-untyped-def]
    """out[p, s] = sum_k weight[s, k] * flat[p, index[s, k]]: the four-point sparse matrix on each row."""
    for p in range(flat.shape[0]):
        for s in range(index.shape[0]):
            total = np.float32(0.0)
            for k in range(4):
                total += weight[s, k] * np.float32(flat[p, index[s, k]])
            out[p, s] = total


@numba.njit(cache=True, nogil=True)
def pack_lit(flat, threshold, bits):  # type: ignore[no-untyped-def]
    """Bit s of bits (n_rows, ceil(n_pairs / 8)) says whether flat[row, s] > threshold."""
    n_rows, n_pairs = flat.shape
    for p in range(n_rows):
        for byte in range(bits.shape[1]):
            value = 0
            for s in range(8 * byte, min(8 * byte + 8, n_pairs)):
                if flat[p, s] > threshold:
                    value |= 1 << (s & 7)
            bits[p, byte] = value


@numba.njit(cache=True, nogil=True, inline="always")
def _row(k, x, y, z, matrix, shift, boxes, first_row, n_x, n_y):  # type: ignore[no-untyped-def]
    """Row of the pixel nearest to the projection of (x, y, z) at omega k; -1 outside the detector."""
    px = np.rint(matrix[k, 0, 0] * x + matrix[k, 0, 1] * y + matrix[k, 0, 2] * z + shift[k, 0])
    py = np.rint(matrix[k, 1, 0] * x + matrix[k, 1, 1] * y + matrix[k, 1, 2] * z + shift[k, 1])
    if px < 0 or py < 0 or px >= n_x or py >= n_y:
        return -1
    return first_row[k] + (int(px) - boxes[k, 0]) * boxes[k, 3] + int(py) - boxes[k, 1]


@numba.njit(cache=True, nogil=True)
def gather_nearest(  # type: ignore[no-untyped-def]
    sums, seen, flat, matrix, shift, boxes, first_row, detector_shape, xs, ys, zs
):
    """Add to each voxel the tilt maps of the pixels that it projects to.

    sums (n_voxels, n_pairs) and seen (n_voxels,), voxels in C order of (xs, ys, zs); matrix
    (n_omega, 2, 3) and shift (n_omega, 2) as of `Geometry.sample_to_pixel`. Four omegas share a pass
    over the sums.
    """
    n_omega, n_pairs = matrix.shape[0], sums.shape[1]
    n_x, n_y = detector_shape
    rows = np.empty(n_omega, dtype=np.int64)
    voxel = 0
    for x in xs:
        for y in ys:
            for z in zs:
                n_rows = 0
                for k in range(n_omega):
                    row = _row(k, x, y, z, matrix, shift, boxes, first_row, n_x, n_y)
                    if row >= 0:
                        rows[n_rows] = row
                        n_rows += 1
                total = sums[voxel]
                done = 0
                while done + 4 <= n_rows:
                    r0, r1 = flat[rows[done]], flat[rows[done + 1]]
                    r2, r3 = flat[rows[done + 2]], flat[rows[done + 3]]
                    for s in range(n_pairs):
                        total[s] += (r0[s] + r1[s]) + (r2[s] + r3[s])
                    done += 4
                while done < n_rows:
                    r0 = flat[rows[done]]
                    for s in range(n_pairs):
                        total[s] += r0[s]
                    done += 1
                seen[voxel] += n_rows
                voxel += 1


@numba.njit(cache=True, nogil=True)
def count_lit(  # type: ignore[no-untyped-def]
    lit, pair, bits, matrix, shift, boxes, first_row, detector_shape, xs, ys, zs
):
    """Add to lit (n_voxels,) the omegas at which the voxel's own pair (n_voxels,) is lit."""
    n_x, n_y = detector_shape
    voxel = 0
    for x in xs:
        for y in ys:
            for z in zs:
                byte, bit = pair[voxel] >> 3, pair[voxel] & 7
                count = 0
                for k in range(matrix.shape[0]):
                    row = _row(k, x, y, z, matrix, shift, boxes, first_row, n_x, n_y)
                    if row >= 0:
                        count += (bits[row, byte] >> bit) & 1
                lit[voxel] += count
                voxel += 1


@numba.njit(cache=True, nogil=True)
def tilt_moments(sums, tilt1, tilt2, out, brightest):  # type: ignore[no-untyped-def]
    """Total, means and standard deviations of each tilt map: out (n_voxels, 5); brightest (n_voxels,).

    tilt1 and tilt2 (n_pairs,) are the angles of each pair. NaN where the total is not positive. The
    first of equally bright pairs is the brightest.
    """
    for voxel in range(sums.shape[0]):
        total = 0.0
        mean1 = 0.0
        mean2 = 0.0
        best = 0
        for s in range(sums.shape[1]):
            value = np.float64(sums[voxel, s])
            total += value
            mean1 += value * tilt1[s]
            mean2 += value * tilt2[s]
            if sums[voxel, s] > sums[voxel, best]:
                best = s
        brightest[voxel] = best
        out[voxel, 0] = total
        if not total > 0.0:
            out[voxel, 1:] = np.nan
            continue
        mean1 /= total
        mean2 /= total
        variance1 = 0.0
        variance2 = 0.0
        for s in range(sums.shape[1]):
            value = np.float64(sums[voxel, s])
            variance1 += value * (tilt1[s] - mean1) ** 2
            variance2 += value * (tilt2[s] - mean2) ** 2
        out[voxel, 1] = mean1
        out[voxel, 2] = mean2
        out[voxel, 3] = np.sqrt(max(variance1 / total, 0.0))
        out[voxel, 4] = np.sqrt(max(variance2 / total, 0.0))
