"""Blocks, boxes and inner loops, each against a few lines of numpy."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lib.backprojection.sums import FIELDS, Backprojection, apply_cutoff, lit_limit, sum_dtype
from lib.parallel.partition import block, blocks_of_at_most
from lib.physics.geometry import Geometry
from lib.projection import kernels
from lib.projection.views import Block, PixelSet, Views, pixel_boxes

ROI = (13, 9)
N_PAIRS = 11  # more than a byte of bits


# ---- Partition ----


@given(n_items=st.integers(0, 1000), n_parts=st.integers(1, 300))
def test_blocks_cover_everything_once_and_evenly(n_items, n_parts):
    parts = [block(n_items, n_parts, part) for part in range(n_parts)]
    assert [item for part in parts for item in part] == list(range(n_items))
    sizes = [len(part) for part in parts]
    assert max(sizes) - min(sizes) <= 1
    assert sizes == sorted(sizes, reverse=True)


@pytest.mark.parametrize("part", [-1, 3])
def test_block_of_a_part_that_does_not_exist(part):
    with pytest.raises(ValueError, match="of 3"):
        block(7, 3, part)


@given(start=st.integers(-50, 50), length=st.integers(0, 300), largest=st.integers(-1, 400))
def test_pieces_are_the_fewest_that_are_small_enough(start, length, largest):
    items = range(start, start + length)
    pieces = blocks_of_at_most(items, largest)
    assert [item for piece in pieces for item in piece] == list(items)
    assert all(0 < len(piece) <= max(1, largest) for piece in pieces)
    assert len(pieces) == -(-length // max(1, largest))


# ---- Boxes ----


def make_views(omega, mode="horizontal", magnification=1.37, center=(6.1, 3.9)):
    geometry = Geometry(mode, 0.18, magnification, center_px=center)
    return Views(*geometry.sample_to_pixel(np.asarray(omega, float)), ROI)


def make_block(shape=(3, 4, 2), middle=(0.3, -0.4, 0.2), step=1.1):
    return Block(*(m + step * (np.arange(n) - (n - 1) / 2) for n, m in zip(shape, middle, strict=True)))


def pixels_of(views, voxels):
    """Nearest pixel of every voxel at every omega: (n_omega, n_voxels, 2), also off the detector."""
    grid = np.stack(np.meshgrid(voxels.x_um, voxels.y_um, voxels.z_um, indexing="ij"), axis=-1).reshape(-1, 3)
    return np.rint(np.einsum("kij,vj->kvi", views.matrix, grid) + views.shift[:, None]).astype(int)


@settings(max_examples=60, deadline=None)
@given(
    mode=st.sampled_from(["horizontal", "vertical"]),
    shape=st.tuples(*[st.integers(1, 5)] * 3),
    middle=st.tuples(*[st.floats(-12, 12)] * 3),
    center=st.tuples(st.floats(-5, 18), st.floats(-5, 14)),
    omega=st.floats(-7, 7),
)
def test_boxes_hold_every_pixel_that_is_seen(mode, shape, middle, center, omega):
    views, voxels = make_views([omega], mode, center=center), make_block(shape, middle)
    x0, y0, n_x, n_y = pixel_boxes(views, voxels)[0]
    assert 0 <= x0 <= x0 + n_x <= ROI[0]
    assert 0 <= y0 <= y0 + n_y <= ROI[1]
    pixels = pixels_of(views, voxels)[0]
    seen = pixels[((pixels >= 0) & (pixels < ROI)).all(axis=1)]
    assert ((seen >= (x0, y0)) & (seen < (x0 + n_x, y0 + n_y))).all()


def test_box_is_empty_off_the_detector():
    boxes = pixel_boxes(make_views([0.0, 1.0], center=(300.0, -200.0)), make_block())
    np.testing.assert_array_equal(boxes[:, 2] * boxes[:, 3], 0)


def test_box_is_no_larger_than_needed():
    """A slab must not read the whole detector: its projections and a pixel around them."""
    views, voxels = make_views([0.4], magnification=1.0), make_block((1, 1, 1))
    assert pixel_boxes(views, voxels)[0, 2:].max() <= 3


# ---- Sums ----


def make_pixels(views, voxels, dtype, seed=0):
    """Random tilt maps (n_omega, n_x, n_y, n_pairs), and the same as a PixelSet of boxes."""
    rng = np.random.default_rng(seed)
    maps = rng.uniform(0, 200, (len(views), *ROI, N_PAIRS)).astype(dtype)
    boxes = pixel_boxes(views, voxels)
    cut = [
        maps[k, x0 : x0 + n_x, y0 : y0 + n_y].reshape(-1, N_PAIRS)
        for k, (x0, y0, n_x, n_y) in enumerate(boxes)
    ]
    first_row = np.concatenate([[0], np.cumsum([len(c) for c in cut])[:-1]])
    return maps, PixelSet(np.concatenate(cut), boxes, first_row)


@pytest.mark.parametrize("dtype", ["u2", "f4"])
@pytest.mark.parametrize("n_omega", [1, 3, 4, 5, 8, 11])
def test_sums_and_completeness(n_omega, dtype):
    """Groups of four omegas and what is left over; voxels that leave the detector at some omegas."""
    views = make_views(np.linspace(0.1, 6.0, n_omega))
    voxels = make_block((5, 4, 7), step=1.9)
    maps, pixels = make_pixels(views, voxels, dtype)
    sums = Backprojection(voxels, N_PAIRS, pixels.flat.dtype, 150.0)
    sums.add(views, pixels)
    total, lit = np.zeros((voxels.n_voxels, N_PAIRS)), np.zeros((voxels.n_voxels, N_PAIRS))
    seen = np.zeros(voxels.n_voxels)
    for k, pixels_k in enumerate(pixels_of(views, voxels)):
        for v, (ix, iy) in enumerate(pixels_k):
            if 0 <= ix < ROI[0] and 0 <= iy < ROI[1]:
                total[v] += maps[k, ix, iy]
                lit[v] += maps[k, ix, iy] > 150
                seen[v] += 1
    assert 0 < seen.sum() < n_omega * voxels.n_voxels
    np.testing.assert_allclose(sums.sums, total, rtol=1e-6)
    np.testing.assert_array_equal(sums.seen, seen)
    result = sums.finish(np.array([2.5]), np.arange(N_PAIRS, dtype=float), n_omega)
    assert tuple(result) == FIELDS
    own = lit[np.arange(len(lit)), total.argmax(axis=1)].reshape(voxels.shape)
    np.testing.assert_array_equal(result["completeness"], own / n_omega)
    with np.errstate(invalid="ignore"):
        mean = (total.sum(axis=1) / seen).reshape(voxels.shape)
        centre = (total @ np.arange(N_PAIRS) / total.sum(axis=1)).reshape(voxels.shape)
    np.testing.assert_allclose(result["intensity"], mean, rtol=1e-6)
    np.testing.assert_allclose(result["tilt2"], centre, atol=1e-5)


@pytest.mark.parametrize("dtype", ["u2", "f4"])
def test_a_voxel_has_the_same_bits_in_whatever_block(dtype):
    """Floating-point sums depend on their order, which must not depend on who owns the voxel."""
    views, voxels = make_views(np.linspace(0.1, 6.0, 11)), make_block((5, 4, 3), step=1.7)
    maps, pixels = make_pixels(views, voxels, dtype)
    whole = Backprojection(voxels, N_PAIRS, pixels.flat.dtype, 50.0)
    whole.add(views, pixels)
    for i in range(5):
        slab = Block(voxels.x_um[i : i + 1], voxels.y_um, voxels.z_um)
        _, its_pixels = make_pixels(views, slab, dtype)
        part = Backprojection(slab, N_PAIRS, pixels.flat.dtype, 50.0)
        part.add(views, its_pixels)
        assert part.sums.tobytes() == whole.sums.reshape(5, -1)[i].tobytes()


def test_sums_of_bright_pixels_do_not_overflow():
    """65535 counts at 1000 omegas; integers of the detector are summed exactly."""
    assert [sum_dtype(np.dtype(t)) for t in ("u1", "u2", "i2", "u4", "f4", "f8")] == [
        np.uint32,
        np.uint32,
        np.float32,
        np.float32,
        np.float32,
        np.float32,
    ]
    views, voxels = make_views(np.zeros(1000)), make_block((1, 1, 1))
    _, pixels = make_pixels(views, voxels, "u2")
    pixels.flat[:] = 65535
    sums = Backprojection(voxels, N_PAIRS, pixels.flat.dtype, 50.0)
    sums.add(views, pixels)
    np.testing.assert_array_equal(sums.sums, 65_535_000)
    result = sums.finish(np.array([0.0]), np.linspace(-1, 1, N_PAIRS), 1000)
    assert result["intensity"].item() == 65535 * N_PAIRS
    assert abs(result["tilt2"].item()) < 1e-12


# ---- Kernels ----


@pytest.mark.parametrize("dtype", ["u2", "f4"])
@pytest.mark.parametrize(
    ("n_y", "y0", "height"), [(150, 0, 150), (150, 7, 130), (9, 8, 1), (64, 0, 64), (5, 2, 0)]
)
def test_transpose_frames(dtype, n_y, y0, height):
    frames = np.random.default_rng(0).uniform(0, 900, (3, 2, n_y)).astype(dtype)
    found = np.empty((2 * height, 3), dtype=dtype)
    kernels.transpose_frames(frames, y0, height, found)
    np.testing.assert_array_equal(found, frames[:, :, y0 : y0 + height].reshape(3, -1).T)


@pytest.mark.parametrize("dtype", ["u1", "u2", "i2", "f4", "f8"])
@pytest.mark.parametrize("threshold", [0.0, 2.0, 2.5, 0.1, 254.9999, 255.0, 1e6])
def test_limit_of_the_type_says_what_the_threshold_says(dtype, threshold):
    """Lit is above the threshold, not at it, also where the type cannot hold the threshold."""
    values = np.array([0, 1, 2, 3, 100, 254, 255], dtype=dtype)
    if values.dtype.kind == "f":
        around = np.array([threshold], dtype=dtype)
        values = np.concatenate(
            [values, around, np.nextafter(around, around - 1), np.nextafter(around, around + 1)]
        )
    limit = lit_limit(threshold, np.dtype(dtype))
    assert limit.dtype == dtype
    np.testing.assert_array_equal(values > limit, values.astype(np.float64) > threshold)


def test_count_hull():
    """One byte a pixel; voxels off the detector count nothing."""
    views, voxels = make_views(np.linspace(0.1, 6.0, 7)), make_block((5, 4, 7), step=1.9)
    lit = np.random.default_rng(0).random((7, *ROI)) < 0.4
    images = lit.reshape(7, -1).astype(np.uint8)
    counts = np.ones(voxels.n_voxels, dtype=np.int32)
    grid = (voxels.x_um, voxels.y_um, voxels.z_um)
    kernels.count_hull(counts, images, views.matrix, views.shift, ROI, *grid)
    expected = np.ones(voxels.n_voxels)
    for k, pixels_k in enumerate(pixels_of(views, voxels)):
        inside = ((pixels_k >= 0) & (pixels_k < ROI)).all(axis=1)
        expected[inside] += lit[k, pixels_k[inside, 0], pixels_k[inside, 1]]
    assert 1 < expected.mean() < 7
    np.testing.assert_array_equal(counts, expected)


def test_tilt_moments():
    rng = np.random.default_rng(0)
    sums = rng.uniform(0, 9, (6, 8)).astype(np.float32)
    sums[1] = 0  # empty
    sums[2] = -1  # less than nothing
    sums[3] = [0, 0, 5, 0, 0, 5, 0, 0]  # two equally bright
    sums[4] = np.nan
    tilt1, tilt2 = rng.normal(size=8), rng.normal(size=8)
    moments, brightest = np.empty((6, 5)), np.empty(6, dtype=np.int64)
    kernels.tilt_moments(sums, tilt1, tilt2, moments, brightest)
    for voxel in (0, 3, 5):
        p = sums[voxel].astype(float)
        mean1, mean2 = np.average(tilt1, weights=p), np.average(tilt2, weights=p)
        std1 = np.sqrt(np.average((tilt1 - mean1) ** 2, weights=p))
        std2 = np.sqrt(np.average((tilt2 - mean2) ** 2, weights=p))
        np.testing.assert_allclose(moments[voxel], [p.sum(), mean1, mean2, std1, std2])
        assert brightest[voxel] == p.argmax()
    assert brightest[3] == 2
    assert np.isnan(moments[[1, 2, 4], 1:]).all()


def test_standard_deviation_keeps_its_digits_far_from_zero():
    """Motor positions of 100 deg, a spread of a thousandth."""
    sums = np.ones((1, 2), dtype=np.float32)
    moments, brightest = np.empty((1, 5)), np.empty(1, dtype=np.int64)
    kernels.tilt_moments(sums, np.array([99.999, 100.001]), np.zeros(2), moments, brightest)
    assert moments[0, 3] == pytest.approx(0.001, rel=1e-9)


# ---- Cut-off ----


def test_cutoff():
    """Below it the orientation goes, completeness and intensity stay; at it everything stays."""
    fields = {name: np.array([1.0, 2.0, 3.0, np.nan]) for name in FIELDS}
    fields["completeness"] = np.array([0.49, 0.5, 1.0, 0.7])
    mask = apply_cutoff(fields, 0.5)
    np.testing.assert_array_equal(mask, [False, True, True, False])
    for name in FIELDS[:4]:
        np.testing.assert_array_equal(fields[name], [np.nan, 2.0, 3.0, np.nan])
    np.testing.assert_array_equal(fields["completeness"], [0.49, 0.5, 1.0, 0.7])
    np.testing.assert_array_equal(fields["intensity"], [1.0, 2.0, 3.0, np.nan])


def test_cutoff_zero_keeps_every_orientation_but_no_grain_without_light():
    fields = {name: np.array([1.0, 2.0]) for name in FIELDS}
    fields["completeness"] = np.array([0.0, 0.1])
    np.testing.assert_array_equal(apply_cutoff(fields, 0.0), [False, True])
    np.testing.assert_array_equal(fields["tilt1"], [1.0, 2.0])
