"""The simulation: photons, geometry, resolution, noise, headers and truth of the files it writes.

The projection and the Bragg condition of these tests are written out below from the geometry's
definition and share no code with the package.
"""

from __future__ import annotations

import json
from dataclasses import replace
from hashlib import sha256
from itertools import product

import fabio
import h5py
import numpy as np
import pytest
from conftest import error_line
from hypothesis import given, settings
from hypothesis import strategies as st

from lib import cli, simulate
from lib.errors import Recon3DError
from lib.initfile import format_initfile
from lib.parallel import SerialComm
from lib.parameters import Parameters
from lib.phantom import Phantom

MODES = ("horizontal", "vertical")
FRAMES = ("sample", "lab")
MODES_AND_FRAMES = list(product(MODES, FRAMES))
X, Y, Z = np.eye(3)
ROCK = {"horizontal": Z, "vertical": X}
OMEGA = {"horizontal": X, "vertical": Z}
G0 = {"horizontal": -X, "vertical": Z}
THETA = np.arcsin(0.7293 / 4.0495)  # d of 200 is a/2
SAMPLE_MOTORS = ("samrz", "samry", "diffrx")
GAMMA_MOTORS = ("diffrz", "gamma", "diffry")
OWN_MOTORS = ("phi_upper", "phi_lower", "Omega")


def parameters(**changes):
    """A small scan of a small grain, kept well inside the detector."""
    values = {
        "path": "unused",
        "unit_cell": (4.0495, 4.0495, 4.0495, 90.0, 90.0, 90.0),
        "hkl": (2, 0, 0),
        "wavelength": 0.7293,
        "M": 3.0,
        "grain_dim": (12.0, 12.0, 12.0),
        "grain_steps": (10, 11, 12),
        "detx_size": 48,
        "detz_size": 44,
        "ang_types": SAMPLE_MOTORS,
        "ang_steps": (3, 4, 4),
        "ang_min": (-0.1, -0.15, 0.0),
        "ang_max": (0.1, 0.15, 270.0),
        "sim_grain": (4.6, 4.0, 4.4),
        "sim_points": 4000,
        "sim_seed": 1,
    }
    return Parameters(**{**values, **changes})


def one_orientation(**changes):
    """The same grain as a single crystal."""
    return parameters(**{"sim_subgrains": 1, "ang_width": (0.0, 0.0), **changes})


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


def header_positions(header):
    return dict(
        zip(header["motor_mne"].split(), map(float, header["motor_pos"].split()), strict=True),
    )


def write(folder, comm=None, **changes):
    """Simulate into a folder; returns parameters and the frames' files in the order of their names."""
    params = parameters(**{"stem": str(folder / "raw" / "g_"), **changes})
    simulate.run(params, comm or SerialComm(), quiet=True)
    return params, sorted((folder / "raw").glob("g_*.edf"))


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


# ---- Noise ----


def test_frames_have_poisson_and_read_noise(tmp_path):
    params, files = write(
        tmp_path, sim_counts=150.0, sim_offset=80.0, sim_read_noise=3.0, ang_steps=(2, 2, 4), sim_seed=5
    )
    simulation = simulate.prepare(params)
    counts, expected = [], []
    for path in files:
        image = fabio.open(path)
        at = header_positions(image.header)
        counts.append(image.data.astype(float))
        expected.append(simulate.expected_frame(simulation, *(at[m] for m in SAMPLE_MOTORS)).T)
    counts, expected = np.array(counts), np.array(expected)
    assert counts.shape == (16, 44, 48)
    noise = counts - 80.0 - expected
    for chosen in (expected == 0, (expected > 0) & (expected < 20), expected > 20):
        values, means = noise[chosen], expected[chosen]
        variance = 3.0**2 + 1 / 12 + means.mean()
        assert values.size > 500
        assert values.mean() == pytest.approx(0.0, abs=4.5 * np.sqrt(variance / values.size))
        assert np.mean(values**2) == pytest.approx(variance, rel=8 / np.sqrt(values.size))


def test_background_frames_have_only_read_noise(tmp_path):
    write(
        tmp_path,
        sim_background=str(tmp_path / "dark" / "d_"),
        sim_background_frames=12,
        sim_offset=60.0,
        sim_read_noise=2.5,
        ang_steps=(2, 2, 1),
        ang_max=(0.1, 0.15, 0.0),
    )
    files = sorted((tmp_path / "dark").iterdir())
    assert [path.name for path in files] == [f"d_{n:05d}.edf" for n in range(12)]
    frames = np.array([fabio.open(path).data for path in files]).astype(float)
    assert frames.shape == (12, 44, 48)
    assert frames.mean() == pytest.approx(60.0, abs=4.5 * 2.5 / np.sqrt(frames.size))
    assert frames.var() == pytest.approx(2.5**2 + 1 / 12, rel=0.04)
    pixels = frames.reshape(12, -1) - 60.0
    correlation = np.corrcoef(pixels) - np.eye(12)
    assert np.abs(correlation).max() < 0.12  # every frame has noise of its own
    assert frames.mean(axis=0).var() == pytest.approx(6.33 / 12, rel=0.15)


