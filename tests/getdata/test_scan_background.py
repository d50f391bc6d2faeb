"""A background out of the scan itself (--background scan), what is left of it, and signed arrays."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from lib import cli
from lib.getdata import scan_level
from lib.parallel.communicator import SerialComm
from lib.scan import store
from lib.scan.dark import column_total, find_level
from tests.running import Run, error_line
from tests.test_install import INIT

MORE = """\
ang_steps  [5,5,14]
ang_min  [-0.2,-0.2,0.]
ang_max  [0.2,0.2,335.]
sim_halo  12
sim_pattern  3
sim_pedestal  [0,4]
"""
PLACE = ("20,18", "40,36")


@pytest.fixture(scope="module")
def raw(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Frames on a dark level of 100 counts, a halo, a pattern, and a change with omega."""
    folder = tmp_path_factory.mktemp("scan")
    text = (INIT + MORE).replace("raw/", f"{folder}/raw/")
    (folder / "init.txt").write_text(text)
    assert cli.simulate([str(folder / "init.txt"), "--quiet"], SerialComm()) == 0
    return folder / "raw"


def getdata(raw: Path, folder: Path, *options: str, dark: tuple[str, str] = ("-", "-")) -> np.ndarray:
    arguments = [str(raw), "grain_", *dark, *PLACE, str(folder), "array", "--quiet", *options]
    assert cli.getdata(arguments, SerialComm()) == 0
    return np.load(folder / "array" / store.ARRAY)


def test_the_level_is_taken_off(raw: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    array = getdata(raw, tmp_path, "--background", "scan", "--dtype", "int16")
    assert array.dtype == np.int16
    corners = array[::4, ::4]  # where no grain diffracts
    assert abs(corners.mean()) < 0.3
    by_pixel, by_omega = corners.mean(axis=(0, 1, 2)), corners.mean(axis=(0, 1, 3, 4))
    assert by_pixel.std() < 0.6
    assert np.abs(by_omega).max() < 0.6
    assert 1.5 < corners.std() < 2.6  # noise is whole
    assert "dark level" not in capsys.readouterr().err
    info = json.loads((tmp_path / "array" / store.INFO).read_text())
    assert info["background"]["statistic"] == "scan"
    assert 100 < info["background"]["level"] < 110
    assert info["background"]["left"] is None
    assert "Dark level taken off" in (tmp_path / "array" / store.REPORT).read_text()


def test_what_is_left_is_said(raw: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    getdata(raw, tmp_path)
    assert "--background scan" in capsys.readouterr().err
    info = json.loads((tmp_path / "array" / store.INFO).read_text())
    assert 100 < info["background"]["left"] < 110
    assert "Dark level left in the array" in (tmp_path / "array" / store.REPORT).read_text()


def test_same_bytes_on_any_number_of_ranks(run: Run, raw: Path, tmp_path: Path) -> None:
    expected = getdata(raw, tmp_path, "--background", "scan", "--no-report")
    done = run(
        "getdata.py",
        raw,
        "grain_",
        "-",
        "-",
        *PLACE,
        tmp_path,
        "ranks",
        "--background",
        "scan",
        "--no-report",
        ranks=3,
    )
    assert done.returncode == 0, done.stderr
    np.testing.assert_array_equal(np.load(tmp_path / "ranks" / store.ARRAY), expected)


def test_it_takes_no_files(run: Run, raw: Path, tmp_path: Path) -> None:
    done = run(
        "getdata.py", raw, "grain_", raw, "dark_", *PLACE, tmp_path, "x", "--background", "scan", ranks=2
    )
    assert "--background scan: takes no background files" in error_line(done, "getdata")


def test_one_frame_with_beam_is_enough(raw: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The level of the omega is worse for it, but that of the pixels comes from all omegas."""
    usual = scan_level.with_beam

    def one_of_omega_3(sums: np.ndarray, omegas: np.ndarray, has_current: np.ndarray) -> np.ndarray:
        lit = usual(sums, omegas, has_current)
        lit[np.flatnonzero(omegas == 3)[1:]] = False
        return lit

    monkeypatch.setattr(scan_level, "with_beam", one_of_omega_3)
    array = getdata(raw, tmp_path, "--background", "scan", "--dtype", "int16", "--no-report")
    assert np.abs(array[::4, ::4].mean(axis=(0, 1, 3, 4))).max() < 2


@pytest.mark.parametrize("dtype", ["int16", "float32"])
def test_signed_arrays_hold_what_unsigned_ones_cut(raw: Path, tmp_path: Path, dtype: str) -> None:
    dark = (str(raw), "dark_")
    more = ("--no-clip",) if dtype == "float32" else ()
    cut = getdata(raw, tmp_path / "cut", dark=dark)
    signed = getdata(raw, tmp_path / dtype, "--dtype", dtype, *more, dark=dark)
    assert (signed < 0).any()
    np.testing.assert_array_equal(np.maximum(np.rint(signed), 0), cut)


@pytest.mark.parametrize("dtype", ["uint16", "float32"])
def test_what_is_known_of_the_frames_need_not_be_read_again(raw: Path, tmp_path: Path, dtype: str) -> None:
    """The darkest frames are the same by sums that were kept as by columns of the array."""
    array = getdata(raw, tmp_path, "--no-report", "--dtype", dtype)
    scan = store.read_scan(tmp_path / "array")
    totals = np.array([[[column_total(frame) for frame in row] for row in plane] for plane in array])
    omegas = np.arange(scan.shape[2])
    (read, signal), (known, same) = find_level(scan, omegas), find_level(scan, omegas, totals)
    assert signal == same
    assert read.level is not None
    assert known.level is not None
    np.testing.assert_array_equal(read.level.pattern, known.level.pattern)
    np.testing.assert_array_equal(read.level.of_omega, known.level.of_omega)


def test_of_a_long_scan_some_omegas_are_looked_at(
    raw: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    array = getdata(raw, tmp_path, "--no-report")
    totals = np.array([[[column_total(frame) for frame in row] for row in plane] for plane in array])
    whole, _ = scan_level.left_in_array(tmp_path / "array", totals)
    monkeypatch.setattr(scan_level, "_LOOKED_AT", 12)
    some, _ = scan_level.left_in_array(tmp_path / "array", totals)
    assert whole.level is not None
    assert some.level is not None
    np.testing.assert_allclose(some.level.of_omega, whole.level.of_omega, rtol=0, atol=1.0)
    assert some.level.mean == pytest.approx(whole.level.mean, abs=0.5)
