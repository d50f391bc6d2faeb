"""getdata.py: files of every kind in one scan, each read once, the same bytes on any number of ranks."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import fabio
import numpy as np
import pytest

from lib.getdata import acquire, backgrounds
from tests.frames.edf_scan import (
    Frame,
    OpenRecorder,
    as_uint16,
    edf_block,
    expected_array,
    make_frames,
    motor_header,
    pack,
    snapshot,
    write_background,
    write_edf,
)
from tests.getdata.getdata_scan import (
    ARRAYS,
    AXES,
    GRID,
    POI,
    SHAPE,
    SIZE,
    arguments,
    getdata,
    read_result,
    run_script,
    write_scan,
)

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
