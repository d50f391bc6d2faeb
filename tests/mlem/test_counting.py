"""Gain and dark noise are found in images that the model explains, and in those that it explains badly."""

from __future__ import annotations

import numpy as np
import pytest

from lib.mlem import counting
from lib.physics.noise import Dark

SHAPE, N_TILTS = (40, 36), 9


def light_of(rng: np.random.Generator) -> np.ndarray:
    """Light (n_pixels, n_tilts) of a disk that is bright at some tilts."""
    x, y = np.meshgrid(*(np.arange(n) - n / 2 for n in SHAPE), indexing="ij")
    disk = np.clip(1.3 - (x**2 + y**2) / 15**2, 0.0, 0.6)
    tilts = np.exp(-((np.arange(N_TILTS) - 4.0) ** 2) / 3.0)
    return (200.0 * disk[..., None] * tilts).reshape(-1, N_TILTS)


def found(gain: float, wrong: float, cut: bool, given: float | None = None, unknown: float = 0.0) -> Dark:
    """What images say whose light the model has wrong by such a factor, and by a slope."""
    rng = np.random.default_rng(2)
    true = light_of(rng)
    counts = gain * rng.poisson(true / gain) + rng.normal(0.0, 2.0, true.shape)
    counts = np.maximum(counts, 0.0) if cut else counts
    counts[rng.random(counts.shape) < unknown] = np.nan
    model = true * (1.0 + wrong * np.linspace(-1, 1, len(true)))[:, None] * (1.0 + wrong)
    dark = Dark(0.0, 1.2 if cut else 0.0, 9.0)
    pixels = np.arange(len(true))
    parts = [counting._differences(pixels, model.astype(np.float32), counts.astype(np.float32), SHAPE, dark)]
    return counting.noise_of(np.concatenate(parts), dark, given)


@pytest.mark.parametrize("gain", (0.4, 1.0, 2.5))
@pytest.mark.parametrize("cut", (True, False))
@pytest.mark.parametrize("wrong", (0.0, 0.2))
def test_gain_and_dark_noise_are_found(gain: float, cut: bool, wrong: float) -> None:
    dark = found(gain, wrong, cut)
    assert dark.gain == pytest.approx(gain, rel=0.1)
    assert dark.variance == pytest.approx(4.0, rel=0.15)


def test_unknown_pixels_are_left_out() -> None:
    assert found(1.0, 0.0, True, unknown=0.1).gain == pytest.approx(1.0, rel=0.1)


def test_a_given_gain_stays() -> None:
    assert found(1.0, 0.0, True, given=3.0).gain == 3.0


def test_what_is_not_seen_stays() -> None:
    dark = Dark(0.0, 1.2, 9.0)
    assert counting.noise_of(np.zeros((0, 6)), dark) == dark
