"""Method `rocking`: what a piece of the volume takes, and that doing it in parts changes nothing."""

from __future__ import annotations

import tracemalloc
from typing import Any

import numpy as np
import pytest

from lib.backprojection import rocking
from lib.backprojection.rocking import Curves, RockingFit
from lib.projection.views import Block

N_OMEGA = 36
AXIS = np.zeros(1)
BLOCK = Block(AXIS, AXIS, AXIS)


def curves_of(n_mu: int) -> Curves:
    return Curves.of("horizontal", np.linspace(-1, 1, n_mu), np.linspace(0, 6, N_OMEGA))


def voted(n_mu: int, n_voxels: int, *, lack: str) -> RockingFit:
    """A fit of voxels after the vote; at "some" or "all" of them omegas are lost, or at "none"."""
    fit, rng = RockingFit(BLOCK, curves_of(n_mu), 0.0, np.arange(n_voxels)), np.random.default_rng(0)
    rng.random(out=fit._votes, dtype=np.float32)
    if lack != "none":
        fit._n_lost = np.zeros(fit._votes.shape, dtype=np.uint16)
        fit._n_lost[:: 1 if lack == "all" else 3] = np.arange(n_mu**2) % N_OMEGA
    return fit


def work(fit: RockingFit) -> None:
    fit.elect(N_OMEGA)
    for number in range(2):
        fit.sums[:] = np.arange(fit.sums.shape[1])
        fit.solve(last=number == 1)
    fit.finish(N_OMEGA, (0.0, 0.0))


@pytest.mark.parametrize("lack", ["none", "some", "all"])
@pytest.mark.parametrize("n_mu", [3, 7, 15, 60])
def test_a_piece_takes_no_more_memory_than_is_said(n_mu: int, lack: str) -> None:
    budget = 48 << 20
    n_voxels = budget // RockingFit.bytes_of_voxel(curves_of(n_mu), may_lack=lack != "none")
    tracemalloc.start()
    try:
        work(voted(n_mu, n_voxels, lack=lack))
        taken = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert 0.4 * budget < taken < budget + 5 * rocking._ELECTED_BYTES


@pytest.mark.parametrize("lack", ["none", "some", "all"])
@pytest.mark.parametrize("at_once", [1, 7, 1000])
def test_the_same_are_elected_in_any_parts(lack: str, at_once: int, monkeypatch: Any) -> None:
    fit, n_mu = voted(5, 100, lack=lack), 5
    votes, lost = fit._votes.astype(float), 0 if fit._n_lost is None else fit._n_lost.astype(float)
    known = np.broadcast_to(N_OMEGA - lost, votes.shape)
    known = np.maximum(known, known.max(axis=1, keepdims=True) / 2)
    expected = (votes / known).argmax(axis=1)
    monkeypatch.setattr(rocking, "_ELECTED_BYTES", 4 * n_mu**2 * at_once)
    fit.elect(N_OMEGA)
    mu = fit.curves.mu
    np.testing.assert_array_equal(fit.found[:, 0], mu[expected // n_mu])
    np.testing.assert_array_equal(fit.found[:, 1], mu[expected % n_mu])
    assert (fit.found[:, 2] == 0).all()
