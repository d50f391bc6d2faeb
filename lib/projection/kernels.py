"""The inner loops, compiled by numba; everything else is numpy.

`flat` arrays hold one row per detector pixel with the tilt pairs contiguous: gathering is bound by
memory, and this is the layout in which a voxel reads whole cache lines. A set of omegas shares one
`flat`; omega k owns the pixels of the box boxes[k] = (x0, y0, n_x, n_y) from row first_row[k] on.
"""

from __future__ import annotations

import numpy as np

from ..physics.tilts import TOUCHED
from .jit import kernel


@kernel()
def transpose_frames(frames, y0, n_y, out):  # type: ignore[no-untyped-def]
    """Frames (n_pairs, n_x, n_y_all) -> out (n_x * n_y, n_pairs), columns y0 .. y0 + n_y only.

    Eight pixels at once: each reads what lies in one cache line, and writes rows from end to end.
    """
    n_pairs, n_x, _ = frames.shape
    for ix in range(n_x):
        plane = frames[:, ix, y0 : y0 + n_y]
        rows = out[ix * n_y : (ix + 1) * n_y]
        y = 0
        while y + 8 <= n_y:
            r0, r1, r2, r3 = rows[y], rows[y + 1], rows[y + 2], rows[y + 3]
            r4, r5, r6, r7 = rows[y + 4], rows[y + 5], rows[y + 6], rows[y + 7]
            for t in range(n_pairs):
                line = plane[t]
                r0[t], r1[t], r2[t], r3[t] = line[y], line[y + 1], line[y + 2], line[y + 3]
                r4[t], r5[t], r6[t], r7[t] = line[y + 4], line[y + 5], line[y + 6], line[y + 7]
            y += 8
        while y < n_y:
            row = rows[y]
            for t in range(n_pairs):
                row[t] = plane[t, y]
            y += 1


@kernel()
def add_frame(frame, total, most, n_unknown):  # type: ignore[no-untyped-def]
    """Add pixels (n,) to their total (float32), take the largest; what is no finite number is counted."""
    for i in range(frame.size):
        value = frame[i]
        known = value - value == 0
        total[i] += np.float32(value) if known else np.float32(0)
        most[i] = value if known and value > most[i] else most[i]
        n_unknown[i] += np.uint16(not known)


@kernel()
def second_brightest(rim, around):  # type: ignore[no-untyped-def]
    """Around (n_x, n_y) = the largest but one of the eight pixels about each of `rim` (n_x + 2, n_y + 2).

    At least 0.
    """
    n_y = around.shape[1]
    most = np.empty(n_y, dtype=np.float32)
    for x in range(around.shape[0]):
        line = around[x]
        line[:], most[:] = 0.0, 0.0
        for i in range(3):
            for j in range(3):
                if i != 1 or j != 1:
                    beside = rim[x + i, j : j + n_y]
                    for y in range(n_y):
                        line[y] = max(line[y], min(most[y], beside[y]))
                        most[y] = max(most[y], beside[y])


@kernel(error_model="numpy")
def sum_bins(frame, y0, bins, least_known, out):  # type: ignore[no-untyped-def]
    """out[i, j] = the sum of the pixels of a bin, bins = (along x, along y), from column 0 and row y0 on.

    Pixels of the frame that are no finite number count as the mean of the others of their bin; NaN where
    those are fewer than the share least_known. Unsigned loops, of which the compiler makes vectors.
    """
    b_x, b_y = bins
    n_out, n = np.uint64(out.shape[1]), np.uint64(out.shape[1] * b_y)
    lines = np.empty(n, dtype=np.float32)
    for i in range(out.shape[0]):
        lines[:] = 0
        for x in range(i * b_x, (i + 1) * b_x):
            line = frame[x, y0 : y0 + n]
            for y in range(n):
                lines[y] += np.float32(line[y])
        sums, n_odd = out[i], 0
        if b_y == 2:
            for j in range(n_out):
                sums[j] = lines[np.uint64(2) * j] + lines[np.uint64(2) * j + np.uint64(1)]
        else:
            for j in range(n_out):
                total = np.float32(0.0)
                for y in range(b_y):
                    total += lines[j * np.uint64(b_y) + np.uint64(y)]
                sums[j] = total
        for j in range(n_out):
            n_odd += sums[j] - sums[j] != 0
        for j in range(out.shape[1] if n_odd else 0):
            if not np.isfinite(sums[j]):
                pixels = frame[i * b_x : (i + 1) * b_x, y0 + j * b_y : y0 + (j + 1) * b_y]
                sums[j] = _scaled_up(pixels, least_known)


@kernel()
def _scaled_up(pixels, least_known):  # type: ignore[no-untyped-def]
    """The sum of pixels as if those that are no finite number were like the mean of the others."""
    total, known = np.float32(0.0), 0
    for value in pixels.flat:
        if np.isfinite(value):
            total += np.float32(value)
            known += 1
    return (
        total * np.float32(pixels.size / known) if known >= least_known * pixels.size else np.float32(np.nan)
    )


