"""Small BLISS scans for the tests of positions, and getdata.py run on them."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from lib import cli
from lib.parallel.communicator import SerialComm

HEIGHT, WIDTH = 3, 4
ROLES = ("--tilt1", "chi", "--tilt2", "diffry", "--omega", "omega")


@dataclass
class Taken:
    """Frames (n, y, x) and where each was taken, for the expected array."""

    frames: np.ndarray
    tilt1: np.ndarray
    tilt2: np.ndarray
    omega: np.ndarray
    left_out: Sequence[int] = field(default_factory=tuple)

    def check(self, out: Path, atol: float = 2e-3) -> None:
        """The array in `out` holds each frame at its place, and nothing else."""
        array, measured = np.load(out / "dataarray.npy"), np.load(out / "measured.npy")
        places = [np.round(v, 2) for v in (self.tilt1, self.tilt2, self.omega)]
        axes = [np.unique(v) for v in places]
        for name, axis in zip(("tilt1", "tilt2", "omega"), axes, strict=True):
            np.testing.assert_allclose(np.load(out / f"{name}.npy"), axis, atol=atol, rtol=0)
        expected = np.zeros_like(measured)
        index = np.array([np.searchsorted(a, v) for a, v in zip(axes, places, strict=True)]).T
        for number, place in enumerate(map(tuple, index)):
            if number not in self.left_out:
                np.testing.assert_array_equal(array[place], self.frames[number].T)
                expected[place] = True
        np.testing.assert_array_equal(measured, expected)


def pixels(n: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(1, 4000, (n, HEIGHT, WIDTH), dtype=np.uint16)


def write(path: Path, entries: Sequence[dict[str, Any]]) -> Path:
    """A file with entries 1.1, 2.1, ...: datasets by their path in each, `frames` those of the camera."""
    with h5py.File(path, "w") as root:
        for number, content in enumerate(entries, start=1):
            group = root.create_group(f"{number}.1")
            for place, value in content.items():
                where = "instrument/pco_ff/image" if place == "frames" else place
                group[where] = np.bytes_(value) if isinstance(value, str) else value
    return path


def scan(path: Path, change: Callable[[dict[str, Any], int], None] | None = None, n: int = 2) -> Taken:
    """n entries of 3 x 4 frames in chi and diffry, 10 degrees of omega apart; `change` alters each."""
    row, place = np.divmod(np.arange(12), 4)
    chi, diffry = 0.1 * row, 7.0 + 0.06 * place
    entries = []
    for k in range(n):
        content: dict[str, Any] = {
            "frames": pixels(12, k),
            "instrument/chi/value": chi,
            "instrument/diffry/data": diffry,
            "instrument/positioners/chi": 0.0,
            "instrument/positioners/diffry": 7.0,
            "instrument/positioners/omega": 10.0 * k,
        }
        if change is not None:
            change(content, k)
        entries.append(content)
    write(path, entries)
    frames = np.concatenate([entry["frames"] for entry in entries])
    return Taken(frames, np.tile(chi, n), np.tile(diffry, n), np.repeat(10.0 * np.arange(n), 12))


def run(path: Path, out: Path, *options: object, names: str = "*.1", roles: Sequence[str] = ROLES) -> int:
    arguments = [path, names, "-", "-", f"{WIDTH // 2},{HEIGHT // 2}", f"{WIDTH},{HEIGHT}"]
    given = [*arguments, out.parent, out.name, "--quiet", "--no-report", "--overwrite", *roles, *options]
    return cli.getdata([str(a) for a in given], SerialComm())


def failure(capsys: pytest.CaptureFixture[str], *how: Any, **more: Any) -> str:
    """The line of a run that must fail as it should."""
    capsys.readouterr()
    assert run(*how, **more) == 1
    lines = capsys.readouterr().err.strip().splitlines()
    assert len(lines) == 1, lines
    assert lines[0].startswith("getdata: error: ")
    return lines[0]


def info(out: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((out / "getdata.json").read_text())
    return found
