"""Surfaces of labelled voxels without their stairs: of every cell towards its neighbours and the outside.

The faces between voxels of different labels are one net (surface nets, Gibson 1998, MICCAI, LNCS 1496, 888),
whose nodes are smoothed without shrinking it (Taubin 1995, SIGGRAPH, 351): those where three labels meet
along the line of such nodes, the others over the surface.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_matrix, csr_matrix

Array = NDArray[np.float64]
Labels = NDArray[np.int32]

_ROUNDS = 30
_SHRINK, _SWELL = 0.5, -0.53  # of the way to the mean of the neighbours, in turns


class Surface(NamedTuple):
    """A net of quadrilaterals between cells, and between cells and the outside.

    points (n, 3) in um, sample frame; corners (m, 4) number them; between (m, 2) are the labels on both
    sides, the smaller first, 0 (outside) last. Seen from the first, the corners run so that the normal of
    the right hand points to the second. voxels (m, 3) are the voxels on the side of the first.
    """

    points_um: Array
    corners: NDArray[np.int64]
    between: Labels
    voxels: NDArray[np.int64]

    def areas_um2(self) -> Array:
        """The vector areas (m, 3): size and normal of each quadrilateral."""
        a, b, c, d = (self.points_um[column] for column in self.corners.T)
        return np.asarray(np.cross(c - a, d - b) / 2)


def surface(labels: Labels, origin_um: Array, spacing_um: Array) -> Surface:
    """The surface of all cells of labels (n_x, n_y, n_z), whose first voxel has a corner at origin_um."""
    padded = np.pad(labels, 1)
    corners, between, voxels = _quads(padded)
    nodes, where = np.unique(corners, return_inverse=True)
    corners = where.reshape(corners.shape)
    grid = np.array(padded.shape) + 1
    points = np.stack(np.unravel_index(nodes, grid), axis=1).astype(np.float64)
    smooth = _smoothed(points, corners, between)
    return Surface(origin_um + spacing_um * (smooth - 1.0), corners, between, voxels - 1)


def _quads(padded: Labels) -> tuple[NDArray[np.int64], Labels, NDArray[np.int64]]:
    """Corners (m, 4), numbers of nodes in the grid of voxel corners, labels (m, 2) of both sides.

    And the voxels (m, 3) on the side of the first label.
    """
    grid = np.array(padded.shape) + 1
    stride = np.array([grid[1] * grid[2], grid[2], 1])
    corners, between, voxels = [], [], []
    for axis in range(3):
        moved = np.moveaxis(padded, axis, 0)
        at = np.nonzero(moved[:-1] != moved[1:])
        pair = np.stack([moved[:-1][at], moved[1:][at]], axis=1)
        beyond = np.insert(np.stack(at[1:]), axis, at[0] + 1, axis=0)
        one, two = (stride[(axis + k) % 3] for k in (1, 2))
        quad = (stride @ beyond)[:, None] + np.array([0, one, one + two, two])  # its normal is the axis
        first = np.where(pair == 0, np.iinfo(np.int32).max, pair)
        turn = first[:, 0] > first[:, 1]
        quad[turn] = quad[turn][:, ::-1]
        pair[turn] = pair[turn][:, ::-1]
        corners.append(quad)
        between.append(pair)
        voxels.append(beyond.T - np.where(turn, 0, 1)[:, None] * (np.arange(3) == axis))
    return np.concatenate(corners), np.concatenate(between), np.concatenate(voxels)


def _smoothed(points: Array, corners: NDArray[np.int64], between: Labels) -> Array:
    """The points (n, 3), in voxels, without stairs; the net keeps its volume."""
    n = len(points)
    if n == 0:
        return points
    ends = np.stack([corners.ravel(), np.roll(corners, -1, axis=1).ravel()])
    labels_at = coo_matrix(
        (np.ones(2 * corners.size), (np.repeat(corners.ravel(), 2), np.repeat(between, 4, axis=0).ravel()))
    ).tocsr()
    junction = np.diff(labels_at.indptr) > 2
    mean = _mean_of_neighbours(n, ends, junction)
    for step in (_SHRINK, _SWELL) * _ROUNDS:
        points = points + step * (mean @ points - points)
    return points


def _mean_of_neighbours(n: int, ends: NDArray[np.int64], junction: NDArray[np.bool_]) -> csr_matrix:
    """The matrix that takes every node to the mean of its neighbours; one without any to itself.

    A junction does not follow the surfaces that end there, only its own line.
    """
    rows, columns = np.concatenate([ends, ends[::-1]], axis=1)
    wanted = ~junction[rows] | junction[columns]
    rows, columns = rows[wanted], columns[wanted]
    alone = np.setdiff1d(np.arange(n), rows)
    rows, columns = np.concatenate([rows, alone]), np.concatenate([columns, alone])
    links = coo_matrix((np.ones(rows.size), (rows, columns)), shape=(n, n)).tocsr()
    links.data[:] = 1.0
    count = np.asarray(links.sum(axis=1)).ravel()
    return links.multiply(1.0 / count[:, None]).tocsr()
