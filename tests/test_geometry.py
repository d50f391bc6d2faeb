"""The geometry against test vectors, an independent ray trace and the Bragg condition.

The rotations and the lens of these tests are written out below and share no code with the package.
"""

from __future__ import annotations

from fractions import Fraction
from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lib.errors import Recon3DError
from lib.geometry import (
    MODES,
    OMEGA_AXIS,
    SCATTERING_VECTOR,
    TILT_FRAMES,
    Geometry,
    bragg_angle,
    plane_spacing_angstrom,
    roi_center,
    rotation,
    scattering_vector,
    voxel_axis,
)

AL_CELL = [4.0495, 4.0495, 4.0495, 90, 90, 90]
AL_WAVELENGTH = 0.7293
THETA = np.radians(10.375)
ORIGIN = (0.0, 0.0, 0.0)

X, Y, Z = np.eye(3)
ROCK = {"horizontal": Z, "vertical": X}
OMEGA = {"horizontal": X, "vertical": Z}
ROLL = Y
G0 = {"horizontal": -X, "vertical": Z}


# ---- Physics written out for the tests ----


def turn(point, axis, angle, focus=ORIGIN):
    """Rodrigues' formula: `point` turned right-handed by `angle` about `axis` through `focus`."""
    r = np.asarray(point, float) - focus
    along = axis * (axis @ r)
    return focus + along + np.cos(angle) * (r - along) + np.sin(angle) * np.cross(axis, r)


def goniometer(point, geometry, omega, phi_up=0.0, phi_lo=0.0, mu=0.0, gamma=0.0):
    """A point of the sample in the lab, one rotation stage after the other from the sample down."""
    mode = geometry.mode
    point = turn(point, ROCK[mode], phi_up, geometry.xyz_up_um)
    point = turn(point, ROLL, phi_lo, geometry.xyz_lo_um)
    point = turn(point, OMEGA[mode], omega)
    point = turn(point, ROLL, gamma)
    return turn(point, ROCK[mode], geometry.theta_rad + mu, geometry.xyz_th_um)


def exact(vector):
    """The floating-point numbers of a vector as fractions, so that a lens may stand 1e15 um away."""
    return np.array([Fraction(float(value)) for value in vector], dtype=object)


def ray_trace(point, geometry, lens_um=10**15):
    """(x, z) on the detector, px, of the straight ray from a lab point through the centre of a thin lens.

    The lens is centred on the diffracted beam at d1 = `lens_um` from the origin, the detector crosses
    the beam at d2 = M d1 behind the lens. Everything from the rounded directions on is exact.
    """
    rock, two_theta = ROCK[geometry.mode], 2 * geometry.theta_rad
    angle = two_theta if geometry.detector_tilt_rad is None else geometry.detector_tilt_rad
    beam = exact(turn(Y, rock, two_theta))
    normal, across, up = (exact(turn(axis, rock, angle)) for axis in (Y, X, Z))
    start, lens = exact(point), beam * lens_um
    middle = lens + beam * lens_um * Fraction(geometry.magnification)
    ray = lens - start
    hit = start + ray * (normal.dot(middle - start) / normal.dot(ray))
    return np.array([float(across.dot(hit - middle)), float(up.dot(hit - middle))])


def image(geometry, point, omega, **tilts):
    """Position (x_d, z_d) of one sample point according to the package."""
    matrix, shift = geometry.sample_to_image(omega, **tilts)
    return matrix @ point + shift


# ---- Test vectors ----

FOCUS_HORIZONTAL = {"xyz_up_um": (-40, 0, 0), "xyz_lo_um": (-25, 0, 0), "xyz_th_um": (5, 1, 0)}
FOCUS_VERTICAL = {"xyz_up_um": (0, 0, -40), "xyz_lo_um": (0, 0, -25), "xyz_th_um": (5, 1, 0)}

