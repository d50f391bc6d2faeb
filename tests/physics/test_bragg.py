"""The Bragg condition: which voxel diffracts at which tilts, and the Bragg angle of a unit cell."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest

from lib.errors import Recon3DError
from lib.physics.geometry import (
    MODES,
    SCATTERING_VECTOR,
    TILT_FRAMES,
    Geometry,
    bragg_angle,
    plane_spacing_angstrom,
    scattering_vector,
)
from tests.physics.goniometer import G0, ROCK, THETA, Y, goniometer, turn

AL_CELL = [4.0495, 4.0495, 4.0495, 90, 90, 90]
AL_WAVELENGTH = 0.7293


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
