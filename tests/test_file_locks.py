"""File systems without locks, read-only ones, and files that another program holds open: nothing is lost."""

from __future__ import annotations

import ast
import errno
import os
import shutil
import subprocess
import sys
from pathlib import Path

import h5py
import numpy as np
import pytest

from lib import cli, load
from lib.initfile.parse import format_initfile
from lib.parallel.communicator import SerialComm
from tests import file_systems
from tests.running import MPIRUN, ROOT
from tests.simulation.simulated_scan import parameters

ERRORS = {
    "ENOLCK": errno.ENOLCK,
    "ENOSYS": errno.ENOSYS,
    "EOPNOTSUPP": errno.EOPNOTSUPP,
    "ENOTSUPP": 524,  # the kernel's own, which some network file systems let out
    "EROFS": errno.EROFS,
    "EIO": errno.EIO,
    "EAGAIN": errno.EAGAIN,
}
every_error = pytest.mark.parametrize("error", ERRORS.values(), ids=ERRORS)
linux = pytest.mark.skipif(not file_systems.SUPPORTED, reason="seccomp filters are Linux's")
FORMATS = ("bliss", "bliss-links")  # virtual datasets and external links, which HDF5 opens itself
VARIABLES = ("HDF5_USE_FILE_LOCKING", "OMP_NUM_THREADS", "NUMBA_NUM_THREADS")
OPEN = """
import sys
from lib.frames import hdf5
with hdf5.opened(sys.argv[1]) as file:
    print(file["data"][()].sum())
"""
LIST = """
import sys
from lib import cli
from lib.parallel.communicator import SerialComm
sys.exit(cli.getdata(["--list", sys.argv[1]], SerialComm()))  # MPI itself has to write to /dev/shm
"""
QUICK = {"method": "backprojection", "grain_steps": (6, 6, 6), "completeness_cutoff": 0.5}
LOAD = "import sys; from lib import load; print(int(load(sys.argv[1]).mask.sum()))"


@pytest.fixture(scope="module")
def scans(tmp_path_factory) -> Path:
    """For each format a folder: init.txt, raw/g.h5, and what getdata.py and recon3d.py make of it."""
    folder = tmp_path_factory.mktemp("scans")
    for kind in FORMATS:
        here = folder / kind
        params = parameters(stem=str(here / "raw" / "g_"), path=str(here / "array"), format=kind, **QUICK)
        here.mkdir()
        (here / "init.txt").write_text(format_initfile(params))
        for program, arguments in programs(here, here).items():
            assert getattr(cli, program)([str(word) for word in arguments], SerialComm()) == 0
    return folder


def programs(scan: Path, out: Path) -> dict[str, list[object]]:
    """The commands from the init file to the grain; out gets what getdata.py and recon3d.py make."""
    init, master = out / "init.txt", scan / "raw" / "g.h5"
    roles = ["--tilt1", "samrz", "--tilt2", "samry", "--omega", "diffrx"]
    given = [master, "title:fscan2d*", "-", "-", "24,22", "48,44", out, "array", *roles]
    commands: dict[str, list[object]] = {
        "getdata": [*given, "--quiet"],
        "recon3d": [init, "--quiet", "--no-report"],
    }
    return commands if scan != out else {"simulate": [init, "--quiet"], **commands}


