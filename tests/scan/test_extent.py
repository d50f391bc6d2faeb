"""How far a grain extends: shapes whose hull is longer than they are, from images without any noise."""

from __future__ import annotations

import numpy as np
import pytest

from lib.physics.geometry import Geometry
from lib.projection.views import Views
from lib.scan import extent
from lib.scan.extent import Small, find_extent

M, SIZE = 4.0, 88
MIDDLE = np.array([1.0, -1.5, 0.8])
WIDE = -np.full(3, 16.0), np.full(3, 16.0)
SHAPES = {
    "ball": (5.0, 5.0, 5.0),
    "plate normal to the axis": (1.9, 6.0, 6.0),
    "plate along the axis": (6.0, 6.0, 1.9),
    "needle along the axis": (7.0, 2.2, 2.2),
    "needle across it": (2.2, 7.0, 2.2),
}


def images(semi_axes: tuple[float, ...], turn_deg: float = 360.0, counts: float = 1e3) -> Small:
    """Images of an ellipsoid, made of points, at 48 omegas."""
    rng = np.random.default_rng(0)
    points = rng.normal(size=(40_000, 3))
    points *= (rng.random(40_000) ** (1 / 3) / np.linalg.norm(points, axis=1))[:, None]
    geometry = Geometry(mode="horizontal", theta_rad=0.181, magnification=M)
    omega = np.radians(turn_deg) * np.arange(48) / 48
    matrix, shift = geometry.with_center(((SIZE - 1) / 2,) * 2).sample_to_pixel(omega, phi_up=0.0, phi_lo=0.0)
    views = Views(np.ascontiguousarray(matrix), np.ascontiguousarray(shift), (SIZE, SIZE))
    light = np.zeros((48, SIZE, SIZE), dtype=np.float32)
    for k in range(48):
        pixel = np.rint((points * semi_axes + MIDDLE) @ matrix[k].T + shift[k]).astype(int)
        np.add.at(light[k], tuple(pixel.T), 1.0)
    light *= counts / light.max()
    return Small(light, np.zeros(48), views, 1 / M, np.radians(turn_deg))


@pytest.mark.parametrize("turn_deg", [360.0, 180.0, 90.0])
@pytest.mark.parametrize("name", SHAPES)
def test_each_side_is_that_of_the_grain_to_two_pixels(name: str, turn_deg: float) -> None:
    found = find_extent(images(SHAPES[name], turn_deg), WIDE)
    assert found is not None
    half = np.array(SHAPES[name])
    assert (found[0] < MIDDLE - half + 0.3 / M).all() and (found[1] > MIDDLE + half - 0.3 / M).all()
    assert (found[0] > MIDDLE - half - 2.2 / M).all() and (found[1] < MIDDLE + half + 2.2 / M).all()


def test_the_density_takes_off_what_the_hull_adds() -> None:
    """Of a plate that is never seen edge-on."""
    small = images(SHAPES["plate normal to the axis"], 90.0)
    lit, known, ways = extent._lit(small)
    hull = extent._hull(small, lit, known, ways, WIDE)
    found = find_extent(small, WIDE)
    assert hull is not None and found is not None
    box = extent._bounds(*hull)
    assert box is not None
    assert np.ptp(box, axis=0)[0] > 1.3 * np.ptp(found, axis=0)[0]


def test_a_box_that_is_too_small_grows() -> None:
    small = images(SHAPES["ball"])
    found, expected = find_extent(small, (MIDDLE - 2.0, MIDDLE + 2.0)), find_extent(small, WIDE)
    np.testing.assert_allclose(found, expected, atol=1.0 / M)


def test_omegas_and_pixels_that_are_unknown_are_no_dark_ones() -> None:
    small = images(SHAPES["ball"])
    expected = find_extent(small, WIDE)
    small.light[::5] = np.nan
    for k in range(48):
        small.light[k, :, (7 * k) % 80 : (7 * k) % 80 + 8] = np.nan
    np.testing.assert_allclose(find_extent(small, WIDE), expected, atol=1.0 / M)


def test_no_light_has_no_extent() -> None:
    small = images(SHAPES["ball"], counts=1e-6)
    assert find_extent(small, WIDE) is None


def test_binned_images_see_the_same_points() -> None:
    small = images(SHAPES["ball"])
    few = small.binned(2)
    point = MIDDLE + [1.0, -2.0, 0.5]
    px, coarse = (s.views.matrix[7] @ point + s.views.shift[7] for s in (small, few))
    np.testing.assert_allclose(coarse, (px - 0.5) / 2)
    assert few.light.shape == (48, 44, 44) and few.light.sum() == pytest.approx(small.light.sum(), rel=1e-5)
