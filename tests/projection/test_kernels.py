"""The compiled kernels against plain numpy."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from lib.backprojection.sums import Backprojection, lit_limit
from lib.projection import kernels
from lib.projection.views import Block, PixelSet, Views, pixel_boxes

SHAPE = (23, 31)


def make_views(rng: np.random.Generator, n_omega: int) -> Views:
    """Projections at random whose volume sticks out of the detector on all sides."""
    matrix = rng.normal(size=(n_omega, 2, 3))
    matrix *= 3.0 / np.linalg.norm(matrix, axis=2, keepdims=True)
    return Views(matrix, rng.uniform(8, 18, (n_omega, 2)), SHAPE)


def make_block() -> Block:
    return Block(np.linspace(-4, 4, 7), np.linspace(-5, 3, 6), np.linspace(-3, 5, 5))


def points_of(block: Block) -> NDArray[np.float64]:
    return np.stack(np.meshgrid(block.x_um, block.y_um, block.z_um, indexing="ij"), axis=-1).reshape(-1, 3)


def pixel_set(views: Views, boxes: NDArray[np.int64], images: NDArray) -> PixelSet:
    """Cut the boxes out of whole images (n_omega, n_x, n_y, n_maps)."""
    rows = [
        images[k, x : x + w, y : y + h].reshape(-1, images.shape[-1]) for k, (x, y, w, h) in enumerate(boxes)
    ]
    first_row = np.concatenate([[0], np.cumsum(boxes[:, 2] * boxes[:, 3])[:-1]])
    return PixelSet(np.concatenate(rows), boxes, first_row)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.int32, np.float32])
def test_gather_nearest_against_numpy(dtype: type) -> None:
    rng = np.random.default_rng(6)
    views, block = make_views(rng, 13), make_block()
    images = rng.integers(0, 200, (13, *SHAPE, 10)).astype(dtype)
    chosen = np.sort(rng.choice(block.n_voxels, 77, replace=False))
    sums = Backprojection(block, 10, np.dtype(dtype), 90.5, chosen)
    sums.add(views, pixel_set(views, pixel_boxes(views, block, chosen), images))
    expected, lit, seen = np.zeros((77, 10)), np.zeros((77, 10), int), np.zeros(77, int)
    for k in range(13):
        u = np.rint(points_of(block)[chosen] @ views.matrix[k].T + views.shift[k]).astype(int)
        on = ((u >= 0) & (u < SHAPE)).all(axis=1)
        here = images[k, u[on, 0], u[on, 1]].astype(float)
        expected[on] += here
        lit[on] += here > 90.5
        seen += on
    assert 0 < seen.min() < seen.max() == 13
    np.testing.assert_array_equal(sums.sums, expected)
    np.testing.assert_array_equal(sums.lit, lit)
    np.testing.assert_array_equal(sums.seen, seen)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.int16, np.float32, np.float64])
@pytest.mark.parametrize("threshold", [0.0, 0.5, 7.0, 8.3, 0.1, 254.9, 70000.0])
def test_lit_limit_says_above_the_threshold(dtype: type, threshold: float) -> None:
    limit = lit_limit(threshold, np.dtype(dtype))
    values = np.array([0, 1, 7, 8, 9, 100, 127], dtype=dtype)
    if np.dtype(dtype).kind == "f":
        near = np.nextafter(dtype(threshold), dtype(np.inf)), np.nextafter(dtype(threshold), dtype(-np.inf))
        values = np.concatenate([values, [dtype(threshold), *near]]).astype(dtype)
    assert [bool(v > limit) for v in values] == [float(v) > threshold for v in values]


def test_count_hull_against_numpy() -> None:
    rng = np.random.default_rng(7)
    views, block = make_views(rng, 9), make_block()
    lit = rng.random((9, *SHAPE)) < 0.3
    counts = np.zeros(block.n_voxels, dtype=np.int32)
    grid = (block.x_um, block.y_um, block.z_um)
    images = lit.reshape(9, -1).astype(np.uint8)
    kernels.count_hull(counts, images, views.matrix, views.shift, SHAPE, *grid)
    expected = np.zeros(block.n_voxels, dtype=int)
    for k in range(9):
        u = np.rint(points_of(block) @ views.matrix[k].T + views.shift[k]).astype(int)
        on = ((u >= 0) & (u < SHAPE)).all(axis=1)
        expected[on] += lit[k, u[on, 0], u[on, 1]]
    np.testing.assert_array_equal(counts, expected)


@pytest.mark.parametrize("n_pairs", [1, 31, 32, 33, 121])
def test_transpose_frames(n_pairs: int) -> None:
    frames = np.random.default_rng(8).integers(0, 60000, (n_pairs, 5, 71)).astype(np.uint16)
    out = np.empty((5 * 40, n_pairs), dtype=np.uint16)
    kernels.transpose_frames(frames, 17, 40, out)
    np.testing.assert_array_equal(out, frames[:, :, 17:57].transpose(1, 2, 0).reshape(200, n_pairs))
