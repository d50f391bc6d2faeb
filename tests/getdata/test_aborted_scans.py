"""Scans that were cut off or have holes: frames that were never written are not measured, and are named."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import hdf5plugin
import numpy as np
import pytest

from lib import cli
from lib.parallel.communicator import SerialComm

N1, N2, H, W = 3, 4, 6, 8
N, TAKEN = N1 * N2, 7
BITSHUFFLE = dict(hdf5plugin.Bitshuffle())
ROLES = ("--tilt1", "chi", "--tilt2", "diffry", "--omega", "omega")
CHI, DIFFRY = -0.5 + 0.08 * (np.arange(N) // N2), 7.0 + 0.06 * (np.arange(N) % N2)


def frames(k: int) -> np.ndarray:
    return np.random.default_rng(k).integers(1, 5000, (N, H, W), dtype=np.uint16)


def broken_off(values: np.ndarray) -> np.ndarray:
    return np.where(np.arange(N) < TAKEN, values, np.nan)


def write_entry(
    root: h5py.File,
    k: int,
    make: Callable[[Path, h5py.Group], None],
    chi: np.ndarray = CHI,
    diffry: np.ndarray = DIFFRY,
) -> None:
    group = root.create_group(f"{k + 1}.1/instrument")
    group["positioners/omega"] = 10.0 * k
    group["positioners/chi"], group["chi/value"] = chi[0], chi
    group["positioners/diffry"], group["diffry/data"] = diffry[0], diffry
    make(Path(root.filename).parent, group.create_group("pco"))


def whole(folder: Path, camera: h5py.Group) -> None:
    camera["data"] = frames(0)


def gather(
    folder: Path,
    make: Any,
    *options: str,
    names: str = "*.1",
    dark: Path | None = None,
    ranks: int = 1,
    run: Any = None,
    **motors: Any,
) -> tuple[int, str]:
    """Write 1.1, which is whole, and 2.1; returns the exit code and, with ranks, what was printed."""
    with h5py.File(folder / "m.h5", "w") as root:
        write_entry(root, 0, whole)
        write_entry(root, 1, make, **motors)
    background = (dark, "*.1") if dark else ("-", "-")
    arguments = [
        folder / "m.h5",
        names,
        *background,
        f"{W // 2},{H // 2}",
        f"{W},{H}",
        folder,
        "out",
        "--quiet",
    ]
    command = [str(a) for a in (*arguments, "--no-report", *ROLES, *options)]
    if ranks == 1:
        return cli.getdata(command, SerialComm()), ""
    done = run("getdata.py", *command, ranks=ranks)
    return done.returncode, done.stderr


def check(folder: Path, there: list[int]) -> list[str]:
    """The array holds the frames that are there, and says that the others are not; returns the warnings."""
    array, measured = np.load(folder / "out" / "dataarray.npy"), np.load(folder / "out" / "measured.npy")
    assert measured[:, :, 0].all()
    assert np.flatnonzero(measured[:, :, 1]).tolist() == there
    for k, numbers in enumerate((range(N), there)):
        found = array[:, :, k].reshape(N, W, H)
        for i in range(N):
            np.testing.assert_array_equal(found[i], frames(k)[i].T if i in numbers else 0)
    warnings: list[str] = json.loads((folder / "out" / "getdata.json").read_text())["warnings"]
    return warnings


def padded(folder: Path, camera: h5py.Group) -> None:
    camera["data"] = np.where(np.arange(N)[:, None, None] < TAKEN, frames(1), 0)


def chunks(*size: int, holes: tuple[int, ...] = tuple(range(TAKEN, N))) -> Callable[[Path, h5py.Group], None]:
    def make(folder: Path, camera: h5py.Group) -> None:
        data = camera.create_dataset("data", (N, H, W), np.uint16, chunks=size, **BITSHUFFLE)
        for i in range(N):
            if i not in holes:
                data[i] = frames(1)[i]

    return make


def pieces(*parts: tuple[int, int, int]) -> Callable[[Path, h5py.Group], None]:
    """Virtual: (first, last, held) of each file: its frames, and how many of them it has; 0 is no file."""

    def make(folder: Path, camera: h5py.Group) -> None:
        layout = h5py.VirtualLayout((N, H, W), np.uint16)
        for number, (first, last, held) in enumerate(parts):
            if held:
                with h5py.File(folder / f"pco{number}.h5", "w") as root:
                    root.create_dataset("data", data=frames(1)[first : first + held], chunks=(1, H, W))
            layout[first:last] = h5py.VirtualSource(f"pco{number}.h5", "data", (last - first, H, W))
        camera.create_virtual_dataset("data", layout)

    return make


def preallocated(link: bool) -> Callable[[Path, h5py.Group], None]:
    """The file of the camera was made for all frames, and got some."""

    def make(folder: Path, camera: h5py.Group) -> None:
        with h5py.File(folder / "pco.h5", "w") as root:
            chunks(1, H, W)(folder, root.create_group("g"))
        if link:
            camera["data"] = h5py.ExternalLink("pco.h5", "g/data")
        else:
            layout = h5py.VirtualLayout((N, H, W), np.uint16)
            layout[:] = h5py.VirtualSource("pco.h5", "g/data", (N, H, W))
            camera.create_virtual_dataset("data", layout)

    return make


def shorter(folder: Path, camera: h5py.Group) -> None:
    camera["data"] = frames(1)[:TAKEN]


NAN = {"chi": broken_off(CHI), "diffry": broken_off(DIFFRY)}
CUT_OFF: dict[str, tuple[Callable[[Path, h5py.Group], None], dict[str, np.ndarray]]] = {
    "padded by BLISS": (padded, NAN),
    "chunks of one frame": (chunks(1, H, W), {}),
    "chunks of parts": (chunks(1, 4, 3), {}),
    "chunks of five frames": (chunks(5, H, W), {}),
    "chunks of parts of four": (chunks(4, 4, 5), {}),
    "one chunk": (chunks(N, H, W), {}),
    "not mapped": (pieces((0, TAKEN, TAKEN)), {}),
    "not mapped, and motors": (pieces((0, TAKEN, TAKEN)), NAN),
    "a short source": (pieces((0, N, TAKEN)), {}),
    "a short second source": (pieces((0, 4, 4), (4, N, 3)), {}),
    "made for all, virtual": (preallocated(link=False), {}),
    "made for all, linked": (preallocated(link=True), {}),
    "fewer frames than positions": (shorter, {}),
}


@pytest.mark.parametrize("kind", list(CUT_OFF))
def test_a_scan_that_was_cut_off_goes_on_without_its_end(tmp_path: Path, kind: str) -> None:
    make, motors = CUT_OFF[kind]
    assert gather(tmp_path, make, **motors)[0] == 0
    (said,) = [w for w in check(tmp_path, list(range(TAKEN))) if "2.1" in w]
    assert f"m.h5::2.1: the last {N - TAKEN} frames were never written" in said


@pytest.mark.parametrize("kind", ["padded by BLISS", "chunks of five frames", "a short second source"])
def test_ranks_agree(tmp_path: Path, run: Any, kind: str) -> None:
    make, motors = CUT_OFF[kind]
    code, printed = gather(tmp_path, make, ranks=3, run=run, **motors)
    assert code == 0, printed
    check(tmp_path, list(range(TAKEN)))


HOLES: dict[str, tuple[Any, list[int], str]] = {
    "chunks": (chunks(1, H, W, holes=(3, 4)), [3, 4], r"was never written.*2 of 12 frames, within 3 to 4"),
    "the first": (chunks(2, H, W, holes=(0, 1)), [0, 1], "was never written"),
    "a file is missing": (
        pieces((0, 4, 4), (4, 8, 0), (8, N, 4)),
        [4, 5, 6, 7],
        r"1 of the files with its frames are missing: pco1\.h5; copy them \(4 of 12 frames, within 4 to 7\)",
    ),
    "the last file is missing": (pieces((0, 4, 4), (4, N, 0)), list(range(4, N)), r"missing: pco1\.h5"),
    "a file in the middle is short": (pieces((0, 4, 2), (4, N, 8)), [2, 3], "was never written"),
}


@pytest.mark.parametrize("kind", list(HOLES))
def test_a_hole_is_an_error_that_skip_bad_leaves_out(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], kind: str
) -> None:
    make, lost, message = HOLES[kind]
    assert gather(tmp_path, make)[0] == 1
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert re.search(message, error), error
    assert "m.h5::2.1: " in error
    assert "--skip-bad" in error
    assert gather(tmp_path, make, "--skip-bad")[0] == 0
    assert any("skipped" in w and "2.1" in w for w in check(tmp_path, [i for i in range(N) if i not in lost]))


def no_frames(folder: Path, camera: h5py.Group) -> None:
    camera.create_dataset("data", (0, H, W), np.uint16, maxshape=(None, H, W))


NOTHING = {
    "no chunk": chunks(1, H, W, holes=tuple(range(N))),
    "not mapped": pieces(),
    "no length": no_frames,
}


@pytest.mark.parametrize("names", ["*.1", "1.1,2.1"])
@pytest.mark.parametrize("kind", list(NOTHING))
def test_an_entry_that_was_aborted_before_its_first_frame_is_not_measured(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], kind: str, names: str
) -> None:
    def make(folder: Path, camera: h5py.Group) -> None:
        NOTHING[kind](folder, camera)
        camera.file["2.1/title"] = "fscan2d chi -0.5 0.08 3 diffry 7 0.06 4 0.5 0.5"
        camera.file["1.1/title"] = "fscan2d chi -0.5 0.08 3 diffry 7 0.06 4 0.5 0.5"

    assert gather(tmp_path, make, names=names)[0] == 0
    (said,) = [line for line in capsys.readouterr().err.splitlines() if "2.1" in line]
    assert "warning: left out" in said
    assert "m.h5::2.1 (fscan2d chi -0.5 0.08 3 diffry 7 0.06 4 0.5 0.5), which is not measured: " in said
    assert "aborted" in said
    assert np.load(tmp_path / "out" / "measured.npy").shape == (N1, N2, 1)
    _, use = json.loads((tmp_path / "out" / "getdata.json").read_text())["entries"]
    assert use["not_measured"]


@pytest.mark.parametrize("kind", list(NOTHING))
def test_it_is_an_error_where_nothing_at_all_was_written(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], kind: str
) -> None:
    assert gather(tmp_path, NOTHING[kind], names="2.1")[0] == 1
    error = capsys.readouterr().err
    assert error.startswith("getdata: error: ")
    assert "m.h5::2.1: " in error
    assert "aborted" in error


def test_ranks_agree_on_an_entry_without_frames(tmp_path: Path, run: Any) -> None:
    code, printed = gather(tmp_path, NOTHING["no chunk"], ranks=3, run=run)
    assert code == 0, printed
    assert np.load(tmp_path / "out" / "measured.npy").shape == (N1, N2, 1)


def test_an_aborted_background_is_left_out_beside_others(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with h5py.File(tmp_path / "dark.h5", "w") as root:
        for k, make in enumerate((whole, NOTHING["no chunk"])):
            make(tmp_path, root.create_group(f"{k + 1}.1/instrument/pco"))
            root[f"{k + 1}.1/title"] = "loopscan 12 0.5"
    assert gather(tmp_path, padded, "--overwrite", dark=tmp_path / "dark.h5")[0] == 0
    assert "dark.h5::2.1 (loopscan 12 0.5), which is not measured: " in capsys.readouterr().err


def test_a_scan_whose_files_are_all_missing_is_an_error(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert gather(tmp_path, pieces((0, N, 0)))[0] == 1
    assert "m.h5::2.1: " in capsys.readouterr().err
    assert gather(tmp_path, pieces((0, N, 0)), "--skip-bad")[0] == 0
    assert np.load(tmp_path / "out" / "measured.npy").shape == (N1, N2, 1)


def test_one_motor_that_breaks_off_is_no_end_of_the_scan(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def make(folder: Path, camera: h5py.Group) -> None:
        camera["data"] = frames(1)

    assert gather(tmp_path, make, diffry=broken_off(DIFFRY))[0] == 1
    assert "m.h5::2.1" in capsys.readouterr().err


def test_frames_that_are_zero_are_named(tmp_path: Path) -> None:
    """Zeros that were written may be counts: they stay, with a warning."""
    assert gather(tmp_path, padded)[0] == 0
    warnings = json.loads((tmp_path / "out" / "getdata.json").read_text())["warnings"]
    assert any(f"{N - TAKEN} frames are zero in every pixel, first" in w and "2.1[7]" in w for w in warnings)
