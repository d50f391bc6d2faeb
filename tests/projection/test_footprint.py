"""How a voxel falls on pixels: against boxes filled with points, and the adjoints against each other."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from numpy.typing import NDArray

from lib.mlem import map_kernels
from lib.mlem.maps import Maps
from lib.physics.geometry import Geometry
from lib.projection import footprint
from lib.projection.footprint import ONE_PIXEL, bins_for, widths_px
from lib.projection.views import Views

SHAPE = (23, 31)
FLIPS = ((1, 0, 0, 1), (0, 1, -1, 0), (-1, 0, 0, 1), (0, 1, 1, 0))
VOXELS = ((0.5, 0.5, 0.5), (1.4, 1.4, 1.4), (2.9, 2.9, 2.9), (1.2, 3.7, 0.8), (4.1, 0.3, 1.0))


def views_of(mode: str, flip: tuple[int, int, int, int], n: int = 9, scale: float = 1.0) -> Views:
    """Projections over a turn, with `scale` pixels to a micrometre; 0, 90 and 180 degrees among them."""
    geometry = Geometry(mode, 0.18, scale, orientation=flip).with_center((11.3, 14.6))
    matrix, shift = geometry.sample_to_pixel(np.radians(np.linspace(0.0, 360.0, n)))
    return Views(matrix, shift, SHAPE)


def places(views: Views, voxel_um: tuple[float, float, float], xyz: NDArray, row_of: NDArray) -> list[tuple]:
    widths = widths_px(views, voxel_um)
    return [(xyz, views.matrix[k], views.shift[k], widths[k], SHAPE, row_of) for k in range(len(views))]


def active_rows(rng: np.random.Generator) -> NDArray[np.int32]:
    """Rows of two thirds of the pixels, -1 for the others."""
    row_of = np.full(SHAPE[0] * SHAPE[1], -1, dtype=np.int32)
    active = np.sort(rng.choice(row_of.size, 2 * row_of.size // 3, replace=False))
    row_of[active] = np.arange(active.size)
    return row_of


def in_the_middle(rng: np.random.Generator, n: int = 40) -> NDArray[np.float64]:
    """Places that leave the detector at some omegas, on some sides."""
    return rng.uniform(-13, 13, (n, 3))


@pytest.mark.parametrize("voxel_um", VOXELS)
@pytest.mark.parametrize("mode", ["horizontal", "vertical"])
@pytest.mark.parametrize("flip", FLIPS)
def test_scatter_is_the_adjoint_of_gather(mode: str, flip: tuple, voxel_um: tuple) -> None:
    rng = np.random.default_rng(1)
    xyz, row_of = in_the_middle(rng), active_rows(rng)
    for place in places(views_of(mode, flip), voxel_um, xyz, row_of):
        x = rng.random((len(xyz), 9), dtype=np.float32)
        y = rng.random((row_of.max() + 1, 9), dtype=np.float32)
        forward, back = np.zeros_like(y), np.zeros_like(x)
        footprint.scatter(x, place, forward)
        footprint.gather(y, place, back)
        left, right = np.vdot(forward.astype(float), y), np.vdot(x.astype(float), back)
        assert left > 0
        assert left == pytest.approx(right, rel=1e-5)


@pytest.mark.parametrize("voxel_um", VOXELS)
def test_maps_in_runs_are_projected_alike(voxel_um: tuple) -> None:
    rng = np.random.default_rng(2)
    xyz, row_of = in_the_middle(rng), active_rows(rng)
    maps = Maps.full(len(xyz), 16, 1.0)
    maps.values[:] = rng.random(maps.values.shape)
    for place in places(views_of("horizontal", FLIPS[0], 4), voxel_um, xyz, row_of):
        expected, found = (np.zeros((row_of.max() + 1, 16), dtype=np.float32) for _ in range(2))
        footprint.scatter(maps.dense(), place, expected)
        map_kernels.scatter_maps(maps.first, maps.run, maps.values, place, found)
        np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)
        back, values = np.zeros((len(xyz), 16), dtype=np.float32), np.zeros_like(maps.values)
        footprint.gather(expected, place, back)
        map_kernels.gather_maps(expected, place, maps.first, maps.run, values)
        np.testing.assert_allclose(values.reshape(-1, 16), back, rtol=1e-4, atol=1e-5)


def shares(place: tuple) -> NDArray[np.float64]:
    """The image (n_x, n_y) of one voxel."""
    image = np.zeros((SHAPE[0] * SHAPE[1], 1), dtype=np.float32)
    every = np.arange(len(image), dtype=np.int32)
    footprint.scatter(np.ones((1, 1), dtype=np.float32), (*place[:5], every), image)
    return image.reshape(SHAPE).astype(float)


@pytest.mark.parametrize("mode", ["horizontal", "vertical"])
@pytest.mark.parametrize("voxel_um", [v for v in VOXELS if min(v) > 1.0] + [(1.2, 3.7, 1.1)])
def test_a_voxel_casts_the_image_of_its_points(mode: str, voxel_um: tuple) -> None:
    """A box filled with points, each in its pixel: the sums along the axes of the image, and its middle."""
    line = (np.arange(48) + 0.5) / 48 - 0.5
    points = np.array(list(product(*(line * width for width in voxel_um))))
    centre = np.array([[0.37, -0.81, 0.55]])
    views = views_of(mode, FLIPS[0])
    for k, place in enumerate(places(views, voxel_um, centre, np.empty(0, dtype=np.int32))):
        u = np.rint((points + centre) @ views.matrix[k].T + views.shift[k]).astype(int)
        filled = np.zeros(SHAPE)
        np.add.at(filled, tuple(u.T), 1.0 / len(points))
        found = shares(place)
        assert found.sum() == pytest.approx(1.0, abs=1e-5)
        for axis in (0, 1):
            np.testing.assert_allclose(found.sum(axis=axis), filled.sum(axis=axis), atol=0.04)


@pytest.mark.parametrize("mode", ["horizontal", "vertical"])
@pytest.mark.parametrize("flip", FLIPS)
@pytest.mark.parametrize("voxel_um", VOXELS)
def test_what_is_cast_is_what_is_scattered(mode: str, flip: tuple, voxel_um: tuple) -> None:
    """But for the rounding of places, a 256th of a pixel; voxels partly outside take part too."""
    rng = np.random.default_rng(2)
    xyz, values = in_the_middle(rng), rng.random(40, dtype=np.float32)
    every = np.arange(SHAPE[0] * SHAPE[1], dtype=np.int32)
    for place in places(views_of(mode, flip), voxel_um, xyz, every):
        scattered, found = np.zeros((every.size, 1), dtype=np.float32), np.zeros(SHAPE, dtype=np.float32)
        footprint.scatter(values[:, None], place, scattered)
        footprint.cast(values, place, found)
        np.testing.assert_allclose(found, scattered.reshape(SHAPE), atol=4 / 256)


def test_no_stripes_where_voxels_are_wider_than_pixels() -> None:
    """A block of voxels of density 1 casts an even image: 1.43, 2 and 2.9 pixels to a voxel."""
    for width in (1.43, 2.0, 2.9):
        n = int(60 / width)
        axis = width * (np.arange(n) - (n - 1) / 2)
        xyz = np.array(list(product(axis[n // 2 - 2 : n // 2 + 2], axis, axis)))
        views = views_of("horizontal", FLIPS[0], 5)
        for place in places(views, (width,) * 3, xyz, np.arange(SHAPE[0] * SHAPE[1], dtype=np.int32)):
            image = np.zeros((SHAPE[0] * SHAPE[1], 1), dtype=np.float32)
            footprint.scatter(np.ones((len(xyz), 1), dtype=np.float32), place, image)
            middle = image.reshape(SHAPE)[11, 8:23]
            assert np.ptp(middle) < 0.06 * middle.mean()


def test_narrow_voxels_are_bilinear_with_nothing_outside() -> None:
    rng = np.random.default_rng(5)
    xyz = in_the_middle(rng, 200)
    views = views_of("horizontal", FLIPS[0])
    row_of = np.arange(SHAPE[0] * SHAPE[1], dtype=np.int32)
    for place in places(views, (0.7, 0.7, 0.7), xyz, row_of):
        np.testing.assert_array_equal(place[3], ONE_PIXEL)
        image = rng.random((*SHAPE, 3), dtype=np.float32)
        found = np.zeros((len(xyz), 3), dtype=np.float32)
        footprint.gather(image.reshape(-1, 3), place, found)
        hit, cover = footprint.where_it_falls(xyz, *place[1:5])
        padded = np.pad(image, [(60, 60), (60, 60), (0, 0)])
        inside = np.pad(np.ones(SHAPE), 60)
        expected, weights = np.zeros((len(xyz), 3)), np.zeros(len(xyz))
        u = xyz @ place[1].T + place[2] + 60
        i = np.floor(u).astype(int)
        f = u - i
        for dx, dy in product((0, 1), repeat=2):
            weight = np.abs(1 - dx - f[:, 0]) * np.abs(1 - dy - f[:, 1])
            pixel = i[:, 0] + dx, i[:, 1] + dy
            expected += weight[:, None] * padded[pixel]
            weights += weight * inside[pixel]
        np.testing.assert_allclose(found, expected, rtol=2e-5, atol=1e-6)
        np.testing.assert_allclose(cover, weights, rtol=2e-5, atol=1e-6)
        assert hit.sum() > 0


@pytest.mark.parametrize("voxel_um", VOXELS)
def test_marked_pixels_are_those_that_are_hit(voxel_um: tuple) -> None:
    rng = np.random.default_rng(6)
    xyz = in_the_middle(rng, 12)
    for place in places(views_of("vertical", FLIPS[1]), voxel_um, xyz, np.empty(0, dtype=np.int32)):
        hit, cover = footprint.where_it_falls(xyz, *place[1:5])
        images = np.stack([shares((xyz[v : v + 1], *place[1:])) for v in range(len(xyz))])
        np.testing.assert_array_equal(hit.reshape(SHAPE), images.sum(axis=0) > 0)
        np.testing.assert_allclose(cover, images.sum(axis=(1, 2)), rtol=1e-5, atol=1e-6)


def test_bins_are_no_wider_than_voxels() -> None:
    for width, bins in ((0.4, 1), (1.0, 1), (1.43, 1), (1.74, 1), (1.76, 2), (2.0, 2), (2.9, 3), (4.0, 4)):
        assert bins_for(views_of("horizontal", FLIPS[0]), (width,) * 3) == (bins, bins)
    assert bins_for(views_of("horizontal", FLIPS[0], scale=2.0), (2.0, 1.0, 1.0)) == (4, 2)
    assert bins_for(views_of("horizontal", FLIPS[0]), (99.0,) * 3) == SHAPE  # never more than there are
