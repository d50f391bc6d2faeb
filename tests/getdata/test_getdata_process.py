"""getdata.py as a process: started by a user, without MPI, and with a rank in trouble."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lib import cli
from lib.parallel.communicator import SerialComm
from tests.frames.edf_scan import as_uint16, expected_array
from tests.getdata.getdata_scan import GRID, POI, SIZE, arguments, getdata, read_result, run_script
from tests.running import MPIRUN, ROOT, Run, error_line

# ---- As a user starts it ----


@pytest.mark.parametrize("ranks", [None, 3])
def test_exit_code_of_bad_input(scan: Any, run: Run, ranks: int | None) -> None:
    """Rank 2 alone sees the torn file; all stop, with one line, and mpirun says 1."""
    folder, _, _ = scan
    torn = folder / "raw" / "scan_0059.edf"
    torn.write_bytes(torn.read_bytes()[:-1])
    result = run("getdata.py", *arguments(folder), ranks=ranks)
    assert error_line(result, "getdata").startswith(f"getdata: error: {torn}: cut short")
    assert not (folder / "out").exists() or not list((folder / "out").iterdir())


@pytest.mark.parametrize("ranks", [None, 3])
def test_usage_errors_are_printed_once(tmp_path: Path, run: Run, ranks: int | None) -> None:
    result = run("getdata.py", *arguments(tmp_path, "--duplicates", "all"), ranks=ranks)
    assert result.returncode == 2
    assert result.stderr.count("getdata: error: ") == 1
    assert result.stderr.count("usage: getdata") == 1
    assert "--duplicates" in result.stderr
    assert result.stdout == ""


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ([], "required"),
        (["a", "b", "-", "-", "1,2,3", "4,4", "out", "x"], "'1,2,3' must be two whole numbers"),
        (["a", "b", "-", "-", "1.5,2", "4,4", "out", "x"], "'1.5,2' must be two whole numbers"),
        (["a", "b", "-", "-", "1,2", "4", "out", "x"], "'4' must be two whole numbers"),
        (["a", "b", "-", "-", "1,2", "4,4", "out", "x", "--tolerance", "tiny"], "--tolerance"),
        (["a", "b", "-", "-", "1,2", "4,4", "out", "x", "--setup", "id99"], "--setup"),
        (["a", "b", "-", "-", "1,2", "4,4", "out", "x", "--dtype", "int8"], "--dtype"),
        (["a", "b", "-", "-", "1,2", "4,4", "out", "x", "--nosuch"], "--nosuch"),
    ],
)
def test_usage_errors(options: list[str], words: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.getdata(options, SerialComm()) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert words in err


def test_help_and_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.getdata(["--help"], SerialComm()) == 0
    shown = capsys.readouterr().out
    for option in ("--setup", "--tilt1", "--tilt2", "--omega", "--tilt-frame", "--overwrite", "--duplicates"):
        assert option in shown
    assert cli.getdata(["--version"], SerialComm()) == 0
    assert capsys.readouterr().out.startswith("Recon3D ")


def test_debug_shows_the_traceback(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.getdata(arguments(tmp_path, "--debug"), SerialComm()) == 1
    err = capsys.readouterr().err
    assert "Traceback" in err
    assert err.splitlines()[-1].startswith("getdata: error: ")


def test_progress_goes_to_standard_error(scan: Any, capsys: pytest.CaptureFixture[str]) -> None:
    folder, _, _ = scan
    argv = [a for a in arguments(folder) if a != "--quiet"]
    assert cli.getdata(argv, SerialComm()) == 0
    out, err = capsys.readouterr()
    assert "60/60 frames" in err
    assert "60/60 files" in err
    assert "100%" not in out


# ---- Without MPI ----

NO_MPI = {
    "not installed": {"__init__.py": "raise ImportError('No module named mpi4py')"},
    "no library": {
        "__init__.py": "class rc: pass",
        "MPI.py": "raise RuntimeError('cannot load MPI library')",
    },
}


def blocked_mpi(folder: Path, kind: str) -> dict[str, str]:
    """An environment in which mpi4py cannot be imported."""
    package = folder / "blocked" / "mpi4py"
    package.mkdir(parents=True)
    for name, text in NO_MPI[kind].items():
        (package / name).write_text(text + "\n")
    return {"PYTHONPATH": str(package.parent)}


@pytest.mark.parametrize("kind", NO_MPI)
def test_without_mpi_one_process_works(scan: Any, kind: str) -> None:
    folder, frames, dark = scan
    env = blocked_mpi(folder, kind)
    result = run_script(*arguments(folder), cwd=folder, env=env)
    assert result.returncode == 0, result.stderr
    array = read_result(folder / "out" / "result").array
    np.testing.assert_array_equal(array, as_uint16(expected_array(frames, GRID, POI, SIZE, dark)))


def test_without_mpi_mpirun_is_refused(scan: Any) -> None:
    """Three processes that each believe to be alone would write the same files."""
    folder, _, _ = scan
    env = blocked_mpi(folder, "not installed")
    result = run_script(*arguments(folder), ranks=3, cwd=folder, env=env)
    assert result.returncode == 1
    line = error_line(result, "getdata")
    assert "3 processes were started (PMI_SIZE), but mpi4py with an MPI library is not installed" in line
    assert "Traceback" not in result.stderr
    assert not (folder / "out").exists()


# ---- Ranks in trouble ----

TROUBLE = r"""
import json, os, signal, sys, time
from pathlib import Path
top, kind, *argv = sys.argv[1:]
sys.path.insert(0, top)
from lib import cli
from lib.getdata import acquire
from lib.parallel.communicator import world
from lib.frames.sources import RoiReader

