"""The lower bound of the dislocation density: bends of known density, and what noise makes of it."""

from __future__ import annotations

import numpy as np
import pytest

from lib.physics.dislocations import gnd_density, gnd_of_errors
from lib.physics.misorientation import neighbour_misorientation
from lib.physics.neighbours import pairs, steps_within

N = 9
SPACING = np.array([0.4, 0.5, 0.25])
PLACES = np.stack(np.meshgrid(*(s * np.arange(N) for s in SPACING), indexing="ij"), axis=-1)
INSIDE = np.linalg.norm((PLACES - PLACES[4, 4, 4]) / (SPACING * N / 2), axis=-1) < 1
BURGERS = 2.86  # Angstrom
BEND = 0.1  # deg/um
UNIT = np.radians(BEND) * 1e6 / (BURGERS * 1e-10)  # m^-2


def tilts_of(mode: str, curvature: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Tilts in degrees of a lattice rotated by curvature (3, 3) times the place: G - G0 = w x G0."""
    turned = BEND * PLACES @ curvature.T
    g = np.array([-1.0, 0, 0]) if mode == "horizontal" else np.array([0, 0, 1.0])
    d = np.cross(turned, g)
    return (d[..., 1], -d[..., 2]) if mode == "horizontal" else (d[..., 1], -d[..., 0])


def bound(curvature: np.ndarray, axis: int) -> float:
    """The smallest |Nye's tensor| for any curvatures of the component along axis, by trying many."""
    best = np.inf
    for along in np.linspace(-4, 4, 3201):
        k = curvature.copy()
        k[axis] = 0.0
        k[axis, axis] = along
        nye = k.T - np.trace(k) * np.eye(3)
        best = min(best, float(np.linalg.norm(nye)))
    return best


@pytest.mark.parametrize("kernel", (0.0, 0.7))
@pytest.mark.parametrize(("mode", "axis"), [("horizontal", 0), ("vertical", 2)])
def test_even_bends(mode, axis, kernel):
    rng = np.random.default_rng(1)
    for _ in range(3):
        curvature = rng.normal(size=(3, 3))
        found = gnd_density(*tilts_of(mode, curvature), INSIDE, SPACING, mode, BURGERS, kernel)
        np.testing.assert_allclose(found[4, 4, 4], UNIT * bound(curvature, axis), rtol=1e-4)
        told = np.isfinite(found)
        np.testing.assert_allclose(found[told], found[4, 4, 4], rtol=1e-6)  # the rim too
        assert told.sum() > 0.9 * INSIDE.sum() and not told[~INSIDE].any()


def test_a_tilt_wall_of_known_spacing():
    """A step by 0.2 deg: lines a Burgers vector over 0.2 deg apart, spread over two voxels."""
    tilt1 = np.where(PLACES[..., 1] > 4.2 * SPACING[1], 0.2, 0.0)
    found = gnd_density(tilt1, 0 * tilt1, np.ones_like(INSIDE), SPACING, "horizontal", BURGERS)
    lines = np.radians(0.2) / (BURGERS * 1e-10)  # per metre of the wall
    across = found[4, :, 4] * SPACING[1] * 1e-6
    assert across.sum() == pytest.approx(lines, rel=1e-6)
    assert np.count_nonzero(across) == 2


@pytest.mark.parametrize("kernel", (0.0, 0.6))
def test_noise_adds_what_is_said(kernel):
    rng = np.random.default_rng(2)
    shape = (16, 16, 16)
    noise, mask = (
        rng.normal(0, 0.01, (2, *shape)) * np.array([1.0, 2.0])[:, None, None, None],
        np.ones(shape, bool),
    )
    for mode in ("horizontal", "vertical"):
        found = gnd_density(*noise, mask, SPACING, mode, BURGERS, kernel)
        errors = np.full(shape, 0.01), np.full(shape, 0.02)
        said = gnd_of_errors(errors, mask, SPACING, mode, BURGERS, kernel)
        inner = (slice(3, -3),) * 3
        rms = np.sqrt(np.mean(found[inner] ** 2))
        assert rms == pytest.approx(np.sqrt(np.mean(said[inner] ** 2)), rel=0.06)


def test_a_single_layer_tells_nothing():
    flat = np.zeros((5, 5, 1))
    found = gnd_density(flat, flat, np.ones_like(flat, bool), SPACING, "horizontal", BURGERS)
    assert np.isnan(found).all()


def test_neighbours_within_a_distance():
    """All within the radius, one of each opposite two; those that share a face always."""
    found = steps_within(0.85, SPACING)
    grid = np.stack(np.meshgrid(*[np.arange(-4, 5)] * 3, indexing="ij"), axis=-1).reshape(-1, 3)
    near = grid[np.linalg.norm(grid * SPACING, axis=1) <= 0.85]
    both = {tuple(s) for s in found} | {tuple(-np.array(s)) for s in found}
    assert both == {tuple(s) for s in near.tolist()} - {(0, 0, 0)}
    assert len(both) == 2 * len(found)
    assert list(pairs((0, 0, 5), (3, 3, 3))) == []


def test_kam_grows_with_its_kernel():
    """In an even bend as the mean distance along it does."""
    tilt1 = 0.1 * PLACES[..., 0]
    for kernel in (0.0, 0.9):
        kam = neighbour_misorientation(tilt1, 0 * tilt1, np.ones_like(INSIDE), SPACING, kernel)
        steps = np.array(steps_within(kernel, SPACING)) * SPACING
        assert kam[4, 4, 4] == pytest.approx(0.1 * np.abs(steps[:, 0]).mean())
