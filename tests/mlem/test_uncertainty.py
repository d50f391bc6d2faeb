"""Errors of orientations: what scatters, what is a gradient, what is a boundary."""

from __future__ import annotations

from dataclasses import fields

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from lib.mlem.shape import Readings
from lib.mlem.uncertainty import orientation_errors, scatter

STEP = 0.04


def ball(n: int = 24) -> np.ndarray:
    return ((np.indices((n, n, n)) - (n - 1) / 2) ** 2).sum(axis=0) < (0.42 * n) ** 2


def readings(mask: np.ndarray, tilt1: np.ndarray, **others: float) -> Readings:
    """Readings of one sharp peak in every voxel."""
    usual = {"density": 1.0, "tilt2": 0.0, "var1": 1e-4, "var2": 4e-4, "cov12": 0.0, "peak_mass": 1.0}
    values = {
        key.name: np.full(mask.sum(), {**usual, **others}.get(key.name, 0.0)) for key in fields(Readings)
    }
    return Readings(**(values | {"tilt1": tilt1[mask]}))


def errors(mask: np.ndarray, tilt1: np.ndarray, *, one_for_two: bool = False, **others: float) -> np.ndarray:
    found = orientation_errors(
        readings(mask, tilt1, **others), mask, (STEP, STEP), 0.01, one_for_two=one_for_two
    )
    return np.stack(found)


def test_scatter_is_that_of_the_noise_beside_gradient_and_boundary():
    rng = np.random.default_rng(0)
    mask, x = ball(), np.arange(24.0)
    sigma = 0.01 * np.where(x < 12, 1.0, 2.0)  # noisier in the right half
    noise = sigma * rng.normal(size=mask.shape)
    smooth = 0.5 * x[:, None, None] - 0.2 * x
    found = scatter(noise + smooth + 3.0 * (x > 15)[:, None], mask)
    assert np.isnan(found[~mask]).all()
    assert np.median(found[..., 4:9][mask[..., 4:9]]) == pytest.approx(0.01, rel=0.25)
    assert np.median(found[..., 15:20][mask[..., 15:20]]) == pytest.approx(0.02, rel=0.25)


def test_a_field_without_noise_has_the_pull_of_the_grid_alone():
    mask = ball()
    ramp = np.broadcast_to(0.003 * np.arange(24.0), mask.shape)
    np.testing.assert_allclose(errors(mask, ramp), 0.01 * STEP, rtol=1e-6)


def test_a_rocking_curve_misses_part_of_a_bend():
    """Half of the change per voxel, in both tilts; of a steep one half of 0.15 steps."""
    mask = ball()
    for change, missed in ((0.004, 0.002), (0.5, 0.075 * STEP)):
        ramp = np.broadcast_to(change * np.arange(24.0), mask.shape)
        expected = np.hypot(0.01 * STEP, missed)
        np.testing.assert_allclose(errors(mask, ramp, one_for_two=True), expected, rtol=1e-3)


def test_noise_is_taken_for_no_bend():
    mask = ball()
    noise = gaussian_filter(np.random.default_rng(1).normal(size=mask.shape), 0.8) * 0.01
    plain, allowed = (np.median(errors(mask, noise, one_for_two=both), axis=1) for both in (False, True))
    assert allowed[0] < 1.3 * plain[0]


def test_an_equal_second_peak_is_the_right_one_every_second_time():
    mask = ball()
    found = errors(mask, np.zeros(mask.shape), second_peak=1.0, apart1=0.1, apart2=0.2)
    np.testing.assert_allclose(found[:, 0], [0.1 / 2**0.5, 0.2 / 2**0.5], rtol=1e-3)


def test_a_grain_too_thin_for_differences_has_the_width_of_its_peak():
    mask = np.zeros((9, 9, 9), dtype=bool)
    mask[3:6, 3:6, 3:6] = True
    found = errors(mask, np.zeros(mask.shape))
    np.testing.assert_allclose(found[0], np.hypot(0.01, 0.01 * STEP), rtol=1e-6)
    np.testing.assert_allclose(found[1], np.hypot(0.02, 0.01 * STEP), rtol=1e-6)
    assert np.isnan(scatter(np.zeros(mask.shape), mask)).all()
    with np.errstate(all="raise"):
        assert orientation_errors(
            readings(np.zeros((3, 3, 3), dtype=bool), np.zeros((3, 3, 3))),
            np.zeros((3, 3, 3), dtype=bool),
            (STEP, STEP),
            0.01,
            one_for_two=True,
        )[0].shape == (0,)