# mode, focus points, r_s (um), omega, phi_up, phi_lo (degrees), x_d, z_d (px); M = 10, theta = 10.375
VECTORS = [
    ("horizontal", {}, (1, 0, 0), 0, 0, 0, -9.836501, 0),
    ("horizontal", {}, (0, 1, 0), 0, 0, 0, -1.800900, 0),
    ("horizontal", {}, (0, 0, 1), 0, 0, 0, 0, -10),
    ("horizontal", {}, (0, 1, 0), 90, 0, 0, 0, -10),
    ("horizontal", {}, (3, -2, 5), 35, 0, 0, -21.394315, -29.486073),
    ("horizontal", {}, (3, -2, 5), 35, 0.2, -0.3, -21.204158, -29.674617),
    ("horizontal", {}, (3, -2, 5), 215, 0, 0, -37.624694, 29.486073),
    ("horizontal", FOCUS_HORIZONTAL, (3, -2, 5), 35, 0.2, -0.3, -20.585420, -31.547731),
    ("vertical", {}, (1, 0, 0), 0, 0, 0, -10, 0),
    ("vertical", {}, (0, 1, 0), 0, 0, 0, 0, 1.800900),
    ("vertical", {}, (0, 0, 1), 0, 0, 0, 0, -9.836501),
    ("vertical", {}, (0, 1, 0), 90, 0, 0, 10, 0),
    ("vertical", {}, (3, -2, 5), 35, 0, 0, -36.046090, -49.034068),
    ("vertical", {}, (3, -2, 5), 35, 0.2, -0.3, -35.931639, -49.171710),
    ("vertical", {}, (3, -2, 5), 215, 0, 0, 36.046090, -49.330947),
    ("vertical", FOCUS_VERTICAL, (3, -2, 5), 35, 0.2, -0.3, -35.660249, -47.765121),
]


@pytest.mark.parametrize(("mode", "focus", "point", "omega", "phi_up", "phi_lo", "x_d", "z_d"), VECTORS)
def test_vectors(mode, focus, point, omega, phi_up, phi_lo, x_d, z_d):
    """The worked positions are met to the last printed digit, with and without the pixel step."""
    geometry = Geometry(mode, THETA, 10.0, **focus)
    tilts = {"phi_up": np.radians(phi_up), "phi_lo": np.radians(phi_lo)}
    found = image(geometry, point, np.radians(omega), **tilts)
    np.testing.assert_allclose(found, (x_d, z_d), rtol=0, atol=1e-6)
    matrix, shift = geometry.sample_to_pixel(np.radians(omega), **tilts)
    np.testing.assert_allclose(matrix @ point + shift, (x_d, z_d), rtol=0, atol=1e-6)


# ---- Ray trace through a thin lens ----


def random_cases(mode, seed, motors, n=100, **fixed):
    """Random geometries with a point of the sample, an omega and tilts of the named motors."""
    rng = np.random.default_rng(seed)
    for _ in range(n):
        names = ("xyz_up_um", "xyz_lo_um", "xyz_th_um")
        focus = {name: tuple(rng.uniform(-40, 40, 3)) for name in names}
        geometry = Geometry(mode, np.radians(rng.uniform(5, 15)), 13.0, **focus, **fixed)
        tilts = {motor: np.radians(rng.uniform(-0.5, 0.5)) for motor in motors}
        yield geometry, rng.uniform(-10, 10, 3), rng.uniform(-np.pi, 3 * np.pi), tilts


@pytest.mark.parametrize("motors", [("phi_up", "phi_lo"), ("mu", "gamma")], ids=TILT_FRAMES)
@pytest.mark.parametrize("mode", MODES)
def test_agrees_with_ray_trace(mode, motors):
    """Rays through a thin lens land where the formulas say, for both pairs of tilts."""
    for geometry, point, omega, tilts in random_cases(mode, 1, motors):
        traced = ray_trace(goniometer(point, geometry, omega, **tilts), geometry)
        np.testing.assert_allclose(image(geometry, point, omega, **tilts), traced, rtol=0, atol=1e-5)


