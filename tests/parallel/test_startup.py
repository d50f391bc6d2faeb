"""How many threads a rank starts, and what a program changes in its environment."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from lib.parallel import startup
from tests.running import MPIRUN, ROOT

OURS = ("HDF5_USE_FILE_LOCKING", "OMP_NUM_THREADS", "NUMBA_NUM_THREADS")
OTHERS = ("OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
linux = pytest.mark.skipif(
    not sys.platform.startswith("linux"), reason="control groups and /proc are Linux's"
)


def cgroups(root: Path, *groups: str, files: dict[str, str]) -> Path:
    """A file system that shows the control groups of a process, and their limits."""
    (root / "proc" / "self").mkdir(parents=True)
    (root / "proc" / "self" / "cgroup").write_text("".join(f"{line}\n" for line in groups))
    for name, text in files.items():
        path = root / "sys" / "fs" / "cgroup" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


LIMITS = {
    "no limit": (["0::/user.slice"], {"user.slice/cpu.max": "max 100000\n"}, 64),
    "version 2": (["0::/job/step"], {"job/step/cpu.max": "400000 100000\n"}, 4),
    "of a group above": (
        ["0::/job/step"],
        {"job/cpu.max": "200000 100000\n", "job/step/cpu.max": "max 1"},
        2,
    ),
    "a part of a core": (["0::/job"], {"job/cpu.max": "50000 100000\n"}, 1),
    "one and a half": (["0::/job"], {"job/cpu.max": "150000 100000\n"}, 1),
    "in a container": (["0::/docker/4711"], {"cpu.max": "300000 100000\n"}, 3),
    "version 1": (
        ["4:cpu,cpuacct:/job", "3:memory:/job", "0::/"],
        {"cpu,cpuacct/job/cpu.cfs_quota_us": "800000\n", "cpu,cpuacct/job/cpu.cfs_period_us": "100000\n"},
        8,
    ),
    "version 1 without a limit": (
        ["4:cpu:/"],
        {"cpu/cpu.cfs_quota_us": "-1\n", "cpu/cpu.cfs_period_us": "100000\n"},
        64,
    ),
    "version 1, the memory's": (["3:memory:/job"], {"memory/job/cpu.max": "100000 100000"}, 64),
    "nothing that can be read": (["nonsense", "0::/job"], {"job/cpu.max": "?"}, 64),
}


@pytest.mark.parametrize("name", LIMITS)
def test_limits_of_control_groups(tmp_path, monkeypatch, name):
    groups, files, expected = LIMITS[name]
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(64)), raising=False)
    assert startup.n_cores(cgroups(tmp_path, *groups, files=files)) == expected


def test_the_smaller_of_affinity_and_limit(tmp_path, monkeypatch):
    root = cgroups(tmp_path, "0::/", files={"cpu.max": "800000 100000"})
    for n, expected in ((3, 3), (64, 8)):
        monkeypatch.setattr(os, "sched_getaffinity", lambda _, n=n: set(range(n)), raising=False)
        assert startup.n_cores(root) == expected


LOCAL = {
    "serial": ({}, "16"),
    "mpirun of MPICH": ({"PMI_SIZE": "8", "PMI_RANK": "1", "MPI_LOCALNRANKS": "4"}, "4"),
    "Open MPI": (
        {"OMPI_COMM_WORLD_SIZE": "8", "OMPI_COMM_WORLD_RANK": "0", "OMPI_COMM_WORLD_LOCAL_SIZE": "8"},
        "2",
    ),
    "more ranks than cores": ({"PMI_SIZE": "99", "PMI_RANK": "1", "MPI_LOCALNRANKS": "99"}, "1"),
    "the user's": ({"PMI_SIZE": "8", "PMI_RANK": "1", "OMP_NUM_THREADS": "3"}, "3"),
}


@pytest.mark.parametrize("name", LOCAL)
def test_share_of_a_rank(monkeypatch, name):
    monkeypatch.setattr(startup, "n_cores", lambda: 16)
    environment, expected = LOCAL[name]
    startup.prepare(environment)
    assert environment["OMP_NUM_THREADS"] == expected
    assert environment["HDF5_USE_FILE_LOCKING"] == "FALSE"


# What a rank has when a program has run: its threads but MPI's own, the pools of the libraries, the cores.
THREADS = """
import json, os, sys
from pathlib import Path
from lib import cli
program, *arguments = sys.argv[1:]
code = getattr(cli, program)(arguments)
import numpy, scipy.linalg, h5py, hdf5plugin, numba, threadpoolctl
names = [path.read_text().strip() for path in Path("/proc/self/task").glob("*/comm")]
pools = [pool["num_threads"] for pool in threadpoolctl.threadpool_info()] + [numba.config.NUMBA_NUM_THREADS]
line = json.dumps({"threads": len([n for n in names if n != "async"]), "pools": pools, "code": code})
os.write(2, f"@{line}\\n".encode())
"""


def rank_threads(folder: Path, n_ranks: int, *before: str, **environment: str) -> list[dict]:
    """What each rank says that has listed a folder without frames."""
    kept = {name: value for name, value in os.environ.items() if name not in (*OURS, *OTHERS)}
    command = [*before, str(MPIRUN), "-n", str(n_ranks), sys.executable, "-c", THREADS, "getdata"]
    done = subprocess.run(
        [*command, str(folder), "scan_", "-", "-", "5,5", "4,4", str(folder), "out"],
        cwd=ROOT,
        env=kept | environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    found = [json.loads(line[1:]) for line in done.stderr.splitlines() if line.startswith("@")]
    assert len(found) == n_ranks, done.stderr
    assert {rank["code"] for rank in found} == {1}  # there are no frames
    return found


@linux
@pytest.mark.parametrize("n_ranks", [1, 2, 3, 8])
def test_no_rank_starts_more_threads_than_its_share(tmp_path, n_ranks):
    share = max(1, startup.n_cores() // n_ranks)
    for rank in rank_threads(tmp_path, n_ranks):
        assert max(rank["pools"]) <= share
        assert rank["threads"] <= 1 + 2 * (share - 1)  # numpy and scipy have a pool each


@linux
def test_affinity_counts(tmp_path):
    core = str(min(os.sched_getaffinity(0)))
    code = f"import os, sys; os.sched_setaffinity(0, {{{core}}}); os.execvp(sys.argv[1], sys.argv[1:])"
    for rank in rank_threads(tmp_path, 1, sys.executable, "-c", code):
        assert rank["threads"] == 1 and set(rank["pools"]) == {1}


@linux
def test_the_users_own_number_counts(tmp_path):
    for rank in rank_threads(tmp_path, 3, OMP_NUM_THREADS="2"):
        assert rank["pools"][0] == 2


LIBRARY = """
import os, sys
os.environ.pop("KMP_DUPLICATE_LIB_OK", None)
before = dict(os.environ)
import recon3d_lib
from recon3d_lib import load, reconstruct
from recon3d_lib import cli
try:
    load("absent.vtkhdf")
except recon3d_lib.errors.Recon3DError:
    pass
import numba
os.environ.pop("KMP_DUPLICATE_LIB_OK", None)  # threadpoolctl sets it
assert dict(os.environ) == before, set(os.environ.items()) ^ set(before.items())
assert not numba.config.CACHE_DIR
print("as it was")
"""


def test_as_a_library_it_leaves_the_environment_alone(tmp_path):
    (tmp_path / "recon3d_lib").symlink_to(ROOT / "lib")
    kept = {name: value for name, value in os.environ.items() if name not in (*OURS, "NUMBA_CACHE_DIR")}
    done = subprocess.run(
        [sys.executable, "-c", LIBRARY],
        env=kept | {"PYTHONPATH": str(tmp_path)},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout == "as it was\n", done.stderr


def test_the_command_line_loads_nothing_before_the_environment_is_ready():
    code = "import sys; from lib import cli; print({'numpy', 'h5py', 'numba', 'mpi4py'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.stdout == "set()\n", done.stderr
