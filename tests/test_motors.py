"""Which motor is which, gamma from phi and chi, and read-back values to positions."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product

import numpy as np
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from lib.errors import Recon3DError
from lib.motors import (
    SETUPS,
    Grid,
    MotorTable,
    RoleOptions,
    Roles,
    Setup,
    assign_roles,
    build_grid,
    concatenate_tables,
    decode_gamma,
    gamma_zeros,
    group_axes,
    moving_motors,
)

STILL = ("mono", "corx", "samrz", "samry", "diffrx", "phi", "chi", "diffrz", "diffry")
STEPS = (0.032, 0.0585, 0.8)


def scan_of(*names: str, shape: tuple[int, int, int] = (3, 4, 5)) -> dict[str, np.ndarray]:
    """Headers of a scan of three motors, the others of the beamline standing still."""
    n = int(np.prod(shape))
    motors = {name: np.full(n, 1.5) for name in STILL}
    for name, index, step in zip(names, np.indices(shape).reshape(3, -1), STEPS, strict=True):
        motors[name] = 0.25 + index * step
    return motors


def gamma_scan(
    omega: Sequence[float], gamma: Sequence[float], phi0: float = 2.83, chi0: float = 2.79
) -> dict[str, np.ndarray]:
    """Headers of the 2017 set-up: diffrz scanned at each gamma, which phi and chi make together."""
    omega_, gamma_, mu = (g.ravel() for g in np.meshgrid(omega, gamma, [0, 0.032, 0.064], indexing="ij"))
    w = np.radians(omega_)
    return {
        "mono": np.full(w.size, 5.67781),
        "diffrz": mu,
        "diffry": omega_,
        "phi": phi0 + gamma_ * np.cos(w),
        "chi": chi0 + gamma_ * np.sin(w) / np.cos(np.radians(chi0)),
        "expected gamma": gamma_,
    }


def roles_of(values: Sequence[np.ndarray]) -> Roles:
    setup = Setup("custom", "phi", "chi", "diffrx", "sample")
    return Roles(setup, *(np.asarray(v, dtype=float) for v in values), None, None, "")


def sizes(axes: Sequence) -> list[int]:
    return [axis.positions.size for axis in axes]


# ---- Set-ups and roles ----


@pytest.mark.parametrize("asked", ["auto", "by name"])
@pytest.mark.parametrize(
    ("name", "motors", "frame"),
    [
        ("id06-2016", ("samrz", "samry", "diffrx"), "sample"),
        ("id06-2016", ("phi", "chi", "diffrx"), "sample"),
        ("simulated", ("phi_upper", "phi_lower", "Omega"), "sample"),
    ],
)
def test_setups_of_three_motors(name: str, motors: tuple[str, str, str], frame: str, asked: str) -> None:
    headers = scan_of(*motors)
    roles = assign_roles(headers, RoleOptions(setup="auto" if asked == "auto" else name))
    assert (roles.setup.name, roles.setup.tilt_frame) == (name, frame)
    assert (roles.setup.tilt1, roles.setup.tilt2, roles.setup.omega) == motors
    for found, motor in zip((roles.tilt1, roles.tilt2, roles.omega), motors, strict=True):
        np.testing.assert_array_equal(found, headers[motor])
    assert name in roles.explanation
    assert all(motor in roles.explanation for motor in motors)
    assert (roles.phi0_deg, roles.chi0_deg) == (None, None)


@pytest.mark.parametrize("setup", ["auto", "id06-2017"])
def test_setup_of_2017(setup: str) -> None:
    headers = gamma_scan(np.arange(0, 180, 15.0), [-0.1, 0, 0.1])
    roles = assign_roles(headers, RoleOptions(setup=setup))
    assert (roles.setup.name, roles.setup.tilt_frame) == ("id06-2017", "lab")
    assert (roles.setup.tilt1, roles.setup.tilt2, roles.setup.omega) == ("diffrz", "gamma", "diffry")
    np.testing.assert_array_equal(roles.tilt1, headers["diffrz"])
    np.testing.assert_array_equal(roles.omega, headers["diffry"])
    np.testing.assert_allclose(roles.tilt2, headers["expected gamma"], atol=1e-9)
    assert (roles.phi0_deg, roles.chi0_deg) == (pytest.approx(2.83), pytest.approx(2.79))
    assert "phi0 = 2.83, chi0 = 2.79" in roles.explanation


def test_auto_takes_the_motors_that_move() -> None:
    """All the motors of ID06 are in every header; only some of them are scanned."""
    assert assign_roles(scan_of("phi", "chi", "diffrx"), RoleOptions()).setup.tilt1 == "phi"
    assert assign_roles(scan_of("samrz", "samry", "diffrx"), RoleOptions()).setup.tilt1 == "samrz"


def test_noise_of_the_read_back_is_no_movement() -> None:
    headers = scan_of("phi", "chi", "diffrx")
    noise = np.random.default_rng(0).uniform(-4e-4, 4e-4, headers["phi"].size)
    headers |= {"samrz": 1.5 + noise, "samry": 1.5 - noise}
    assert assign_roles(headers, RoleOptions()).setup.tilt1 == "phi"


def test_a_setup_by_name_may_have_a_motor_that_stands_still() -> None:
    headers = scan_of("samrz", "samry", "diffrx", shape=(3, 1, 5))
    with pytest.raises(Recon3DError, match="no known set-up fits"):
        assign_roles(headers, RoleOptions())
    roles = assign_roles(headers, RoleOptions(setup="id06-2016"))
    assert sizes(build_grid(roles, None).axes) == [3, 1, 5]


def test_the_frame_of_each_setup() -> None:
    assert {(s.name, s.tilt_frame) for s in SETUPS} == {
        ("id06-2016", "sample"),
        ("id06-2017", "lab"),
        ("simulated", "sample"),
    }


@pytest.mark.parametrize("role", ["tilt1", "tilt2", "omega"])
def test_an_option_overrides_one_motor_of_the_setup(role: str) -> None:
    """The other two keep the set-up's, whose own motor of that role need not exist."""
    names = {"tilt1": "samrz", "tilt2": "samry", "omega": "diffrx"}
    headers = scan_of(*{**names, role: "furny"}.values())
    del headers[names[role]]
    roles = assign_roles(headers, RoleOptions(setup="id06-2016", **{role: "furny"}))
    assert getattr(roles.setup, role) == "furny"
    np.testing.assert_array_equal(getattr(roles, role), headers["furny"])
    for other in names.keys() - {role}:
        np.testing.assert_array_equal(getattr(roles, other), headers[names[other]])
    assert f"{role} furny" in roles.explanation