@pytest.mark.parametrize("mode", MODES)
def test_agrees_with_ray_trace_tilted_detector(mode):
    """A detector turned about the axis of Theta, up to 50 degrees from normal."""
    for degrees in (-20.0, 0.0, 17.0, 45.0):
        tilt = np.radians(degrees)
        cases = random_cases(mode, 2, ("phi_up", "phi_lo"), 25, detector_tilt_rad=tilt)
        for geometry, point, omega, tilts in cases:
            traced = ray_trace(goniometer(point, geometry, omega, **tilts), geometry)
            np.testing.assert_allclose(image(geometry, point, omega, **tilts), traced, rtol=0, atol=1e-5)


@pytest.mark.parametrize(("mode", "stretched"), [("horizontal", 0), ("vertical", 1)])
def test_detector_tilt_stretches_one_axis(mode, stretched):
    """An upright detector (t = 0) stretches one axis by 1/cos(2 theta) and leaves the other."""
    point, omega = np.array([3.0, -2.0, 5.0]), 0.6
    plain = image(Geometry(mode, THETA, 13.0), point, omega)
    upright = image(Geometry(mode, THETA, 13.0, detector_tilt_rad=0.0), point, omega)
    expected = plain.copy()
    expected[stretched] /= 0.935135  # cos 20.75 deg
    np.testing.assert_allclose(upright, expected, rtol=1e-5)
    assert abs(upright - plain).max() > 1
    normal = image(Geometry(mode, THETA, 13.0, detector_tilt_rad=2 * THETA), point, omega)
    np.testing.assert_allclose(normal, plain, rtol=1e-14)


@pytest.mark.parametrize("mode", MODES)
def test_ray_trace_tells_the_sign_of_theta(mode):
    """The printed Theta(+theta) and an image that is not inverted are both far from the ray trace."""
    geometry, point, omega = Geometry(mode, THETA, 13.0), np.array([8.0, 9.0, -7.0]), 0.3
    traced = ray_trace(goniometer(point, geometry, omega), geometry)
    printed = image(Geometry(mode, -THETA, 13.0), point, omega)  # R(2 theta) Theta(-theta) = Theta(theta)
    assert np.linalg.norm(printed - traced) > 20
    assert np.linalg.norm(-image(geometry, point, omega) - traced) > 20


@pytest.mark.parametrize("mode", MODES)
def test_lab_position_agrees_with_goniometer(mode):
    """All five rotations at once put a point where turning it stage by stage does."""
    for geometry, point, omega, tilts in random_cases(mode, 3, ("phi_up", "phi_lo", "mu", "gamma")):
        matrix, shift = geometry.sample_to_lab(omega, **tilts)
        expected = goniometer(point, geometry, omega, **tilts)
        np.testing.assert_allclose(matrix @ point + shift, expected, rtol=0, atol=1e-11)


# ---- Bragg condition ----


def voxel_g(mode, a, b):
    """G of a voxel with orientation (a, b), sample frame."""
    return np.array([-1.0, a, -b]) if mode == "horizontal" else np.array([-b, a, 1.0])


def diffracting_tilts(mode, frame, omega, a, b):
    """Motor positions at which a voxel with orientation (a, b) should diffract."""
    if frame == "sample":
        return {"phi_up": a, "phi_lo": b}
    c, s = np.cos(omega), np.sin(omega)
    if mode == "horizontal":
        return {"mu": a * c + b * s, "gamma": -a * s + b * c}
    return {"mu": a * c - b * s, "gamma": a * s + b * c}


def bragg_error(g, mode, theta):
    """Angle (rad) between G in the lab and Theta(theta) G0, the direction that diffracts."""
    wanted = turn(G0[mode], ROCK[mode], theta)
    return np.arctan2(np.linalg.norm(np.cross(g, wanted)), g @ wanted)


def voxels(size, n=50):
    """Random Bragg angle, omega and orientation (a, b) of length `size`."""
    rng = np.random.default_rng(4)
    for _ in range(n):
        direction = rng.uniform(0, 2 * np.pi)
        a, b = size * np.cos(direction), size * np.sin(direction)
        yield np.radians(rng.uniform(5, 15)), rng.uniform(-np.pi, 3 * np.pi), a, b


