"""Small scans as ESRF files for the tests of getdata: EDF with ID06 headers, and BLISS HDF5."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import fabio
import h5py
import numpy as np

NAMES = ("samrz", "samry", "diffrx")


def header(positions: dict[str, float], current: float | str = 190.0) -> dict[str, str]:
    """Header keys as at ID06: paired lists of motors and counters."""
    motors = {"mono": 5.67781, "obx": 50.0, **positions}
    return {
        "counter_mne": "sec srcur foc1",
        "counter_pos": f"1 {current} -nan",
        "motor_mne": " ".join(motors),
        "motor_pos": " ".join(f"{v:.9g}" for v in motors.values()),
    }


def write_edf(
    path: Path, pixels: np.ndarray, positions: dict[str, float], current: float | str = 190.0
) -> None:
    fabio.edfimage.EdfImage(data=pixels, header=header(positions, current)).write(str(path))


def blob(place: tuple[int, int, int], shape: tuple[int, int] = (20, 24)) -> np.ndarray:
    """A spot on a flat level, another one at every position."""
    y, x = np.indices(shape)
    i, j, k = place
    return (100 + (10 + i + 2 * j) * np.exp(-((y - 10) ** 2 + (x - 12 - k) ** 2) / 8.0)).astype(np.uint16)


def write_scan(
    folder: Path,
    shape: tuple[int, int, int] = (3, 2, 4),
    *,
    names: Sequence[str] = NAMES,
    steps: Sequence[float] = (0.03, 0.05, 0.8),
    pixels: Callable[[tuple[int, int, int]], np.ndarray] = blob,
    suffix: str = ".edf",
    current: Callable[[tuple[int, int, int]], Any] = lambda place: 190.0,
) -> dict[tuple[int, int, int], Path]:
    """One file per position; returns them by position."""
    folder.mkdir(parents=True, exist_ok=True)
    files = {}
    for n, place in enumerate(np.ndindex(shape)):
        path = folder / f"scan_{n:04d}{suffix}"
        positions = {name: i * step for name, i, step in zip(names, place, steps, strict=True)}
        write_edf(path, pixels(place), positions, current(place))
        files[place] = path
    return files


def arguments(
    folder: Path, out: Path, *options: object, poi: str = "12,10", size: str = "24,20"
) -> list[str]:
    """The command line of getdata.py for such a scan, without background."""
    required = [folder, "scan_", "-", "-", poi, size, out.parent, out.name, "--quiet"]
    return [str(part) for part in (*required, *options)]


def write_bliss(
    path: Path,
    entries: dict[str, dict[str, Any]],
    *,
    camera: str = "pco_ff",
    **storage: Any,
) -> None:
    """A BLISS file; of each entry `image`, the scanned motors `scanned`, the others `fixed`."""
    with h5py.File(path, "w") as root:
        for name, entry in entries.items():
            group = root.create_group(name)
            group["title"] = "fscan2d chi -0.58 0.08 26 diffry 7.12 0.06 37 0.6 0.600413"
            instrument = group.create_group("instrument")
            instrument["machine/current"] = entry.get("current", 195.2)
            if "image" in entry:
                instrument.create_dataset(f"{camera}/image", data=entry["image"], **storage)
            for number, (motor, values) in enumerate(entry.get("scanned", {}).items()):
                instrument[f"{motor}/{('value', 'data')[number % 2]}"] = values
                instrument[f"positioners/{motor}"] = float(np.asarray(values)[0])
            instrument["timer_raw/data"] = np.arange(57)
            for motor, value in entry.get("fixed", {}).items():
                instrument[f"positioners/{motor}"] = value
            group["measurement/sec"] = np.arange(3)
