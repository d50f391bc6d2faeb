"""The noise of the dark pixels, found beside up to 40 % of signal, clipped and rounded or not."""

from __future__ import annotations

import numpy as np
import pytest

from lib.physics.noise import LIT_SIGMA, auto_threshold, dark_sigma

N = 300_000
SIGNALS = {  # in units of sigma
    "bright": lambda rng, n: rng.uniform(5, 200, n),
    "peak": lambda rng, n: rng.normal(100, 10, n),
    "even": lambda rng, n: np.full(n, 20.0),
}


def pixels(sigma, share, signal="bright", *, clipped=False, rounded=False, seed=0):
    """Normal noise with a share of lit pixels, as getdata.py would leave it."""
    rng = np.random.default_rng(seed)
    values = rng.normal(0, sigma, N)
    lit = rng.random(N) < share
    values[lit] += sigma * SIGNALS[signal](rng, int(lit.sum()))
    values = np.rint(values) if rounded else values
    return np.maximum(values, 0) if clipped else values


@pytest.mark.parametrize("share", [0, 0.1, 0.4])
@pytest.mark.parametrize("sigma", [0.5, 1.0, 2.3, 30.0])
@pytest.mark.parametrize("rounded", [False, True], ids=["float", "rounded"])
def test_clipped_noise(sigma, share, rounded):
    assert dark_sigma(pixels(sigma, share, clipped=True, rounded=rounded)) == pytest.approx(sigma, rel=0.05)


@pytest.mark.parametrize("share", [0, 0.1, 0.4])
@pytest.mark.parametrize("sigma", [0.01, 1.0, 30.0])
def test_noise_with_its_negative_half(sigma, share):
    assert dark_sigma(pixels(sigma, share)) == pytest.approx(sigma, rel=0.05)


@pytest.mark.parametrize("share", [0, 0.4])
@pytest.mark.parametrize("sigma", [1.0, 2.3, 5.5, 30.0])
def test_rounded_noise_with_its_negative_half(sigma, share):
    """As of integer frames minus a median of an odd number of background frames, or of int16 arrays."""
    assert dark_sigma(pixels(sigma, share, rounded=True)) == pytest.approx(sigma, rel=0.05)


@pytest.mark.parametrize("signal", SIGNALS)
@pytest.mark.parametrize("clipped", [False, True])
def test_shape_of_the_signal_is_of_no_account(signal, clipped):
    assert dark_sigma(pixels(3.0, 0.3, signal, clipped=clipped)) == pytest.approx(3.0, rel=0.05)


@pytest.mark.parametrize("dtype", ["<u2", ">u2", "<f4", "<f8"])
def test_types_and_shapes(dtype):
    values = pixels(7.0, 0.2, clipped=True, rounded=True).astype(dtype).reshape(10, 100, 300)
    before = values.copy()
    assert dark_sigma(values) == pytest.approx(7.0, rel=0.05)
    np.testing.assert_array_equal(values, before)


@pytest.mark.parametrize("share", [0, 0.01, 0.4])
@pytest.mark.parametrize("dtype", ["u2", "f4"])
def test_data_without_noise_have_none(share, dtype):
    """Simulated frames without dark counts: zeros and signal, whatever its distribution."""
    rng = np.random.default_rng(1)
    lit = rng.random(N) < share
    for signal in (np.full(N, 500), rng.poisson(500, N), rng.exponential(500, N) + 1, rng.uniform(1, 500, N)):
        assert dark_sigma(np.where(lit, signal, 0).astype(dtype)) == 0


@pytest.mark.parametrize(
    "values", [np.zeros(1), np.zeros((3, 4), np.uint16), np.array([5.0]), np.full(1000, 7)]
)
def test_few_or_equal_values(values):
    assert dark_sigma(values) == 0


def test_lit_is_four_sigma():
    """A dark pixel is taken for lit once in 30,000 times."""
    values = pixels(10.0, 0.1, clipped=True, rounded=True)
    assert LIT_SIGMA == 4
    assert auto_threshold(values) == 4 * dark_sigma(values)
    dark = np.random.default_rng(2).normal(0, 10.0, 3_000_000)
    assert 30 < np.count_nonzero(dark > auto_threshold(values)) < 300
