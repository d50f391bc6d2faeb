"""The compiled kernels against plain numpy, and the bilinear pair against each other."""

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


def active_rows(rng: np.random.Generator) -> NDArray[np.int32]:
    """Rows of two thirds of the pixels, -1 for the others."""
    row_of = np.full(SHAPE[0] * SHAPE[1], -1, dtype=np.int32)
    active = np.sort(rng.choice(row_of.size, 2 * row_of.size // 3, replace=False))
    row_of[active] = np.arange(active.size)
    return row_of


@pytest.mark.parametrize("n_maps", [1, 9, 121])
def test_scatter_is_the_adjoint_of_gather(n_maps: int) -> None:
    rng = np.random.default_rng(n_maps)
    views, xyz = make_views(rng, 11), points_of(make_block())
    row_of = active_rows(rng)
    for matrix, shift in zip(views.matrix, views.shift, strict=True):
        x = rng.random((len(xyz), n_maps), dtype=np.float32)
        y = rng.random((row_of.max() + 1, n_maps), dtype=np.float32)
        forward, back = np.zeros_like(y), np.zeros_like(x)
        kernels.scatter_bilinear(x, xyz, matrix, shift, SHAPE, row_of, forward)
        kernels.gather_bilinear(y, xyz, matrix, shift, SHAPE, row_of, back)
        left, right = np.vdot(forward.astype(float), y), np.vdot(x.astype(float), back)
        assert left > 0
        assert left == pytest.approx(right, rel=1e-5)


def test_gather_is_bilinear_with_nothing_outside() -> None:
    rng = np.random.default_rng(5)
    views, xyz = make_views(rng, 4), points_of(make_block())
    for matrix, shift in zip(views.matrix, views.shift, strict=True):
        image = rng.random((*SHAPE, 3), dtype=np.float32)
        found, cover = np.zeros((len(xyz), 3), dtype=np.float32), np.zeros(len(xyz), dtype=np.float32)
        row_of, hit = np.arange(SHAPE[0] * SHAPE[1], dtype=np.int32), np.zeros(SHAPE[0] * SHAPE[1], bool)
        kernels.gather_bilinear(image.reshape(-1, 3), xyz, matrix, shift, SHAPE, row_of, found)
        kernels.mark_pixels(xyz, matrix, shift, SHAPE, hit, cover)
        padded = np.pad(image, [(60, 60), (60, 60), (0, 0)])
        inside = np.pad(np.ones(SHAPE), 60)
        expected, weights = np.zeros((len(xyz), 3)), np.zeros(len(xyz))
        u = xyz @ matrix.T + shift + 60
        i = np.floor(u).astype(int)
        f = u - i
        for dx in (0, 1):
            for dy in (0, 1):
                weight = np.abs(1 - dx - f[:, 0]) * np.abs(1 - dy - f[:, 1])
                place = i[:, 0] + dx, i[:, 1] + dy
                expected += weight[:, None] * padded[place]
                weights += weight * inside[place]
        np.testing.assert_allclose(found, expected, rtol=2e-5, atol=1e-6)
        np.testing.assert_allclose(cover, weights, rtol=2e-5, atol=1e-6)
        assert hit.sum() > 0


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
