"""The formulas of the geometry against test vectors and a thin-lens ray trace; pixels and rotations."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lib.physics.geometry import MODES, OMEGA_AXIS, TILT_FRAMES, Geometry, roi_center, rotation, voxel_axis
from tests.physics.goniometer import OMEGA, ROCK, THETA, X, Y, Z, goniometer, turn

# ---- Physics written out for the tests ----


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