@kernel()
def interpolate_pairs(flat, index, weight, out):  # type: ignore[no-untyped-def]
    """out[p, s] = sum_k weight[s, k] * flat[p, index[s, k]]: the four-point sparse matrix on each row."""
    for p in range(flat.shape[0]):
        for s in range(index.shape[0]):
            total = np.float32(0.0)
            for k in range(4):
                total += weight[s, k] * np.float32(flat[p, index[s, k]])
            out[p, s] = total


@kernel(inline="always")
def _centre(voxel, xs, ys, zs):  # type: ignore[no-untyped-def]
    """Position of a voxel numbered in C order of (xs, ys, zs)."""
    column = voxel // zs.size
    return xs[column // ys.size], ys[column % ys.size], zs[voxel % zs.size]


@kernel(inline="always")
def _row(k, x, y, z, matrix, shift, boxes, first_row, n_x, n_y):  # type: ignore[no-untyped-def]
    """Row of the pixel nearest to the projection of (x, y, z) at omega k; -1 outside the detector."""
    px = np.rint(matrix[k, 0, 0] * x + matrix[k, 0, 1] * y + matrix[k, 0, 2] * z + shift[k, 0])
    py = np.rint(matrix[k, 1, 0] * x + matrix[k, 1, 1] * y + matrix[k, 1, 2] * z + shift[k, 1])
    if px < 0 or py < 0 or px >= n_x or py >= n_y:
        return -1
    return first_row[k] + (int(px) - boxes[k, 0]) * boxes[k, 3] + int(py) - boxes[k, 1]


@kernel()
def count_hull(  # type: ignore[no-untyped-def]
    counts, images, matrix, shift, detector_shape, xs, ys, zs
):
    """Add to counts (n_voxels,) the values of the pixels nearest to each voxel's projections.

    images (n_omega, n_x * n_y) uint8, 1 where a pixel is lit. Voxels in C order of (xs, ys, zs). The
    projection of a row of voxels is worked out first, so that the compiler can use vectors.
    """
    n_x, n_y = detector_shape
    pixel = np.empty(zs.size, dtype=np.int32)
    for k in range(matrix.shape[0]):
        m, c, image = matrix[k], shift[k], images[k]
        voxel = 0
        for x in xs:
            for y in ys:
                for i in range(zs.size):
                    px = np.rint(m[0, 0] * x + m[0, 1] * y + m[0, 2] * zs[i] + c[0])
                    py = np.rint(m[1, 0] * x + m[1, 1] * y + m[1, 2] * zs[i] + c[1])
                    inside = (px >= 0) & (py >= 0) & (px < n_x) & (py < n_y)
                    pixel[i] = np.int32(px * n_y + py if inside else -1.0)
                for i in range(zs.size):
                    if pixel[i] >= 0:
                        counts[voxel + i] += image[pixel[i]]
                voxel += zs.size


@kernel()
def project_limits(low, high, chosen, matrix, shift, xs, ys, zs):  # type: ignore[no-untyped-def]
    """Lower low and raise high, (n_omega, 2) each, to bound the projections of the chosen voxels."""
    for k in range(matrix.shape[0]):
        m, c = matrix[k], shift[k]
        for v in chosen:
            x, y, z = _centre(v, xs, ys, zs)
            for i in range(2):
                p = m[i, 0] * x + m[i, 1] * y + m[i, 2] * z + c[i]
                low[k, i] = min(low[k, i], p)
                high[k, i] = max(high[k, i], p)


@kernel()
def gather_nearest(  # type: ignore[no-untyped-def]
    sums, lit, seen, limit, chosen, flat, matrix, shift, boxes, first_row, detector_shape, xs, ys, zs
):
    """Add to each chosen voxel the maps of the pixels that it projects to, and count what is lit.

    chosen (n,) numbers the voxels in C order of (xs, ys, zs); sums and lit (n, n_pairs), seen (n,) are
    theirs: the sum of the maps, the omegas at which each pair is above `limit` (of the type of flat),
    and the omegas at which the voxel is on the detector. matrix (n_omega, 2, 3) and shift (n_omega, 2)
    as of `Geometry.sample_to_pixel`. Four omegas share a pass over the sums.
    """
    n_omega, n_pairs = matrix.shape[0], sums.shape[1]
    n_x, n_y = detector_shape
    rows = np.empty(n_omega, dtype=np.int64)
    for v in range(chosen.size):
        x, y, z = _centre(chosen[v], xs, ys, zs)
        n_rows = 0
        for k in range(n_omega):
            row = _row(k, x, y, z, matrix, shift, boxes, first_row, n_x, n_y)
            if row >= 0:
                rows[n_rows] = row
                n_rows += 1
        total, count = sums[v], lit[v]
        done = 0
        while done + 4 <= n_rows:
            r0, r1 = flat[rows[done]], flat[rows[done + 1]]
            r2, r3 = flat[rows[done + 2]], flat[rows[done + 3]]
            for s in range(n_pairs):
                total[s] += (r0[s] + r1[s]) + (r2[s] + r3[s])
            for s in range(n_pairs):  # all in 16 bits, for speed
                lit01 = np.uint16(np.uint16(r0[s] > limit) + np.uint16(r1[s] > limit))
                lit23 = np.uint16(np.uint16(r2[s] > limit) + np.uint16(r3[s] > limit))
                count[s] = np.uint16(count[s] + np.uint16(lit01 + lit23))
            done += 4
        while done < n_rows:
            r0 = flat[rows[done]]
            for s in range(n_pairs):
                total[s] += r0[s]
                count[s] = np.uint16(count[s] + np.uint16(r0[s] > limit))
            done += 1
        seen[v] += n_rows


@kernel()
def count_unknown(  # type: ignore[no-untyped-def]
    counts, chosen, unknown, matrix, shift, boxes, first_row, detector_shape, xs, ys, zs
):
    """Add to counts (n, n_pairs) uint16 the omegas at which a voxel's pixel was not measured at a pair.

    Arguments as of `gather_nearest`, with the marks of what is unknown for flat.
    """
    n_x, n_y = detector_shape
    for v in range(chosen.size):
        x, y, z = _centre(chosen[v], xs, ys, zs)
        for k in range(matrix.shape[0]):
            row = _row(k, x, y, z, matrix, shift, boxes, first_row, n_x, n_y)
            if row >= 0:
                for s in range(counts.shape[1]):
                    counts[v, s] += np.uint16(unknown[row, s])


@kernel()
def _mark_unknown(counts, values, lost, index, weight, k):  # type: ignore[no-untyped-def]
    """Count the pairs of a map at omega k that lean on what is lost (n_pairs,), and make them zero."""
    for s in range(counts.size):
        gone = lost[s]
        if index.shape[0] > 0:
            gone = False
            for q in range(4):
                gone |= lost[index[k, s, q]] and weight[k, s, q] > TOUCHED
        if gone:
            counts[s] += np.uint16(1)
            values[s] = 0


@kernel()
def gather_exact(  # type: ignore[no-untyped-def]
    sums, lit, seen, limit, binarize, n_unknown, unknown, chosen, flat, index, weight,
    matrix, shift, boxes, first_row, detector_shape, xs, ys, zs,
):  # fmt: skip
    """`gather_nearest` with a projection for every pair: matrix (n_omega, n_pairs, 2, 3), shift alike.

    Pair s is read at the pixel that the voxel projects to at the tilts s. index and weight
    (n_omega, n_pairs, 4) then turn the map into the sample frame (n_omega = 0: they are not used), and
    `binarize` sums lit and dark instead of counts. unknown marks what is in flat, n_unknown (n, n_pairs)
    counts it for each pair (of the turned map); None for both where all is known, a loop of its own.
    """
    n_pairs = sums.shape[1]
    n_x, n_y = detector_shape
    held = np.empty(n_pairs, dtype=sums.dtype)
    turned = np.empty(n_pairs, dtype=sums.dtype)
    lost = np.empty(n_pairs, dtype=np.bool_)
    for v in range(chosen.size):
        x, y, z = _centre(chosen[v], xs, ys, zs)
        for k in range(matrix.shape[0]):
            found = 0
            for s in range(n_pairs):
                m, c = matrix[k, s], shift[k, s]
                px = np.rint(m[0, 0] * x + m[0, 1] * y + m[0, 2] * z + c[0])
                py = np.rint(m[1, 0] * x + m[1, 1] * y + m[1, 2] * z + c[1])
                if unknown is not None:
                    lost[s] = False
                if px < 0 or py < 0 or px >= n_x or py >= n_y:
                    held[s] = 0
                    continue
                found = 1
                row = first_row[k] + (int(px) - boxes[k, 0]) * boxes[k, 3] + int(py) - boxes[k, 1]
                held[s] = flat[row, s]
                if unknown is not None:
                    lost[s] = unknown[row, s]
            seen[v] += found
            here = held
            if index.shape[0] > 0:
                here = turned
                for s in range(n_pairs):
                    value = np.float32(0.0)
                    for q in range(4):
                        value += weight[k, s, q] * np.float32(held[index[k, s, q]])
                    turned[s] = value
            if unknown is not None:
                _mark_unknown(n_unknown[v], here, lost, index, weight, k)
            for s in range(n_pairs):
                is_lit = here[s] > limit
                lit[v, s] += is_lit
                if binarize:
                    sums[v, s] += is_lit
                else:
                    sums[v, s] += here[s]


@kernel()
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