def run(command: list[object], environment: dict[str, str] | None = None) -> str:
    """Standard output of a command that is expected to succeed, and to say nothing else."""
    inherited = {name: value for name, value in os.environ.items() if name not in VARIABLES}
    done = subprocess.run(
        [str(word) for word in command],
        cwd=ROOT,
        env={**inherited, **(environment or {})},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@linux
@every_error
@pytest.mark.parametrize("lock", ["flock", "lockf"])
def test_locks_do_fail_here(tmp_path, error, lock):
    (tmp_path / "file").touch()
    code = f"import fcntl; fcntl.{lock}(open({str(tmp_path / 'file')!r}, 'r+'), fcntl.LOCK_EX)"
    command = file_systems.on("locks", error, sys.executable, "-c", code)
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert f"[Errno {error}]" in done.stderr


@linux
@every_error
def test_without_locks(scans, tmp_path, error):
    """From the frames to the grain, as with locks; whatever the user's environment says of locks."""
    number = list(ERRORS.values()).index(error)
    kind, ranks = FORMATS[number % 2], 1 + number % 3
    shutil.copy(scans / kind / "init.txt", tmp_path)
    text = (tmp_path / "init.txt").read_text()
    (tmp_path / "init.txt").write_text(text.replace(str(scans / kind / "array"), str(tmp_path / "array")))
    start = [sys.executable] if ranks == 1 else [MPIRUN, "-n", ranks, sys.executable]
    for program, arguments in programs(scans / kind, tmp_path).items():
        command = file_systems.on("locks", error, *start, f"{program}.py", *arguments)
        run(command, {"HDF5_USE_FILE_LOCKING": "TRUE"})
    for name in ("dataarray.npy", "measured.npy", "grain_ang.npy"):
        found, expected = (folder / "array" / name for folder in (tmp_path, scans / kind))
        assert found.read_bytes() == expected.read_bytes()
    grain = tmp_path / "array" / "grain.vtkhdf"
    n_voxels = run(file_systems.on("locks", error, sys.executable, "-c", LOAD, grain))
    assert int(n_voxels) == load(scans / kind / "array" / "grain.vtkhdf").mask.sum() > 0


@linux
def test_simulated_files_are_written_without_locks(tmp_path):
    params = parameters(stem=str(tmp_path / "g_"), path=str(tmp_path), format="bliss", ang_steps=(2, 2, 2))
    (tmp_path / "init.txt").write_text(format_initfile(params))
    command = [sys.executable, "-m", "lib", "simulate", tmp_path / "init.txt", "--quiet"]
    assert "g.h5" in run(file_systems.on("locks", errno.ENOLCK, *command))


@linux
def test_a_read_only_file_system(scans):
    """A grain is loaded, and a scan listed, where nothing can be opened for writing."""
    grain, master = scans / "bliss" / "array" / "grain.vtkhdf", scans / "bliss" / "raw" / "g.h5"
    for error in (errno.EROFS, errno.EACCES):
        command = file_systems.on("writing", error, sys.executable, "-c", LOAD, grain)
        assert int(run(command)) == load(grain).mask.sum()
    listed = run(file_systems.on("writing", errno.EROFS, sys.executable, "-c", LIST, master))
    assert "fscan2d samrz" in listed


HOLD = """
import sys, h5py
files = [h5py.File(path, sys.argv[1], locking=True) for path in sys.argv[2:]]
print("held", flush=True)
sys.stdin.readline()
"""


@pytest.mark.parametrize("kind", FORMATS)
@pytest.mark.parametrize("mode", ["r", "a"])
def test_files_that_another_process_holds_open(scans, tmp_path, kind, mode):
    """With a lock, for reading or for writing: the master, all frames, and an older grain.vtkhdf."""
    shutil.copytree(scans / kind, tmp_path / "here")
    here = tmp_path / "here"
    text = (here / "init.txt").read_text()
    (here / "init.txt").write_text(text.replace(str(scans / kind), str(here)))
    paths = [here / "array" / "grain.vtkhdf", *(here / "raw").rglob("*.h5")]
    assert len(paths) > 4
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLD, mode, *map(str, paths)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    with holder:
        assert holder.stdout is not None and holder.stdout.readline() == "held\n"
        assert load(paths[0]).mask.any()
        for program, arguments in programs(here, here).items():
            options = ["--overwrite"] if program == "getdata" else []
            if program != "simulate":
                run([MPIRUN, "-n", "2", sys.executable, f"{program}.py", *arguments, *options])
        holder.communicate("\n")
    before, after = (folder / "array" / "grain_ang.npy" for folder in (scans / kind, here))
    assert before.read_bytes() == after.read_bytes()


@pytest.mark.parametrize("swmr", [True, False])
def test_a_file_that_bears_the_mark_of_its_writer(tmp_path, swmr):
    """HDF5's newest format: read while the writer lets others read, else one line that says what to do."""
    path = tmp_path / "scan.h5"
    with h5py.File(path, "w", libver="latest") as file:
        file["data"] = np.arange(4)
        if swmr:
            file.swmr_mode = True
        file.flush()
        done = subprocess.run(
            [sys.executable, "-c", OPEN, str(path)], cwd=ROOT, capture_output=True, text=True, check=False
        )
        message = f"{path}: is being written, or was when its writer died: wait for its end"
        assert (message in done.stderr) == (not swmr), done.stderr
        assert done.stdout == ("6\n" if swmr else "")


@pytest.mark.parametrize("locking", [None, False, True, "best-effort"])
@pytest.mark.parametrize("mode", ["r", "a"])
def test_a_file_that_this_process_has_open(scans, tmp_path, locking, mode):
    """As in a notebook, where HDF5 wants all openings to ask for the same locks."""
    grain = Path(shutil.copy(scans / "bliss" / "array" / "grain.vtkhdf", tmp_path))
    with h5py.File(grain, mode, locking=locking):
        assert load(grain).mask.any()


def test_hdf5_files_are_opened_in_one_place():
    """There is one call of h5py.File in the package, and it says what about locks."""
    calls = []
    for path in sorted((ROOT / "lib").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and ast.unparse(node.func) == "h5py.File":
                calls.append((path.name, ast.unparse(node)))
    assert [name for name, _ in calls] == ["hdf5_file.py"]
    assert "locking=locking" in calls[0][1]
