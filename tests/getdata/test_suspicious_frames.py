"""getdata.html and the warnings: frozen and repeated frames, flashes, and the entries that were used."""

from __future__ import annotations

import json
from pathlib import Path

import fabio
import numpy as np
import pytest

from lib import cli
from lib.getdata.repeats import UNKNOWN, find_repeats, signature
from lib.getdata.warnings import bright_frames
from lib.parallel.communicator import SerialComm
from tests.getdata.beamtime import beamtime, getdata, mosaicity, write_master
from tests.getdata.test_getdata_report import scan, warnings
from tests.scans import arguments, write_edf

STEPS = {"samrz": 0.03, "samry": 0.05, "diffrx": 0.8}


def put(files: dict[tuple[int, int, int], Path], place: tuple[int, int, int], pixels: np.ndarray) -> None:
    """Other pixels into the file of a position."""
    positions = {name: i * step for (name, step), i in zip(STEPS.items(), place, strict=True)}
    write_edf(files[place], pixels.astype(np.uint16), positions)


def pixels_of(path: Path) -> np.ndarray:
    return fabio.open(str(path)).data.astype(np.int64)


def run(tmp_path: Path, *options: str) -> str:
    given = arguments(tmp_path / "scan", tmp_path / "out", *options, poi="24,20", size="48,40")
    assert cli.getdata(given, SerialComm()) == 0
    return warnings(tmp_path)


@pytest.fixture
def files(tmp_path: Path) -> dict[tuple[int, int, int], Path]:
    return scan(tmp_path / "scan", np.ones(12))


def test_a_frozen_detector(tmp_path: Path, files: dict[tuple[int, int, int], Path]) -> None:
    for k in (6, 7):
        put(files, (1, 1, k), pixels_of(files[1, 1, 5]))
    found = run(tmp_path)
    assert "2 frames are pixel by pixel the same as the frame before, at omega 4.8..5.6" in found
    assert f"{files[1, 1, 6]} = {files[1, 1, 5].name}" in found
    assert "far brighter" not in found
    assert "2 frames are pixel by pixel" in (tmp_path / "out" / "getdata.html").read_text()


def test_a_file_that_is_there_twice(tmp_path: Path, files: dict[tuple[int, int, int], Path]) -> None:
    put(files, (3, 2, 9), pixels_of(files[0, 0, 2]))
    found = run(tmp_path, "--threshold", "60", "--bin", "2")  # the pixels of the file count
    assert "1 frame is pixel by pixel the same as another, at omega 7.2" in found


def test_frames_without_contrast_are_no_repeats(
    tmp_path: Path, files: dict[tuple[int, int, int], Path]
) -> None:
    for place in files:
        if place[0] in (0, 3):
            put(files, place, np.zeros((40, 48)))
    assert "pixel by pixel" not in run(tmp_path)


@pytest.mark.parametrize("place", [(2, 2, 3), (0, 0, 0), (1, 1, 6)])
def test_a_flash(
    tmp_path: Path, files: dict[tuple[int, int, int], Path], place: tuple[int, int, int]
) -> None:
    """All pixels of one frame are brighter, in the bright and in the dark part of the scan."""
    put(files, place, pixels_of(files[place]) + 150)
    found = run(tmp_path)
    assert (
        f"1 frame is far brighter than those around, at omega {place[2] * 0.8:.4g}: {files[place]}" in found
    )
    assert "rises" not in found  # the omega as a whole has nothing


def test_a_frame_exposed_too_long(tmp_path: Path, files: dict[tuple[int, int, int], Path]) -> None:
    place = (1, 1, 8)
    put(files, place, 20 + 12 * (pixels_of(files[place]) - 20).clip(0))
    assert f"far brighter than those around, at omega 6.4: {files[place]}" in run(tmp_path)


def test_nothing_of_it_in_a_sound_scan(tmp_path: Path, files: dict[tuple[int, int, int], Path]) -> None:
    assert files
    assert run(tmp_path, "--background", "scan") == ""


def test_a_crystal_that_lights_up_in_single_frames_is_no_flash() -> None:
    table, floor = np.full((5, 5, 12), 20.0), np.full((5, 5, 12), 15.0)
    for k in range(12):
        table[(2 * k) % 5, (3 * k) % 5, k] = 90.0 + k
    assert not bright_frames(table, floor).any()
    table[1, 1, 5] = floor[1, 1, 5] = 60.0
    assert np.argwhere(bright_frames(table, floor)).tolist() == [[1, 1, 5]]


