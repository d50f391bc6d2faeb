"""The light of simulated frames without noise, against formulas that share no code with the package."""

from __future__ import annotations

from dataclasses import replace
from itertools import product

import numpy as np
import pytest

from lib.simulation import simulate
from tests.simulation.simulated_scan import GAMMA_MOTORS, SAMPLE_MOTORS, one_orientation, parameters

MODES = ("horizontal", "vertical")
FRAMES = ("sample", "lab")
MODES_AND_FRAMES = list(product(MODES, FRAMES))
X, Y, Z = np.eye(3)
ROCK = {"horizontal": Z, "vertical": X}
OMEGA = {"horizontal": X, "vertical": Z}
G0 = {"horizontal": -X, "vertical": Z}
THETA = np.arcsin(0.7293 / 4.0495)  # d of 200 is a/2


def turn(axis, angle):
    """Matrix of the active right-handed rotation about a unit vector (Rodrigues)."""
    cross = np.cross(np.eye(3), axis)
    return np.eye(3) + np.sin(angle) * cross + (1 - np.cos(angle)) * cross @ cross


def about(axis, angle, focus, point):
    return turn(axis, angle) @ (np.asarray(point) - focus) + focus


def image_px(params, point, omega, tilt1, tilt2):
    """Pixel of a point of the sample; angles in radians, tilts relative to their zero."""
    mode, lab = params.mode, params.tilt_frame == "lab"
    up, lo, mu, gamma = (0.0, 0.0, tilt1, tilt2) if lab else (tilt1, tilt2, 0.0, 0.0)
    r = about(ROCK[mode], up, params.xyz_up, point)
    r = about(Y, lo, params.xyz_lo, r)
    r = turn(OMEGA[mode], omega) @ r
    r = turn(Y, gamma) @ r
    r = about(ROCK[mode], THETA + mu, params.xyz_th, r)
    beam = turn(ROCK[mode], 2 * THETA) @ Y
    across = turn(ROCK[mode], 2 * THETA) @ (X if mode == "horizontal" else Z)  # the axis that theta turns
    assert abs(across @ beam) < 1e-12
    level = Z if mode == "horizontal" else X
    x_d, z_d = (
        -params.M * (r @ (across if mode == "horizontal" else level)),
        -params.M * (r @ (level if mode == "horizontal" else across)),
    )
    if mode == "horizontal" and params.t_z is not None:
        x_d /= np.cos(np.radians(params.t_z) - 2 * THETA)
    if mode == "vertical" and params.t_x is not None:
        z_d /= np.cos(np.radians(params.t_x) - 2 * THETA)
    middle = (np.array([params.detx_size, params.detz_size]) - 1) / 2
    return middle + [params.o11 * x_d + params.o12 * z_d, params.o21 * x_d + params.o22 * z_d]


def misalignment_deg(params, orientation_deg, omega, tilt1_deg, tilt2_deg):
    """How far a voxel is from diffracting, as (rocking, rolling) angles in degrees.

    Its scattering vector is carried through the goniometer; what is left of it beside G0 is the
    rotation about the rocking axis and the one about the rolling axis that it lacks.
    """
    mode = params.mode
    a, b = np.radians(orientation_deg)
    g = G0[mode] + (np.array([0, a, -b]) if mode == "horizontal" else np.array([-b, a, 0]))
    t1, t2 = np.radians([tilt1_deg, tilt2_deg])
    if params.tilt_frame == "lab":
        g = turn(ROCK[mode], t1) @ turn(Y, t2) @ turn(OMEGA[mode], omega) @ g
    else:
        g = turn(OMEGA[mode], omega) @ turn(Y, t2) @ turn(ROCK[mode], t1) @ g
    beside = np.degrees(np.cross(G0[mode], g))
    return beside @ ROCK[mode], beside @ Y


def totals(simulation, omega_deg, tilts1, tilts2):
    """Photons of the whole frame at all pairs of tilts (n1, n2)."""
    frames = [
        simulate.expected_frame(simulation, t1, t2, omega_deg).sum() for t1, t2 in product(tilts1, tilts2)
    ]
    return np.reshape(frames, (len(tilts1), len(tilts2)))


