"""What real scans do to getdata: torn, odd and missing files, killed ranks, full disks, Ctrl-C."""

from __future__ import annotations

import bz2
import contextlib
import ctypes
import gzip
import json
import os
import shutil
import signal
import subprocess
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from lib import cli
from lib.errors import Recon3DError
from lib.frames import edf
from lib.frames.sources import HeaderReader
from lib.parallel.communicator import SerialComm
from lib.scan.store import ArrayFile
from tests.running import error_line
from tests.scans import NAMES, arguments, blob, write_edf, write_scan
from tests.slow_run import launch, ranks_of, slow_scan

SHAPE = (3, 2, 4)


def serial(*argv: object) -> int:
    return cli.getdata([str(a) for a in argv], SerialComm())


def result(out: Path) -> tuple[np.ndarray, np.ndarray, dict[str, Any]]:
    info = json.loads((out / "getdata.json").read_text())
    return np.load(out / "dataarray.npy"), np.load(out / "measured.npy"), info


def nothing_left(folder: Path, name: str = "out") -> None:
    assert not (folder / name).exists()
    assert not (folder / f".{name}.part").exists()


def spoil(files: dict[tuple[int, int, int], Path]) -> dict[str, tuple[int, int, int]]:
    """Every kind of bad file, by what the message must say of it."""
    kinds = {"cut short": (0, 0, 1), "20 x 24 pixels": (1, 1, 0), "no number": (2, 0, 3), "as EDF": (2, 1, 3)}
    torn = files[kinds["cut short"]]
    torn.write_bytes(torn.read_bytes()[:-700])
    write_edf(files[kinds["20 x 24 pixels"]], blob((0, 0, 0)).T.copy(), dict.fromkeys(NAMES, 0.0))
    write_edf(files[kinds["no number"]], blob((0, 0, 0)), {"samrz": 0.06, "samry": np.nan, "diffrx": 2.4})
    files[kinds["as EDF"]].write_bytes(b"\0" * 5000)
    return kinds


@pytest.mark.parametrize("ranks", [None, 3])
def test_all_bad_files_are_listed_at_once(tmp_path: Path, run: Any, ranks: int | None) -> None:
    kinds = spoil(files := write_scan(tmp_path / "scan", SHAPE))
    failed = run("getdata.py", *arguments(tmp_path / "scan", tmp_path / "out"), ranks=ranks)
    line = error_line(failed, "getdata")
    assert "4 bad files of 24" in line
    for what, place in kinds.items():
        assert files[place].name in line
        assert what in line
    nothing_left(tmp_path)


@pytest.mark.parametrize("ranks", [None, 3])
def test_skip_bad_does_without_them(tmp_path: Path, run: Any, ranks: int | None) -> None:
    kinds = spoil(files := write_scan(tmp_path / "scan", SHAPE))
    done = run("getdata.py", *arguments(tmp_path / "scan", tmp_path / "out", "--skip-bad"), ranks=ranks)
    assert done.returncode == 0, done.stderr
    array, measured, info = result(tmp_path / "out")
    assert sorted(map(tuple, np.argwhere(~measured).tolist())) == sorted(kinds.values())
    assert {Path(item["file"]).name for item in info["skipped"]} == {files[p].name for p in kinds.values()}
    for place in np.ndindex(SHAPE):
        expected = blob(place) if measured[place] else np.zeros((20, 24))
        np.testing.assert_array_equal(array[place], expected.T)
    for path in (files[p] for p in kinds.values()):
        assert f"skipped {path}" in done.stderr


def test_background_files_need_no_motors(tmp_path: Path) -> None:
    write_scan(tmp_path / "scan", SHAPE)
    for n in range(3):
        edf.write_frame(tmp_path / f"dark_{n}.edf", np.full((20, 24), 90 + n, np.uint16), {})
    command = arguments(tmp_path / "scan", tmp_path / "out")
    command[2:4] = [str(tmp_path), "dark_"]
    assert serial(*command) == 0
    np.testing.assert_array_equal(result(tmp_path / "out")[0][1, 1, 1], blob((1, 1, 1)).T - 91)


