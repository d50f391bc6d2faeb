"""recon3d.py on any number of ranks: the same bytes as on one, and a failure of one rank ends all."""

from __future__ import annotations

import json
import subprocess
import sys
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.backprojection import reference
from tests.backprojection.recon3d_bad_input import (
    BAD,
    BAD_NAMES,
    SCAN,
    Outcome,
    check_failure,
    listing,
    make_bad_folder,
)
from tests.backprojection.recon3d_command import BASE, RESULTS, assert_same, read_result, run_in_process
from tests.backprojection.reference import Scan, made_up_scan, write_init, write_scan
from tests.running import MPIRUN, ROOT, error_line

# Runs jobs one after the other on all ranks, as recon3d.py would: starting MPI takes longer than a job.
# argv: folder of jobs.json. A job has a name, an init file, and perhaps a fault: the number of frames
# that the last rank can read before its disk fails. Each rank leaves <name>.<rank>.json. A rank that is
# still at a job 15 s after another has left it would wait for ever, and ends them all.
JOBS = """
import contextlib, io, json, os, sys, threading, time
from pathlib import Path
from mpi4py import MPI
from lib import cli
from lib.scan.store import ArrayFile

rank, size = MPI.COMM_WORLD.rank, MPI.COMM_WORLD.size
folder = Path(sys.argv[1])
read = ArrayFile.read_columns
name = "nothing"

def watch():
    while True:
        time.sleep(0.5)
        here = name
        left = [time.time() - path.stat().st_mtime for path in folder.glob(f"{here}.*.json")]
        if left and max(left) > 15 and name == here:
            os._exit(99)

threading.Thread(target=watch, daemon=True).start()
for job in json.loads((folder / "jobs.json").read_text()):
    frames = job["fault"] if "fault" in job and rank == size - 1 else 10**9
    def read_while_it_works(*arguments):
        global frames
        frames -= 1
        if frames < 0:
            raise OSError(5, "Input/output error")
        return read(*arguments)
    ArrayFile.read_columns = read_while_it_works
    name = job["name"]
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = cli.recon3d([job["init"], "--quiet", "--no-report"])
    result = {"code": code, "out": out.getvalue(), "err": err.getvalue()}
    name = "nothing"
    (folder / f"{job['name']}.{rank}.part").write_text(json.dumps(result))
    (folder / f"{job['name']}.{rank}.part").rename(folder / f"{job['name']}.{rank}.json")
"""


def run_jobs(folder: Path, n_ranks: int, jobs: list[dict[str, Any]]) -> dict[str, Outcome]:
    """What each job would leave behind as a process: the exit code and all that the ranks printed."""
    folder.mkdir()
    (folder / "jobs.json").write_text(json.dumps(jobs))
    command = [str(MPIRUN), "-n", str(n_ranks), sys.executable, "-W", "error", "-c", JOBS, str(folder)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300, check=False)
    outcomes = {}
    for name in (job["name"] for job in jobs):
        paths = [folder / f"{name}.{rank}.json" for rank in range(n_ranks)]
        ranks = [json.loads(path.read_text()) for path in paths if path.exists()]
        if len(ranks) == n_ranks:
            codes = {rank["code"] for rank in ranks}
            assert len(codes) == 1, f"{name}: the ranks do not agree"
            printed = ("".join(rank[stream] for rank in ranks) for stream in ("out", "err"))
            outcomes[name] = subprocess.CompletedProcess(command, codes.pop(), *printed)
        else:  # 99: some have left, the others would wait for ever
            outcomes[name] = subprocess.CompletedProcess(command, done.returncode, done.stdout, done.stderr)
    return outcomes


VOLUMES: dict[str, dict[str, Any]] = {  # five slabs along the rotation axis
    "horizontal": {"completeness_cutoff": 0},
    "vertical": {"mode": "vertical", "grain_steps": [4, 6, 5], "tilt_frame": "lab"},
}
N_SLABS = 5


def volume_scan(name: str) -> Scan:
    return made_up_scan(seed=11).with_dtype("<f4" if name == "vertical" else "<u2")


