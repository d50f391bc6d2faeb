"""Pixels that are no counts: gaps, dead pixels, overflow; in frames and backgrounds of any type."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lib import cli
from lib.parallel.communicator import SerialComm
from tests.running import error_line
from tests.scans import arguments, write_bliss, write_edf

SHAPE = (2, 2, 3)
SIZE = (20, 24)  # rows, columns
GAPS = ((3, 4), (3, 5), (10, 20))  # row, column
NO_COUNT: dict[str, Any] = {"u4": 2**32 - 1, "u8": 2**64 - 1, "f4": np.nan, "f8": np.inf}


def frame(place: tuple[int, ...], kind: str, *, gaps: bool = True) -> np.ndarray:
    rng = np.random.default_rng(np.ravel_multi_index(place, SHAPE))
    pixels = rng.integers(10, 60000, SIZE).astype(kind)
    for gap in GAPS if gaps else ():
        pixels[gap] = NO_COUNT.get(kind, np.iinfo(kind).max if kind[0] in "ui" else 0)
    return pixels


def expected(kind: str, dtype: str) -> np.ndarray:
    array = np.stack([frame(place, kind, gaps=False).T for place in np.ndindex(SHAPE)])
    array = array.reshape(*SHAPE, *SIZE[::-1]).astype(dtype)
    for y, x in GAPS:
        array[..., x, y] = np.nan if dtype == "float32" else 0
    return array


def write(folder: Path, kind: str, form: str = "edf") -> tuple[str, str]:
    """The scan; returns datadir and dataname."""
    folder.mkdir(parents=True, exist_ok=True)
    places = list(np.ndindex(SHAPE))
    positions = np.array(places, dtype=float) * (0.03, 0.05, 0.8)
    if form == "edf":
        for n, place in enumerate(places):
            named = dict(zip(("samrz", "samry", "diffrx"), positions[n], strict=True))
            write_edf(folder / f"scan_{n:04d}.edf", frame(place, kind), named)
        return str(folder), "scan_"
    scanned = dict(zip(("samrz", "samry", "diffrx"), positions.T, strict=True))
    image = np.stack([frame(place, kind) for place in places])
    write_bliss(folder / "s.h5", {"1.1": {"image": image, "scanned": scanned}}, chunks=(1, *SIZE))
    return str(folder / "s.h5"), "1.1"


def command(folder: Path, data: tuple[str, str], out: Path, *options: object) -> list[str]:
    found = arguments(folder, out, *options)
    found[:2] = data
    return found


def gather(folder: Path, data: tuple[str, str], *options: object) -> tuple[np.ndarray, dict[str, Any]]:
    out = folder.parent / "out"
    assert cli.getdata(command(folder, data, out, *options, "--overwrite"), SerialComm()) == 0
    return np.load(out / "dataarray.npy"), json.loads((out / "getdata.json").read_text())


@pytest.mark.parametrize("form", ["edf", "bliss"])
@pytest.mark.parametrize("dtype", ["uint16", "float32"])
@pytest.mark.parametrize("kind", list(NO_COUNT))
def test_they_are_left_out_counted_and_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], kind: str, dtype: str, form: str
) -> None:
    data = write(tmp_path / "scan", kind, form)
    array, info = gather(tmp_path / "scan", data, "--dtype", dtype)
    np.testing.assert_array_equal(array, expected(kind, dtype))
    n = len(GAPS) * int(np.prod(SHAPE))
    assert info["unmeasured_pixels"] == n
    assert [info[key] for key in ("saturated", "clipped_low", "clipped_high")] == [0, 0, 0]
    place = "--dtype float32 keeps them apart" if dtype == "uint16" else "NaN in dataarray.npy"
    assert any(f"{n} pixels were not measured" in w and place in w for w in info["warnings"])
    assert f"getdata: warning: {n} pixels were not measured" in capsys.readouterr().err
    assert f"{n} pixels (gaps of the detector" in (tmp_path / "out" / "getdata.html").read_text()


@pytest.mark.parametrize("kind", ["u1", "u2", "i2", "i4"])
def test_the_largest_value_of_other_types_is_saturation(tmp_path: Path, kind: str) -> None:
    folder = tmp_path / "scan"
    folder.mkdir()
    pixels = np.full(SIZE, 20, kind)
    pixels[GAPS[0]] = np.iinfo(kind).max
    for n in range(3):
        write_edf(folder / f"scan_{n:04d}.edf", pixels, {"samrz": 0.1 * n, "samry": 0.0, "diffrx": 0.0})
    roles = ("--tilt1", "samrz", "--tilt2", "none", "--omega", "diffrx")
    array, info = gather(folder, (str(folder), "scan_"), *roles, "--dtype", "float32")
    assert (info["saturated"], info["unmeasured_pixels"]) == (3, 0)
    assert (array[..., GAPS[0][1], GAPS[0][0]] == np.float32(np.iinfo(kind).max)).all()


@pytest.mark.parametrize("kind", ["u4", "f4"])
@pytest.mark.parametrize(
    "options",
    [("--bin", 2), ("--hot-pixels", 5), ("--threshold", 100), ("--threshold", 100, "--min-area", 3),
     ("--normalize", "integral"), ("--background", "darkest"), ("--no-clip",)],
    ids=str,
)  # fmt: skip
def test_no_step_of_cleaning_reckons_with_them(
    tmp_path: Path, kind: str, options: tuple[object, ...]
) -> None:
    """The result is NaN there and nowhere else, and elsewhere what it would be."""
    array, _ = gather(tmp_path / "scan", write(tmp_path / "scan", kind), "--dtype", "float32", *options)
    if options[0] == "--bin":
        assert np.isfinite(array).all()  # of four pixels two are known at least
        whole = expected(kind, "float32").reshape(*SHAPE, 12, 2, 10, 2)
        np.testing.assert_allclose(array, np.nanmean(whole.astype(float), axis=(4, 6)), rtol=1e-6)
        return
    gaps = np.isnan(expected(kind, "float32"))
    np.testing.assert_array_equal(np.isnan(array), gaps)
    if options == ("--no-clip",):
        np.testing.assert_array_equal(array, expected(kind, "float32"))


@pytest.mark.parametrize("statistic", ["mean", "median"])
@pytest.mark.parametrize("kind", ["u4", "f4"])
def test_gaps_of_the_background(tmp_path: Path, kind: str, statistic: str) -> None:
    """Left out of its mean; where no background frame knows the pixel, nor does the result."""
    folder = tmp_path / "scan"
    data = write(folder, kind)
    for n in range(3):
        pixels = np.full(SIZE, 5 * (n + 1)).astype(kind)
        pixels[0, 0] = pixels[1, 1] = NO_COUNT[kind]
        if n:
            pixels[1, 1] = 7
        write_edf(folder / f"dark_{n}.edf", pixels, {})
    given = command(folder, data, tmp_path / "out", "--dtype", "float32", "--background", statistic)
    given[2:4] = [str(folder), "dark_"]
    assert cli.getdata(given, SerialComm()) == 0
    found, whole = np.load(tmp_path / "out" / "dataarray.npy"), expected(kind, "float32")
    assert np.isnan(found[..., 0, 0]).all()
    np.testing.assert_array_equal(found[..., 1, 1], whole[..., 1, 1] - 7)
    np.testing.assert_array_equal(found[..., 2:, 2:], np.maximum(whole - 10, 0)[..., 2:, 2:])
    info = json.loads((tmp_path / "out" / "getdata.json").read_text())
    assert info["unmeasured_pixels"] == 4 * np.prod(SHAPE)


def test_a_mean_of_frames_leaves_them_out(tmp_path: Path) -> None:
    folder = tmp_path / "scan"
    folder.mkdir()
    for n in range(6):
        pixels = np.full(SIZE, 10 * (n % 2 + 1), np.float32)
        pixels[2, 3] = np.nan if n % 2 else 4
        pixels[5, 6] = np.inf
        write_edf(folder / f"scan_{n}.edf", pixels, {"samrz": 0.1 * (n // 2), "samry": 0.0, "diffrx": 0.0})
    roles = ("--tilt1", "samrz", "--tilt2", "none", "--omega", "diffrx")
    array, info = gather(folder, (str(folder), "scan_"), *roles, "--dtype", "float32", "--duplicates", "mean")
    assert (array[..., 3, 2] == 4).all()
    assert np.isnan(array[..., 6, 5]).all()
    assert (array[..., 0, 0] == 15).all()
    assert info["unmeasured_pixels"] == 3


@pytest.mark.parametrize("ranks", [2, 5])
def test_ranks_agree(tmp_path: Path, run: Any, ranks: int) -> None:
    data = write(tmp_path / "scan", "u4")
    result = run(
        "getdata.py", *command(tmp_path / "scan", data, tmp_path / "out", "--dtype", "float32"), ranks=ranks
    )
    assert result.returncode == 0, result.stderr
    np.testing.assert_array_equal(np.load(tmp_path / "out" / "dataarray.npy"), expected("u4", "float32"))
    assert json.loads((tmp_path / "out" / "getdata.json").read_text())["unmeasured_pixels"] == 36


@pytest.mark.parametrize("kind", list(NO_COUNT))
@pytest.mark.parametrize("options", [(), ("--background", "darkest"), ("--bin", 2)], ids=str)
def test_a_frame_without_a_single_count_is_not_measured(
    tmp_path: Path, kind: str, options: tuple[object, ...]
) -> None:
    data = write(tmp_path / "scan", kind)
    nothing = np.full(SIZE, NO_COUNT[kind], kind)
    write_edf(tmp_path / "scan" / "scan_0004.edf", nothing, {"samrz": 0.0, "samry": 0.05, "diffrx": 0.8})
    array, info = gather(tmp_path / "scan", data, "--dtype", "float32", *options)
    measured = np.load(tmp_path / "out" / "measured.npy")
    assert np.argwhere(~measured).tolist() == info["missing_positions"] == [[0, 1, 1]]
    assert (array[0, 1, 1] == 0).all()
    assert np.isfinite(array).mean() > 0.99
    assert any("1 frames hold no count at all" in w and "scan_0004.edf" in w for w in info["warnings"])


LOST = [(), ("--normalize", "integral"), ("--bin", 2), ("--background", "darkest"), ("--background", "scan")]


@pytest.mark.parametrize("kind", list(NO_COUNT))
@pytest.mark.parametrize("options", LOST, ids=str)
@pytest.mark.parametrize("report", [(), ("--no-report",)], ids=str)
def test_a_scan_without_a_single_count_is_refused(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], kind: str, options: tuple[object, ...], report: Any
) -> None:
    data = write(tmp_path / "scan", kind)
    lose(tmp_path / "scan", kind, lambda place: True)
    given = command(tmp_path / "scan", data, tmp_path / "out", *options, *report, "--quiet")
    assert cli.getdata(given, SerialComm()) == 1
    said = capfd.readouterr().err
    assert said.startswith("getdata: error: ") and said.count("\n") == 1, said
    assert "scan_0000.edf: holds no count at all" in said and "any of the 12 frames" in said
    assert not (tmp_path / "out").exists() and not list(tmp_path.glob(".out*"))


def lose(folder: Path, kind: str, which: Callable[[tuple[int, ...]], bool]) -> None:
    """Write some frames of the scan anew, without a single count."""
    for n, place in enumerate(np.ndindex(SHAPE)):
        if which(place):
            where = np.array(place) * (0.03, 0.05, 0.8)
            named = {name: float(v) for name, v in zip(("samrz", "samry", "diffrx"), where, strict=True)}
            write_edf(folder / f"scan_{n:04d}.edf", np.full(SIZE, NO_COUNT[kind], kind), named)


@pytest.mark.parametrize("ranks", [2, 3])
def test_all_ranks_refuse_it(tmp_path: Path, run: Any, ranks: int) -> None:
    data = write(tmp_path / "scan", "u4")
    lose(tmp_path / "scan", "u4", lambda place: True)
    for options in ((), ("--background", "darkest")):
        done = run(
            "getdata.py",
            *command(tmp_path / "scan", data, tmp_path / "out", *options),
            ranks=ranks,
            timeout=60,
        )
        assert "holds no count at all" in error_line(done, "getdata")


@pytest.mark.parametrize("kind", list(NO_COUNT))
def test_an_omega_without_a_single_count_needs_no_background(tmp_path: Path, kind: str) -> None:
    """Nor do frames without a count count as lit ones, or make a dark one of its neighbour."""
    data = write(tmp_path / "scan", kind)
    _, whole = gather(tmp_path / "scan", data, "--dtype", "float32", "--background", "darkest")
    lose(tmp_path / "scan", kind, lambda place: place[2] == 1)
    array, info = gather(tmp_path / "scan", data, "--dtype", "float32", "--background", "darkest")
    measured = np.load(tmp_path / "out" / "measured.npy")
    assert measured.sum(axis=(0, 1)).tolist() == [4, 0, 4]
    assert (array[:, :, 1] == 0).all()
    assert 0 < info["background"]["level"] < 2 * whole["background"]["level"]
