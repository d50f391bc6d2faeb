"""getdata.py from detector files to the array, against plain arithmetic in numpy.

Where a test is about a mistake of the 2017 programs, its first line says which.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import fabio
import numpy as np
import pytest
from conftest import MPIRUN, ROOT, Run, error_line
from edf_scan import (
    Frame,
    OpenRecorder,
    as_uint16,
    crop,
    edf_block,
    expected_array,
    make_frames,
    motor_header,
    pack,
    snapshot,
    write_background,
    write_edf,
    write_frames,
)

from lib import acquire, backgrounds, cli
from lib.parallel import SerialComm
from lib.sources import RoiReader

SHAPE = (13, 17)  # rows, columns of the detector
POI, SIZE = (8, 6), (9, 4)  # not square, one side odd
AXES = {
    "samrz": [0.1, 0.132, 0.164],
    "samry": [-1.0, -0.968, -0.936, -0.904],
    "diffrx": [0.0, 0.8, 1.6, 2.4, 3.2],
}
GRID = (3, 4, 5)
FILES = ("dataarray.npy", "tilt1.npy", "tilt2.npy", "omega.npy", "measured.npy", "getdata.json")
ARRAYS = tuple(name for name in FILES if name.endswith(".npy"))


def arguments(
    folder: Path,
    *options: object,
    background: bool = True,
    poi: tuple[int, int] = POI,
    size: tuple[int, int] = SIZE,
    name: str = "result",
) -> list[str]:
    """The command line for files in folder/raw, with the result in folder/out/`name`."""
    dark = [str(folder / "dark"), "dark_"] if background else ["-", "-"]
    pairs = [f"{a},{b}" for a, b in (poi, size)]
    return [
        *(str(folder / "raw"), "scan_", *dark, *pairs, str(folder / "out"), name),
        *("--quiet", "--no-report", *(str(option) for option in options)),
    ]


@dataclass
class Result:
    """What getdata.py left in a folder."""

    array: np.ndarray
    axes: list[np.ndarray]
    measured: np.ndarray
    info: dict[str, Any]


def read_result(folder: Path) -> Result:
    """Load a result after a look whether exactly the promised files are there."""
    assert sorted(p.name for p in folder.iterdir()) == sorted(FILES)
    array, *axes, measured = (np.load(folder / name) for name in ARRAYS)
    assert array.flags.c_contiguous
    assert [axis.dtype for axis in axes] == [np.float64] * 3
    assert measured.dtype == np.bool_
    assert array.shape[:3] == measured.shape == tuple(axis.size for axis in axes)
    info = json.loads((folder / "getdata.json").read_text())
    assert info["array"]["shape"] == list(array.shape)
    assert info["array"]["axes"] == ["tilt1", "tilt2", "omega", "x", "y"]
    return Result(array, axes, measured, info)


def getdata(folder: Path, *options: object, **how: Any) -> Result:
    """Run the command in this process; it must succeed."""
    assert cli.getdata(arguments(folder, *options, **how), SerialComm()) == 0
    return read_result(folder / "out" / how.get("name", "result"))


def write_scan(folder: Path, frames: Sequence[Frame], **how: Any) -> np.ndarray:
    """Write frames and background files; returns the background frames (n, y, x)."""
    write_frames(folder / "raw", frames, **how)
    return write_background(folder / "dark", SHAPE)


def failure(folder: Path, capsys: pytest.CaptureFixture[str], *options: object, **how: Any) -> str:
    """Run the command in this process; it must fail as it should. Returns its line."""
    capsys.readouterr()
    code = cli.getdata(arguments(folder, *options, **how), SerialComm())
    out, err = capsys.readouterr()
    return error_line(subprocess.CompletedProcess([], code, out, err), "getdata")


@pytest.fixture
def scan(tmp_path: Path) -> tuple[Path, list[Frame], np.ndarray]:
    """A scan of 3 x 4 x 5 positions with jitter, its files numbered at random; mean of the background."""
    frames = make_frames(AXES, SHAPE, jitter=0.08)
    dark = write_scan(tmp_path, frames)
    return tmp_path, frames, dark.mean(axis=0)


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


# ---- Files of every kind ----

MIXED_MISSING = [(0, 1, 2), (2, 3, 4)]


def mixed_frames() -> list[Frame]:
    """58 of 60 positions, of six pixel types with values of both signs and fractions."""
    frames = make_frames(AXES, SHAPE, jitter=0.08, seed=7, missing=MIXED_MISSING)
    rng = np.random.default_rng(8)
    for number, frame in enumerate(frames):
        kind = ("u2", "i4", "f4", "i2", "f8", "u4")[number % 6]
        pixels = frame.pixels.astype(np.float64)
        if kind[0] != "u":
            pixels -= 300
        if kind[0] == "f":
            pixels += rng.integers(0, 4, SHAPE) / 4
        if kind in ("i4", "u4"):
            pixels *= 100
        frame.pixels = pixels.astype(kind)
    return frames


def write_mixed(folder: Path) -> tuple[list[Frame], np.ndarray]:
    """The mixed frames in plain, packed, big-endian and multi-frame files; returns also the background."""
    frames = mixed_frames()
    raw = folder / "raw"
    raw.mkdir(parents=True)
    names = np.random.default_rng(9).permutation(len(frames))
    multi, single = frames[10:23], [*frames[:10], *frames[23:]]
    for number, frame in enumerate(single):
        suffix = (".edf", ".edf.gz", ".edf", ".edf.bz2", ".edf")[number % 5]
        path = raw / f"scan_{names[number]:04d}_{number % 3}{suffix}"
        write_edf(path, frame.pixels, motor_header(frame.motors), big_endian=number % 2 == 1)
    blocks = [edf_block(f.pixels, motor_header(f.motors), big_endian=i % 3 == 0) for i, f in enumerate(multi)]
    (raw / "scan_0007_multi.edf").write_bytes(b"".join(blocks[:6]))
    (raw / "scan_1000_multi.edf.gz").write_bytes(pack(".gz", b"".join(blocks[6:9])))
    image = fabio.edfimage.EdfImage(data=multi[9].pixels, header=motor_header(multi[9].motors))
    for frame in multi[10:]:
        image.append_frame(data=frame.pixels, header=motor_header(frame.motors))
    image.write(str(raw / "scan_1001_fabio.edf"))
    for name in ("notes.txt", "scan_0001.edf.bak", "other_0001.edf"):
        (raw / name).write_text("none of the scan's")
    return frames, write_background(folder / "dark", SHAPE)


@dataclass
class MixedRuns:
    """The mixed scan made serially and on 1, 2, 3 and 10 ranks; raw data before and after."""

    folder: Path
    frames: list[Frame]
    dark: np.ndarray
    outputs: dict[str, str]
    raw_before: dict[str, tuple[bytes, int]]


RANKS = {"serial": None, "1 rank": 1, "2 ranks": 2, "3 ranks": 3, "10 ranks": 10}


def run_script(
    *options: object, ranks: int | None = None, cwd: Path, env: dict[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """getdata.py as a user starts it."""
    launch = [] if ranks is None else [str(MPIRUN), "-n", str(ranks)]
    return subprocess.run(
        [*launch, sys.executable, str(ROOT / "getdata.py"), *(str(o) for o in options)],
        capture_output=True,
        text=True,
        timeout=120,
        cwd=cwd,
        env={**os.environ, **(env or {})},
        check=False,
    )


@pytest.fixture(scope="module")
def mixed(tmp_path_factory: pytest.TempPathFactory) -> MixedRuns:
    folder = tmp_path_factory.mktemp("mixed")
    frames, dark = write_mixed(folder)
    before = snapshot(folder / "raw")
    outputs = {}
    for name, ranks in RANKS.items():
        result = run_script(*arguments(folder, name=name), ranks=ranks, cwd=folder)
        assert result.returncode == 0, result.stderr
        outputs[name] = result.stdout
    return MixedRuns(folder, frames, dark, outputs, before)


def test_files_of_every_kind_in_one_scan(mixed: MixedRuns) -> None:
    result = read_result(mixed.folder / "out" / "serial")
    expected = expected_array(mixed.frames, GRID, POI, SIZE, mixed.dark.mean(axis=0))
    assert expected.min() < -20000
    assert expected.max() > 65535
    np.testing.assert_array_equal(result.array, as_uint16(expected))
    assert [tuple(p) for p in np.argwhere(~result.measured).tolist()] == MIXED_MISSING
    rounded = np.rint(expected[result.measured])
    assert result.info["clipped_low"] == np.count_nonzero(rounded < 0)
    assert result.info["clipped_high"] == np.count_nonzero(rounded > 65535)
    assert (result.info["n_frames"], result.info["n_files"]) == (58, 48)


@pytest.mark.parametrize("name", list(RANKS)[1:])
def test_the_bytes_do_not_depend_on_the_number_of_ranks(mixed: MixedRuns, name: str) -> None:
    """Mistakes 5 and 6: frames left over were dropped, and one pixel per block held the rank's number."""
    serial, parallel = mixed.folder / "out" / "serial", mixed.folder / "out" / name
    for file in ARRAYS:
        assert (parallel / file).read_bytes() == (serial / file).read_bytes(), file
    one, other = (json.loads((p / "getdata.json").read_text()) for p in (serial, parallel))
    assert one.pop("command") != other.pop("command")
    assert one == other
    assert mixed.outputs[name] == mixed.outputs["serial"].replace("out/serial", f"out/{name}")


