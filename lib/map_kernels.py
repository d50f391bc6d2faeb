"""The inner loops of the iterative method, on maps that are stored in runs (see `maps.Maps`).

Images hold one row per active pixel with the orientations, or the scanned tilts, contiguous; row_of
(n_x * n_y of the ROI) gives the row of a pixel, -1 where it is not active.
"""

from __future__ import annotations

import numba
import numpy as np

from . import jit  # noqa: F401 - before the kernels
from .kernels import four_rows

_VANISHED = np.float32(1e-20)  # counts; far less would not fit into a float, which is slow
RUN = 8  # orientations that are handled together: a register of the processor
_1, _2, _3, _4, _5, _6, _7 = (np.uintp(i) for i in range(1, RUN))


@numba.njit(cache=True, nogil=True, inline="always")
def _add_run(target, target_run, weight, source, source_run):  # type: ignore[no-untyped-def]
    """Add `weight` times one run of the source to one of the target.

    Written out, on unsigned indices and with all read before any is written, so that it compiles to a few
    vector instructions.
    """
    t, s = np.uintp(target_run * RUN), np.uintp(source_run * RUN)
    t0 = target[t] + weight * source[s]
    t1 = target[t + _1] + weight * source[s + _1]
    t2 = target[t + _2] + weight * source[s + _2]
    t3 = target[t + _3] + weight * source[s + _3]
    t4 = target[t + _4] + weight * source[s + _4]
    t5 = target[t + _5] + weight * source[s + _5]
    t6 = target[t + _6] + weight * source[s + _6]
    t7 = target[t + _7] + weight * source[s + _7]
    target[t], target[t + _1], target[t + _2], target[t + _3] = t0, t1, t2, t3
    target[t + _4], target[t + _5], target[t + _6], target[t + _7] = t4, t5, t6, t7


@numba.njit(cache=True, nogil=True, fastmath={"contract", "reassoc"})
def scatter_maps(first, run, values, xyz, matrix, shift, shape, row_of, image):  # type: ignore[no-untyped-def]
    """`scatter_bilinear` of maps that are stored in runs (see `maps.Maps`); image (n_rows, n_padded)."""
    rows, weights = np.empty(4, dtype=np.int64), np.empty(4, dtype=np.float32)
    for v in range(first.size - 1):
        n = four_rows(xyz, v, matrix, shift, shape, row_of, rows, weights)
        for c in range(n):
            target = image[rows[c]]
            weight = weights[c]
            for k in range(first[v], first[v + 1]):
                _add_run(target, run[k], weight, values[k], 0)


@numba.njit(cache=True, nogil=True, fastmath={"contract", "reassoc"})
def gather_maps(image, xyz, matrix, shift, shape, row_of, first, run, values):  # type: ignore[no-untyped-def]
    """The adjoint of `scatter_maps`: adds to those values that the maps hold."""
    rows, weights = np.empty(4, dtype=np.int64), np.empty(4, dtype=np.float32)
    for v in range(first.size - 1):
        n = four_rows(xyz, v, matrix, shift, shape, row_of, rows, weights)
        for c in range(n):
            source = image[rows[c]]
            weight = weights[c]
            for k in range(first[v], first[v + 1]):
                _add_run(values[k], 0, weight, source, run[k])


@numba.njit(cache=True, nogil=True, fastmath={"contract", "reassoc"})
def respond(first, run, values, response, out):  # type: ignore[no-untyped-def]
    """out[v, t] = sum over orientations s of response[t, s] maps[v, s]; out (n_voxels, n_scanned)."""
    for v in range(first.size - 1):
        for t in range(out.shape[1]):
            total = np.float32(0.0)
            for k in range(first[v], first[v + 1]):
                for s in range(RUN):
                    total += response[t, run[k] * RUN + s] * values[k, s]
            out[v, t] = total


@numba.njit(cache=True, nogil=True, fastmath={"contract", "reassoc"})
def respond_back(seen, response, first, run, values):  # type: ignore[no-untyped-def]
    """The adjoint of `respond`: adds to those values that the maps hold; seen (n_voxels, n_scanned)."""
    for v in range(first.size - 1):
        for k in range(first[v], first[v + 1]):
            for t in range(seen.shape[1]):
                _add_run(values[k], 0, seen[v, t], response[t], run[k])


@numba.njit(cache=True, nogil=True)
def compare(expected, counts, measured, owned, dark, noise, faintest):  # type: ignore[no-untyped-def]
    """Turn what the model expects (n_rows, n_scanned) into counts / expected, in place.

    `dark` is added to the expected and `noise` to the counts; zero where not measured. Returns chi-square
    and the number of values in it: those of owned pixels where a count or more is expected.
    """
    zero, one = np.float32(0.0), np.float32(1.0)
    chi_square, n_values = np.float64(0.0), 0
    for r in range(expected.shape[0]):
        in_row = np.float32(0.0)
        for t in range(expected.shape[1]):
            if not measured[t]:
                expected[r, t] = zero
                continue
            e = max(expected[r, t] + dark, faintest)
            c = max(np.float32(counts[r, t]) + noise, zero)
            if owned[r] and e >= one:
                in_row += (c - e) * (c - e) / e
                n_values += 1
            expected[r, t] = c / e
        chi_square += in_row
    return chi_square, n_values


@numba.njit(cache=True, nogil=True)
def multiply(first, run, values, corrections, cover, response):  # type: ignore[no-untyped-def]
    """Values *= corrections / sensitivity, where there is any; both (n_runs, RUN).

    The sensitivity of voxel v and orientation s is the sum over views k of cover[k, v] response[k, s].
    """
    sensitivity = np.empty(RUN, dtype=np.float32)
    for v in range(first.size - 1):
        for k in range(first[v], first[v + 1]):
            sensitivity[:] = 0.0
            for view in range(cover.shape[0]):
                _add_run(sensitivity, 0, cover[view, v], response[view], run[k])
            for s in range(RUN):
                if sensitivity[s] > np.float32(1e-6):
                    value = values[k, s] * corrections[k, s] / sensitivity[s]
                    values[k, s] = value if value > _VANISHED else np.float32(0.0)