def test_options_for_all_three_motors_need_no_setup() -> None:
    headers = scan_of("a", "b", "c")
    options = RoleOptions(tilt1="b", tilt2="a", omega="c")
    roles = assign_roles(headers, options)
    assert (roles.setup.tilt1, roles.setup.tilt2, roles.setup.omega) == ("b", "a", "c")
    np.testing.assert_array_equal(roles.tilt1, headers["b"])
    assert roles.setup.tilt_frame == "sample"
    lab = assign_roles(headers, RoleOptions(tilt1="b", tilt2="a", omega="c", tilt_frame="lab"))
    assert lab.setup.tilt_frame == "lab"


def test_the_tilt_frame_can_be_overridden() -> None:
    headers = scan_of("samrz", "samry", "diffrx")
    roles = assign_roles(headers, RoleOptions(tilt_frame="lab"))
    assert (roles.setup.name, roles.setup.tilt_frame) == ("id06-2016", "lab")


def test_gamma_may_be_named_for_tilt2() -> None:
    headers = gamma_scan(np.arange(0, 180, 15.0), [-0.1, 0, 0.1])
    headers["mu"] = headers.pop("diffrz")
    options = RoleOptions(tilt1="mu", tilt2="gamma", omega="diffry", tilt_frame="lab")
    np.testing.assert_allclose(assign_roles(headers, options).tilt2, headers["expected gamma"], atol=1e-9)
    headers["phi"], headers["elsewhere"] = np.full(headers["phi"].size, np.nan), headers["phi"]
    with pytest.raises(Recon3DError, match="phi: .* frames have no number"):
        assign_roles(headers, options)


