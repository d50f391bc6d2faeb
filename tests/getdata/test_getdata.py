"""getdata.py from detector files to the array, against plain arithmetic in numpy.

Where a test is about a mistake of the 2017 programs, its first line says which.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.frames.edf_scan import (
    Frame,
    as_uint16,
    crop,
    edf_block,
    expected_array,
    make_frames,
    motor_header,
    pack,
    write_background,
    write_edf,
    write_frames,
)
from tests.getdata.getdata_scan import AXES, GRID, POI, SHAPE, SIZE, failure, getdata, write_scan

# ---- The array ----


@pytest.mark.parametrize("size", [(9, 4), (8, 6), (5, 5), (1, 1), (16, 12), (1, 7)])
def test_uint16_is_frame_minus_background_rounded_and_clipped(scan: Any, size: tuple[int, int]) -> None:
    """Mistakes 5, 6 and 13: no frame is left over, no pixel holds a rank number, odd ROIs work."""
    folder, frames, dark = scan
    result = getdata(folder, size=size)
    expected = expected_array(frames, GRID, POI, size, dark)
    assert result.array.dtype == np.uint16
    np.testing.assert_array_equal(result.array, as_uint16(expected))
    assert result.measured.all()
    for axis, nominal in zip(result.axes, AXES.values(), strict=True):
        np.testing.assert_allclose(axis, nominal, rtol=0, atol=0.08 * np.diff(nominal).min())
        assert (np.diff(axis) > 0).all()
    assert result.info["clipped_low"] == np.count_nonzero(np.rint(expected) < 0) > 0
    assert result.info["clipped_high"] == 0
    assert result.info["background"]["level"] == pytest.approx(crop(dark, POI, size).mean())


def test_one_pixel_spelled_out(scan: Any) -> None:
    """a[t1, t2, w, ix, iy] is the frame at row y0 + iy and column x0 + ix, minus the background."""
    folder, frames, dark = scan
    array = getdata(folder, poi=(8, 6), size=(9, 4)).array
    frame = next(f for f in frames if f.place == (2, 1, 4))
    value = float(frame.pixels[4 + 3, 4 + 7]) - dark[4 + 3, 4 + 7]
    assert array[2, 1, 4, 7, 3] == max(0, round(value))
    assert array.shape == (3, 4, 5, 9, 4)


@pytest.mark.parametrize("poi", [(4, 2), (12, 11)], ids=["first corner", "last corner"])
def test_the_roi_may_touch_the_edges(scan: Any, poi: tuple[int, int]) -> None:
    folder, frames, dark = scan
    result = getdata(folder, poi=poi)
    np.testing.assert_array_equal(result.array, as_uint16(expected_array(frames, GRID, poi, SIZE, dark)))


def test_float32_without_clip_keeps_negative_values(scan: Any) -> None:
    folder, frames, dark = scan
    result = getdata(folder, "--dtype", "float32", "--no-clip")
    expected = expected_array(frames, GRID, POI, SIZE, dark)
    assert result.array.dtype == np.float32
    assert expected.min() < -10
    np.testing.assert_allclose(result.array, expected, rtol=0, atol=1e-3)
    assert (result.info["clip"], result.info["clipped_low"]) == (False, 0)


def test_float32_is_clipped_at_zero_and_not_rounded(scan: Any) -> None:
    folder, frames, dark = scan
    result = getdata(folder, "--dtype", "float32")
    expected = expected_array(frames, GRID, POI, SIZE, dark)
    np.testing.assert_allclose(result.array, np.maximum(expected, 0), rtol=0, atol=1e-3)
    assert result.info["clipped_low"] == np.count_nonzero(expected < 0)


def test_no_background(scan: Any) -> None:
    """Mistake 13: `-` for the background crashed."""
    folder, frames, _ = scan
    result = getdata(folder, background=False)
    np.testing.assert_array_equal(result.array, expected_array(frames, GRID, POI, SIZE))
    assert result.info["background"]["level"] is None
    assert result.info["background"]["n_frames"] == 0


def test_median_of_the_background(scan: Any) -> None:
    folder, frames, _ = scan
    dark = write_background(folder / "dark", SHAPE, 4)
    dark[3, 5, 6] = 60000  # a cosmic ray, which moves the mean but not the median
    write_edf(folder / "dark" / "dark_3.edf", dark[3], motor_header({"diffrx": 0.0}))
    result = getdata(folder, "--background", "median")
    expected = expected_array(frames, GRID, POI, SIZE, np.median(dark, axis=0))
    np.testing.assert_array_equal(result.array, as_uint16(expected))
    with_mean = getdata(folder, "--background", "mean", name="mean")
    assert with_mean.array[..., 2, 1].max() == 0
    assert result.array[..., 2, 1].max() > 0


def test_background_in_the_folder_of_the_data_and_in_several_kinds_of_file(tmp_path: Path) -> None:
    frames = make_frames(AXES, SHAPE)
    write_frames(tmp_path / "raw", frames)
    dark = np.random.default_rng(5).integers(0, 50, (6, *SHAPE)).astype(np.uint16)
    blocks = [edf_block(pixels, {}, big_endian=i == 3) for i, pixels in enumerate(dark)]
    for name, content in {
        "dark_a.edf": b"".join(blocks[:3]),
        "dark_b.edf.gz": blocks[3],
        "dark_c.edf.bz2": b"".join(blocks[4:]),
    }.items():
        (tmp_path / "raw" / name).write_bytes(pack(name, content))
    (tmp_path / "dark").symlink_to(tmp_path / "raw")
    result = getdata(tmp_path)
    expected = expected_array(frames, GRID, POI, SIZE, dark.mean(axis=0))
    np.testing.assert_array_equal(result.array, as_uint16(expected))
    assert result.info["background"]["n_frames"] == 6


def test_counts_out_of_range_are_counted(tmp_path: Path) -> None:
    frames = make_frames(AXES, SHAPE)
    frames = [replace(frame, pixels=frame.pixels.astype(np.int32)) for frame in frames]
    frames[0].pixels[6, 8] = 70000
    frames[1].pixels[6, 8:10] = np.iinfo(np.int32).max
    frames[2].pixels[6, 9] = -5
    frames[3].pixels[0, 0] = 70000  # outside the ROI
    write_frames(tmp_path / "raw", frames)
    result = getdata(tmp_path, background=False)
    assert [result.info[key] for key in ("clipped_low", "clipped_high", "saturated")] == [1, 3, 2]
    assert result.array[0, 0, 0, 4, 2] == 65535
    assert result.array[0, 0, 2, 5, 2] == 0


# ---- Positions ----


def test_jitter_does_not_make_new_positions(scan: Any) -> None:
    """Mistake 3: with motor values matched exactly, jitter turned 7 positions into 49."""
    folder, frames, _ = scan
    for motor, nominal in AXES.items():
        assert len({frame.motors[motor] for frame in frames}) == 60 > len(nominal)
    assert getdata(folder).array.shape[:3] == GRID


def test_unequal_steps_of_any_size_and_number(tmp_path: Path) -> None:
    """Mistake 4: the mu axis was hard-coded to 7 steps of 0.032 degrees."""
    axes = {"samrz": [5.0, 5.01, 5.03], "samry": [-0.4, 0.1], "diffrx": [10.0, 10.5, 11.5, 13.0, 20.0, 20.4]}
    frames = make_frames(axes, SHAPE, jitter=0.08)
    write_scan(tmp_path, frames)
    result = getdata(tmp_path, background=False)
    np.testing.assert_array_equal(result.array, expected_array(frames, (3, 2, 6), POI, SIZE))
    for found, nominal in zip(result.axes, axes.values(), strict=True):
        np.testing.assert_allclose(found, nominal, rtol=0, atol=0.08 * np.diff(nominal).min())


def test_missing_positions_are_zero_and_reported(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    missing = [(0, 0, 0), (1, 2, 3), (1, 2, 4), (2, 3, 4)]
    frames = make_frames(AXES, SHAPE, jitter=0.08, missing=missing)
    dark = write_scan(tmp_path, frames)
    result = getdata(tmp_path)
    expected = expected_array(frames, GRID, POI, SIZE, dark.mean(axis=0))
    np.testing.assert_array_equal(result.array, as_uint16(expected))
    assert [tuple(place) for place in np.argwhere(~result.measured).tolist()] == missing
    assert [tuple(place) for place in result.info["missing_positions"]] == missing
    assert not result.array[~result.measured].any()
    captured = capsys.readouterr()
    assert "getdata: warning: 4 of 60 positions were not measured" in captured.err
    assert "4 positions missing" in captured.out
    assert len(result.info["warnings"]) == 1


def test_the_position_is_the_mean_of_its_read_back_values(scan: Any) -> None:
    folder, frames, _ = scan
    result = getdata(folder)
    for i, (axis, motor) in enumerate(zip(result.axes, AXES, strict=True)):
        for k, position in enumerate(axis):
            values = [frame.motors[motor] for frame in frames if frame.place[i] == k]
            assert position == pytest.approx(np.mean(values), abs=1e-9)


def test_one_axis_that_stands_still(tmp_path: Path) -> None:
    frames = make_frames({**AXES, "samry": [0.25]}, SHAPE)
    write_frames(tmp_path / "raw", frames)
    result = getdata(tmp_path, "--setup", "id06-2016", background=False)
    np.testing.assert_array_equal(result.array, expected_array(frames, (3, 1, 5), POI, SIZE))
    assert result.axes[1].tolist() == [0.25]


def test_tolerance(tmp_path: Path) -> None:
    """Neighbours a millidegree apart are one position if the user says so."""
    axes = {"samrz": [0.0, 0.1], "samry": [0.0, 0.1], "diffrx": [0.0, 0.001, 0.8, 0.801]}
    frames = make_frames(axes, SHAPE)
    write_frames(tmp_path / "raw", frames)
    assert getdata(tmp_path, background=False).array.shape[:3] == (2, 2, 4)
    options = ("--tolerance", 0.01, "--duplicates", "mean")
    result = getdata(tmp_path, *options, background=False, name="coarse")
    np.testing.assert_allclose(result.axes[2], [0.0005, 0.8005])
    pairs = expected_array(frames, (2, 2, 4), POI, SIZE).reshape(2, 2, 2, 2, *SIZE)
    np.testing.assert_array_equal(result.array, as_uint16(pairs.mean(axis=3)))


# ---- Set-ups ----


def test_simulated_files_with_plain_keys(tmp_path: Path) -> None:
    axes = dict(zip(("phi_upper", "phi_lower", "Omega"), AXES.values(), strict=True))
    frames = make_frames(axes, SHAPE, jitter=0.08)
    write_frames(tmp_path / "raw", frames, plain=True)
    result = getdata(tmp_path, background=False)
    np.testing.assert_array_equal(result.array, expected_array(frames, GRID, POI, SIZE))
    assert (result.info["setup"], result.info["tilt_frame"]) == ("simulated", "sample")
    assert result.info["ring_current_ma"] is None


def gamma_frames(jitter: float) -> list[Frame]:
    """A scan of 2017: phi and chi make gamma about (2.83, 2.79); omega stops at 90 degrees exactly."""
    axes = {
        "diffrz": [-0.032, 0.0, 0.032],
        "gamma": [-0.064, -0.032, 0.0, 0.032],
        "diffry": [0.0, 45.0, 90.0, 135.0, 180.0],
    }
    frames = make_frames(axes, SHAPE)
    rng = np.random.default_rng(3)
    for frame in frames:
        gamma, w = frame.motors.pop("gamma"), np.radians(frame.motors["diffry"])
        frame.motors["phi"] = 2.83 + gamma * np.cos(w)
        frame.motors["chi"] = 2.79 + gamma * np.sin(w) / np.cos(np.radians(2.79))
        for motor, step in {"phi": 0.032, "chi": 0.032, "diffrz": 0.032, "diffry": 45.0}.items():
            frame.motors[motor] += rng.uniform(-jitter, jitter) * step
    return frames


@pytest.mark.parametrize("jitter", [0.0, 0.02, 0.08])
def test_gamma_at_an_omega_of_90_degrees(tmp_path: Path, jitter: float) -> None:
    """Mistake 2: gamma was divided by cos omega, so that at 90 degrees frames overwrote each other."""
    frames = gamma_frames(jitter)
    if jitter:
        for frame in frames:  # omega has an encoder that is good to a millidegree
            frame.motors["diffry"] = round(frame.motors["diffry"] / 45) * 45 + 1e-3 * frame.place[0]
    write_frames(tmp_path / "raw", frames)
    result = getdata(tmp_path, background=False)
    np.testing.assert_array_equal(result.array, expected_array(frames, (3, 4, 5), POI, SIZE))
    info = result.info
    assert (info["setup"], info["tilt_frame"]) == ("id06-2017", "lab")
    assert info["motors"] == {"tilt1": "diffrz", "tilt2": "gamma", "omega": "diffry"}
    assert info["phi0_deg"] == pytest.approx(2.83, abs=0.032 * jitter + 1e-9)
    assert info["chi0_deg"] == pytest.approx(2.79, abs=0.032 * jitter + 1e-9)
    np.testing.assert_allclose(result.axes[1], [-0.064, -0.032, 0, 0.032], atol=0.064 * jitter + 1e-9)


def test_zeros_of_gamma_by_option(tmp_path: Path) -> None:
    write_frames(tmp_path / "raw", gamma_frames(0.0))
    result = getdata(tmp_path, "--phi0", 2.83, "--chi0", 2.79, background=False)
    assert (result.info["phi0_deg"], result.info["chi0_deg"]) == (2.83, 2.79)
    np.testing.assert_allclose(result.axes[1], [-0.064, -0.032, 0, 0.032], atol=1e-9)


def test_motors_by_option(scan: Any) -> None:
    folder, frames, _ = scan
    options = ("--tilt1", "samry", "--tilt2", "samrz", "--omega", "diffrx", "--tilt-frame", "lab")
    result = getdata(folder, *options, background=False)
    swapped = expected_array(frames, GRID, POI, SIZE).swapaxes(0, 1)
    np.testing.assert_array_equal(result.array, swapped)
    assert result.info["motors"] == {"tilt1": "samry", "tilt2": "samrz", "omega": "diffrx"}
    assert result.info["tilt_frame"] == "lab"


def test_auto_that_finds_nothing_lists_what_moves(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    axes = dict(zip(("furnz", "furny", "hrotc"), AXES.values(), strict=True))
    write_frames(tmp_path / "raw", make_frames(axes, SHAPE))
    line = failure(tmp_path, capsys, background=False)
    for words in ("--setup auto", "furnz 0.1..0.164", "furny -1..-0.904", "hrotc 0..3.2", "--tilt1"):
        assert words in line
    assert "mono" not in line