def test_nothing_but_bad_files(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for path in write_scan(tmp_path / "scan", (1, 1, 2)).values():
        path.write_bytes(b"")
    assert serial(*arguments(tmp_path / "scan", tmp_path / "out", "--skip-bad")) == 1
    assert "cannot be read as EDF" in capsys.readouterr().err


def test_a_file_that_is_too_long_is_reported(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    files = write_scan(tmp_path / "scan", SHAPE)
    with files[1, 1, 1].open("ab") as file:
        file.write(b"\xef\xbf\xbd" * 100)
    assert serial(*arguments(tmp_path / "scan", tmp_path / "out")) == 0
    assert f"{files[1, 1, 1]}: 300 bytes follow the pixels" in capsys.readouterr().err
    np.testing.assert_array_equal(result(tmp_path / "out")[0][1, 1, 1], blob((1, 1, 1)).T)


@pytest.mark.parametrize(("suffix", "pack"), [(".gz", gzip.compress), (".bz2", bz2.compress)])
def test_compressed_files_sound_torn_and_too_long(tmp_path: Path, suffix: str, pack: Any) -> None:
    plain = tmp_path / "plain.edf"
    write_edf(plain, blob((1, 1, 1)), dict.fromkeys(NAMES, 1.0))
    path = tmp_path / f"scan.edf{suffix}"
    path.write_bytes(pack(plain.read_bytes()))
    assert edf.read_headers(str(path))[0][0].excess_bytes == 0
    path.write_bytes(pack(plain.read_bytes() + b"\xef\xbf\xbd" * 1000))
    assert edf.read_headers(str(path))[0][0].excess_bytes == 3000
    for torn in (pack(plain.read_bytes()[:-300]), pack(plain.read_bytes())[:-40]):
        path.write_bytes(torn)
        with pytest.raises(edf.Recon3DError, match="cut short|cannot be read as EDF"):
            edf.read_headers(str(path))


@pytest.mark.parametrize("dtype", ["u1", "<u2", ">u2", "<i4", ">i4", "<u4", "<f4", ">f8"])
def test_types_byte_orders_and_frames_of_one_file(tmp_path: Path, dtype: str) -> None:
    """Written by hand, so that nothing but this test decides what the bytes mean."""
    kinds = {"u1": "UnsignedByte", "u2": "UnsignedShort", "i4": "SignedInteger", "u4": "UnsignedInteger"}
    kind = {**kinds, "f4": "FloatValue", "f8": "DoubleValue"}[dtype.lstrip("<>")]
    order = "HighByteFirst" if dtype[0] == ">" else "LowByteFirst"
    frames = np.random.default_rng(0).integers(0, 200, (3, 7, 9)).astype(dtype)
    content = b""
    for n, frame in enumerate(frames):
        head = f"{{\nImage = {n} ;\nByteOrder = {order} ;\nDataType = {kind} ;\nDim_1 = 9 ;\nDim_2 = 7 ;\n"
        head += f"Size = {frame.nbytes} ;\nmotor_mne = a b ;\nmotor_pos = 1 {n} ;\n"
        content += (head.ljust(510) + "}\n").encode() + frame.tobytes()
    path = tmp_path / "multi.edf"
    path.write_bytes(content)
    found = edf.read_headers(str(path))
    assert [motors["b"] for _, motors in found] == [0.0, 1.0, 2.0]
    for (info, _), frame in zip(found, frames, strict=True):
        roi = edf.Roi(2, 1, 5, 4)
        np.testing.assert_array_equal(edf.read_roi(info, roi), frame[1:5, 2:7])
        np.testing.assert_array_equal(edf.read_roi(info, roi, range(1, 3)), frame[2:4, 2:7])


def test_a_roi_of_more_rows_than_one_read_can_scatter(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 60000, (1300, 40), dtype=np.uint16)
    write_edf(tmp_path / "tall.edf", pixels, {"a": 1.0})
    info = edf.read_headers(str(tmp_path / "tall.edf"))[0][0]
    for roi in (edf.Roi(3, 20, 30, 1200), edf.Roi(0, 0, 40, 1300)):
        expected = pixels[roi.y0 : roi.y0 + roi.height, roi.x0 : roi.x0 + roi.width]
        np.testing.assert_array_equal(edf.read_roi(info, roi), expected)


def test_headers_read_by_their_differences_are_those_of_fabio(tmp_path: Path) -> None:
    """Among alike files: another size, another byte order, another set of motors, a long file."""
    files = list(write_scan(tmp_path, (2, 2, 3)).values())
    write_edf(files[3], blob((0, 0, 0)).T.copy(), {"samrz": 1.0})
    files[5].write_bytes(files[5].read_bytes().replace(b"LowByteFirst ", b"HighByteFirst"))
    write_edf(files[7], blob((0, 0, 0)), {"samrz": 1.0, "other": 2.0}, current="-nan")
    with files[9].open("ab") as file:
        file.write(b"  ")
    reader = HeaderReader()
    for path in files:
        assert reader.read(str(path)) == edf.read_headers(str(path))


def test_duplicates(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    files = write_scan(tmp_path / "scan", SHAPE)
    again = tmp_path / "scan" / "scan_9999.edf"
    write_edf(again, blob((1, 0, 2)) + np.uint16(7), {"samrz": 0.03, "samry": 0.0, "diffrx": 1.6})
    command = arguments(tmp_path / "scan", tmp_path / "out", "--overwrite")
    assert serial(*command) == 1
    message = capsys.readouterr().err
    assert f"{again}: is at the same position as {files[1, 0, 2].name} (samrz 0.03" in message
    for policy, added in (("first", 0), ("last", 7), ("mean", 3.5)):
        assert serial(*command, "--duplicates", policy) == 0
        array, _, info = result(tmp_path / "out")
        np.testing.assert_allclose(array[1, 0, 2], blob((1, 0, 2)).T + added, atol=0.5)
        assert info["n_duplicates"] == 1


def test_nothing_is_lost_with_more_ranks_than_frames(tmp_path: Path, run: Any) -> None:
    write_scan(tmp_path / "scan", (1, 1, 3))
    roles = ("--tilt1", "samrz", "--tilt2", "samry", "--omega", "diffrx")
    for ranks in (1, 5):
        done = run("getdata.py", *arguments(tmp_path / "scan", tmp_path / f"out{ranks}", *roles), ranks=ranks)
        assert done.returncode == 0, done.stderr
    for name in ("dataarray", "tilt1", "tilt2", "omega", "measured"):
        one, five = ((tmp_path / f"out{ranks}" / f"{name}.npy").read_bytes() for ranks in (1, 5))
        assert one == five


@pytest.mark.parametrize("dtype", ["uint16", "float32"])
def test_cleaned_bytes_do_not_depend_on_the_ranks(tmp_path: Path, run: Any, dtype: str) -> None:
    write_scan(tmp_path / "scan", (3, 3, 4), current=lambda place: 150.0 + place[0] + 7 * place[2])
    options = ["--background", "darkest", "--normalize", "integral", "--hot-pixels", "5", "--dtype", dtype]
    contents = []
    for ranks in (1, 3):
        out = tmp_path / f"out{ranks}"
        done = run("getdata.py", *arguments(tmp_path / "scan", out, *options), ranks=ranks)
        assert done.returncode == 0, done.stderr
        contents.append([(out / f"{n}.npy").read_bytes() for n in ("dataarray", "omega", "measured")])
    assert contents[0] == contents[1]


@pytest.mark.parametrize("ranks", [None, 3])
def test_interrupted_run_leaves_nothing_and_can_be_repeated(tmp_path: Path, ranks: int | None) -> None:
    slow_scan(tmp_path / "scan")
    process = launch(tmp_path / "scan", tmp_path / "out", ranks)
    process.send_signal(signal.SIGINT)
    stdout, stderr = process.communicate(timeout=60)
    assert process.returncode != 0
    assert "Traceback" not in stderr
    assert "dataarray.npy" not in stdout
    assert not (tmp_path / "out").exists()
    if ranks is None:
        assert stderr.endswith("getdata: error: interrupted\n")
        nothing_left(tmp_path)
    assert serial(*arguments(tmp_path / "scan", tmp_path / "out", poi="200,200", size="20,20")) == 0
    assert not (tmp_path / ".out.part").exists()


def test_killed_rank_leaves_no_result_and_no_hang(tmp_path: Path) -> None:
    slow_scan(tmp_path / "scan")
    process = launch(tmp_path / "scan", tmp_path / "out", 3)
    pids = ranks_of(tmp_path / "out")
    assert len(pids) == 3
    os.kill(pids[-1], signal.SIGKILL)
    process.communicate(timeout=60)
    assert process.returncode != 0
    assert not (tmp_path / "out").exists()
    assert serial(*arguments(tmp_path / "scan", tmp_path / "out", poi="200,200", size="20,20")) == 0


@pytest.fixture
def small_disk(tmp_path: Path) -> Any:
    """A file system of 32 MB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.mount(b"tmpfs", os.fsencode(folder), b"tmpfs", 0, b"size=32m"):
        pytest.skip(f"the kernel refuses to mount a tmpfs: {os.strerror(ctypes.get_errno())}")
    yield folder
    libc.umount2(os.fsencode(folder), 2)


def fill(disk: Path) -> Path:
    """Leave no room on the disk."""
    path = disk / "filler"
    with path.open("wb", buffering=0) as file, contextlib.suppress(OSError):
        while True:
            file.write(b"x" * 4096)
    return path


@pytest.mark.parametrize("ranks", [None, 3])
def test_full_disk(tmp_path: Path, small_disk: Path, run: Any, ranks: int | None) -> None:
    """First full from the start, then filling up among the frames; at last there is room."""
    slow_scan(tmp_path / "scan")
    options = arguments(tmp_path / "scan", small_disk / "out", poi="200,200", size="400,400")
    filler = fill(small_disk)
    line = error_line(run("getdata.py", *options, ranks=ranks), "getdata")
    assert "0 GB are free, the array needs 0.0288 GB" in line
    filler.unlink()
    process = launch(tmp_path / "scan", small_disk / "out", ranks)
    filler = fill(small_disk)
    stdout, stderr = process.communicate(timeout=60)
    failed = subprocess.CompletedProcess(process.args, process.returncode, stdout, stderr)
    line = error_line(failed, "getdata")
    assert f"{small_disk / 'out'}: cannot be written (No space left on device); nothing was kept" in line
    nothing_left(small_disk)
    filler.unlink()
    done = run("getdata.py", *options, "--no-report", ranks=ranks)
    assert done.returncode == 0, done.stderr


def test_the_space_of_the_array_is_taken_at_the_start(small_disk: Path) -> None:
    path = small_disk / "array.npy"
    ArrayFile.create(path, (2, 2, 50, 100, 100), np.dtype("<u2"))
    assert path.stat().st_blocks * 512 >= path.stat().st_size > 4_000_000
    assert not np.load(path, mmap_mode="r").any()


def test_a_quota_is_found_before_the_work(small_disk: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The disk says that it has room, but not for this user."""
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=10**12))
    with pytest.raises(Recon3DError, match=r"array\.npy: cannot be made \(No space left .* 0\.04 GB"):
        ArrayFile.create(small_disk / "array.npy", (2, 2, 1, 1000, 10000), np.dtype("<u1"))