def test_gamma_is_fixed_in_the_lab_however_it_is_named() -> None:
    headers = gamma_scan(np.arange(0, 180, 15.0), [-0.1, 0, 0.1])
    roles = assign_roles(headers, RoleOptions(tilt1="diffrz", tilt2="gamma", omega="diffry"))
    assert roles.setup.tilt_frame == "lab"


def test_auto_without_a_fit_lists_what_moves_and_how_far() -> None:
    headers = scan_of("furnz", "furny", "hrotc")
    with pytest.raises(Recon3DError, match="--setup auto: ") as caught:
        assign_roles(headers, RoleOptions())
    message = str(caught.value)
    assert "furnz 0.25..0.314" in message
    assert "furny 0.25..0.4255" in message
    assert "hrotc 0.25..3.45" in message
    assert "corx" not in message  # it stands still
    assert "diffrx" in message  # a set-up that was tried needs it
    assert "--tilt1, --tilt2 and --omega" in message


def test_no_motor_moves() -> None:
    assert moving_motors(scan_of("samrz", "samry", "diffrx", shape=(1, 1, 1))) == "no motor moves"
    assert moving_motors({}) == "no motor moves"
    with pytest.raises(Recon3DError, match="no motor moves"):
        assign_roles({}, RoleOptions())


def test_a_list_of_many_motors_is_cut() -> None:
    many = {f"m{i:02d}": np.array([0.0, 1.0]) for i in range(30)}
    assert moving_motors(many).endswith("m11 0..1 and 18 more")


@pytest.mark.parametrize("role", ["tilt1", "tilt2", "omega"])
def test_a_motor_that_is_not_in_the_headers(role: str) -> None:
    headers = scan_of("samrz", "samry", "diffrx")
    with pytest.raises(Recon3DError, match=rf"^--{role} nosuch: no such motor .*samrz 0\.25\.\.0\.314"):
        assign_roles(headers, RoleOptions(**{role: "nosuch"}))


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_motor_without_a_number_in_some_frames(value: float) -> None:
    headers = scan_of("samrz", "samry", "diffrx")
    headers["samry"][[3, 7]] = value
    with pytest.raises(Recon3DError, match=r"^--tilt2 samry: 2 frames have no number"):
        assign_roles(headers, RoleOptions(setup="id06-2016"))


def test_frames_without_a_number_may_be_left_to_the_caller() -> None:
    headers = scan_of("samrz", "samry", "diffrx")
    headers["samry"][[3, 7]] = np.nan
    roles = assign_roles(headers, RoleOptions(), allow_gaps=True)
    assert np.flatnonzero(np.isnan(roles.tilt2)).tolist() == [3, 7]
    headers = gamma_scan(np.arange(0, 180, 15.0), [-0.1, 0, 0.1])
    headers["chi"][5] = np.nan
    roles = assign_roles(headers, RoleOptions(), allow_gaps=True)
    assert np.flatnonzero(np.isnan(roles.tilt2)).tolist() == [5]
    np.testing.assert_allclose(np.delete(roles.tilt2, 5), np.delete(headers["expected gamma"], 5), atol=1e-9)


@pytest.mark.parametrize("setup", ["id06-2016", "id06-2017", "simulated"])
def test_a_setup_whose_motors_do_not_exist(setup: str) -> None:
    with pytest.raises(Recon3DError, match=rf"^--setup {setup}: no known set-up fits"):
        assign_roles({"phi": np.arange(3.0)}, RoleOptions(setup=setup))


# ---- Tables of motors ----


def test_a_table_has_nan_where_a_frame_does_not_know_a_motor() -> None:
    table = MotorTable()
    for motors in ({"a": 1.0, "b": 2.0, "c": 3.0}, {"c": 4.0, "a": 5.0}, {"a": 6.0, "c": 7.0, "d": 8.0}):
        table.add(motors)
    nan = float("nan")
    expected = {"a": [1, 5, 6], "b": [2, nan, nan], "c": [3, 4, 7], "d": [nan, nan, 8]}
    found = table.arrays()
    assert found.keys() == expected.keys()
    for name, values in expected.items():
        np.testing.assert_array_equal(found[name], values)
    joined = concatenate_tables([found, {"c": np.array([9.0]), "x": np.array([1.0])}])
    np.testing.assert_array_equal(joined["c"], [3, 4, 7, 9])
    np.testing.assert_array_equal(joined["a"], [1, 5, 6, nan])
    np.testing.assert_array_equal(joined["x"], [nan, nan, nan, 1])
    assert MotorTable().arrays() == {}