# ---- Photons ----


@pytest.mark.parametrize("semi_axes", [(4.6, 4.0, 4.4), (2.0, 5.0, 3.0)])
@pytest.mark.parametrize("mode", MODES)
def test_total_photons_at_matching_tilts(mode, semi_axes):
    """sim_counts belong to the longest diameter in one pixel, so the total is theirs times volume / that."""
    params = one_orientation(mode=mode, ang_mean=(0.02, -0.03), sim_counts=250.0, sim_grain=semi_axes)
    simulation = simulate.prepare(params)
    side = np.linspace(-1, 1, 101)
    cells = np.stack(np.meshgrid(side, side, side, indexing="ij"), axis=-1)
    volume_um3 = (
        (side[1] - side[0]) ** 3 * np.prod(semi_axes) * simulation.phantom.inside(cells * semi_axes).sum()
    )
    expected = 250.0 * 3.0**2 * volume_um3 / (2 * max(semi_axes))
    for omega in (0.0, 37.0, 200.0):
        frame = simulate.expected_frame(simulation, 0.02, -0.03, omega)
        assert frame.shape == (48, 44)
        assert frame.sum() == pytest.approx(expected, rel=0.02)


def test_sim_counts_is_what_the_longest_ray_gives():
    """A grain twice as long as wide: along the beam it gives sim_counts, turned across half as much.

    The diffracted beam meets the long axis at theta, which makes the ray through a body with flat
    ends 1 / cos(theta) longer.
    """
    params = one_orientation(sim_grain=(4.0, 8.0, 4.0), sim_points=200_000, sim_counts=300.0)
    simulation = simulate.prepare(params)
    middle = np.s_[22:26, 20:24]
    along = simulate.expected_frame(simulation, 0, 0, 0.0)[middle].mean()
    across = simulate.expected_frame(simulation, 0, 0, 90.0)[middle].mean()
    assert along == pytest.approx(300.0 / np.cos(THETA), rel=0.05)
    assert across == pytest.approx(150.0 / np.cos(THETA), rel=0.05)


def test_photons_do_not_depend_on_the_number_of_points():
    few, many = (simulate.prepare(one_orientation(sim_points=n)) for n in (2000, 50_000))
    total = [simulate.expected_frame(s, 0, 0, 0).sum() for s in (few, many)]
    assert total[0] == pytest.approx(total[1], rel=0.02)


def test_photons_scale_with_sim_counts():
    one, two = (simulate.prepare(parameters(sim_counts=c)) for c in (100.0, 250.0))
    frames = [simulate.expected_frame(s, 0.03, 0.0, 90.0) for s in (one, two)]
    np.testing.assert_allclose(frames[0] * 2.5, frames[1], rtol=1e-12)


# ---- Orientation and resolution ----


@pytest.mark.parametrize("zero", [None, (1.0, -2.0)])
@pytest.mark.parametrize(("mode", "frame"), MODES_AND_FRAMES)
def test_brightest_where_the_tilts_match(mode, frame, zero):
    """In the sample frame the peak stays, in the lab frame it moves on a circle about tilt_zero."""
    z1, z2 = zero or (0.5, -0.25)
    mean = (z1 + 0.06, z2 - 0.03)
    params = one_orientation(
        mode=mode,
        tilt_frame=frame,
        tilt_zero=zero,
        ang_mean=mean,
        ang_min=(0.4, -0.4, 0.0),
        ang_max=(0.6, -0.1, 270.0),
        rock_width=0.02,
        roll_width=0.02,
        sim_points=1000,
    )
    simulation = simulate.prepare(params)
    steps = np.round(np.arange(-0.09, 0.091, 0.015), 3)
    for omega in (0.0, 50.0, 200.0):
        a, b = mean[0] - z1, mean[1] - z2
        if frame == "lab":
            c, s = np.cos(np.radians(omega)), np.sin(np.radians(omega))
            a, b = (a * c + b * s, -a * s + b * c) if mode == "horizontal" else (a * c - b * s, a * s + b * c)
        light = totals(simulation, omega, z1 + steps, z2 + steps)
        found = np.array(
            [(light.sum(axis=1) * steps).sum() / light.sum(), (light.sum(axis=0) * steps).sum() / light.sum()]
        )
        np.testing.assert_allclose(found, [a, b], atol=0.002)
        brightest = np.unravel_index(light.argmax(), light.shape)
        assert np.abs(steps[list(brightest)] - [a, b]).max() <= 0.0076


