"""Made-up scans for the tests of getdata.py, and ways to run it on them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lib import cli
from lib.parallel.communicator import SerialComm
from tests.frames.edf_scan import Frame, make_frames, write_background, write_frames
from tests.running import ROOT, error_line, launcher

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


def run_script(
    *options: object, ranks: int | None = None, cwd: Path, env: dict[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """getdata.py as a user starts it."""
    return subprocess.run(
        [*launcher(ranks), sys.executable, str(ROOT / "getdata.py"), *(str(o) for o in options)],
        capture_output=True,
        text=True,
        timeout=120,
        cwd=cwd,
        env={**os.environ, **(env or {})},
        check=False,
    )


def small_scan(tmp_path: Path) -> tuple[Path, list[Frame], np.ndarray]:
    """A scan of 3 x 4 x 5 positions with jitter, its files numbered at random; mean of the background."""
    frames = make_frames(AXES, SHAPE, jitter=0.08)
    dark = write_scan(tmp_path, frames)
    return tmp_path, frames, dark.mean(axis=0)