# ---- gamma ----


def test_gamma_at_90_degrees_exactly() -> None:
    """Mistake 2: gamma was divided by cos omega; at 90 degrees all frames fell on one position."""
    headers = gamma_scan([90.0], np.arange(-3, 4) * 0.032)
    assert np.ptp(headers["phi"]) < 1e-15
    gamma = decode_gamma(headers["phi"], headers["chi"], headers["diffry"], 2.83, 2.79)
    np.testing.assert_allclose(gamma, headers["expected gamma"], atol=1e-12)
    headers = gamma_scan([0.0, 45.0, 90.0, 135.0, 180.0, 270.0], np.arange(-3, 4) * 0.032)
    grid = build_grid(assign_roles(headers, RoleOptions(setup="id06-2017")), None)
    assert grid.shape == (3, 7, 6)
    assert len(grid.cells) == 3 * 7 * 6
    np.testing.assert_allclose(grid.axes[1].positions, np.arange(-3, 4) * 0.032, atol=1e-9)


def test_gamma_counted_by_hand() -> None:
    """At 60 degrees and chi0 = 60, gamma = 1: phi moves by 1/2, chi by sin 60 / cos 60 = 1.7320508."""
    gamma = decode_gamma(np.array([10.5]), np.array([61.7320508]), np.array([60.0]), 10.0, 60.0)
    assert gamma[0] == pytest.approx(1, abs=1e-7)


ANGLES = st.floats(-20, 20)


@settings(deadline=None)
@given(
    start=st.floats(-180, 180),
    span=st.floats(40, 360),
    n_omega=st.integers(3, 30),
    gamma=st.lists(st.floats(-2, 2), min_size=2, max_size=9, unique=True),
    phi0=ANGLES,
    chi0=ANGLES,
)
def test_gamma_and_its_zeros_come_back(
    start: float, span: float, n_omega: int, gamma: list[float], phi0: float, chi0: float
) -> None:
    assume(max(gamma) - min(gamma) > 0.01)
    assume(all(abs(span - 180 * k) > 20 for k in (1, 2)) or n_omega > 3)
    headers = gamma_scan(np.linspace(start, start + span, n_omega), gamma, phi0, chi0)
    phi, chi, omega = headers["phi"], headers["chi"], headers["diffry"]
    exact = decode_gamma(phi, chi, omega, phi0, chi0)
    np.testing.assert_allclose(exact, headers["expected gamma"], atol=1e-10)
    np.testing.assert_allclose(gamma_zeros(phi, chi, omega), (phi0, chi0), atol=1e-6)


def test_zeros_of_a_one_sided_gamma() -> None:
    """The middle of the ranges is not the zero: here gamma runs from 1 to 2 and omega over 90 degrees."""
    headers = gamma_scan(np.linspace(0, 90, 10), [1.0, 1.5, 2.0], phi0=0.3, chi0=-0.4)
    assert gamma_zeros(headers["phi"], headers["chi"], headers["diffry"]) == pytest.approx((0.3, -0.4))


def test_zeros_in_spite_of_jitter() -> None:
    headers = gamma_scan(np.arange(0, 180, 0.8), np.arange(-3, 4) * 0.032)
    rng = np.random.default_rng(1)
    phi, chi = (headers[m] + rng.uniform(-2.6e-3, 2.6e-3, headers[m].size) for m in ("phi", "chi"))
    assert gamma_zeros(phi, chi, headers["diffry"]) == pytest.approx((2.83, 2.79), abs=5e-4)


@pytest.mark.parametrize("omega", [0.0, 30.0, 90.0, 200.0])
def test_one_omega_leaves_gamma_its_steps(omega: float) -> None:
    """One omega cannot tell where gamma is zero, but it can tell the steps."""
    headers = gamma_scan([omega], [-0.064, 0.0, 0.096])
    phi, chi = headers["phi"], headers["chi"]
    gamma = decode_gamma(phi, chi, headers["diffry"], *gamma_zeros(phi, chi, headers["diffry"]))
    found = gamma - gamma.min()
    np.testing.assert_allclose(found, headers["expected gamma"] + 0.064, atol=1e-5)


