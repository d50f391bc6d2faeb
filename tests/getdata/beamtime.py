"""BLISS masters as a beamtime leaves them: darks, alignment scans, counts and re-takes beside the scan."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import h5py
import numpy as np

from lib import cli
from lib.parallel.communicator import SerialComm

N1, N2 = 3, 4
SIZE = (8, 6)
TITLE = "fscan2d chi -0.58 0.08 3 diffry 7.12 0.06 4 0.5 0.500417"
ROLES = ("--tilt1", "chi", "--tilt2", "diffry", "--omega", "omega")

Entries = dict[str, dict[str, Any]]


def frames(seed: int, n: int, size: tuple[int, int] = SIZE) -> np.ndarray:
    """Random frames (n, y, x), none like another."""
    return np.random.default_rng(seed).integers(1, 5000, (n, size[1], size[0]), dtype=np.uint16)


def mosaicity(omega: float, seed: int, n: int = N1 * N2, **more: Any) -> dict[str, Any]:
    """The scan itself at one omega: chi slow, diffry fast; the first n frames of it."""
    i, j = np.divmod(np.arange(N1 * N2), N2)
    scanned = {"chi": (-0.58 + 0.08 * i)[:n], "diffry": (7.12 + 0.06 * j)[:n]}
    fixed = {"omega": omega, "mu": 0.0}
    return {"title": TITLE, "image": frames(seed, n), "scanned": scanned, "fixed": fixed, **more}


def darks(omega: float, seed: int, **more: Any) -> dict[str, Any]:
    """Ten frames where nothing moves."""
    fixed = {"omega": omega, "mu": 0.0, "chi": -0.58, "diffry": 7.12}
    return {"title": "loopscan 10 0.1", "image": frames(seed, 10), "fixed": fixed, **more}


def alignment(motor: str, omega: float, seed: int, **more: Any) -> dict[str, Any]:
    """Thirty-one frames along one motor, more than the scan has."""
    fixed = {"omega": omega, "mu": 0.0, "chi": -0.487, "diffry": 7.227}
    fixed.pop(motor, None)
    scanned = {motor: -0.9 + 0.04 * np.arange(31)}
    title = f"fscan {motor} -0.9 0.04 31 0.1 0.1004"
    return {"title": title, "image": frames(seed, 31), "scanned": scanned, "fixed": fixed, **more}


def write_master(path: Path, entries: Entries, camera: str = "pco_ff") -> Path:
    """A master with the frames inside; `image` may also be a link, `title` None for none."""
    with h5py.File(path, "w") as root:
        for name, entry in entries.items():
            group = root.create_group(name)
            if entry.get("title") is not None:
                group["title"] = entry["title"]
            if "end_reason" in entry:
                group["end_reason"] = entry["end_reason"]
            instrument = group.create_group("instrument")
            if "image" in entry:
                instrument.create_group(entry.get("camera", camera))["data"] = entry["image"]
            for motor, values in entry.get("scanned", {}).items():
                instrument[f"{motor}/value"] = values
                instrument[f"positioners/{motor}"] = float(np.asarray(values)[0])
            for motor, value in entry.get("fixed", {}).items():
                instrument[f"positioners/{motor}"] = value
    return path


def beamtime(n_omega: int = 3) -> Entries:
    """At every omega darks, an alignment scan, and the scan: entries 3.1, 6.1, 9.1; and slow counters."""
    entries: Entries = {}
    for k in range(n_omega):
        entries[f"{3 * k + 1}.1"] = darks(10.0 * k, 100 + k)
        entries[f"{3 * k + 2}.1"] = alignment("mu", 10.0 * k, 200 + k)
        entries[f"{3 * k + 3}.1"] = mosaicity(10.0 * k, k)
        entries[f"{3 * k + 3}.2"] = {"title": TITLE, "scanned": {"epoch": np.arange(40.0)}}
    return entries


def expected(n_omega: int = 3) -> np.ndarray:
    """The array of the scan (N1, N2, n_omega, x, y)."""
    stacks = [frames(k, N1 * N2).reshape(N1, N2, *SIZE[::-1]) for k in range(n_omega)]
    return np.stack(stacks, axis=2).swapaxes(-1, -2)


def getdata(path: Path, names: str, *options: str, background: str = "-", report: bool = False) -> int:
    """Run the command on a master, the result beside it in out/."""
    dark = ["-", "-"] if background == "-" else [path, background]
    region = [f"{SIZE[0] // 2},{SIZE[1] // 2}", f"{SIZE[0]},{SIZE[1]}"]
    flags = ["--quiet", "--overwrite"] + ([] if report else ["--no-report"])
    folder = path if path.is_dir() else path.parent
    given = [path, names, *dark, *region, folder, "out", *flags, *ROLES, *options]
    return cli.getdata([str(part) for part in given], SerialComm())
