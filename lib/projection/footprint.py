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
GROUP = 4  # pixels that a loop over the values of a voxel handles together
ONE_PIXEL = np.array([[1.0, 0.0], [1.0, 0.0]])  # widths of a voxel that is as wide as a pixel
_NARROWEST_BIN = 0.75  # of a voxel's image, as wide as a bin of pixels may be


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
    bins = [max(1, math.floor(width + 1.0 - _NARROWEST_BIN)) for width in narrowest.tolist()]
    n_x, n_y = views.detector_shape
    return min(bins[0], n_x), min(bins[1], n_y)


@kernel(inline="always")
def _below(t, a, b):  # type: ignore[no-untyped-def]
    """The part of the convolution of two boxes of widths a >= b, area 1, that lies below t."""
    base, top = 0.5 * (a + b), 0.5 * (a - b)
    if t <= -base:
        return 0.0
    if t < -top:
        return (t + base) ** 2 / (2.0 * a * b)
    if t <= top:
        return (t + 0.5 * a) / a
    if t < base:
        return 1.0 - (base - t) ** 2 / (2.0 * a * b)
    return 1.0


@kernel(inline="always")
def _along(centre, widths, shares):  # type: ignore[no-untyped-def]
    """The first pixel along one axis that a voxel falls on, and how many; sets their shares."""
    a, b = widths[0], widths[1]
    if b == 0.0 and a == 1.0:
        first = int(np.floor(centre))
        shares[1] = centre - first
        shares[0] = 1.0 - shares[1]
        return first, 2
    base = 0.5 * (a + b)
    first = int(np.floor(centre - base + 0.5))
    n = int(np.floor(centre + base + 0.5)) - first + 1
    below = 0.0
    for i in range(n):
        upto = _below(first + i + 0.5 - centre, a, b)
        shares[i] = upto - below
        below = upto
    return first, n


@kernel(inline="always")
def _widest(widths):  # type: ignore[no-untyped-def]
    """The most pixels along one axis that a voxel falls on."""
    return int(widths[0] + widths[1]) + 2


@kernel()
def scratch(widths):  # type: ignore[no-untyped-def]
    """Room for the rows and weights of a voxel's pixels, and for its shares along x and y."""
    n_x, n_y = _widest(widths[0]), _widest(widths[1])
    n = n_x * n_y + GROUP
    return np.empty(n, np.int64), np.empty(n, np.float32), np.empty(n_x), np.empty(n_y)


@kernel(inline="always")
def _image_of(place, v, share_x, share_y):  # type: ignore[no-untyped-def]
    """First pixel (x, y) that voxel v falls on, and how many from there along x and y; sets their shares."""
    xyz, matrix, shift, widths = place[0], place[1], place[2], place[3]
    x, y, z = xyz[v, 0], xyz[v, 1], xyz[v, 2]
    px = matrix[0, 0] * x + matrix[0, 1] * y + matrix[0, 2] * z + shift[0]
    py = matrix[1, 0] * x + matrix[1, 1] * y + matrix[1, 2] * z + shift[1]
    first_x, n_x = _along(px, widths[0], share_x)
    first_y, n_y = _along(py, widths[1], share_y)
    return first_x, n_x, first_y, n_y


@kernel(inline="always")
def rows_of(place, v, room):  # type: ignore[no-untyped-def]
    """Fill rows and weights of `room` (see `scratch`) with the active pixels of voxel v; returns how many.

    A multiple of GROUP: the last places are filled with the first pixel and weight 0.
    """
    rows, weights, share_x, share_y = room
    shape, row_of = place[4], place[5]
    first_x, n_x, first_y, n_y = _image_of(place, v, share_x, share_y)
    n = 0
    for i in range(max(0, -first_x), min(n_x, shape[0] - first_x)):
        for j in range(max(0, -first_y), min(n_y, shape[1] - first_y)):
            row = row_of[(first_x + i) * shape[1] + first_y + j]
            weight = np.float32(share_x[i] * share_y[j])
            if row >= 0 and weight > np.float32(0.0):
                rows[n], weights[n] = row, weight
                n += 1
    while n % GROUP:
        rows[n], weights[n] = rows[0], np.float32(0.0)
        n += 1
    return n