@pytest.mark.parametrize("size", [1e-2, 1e-3, 1e-4])
@pytest.mark.parametrize("frame", TILT_FRAMES)
@pytest.mark.parametrize("mode", MODES)
def test_voxel_diffracts_at_its_tilts(mode, frame, size):
    """After all rotations G is parallel to Theta(theta) G0, to second order in the tilts."""
    for theta, omega, a, b in voxels(size):
        geometry = Geometry(mode, theta, 10.0)
        tilts = diffracting_tilts(mode, frame, omega, a, b)
        by_hand = goniometer(voxel_g(mode, a, b), geometry, omega, **tilts)
        assert bragg_error(by_hand, mode, theta) < 2 * size**2
        by_package = geometry.sample_to_lab(omega, **tilts)[0] @ scattering_vector(mode, a, b)
        np.testing.assert_allclose(by_package, by_hand, rtol=0, atol=1e-14)


@pytest.mark.parametrize("frame", TILT_FRAMES)
@pytest.mark.parametrize("mode", MODES)
def test_diffracting_voxel_sends_the_beam_along_the_diffracted_beam(mode, frame):
    """G stands at 90 deg + theta to the beam, and y + 2 sin(theta) G is the diffracted beam."""
    size = 1e-3
    for theta, omega, a, b in voxels(size):
        tilts = diffracting_tilts(mode, frame, omega, a, b)
        g = goniometer(voxel_g(mode, a, b), Geometry(mode, theta, 10.0), omega, **tilts)
        g /= np.linalg.norm(g)
        assert np.arccos(g @ Y) == pytest.approx(np.pi / 2 + theta, abs=2 * size**2)
        k_out = Y + 2 * np.sin(theta) * g
        assert np.linalg.norm(k_out) == pytest.approx(1, abs=2 * size**2)
        c, s = np.cos(2 * theta), np.sin(2 * theta)
        beam = (-s, c, 0) if mode == "horizontal" else (0, c, s)
        np.testing.assert_allclose(k_out, beam, rtol=0, atol=2 * size**2)


WRONG = {
    "sign of a": lambda omega, a, b: (omega, -a, b),
    "sign of b": lambda omega, a, b: (omega, a, -b),
    "sign of both": lambda omega, a, b: (omega, -a, -b),
    "a and b swapped": lambda omega, a, b: (omega, b, a),
}


@pytest.mark.parametrize("wrong", WRONG)
@pytest.mark.parametrize("frame", TILT_FRAMES)
@pytest.mark.parametrize("mode", MODES)
def test_wrong_orientation_does_not_diffract(mode, frame, wrong):
    """The Bragg test tells signs and order apart: a wrong one leaves an error of the size of the tilt."""
    omega, a, b = 0.9, 1e-3, 0.4e-3
    tilts = diffracting_tilts(mode, frame, *WRONG[wrong](omega, a, b))
    g = goniometer(voxel_g(mode, a, b), Geometry(mode, THETA, 10.0), omega, **tilts)
    assert bragg_error(g, mode, THETA) > 0.5e-3


@pytest.mark.parametrize("mode", MODES)
def test_lab_tilts_turn_with_omega_one_way(mode):
    """In the lab frame omega in the wrong sense, or left out, misses the peak."""
    omega, a, b = 0.9, 1e-3, 0.4e-3
    for wrong_omega in (-omega, 0.0):
        tilts = diffracting_tilts(mode, "lab", wrong_omega, a, b)
        g = goniometer(voxel_g(mode, a, b), Geometry(mode, THETA, 10.0), omega, **tilts)
        assert bragg_error(g, mode, THETA) > 0.5e-3


@pytest.mark.parametrize("mode", MODES)
def test_scattering_vector(mode):
    """The definition of (a, b), for numbers and for arrays that broadcast."""
    np.testing.assert_array_equal(scattering_vector(mode, 0.0, 0.0), G0[mode])
    np.testing.assert_array_equal(SCATTERING_VECTOR[mode], G0[mode])
    np.testing.assert_allclose(scattering_vector(mode, 0.003, -0.002), voxel_g(mode, 0.003, -0.002))
    a, b = np.array([[0.001], [0.002]]), np.array([-0.001, 0.0, 0.004])
    vectors = scattering_vector(mode, a, b)
    assert vectors.shape == (2, 3, 3)
    for i, j in product(range(2), range(3)):
        np.testing.assert_array_equal(vectors[i, j], voxel_g(mode, a[i, 0], b[j]))


