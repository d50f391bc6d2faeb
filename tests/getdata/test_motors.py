"""Which motor is which: set-ups, roles, tables of motors, and gamma from phi and chi."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from lib.errors import Recon3DError
from lib.getdata.gamma import decode_gamma, gamma_zeros
from lib.getdata.grid import build_grid
from lib.getdata.motor_table import MotorTable, concatenate_tables, moving_motors
from lib.getdata.motors import SETUPS, RoleOptions, assign_roles
from tests.getdata.motor_scans import gamma_scan, scan_of, sizes

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
        ("id03", "lab"),
        ("id03", "sample"),
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
