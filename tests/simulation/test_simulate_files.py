"""The frames the simulation writes: their noise, names, headers and motor positions."""

from __future__ import annotations

import json
from itertools import product

import fabio
import numpy as np
import pytest

from lib.simulation import simulate
from tests.simulation.simulated_scan import GAMMA_MOTORS, SAMPLE_MOTORS, write

OWN_MOTORS = ("phi_upper", "phi_lower", "Omega")


def header_positions(header):
    return dict(
        zip(header["motor_mne"].split(), map(float, header["motor_pos"].split()), strict=True),
    )


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