# ---- Bragg angle ----


def spacing_from_reciprocal_vectors(cell, hkl):
    """Plane spacing from cell vectors in space and the cross products that are their reciprocals."""
    a, b, c = cell[:3]
    cos_al, cos_be, cos_ga = np.cos(np.radians(cell[3:]))
    sin_ga = np.sin(np.radians(cell[5]))
    first = np.array([a, 0, 0])
    second = b * np.array([cos_ga, sin_ga, 0])
    y = (cos_al - cos_be * cos_ga) / sin_ga
    third = c * np.array([cos_be, y, np.sqrt(1 - cos_be**2 - y**2)])
    volume = first @ np.cross(second, third)
    crosses = np.cross(second, third), np.cross(third, first), np.cross(first, second)
    return volume / np.linalg.norm(sum(index * vector for index, vector in zip(hkl, crosses, strict=True)))


@pytest.mark.parametrize("hkl", [(2, 0, 0), (0, 2, 0), (0, 0, 2), (-2, 0, 0), (0, -2, 0)])
def test_bragg_angle_of_aluminium(hkl):
    """10.3754 degrees for every member of the family, also where h = 0."""
    assert plane_spacing_angstrom(AL_CELL, hkl) == pytest.approx(2.02475, abs=1e-12)
    assert np.degrees(bragg_angle(AL_CELL, hkl, AL_WAVELENGTH)) == pytest.approx(10.3754, abs=5e-5)


def test_bragg_angle_is_an_arcsine():
    """sin(theta) = lambda / 2d holds; sin(lambda / 2d) or lambda / 2d itself would not."""
    theta = bragg_angle(AL_CELL, (2, 0, 0), AL_WAVELENGTH)
    sine = AL_WAVELENGTH / 4.0495
    assert np.sin(theta) == pytest.approx(sine, rel=1e-13)
    assert np.degrees(theta - sine) > 0.05
    assert np.degrees(theta - np.sin(sine)) > 0.1
    assert bragg_angle([4, 4, 4, 90, 90, 90], (1, 0, 0), 4.0) == pytest.approx(np.pi / 6, rel=1e-13)


HKLS = [(1, 0, 0), (0, 1, 0), (0, 0, 1), (1, 1, 0), (1, -1, 0), (-1, 0, 1), (2, -1, 3), (0, 4, -1)]
CELLS = {
    "hexagonal": [2.95, 2.95, 4.68, 90, 90, 120],
    "orthorhombic": [4.1, 5.2, 6.3, 90, 90, 90],
    "monoclinic": [5.1, 6.2, 7.3, 90, 103, 90],
    "rhombohedral": [5.0, 5.0, 5.0, 55, 55, 55],
    "triclinic": [4.6, 6.1, 7.7, 83, 97.5, 111],
}


@pytest.mark.parametrize("hkl", HKLS)
@pytest.mark.parametrize("name", CELLS)
def test_plane_spacing_of_any_cell(name, hkl):
    """The metric tensor gives the spacing of the reciprocal vectors, and 2d sin(theta) = lambda."""
    expected = spacing_from_reciprocal_vectors(CELLS[name], hkl)
    assert plane_spacing_angstrom(CELLS[name], hkl) == pytest.approx(expected, rel=1e-11)
    assert 2 * expected * np.sin(bragg_angle(CELLS[name], hkl, 0.3)) == pytest.approx(0.3, rel=1e-11)


@pytest.mark.parametrize("hkl", HKLS)
def test_plane_spacing_hexagonal_formula(hkl):
    """The textbook formula of a hexagonal cell."""
    h, k, ell = hkl
    expected = (4 / 3 * (h * h + h * k + k * k) / 2.95**2 + ell**2 / 4.68**2) ** -0.5
    assert plane_spacing_angstrom(CELLS["hexagonal"], hkl) == pytest.approx(expected, rel=1e-11)