@lru_cache
def volume_reference(name: str) -> dict[str, np.ndarray]:
    return reference.reconstruct({**BASE, **VOLUMES[name]}, volume_scan(name))


FAULTS = (0, 10, 100)  # frames read: at once, in the first look, when the sums are made


class Runs:
    """What all tests of many ranks share: one start of MPI for each number of them, when first asked for."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        for name, keys in VOLUMES.items():
            write_scan(folder / name, volume_scan(name))
            run_in_process(folder / name, {**BASE, **keys})
        self.before = {name: make_bad_folder(folder / name, bad) for name, bad in BAD.items()}
        write_scan(folder / "faults", SCAN)
        write_init(folder / "faults/init.txt", {**BASE, "path": folder / "faults"})
        for name in RESULTS:
            (folder / "faults" / name).write_bytes(b"an older result")
        self._outcomes: dict[int, dict[str, Outcome]] = {}

    def outcome(self, n_ranks: int, name: str) -> Outcome:
        """Of a volume, a bad input or, on three ranks, a fault."""
        if n_ranks not in self._outcomes:
            jobs = self._jobs(n_ranks)
            self._outcomes[n_ranks] = run_jobs(self.folder / f"jobs-{n_ranks}", n_ranks, jobs)
        return self._outcomes[n_ranks][name]

    def _jobs(self, n_ranks: int) -> list[dict[str, Any]]:
        jobs: list[dict[str, Any]] = []
        if n_ranks in (1, 3):
            jobs += [{"name": name, "init": str(self.folder / name / "init.txt")} for name in BAD]
        if n_ranks == 3:
            init = str(self.folder / "faults/init.txt")
            jobs += [{"name": f"fault-{n}", "init": init, "fault": n} for n in FAULTS]
        for name, keys in VOLUMES.items():  # the last: failures before them leave nothing behind
            output = self.folder / f"{name}-{n_ranks}"
            init = self.folder / f"{name}-{n_ranks}.txt"
            write_init(init, {**BASE, **keys, "path": self.folder / name, "output": output})
            jobs.append({"name": name, "init": str(init)})
        return jobs


@pytest.fixture(scope="module")
def runs(tmp_path_factory) -> Runs:
    return Runs(tmp_path_factory.mktemp("runs"))


ON_RANKS = [(name, n_ranks) for name in VOLUMES for n_ranks in (1, 2, 3, 10)]


@pytest.mark.parametrize("name", VOLUMES)
def test_serial_volume_is_right(name, runs):
    """What the runs on many ranks are compared with is what the reference says."""
    assert_same(read_result(runs.folder / name), volume_reference(name))


@pytest.mark.parametrize(("name", "n_ranks"), ON_RANKS)
def test_same_bytes_on_any_number_of_ranks(name, n_ranks, runs):
    outcome = runs.outcome(n_ranks, name)
    assert (outcome.returncode, outcome.stderr) == (0, "")
    output = runs.folder / f"{name}-{n_ranks}"
    serial, parallel = runs.folder / name, output
    assert (parallel / "grain_ang.npy").read_bytes() == (serial / "grain_ang.npy").read_bytes()
    assert {str(output / name) for name in RESULTS[:2]} <= set(outcome.stdout.splitlines())
    assert set(RESULTS[:2]) <= set(listing(output))
    assert not list(output.glob(".*"))
    one, other = read_result(serial), read_result(parallel)
    for field, values in one.items():
        np.testing.assert_array_equal(values, other[field], err_msg=field)


@pytest.mark.parametrize(("name", "n_ranks"), [case for case in ON_RANKS if case[1] > 1])
def test_mistake_5_left_over_slabs_and_idle_ranks(name, n_ranks, runs):
    """Five slabs on two and three ranks leave some over; on ten, half of the ranks have none."""
    assert N_SLABS % n_ranks != 0
    assert runs.outcome(n_ranks, name).returncode == 0
    ang = np.load(runs.folder / f"{name}-{n_ranks}" / "grain_ang.npy")
    slabs = np.moveaxis(ang, 0 if name == "horizontal" else 2, 0)
    assert len(slabs) == N_SLABS
    assert all(np.isfinite(slab[..., 0]).any() and (slab[..., 2] > 0).any() for slab in slabs)


@pytest.mark.parametrize("n_ranks", [1, 2, 3, 10])
def test_mistake_6_the_first_element_is_a_voxel_like_any_other(n_ranks, runs):
    """Neither voxel [0, 0, 0] nor the first of a slab depends on the ranks, and the array is only read."""
    assert runs.outcome(n_ranks, "horizontal").returncode == 0
    expected = volume_reference("horizontal")
    ang = np.load(runs.folder / f"horizontal-{n_ranks}" / "grain_ang.npy")
    np.testing.assert_allclose(ang[:, 0, 0, 0], expected["tilt1"][:, 0, 0], rtol=0, atol=2e-5)
    np.testing.assert_allclose(ang[:, 0, 0, 1], expected["tilt2"][:, 0, 0], rtol=0, atol=2e-5)
    data = np.load(runs.folder / "horizontal" / "dataarray.npy")
    np.testing.assert_array_equal(data, volume_scan("horizontal").data)


def test_the_script_prints_the_paths_and_five_lines(runs, run):
    """As a user starts it, on three ranks."""
    init = write_init(
        runs.folder / "script.txt",
        {
            **BASE,
            **VOLUMES["horizontal"],
            "path": runs.folder / "horizontal",
            "output": runs.folder / "script",
        },
    )
    done = run("recon3d.py", init, ranks=3)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    paths = [line for line in lines if line.startswith(str(runs.folder / "script"))]
    assert {Path(path).name for path in paths} >= set(RESULTS)
    assert all(Path(path).is_file() for path in paths)
    assert lines[: len(paths)] == paths
    assert len(lines) == len(paths) + 5
    assert "voxels" in done.stderr
    assert "arning" not in done.stderr
    whole = (runs.folder / "horizontal" / "grain_ang.npy").read_bytes()
    assert (runs.folder / "script" / "grain_ang.npy").read_bytes() == whole


@pytest.mark.parametrize("n_ranks", [1, 3])
@pytest.mark.parametrize("name", BAD_NAMES)
def test_bad_input_on_ranks(name, n_ranks, runs):
    check_failure(name, runs.outcome(n_ranks, name), runs.folder / name, runs.before[name])


@pytest.mark.parametrize("fault", FAULTS)
def test_a_rank_that_fails_in_the_middle_ends_all(fault, runs):
    """Rank 2 of 3 fails; all stop with its error, and the result of an earlier run is still there."""
    line = error_line(runs.outcome(3, f"fault-{fault}"), "recon3d")
    assert "Input/output error" in line
    for name in RESULTS:
        assert (runs.folder / "faults" / name).read_bytes() == b"an older result"
    assert not list((runs.folder / "faults").glob(".*"))


HANG = """
import os, sys, threading
from mpi4py import MPI
from lib import cli

class Comm:
    def __getattr__(self, name):
        return getattr(MPI.COMM_WORLD, name)
    def Isend(self, *_, **__):
        raise MemoryError("not enough memory")
comm = Comm() if MPI.COMM_WORLD.rank == 1 else MPI.COMM_WORLD
threading.Timer(40.0, os._exit, [99]).start()
code = cli.recon3d([sys.argv[1], "--quiet"], comm)
MPI.Finalize()
os._exit(code)
"""


def test_a_rank_that_fails_while_the_slabs_are_gathered_ends_all(tmp_path):
    write_scan(tmp_path, SCAN)
    init = write_init(tmp_path / "init.txt", {**BASE, "path": tmp_path})
    command = [str(MPIRUN), "-n", "2", sys.executable, "-c", HANG, str(init)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=90, check=False)
    assert done.returncode == 1, "99 is the watchdog that ends ranks which wait for ever"
    assert done.stderr.count("recon3d: error: ") == 1