def test_no_frame_of_a_scan_repeats_the_noise_of_another(tmp_path):
    _, files = write(tmp_path, ang_steps=(2, 2, 3), ang_max=(0.1, 0.15, 240.0), sim_grain=(0.5, 0.5, 0.5))
    corner = np.array([fabio.open(path).data[:10].ravel() for path in files]).astype(float)
    correlation = np.corrcoef(corner) - np.eye(len(corner))
    assert np.abs(correlation).max() < 0.25


def test_without_read_noise_dark_pixels_are_the_offset(tmp_path):
    _, files = write(
        tmp_path, sim_read_noise=0.0, sim_offset=100.0, ang_steps=(2, 2, 1), ang_max=(0.1, 0.15, 0.0)
    )
    for path in files:
        corner = fabio.open(path).data[:3, :3]
        assert corner.dtype == np.uint16
        assert (corner == 100).all()


def test_counts_stay_within_16_bits(tmp_path):
    _, files = write(
        tmp_path,
        sim_counts=1e6,
        sim_offset=0.0,
        sim_read_noise=3.0,
        ang_steps=(2, 2, 1),
        ang_max=(0.1, 0.15, 0.0),
    )
    frames = np.array([fabio.open(path).data for path in files])
    assert frames.max() == 65535
    dark = frames[:, :3, :3]
    assert dark.max() < 20  # below zero is zero, not 65533
    assert (dark == 0).any()


# ---- Files, headers and motors ----


def test_files_are_numbered_without_gaps_and_not_in_the_order_of_the_scan(tmp_path):
    params, files = write(tmp_path, ang_steps=(3, 3, 12), ang_max=(0.1, 0.15, 330.0), sim_points=1000)
    assert [path.name for path in files] == [f"g_{n:05d}.edf" for n in range(108)]
    seen = []
    for number, path in enumerate(files):
        header = fabio.open(path).header
        assert header["point_no"] == str(number)
        at = header_positions(header)
        seen.append([at[motor] for motor in SAMPLE_MOTORS])
    positions = np.array(seen)
    axes = [
        np.linspace(low, high, n)
        for low, high, n in zip(params.ang_min, params.ang_max, params.ang_steps, strict=True)
    ]
    grid = np.array(list(product(*axes)))
    order = np.lexsort(positions.round(6).T[::-1])
    np.testing.assert_allclose(positions[order], grid, atol=1e-8)
    for column in positions.T:
        assert abs(np.corrcoef(column, np.arange(len(column)))[0, 1]) < 0.35


@pytest.mark.parametrize("motors", [SAMPLE_MOTORS, GAMMA_MOTORS, ("phi", "chi", "diffrx"), ("a", "b", "c")])
def test_headers_have_lists_of_equal_length(tmp_path, motors):
    _, files = write(tmp_path, ang_types=motors, ang_steps=(2, 2, 2), sim_points=1000)
    for path in files:
        image = fabio.open(path)
        assert image.data.shape == (44, 48)
        assert (int(image.header["Dim_1"]), int(image.header["Dim_2"])) == (48, 44)
        for stem in ("motor", "counter"):
            names, values = (image.header[f"{stem}_{kind}"].split() for kind in ("mne", "pos"))
            assert len(names) == len(values) == len(set(names))
            assert all(np.isfinite(float(v)) or name == "foc1" for name, v in zip(names, values, strict=True))
        present = set(header_positions(image.header))
        assert {m for m in motors if m != "gamma"} <= present
        assert "gamma" not in present
        assert "srcur" in image.header["counter_mne"].split()


def test_own_motors_stand_in_keys_of_their_own(tmp_path):
    _, files = write(tmp_path, ang_types=OWN_MOTORS, ang_steps=(2, 2, 2), sim_points=1000)
    seen = set()
    for path in files:
        header = fabio.open(path).header
        assert not set(OWN_MOTORS) & set(header["motor_mne"].split())
        seen.add(tuple(round(float(header[motor]), 6) for motor in OWN_MOTORS))
    assert seen == set(product((-0.1, 0.1), (-0.15, 0.15), (0.0, 270.0)))