@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize(("mode", "frame"), MODES_AND_FRAMES)
def test_light_falls_off_as_the_bragg_condition_says(mode, frame, sign):
    """A Gaussian of the two angles by which a scattering vector misses, with the given widths at half."""
    params = one_orientation(
        mode=mode,
        tilt_frame=frame,
        tilt_zero=(0.0, 0.0),
        ang_mean=(0.05, -0.02),
        rock_width=0.03,
        roll_width=0.12,
        omega_sign=sign,
        sim_points=1000,
    )
    simulation = simulate.prepare(params)
    full = simulation.counts_per_point * len(simulation.points_um)
    tilts = np.linspace(-0.12, 0.12, 7)
    n_dark = 0
    for omega in (0.0, 30.0, 135.0, 260.0):
        light = totals(simulation, omega, tilts, tilts) / full
        for (i, t1), (j, t2) in product(enumerate(tilts), enumerate(tilts)):
            rock, roll = misalignment_deg(params, (0.05, -0.02), sign * np.radians(omega), t1, t2)
            expected = np.exp(-4 * np.log(2) * ((rock / 0.03) ** 2 + (roll / 0.12) ** 2))
            assert light[i, j] == pytest.approx(expected, rel=0.03, abs=2e-4)
            n_dark += light[i, j] == 0.0
    assert n_dark > 50  # beyond the resolution there is nothing at all


def test_half_as_bright_at_half_the_width():
    simulation = simulate.prepare(one_orientation(rock_width=0.04, roll_width=0.1, sim_points=1000))
    peak = simulate.expected_frame(simulation, 0, 0, 0).sum()
    assert simulate.expected_frame(simulation, 0.02, 0, 0).sum() == pytest.approx(peak / 2, rel=1e-6)
    assert simulate.expected_frame(simulation, 0, 0.05, 0).sum() == pytest.approx(peak / 2, rel=1e-6)


def narrow_direction(light, tilts):
    """Direction (of tilt1, tilt2) along which the light is narrowest, from its second moments."""
    t1, t2 = np.meshgrid(tilts, tilts, indexing="ij")
    offsets = (
        np.stack([t1, t2]) - np.array([(light * t).sum() for t in (t1, t2)])[:, None, None] / light.sum()
    )
    moments = np.einsum("ixy,jxy,xy->ij", offsets, offsets, light)
    return np.linalg.eigh(moments)[1][:, 0]


@pytest.mark.parametrize(("mode", "frame"), MODES_AND_FRAMES)
def test_the_rocking_direction_turns_with_omega_in_the_sample_frame_only(mode, frame):
    params = one_orientation(
        mode=mode, tilt_frame=frame, tilt_zero=(0.0, 0.0), rock_width=0.02, roll_width=0.06, sim_points=1000
    )
    simulation = simulate.prepare(params)
    tilts = np.linspace(-0.1, 0.1, 13)
    for omega in (0.0, 25.0, 140.0):
        direction = narrow_direction(totals(simulation, omega, tilts, tilts), tilts)
        w = 0.0 if frame == "lab" else np.radians(omega)
        expected = [np.cos(w), np.sin(w) if mode == "horizontal" else -np.sin(w)]
        assert abs(direction @ expected) > 0.999


def test_width_zero_means_one_step():
    simulation = simulate.prepare(parameters())
    np.testing.assert_allclose(simulation.widths_deg, (0.1, 0.1))
    simulation = simulate.prepare(parameters(rock_width=0.3))
    np.testing.assert_allclose(simulation.widths_deg, (0.3, 0.1))


