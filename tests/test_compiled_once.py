"""Kernels are compiled once for all ranks, before the work; and a run with a torn cache, or none, goes on."""

from __future__ import annotations

import itertools
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tests import aligned_scan, phantoms
from tests.running import MPIRUN, ROOT

SMALL = {"grain_steps": (7, 7, 7), "sim_points": 2000, "ang_steps": (3, 3, 12)}
MLEM = SMALL | {"method": "mlem", "iterations": 1}
SCANS = {
    "nearest": SMALL,
    "counts": SMALL | {"projection": "exact", "binarize": True, "counts": True},
    "lab": SMALL | {"tilt_frame": "lab", "detector_center": "auto", "drift": "correct"},
    "mlem": MLEM | {"counts": True},
}
GAPS = ("mosaicity-counts", "mosaicity-lab", "mosaicity-nearest", "mosaicity-mlem", "rocking", "strain")
LINES = {
    "strain": {"iterations": 1},
    "rocking": {"method": "rocking", "completeness_cutoff": 0.5},
    "rocking_strain": {"iterations": 1},
}

COUNT = """
import sys
def kernels():
    own = [module for name, module in list(sys.modules.items()) if name.startswith("lib.")]
    return {f for module in own for f in vars(module).values() if hasattr(f, "overloads")}
"""

# Runs the init files of argv one after the other, each as a new process would: nothing is compiled yet.
WARMED = (
    COUNT
    + """
from lib import cli, reconstruction
from lib.checks import geometry
from lib.parallel.communicator import SerialComm
from lib.result import files
import lib.backprojection.rocking

def compiled():
    return {f"{f.py_func.__name__}{signature}" for f in kernels() for signature in f.overloads}

compile_once, warmed = reconstruction.compile_once, []
def watched(calls, comm, quiet):
    compile_once(calls, comm, quiet=quiet)
    warmed.append(compiled())
reconstruction.compile_once = geometry.compile_once = watched
files.write = lambda *_, **__: None
for program in (cli.recon3d, cli.check_geometry):
    for init in sys.argv[1:]:
        if program is cli.check_geometry and "mosaicity" not in init:
            continue
        for f in kernels():
            f._make_finalizer()()
            f._reset_overloads()
        assert program([init, "--quiet"], SerialComm()) == 0, init
        late = compiled() - warmed[-1]
        assert not late, (program, init, late)
assert min(map(len, warmed)) > 5
print("all were warmed:", len(warmed))
"""
)

# argv: an init file. Rank 0 prints how many kernels each rank has compiled, and how many it has used.
RANKS = (
    COUNT
    + """
import json
from mpi4py import MPI
from lib import cli
code = cli.recon3d([*sys.argv[1:], "--quiet", "--no-report"])
n_compiled = sum(sum(f.stats.cache_misses.values()) for f in kernels())
counts = MPI.COMM_WORLD.gather((n_compiled, sum(len(f.overloads) for f in kernels())))
if MPI.COMM_WORLD.rank == 0:
    print(json.dumps(counts))
sys.exit(code)
"""
)


@pytest.fixture(scope="module")
def scans(tmp_path_factory) -> Path:
    """A folder for each scan, with an init.txt."""
    folder = tmp_path_factory.mktemp("scans")
    for name, changes in SCANS.items():
        counts = bool(changes.get("counts"))
        keys = {key: value for key, value in changes.items() if key != "counts"}
        aligned_scan.write(
            aligned_scan.parameters(folder / f"mosaicity-{name}" / "array", **keys), counts=counts
        )
    for name, changes in LINES.items():
        (folder / name).mkdir()
        more = {"n_positions": 15, "step": 0.0021, "peak_counts": 200} if name == "strain" else {}
        case = phantoms.make_line_scan(name, n=10, n_omega=12, **more)
        init = case.write(folder / name, **changes)
        if init.name != "init.txt":
            init.rename(folder / name / "init.txt")
    for name, dtype in itertools.product(GAPS, ("uint16", "float32")):
        with_gaps(folder / name, folder / f"{name}-{dtype}", dtype)
    return folder


def with_gaps(scan: Path, folder: Path, dtype: str) -> None:
    """The scan without some of its frames, and of floats also without some of the pixels."""
    shutil.copytree(scan, folder)
    text = (folder / "init.txt").read_text()
    (folder / "init.txt").write_text(text.replace(str(scan), str(folder)))
    path = next(folder.rglob("dataarray.npy"))
    array = np.load(path).astype(dtype)
    measured = np.ones(array.shape[:3], dtype=bool)
    measured[1, -1, ::3] = False
    if dtype == "float32":
        array[..., array.shape[3] // 2, :] = np.nan
    array[~measured] = 0
    np.save(path, array)
    np.save(path.with_name("measured.npy"), measured)


def test_nothing_is_compiled_once_the_work_has_begun(scans):
    """Of every kind of scan and method, with the checks, and of recon3d-check: else every rank compiles."""
    command = [sys.executable, "-c", WARMED, *map(str, sorted(scans.rglob("init.txt")))]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300, check=False)
    n_runs = sum(2 if "mosaicity" in init else 1 for init in command[3:])
    assert n_runs == len(SCANS) * 2 + len(LINES) + 2 * (4 * 2 + 2)
    assert done.stdout.splitlines()[-1:] == [f"all were warmed: {n_runs}"], done.stderr


def run(scan: Path, n_ranks: int, cache: Path) -> tuple[list[list[int]], list[str], np.ndarray]:
    """Per rank the numbers of kernels that were compiled and used; standard error; the result."""
    command = [str(MPIRUN), "-n", str(n_ranks), sys.executable, "-c", RANKS, str(scan / "init.txt")]
    done = subprocess.run(
        command,
        cwd=ROOT,
        env=os.environ | {"NUMBA_CACHE_DIR": str(cache)},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    counts = json.loads(done.stdout.splitlines()[-1])
    return counts, done.stderr.splitlines(), np.load(scan / "array" / "grain_ang.npy")


def test_each_kernel_is_compiled_once_on_many_ranks(scans, tmp_path):
    """With an empty cache, a warm one, a torn one, and none at all; the result is always the same."""
    scan, cache = scans / "mosaicity-counts", tmp_path / "cache"
    counts, said, expected = run(scan, 4, cache)
    n = counts[0][0]
    assert n > 3 and counts == [[n, n], *([0, n] for _ in range(3))]
    assert said == []

    files = [path for path in cache.rglob("*") if path.is_file()]
    assert len(files) == 2 * n
    counts, said, found = run(scan, 2, cache)
    assert counts == [[0, n], [0, n]] and said == []
    np.testing.assert_array_equal(found, expected)

    for number, path in enumerate(sorted(files)):
        whole = path.read_bytes()
        path.write_bytes(whole[: len(whole) * (number % 4) // 4])
    counts, said, found = run(scan, 2, cache)
    assert counts == [[n, n], [0, n]]
    assert len(said) == 1 and said[0].endswith("; compiled anew"), said
    np.testing.assert_array_equal(found, expected)

    (tmp_path / "file").touch()
    counts, said, found = run(scan, 3, tmp_path / "file")
    assert counts == [[n, n], [0, n], [0, n]]
    assert len(said) == 1 and said[0].endswith("; the next run compiles them again"), said
    np.testing.assert_array_equal(found, expected)