def test_gamma_is_made_of_phi_and_chi(tmp_path):
    """ID06 in 2017: phi = phi0 + gamma cos w, chi = chi0 + gamma sin w / cos chi0."""
    params, files = write(tmp_path, ang_types=GAMMA_MOTORS, ang_steps=(2, 3, 8), ang_max=(0.1, 0.15, 315.0))
    facts = json.loads((tmp_path / "raw" / "truth.json").read_text())
    assert facts["tilt_frame"] == "lab"
    phi0, chi0 = facts["phi0_deg"], facts["chi0_deg"]
    assert 0.0 not in (phi0, chi0)  # zeros to be found, not assumed
    seen = set()
    for path in files:
        at = header_positions(fabio.open(path).header)
        w = np.radians(at["diffry"])
        across = (at["phi"] - phi0, (at["chi"] - chi0) * np.cos(np.radians(chi0)))
        gamma = across[0] * np.cos(w) + across[1] * np.sin(w)
        assert across[1] * np.cos(w) - across[0] * np.sin(w) == pytest.approx(0.0, abs=1e-6)
        seen.add((round(at["diffrz"], 6), round(gamma, 5) + 0.0, round(at["diffry"], 6)))
    assert seen == set(product((-0.1, 0.1), (-0.15, 0.0, 0.15), np.arange(0.0, 316.0, 45.0)))
    assert params.ang_types == GAMMA_MOTORS


def test_background_headers_name_no_scanned_motor(tmp_path):
    write(
        tmp_path,
        sim_background=str(tmp_path / "d_"),
        sim_background_frames=2,
        sim_points=1000,
        ang_steps=(2, 2, 2),
    )
    for path in tmp_path.glob("d_*.edf"):
        assert not set(SAMPLE_MOTORS) & set(header_positions(fabio.open(path).header))


def test_jitter_is_bounded_and_recorded(tmp_path):
    params, files = write(
        tmp_path,
        sim_jitter=0.2,
        ang_steps=(3, 4, 8),
        ang_max=(0.1, 0.15, 315.0),
        sim_counts=3000.0,
        rock_width=0.06,
        roll_width=0.06,
        ang_types=OWN_MOTORS,
    )
    simulation = simulate.prepare(params)
    steps = np.array([0.1, 0.1, 45.0])
    offsets, misfit, nominal_misfit = [], 0.0, 0.0
    for path in files:
        image = fabio.open(path)
        at = np.array([float(image.header[m]) for m in OWN_MOTORS])
        nominal = params.ang_min + steps * np.rint((at - params.ang_min) / steps)
        offsets.append((at - nominal) / steps)
        frame = image.data.astype(float) - params.sim_offset
        for where, total in ((at, "misfit"), (nominal, "nominal")):
            expected = simulate.expected_frame(simulation, *where).T
            value = ((frame - expected) ** 2 / (expected + 4.0)).mean() / len(files)
            if total == "misfit":
                misfit += value
            else:
                nominal_misfit += value
    offsets = np.array(offsets)
    assert (np.abs(offsets) <= 0.2 + 1e-6).all()
    np.testing.assert_allclose(offsets.mean(axis=0), 0.0, atol=0.05)
    np.testing.assert_allclose(offsets.std(axis=0), 0.2 / np.sqrt(3), rtol=0.2)
    assert misfit == pytest.approx(1.0, abs=0.05)  # the frame belongs to the position that was recorded
    assert nominal_misfit > 5.0


def test_the_seed_decides(tmp_path):
    contents = []
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        _, files = write(tmp_path / name, sim_seed=seed, ang_steps=(2, 2, 2), sim_points=1000)
        contents.append([path.read_bytes() for path in files])
    assert contents[0] == contents[1]
    assert all(a != c for a, c in zip(contents[0], contents[2], strict=True))


# ---- Ranks ----


def digest(folder):
    """Hash of every file; of HDF5 files, of what they hold but for the date."""
    found = {}
    for path in sorted(folder.rglob("*")):
        if path.suffix == ".vtkhdf":
            found[path.name] = hdf5_contents(path)
        elif path.is_file():
            found[path.name] = sha256(path.read_bytes()).hexdigest()
    return found


def hdf5_contents(path):
    found = {}

    def visit(name, item):
        found[name, "attributes"] = {key: repr(value) for key, value in item.attrs.items()}
        if isinstance(item, h5py.Dataset) and not name.endswith("/date"):
            found[name, "values"] = item[()].tobytes() if item.shape else item[()]

    with h5py.File(path) as file:
        file.visititems(visit)
    return found