def test_the_frame_of_the_tilts_follows_from_the_motors():
    for motors, frame in ((SAMPLE_MOTORS, "sample"), (GAMMA_MOTORS, "lab"), (("a", "b", "c"), "sample")):
        assert simulate.prepare(parameters(ang_types=motors)).tilt_frame == frame
    assert simulate.prepare(parameters(tilt_frame="lab")).tilt_frame == "lab"


# ---- Where a point appears ----


def random_setting(rng, mode, frame, *, plain):
    """Parameters with random flips, focus points and detector tilt, or none of them."""
    if plain:
        return one_orientation(mode=mode, tilt_frame=frame, tilt_zero=(0.0, 0.0))
    o = [(1, 0, 0, 1), (-1, 0, 0, 1), (0, 1, -1, 0), (0, 1, 1, 0)][rng.integers(4)]
    return one_orientation(
        mode=mode,
        tilt_frame=frame,
        tilt_zero=(0.0, 0.0),
        omega_sign=int(rng.choice([-1, 1])),
        **{name: tuple(rng.uniform(-30, 30, 3).tolist()) for name in ("xyz_up", "xyz_lo", "xyz_th")},
        t_x=float(rng.uniform(0, 50)),
        t_z=float(rng.uniform(0, 50)),
        **dict(zip(("o11", "o12", "o21", "o22"), o, strict=True)),
        rock_width=2.0,
        roll_width=2.0,
        detx_size=90,
        detz_size=110,
    )


@pytest.mark.parametrize("plain", [True, False])
@pytest.mark.parametrize(("mode", "frame"), MODES_AND_FRAMES)
def test_a_point_appears_where_the_geometry_puts_it(mode, frame, plain):
    rng = np.random.default_rng([plain, MODES.index(mode), FRAMES.index(frame)])
    n_seen = 0
    for _ in range(1 if plain else 4):
        params = random_setting(rng, mode, frame, plain=plain)
        whole = simulate.prepare(params)
        for _ in range(40):
            point = rng.uniform(-6, 6, 3).astype(np.float32)
            tilt1, tilt2 = rng.uniform(-0.05, 0.05, 2) if plain else rng.uniform(-1.0, 1.0, 2)
            omega = rng.uniform(-360, 360)
            simulation = replace(whole, points_um=point[None], orientation_deg=np.zeros((1, 2), np.float32))
            lit = np.argwhere(simulate.expected_frame(simulation, tilt1, tilt2, omega))
            pixel = image_px(
                params, point, params.omega_sign * np.radians(omega), np.radians(tilt1), np.radians(tilt2)
            )
            if np.abs(pixel - np.floor(pixel) - 0.5).min() < 1e-3:
                continue  # between two pixels
            inside = (np.rint(pixel) >= 0).all() and (
                np.rint(pixel) < (params.detx_size, params.detz_size)
            ).all()
            assert lit.tolist() == ([np.rint(pixel).astype(int).tolist()] if inside else [])
            n_seen += inside
    assert n_seen > 20


def test_test_vectors_of_the_projection():
    """The written-out projection itself, against worked numbers (M 10, theta 10.375)."""
    params = replace(one_orientation(), M=10.0, detx_size=1, detz_size=1)
    point = np.array([3.0, -2.0, 5.0])
    angles = np.radians([35, 0.2, -0.3])
    np.testing.assert_allclose(image_px(params, point, *angles), [-21.204158, -29.674617], atol=2e-3)
    vertical = replace(params, mode="vertical")
    np.testing.assert_allclose(image_px(vertical, point, *angles), [-35.931639, -49.171710], atol=2e-3)


def test_points_beside_the_detector_light_no_pixel():
    simulation = simulate.prepare(one_orientation())
    inside = np.array([[0.0, 0.0, 0.0]], np.float32)
    beside = np.array([[9.0, 0, 0], [-9.0, 0, 0], [0, 0, 9.0], [0, 0, -9.0]], np.float32)  # 27 px at M 3
    frames = [
        simulate.expected_frame(
            replace(simulation, points_um=points, orientation_deg=np.zeros((len(points), 2), np.float32)),
            0,
            0,
            0,
        )
        for points in (inside, beside)
    ]
    assert np.count_nonzero(frames[0]) == 1
    assert not frames[1].any()