def test_hkl_000_is_an_error():
    """There is no plane 000, and the message names hkl."""
    for call in (
        lambda: plane_spacing_angstrom(AL_CELL, (0, 0, 0)),
        lambda: bragg_angle(AL_CELL, [0] * 3, 0.7),
    ):
        with pytest.raises(Recon3DError, match="plane spacing") as caught:
            call()
        assert caught.value.where == "hkl"


@pytest.mark.parametrize("wavelength", [4.06, 17.0, 0.0, -0.7, np.inf, np.nan])
def test_wavelength_that_cannot_be_diffracted_is_an_error(wavelength):
    """A wavelength above 2d, and one that is no positive number, names wavelength and the limit."""
    with pytest.raises(Recon3DError, match=r"4\.0495 A") as caught:
        bragg_angle(AL_CELL, (2, 0, 0), wavelength)
    assert caught.value.where == "wavelength"


@pytest.mark.parametrize(
    "cell",
    [
        [0, 4, 4, 90, 90, 90],
        [4, -4, 4, 90, 90, 90],
        [-4, -4, 4, 90, 90, 90],
        [4, 4, 4, 30, 50, 90],
        [4, 4, 4, 150, 120, 100],
        [4, 4, 4, 90, 180, 90],
        [4, 4, 4, 0, 90, 90],
        [4, 4, np.nan, 90, 90, 90],
        [4, 4, 4, 120, 120, 120],
    ],
)
def test_impossible_cell_is_an_error(cell):
    """Lengths that are not positive and angles that close no cell name unit_cell."""
    with pytest.raises(Recon3DError) as caught:
        plane_spacing_angstrom(cell, (1, 0, 0))
    assert caught.value.where == "unit_cell"


# ---- Pixels, region of interest and voxels ----


@pytest.mark.parametrize(
    ("shape", "center"),
    [((1, 1), (0, 0)), ((2, 3), (0.5, 1)), ((5, 4), (2, 1.5)), ((101, 200), (50, 99.5))],
)
def test_roi_center(shape, center):
    """The middle of an odd image is a pixel's centre, of an even one the edge between two."""
    assert roi_center(shape) == center


@pytest.mark.parametrize(
    ("position", "dimension", "steps", "expected"),
    [
        (0, 5, 5, [-2, -1, 0, 1, 2]),
        (0, 4, 4, [-1.5, -0.5, 0.5, 1.5]),
        (10, 3, 2, [9.25, 10.75]),
        (-1, 6, 3, [-3, -1, 1]),
        (2.5, 8, 1, [2.5]),
    ],
)
def test_voxel_axis(position, dimension, steps, expected):
    """Centres of equal voxels that fill the width; an odd number has one at the middle."""
    np.testing.assert_allclose(voxel_axis(position, dimension, steps), expected, rtol=0, atol=1e-14)


# o11, o12, o21, o22 and what px_x and px_y are of (x_d, z_d) = (-21.394315, -29.486073)
FLIPS = [
    ((1, 0, 0, 1), (-21.394315, -29.486073)),
    ((1, 0, 0, -1), (-21.394315, 29.486073)),
    ((-1, 0, 0, 1), (21.394315, -29.486073)),
    ((-1, 0, 0, -1), (21.394315, 29.486073)),
    ((0, 1, 1, 0), (-29.486073, -21.394315)),
    ((0, 1, -1, 0), (-29.486073, 21.394315)),
    ((0, -1, 1, 0), (29.486073, -21.394315)),
    ((0, -1, -1, 0), (29.486073, 21.394315)),
]


@pytest.mark.parametrize(("orientation", "flipped"), FLIPS)
def test_orientation_and_center(orientation, flipped):
    """All eight flips and transposes, and the centre added after the flip."""
    geometry = Geometry("horizontal", THETA, 10.0, orientation=orientation)
    for center in ((0.0, 0.0), (50.0, 99.5)):
        matrix, shift = geometry.with_center(center).sample_to_pixel(np.radians(35))
        expected = np.add(flipped, center)
        np.testing.assert_allclose(matrix @ (3, -2, 5) + shift, expected, rtol=0, atol=1e-6)


