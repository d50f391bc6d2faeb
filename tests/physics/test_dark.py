"""The dark level found in frames that hold it, noise, and some light of a grain."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from lib.physics.dark import DarkLevel, estimate, noise_of, worth_a_look

SHAPE = (41, 35)  # not whole blocks


def frames(level: np.ndarray, sigma: float, *, signed: bool, light: np.ndarray | None = None, seed: int = 0):
    """Darkest frames (n_omega, 6, n_x, n_y) on a level (n_omega, n_x, n_y)."""
    rng = np.random.default_rng(seed)
    values = (
        level[:, None] + rng.normal(0, sigma, (len(level), 6, *SHAPE))
        if sigma
        else np.repeat(level[:, None], 6, 1)
    )
    values = np.rint(values + (0.0 if light is None else light[:, None]))
    return values.astype(np.float32) if signed else np.maximum(values, 0).astype(np.float32)


def level_of(kind: str, n_omega: int = 30) -> np.ndarray:
    rng = np.random.default_rng(3)
    x, y = np.meshgrid(np.arange(SHAPE[0]) - 20.0, np.arange(SHAPE[1]) - 18.0, indexing="ij")
    omega = np.sin(np.linspace(0, 5, n_omega))[:, None, None]
    image = {
        "uniform": 5.0 + 0 * x,
        "high": 100.0 + 0 * x,
        "halo": 12.0 * np.exp(-(x**2 + y**2) / 150),
        "pattern": rng.exponential(3.0, SHAPE),
    }
    if kind == "change":
        return 6.0 + 4.0 * omega + 0 * x
    if kind == "all":
        return sum(image.values()) + 4.0 * omega
    return np.broadcast_to(image[kind], (n_omega, *SHAPE))


def of_level(found: DarkLevel) -> np.ndarray:
    return found.pattern[None] + found.of_omega[:, None, None]


@pytest.mark.parametrize("signed", [False, True])
@pytest.mark.parametrize("sigma", [0.0, 1.0, 2.0, 6.0])
@pytest.mark.parametrize("kind", ["uniform", "high", "halo", "pattern", "change", "all"])
def test_the_level_is_found(kind: str, sigma: float, signed: bool) -> None:
    level = level_of(kind)
    stored = frames(level, sigma, signed=signed)
    found = estimate(lambda k: stored[k], len(level), SHAPE, signed=signed).level
    assert found is not None
    wrong = of_level(found) - level
    assert abs(wrong.mean()) < 0.15 + 0.06 * sigma
    assert wrong.std() < 0.3 + 0.1 * sigma
    assert found.sigma == pytest.approx(sigma, abs=0.35 + 0.05 * sigma)


@pytest.mark.parametrize("signed", [False, True])
@pytest.mark.parametrize("sigma", [0.0, 1.0, 3.0])
def test_nothing_is_found_where_nothing_is(sigma: float, signed: bool) -> None:
    stored = frames(np.zeros((30, *SHAPE)), sigma, signed=signed)
    assert estimate(lambda k: stored[k], 30, SHAPE, signed=signed).level is None
    assert not worth_a_look(stored[::3].reshape(-1, *SHAPE))


@pytest.mark.parametrize("missing", [2.0, 3.0])
def test_what_was_taken_off_too_much_is_known_while_noise_tells(missing: float) -> None:
    stored = frames(np.full((30, *SHAPE), -missing), 3.0, signed=False)
    found = estimate(lambda k: stored[k], 30, SHAPE, signed=False).level
    assert found is not None
    assert found.mean == pytest.approx(-missing, abs=0.4)
    assert found.over_subtracted == found.mean
    assert worth_a_look(stored[::3].reshape(-1, *SHAPE))


def test_light_that_comes_and_goes_is_no_level() -> None:
    """A spot that moves over the image shines into all dark frames of a third of the omegas."""
    x, y = np.meshgrid(np.arange(SHAPE[0]) - 20.0, np.arange(SHAPE[1]) - 18.0, indexing="ij")
    at = 9.0 * np.sin(np.linspace(0, 6.28, 30))[:, None, None]
    light = 30.0 * np.exp(-((x - at) ** 2 + (y - at) ** 2) / 20.0)
    stored = frames(np.full((30, *SHAPE), 5.0), 2.0, signed=False, light=light)
    found = estimate(lambda k: stored[k], 30, SHAPE, signed=False)
    wrong = np.abs(of_level(found.level) - 5.0)
    assert wrong.max() < 3.0  # a tenth of the light
    assert wrong.mean() < 0.3
    assert found.mostly


def test_no_dark_place_is_said() -> None:
    """The grain fills image and tilts, with light that changes with omega everywhere."""
    spots = np.random.default_rng(2).normal(0, 1, (30, *SHAPE))
    light = 40.0 + 250.0 * gaussian_filter(spots, (0.0, 5.0, 5.0))
    stored = frames(np.zeros((30, *SHAPE)), 2.0, signed=False, light=light)
    found = estimate(lambda k: stored[k], 30, SHAPE, signed=False)
    assert found.level is None
    assert not found.anywhere


def test_stray_particles_do_not_count() -> None:
    stored = frames(level_of("uniform"), 2.0, signed=False)
    rng = np.random.default_rng(6)
    for _ in range(200):
        stored[rng.integers(30), rng.integers(6), rng.integers(SHAPE[0]), rng.integers(SHAPE[1])] = 20_000.0
    found = estimate(lambda k: stored[k], 30, SHAPE, signed=False).level
    assert np.abs(of_level(found) - 5.0).max() < 3.0
    assert np.abs(of_level(found) - 5.0).mean() < 0.3


def test_what_is_taken_off_is_of_the_type_of_the_pixels() -> None:
    level = DarkLevel(np.array([[-3.0, 2.6]], np.float32), np.array([0.0, 1.0], np.float32), 2.0, False)
    assert level.at(1, np.dtype(np.uint16)).tolist() == [[0, 4]]
    assert level.at(1, np.dtype(np.int16)).tolist() == [[-2, 4]]
    np.testing.assert_allclose(level.at(0, np.dtype(np.float32)), [[-3.0, 2.6]])


@pytest.mark.parametrize("cut", [True, False])
@pytest.mark.parametrize("rounded", [True, False])
def test_faint_light_is_not_taken_for_noise(cut, rounded):
    """Smooth light of half the noise over most of the image, and bright light on a fifth of it."""
    rng = np.random.default_rng(6)
    x = np.linspace(-1.0, 1.0, 88)
    light = 1.5 * np.exp(-(x[:, None] ** 2) / 0.3) * np.ones(88)
    light[30:50, 20:] += 60.0
    frames = light + rng.normal(0.0, 3.0, (40, 88, 88))
    frames = np.rint(frames) if rounded else frames
    found = noise_of(np.maximum(frames, 0.0) if cut else frames)
    assert found == pytest.approx(3.0, rel=0.05)
    assert noise_of(np.zeros((3, 20, 20))) == 0.0
