"""Distributions of known parameters, found again."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from lib.cells.fits import Chi, LogNormal, chi, log_normal


def test_log_normal():
    found = log_normal(np.random.default_rng(1).lognormal(np.log(4.5), 0.4, 4000))
    assert found.median == pytest.approx(4.5, rel=0.03)
    assert found.sigma == pytest.approx(0.4, rel=0.05)


@pytest.mark.parametrize("k", (1.0, 1.7, 3.0))
def test_chi(k):
    values = stats.chi.rvs(k, scale=0.2, size=4000, random_state=2)
    found = chi([*values, np.nan, 0.0])
    assert found.k == pytest.approx(k, rel=0.07)
    assert found.scale == pytest.approx(0.2, rel=0.05)


def test_densities():
    at = np.linspace(0.01, 3.0, 50)
    np.testing.assert_allclose(LogNormal(0.7, 0.4).density(at), stats.lognorm.pdf(at, 0.4, scale=0.7))
    np.testing.assert_allclose(Chi(1.7, 0.3).density(at), stats.chi.pdf(at, 1.7, scale=0.3), rtol=1e-6)


def test_too_few():
    assert np.isnan(log_normal([])).all()
    for few in ([], [0.3], [0.3, 0.3]):
        assert np.isnan(chi(few)).all()