def test_the_zeros_can_be_given() -> None:
    headers = gamma_scan(np.arange(0, 180, 15.0), [0.0, 0.1, 0.2])
    roles = assign_roles(headers, RoleOptions(phi0_deg=2.83, chi0_deg=2.79))
    assert (roles.phi0_deg, roles.chi0_deg) == (2.83, 2.79)
    np.testing.assert_allclose(roles.tilt2, headers["expected gamma"], atol=1e-12)
    shifted = assign_roles(headers, RoleOptions(phi0_deg=2.73))
    assert (shifted.phi0_deg, shifted.chi0_deg) == (2.73, pytest.approx(2.79))
    w = np.radians(headers["diffry"])
    np.testing.assert_allclose(shifted.tilt2, headers["expected gamma"] + 0.1 * np.cos(w), atol=1e-6)


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


# ---- Scans of one angle ----


def one_angle(scanned: str, **others: float) -> dict[str, np.ndarray]:
    """Headers of a scan of one motor and diffry, the other motors of ID06 standing still."""
    angles, omega = (v.ravel() for v in np.meshgrid(0.03 * np.arange(5), 3.0 * np.arange(8), indexing="ij"))
    still = {"phi": 0.35, "chi": -0.8, "diffrz": 1.2, "obpitch": 20.7, "samrz": 0.1, "samry": 0.0} | others
    return {name: np.full(omega.size, v) for name, v in still.items()} | {scanned: angles, "diffry": omega}


def test_the_2017_setup_without_gamma_is_a_rocking_scan() -> None:
    roles = assign_roles(one_angle("diffrz"), RoleOptions())
    assert (roles.setup.name, roles.setup.tilt_frame, roles.setup.tilt2) == ("id06-2017", "lab", "none")
    assert build_grid(roles, None).shape == (5, 1, 8)
    assert roles.setup.scan(5, 1) == "rocking"
    assert roles.setup.roles == {"tilt1": "mu", "tilt2": "none", "omega": "omega"}


def test_a_rocking_scan_is_not_guessed_where_another_tilt_moves() -> None:
    headers = one_angle("diffrz")
    headers["phi"] = 0.02 * (np.arange(40) % 3.0)
    with pytest.raises(Recon3DError, match="no known set-up"):
        assign_roles(headers, RoleOptions())


@pytest.mark.parametrize(
    ("options", "tilts", "scan", "roles"),
    [
        (
            RoleOptions(tilt1="diffrz", tilt2="none", omega="diffry"),
            ("diffrz", "none"),
            "rocking",
            ("mu", "none"),
        ),
        (RoleOptions(strain="obpitch", omega="diffry"), ("obpitch", "none"), "strain", ("2theta", "none")),
        (
            RoleOptions(strain="obpitch", tilt1="diffrz", omega="diffry"),
            ("diffrz", "obpitch"),
            "strain",  # diffrz has one position here
            ("mu", "2theta"),
        ),
    ],
)  # fmt: skip
def test_roles_of_one_angle(
    options: RoleOptions, tilts: tuple[str, str], scan: str, roles: tuple[str, str]
) -> None:
    found = assign_roles(one_angle("obpitch" if options.strain else "diffrz"), options)
    assert (found.setup.tilt1, found.setup.tilt2, found.setup.tilt_frame) == (*tilts, "lab")
    shape = build_grid(found, None).shape
    assert sorted(shape[:2]) == [1, 5]
    assert found.setup.scan(*shape[:2]) == scan
    assert tuple(found.setup.roles.values())[:2] == roles


@pytest.mark.parametrize(
    ("options", "where"),
    [
        (RoleOptions(strain="obpitch", tilt2="phi"), "no place for --tilt2 phi"),
        (RoleOptions(strain="obpitch", tilt1="diffrz", tilt2="phi"), "leave out --tilt2"),
        (RoleOptions(strain="twotheta", omega="diffry"), "--tilt1 twotheta"),
    ],
)
def test_strain_names_what_does_not_fit(options: RoleOptions, where: str) -> None:
    with pytest.raises(Recon3DError, match=where):
        assign_roles(one_angle("obpitch"), options)
