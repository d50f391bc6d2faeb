"""Read-back values of the motors: which belong to one position, and the grid of positions they make."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product

import numpy as np
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from lib.errors import Recon3DError
from lib.getdata.grid import Grid, build_grid, group_axes
from lib.getdata.motors import Roles, Setup
from tests.getdata.motor_scans import sizes


def roles_of(values: Sequence[np.ndarray]) -> Roles:
    setup = Setup("custom", "phi", "chi", "diffrx", "sample")
    return Roles(setup, *(np.asarray(v, dtype=float) for v in values), None, None, "")


# ---- Read-back values to positions ----


def read_back(
    axes: Sequence[np.ndarray], places: np.ndarray, jitter: float, seed: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """What the motors say at `places` (3, n): off by up to `jitter` of the smallest step of each."""
    rng = np.random.default_rng(seed)
    noise = rng.uniform(-jitter, jitter, places.shape)
    smallest = [np.diff(axis).min() if axis.size > 1 else 0.0 for axis in axes]
    a, b, c = (v[i] + s * n for v, i, s, n in zip(axes, places, smallest, noise, strict=True))
    return a, b, c


def full_grid(shape: Sequence[int], seed: int | None = None) -> np.ndarray:
    """All places of a grid (3, n), shuffled with a seed."""
    places = np.indices(shape).reshape(3, -1)
    return places if seed is None else np.random.default_rng(seed).permutation(places, axis=1)


def assert_grouped(found: Sequence, axes: Sequence[np.ndarray], places: np.ndarray, jitter: float) -> None:
    assert sizes(found) == [axis.size for axis in axes]
    for axis, nominal, place in zip(found, axes, places, strict=True):
        np.testing.assert_array_equal(axis.index, place)
        assert (np.diff(axis.positions) > 0).all()
        smallest = np.diff(nominal).min() if nominal.size > 1 else 0.0
        np.testing.assert_allclose(axis.positions, nominal, rtol=0, atol=jitter * smallest + 1e-9)


@st.composite
def axis_values(draw: st.DrawFn, *, equal: bool, least: int = 3, most: int = 7) -> np.ndarray:
    """Positions of one axis; unequal steps differ by up to a factor of three."""
    n = draw(st.integers(least, most))
    step = draw(st.sampled_from([0.005, 0.032, 0.0585, 0.8, 2.0]))
    factors = [1.0] * (n - 1)
    if not equal:
        factors = draw(st.lists(st.floats(1, 3), min_size=n - 1, max_size=n - 1))
    return draw(st.floats(-170, 170)) + step * np.concatenate([[0], np.cumsum(factors)])


SLOW = settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])


@SLOW
@given(data=st.data(), equal=st.booleans(), jitter=st.floats(0, 0.25), seed=st.integers(0, 2**32 - 1))
def test_positions_come_back_from_jitter(data: st.DataObject, equal: bool, jitter: float, seed: int) -> None:
    """Any start and steps, some of the positions missing, frames in any order."""
    axes = [data.draw(axis_values(equal=equal)) for _ in range(3)]
    places = full_grid([axis.size for axis in axes], seed)
    n_missing = data.draw(st.integers(0, places.shape[1] // (5 if equal else 10)))
    places = places[:, n_missing:]
    assume(all(np.unique(p).size == axis.size for p, axis in zip(places, axes, strict=True)))
    found = group_axes(read_back(axes, places, jitter, seed))
    assert_grouped(found, axes, places, jitter)


@pytest.mark.parametrize("jitter", [1e-4 / 0.032, 0.08, 0.25])
def test_jitter_makes_no_new_positions(jitter: float) -> None:
    """Mistake 3: values were matched exactly; 1e-4 degrees of jitter turned 7 positions into 49."""
    axes = [np.arange(7) * 0.032, np.arange(7) * 0.032 - 0.1, np.arange(9) * 0.8]
    places = full_grid((7, 7, 9), seed=3)
    values = read_back(axes, places, jitter, seed=4)
    assert np.unique(values[0]).size > 49
    assert_grouped(group_axes(values), axes, places, jitter)


@pytest.mark.parametrize(("n", "step"), [(7, 0.032), (11, 0.0585), (5, 0.4), (3, 1e-2), (4, 7.5)])
def test_number_and_size_of_the_steps_are_free(n: int, step: float) -> None:
    """Mistake 4: the mu axis was hard-coded to 7 steps of 0.032 degrees."""
    axes = [0.3 + np.arange(n) * step, np.arange(3) * 0.05, np.arange(8) * 0.8]
    places = full_grid((n, 3, 8))
    assert_grouped(group_axes(read_back(axes, places, 0.08, seed=0)), axes, places, 0.08)


def test_an_encoder_like_that_of_id03() -> None:
    """26 x 37 positions, one axis exact, the other with some five read-backs for each position."""
    axes = [-0.58 + 0.08 * np.arange(26), np.array([4.0]), 7.12 + 0.06 * np.arange(37)]
    places = full_grid((26, 1, 37))
    chi, third, diffry = read_back(axes, places, 0.0, seed=0)
    diffry = diffry + np.random.default_rng(0).integers(-2, 3, diffry.size) * 1e-4
    assert np.unique(diffry).size > 150
    found = group_axes((chi, third, diffry))
    assert_grouped(found, axes, places, 0.01)


def test_a_missing_position_does_not_merge_its_neighbours() -> None:
    axes = [np.arange(5) * 0.032, np.arange(4) * 0.05, np.arange(6) * 0.8]
    places = full_grid((5, 4, 6))
    gone = {(2, 1, 3), (0, 0, 0), (4, 3, 5), (2, 1, 4)}
    places = np.array([p for p in places.T.tolist() if tuple(p) not in gone]).T
    assert_grouped(group_axes(read_back(axes, places, 0.25, seed=5)), axes, places, 0.25)


def test_a_line_that_is_missing_leaves_a_gap() -> None:
    """A whole plane of omega was not measured: the step there is double, and all else as before."""
    axes = [np.arange(5) * 0.032, np.arange(4) * 0.05, np.array([0.0, 0.8, 2.4, 3.2, 4.0])]
    places = full_grid((5, 4, 5))
    assert_grouped(group_axes(read_back(axes, places, 0.25, seed=6)), axes, places, 0.25)


@pytest.mark.parametrize("fraction", [0.55, 0.75])
def test_an_interrupted_scan(fraction: float) -> None:
    """The slowest motor reached only part of its range: a smaller grid, with one line not finished."""
    axes = [np.arange(4) * 0.032, np.arange(5) * 0.05, np.arange(8) * 0.8]
    places = np.array(sorted(full_grid((4, 5, 8)).T.tolist(), key=lambda p: p[::-1])).T
    places = places[:, : int(fraction * 160) - 7]
    done = [axis[: place.max() + 1] for axis, place in zip(axes, places, strict=True)]
    assert_grouped(group_axes(read_back(done, places, 0.08, seed=7)), done, places, 0.08)


FINE_XFAIL = pytest.mark.xfail(
    strict=True, reason="beside tilts that span under 0.02 degrees, omega may have a position for each frame"
)


@pytest.mark.parametrize(
    ("step", "measured"),
    [(0.032, 0.55), (0.032, 0.65), (0.032, 0.75), pytest.param(0.003, 0.55, marks=FINE_XFAIL), (0.003, 0.75)],
)
def test_more_than_half_of_the_grid_is_enough(step: float, measured: float) -> None:
    axes = [np.arange(5) * step, np.arange(4) * step, np.arange(6) * 0.8]
    places = full_grid((5, 4, 6), seed=8)[:, : int(measured * 120)]
    assert_grouped(group_axes(read_back(axes, places, 0.08, seed=9)), axes, places, 0.08)


@pytest.mark.parametrize("seed", [7, 830])
def test_exact_values_with_a_sixth_of_the_positions_missing(seed: int) -> None:
    """No jitter at all, whole numbers as positions: nothing here can be mistaken."""
    axes = [np.arange(3.0), np.arange(4.0), np.arange(5.0)]
    places = np.array(list(product(range(3), range(4), range(5))))
    places = places[np.random.default_rng(seed).permutation(60)[10:]].T
    assert_grouped(group_axes(read_back(axes, places, 0.0, seed=0)), axes, places, 0.0)


@pytest.mark.parametrize("still", [0, 1, 2])
@pytest.mark.parametrize("noise", [0.0, 5e-4, 5e-3])
def test_one_axis_that_stands_still(still: int, noise: float) -> None:
    axes = [np.arange(5) * 0.032, np.arange(4) * 0.0585, np.arange(6) * 0.8]
    axes[still] = np.array([12.5])
    places = full_grid([axis.size for axis in axes])
    values = list(read_back(axes, places, 0.08, seed=10))
    values[still] = values[still] + np.random.default_rng(0).uniform(-noise, noise, places.shape[1])
    found = group_axes(tuple(values))
    assert sizes(found) == [axis.size for axis in axes]
    assert found[still].positions[0] == pytest.approx(12.5, abs=noise)
    assert not found[still].index.any()


@pytest.mark.parametrize("n_frames", [1, 2, 7])
def test_only_omega_moves(n_frames: int) -> None:
    found = group_axes((np.full(n_frames, 0.1), np.full(n_frames, -0.2), np.arange(n_frames) * 0.8))
    assert sizes(found) == [1, 1, n_frames]
    np.testing.assert_array_equal(found[2].index, np.arange(n_frames))


def test_two_positions_on_each_axis() -> None:
    axes = [np.array([0.0, 0.032]), np.array([1.0, 1.05]), np.array([0.0, 90.0])]
    places = full_grid((2, 2, 2))
    assert_grouped(group_axes(read_back(axes, places, 0.08, seed=1)), axes, places, 0.08)


def test_equal_read_back_is_kept_to_the_last_digit() -> None:
    axes = [np.array([0.1, 0.2, 0.7]), np.array([1 / 3, 2 / 3]), np.array([0.3, 1.1])]
    places = full_grid((3, 2, 2))
    found = group_axes(read_back(axes, places, 0.0, seed=0))
    for axis, nominal in zip(found, axes, strict=True):
        np.testing.assert_array_equal(axis.positions, nominal)
        assert axis.positions.dtype == np.float64


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 1000))
def test_the_order_of_the_frames_does_not_matter(seed: int) -> None:
    axes = [np.arange(3) * 0.032, np.arange(4) * 0.05, np.arange(5) * 0.8]
    values = read_back(axes, full_grid((3, 4, 5)), 0.25, seed=11)
    order = np.random.default_rng(seed).permutation(60)
    before = group_axes(values)
    after = group_axes(tuple(v[order] for v in values))
    for one, other in zip(before, after, strict=True):
        np.testing.assert_array_equal(one.index[order], other.index)
        np.testing.assert_allclose(one.positions, other.positions, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("aborted", [0, 1, -1])
@pytest.mark.parametrize("jitter", [0.0, 0.02])
@pytest.mark.parametrize("keep", [1, 2, 3])
@pytest.mark.parametrize(
    "omega", [[0.0, 10.0], [0.0, 10, 20, 25], [0.0, 0.8, 1.6, 2.4, 3.2], [-90.0, -60, -50, 0]], ids=str
)
def test_an_omega_of_which_few_frames_were_taken_is_one_of_its_own(
    omega: list[float], keep: int, jitter: float, aborted: int
) -> None:
    axes = [0.03 * np.arange(3), 0.05 * np.arange(4), np.array(omega)]
    places = full_grid((3, 4, len(omega)))
    gone = (places[2] == aborted % len(omega)) & (4 * places[0] + places[1] >= keep)
    places = places[:, ~gone]
    assert_grouped(group_axes(read_back(axes, places, jitter, 0)), axes, places, jitter)


# ---- Tolerance ----


def test_tolerance_separates_at_larger_gaps_and_nowhere_else() -> None:
    values = np.array([0.0, 0.01, 0.02, 0.05, 0.06, 1.0])
    same = np.zeros(6)
    found = group_axes((values, same, same), tolerance_deg=0.02)
    np.testing.assert_allclose(found[0].positions, [0.01, 0.055, 1.0])
    np.testing.assert_array_equal(found[0].index, [0, 0, 0, 1, 1, 2])
    assert sizes(group_axes((values, same, same), tolerance_deg=0.005)) == [6, 1, 1]
    assert sizes(group_axes((values, same, same), tolerance_deg=0.04)) == [2, 1, 1]
    assert sizes(group_axes((values, same, same), tolerance_deg=2.0)) == [1, 1, 1]


@settings(deadline=None)
@given(jitter=st.floats(0, 0.25), seed=st.integers(0, 1000))
def test_tolerance_of_half_a_step_always_works(jitter: float, seed: int) -> None:
    """With jitter up to a quarter of a step, gaps between positions are never below half a step."""
    axes = [np.array([0.0, 1.0, 3.0]), np.arange(4) * 1.2, np.arange(5) * 5.0]
    places = full_grid((3, 4, 5), seed)[:, :40]
    assume(all(np.unique(p).size == axis.size for p, axis in zip(places, axes, strict=True)))
    found = group_axes(read_back(axes, places, jitter * 0.99, seed), tolerance_deg=0.5)
    assert [found[0].positions.size, found[1].positions.size] == [3, 4]


# ---- The grid ----


def test_every_frame_has_its_cell() -> None:
    places = full_grid((3, 4, 5), seed=1)
    axes = [np.arange(3) * 0.032, np.arange(4) * 0.05, np.arange(5) * 0.8]
    grid = build_grid(roles_of(read_back(axes, places, 0.08, seed=2)), None)
    assert isinstance(grid, Grid)
    assert grid.shape == (3, 4, 5)
    expected = {int(np.ravel_multi_index(place, (3, 4, 5))): [k] for k, place in enumerate(places.T)}
    assert grid.cells == expected


def test_frames_of_one_position_share_its_cell_in_file_order() -> None:
    places = full_grid((3, 3, 4))
    places = np.concatenate([places, places[:, 5:7]], axis=1)
    axes = [np.arange(3) * 0.032, np.arange(3) * 0.05, np.arange(4) * 0.8]
    grid = build_grid(roles_of(read_back(axes, places, 0.08, seed=3)), None)
    assert {cell: frames for cell, frames in grid.cells.items() if len(frames) > 1} == {
        5: [5, 36],
        6: [6, 37],
    }


def test_a_tolerance_that_is_too_small() -> None:
    axes = [np.arange(3) * 0.032, np.arange(3) * 0.05, np.arange(4) * 0.8]
    roles = roles_of(read_back(axes, full_grid((3, 3, 4)), 0.08, seed=4))
    with pytest.raises(
        Recon3DError, match=r"only 36 of \d+ x \d+ x \d+ positions .* less than half.*tolerance"
    ):
        build_grid(roles, 1e-7)


def wrong_motor(kind: str, n_frames: int, right: np.ndarray) -> np.ndarray:
    """What a user names by mistake: a slow drift, noise, or a motor that another role already has."""
    return {
        "drift": np.arange(n_frames) * 0.01,
        "noise": np.random.default_rng(0).uniform(0, 1, n_frames),
        "other role": right * 2,
        "still": np.full(n_frames, 3.0),
    }[kind]


@pytest.mark.parametrize("kind", ["drift", "noise", "other role", "still"])
@pytest.mark.parametrize("role", [0, 1, 2])
def test_the_wrong_motor_is_an_error_not_a_grid_of_one_axis(kind: str, role: int) -> None:
    """The frames of 3 x 4 x 5 positions are not one line of 60, whichever motor is mistaken."""
    axes = [np.arange(3) * 0.032, np.arange(4) * 0.05, np.arange(5) * 0.8]
    values = list(read_back(axes, full_grid((3, 4, 5)), 0.08, seed=5))
    values[role] = wrong_motor(kind, 60, values[role - 1])
    try:
        grid = build_grid(roles_of(values), None)
    except Recon3DError as error:
        assert "less than half" in error.what  # noqa: PT017
    else:
        assert max(len(frames) for frames in grid.cells.values()) > 1  # --duplicates error then says so