comm = world()
make_plan, read = acquire.make_plan, RoiReader.read
opened, for_headers, frames = [], [], []


def note(event, arguments):
    if event == "open" and str(arguments[0]).endswith(".edf"):
        opened.append(Path(str(arguments[0])).name)


def plan_and_note(*arguments):
    plan = make_plan(*arguments)
    for_headers.extend(opened)
    return plan


def slow(self, info):
    if "scan_" in info.path:
        frames.append(Path(info.path).name)
        if kind != "count":
            time.sleep(0.02 if comm.rank == 1 else 0.3)
        if comm.rank == 1 and len(frames) >= 5:
            if kind == "kill":
                os.kill(os.getpid(), signal.SIGKILL)
            if kind == "bug":
                raise ZeroDivisionError("a bug")
            if kind == "memory":
                raise MemoryError
    return read(self, info)


acquire.make_plan, RoiReader.read = plan_and_note, slow
sys.addaudithook(note)
code = cli.getdata(argv, comm)
every = comm.gather((sorted(set(for_headers)), frames))
if comm.rank == 0:
    Path("read.json").write_text(json.dumps(every))
raise SystemExit(code)
"""


def in_trouble(folder: Path, kind: str) -> subprocess.CompletedProcess[str]:
    """Run on 3 ranks with a rank 1 that gets into trouble after some frames, while the others are slow."""
    script = folder / "trouble.py"
    script.write_text(TROUBLE)
    command = [str(MPIRUN), "-n", "3", sys.executable, str(script), str(ROOT), kind, *arguments(folder)]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, cwd=folder, check=False)


def test_a_killed_rank_leaves_no_result(scan: Any) -> None:
    """SIGKILL in the middle of the frames: mpirun ends, no file has its final name, and a new run works."""
    folder, frames, dark = scan
    start = time.monotonic()
    result = in_trouble(folder, "kill")
    assert time.monotonic() - start < 60
    assert result.returncode != 0
    assert result.stdout.count("dataarray.npy") == 0
    assert not (folder / "out" / "result").exists()
    array = getdata(folder).array
    np.testing.assert_array_equal(array, as_uint16(expected_array(frames, GRID, POI, SIZE, dark)))
    assert [p.name for p in (folder / "out").iterdir()] == ["result"]


@pytest.mark.parametrize(
    ("kind", "line"), [("bug", "ZeroDivisionError: a bug"), ("memory", "MemoryError: MemoryError")]
)
def test_an_unforeseen_error_of_one_rank_ends_all(scan: Any, kind: str, line: str) -> None:
    """Rank 1 fails; the other two, with seconds of work before them, stop as well and clean up."""
    folder, _, _ = scan
    result = in_trouble(folder, kind)
    assert error_line(result, "getdata") == f"getdata: error: {line}"
    assert not list((folder / "out").iterdir())
    n_read = [len(frames) for _, frames in json.loads((folder / "read.json").read_text())]
    assert max(n_read[0], n_read[2]) < 15  # of their 20


def test_every_file_is_read_once_by_one_rank(scan: Any) -> None:
    """Mistakes 5 and 13: every rank read every header and every background; frames were left over."""
    folder, frames, _ = scan
    result = in_trouble(folder, "count")
    assert result.returncode == 0, result.stderr
    every = json.loads((folder / "read.json").read_text())
    headers = [name for names, _ in every for name in names]
    assert [len(names) for names, _ in every] == [21, 21, 21]
    assert len(headers) == len(set(headers)) == len(frames) + 3
    read = [name for _, names in every for name in names]
    assert [len(names) for _, names in every] == [20, 20, 20]
    assert len(read) == len(set(read)) == len(frames)
