"""Noise cut at zero: its moments and the level that they tell, against samples."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lib.physics import censored
from lib.physics.noise import Dark


@pytest.mark.parametrize("sigma", [0.5, 2.0, 10.0])
@pytest.mark.parametrize("level", [-1.5, -0.5, 0.0, 0.7, 3.0, 30.0])
def test_level_and_noise_of_a_sample(level: float, sigma: float) -> None:
    """level is in sigma here."""
    noise = np.random.default_rng(1).normal(0.0, sigma, 400_000)
    stored = np.maximum(0.0, level * sigma + noise)
    found = float(censored.sigma_of(stored.mean(), stored.var()))
    assert found == pytest.approx(sigma, rel=0.02)
    assert float(censored.level_of(stored.mean(), sigma)) == pytest.approx(level * sigma, abs=0.02 * sigma)
    assert float(censored.mean_of(level * sigma, sigma)) == pytest.approx(stored.mean(), abs=0.01 * sigma)


@given(st.floats(-3.9, 100.0), st.floats(0.01, 1000.0))
def test_there_and_back(level: float, sigma: float) -> None:
    mean = censored.mean_of(level * sigma, sigma)
    assert float(censored.level_of(mean, sigma)) == pytest.approx(level * sigma, abs=0.02 * sigma)


def test_no_noise() -> None:
    assert float(censored.sigma_of(0.0, 0.0)) == 0.0
    assert float(censored.sigma_of(7.0, 0.0)) == 0.0
    np.testing.assert_array_equal(censored.level_of([0.0, 5.0], 0.0), [0.0, 5.0])
    np.testing.assert_array_equal(censored.mean_of([-3.0, 5.0], 0.0), [0.0, 5.0])


@pytest.mark.parametrize("level", [0.0, -3.0, -8.0])
def test_what_is_stored_of_light_is_close_to_that_of_cut_noise(level: float) -> None:
    dark = Dark(level, 2.0 / np.sqrt(2 * np.pi), 4.0)
    light = np.linspace(0, 60, 200, dtype=np.float32)
    np.testing.assert_allclose(dark.stored(light), censored.mean_of(light + level, 2.0), atol=0.25)
    assert dark.stored(light[-1:])[0] == pytest.approx(60.0 + level, abs=0.1)  # no offset where it is bright
    assert Dark().stored(light).tolist() == light.tolist()