def test_nothing_but_the_results_is_left(mixed: MixedRuns) -> None:
    assert sorted(p.name for p in (mixed.folder / "out").iterdir()) == sorted(RANKS)


def test_raw_data_are_not_touched(mixed: MixedRuns) -> None:
    """Mistake 13: data files were opened for writing."""
    assert snapshot(mixed.folder / "raw") == mixed.raw_before


def test_json_tells_how_the_array_was_made(mixed: MixedRuns) -> None:
    """Mistake 8: the ring current is that of the counter, 167.8 mA, not the 5.7 of a motor in its place."""
    info = read_result(mixed.folder / "out" / "3 ranks").info
    assert info["program"] == "Recon3D getdata"
    assert info["version"]
    assert "getdata.py" in info["command"]
    assert "'8,6'" in info["command"] or " 8,6 " in info["command"]
    assert info["roi"] == {"x0": 4, "y0": 4, "width": 9, "height": 4}
    assert info["motors"] == {"tilt1": "samrz", "tilt2": "samry", "omega": "diffrx"}
    assert (info["setup"], info["tilt_frame"]) == ("id06-2016", "sample")
    assert info["ring_current_ma"] == [167.777, 167.777]
    assert info["background"]["statistic"] == "mean"
    assert Path(info["datadir"]) == (mixed.folder / "raw").resolve()
    names = {p.name for p in (mixed.folder / "raw").glob("scan_*") if not p.name.endswith(".bak")}
    assert set(info["files"]) == names
    assert len(info["files"]) == info["n_frames"] == 58  # that of each frame