def test_flips_also_turn_the_focus_shift():
    """The shift that the focus points make is flipped like the rest of the position."""
    geometry = Geometry("horizontal", THETA, 10.0, **FOCUS_HORIZONTAL, orientation=(0, -1, 1, 0))
    tilts = {"phi_up": np.radians(0.2), "phi_lo": np.radians(-0.3)}
    matrix, shift = geometry.with_center((7, 4)).sample_to_pixel(np.radians(35), **tilts)
    expected = (7 + 31.547731, 4 - 20.585420)
    np.testing.assert_allclose(matrix @ (3, -2, 5) + shift, expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize("mode", MODES)
def test_center_is_the_image_of_the_rotation_axis(mode):
    """The origin falls on center_px at every omega, and no point of the axis moves with omega."""
    omegas = np.linspace(0, 2 * np.pi, 13)
    geometry = Geometry(mode, THETA, 13.0, center_px=(50, 99.5))
    matrix, shift = geometry.sample_to_pixel(omegas)
    np.testing.assert_allclose(shift, np.tile([50, 99.5], (13, 1)), rtol=0, atol=1e-12)
    assert np.eye(3)[OMEGA_AXIS[mode]] == pytest.approx(OMEGA[mode])
    on_axis = matrix @ (4 * OMEGA[mode])
    np.testing.assert_allclose(on_axis, np.tile(on_axis[0], (13, 1)), rtol=0, atol=1e-12)


def test_with_center_changes_only_the_center():
    """A new centre leaves the old geometry alone and everything else as it was."""
    geometry = Geometry("vertical", THETA, 13.0, **FOCUS_VERTICAL, detector_tilt_rad=0.1)
    moved = geometry.with_center((3.0, 4.0))
    assert geometry.center_px == (0.0, 0.0)
    assert moved.center_px == (3.0, 4.0)
    assert moved.with_center((0.0, 0.0)) == geometry


# ---- Arrays of angles ----


@pytest.mark.parametrize("method", ["sample_to_lab", "sample_to_image", "sample_to_pixel"])
@pytest.mark.parametrize("mode", MODES)
def test_omega_array_equals_one_by_one(mode, method):
    """An array of omegas gives the results of its elements."""
    geometry = Geometry(mode, THETA, 13.0, **FOCUS_VERTICAL, center_px=(50, 99.5))
    omegas = np.linspace(-1, 7, 6).reshape(2, 3)
    matrices, shifts = getattr(geometry, method)(omegas, phi_up=0.004, phi_lo=-0.002)
    rows = 3 if method == "sample_to_lab" else 2
    assert matrices.shape == (2, 3, rows, 3)
    assert shifts.shape == (2, 3, rows)
    for index in np.ndindex(omegas.shape):
        matrix, shift = getattr(geometry, method)(float(omegas[index]), phi_up=0.004, phi_lo=-0.002)
        assert matrix.shape == (rows, 3)
        np.testing.assert_allclose(matrices[index], matrix, rtol=0, atol=1e-12)
        np.testing.assert_allclose(shifts[index], shift, rtol=0, atol=1e-11)


@pytest.mark.parametrize("pair", [("phi_up", "phi_lo"), ("mu", "gamma")])
@pytest.mark.parametrize("mode", MODES)
def test_tilts_broadcast_with_omega(mode, pair):
    """Omega and the two tilts of a scan each take an axis of the result."""
    geometry = Geometry(mode, THETA, 13.0, **FOCUS_HORIZONTAL, center_px=(50, 99.5))
    omega = np.array([0.0, 1.0, 4.0])[:, None, None]
    first, second = np.array([-0.003, 0.004])[:, None], np.array([-0.001, 0.0, 0.002, 0.005])
    matrices, shifts = geometry.sample_to_pixel(omega, **{pair[0]: first, pair[1]: second})
    assert matrices.shape == (3, 2, 4, 2, 3)
    assert shifts.shape == (3, 2, 4, 2)
    for i, j, k in np.ndindex(3, 2, 4):
        tilts = {pair[0]: first[j, 0], pair[1]: second[k]}
        matrix, shift = geometry.sample_to_pixel(omega[i, 0, 0], **tilts)
        np.testing.assert_allclose(matrices[i, j, k], matrix, rtol=0, atol=1e-12)
        np.testing.assert_allclose(shifts[i, j, k], shift, rtol=0, atol=1e-11)


@pytest.mark.parametrize("mode", MODES)
def test_half_a_turn_is_not_a_repeat(mode):
    """The beam through the grain at omega + 180 deg leans 2 theta from that at omega; a full turn repeats."""
    geometry = Geometry(mode, THETA, 13.0)
    for omega in (0.0, 0.4, 2.0):
        matrices, _ = geometry.sample_to_image(omega + np.array([0.0, np.pi, 2 * np.pi]))
        beams = np.cross(matrices[:, 0], matrices[:, 1])
        beams /= np.linalg.norm(beams, axis=1, keepdims=True)
        lean = np.arcsin(np.linalg.norm(np.cross(beams[0], beams[1])))
        assert lean == pytest.approx(2 * THETA, rel=1e-9)
        np.testing.assert_allclose(matrices[2], matrices[0], rtol=0, atol=1e-12)


# ---- Properties of the rotations ----

ANGLES = st.floats(-20, 20)
SMALL = st.floats(-0.02, 0.02)
REPEATABLE = settings(derandomize=True, deadline=None, max_examples=100)


def assert_rotation(matrix):
    """Orthonormal with determinant 1, so no mirror."""
    np.testing.assert_allclose(matrix @ matrix.T, np.eye(3), rtol=0, atol=1e-14)
    assert np.linalg.det(matrix) == pytest.approx(1, abs=1e-14)


@REPEATABLE
@given(axis=st.integers(0, 2), angle=ANGLES, other=ANGLES)
def test_rotation_is_a_rotation(axis, angle, other):
    """Proper, additive in the angle, and right-handed as in Rodrigues' formula."""
    matrix = rotation(axis, angle)
    assert_rotation(matrix)
    np.testing.assert_allclose(matrix @ rotation(axis, other), rotation(axis, angle + other), atol=1e-13)
    for unit in np.eye(3):
        np.testing.assert_allclose(matrix @ unit, turn(unit, np.eye(3)[axis], angle), rtol=0, atol=1e-14)


@pytest.mark.parametrize(("axis", "start", "end"), [(0, Y, Z), (1, Z, X), (2, X, Y)])
def test_quarter_turn(axis, start, end):
    """A quarter turn takes y to z about x, z to x about y, x to y about z."""
    np.testing.assert_allclose(rotation(axis, np.pi / 2) @ start, end, rtol=0, atol=1e-15)


@REPEATABLE
@given(
    mode=st.sampled_from(MODES),
    theta=st.floats(0.01, 0.5),
    omega=ANGLES,
    up=SMALL,
    lo=SMALL,
    mu=SMALL,
    gamma=SMALL,
)
def test_sample_to_lab_is_a_rotation(mode, theta, omega, up, lo, mu, gamma):
    """The whole goniometer neither stretches nor mirrors the sample."""
    matrix, _ = Geometry(mode, theta, 10.0).sample_to_lab(omega, up, lo, mu, gamma)
    assert_rotation(matrix)


@REPEATABLE
@given(mode=st.sampled_from(MODES), focus=st.tuples(*[st.floats(-50, 50)] * 3), angle=SMALL)
def test_focus_point_stays_put(mode, focus, angle):
    """A tilt about a focus point leaves that point where it was."""
    for name, motor in (("xyz_up_um", "phi_up"), ("xyz_lo_um", "phi_lo")):
        geometry = Geometry(mode, THETA, 10.0, **{name: focus})
        still, shift = geometry.sample_to_lab(0.7)
        tilted, tilted_shift = geometry.sample_to_lab(0.7, **{motor: angle})
        np.testing.assert_allclose(tilted @ focus + tilted_shift, still @ focus + shift, rtol=0, atol=1e-11)
