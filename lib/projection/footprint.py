"""The image of a voxel: which pixels it falls on, and with what weights; what it casts, and its adjoint.

A voxel is a box, and its image the convolution of the images of its three edges, integrated over each pixel.
Along each axis of the image that is close to a trapezoid, the convolution of two boxes; the two axes are
taken to be independent (separable footprints: Long, Fessler & Balter 2010, IEEE Trans. Med. Imaging 29,
1839). No wider than a pixel, a voxel is spread over the width of one: bilinear interpolation.

In the kernels `place` = (xyz, matrix, shift, widths, shape, row_of) says where voxels fall at one omega: xyz
(n_voxels, 3) their centres, matrix (2, 3) and shift (2,) the projection, widths (2, 2) those of the two boxes
along each axis of the image in pixels (`widths_px`), shape (n_x, n_y) that of the image. Images hold one row
per active pixel; row_of (n_x * n_y) gives the row of a pixel, -1 where it is not active.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from .jit import kernel
from .views import Views

Array = NDArray[np.float64]

_PHASES = 128  # places of a voxel within a pixel, along each axis, that `cast` tells apart
AT_ONCE = 128  # voxels whose pixels are worked out together
_SHARPEST = 1e-6  # of its width, within which the edge of a box is taken to rise
ONE_PIXEL = np.array([[1.0, 0.0], [1.0, 0.0]])  # widths of a voxel that is as wide as a pixel
_FILLED = 0.875  # of the width of a bin, by the narrowest image of a voxel at least


def widths_px(views: Views, voxel_um: tuple[float, float, float]) -> Array:
    """Widths (n, 2, 2) of the two boxes whose convolution is the image of a voxel, along x and y.

    The wider one first; the second has the spread of the two narrower edges. (1, 0) where all together are no
    wider than a pixel.
    """
    edges = np.sort(np.abs(views.matrix) * np.asarray(voxel_um), axis=2)
    widths = np.stack([edges[:, :, 2], np.hypot(edges[:, :, 0], edges[:, :, 1])], axis=2)
    widths[np.hypot(widths[:, :, 0], widths[:, :, 1]) <= 1.0] = ONE_PIXEL[0]
    return widths


def bins_for(views: Views, voxel_um: tuple[float, float, float]) -> tuple[int, int]:
    """How many pixels along x and y may be summed into one bin without loss to voxels of this size.

    A bin is hardly wider than the narrowest image of a voxel at any omega.
    """
    edges = np.abs(views.matrix) * np.asarray(voxel_um)
    narrowest = np.sqrt((edges**2).sum(axis=2)).min(axis=0)
    bins = [max(1, math.floor(width / _FILLED)) for width in narrowest.tolist()]
    n_x, n_y = views.detector_shape
    return min(bins[0], n_x), min(bins[1], n_y)


@kernel()
def _edges(widths):  # type: ignore[no-untyped-def]
    """Where the convolution of two boxes of widths a >= b, area 1, ends and is level, and its scale: (2, 3).

    It rises along b, is level, and falls along b.
    """
    edges = np.empty((2, 3))
    for axis in range(2):
        a, b = widths[axis, 0], max(widths[axis, 1], _SHARPEST * widths[axis, 0])
        edges[axis, 0], edges[axis, 1], edges[axis, 2] = 0.5 * (a + b), 0.5 * (a - b), 0.5 / (a * b)
    return edges


@kernel(inline="always")
def _ramp(x):  # type: ignore[no-untyped-def]
    return x * x if x > 0.0 else 0.0


@kernel(inline="always")
def _below(t, base, top, scale):  # type: ignore[no-untyped-def]
    """The part of the convolution of two boxes, with these edges, that lies below t."""
    return scale * (_ramp(t + base) - _ramp(t + top) - _ramp(t - top) + _ramp(t - base))


@kernel(inline="always")
def _widest(widths):  # type: ignore[no-untyped-def]
    """The most pixels along one axis that a voxel falls on."""
    return int(widths[0] + widths[1]) + 2


@kernel()
def room_for(widths):  # type: ignore[no-untyped-def]
    """Room for `fall`: rows and weights (AT_ONCE, n) of the pixels of some voxels, and how many each has."""
    n = _widest(widths[0]) * _widest(widths[1])
    return np.empty((AT_ONCE, n), np.int64), np.empty((AT_ONCE, n), np.float32), np.empty(AT_ONCE, np.uintp)


@kernel()
def fall(place, start, stop, room):  # type: ignore[no-untyped-def]
    """Fill `room` with the pixels, of those that are active, on which the voxels start .. stop fall.

    Many voxels in a call, and no array handed on for a single one: numba counts the references to it then,
    which takes longer than all the rest.
    """
    xyz, matrix, shift, widths, shape, row_of = place
    rows, weights, counts = room
    shares = np.empty((2, max(_widest(widths[0]), _widest(widths[1]))))
    first, n_along = np.empty(2, np.int64), np.empty(2, np.int64)
    edges = _edges(widths)
    for v in range(start, stop):
        x, y, z = xyz[np.uintp(v), 0], xyz[np.uintp(v), 1], xyz[np.uintp(v), 2]
        for axis in range(np.uintp(2)):
            centre = matrix[axis, 0] * x + matrix[axis, 1] * y + matrix[axis, 2] * z + shift[axis]
            base, top, scale = edges[axis, 0], edges[axis, 1], edges[axis, 2]
            if widths[axis, 0] == 1.0 and widths[axis, 1] == 0.0:  # a box: bilinear
                begin, n_pixels = np.floor(centre), 2
                shares[axis, 0], shares[axis, 1] = 1.0 - (centre - begin), centre - begin
            else:
                begin = np.floor(centre - base + 0.5)
                n_pixels = int(np.floor(centre + base + 0.5) - begin) + 1
                t, below = begin + 0.5 - centre, 0.0
                for i in range(n_pixels - 1):
                    upto = _below(t + i, base, top, scale)
                    shares[axis, np.uintp(i)], below = upto - below, upto
                shares[axis, np.uintp(n_pixels - 1)] = 1.0 - below
            first[axis], n_along[axis] = int(begin), n_pixels
        low, high = max(0, -first[1]), min(n_along[1], shape[1] - first[1])
        at, n = np.uintp(v - start), np.uintp(0)
        for i in range(max(0, -first[0]), min(n_along[0], shape[0] - first[0])):
            pixel = (first[0] + i) * shape[1] + first[1]
            for j in range(low, high):
                row = row_of[np.uintp(pixel + j)]
                weight = np.float32(shares[0, np.uintp(i)] * shares[1, np.uintp(j)])
                rows[at, n], weights[at, n] = max(row, 0), weight if row >= 0 else np.float32(0.0)
                n += np.uintp(1)
        counts[at] = n


@kernel(fastmath={"contract", "reassoc"})
def scatter(maps, place, image):  # type: ignore[no-untyped-def]
    """image[row(u)] += sum over voxels of P[u, v] maps[v]; maps (n_voxels, n), image (n_rows, n)."""
    room = room_for(place[3])
    rows, weights, counts = room
    for start in range(0, maps.shape[0], AT_ONCE):
        stop = min(start + AT_ONCE, maps.shape[0])
        fall(place, start, stop, room)
        for v in range(stop - start):
            for c in range(counts[v]):
                row, weight = rows[v, c], weights[v, c]
                for s in range(maps.shape[1]):
                    image[row, s] += weight * maps[start + v, s]


@kernel(fastmath={"contract", "reassoc"})
def gather(image, place, maps):  # type: ignore[no-untyped-def]
    """maps[v] += sum over pixels of P[u, v] image[row(u)]: the adjoint of `scatter`."""
    room = room_for(place[3])
    rows, weights, counts = room
    for start in range(0, maps.shape[0], AT_ONCE):
        stop = min(start + AT_ONCE, maps.shape[0])
        fall(place, start, stop, room)
        for v in range(stop - start):
            for c in range(counts[v]):
                row, weight = rows[v, c], weights[v, c]
                for s in range(maps.shape[1]):
                    maps[start + v, s] += weight * image[row, s]


@kernel()
def cast(values, place, image):  # type: ignore[no-untyped-def]
    """Image (n_x, n_y) += sum over voxels of P[u, v] values[v]: what `scatter` does, for one value a voxel.

    The shares are looked up: places are rounded to 1 / _PHASES of a pixel. Of `place` row_of is not used.
    """
    xyz, matrix, shift, widths, shape = place[0], place[1], place[2], place[3], place[4]
    n_x, n_y = _widest(widths[0]), _widest(widths[1])
    tables, edges = np.zeros((2, _PHASES, max(n_x, n_y)), np.float32), _edges(widths)
    start_x, start_y = 0.5 - edges[0, 0], 0.5 - edges[1, 0]
    for axis in range(2):
        base, top, scale = edges[axis]
        for phase in range(_PHASES):
            t, below = 1.0 - base - (phase + 0.5) / _PHASES, 0.0
            for i in range(tables.shape[2]):
                upto = _below(t + i, base, top, scale)
                tables[axis, phase, i], below = upto - below, upto
    for v in range(values.size):
        x, y, z = xyz[v, 0], xyz[v, 1], xyz[v, 2]
        px = matrix[0, 0] * x + matrix[0, 1] * y + matrix[0, 2] * z + shift[0] + start_x
        py = matrix[1, 0] * x + matrix[1, 1] * y + matrix[1, 2] * z + shift[1] + start_y
        first_x, first_y = int(np.floor(px)), int(np.floor(py))
        at_x, at_y = np.uintp((px - first_x) * _PHASES), np.uintp((py - first_y) * _PHASES)
        low, high = max(0, -first_y), min(n_y, shape[1] - first_y)
        for i in range(max(0, -first_x), min(n_x, shape[0] - first_x)):
            weight = values[v] * tables[0, at_x, np.uintp(i)]
            for j in range(low, high):
                image[np.uintp(first_x + i), np.uintp(first_y + j)] += weight * tables[1, at_y, np.uintp(j)]


@kernel()
def mark_pixels(place, hit, cover):  # type: ignore[no-untyped-def]
    """Mark the rows that the voxels hit; cover (n_voxels,) is their weight on the detector."""
    room = room_for(place[3])
    rows, weights, counts = room
    for start in range(0, cover.size, AT_ONCE):
        stop = min(start + AT_ONCE, cover.size)
        fall(place, start, stop, room)
        for v in range(stop - start):
            total = 0.0
            for c in range(counts[v]):
                if weights[v, c] > np.float32(0.0):
                    hit[rows[v, c]] = True
                    total += weights[v, c]
            cover[start + v] = total


def where_it_falls(
    xyz_um: Array, matrix: Array, shift: Array, widths: Array, shape: tuple[int, int]
) -> tuple[NDArray[np.bool_], NDArray[np.float32]]:
    """Which pixels (n_x * n_y) voxels hit, and the weight (n_voxels,) with which each is on the detector."""
    hit = np.zeros(shape[0] * shape[1], dtype=np.bool_)
    cover = np.zeros(xyz_um.shape[0], dtype=np.float32)
    every = np.arange(hit.size, dtype=np.int32)
    mark_pixels((xyz_um, matrix, shift, widths, shape, every), hit, cover)
    return hit, cover
