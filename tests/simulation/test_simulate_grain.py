"""The grain that is simulated: its shape, points and orientations, and the truth written about it."""

from __future__ import annotations

from dataclasses import replace
from itertools import product

import h5py
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lib.simulation import simulate
from lib.simulation.phantom import Phantom
from tests.simulation.simulated_scan import GAMMA_MOTORS, SAMPLE_MOTORS, parameters, write

# ---- Phantom ----


@settings(derandomize=True, deadline=None, max_examples=60)
@given(
    st.tuples(*[st.floats(0.5, 50)] * 3),
    st.tuples(*[st.floats(-20, 20)] * 3),
    st.integers(1, 8),
    st.tuples(st.floats(0, 1), st.floats(0, 1)),
    st.integers(0, 2**32),
)
def test_orientations_stay_within_the_width(semi_axes, center, n_subgrains, width, seed):
    phantom = Phantom.random(center, semi_axes, n_subgrains, width, seed)
    points = phantom.sample(500, seed + 1)
    assert phantom.inside(points).all()
    deviation = np.abs(phantom.orientation_deg(points))
    assert (deviation <= np.array(width) * (1 + 1e-9)).all()
    if n_subgrains == 1:
        assert (deviation <= 0.4 * np.array(width) * (1 + 1e-9)).all()


@pytest.mark.parametrize("n_subgrains", [2, 4, 7])
def test_there_are_as_many_subgrains_as_asked_for(n_subgrains):
    phantom = Phantom.random((0, 0, 0), (5, 5, 5), n_subgrains, (0.1, 0.1), 3)
    flat = replace(phantom, gradient_deg=np.zeros((3, 2)))
    orientations = np.unique(flat.orientation_deg(phantom.sample(5000, 0)).round(9), axis=0)
    assert len(orientations) == n_subgrains


def test_shape_of_the_phantom():
    phantom = Phantom.random((1.0, 2.0, 3.0), (4.0, 5.0, 6.0), 3, (0.1, 0.1), 0)
    inside = [(0, 0, 0), (0.99, 0, 0), (0, -0.99, 0), (0, 0, -0.99), (-0.6, -0.6, -0.6)]
    outside = [
        (1.01, 0, 0),
        (0, 1.01, 0),
        (0, 0, -1.01),
        (-0.7, -0.7, -0.7),
        (0.55, 0.75, 0.45),
        (0.55, 0.3, 0.45),
    ]
    for points, expected in ((inside, True), (outside, False)):
        u = np.array(points, dtype=float)
        assert (phantom.inside(u * [4, 5, 6] + [1, 2, 3]) == expected).all()


@pytest.mark.parametrize("semi_axes", [(1.0, 1.0, 1.0), (8.0, 2.0, 1.0), (4.6, 4.0, 4.4)])
def test_points_sample_the_grain_evenly(semi_axes):
    """The same density in every part: one point at random per cell of a lattice, no clumps or gaps."""
    phantom = Phantom.random((3.0, -2.0, 1.0), semi_axes, 1, (0.1, 0.1), 0)
    points = phantom.sample(64_000, 5)
    assert len(points) == pytest.approx(64_000, rel=0.03)
    assert phantom.inside(points).all()
    u = (points - phantom.center_um) / semi_axes
    inner = u[(np.abs(u) < 0.4).all(axis=1)]  # a box wholly inside the grain
    assert phantom.inside(inner * semi_axes + phantom.center_um).all()
    counts = np.histogramdd(inner, bins=4, range=[(-0.4, 0.4)] * 3)[0]
    share = 0.4**3 / side_share(phantom, semi_axes)
    assert counts.sum() == pytest.approx(len(points) * share, rel=0.03)
    assert counts.std() / counts.mean() < 0.5 * counts.mean() ** -0.5 + 0.03  # less than Poisson's
    means = u.mean(axis=0)
    grid = np.stack(np.meshgrid(*[np.linspace(-1, 1, 81)] * 3, indexing="ij"), axis=-1)
    body = grid[phantom.inside(grid * semi_axes + phantom.center_um)]
    np.testing.assert_allclose(means, body.mean(axis=0), atol=0.005)
    np.testing.assert_allclose(np.cov(u.T), np.cov(body.T), atol=0.01)


def side_share(phantom, semi_axes):
    """Volume of the grain as a share of its bounding box."""
    side = (np.arange(100) + 0.5) / 50 - 1
    grid = np.stack(np.meshgrid(side, side, side, indexing="ij"), axis=-1)
    return phantom.inside(grid * semi_axes + phantom.center_um).mean()


# ---- Truth ----


@pytest.mark.parametrize("motors", [SAMPLE_MOTORS, GAMMA_MOTORS])
def test_truth_is_the_phantom_at_the_voxel_centres(tmp_path, motors):
    params, _ = write(
        tmp_path,
        ang_types=motors,
        grain_pos=(0.5, -0.3, 0.2),
        ang_mean=(0.3, -0.4),
        ang_min=(0.2, -0.6, 0.0),
        ang_max=(0.4, -0.3, 270.0),
        ang_steps=(2, 2, 2),
    )
    phantom = simulate.prepare(params).phantom
    truth = np.load(tmp_path / "raw" / "truth.npy")
    assert truth.shape == (10, 11, 12, 3)
    assert truth.dtype == np.float64
    for index in product(range(0, 10, 3), range(0, 11, 2), range(0, 12, 2)):
        center = [
            p + d / n * (i - (n - 1) / 2)
            for p, d, n, i in zip(params.grain_pos, params.grain_dim, params.grain_steps, index, strict=True)
        ]
        tilt1, tilt2, inside = truth[index]
        assert inside == phantom.inside(np.array(center))
        if inside:
            expected = np.array([0.3, -0.4]) + phantom.orientation_deg(np.array(center))
            np.testing.assert_allclose([tilt1, tilt2], expected, atol=1e-12)
        else:
            assert np.isnan([tilt1, tilt2]).all()
    np.testing.assert_allclose(phantom.center_um, params.grain_pos)
    with h5py.File(tmp_path / "raw" / "truth.vtkhdf") as file:
        cells = file["VTKHDF/CellData"]
        np.testing.assert_array_equal(cells["tilt1"][()].transpose(), truth[..., 0])
        np.testing.assert_array_equal(cells["tilt2"][()].transpose(), truth[..., 1])
        np.testing.assert_array_equal(cells["mask"][()].transpose(), truth[..., 2].astype("u1"))
        np.testing.assert_allclose(file["VTKHDF"].attrs["Origin"], [0.5 - 6, -0.3 - 6, 0.2 - 6])
        np.testing.assert_allclose(file["VTKHDF"].attrs["Spacing"], [12 / 10, 12 / 11, 12 / 12])


def test_truth_and_points_belong_to_the_same_grain():
    simulation = simulate.prepare(parameters(ang_mean=(0.03, -0.01), tilt_zero=(0.01, 0.02)))
    fields, mask = simulate.truth(simulation)
    points = simulation.points_um.astype(float)
    index = np.floor((points + 6.0) / 12.0 * [10, 11, 12]).astype(int)
    assert mask[tuple(index.T)].mean() > 0.8  # the rest are voxels on the surface
    both = mask[tuple(index.T)]
    for field, points_deg, zero in zip(
        ("tilt1", "tilt2"), simulation.orientation_deg.T, (0.01, 0.02), strict=True
    ):
        difference = fields[field][tuple(index[both].T)] - (points_deg[both] + zero)
        assert np.median(np.abs(difference)) < 0.005