@kernel(fastmath={"contract", "reassoc"})
def scatter(maps, place, image):  # type: ignore[no-untyped-def]
    """image[row(u)] += sum over voxels of P[u, v] maps[v]; maps (n_voxels, n), image (n_rows, n)."""
    room = scratch(place[3])
    rows, weights = room[0], room[1]
    for v in range(maps.shape[0]):
        source = maps[v]
        for c in range(rows_of(place, v, room)):
            target, weight = image[rows[c]], weights[c]
            for s in range(source.size):
                target[s] += weight * source[s]


@kernel(fastmath={"contract", "reassoc"})
def gather(image, place, maps):  # type: ignore[no-untyped-def]
    """maps[v] += sum over pixels of P[u, v] image[row(u)]: the adjoint of `scatter`."""
    room = scratch(place[3])
    rows, weights = room[0], room[1]
    for v in range(maps.shape[0]):
        target = maps[v]
        for c in range(rows_of(place, v, room)):
            source, weight = image[rows[c]], weights[c]
            for s in range(target.size):
                target[s] += weight * source[s]


@kernel()
def cast(values, place, image):  # type: ignore[no-untyped-def]
    """Image (n_x, n_y) += sum over voxels of P[u, v] values[v]: what `scatter` does, for one value a voxel.

    The shares are looked up: places are rounded to 1 / _PHASES of a pixel. Of `place` row_of is not used.
    """
    xyz, matrix, shift, widths, shape = place[0], place[1], place[2], place[3], place[4]
    n_x, n_y = _widest(widths[0]), _widest(widths[1])
    shares_x, shares_y = np.zeros((_PHASES, n_x), np.float32), np.zeros((_PHASES, n_y), np.float32)
    start_x, start_y = 0.5 * (1.0 - widths[0].sum()), 0.5 * (1.0 - widths[1].sum())
    some = np.empty(max(n_x, n_y))
    for phase in range(_PHASES):
        for shares, start, width in ((shares_x, start_x, widths[0]), (shares_y, start_y, widths[1])):
            _, n = _along((phase + 0.5) / _PHASES - start, width, some)
            shares[phase, :n] = some[:n]
    for v in range(values.size):
        x, y, z = xyz[v, 0], xyz[v, 1], xyz[v, 2]
        px = matrix[0, 0] * x + matrix[0, 1] * y + matrix[0, 2] * z + shift[0] + start_x
        py = matrix[1, 0] * x + matrix[1, 1] * y + matrix[1, 2] * z + shift[1] + start_y
        first_x, first_y = int(np.floor(px)), int(np.floor(py))
        along_x = shares_x[int((px - first_x) * _PHASES)]
        along_y = shares_y[int((py - first_y) * _PHASES)]
        low, high = max(0, -first_y), min(n_y, shape[1] - first_y)
        for i in range(max(0, -first_x), min(n_x, shape[0] - first_x)):
            weight = values[v] * along_x[i]
            for j in range(low, high):
                image[first_x + i, first_y + j] += weight * along_y[j]


@kernel()
def mark_pixels(place, hit, cover):  # type: ignore[no-untyped-def]
    """Mark the pixels (n_x * n_y) that the voxels hit; cover (n_voxels,) is their weight on the detector.

    Of `place` row_of is not used.
    """
    room = scratch(place[3])
    share_x, share_y, shape = room[2], room[3], place[4]
    for v in range(place[0].shape[0]):
        first_x, n_x, first_y, n_y = _image_of(place, v, share_x, share_y)
        total = 0.0
        for i in range(max(0, -first_x), min(n_x, shape[0] - first_x)):
            for j in range(max(0, -first_y), min(n_y, shape[1] - first_y)):
                weight = share_x[i] * share_y[j]
                if weight > 0.0:
                    hit[(first_x + i) * shape[1] + first_y + j] = True
                    total += weight
        cover[v] = total


def where_it_falls(
    xyz_um: Array, matrix: Array, shift: Array, widths: Array, shape: tuple[int, int]
) -> tuple[NDArray[np.bool_], NDArray[np.float32]]:
    """Which pixels (n_x * n_y) voxels hit, and the weight (n_voxels,) with which each is on the detector."""
    hit = np.zeros(shape[0] * shape[1], dtype=np.bool_)
    cover = np.zeros(xyz_um.shape[0], dtype=np.float32)
    mark_pixels((xyz_um, matrix, shift, widths, shape, np.empty(0, dtype=np.int32)), hit, cover)
    return hit, cover