def test_the_same_files_on_any_number_of_ranks(run, tmp_path):
    """Two omegas only, so that the third rank has nothing to do."""
    raw = tmp_path / "raw"
    params = parameters(
        stem=str(raw / "g_"),
        sim_background=str(raw / "dark_"),
        sim_background_frames=2,
        sim_jitter=0.1,
        ang_steps=(2, 3, 2),
        sim_points=2000,
    )
    (tmp_path / "init.txt").write_text(format_initfile(params))
    found = []
    for ranks in (None, 1, 2, 3):
        result = run("-m lib.simulate", tmp_path / "init.txt", ranks=ranks)
        assert result.returncode == 0, result.stderr
        assert result.stdout.count("files, ") == result.stdout.count("12 frames of 48 x 44 pixels") == 1
        found.append(digest(raw))
        raw.rename(tmp_path / f"raw_{ranks}")
    assert len(found[0]) == 12 + 2 + 3
    assert all(other == found[0] for other in found[1:])


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


# ---- What is refused ----


def test_the_stem_is_needed(run, tmp_path):
    (tmp_path / "init.txt").write_text(format_initfile(parameters()))
    line = error_line(run("-m lib.simulate", tmp_path / "init.txt", ranks=2), "simulate")
    assert line == "simulate: error: key stem: is missing: folder and beginning of the names of the frames"


def test_frames_are_never_overwritten(run, tmp_path):
    params, files = write(tmp_path, ang_steps=(2, 2, 2), sim_points=1000)
    before = digest(tmp_path)
    (tmp_path / "init.txt").write_text(format_initfile(replace(params, sim_seed=9)))
    line = error_line(run("-m lib.simulate", tmp_path / "init.txt", ranks=2), "simulate")
    assert line == f"simulate: error: {params.stem}*.edf: files exist; remove them or choose another stem"
    (tmp_path / "init.txt").unlink()
    assert digest(tmp_path) == before
    for path in files[1:]:
        path.unlink()
    with pytest.raises(Recon3DError, match="files exist"):
        simulate.run(params, SerialComm(), quiet=True)


def test_background_frames_are_never_overwritten(tmp_path):
    first = parameters(
        stem=str(tmp_path / "a" / "g_"), sim_background=str(tmp_path / "d_"), ang_steps=(2, 2, 2)
    )
    simulate.run(first, SerialComm(), quiet=True)
    second = replace(first, stem=str(tmp_path / "b" / "g_"))
    with pytest.raises(Recon3DError, match=r"d_\*\.edf: files exist"):
        simulate.run(second, SerialComm(), quiet=True)
    assert not list((tmp_path / "b").glob("*.edf"))


def test_other_files_in_the_folder_do_not_matter(tmp_path):
    (tmp_path / "raw").mkdir()
    (tmp_path / "raw" / "other_0.edf").write_text("x")
    (tmp_path / "raw" / "g_notes.txt").write_text("x")
    _, files = write(tmp_path, ang_steps=(2, 2, 2), sim_points=1000)
    assert len(files) == 8


def test_background_frames_must_not_count_as_frames(tmp_path):
    params = parameters(stem=str(tmp_path / "g_"), sim_background=str(tmp_path / "g_dark_"))
    with pytest.raises(Recon3DError, match="sim_background: names like 'g_...' would count as frames"):
        simulate.run(params, SerialComm(), quiet=True)
    assert list(tmp_path.iterdir()) == []


def test_frames_must_not_count_as_background_frames(tmp_path):
    params = parameters(
        stem=str(tmp_path / "g_scan_"), sim_background=str(tmp_path / "g_"), ang_steps=(2, 2, 2)
    )
    with pytest.raises(Recon3DError):
        simulate.run(params, SerialComm(), quiet=True)


def test_the_truth_of_another_scan_is_not_overwritten(tmp_path):
    write(tmp_path, ang_steps=(2, 2, 2), sim_points=1000)
    before = (tmp_path / "raw" / "truth.npy").read_bytes()
    with pytest.raises(Recon3DError):
        write(
            tmp_path, ang_steps=(2, 2, 2), stem=str(tmp_path / "raw" / "second_"), sim_grain=(2.0, 2.0, 2.0)
        )
    assert (tmp_path / "raw" / "truth.npy").read_bytes() == before


def test_a_stem_that_names_no_file_is_refused(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(Recon3DError, match="stem"):
        simulate.run(parameters(stem=".", ang_steps=(2, 2, 2)), SerialComm(), quiet=True)


def test_a_motor_name_with_a_blank_is_refused(tmp_path):
    with pytest.raises(Recon3DError, match="ang_types"):
        write(tmp_path, ang_types=("my motor", "b", "c"), ang_steps=(2, 2, 2), sim_points=1000)


def test_a_folder_that_cannot_be_made_is_one_line(tmp_path, capsys):
    (tmp_path / "file").write_text("x")
    params = parameters(stem=str(tmp_path / "file" / "g_"), ang_steps=(2, 2, 2))
    (tmp_path / "init.txt").write_text(format_initfile(params))
    assert cli.simulate([str(tmp_path / "init.txt")], SerialComm()) == 1
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1
    assert lines[0].startswith("simulate: error: ")
    assert str(tmp_path / "file") in lines[0]