@pytest.mark.parametrize("n_omega", [1, 3, 12])
def test_ten_times_the_others_is_bright_in_a_small_scan_too(n_omega: int) -> None:
    frames = np.random.default_rng(0).integers(1, 5000, (3, 4, n_omega, 6, 8)).astype(float)
    assert not bright_frames(frames.mean(axis=(3, 4)), np.median(frames.min(axis=4), axis=3)).any()
    frames[1, 2, 0] *= 10
    found = bright_frames(frames.mean(axis=(3, 4)), np.median(frames.min(axis=4), axis=3))
    assert np.argwhere(found).tolist() == [[1, 2, 0]]


@pytest.mark.parametrize("shape", [(1, 1, 1), (1, 1, 7), (3, 3, 1), (2, 1, 2)])
def test_small_scans_are_no_trouble(shape: tuple[int, int, int]) -> None:
    table = np.random.default_rng(0).normal(20.0, 1.0, shape)
    assert not bright_frames(table, table - 5).any()
    table.flat[-1] = np.nan
    if table.size > 1:
        assert not bright_frames(table, table - 5).any()


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.int32, np.uint32, np.float32])
@pytest.mark.parametrize("shape", [(1, 1), (3, 5), (40, 33)])
def test_signatures_tell_frames_apart(dtype: type, shape: tuple[int, int]) -> None:
    rng = np.random.default_rng(0)
    frame = rng.integers(0, 200, shape).astype(dtype)
    one = signature(frame)
    assert signature(frame.copy()) == one
    assert signature(np.full(shape, 7, dtype)) == UNKNOWN
    if frame.size > 1:
        assert one != UNKNOWN
        for place in [(0, 0), (shape[0] - 1, shape[1] // 2)]:
            other = frame.copy()
            other[place] += 1
            assert signature(other) != one


def test_repeats_of_many_frames() -> None:
    signatures = np.array([9, 8, 8, 8, 0, 0, 9, 1], dtype=np.uint64)
    assert find_repeats(signatures) == {2: 1, 3: 2, 6: 0}
    assert find_repeats(np.zeros(0, np.uint64)) == {}


def test_ranks_agree_on_what_is_suspicious(
    tmp_path: Path, run, files: dict[tuple[int, int, int], Path]
) -> None:
    put(files, (1, 1, 6), pixels_of(files[1, 1, 5]))
    put(files, (2, 2, 3), pixels_of(files[2, 2, 3]) + 150)
    pages = []
    for ranks in (1, 3):
        options = ("--background", "scan")  # the frames stand on 20 counts
        given = arguments(tmp_path / "scan", tmp_path / f"out{ranks}", *options, poi="24,20", size="48,40")
        result = run("getdata.py", *given, ranks=ranks)
        assert result.returncode == 0, result.stderr
        pages.append(json.loads((tmp_path / f"out{ranks}" / "getdata.json").read_text())["warnings"])
    assert len(pages[0]) == 2
    assert pages[0] == pages[1]


def test_the_page_shows_the_entries(tmp_path: Path) -> None:
    entries = beamtime(2)
    entries["7.1"] = {**mosaicity(20.0, 5), "title": "<b>&"}
    path = write_master(tmp_path / "m.h5", entries)
    assert getdata(path, "*.1", background="1.1,4.1", report=True) == 0
    text = (tmp_path / "out" / "getdata.html").read_text()
    section = text.partition("<h2>Entries</h2>")[2].partition("</section>")[0]
    assert "used as frames<br>3.1, 6.1 (24 frames)" in section
    assert "used as background<br>1.1, 4.1 (20 frames)" in section
    assert (
        "left out of the frames, because it moves mu, the scan moves chi, diffry<br>2.1, 5.1 (62" in section
    )
    assert "&lt;b&gt;&amp;" in section
    assert "left out of the frames, because it moves no motor" not in section  # they are the background
    info = json.loads((tmp_path / "out" / "getdata.json").read_text())
    assert [e["n_frames"] for e in info["entries"] if e["use"] == "background"] == [10, 10]


def test_the_page_of_edf_files_has_no_entries(
    tmp_path: Path, files: dict[tuple[int, int, int], Path]
) -> None:
    run(tmp_path)
    assert "<h2>Entries</h2>" not in (tmp_path / "out" / "getdata.html").read_text()
