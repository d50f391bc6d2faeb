"""Speed and memory of getdata.py: python -m benchmarks.getdata_speed [--full].

Writes a scan of 42 tilt pairs x 84 omegas in frames of 2048 x 2048 and compares the cost of one more
frame (the slope between 20 omegas and all, so that what is done once drops out) with a loop of
np.fromfile over just the rows of the region of interest. No two frames are alike. Only those rows are on
disk, the rest of each file is a hole, unless --full is given; nothing that getdata.py reads differs.

The same for frames in BLISS HDF5 (bitshuffle-lz4), against a loop of h5py over the region of interest.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import h5py
import hdf5plugin
import numpy as np

from benchmarks.common import MPIRUN, ROOT, table

SIZE, ROI, HEADER = 2048, 300, 3072
FIRST = SIZE // 2 - ROI // 2
TILTS = (6, 7)
FEW = 20  # omegas of the shorter run, enough for the closer look at the dark level that longer ones get
REPEATS = 5
BLISS_OMEGAS = 8


def header(tilt1: float, tilt2: float, omega: float) -> bytes:
    """A header as long as those of ID06, with 83 motors and 29 counters."""
    motors = {f"motor{i:02d}": f"{i * 1.37:.6g}" for i in range(80)}
    motors |= {"samrz": f"{tilt1:.6g}", "samry": f"{tilt2:.6g}", "diffrx": f"{omega:.6g}"}
    counters = {f"count{i:02d}": f"{i * 0.7:.6g}" for i in range(28)} | {"srcur": f"{190 + tilt1:.6g}"}
    lines = {
        "HeaderID": "EH:000001:000000:000000",
        "Image": "1",
        "ByteOrder": "LowByteFirst",
        "DataType": "UnsignedShort",
        "Dim_1": SIZE,
        "Dim_2": SIZE,
        "Size": SIZE * SIZE * 2,
        "counter_pos": " ".join(counters.values()),
        "counter_mne": " ".join(counters),
        "motor_pos": " ".join(motors.values()),
        "motor_mne": " ".join(motors),
    }
    text = "{\n" + "".join(f"{key:<14} = {value} ;\n" for key, value in lines.items())
    return (text.ljust(HEADER - 2) + "}\n").encode()


def write_scan(folder: Path, n_omega: int, *, full: bool) -> list[Path]:
    """Write the frames; each file has pixels of its own on disk."""
    rng = np.random.default_rng(0)
    rows = [rng.poisson(100, (ROI, SIZE)).astype("<u2") for _ in range(7)]
    dark = np.full((SIZE, SIZE), 100, "<u2").tobytes() if full else b""
    paths = []
    for k in range(n_omega):
        for i, j in np.ndindex(TILTS):
            path = folder / f"scan_{'few' if k < FEW else 'more'}_{k:03d}_{i * TILTS[1] + j:03d}.edf"
            jitter = rng.normal(0, 2e-4, 3)
            with path.open("wb") as file:
                file.write(header(*(np.array([0.03 * i, 0.03 * j, 0.8 * k]) + jitter)))
                file.write(dark)
                file.seek(HEADER + FIRST * SIZE * 2)
                file.write(np.roll(rows[(i + j + k) % len(rows)], rng.integers(ROI * SIZE)).tobytes())
                file.truncate(HEADER + SIZE * SIZE * 2)
            paths.append(path)
    return paths


def clocks() -> np.ndarray:
    """Wall time, and processor time of this process and those it started, in seconds."""
    used = os.times()
    return np.array([time.perf_counter(), sum(used[:4])])


def read_rows(paths: list[Path]) -> np.ndarray:
    """Seconds per frame to read just the rows: wall, processor."""
    start = clocks()
    for path in paths:
        np.fromfile(path, "<u2", count=ROI * SIZE, offset=HEADER + FIRST * SIZE * 2)
    return (clocks() - start) / len(paths)


def read_and_write_rows(paths: list[Path], target: Path) -> np.ndarray:
    """The least that any program does: also write the region of interest to one file."""
    target.unlink(missing_ok=True)
    start = clocks()
    with target.open("wb") as file:
        for path in paths:
            rows = np.fromfile(path, "<u2", count=ROI * SIZE, offset=HEADER + FIRST * SIZE * 2)
            file.write(rows.reshape(ROI, SIZE)[:, FIRST : FIRST + ROI].T.tobytes())
    return (clocks() - start) / len(paths)


def run_getdata(folder: Path, stem: str, ranks: int, *options: str, data: Path | None = None) -> np.ndarray:
    """Seconds of the whole run: wall, processor."""
    launcher = [str(MPIRUN), "-n", str(ranks)] if ranks > 1 else []
    centre, size = f"{SIZE // 2},{SIZE // 2}", f"{ROI},{ROI}"
    background = ("-", "-") if data else (str(folder), "scan_few_000_00")
    arguments = [str(data or folder), stem, *background, centre, size, str(folder), "out"]
    command = [*launcher, sys.executable, str(ROOT / "getdata.py"), *arguments, "--quiet"]
    shutil.rmtree(folder / "out", ignore_errors=True)  # to give back the memory of a file takes time too
    (folder / "floor").unlink(missing_ok=True)
    start = clocks()
    subprocess.run([*command, *options], check=True, capture_output=True, env=os.environ)
    return clocks() - start


def write_bliss(path: Path) -> None:
    """An HDF5 file with an entry for each omega; every frame is a chunk of its own, as LIMA writes them."""
    rng = np.random.default_rng(0)
    frames = [rng.poisson(100, (SIZE, SIZE)).astype("<u2") for _ in range(3)]
    pairs = np.stack([index.ravel() for index in np.indices(TILTS)], axis=1)
    with h5py.File(path, "w") as root:
        for k in range(BLISS_OMEGAS):
            entry = root.create_group(f"{k + 1}.1")
            entry["title"] = f"fscan2d mu 0 0.03 {TILTS[0]} chi 0 0.03 {TILTS[1]} 0.5 0.5"
            entry["instrument/positioners/omega"] = 0.8 * k
            for motor, index in zip(("mu", "chi"), pairs.T, strict=True):
                entry[f"instrument/{motor}/value"] = 0.03 * index
            shape = (len(pairs), SIZE, SIZE)
            data = entry.create_dataset(
                "instrument/pco/data", shape, "<u2", chunks=(1, SIZE, SIZE), **hdf5plugin.Bitshuffle()
            )
            for i in range(len(pairs)):
                data[i] = np.roll(frames[(i + k) % 3], rng.integers(SIZE * SIZE))


def read_bliss(path: Path, n_omega: int) -> np.ndarray:
    """Seconds to read the region of interest of the frames of so many omegas: wall, processor."""
    region = slice(FIRST, FIRST + ROI)
    start = clocks()
    with h5py.File(path, "r") as root:
        for k in range(n_omega):
            data = root[f"{k + 1}.1/instrument/pco/data"]
            for i in range(data.shape[0]):
                data[i, region, region]
    return clocks() - start


def measure_bliss(folder: Path) -> str:
    """Cost of one more compressed frame, getdata.py against a loop of h5py: best of several runs."""
    path = folder / "scan.h5"
    write_bliss(path)
    few = BLISS_OMEGAS // 4
    found: dict[str, list[np.ndarray]] = {}
    roles = ("--tilt1", "mu", "--tilt2", "chi", "--tilt-frame", "lab", "--no-report")
    for _ in range(REPEATS):
        for n in (few, BLISS_OMEGAS):
            found.setdefault(f"loop{n}", []).append(read_bliss(path, n))
            names = f"1.1-{n}.1"
            found.setdefault(f"get{n}", []).append(run_getdata(folder, names, 1, *roles, data=path))
    best = {name: np.min(times, axis=0) for name, times in found.items()}
    n_more = (BLISS_OMEGAS - few) * TILTS[0] * TILTS[1]
    loop, getdata = ((best[f"{w}{BLISS_OMEGAS}"] - best[f"{w}{few}"]) / n_more for w in ("loop", "get"))
    ratio = getdata / loop
    lines = [
        [name, f"{cost[0] * 1e3:.2f}", f"{cost[1] * 1e3:.2f}"]
        for name, cost in (
            ("h5py, region of interest", loop),
            ("getdata.py, one rank, one more frame", getdata),
        )
    ]
    head = ["bitshuffle-lz4", "ms per frame", "CPU ms"]
    return f"{table(head, lines)}\n\ngetdata.py: {ratio[0]:.2f} x the loop, {ratio[1]:.2f} x its CPU time.\n"


def drop_cache(paths: list[Path]) -> None:
    """Take the files out of the page cache."""
    for path in paths:
        with path.open("rb") as file:
            os.fsync(file.fileno())
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


@contextlib.contextmanager
def folder_for(name: str | None) -> Iterator[Path]:
    """The named folder, or a temporary one; removed afterwards."""
    path = Path(tempfile.mkdtemp(prefix="getdata_speed_", dir=name))
    try:
        yield path
    finally:
        shutil.rmtree(path)


def measure(folder: Path, paths: list[Path], *options: str) -> str:
    """Best of several interleaved runs of everything, as costs per frame and ratios."""
    n_more = len(paths) - FEW * TILTS[0] * TILTS[1]
    found: dict[str, list[np.ndarray]] = {}
    for _ in range(REPEATS):
        found.setdefault("rows", []).append(read_rows(paths))
        found.setdefault("floor", []).append(read_and_write_rows(paths, folder / "floor"))
        for ranks in (1, 2):
            for stem in ("scan_few", "scan_"):
                found.setdefault(f"{stem}{ranks}", []).append(run_getdata(folder, stem, ranks, *options))
    best = {name: np.min(times, axis=0) for name, times in found.items()}
    one, two = ((best[f"scan_{n}"] - best[f"scan_few{n}"]) / n_more for n in (1, 2))
    lines = []
    for name, cost in (
        ("rows only (np.fromfile)", best["rows"]),
        ("rows, and region written", best["floor"]),
        ("getdata.py, one rank, one more frame", one),
        ("getdata.py, two ranks, one more frame", two),
    ):
        ratio = cost / best["rows"]
        wall, cpu = cost * 1e6
        lines.append([name, f"{wall:.0f}", f"{ratio[0]:.2f}", f"{cpu:.0f}", f"{ratio[1]:.2f}"])
    head = [f"getdata.py {' '.join(options)}", "us per frame", "x rows only", "CPU us", "x rows only"]
    serial, parallel = best["scan_1"][0], best["scan_2"][0]
    return (
        f"{table(head, lines)}\n\nTwo ranks are {one[0] / two[0]:.2f} x faster than one. "
        f"Whole run of {len(paths)} frames: {serial:.2f} s on one rank, {parallel:.2f} s on two.\n"
    )


def main(arguments: list[str] | None = None) -> str:
    """Write the scan, measure, remove it; returns the report."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--frames-in", help="where to put the frames (default: the system's)")
    parser.add_argument("--frame-omegas", type=int, default=84)
    parser.add_argument("--full", action="store_true", help="write whole files, 8.4 MB each")
    options, _ = parser.parse_known_args(arguments)  # other sections have options of their own
    with folder_for(options.frames_in) as folder:
        paths = write_scan(folder, options.frame_omegas, full=options.full)
        parts = [measure(folder, paths, "--no-report"), measure(folder, paths)]
        peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
        drop_cache(paths)
        cold = run_getdata(folder, "scan_", 1)
        drop_cache(paths)
        rows = read_rows(paths)
        each = cold[0] / len(paths)
        parts.append(
            f"Largest memory of any process: {peak:.0f} MB. Not in the cache: {each * 1e6:.0f} us per frame, "
            f"rows only {rows[0] * 1e6:.0f} us.\n"
        )
        for frame in paths:
            frame.unlink()
        parts.append(measure_bliss(folder))
    return "\n".join(parts)


if __name__ == "__main__":
    print(main())
