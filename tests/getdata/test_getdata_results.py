"""getdata.py beside what is there already: duplicates, existing results, files with something wrong."""

from __future__ import annotations

import errno
import os
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lib import cli
from lib.frames.sources import RoiReader
from lib.parallel.communicator import SerialComm
from tests.frames.edf_scan import (
    Frame,
    as_uint16,
    crop,
    expected_array,
    make_frames,
    motor_header,
    snapshot,
    write_edf,
    write_frames,
)
from tests.getdata.getdata_scan import (
    AXES,
    FILES,
    GRID,
    POI,
    SHAPE,
    SIZE,
    arguments,
    failure,
    getdata,
    read_result,
)

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


def test_a_frame_that_cannot_be_written(
    scan: Any, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A quota, or a disk that fills up where the file system sets no space aside."""
    folder, _, _ = scan
    write, calls = os.pwrite, []

    def refuse(handle: int, data: Any, place: int) -> int:
        calls.append(place)
        if len(calls) == 30:
            raise OSError(errno.EDQUOT, os.strerror(errno.EDQUOT))
        return write(handle, data, place)

    monkeypatch.setattr(os, "pwrite", refuse)
    assert "dataarray.npy: cannot be written (Disk quota exceeded); nothing" in failure(folder, capsys)
    assert not list((folder / "out").iterdir())


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
