"""Tilt frames: the Bragg condition decides the signs; turning a map back is linear interpolation."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lib.physics.geometry import Geometry
from lib.physics.tilts import (
    Interpolation,
    resolution_directions,
    sample_to_lab_tilts,
    turn_back,
    width_of_two,
)
from lib.projection import kernels

MODES = ("horizontal", "vertical")
THETA = np.radians(10.375)
every_mode = pytest.mark.parametrize("mode", MODES)
some_omegas = pytest.mark.parametrize("omega_deg", [0, 17.3, 90, 145.1, 180, 251.9, 270, 359])


def axis(n, step=0.03):
    return step * (np.arange(n) - (n - 1) / 2)


def uneven_axes(seed, n_1, n_2):
    rng = np.random.default_rng(seed)
    return tuple(a + rng.uniform(-0.009, 0.009, a.size) for a in (axis(n_1), axis(n_2)))


def lab_of(mode, a, b, omega):
    """The formulas of the tilt frames, written out."""
    c, s = np.cos(omega), np.sin(omega)
    if mode == "horizontal":
        return a * c + b * s, -a * s + b * c
    return a * c - b * s, a * s + b * c


def g_of_voxel(mode, a, b):
    """Scattering vector in the sample frame: -x + (0, a, -b), or z + (-b, a, 0)."""
    return np.array([-1.0, a, -b]) if mode == "horizontal" else np.array([-b, a, 1.0])


# ---- Signs ----


@every_mode
@some_omegas
@pytest.mark.parametrize(("a", "b"), [(1e-4, 0), (0, 1e-4), (7e-5, -4e-5)])
def test_bragg_condition_holds_at_the_lab_tilts(mode, omega_deg, a, b):
    """Turned by mu and gamma, G stands where G0 of a perfect grain stands; with other signs it does not."""
    geometry = Geometry(mode, THETA, 10.0)
    omega = np.radians(omega_deg)
    g0 = g_of_voxel(mode, 0, 0)
    wanted = geometry.sample_to_lab(0.0)[0] @ g0

    def miss(mu, gamma):
        g = geometry.sample_to_lab(omega, mu=mu, gamma=gamma)[0] @ g_of_voxel(mode, a, b)
        return np.linalg.norm(np.cross(g, wanted)) / np.linalg.norm(g)

    mu, gamma = sample_to_lab_tilts(mode, a, b, omega)
    assert miss(mu, gamma) < 1e-7  # second order in the tilts
    assert miss(-mu, -gamma) > 1e-4
    np.testing.assert_allclose((mu, gamma), lab_of(mode, a, b, omega), atol=1e-18)


@every_mode
def test_lab_tilts_broadcast_and_are_the_sample_tilts_at_zero(mode):
    a, b, omega = np.array([[0.1], [0.2]]), 0.3, np.array([0.0, 0.0, np.pi])
    mu, gamma = sample_to_lab_tilts(mode, a, b, omega)
    np.testing.assert_allclose(mu, [[0.1, 0.1, -0.1], [0.2, 0.2, -0.2]])
    np.testing.assert_allclose(gamma, np.full((2, 3), [0.3, 0.3, -0.3]))


@every_mode
@some_omegas
def test_resolution_is_fixed_in_the_lab(mode, omega_deg):
    """In the lab frame the scanned tilts are rocking and rolling; in the sample frame they turn into them."""
    omega = np.radians(omega_deg)
    assert resolution_directions("lab", mode, 0.1, -0.2, omega) == (0.1, -0.2)
    found = resolution_directions("sample", mode, 0.1, -0.2, omega)
    np.testing.assert_allclose(found, lab_of(mode, 0.1, -0.2, omega), atol=1e-15)


# ---- Turning a map back ----


@every_mode
@pytest.mark.parametrize("shape", [(5, 4), (1, 3), (3, 1), (1, 1), (2, 2)])
def test_omega_zero_is_the_identity(mode, shape):
    matrix = turn_back(mode, axis(shape[0]), axis(shape[1]), 0.0).dense(shape[0] * shape[1])
    np.testing.assert_array_equal(matrix, np.eye(shape[0] * shape[1]))


@every_mode
@pytest.mark.parametrize("quarters", [1, 2, 3, 4, -1, 7])
@pytest.mark.parametrize("n", [4, 7])
def test_quarter_turns_permute(mode, quarters, n):
    """On a square grid a quarter turn takes every position to another, with full weight."""
    matrix = turn_back(mode, axis(n), axis(n), quarters * np.pi / 2).dense(n * n)
    np.testing.assert_array_equal(np.rint(matrix), np.round(matrix, 6))
    np.testing.assert_array_equal(np.rint(matrix).sum(axis=0), 1)
    np.testing.assert_array_equal(np.rint(matrix).sum(axis=1), 1)
    # a quarter turn on, (a, b) diffracts at (b, -a) in horizontal and at (-b, a) in vertical geometry
    scanned = np.arange(n * n).reshape(n, n)
    expected = np.rot90(scanned, quarters if mode == "horizontal" else -quarters)
    np.testing.assert_array_equal((np.rint(matrix) @ scanned.ravel()).reshape(n, n), expected)


def test_a_quarter_turn_counted_by_hand():
    """Horizontal, 90 deg: the voxel at (first a, last b) diffracts at mu = b = last, gamma = -a = last."""
    matrix = turn_back("horizontal", axis(3), axis(3), np.pi / 2).dense(9).reshape(3, 3, 3, 3)
    assert matrix[0, 2].argmax() == 8
    assert matrix[0, 1].argmax() == 1 * 3 + 2
    matrix = turn_back("vertical", axis(3), axis(3), np.pi / 2).dense(9).reshape(3, 3, 3, 3)
    assert matrix[0, 2].argmax() == 0 * 3 + 0


@every_mode
@some_omegas
def test_weights_sum_to_one_inside_and_zero_outside(mode, omega_deg):
    tilt1, tilt2 = uneven_axes(int(omega_deg), 6, 5)
    omega = np.radians(omega_deg)
    turn = turn_back(mode, tilt1, tilt2, omega)
    a, b = np.meshgrid(tilt1, tilt2, indexing="ij")
    mu, gamma = lab_of(mode, a.ravel(), b.ravel(), omega)
    rounding = 1e-9
    inside = (mu >= tilt1[0] - rounding) & (mu <= tilt1[-1] + rounding)
    inside &= (gamma >= tilt2[0] - rounding) & (gamma <= tilt2[-1] + rounding)
    assert inside.any()
    assert (turn.weight >= 0).all()
    np.testing.assert_allclose(turn.weight.sum(axis=1), inside, atol=1e-6)
    assert ((turn.index >= 0) & (turn.index < 30)).all()


@every_mode
@some_omegas
def test_bilinear_functions_are_reproduced_exactly(mode, omega_deg):
    """1, mu, gamma and mu gamma, on axes with unequal steps."""
    tilt1, tilt2 = uneven_axes(3, 7, 5)
    omega = np.radians(omega_deg)
    matrix = turn_back(mode, tilt1, tilt2, omega).dense(35)
    inside = matrix.sum(axis=1) > 0.5
    a, b = np.meshgrid(tilt1, tilt2, indexing="ij")
    mu, gamma = lab_of(mode, a.ravel(), b.ravel(), omega)

    def function(x, y):
        return 2.0 + 30.0 * x - 17.0 * y + 400.0 * x * y

    scanned = function(a, b).ravel()
    np.testing.assert_allclose((matrix @ scanned)[inside], function(mu, gamma)[inside], atol=2e-6)
    np.testing.assert_array_equal((matrix @ scanned)[~inside], 0)


@every_mode
@some_omegas
def test_a_voxel_scanned_in_the_lab_comes_back_to_its_orientation(mode, omega_deg):
    """A smooth peak at (mu, gamma), turned back, has its centre of mass at (a, b)."""
    tilt1, tilt2 = axis(21, 0.01), axis(19, 0.012)
    a, b, omega = 0.022, -0.017, np.radians(omega_deg)
    mu, gamma = lab_of(mode, a, b, omega)
    grid1, grid2 = np.meshgrid(tilt1, tilt2, indexing="ij")
    scanned = np.exp(-((grid1 - mu) ** 2 + (grid2 - gamma) ** 2) / (2 * 0.02**2))
    back = turn_back(mode, tilt1, tilt2, omega).dense(scanned.size) @ scanned.ravel()
    back /= back.sum()
    found = back @ grid1.ravel(), back @ grid2.ravel()
    np.testing.assert_allclose(found, (a, b), atol=3e-4)


def test_dense_adds_up_entries_that_meet():
    index = np.array([[0, 0, 2, 1], [1, 1, 1, 1]], dtype=np.int32)
    weight = np.array([[0.25, 0.25, 0.5, 0.0], [0.125, 0.125, 0.25, 0.5]], dtype=np.float32)
    expected = [[0.5, 0.0, 0.5], [0.0, 1.0, 0.0]]
    np.testing.assert_array_equal(Interpolation(index, weight).dense(3), expected)


@settings(max_examples=50, deadline=None)
@given(
    mode=st.sampled_from(MODES),
    shape=st.tuples(st.integers(1, 6), st.integers(1, 6)),
    omega=st.floats(-7, 7),
    seed=st.integers(0, 1000),
)
def test_adjoint(mode, shape, omega, seed):
    """<K x, y> = <x, K^T y>, with K^T the matrix that reads a map and K spread out entry by entry."""
    turn = turn_back(mode, axis(shape[0]), axis(shape[1]), omega)
    n = shape[0] * shape[1]
    rng = np.random.default_rng(seed)
    x, y = rng.random(n), rng.random(n)
    spread = np.zeros(n)
    for s in range(n):
        for k in range(4):
            spread[turn.index[s, k]] += turn.weight[s, k] * x[s]
    read = turn.dense(n) @ y
    assert spread @ y == pytest.approx(x @ read, rel=1e-5, abs=1e-9)
    np.testing.assert_allclose(turn.dense(n).T @ x, spread, rtol=1e-5, atol=1e-7)


@every_mode
@pytest.mark.parametrize("dtype", ["u2", "f4"])
def test_kernel_is_the_dense_matrix_on_every_row(mode, dtype):
    tilt1, tilt2 = uneven_axes(8, 5, 4)
    scanned = np.random.default_rng(8).uniform(0, 60000, (13, 20)).astype(dtype)
    for omega in (0.0, 1.1, 4.4):
        turn = turn_back(mode, tilt1, tilt2, omega)
        found = np.full((13, 20), np.nan, dtype=np.float32)
        kernels.interpolate_pairs(scanned, turn.index, turn.weight, found)
        np.testing.assert_allclose(found, scanned @ turn.dense(20).T, rtol=1e-6, atol=1e-2)


@pytest.mark.parametrize("width", [0.5, 0.9, 1.4, 3.0])
def test_two_positions_look_like_what_lies_amid_them(width):
    """What lies half a step off is seen by the next and those after it in the ratio that two of them give."""
    narrower = width_of_two(0.1 * width, 0.1) / 0.1
    places = np.array([0.5, 1.5])
    amid = np.exp(-4 * np.log(2) * (places / width) ** 2)
    two = sum(np.exp(-4 * np.log(2) * ((places + side) / narrower) ** 2) for side in (-0.5, 0.5))
    assert narrower < width
    assert two[1] / two[0] == pytest.approx(amid[1] / amid[0], rel=1e-3)