def test_standard_output_is_the_path_and_a_summary(mixed: MixedRuns) -> None:
    path, *summary = mixed.outputs["2 ranks"].splitlines()
    assert path == str(mixed.folder / "out" / "2 ranks" / "dataarray.npy")
    assert len(summary) == 5
    assert "3 x 4 tilts x 5 omegas x 9 x 4 pixels, uint16" in summary[0]


@pytest.mark.parametrize("n_frames", [1, 4])
def test_fewer_frames_than_ranks(tmp_path: Path, n_frames: int) -> None:
    """Mistake 13: fewer frames than ranks crashed or gave zeros. Here also fewer rows than ranks."""
    omegas = [0.8 * i for i in range(n_frames)]
    frames = make_frames({"samrz": [0.1], "samry": [0.2], "diffrx": omegas}, SHAPE)
    dark = write_scan(tmp_path, frames)
    result = run_script(*arguments(tmp_path, "--setup", "id06-2016"), ranks=5, cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    found = read_result(tmp_path / "out" / "result")
    expected = expected_array(frames, (1, 1, n_frames), POI, SIZE, dark.mean(axis=0))
    np.testing.assert_array_equal(found.array, as_uint16(expected))


# ---- Work is done once ----


@pytest.fixture(scope="module")
def recorder() -> OpenRecorder:
    return OpenRecorder()


def test_every_header_is_read_once(
    scan: Any, recorder: OpenRecorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Mistake 13: every rank read every header and every background."""
    folder, frames, _ = scan
    make_plan, for_headers = acquire.make_plan, []

    def note(*arguments: Any) -> Any:
        plan = make_plan(*arguments)
        for_headers.extend(recorder.stop())
        recorder.start(folder / "raw")
        return plan

    monkeypatch.setattr(acquire, "make_plan", note)
    recorder.start(folder)
    getdata(folder)
    for_pixels = [name for name, _, _ in recorder.stop()]
    headers = [name for name, _, _ in for_headers if name.endswith(".edf")]
    assert len(set(headers)) == len(frames) + 3
    assert len(headers) <= len(frames) + 3 + 4  # the first of each folder is read twice
    assert len(for_pixels) == len(set(for_pixels)) == len(frames)


def test_the_order_of_listdir_does_not_matter(scan: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Mistake 13: the order of listdir was assumed to be the same on all ranks."""
    folder, _, _ = scan
    first = getdata(folder)
    iterdir, scandir, listdir = Path.iterdir, os.scandir, os.listdir
    monkeypatch.setattr(Path, "iterdir", lambda self: iter(sorted(iterdir(self), reverse=True)))
    monkeypatch.setattr(os, "scandir", lambda path: sorted(scandir(path), key=lambda e: e.name, reverse=True))
    monkeypatch.setattr(os, "listdir", lambda path: sorted(listdir(path), reverse=True))
    second = getdata(folder, name="again")
    monkeypatch.undo()
    assert first.info["files"] == second.info["files"]
    np.testing.assert_array_equal(first.array, second.array)
    for one, other in zip(first.axes, second.axes, strict=True):
        assert one.tobytes() == other.tobytes()


def test_background_of_many_pixels_is_read_in_pieces(scan: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    folder, frames, dark = scan
    monkeypatch.setattr(backgrounds, "_PIXELS_AT_ONCE", 30)  # one row of three frames
    result = getdata(folder)
    expected = expected_array(frames, GRID, POI, SIZE, dark)
    np.testing.assert_array_equal(result.array, as_uint16(expected))


# ---- Duplicates ----


@pytest.fixture
def doubled(tmp_path: Path) -> tuple[Path, list[Frame], np.ndarray]:
    """A scan in which position (1, 2, 3) was measured three times; and its three frames, in file order."""
    frames = make_frames(AXES, SHAPE, jitter=0.08)
    write_frames(tmp_path / "raw", frames)
    first = next(f for f in frames if f.place == (1, 2, 3))
    others = [replace(first, pixels=first.pixels // 2 + i) for i in (1, 2)]
    for i, frame in enumerate(others):
        write_edf(tmp_path / "raw" / f"scan_9{i}99.edf", frame.pixels, motor_header(frame.motors))
    return tmp_path, frames, np.stack([first.pixels, *(f.pixels for f in others)])


def test_duplicates_are_an_error(doubled: Any, capsys: pytest.CaptureFixture[str]) -> None:
    folder, frames, _ = doubled
    line = failure(folder, capsys, background=False)
    assert "scan_9099.edf: is at the same position as scan_" in line
    assert "one of 1 such cases" in line
    assert "--duplicates first, last or mean" in line
    assert "diffrx 2.4" in line or "diffrx 2.3" in line
    assert not (folder / "out").exists() or not list((folder / "out").iterdir())


@pytest.mark.parametrize("policy", ["first", "last", "mean"])
def test_duplicates_by_option(doubled: Any, policy: str) -> None:
    folder, frames, same_place = doubled
    result = getdata(folder, "--duplicates", policy, background=False)
    chosen = {"first": same_place[0], "last": same_place[2], "mean": same_place.mean(axis=0)}[policy]
    expected = expected_array(frames, GRID, POI, SIZE)
    expected[1, 2, 3] = crop(np.asarray(chosen, dtype=np.float64), POI, SIZE)
    np.testing.assert_array_equal(result.array, as_uint16(expected))
    assert result.info["duplicates"] == policy
    assert result.info["n_duplicates"] == 2


# ---- Existing results ----


def test_an_existing_result_is_not_touched(scan: Any, capsys: pytest.CaptureFixture[str]) -> None:
    folder, _, _ = scan
    getdata(folder)
    before = snapshot(folder / "out")
    line = failure(folder, capsys, size=(3, 3))
    assert "--overwrite" in line
    assert str(folder / "out" / "result") in line
    assert snapshot(folder / "out") == before


@pytest.mark.parametrize("name", FILES)
def test_one_file_of_a_result_is_enough_to_refuse(
    scan: Any, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    folder, _, _ = scan
    (folder / "out" / "result").mkdir(parents=True)
    (folder / "out" / "result" / name).write_text("precious")
    assert f"{name}: exists" in failure(folder, capsys)
    assert (folder / "out" / "result" / name).read_text() == "precious"


def test_overwrite_replaces_the_result_and_nothing_else(scan: Any) -> None:
    folder, frames, dark = scan
    getdata(folder)
    other = folder / "out" / "result" / "grain_ang.npy"
    other.write_text("from recon3d.py")
    assert cli.getdata(arguments(folder, "--overwrite", size=(3, 3)), SerialComm()) == 0
    assert other.read_text() == "from recon3d.py"
    other.unlink()
    assert [p.name for p in (folder / "out").iterdir()] == ["result"]
    result = read_result(folder / "out" / "result")
    expected = expected_array(frames, GRID, POI, (3, 3), dark)
    np.testing.assert_array_equal(result.array, as_uint16(expected))


def test_a_failed_overwrite_leaves_the_old_result(scan: Any, capsys: pytest.CaptureFixture[str]) -> None:
    folder, _, _ = scan
    getdata(folder)
    before = snapshot(folder / "out")
    torn = sorted((folder / "raw").iterdir())[20]
    torn.write_bytes(torn.read_bytes()[:-5])
    assert torn.name in failure(folder, capsys, "--overwrite")
    assert snapshot(folder / "out") == before


def test_a_failure_while_frames_are_written_leaves_the_old_result(
    scan: Any, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file that is torn after its header was read: some frames have been written by then."""
    folder, _, _ = scan
    getdata(folder)
    before = snapshot(folder / "out")
    read, calls = RoiReader.read, []

    def tear(self: RoiReader, info: Any) -> np.ndarray:
        calls.append(info)
        if len(calls) == 30:
            Path(info.path).write_bytes(Path(info.path).read_bytes()[:-350])
        return read(self, info)

    monkeypatch.setattr(RoiReader, "read", tear)
    assert "cut short since its header was read" in failure(folder, capsys, "--overwrite")
    assert snapshot(folder / "out") == before
    assert [p.name for p in (folder / "out").iterdir()] == ["result"]


def test_remains_of_a_killed_run_are_in_nobodys_way(scan: Any) -> None:
    folder, frames, dark = scan
    getdata(folder)
    result = folder / "out" / "result"
    shutil.copytree(result, folder / "out" / ".result.part")
    shutil.rmtree(result)
    array = getdata(folder).array
    np.testing.assert_array_equal(array, as_uint16(expected_array(frames, GRID, POI, SIZE, dark)))
    assert [p.name for p in (folder / "out").iterdir()] == ["result"]


def test_the_output_folder_is_made_with_its_parents(scan: Any) -> None:
    folder, _, _ = scan
    argv = arguments(folder)
    argv[6] = str(folder / "new" / "deep" / "folder")
    assert cli.getdata(argv, SerialComm()) == 0
    read_result(folder / "new" / "deep" / "folder" / "result")


@pytest.mark.parametrize(
    ("place", "name"),
    [
        ("out", ""),
        ("out", "a/b"),
        ("out", "/tmp/x"),
        ("out", "."),
        ("out", ".."),
        ("raw/scan_0001.edf", "result"),
    ],
)
def test_an_output_folder_that_cannot_be(
    scan: Any, capsys: pytest.CaptureFixture[str], place: str, name: str
) -> None:
    folder, _, _ = scan
    argv = arguments(folder, name=name)
    argv[6] = str(folder / place)
    before = snapshot(folder)
    assert cli.getdata(argv, SerialComm()) == 1
    assert capsys.readouterr().err.startswith("getdata: error: outputdirname: ") or place != "out"
    assert snapshot(folder) == before


def test_no_clip_needs_float32(scan: Any, capsys: pytest.CaptureFixture[str]) -> None:
    folder, _, _ = scan
    assert "--no-clip" in failure(folder, capsys, "--no-clip")
    assert not (folder / "out").exists()


@pytest.mark.parametrize("value", ["-0.1", "0", "nan", "inf"])
def test_a_tolerance_that_makes_no_sense(scan: Any, capsys: pytest.CaptureFixture[str], value: str) -> None:
    folder, _, _ = scan
    capsys.readouterr()
    assert cli.getdata(arguments(folder, f"--tolerance={value}"), SerialComm()) == 2
    assert "--tolerance" in capsys.readouterr().err


# ---- Damaged files that are still readable ----


def test_a_file_that_is_too_long_is_reported(scan: Any, capsys: pytest.CaptureFixture[str]) -> None:
    folder, frames, dark = scan
    long = sorted((folder / "raw").iterdir())[7]
    long.write_bytes(long.read_bytes() + b"\xef\xbf\xbd" * 100)
    result = getdata(folder)
    np.testing.assert_array_equal(result.array, as_uint16(expected_array(frames, GRID, POI, SIZE, dark)))
    warning = f"{long}: 300 bytes follow the pixels"
    assert f"getdata: warning: {warning}" in capsys.readouterr().err
    assert [w for w in result.info["warnings"] if w.startswith(warning)]


def test_all_bad_files_are_named_at_once(scan: Any, capsys: pytest.CaptureFixture[str]) -> None:
    folder, _, _ = scan
    bad = sorted((folder / "raw").iterdir())[5:45:4]
    for path in bad:
        path.write_bytes(path.read_bytes()[:-7])
    line = failure(folder, capsys)
    assert f"(10 bad files of 60, the others: {bad[1].name} cut short" in line
    assert line.startswith(f"getdata: error: {bad[0]}: cut short")
    assert all(path.name in line for path in bad)


# ---- Bad input, the same on any number of ranks ----

Spoil = Callable[[Path], "dict[str, Any] | None"]


def _argument(number: int, value: str) -> Spoil:
    """Replace one of the eight arguments; {} in it stands for the folder of the case."""
    return lambda folder: {"replace": {number: value.format(folder)}}


def _tear(pattern: str, number: int) -> Spoil:
    def spoil(folder: Path) -> None:
        path = sorted(folder.glob(pattern))[number]
        path.write_bytes(path.read_bytes()[:-100])

    return spoil


def _two_sizes(folder: Path) -> None:
    path = sorted((folder / "raw").iterdir())[40]
    write_edf(path, np.zeros((13, 16), np.uint16), motor_header({m: v[0] for m, v in AXES.items()}))


def _other_size_of_background(folder: Path) -> None:
    write_background(folder / "dark", (17, 13))


def _motor_lists(folder: Path) -> None:
    header = motor_header({m: v[0] for m, v in AXES.items()})
    header["motor_pos"] += " 1.0"
    write_edf(sorted((folder / "raw").iterdir())[59], np.zeros(SHAPE, np.uint16), header)


def _folder_as_file(folder: Path) -> None:
    (folder / "raw" / "scan_9999.edf").mkdir()


def _no_edf(content: bytes) -> Spoil:
    def spoil(folder: Path) -> None:
        (folder / "raw" / "scan_5000.edf").write_bytes(content)

    return spoil


def _options(*options: object) -> Spoil:
    return lambda folder: {"options": [str(o) for o in options]}


BAD_INPUT: dict[str, tuple[Spoil, list[str]]] = {
    "missing datadir": (_argument(0, "{}/nowhere"), ["/nowhere: no such folder"]),
    "datadir is a file": (_argument(0, "{}/raw/scan_0000.edf"), ["scan_0000.edf: is a file"]),
    "no file of dataname": (_argument(1, "topo_"), ["/raw: no .edf", "'topo_'", "60 others"]),
    "missing bgdir": (_argument(2, "{}/nowhere"), ["/nowhere: no such folder"]),
    "no file of bgname": (_argument(3, "flat_"), ["/dark: no .edf", "'flat_'"]),
    "ROI off the left": (_argument(4, "3,6"), ["x = -1..7", "0..16"]),
    "ROI off the right": (_argument(4, "13,6"), ["x = 9..17", "0..16"]),
    "ROI off the top": (_argument(4, "8,1"), ["y = -1..2", "0..12"]),
    "ROI off the bottom": (_argument(4, "8,12"), ["y = 10..13", "0..12"]),
    "ROI of no width": (_argument(5, "0,4"), ["imgsize: 0,4"]),
    "ROI larger than the detector": (_argument(5, "18,4"), ["0..16"]),
    "motor not in the header": (_options("--omega", "nosuch"), ["--omega nosuch", "diffrx"]),
    "set-up of another beamtime": (_options("--setup", "id06-2017"), ["--setup id06-2017", "diffrz"]),
    "tolerance too small": (_options("--tolerance", 1e-9), ["less than half", "--tolerance"]),
    "frames of two sizes": (_two_sizes, ["has 16 x 13 pixels", "17 x 13"]),
    "background of another size": (_other_size_of_background, ["has 13 x 17 pixels", "17 x 13"]),
    "first file torn": (_tear("raw/*", 0), ["scan_0000.edf: cut short"]),
    "last file torn": (_tear("raw/*", 59), ["scan_0059.edf: cut short"]),
    "background torn": (_tear("dark/*", 2), ["dark_2.edf: cut short"]),
    "empty file": (_no_edf(b""), ["scan_5000.edf: cannot be read as EDF (Empty file)"]),
    "text file": (_no_edf(b"a note\n" * 300), ["scan_5000.edf: cannot be read as EDF"]),
    "folder named like a file": (_folder_as_file, ["scan_9999.edf: cannot be read as EDF"]),
    "motor lists of unequal length": (
        _motor_lists,
        ["scan_0059.edf: motor_mne names 6 but"],
    ),
    "output exists as a file": (_argument(7, "a file"), ["a file: is a file"]),
    "no-clip with uint16": (_options("--no-clip"), ["--no-clip"]),
}

MANY_RUNS = r"""
import contextlib, io, json, os, sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from lib import cli
from lib.parallel import world

comm = world()
results = []
for argv in json.loads(Path(sys.argv[2]).read_text()):
    sys.stdout, sys.stderr = io.StringIO(), io.StringIO()
    code = cli.getdata(argv, comm)
    every = comm.allgather((code, sys.stdout.getvalue(), sys.stderr.getvalue()))
    results.append(every)
sys.stdout, sys.stderr = sys.__stdout__, sys.__stderr__
if comm.rank == 0:
    print(json.dumps(results))
"""


@dataclass
class BadRuns:
    """Of each case on each number of ranks: exit codes and what all ranks wrote; what is left behind."""

    results: dict[tuple[str, str], list[tuple[int, str, str]]]
    left: dict[tuple[str, str], list[str]]


@pytest.fixture(scope="module")
def bad_runs(tmp_path_factory: pytest.TempPathFactory) -> BadRuns:
    """Each bad input serially and on 1 and 3 ranks, one after the other in one process per rank."""
    top = tmp_path_factory.mktemp("bad")
    good = top / "good"
    write_scan(good, make_frames(AXES, SHAPE, jitter=0.08))
    script = top / "many_runs.py"
    script.write_text(MANY_RUNS)
    runs = BadRuns({}, {})
    commands = {}
    for case, (spoil, _) in BAD_INPUT.items():
        folder = top / case
        shutil.copytree(good, folder, copy_function=shutil.copyfile)
        (folder / "out").mkdir()
        (folder / "out" / "a file").write_text("precious")
        change = spoil(folder) or {}
        argv = arguments(folder)
        for number, value in change.get("replace", {}).items():
            argv[number] = value
        commands[case] = [*argv, *change.get("options", [])]
    (top / "commands.json").write_text(json.dumps(list(commands.values())))
    for name, launch in {"serial": [], "1 rank": ["-n", "1"], "3 ranks": ["-n", "3"]}.items():
        mpirun = [str(MPIRUN), *launch] if launch else []
        result = subprocess.run(
            [*mpirun, sys.executable, str(script), str(ROOT), str(top / "commands.json")],
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert result.returncode == 0, result.stderr
        for case, every in zip(commands, json.loads(result.stdout), strict=True):
            runs.results[case, name] = [tuple(rank) for rank in every]
            runs.left[case, name] = sorted(p.name for p in (top / case / "out").iterdir())
            assert (top / case / "out" / "a file").read_text() == "precious"
    return runs


@pytest.mark.parametrize("name", ["serial", "1 rank", "3 ranks"])
@pytest.mark.parametrize("case", BAD_INPUT)
def test_bad_input_gives_one_line_and_nothing_else(bad_runs: BadRuns, case: str, name: str) -> None:
    ranks = bad_runs.results[case, name]
    assert len(ranks) == (3 if name == "3 ranks" else 1)
    assert {code for code, _, _ in ranks} == {1}
    out, err = ("".join(texts) for texts in list(zip(*ranks, strict=True))[1:])
    line = error_line(subprocess.CompletedProcess([], 1, out, err), "getdata")
    assert err == line + "\n"
    for words in BAD_INPUT[case][1]:
        assert words in line
    assert bad_runs.left[case, name] == ["a file"]


@pytest.mark.parametrize("case", BAD_INPUT)
def test_bad_input_is_described_alike_on_any_number_of_ranks(bad_runs: BadRuns, case: str) -> None:
    lines = {
        "".join(err for _, _, err in bad_runs.results[case, name]) for name in ("serial", "1 rank", "3 ranks")
    }
    assert len(lines) == 1


@pytest.mark.parametrize("role", ["tilt1", "tilt2", "omega"])
def test_the_wrong_motor_for_a_role_is_an_error(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], role: str
) -> None:
    """A motor that drifts all the time in place of the one that was scanned: no grid of 1 x 1 x 60."""
    frames = make_frames(AXES, SHAPE, jitter=0.08)
    for number, frame in enumerate(frames):
        frame.motors["drift"] = 0.01 * number
    write_frames(tmp_path / "raw", frames)
    line = failure(tmp_path, capsys, f"--{role}", "drift", background=False)
    assert "less than half" in line or "same position" in line


# ---- As a user starts it ----


@pytest.mark.parametrize("ranks", [None, 3])
def test_exit_code_of_bad_input(scan: Any, run: Run, ranks: int | None) -> None:
    """Rank 2 alone sees the torn file; all stop, with one line, and mpirun says 1."""
    folder, _, _ = scan
    torn = folder / "raw" / "scan_0059.edf"
    torn.write_bytes(torn.read_bytes()[:-1])
    result = run("getdata.py", *arguments(folder), ranks=ranks)
    assert error_line(result, "getdata").startswith(f"getdata: error: {torn}: cut short")
    assert not (folder / "out").exists() or not list((folder / "out").iterdir())


@pytest.mark.parametrize("ranks", [None, 3])
def test_usage_errors_are_printed_once(tmp_path: Path, run: Run, ranks: int | None) -> None:
    result = run("getdata.py", *arguments(tmp_path, "--duplicates", "all"), ranks=ranks)
    assert result.returncode == 2
    assert result.stderr.count("getdata: error: ") == 1
    assert result.stderr.count("usage: getdata") == 1
    assert "--duplicates" in result.stderr
    assert result.stdout == ""


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ([], "required"),
        (["a", "b", "-", "-", "1,2,3", "4,4", "out", "x"], "'1,2,3' must be two whole numbers"),
        (["a", "b", "-", "-", "1.5,2", "4,4", "out", "x"], "'1.5,2' must be two whole numbers"),
        (["a", "b", "-", "-", "1,2", "4", "out", "x"], "'4' must be two whole numbers"),
        (["a", "b", "-", "-", "1,2", "4,4", "out", "x", "--tolerance", "tiny"], "--tolerance"),
        (["a", "b", "-", "-", "1,2", "4,4", "out", "x", "--setup", "id03"], "--setup"),
        (["a", "b", "-", "-", "1,2", "4,4", "out", "x", "--dtype", "int8"], "--dtype"),
        (["a", "b", "-", "-", "1,2", "4,4", "out", "x", "--nosuch"], "--nosuch"),
    ],
)
def test_usage_errors(options: list[str], words: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.getdata(options, SerialComm()) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert words in err


def test_help_and_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.getdata(["--help"], SerialComm()) == 0
    shown = capsys.readouterr().out
    for option in ("--setup", "--tilt1", "--tilt2", "--omega", "--tilt-frame", "--overwrite", "--duplicates"):
        assert option in shown
    assert cli.getdata(["--version"], SerialComm()) == 0
    assert capsys.readouterr().out.startswith("Recon3D ")


def test_debug_shows_the_traceback(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.getdata(arguments(tmp_path, "--debug"), SerialComm()) == 1
    err = capsys.readouterr().err
    assert "Traceback" in err
    assert err.splitlines()[-1].startswith("getdata: error: ")


def test_progress_goes_to_standard_error(scan: Any, capsys: pytest.CaptureFixture[str]) -> None:
    folder, _, _ = scan
    argv = [a for a in arguments(folder) if a != "--quiet"]
    assert cli.getdata(argv, SerialComm()) == 0
    out, err = capsys.readouterr()
    assert "60/60 frames" in err
    assert "60/60 files" in err
    assert "100%" not in out


# ---- Without MPI ----

NO_MPI = {
    "not installed": {"__init__.py": "raise ImportError('No module named mpi4py')"},
    "no library": {"__init__.py": "", "MPI.py": "raise RuntimeError('cannot load MPI library')"},
}


def blocked_mpi(folder: Path, kind: str) -> dict[str, str]:
    """An environment in which mpi4py cannot be imported."""
    package = folder / "blocked" / "mpi4py"
    package.mkdir(parents=True)
    for name, text in NO_MPI[kind].items():
        (package / name).write_text(text + "\n")
    return {"PYTHONPATH": str(package.parent)}


@pytest.mark.parametrize("kind", NO_MPI)
def test_without_mpi_one_process_works(scan: Any, kind: str) -> None:
    folder, frames, dark = scan
    env = blocked_mpi(folder, kind)
    result = run_script(*arguments(folder), cwd=folder, env=env)
    assert result.returncode == 0, result.stderr
    array = read_result(folder / "out" / "result").array
    np.testing.assert_array_equal(array, as_uint16(expected_array(frames, GRID, POI, SIZE, dark)))


def test_without_mpi_mpirun_is_refused(scan: Any) -> None:
    """Three processes that each believe to be alone would write the same files."""
    folder, _, _ = scan
    env = blocked_mpi(folder, "not installed")
    result = run_script(*arguments(folder), ranks=3, cwd=folder, env=env)
    assert result.returncode == 1
    assert "getdata: error: mpirun: 3 processes were started, but mpi4py" in result.stderr
    assert "Traceback" not in result.stderr
    assert not (folder / "out").exists()


# ---- Ranks in trouble ----

TROUBLE = r"""
import json, os, signal, sys, time
from pathlib import Path
top, kind, *argv = sys.argv[1:]
sys.path.insert(0, top)
from lib import acquire, cli
from lib.parallel import world
from lib.sources import RoiReader

comm = world()
make_plan, read = acquire.make_plan, RoiReader.read
opened, for_headers, frames = [], [], []


def note(event, arguments):
    if event == "open" and str(arguments[0]).endswith(".edf"):
        opened.append(Path(str(arguments[0])).name)


def plan_and_note(*arguments):
    plan = make_plan(*arguments)
    for_headers.extend(opened)
    return plan


def slow(self, info):
    if "scan_" in info.path:
        frames.append(Path(info.path).name)
        if kind != "count":
            time.sleep(0.02 if comm.rank == 1 else 0.3)
        if comm.rank == 1 and len(frames) >= 5:
            if kind == "kill":
                os.kill(os.getpid(), signal.SIGKILL)
            if kind == "bug":
                raise ZeroDivisionError("a bug")
            if kind == "memory":
                raise MemoryError
    return read(self, info)


acquire.make_plan, RoiReader.read = plan_and_note, slow
sys.addaudithook(note)
code = cli.getdata(argv, comm)
every = comm.gather((sorted(set(for_headers)), frames))
if comm.rank == 0:
    Path("read.json").write_text(json.dumps(every))
raise SystemExit(code)
"""


def in_trouble(folder: Path, kind: str) -> subprocess.CompletedProcess[str]:
    """Run on 3 ranks with a rank 1 that gets into trouble after some frames, while the others are slow."""
    script = folder / "trouble.py"
    script.write_text(TROUBLE)
    command = [str(MPIRUN), "-n", "3", sys.executable, str(script), str(ROOT), kind, *arguments(folder)]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, cwd=folder, check=False)


def test_a_killed_rank_leaves_no_result(scan: Any) -> None:
    """SIGKILL in the middle of the frames: mpirun ends, no file has its final name, and a new run works."""
    folder, frames, dark = scan
    start = time.monotonic()
    result = in_trouble(folder, "kill")
    assert time.monotonic() - start < 60
    assert result.returncode != 0
    assert result.stdout.count("dataarray.npy") == 0
    assert not (folder / "out" / "result").exists()
    array = getdata(folder).array
    np.testing.assert_array_equal(array, as_uint16(expected_array(frames, GRID, POI, SIZE, dark)))
    assert [p.name for p in (folder / "out").iterdir()] == ["result"]


@pytest.mark.parametrize(
    ("kind", "line"), [("bug", "ZeroDivisionError: a bug"), ("memory", "MemoryError: MemoryError")]
)
def test_an_unforeseen_error_of_one_rank_ends_all(scan: Any, kind: str, line: str) -> None:
    """Rank 1 fails; the other two, with seconds of work before them, stop as well and clean up."""
    folder, _, _ = scan
    result = in_trouble(folder, kind)
    assert error_line(result, "getdata") == f"getdata: error: {line}"
    assert not list((folder / "out").iterdir())
    n_read = [len(frames) for _, frames in json.loads((folder / "read.json").read_text())]
    assert max(n_read[0], n_read[2]) < 15  # of their 20


def test_every_file_is_read_once_by_one_rank(scan: Any) -> None:
    """Mistakes 5 and 13: every rank read every header and every background; frames were left over."""
    folder, frames, _ = scan
    result = in_trouble(folder, "count")
    assert result.returncode == 0, result.stderr
    every = json.loads((folder / "read.json").read_text())
    headers = [name for names, _ in every for name in names]
    assert [len(names) for names, _ in every] == [21, 21, 21]
    assert len(headers) == len(set(headers)) == len(frames) + 3
    read = [name for _, names in every for name in names]
    assert [len(names) for _, names in every] == [20, 20, 20]
    assert len(read) == len(set(read)) == len(frames)
