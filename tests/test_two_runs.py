"""Two runs on one output, as two jobs of a batch system start them: the second is told of the first."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from lib import cli, load
from lib.errors import Recon3DError
from lib.initfile.parse import format_initfile
from lib.parallel.claim import take
from lib.parallel.communicator import SerialComm
from lib.result.files import RESULT_FILES
from lib.result.labels import CELL_FILES
from tests.backprojection.recon3d_command import BASE
from tests.backprojection.reference import made_up_scan, write_init, write_scan
from tests.running import ROOT, Run, error_line, launcher
from tests.scans import arguments
from tests.simulation.simulated_scan import parameters
from tests.slow_run import launch, ranks_of, slow_scan
from tests.test_convert import MU_GAMMA, OMEGA, made_up, write_old

RANKS = (None, 2, 3)


def end(processes: list[int], sent: signal.Signals) -> None:
    for process in processes:
        os.kill(process, sent)


@pytest.fixture
def scan(tmp_path: Path) -> Path:
    slow_scan(tmp_path / "scan")
    return tmp_path / "scan"


def again(run: Run, scan: Path, out: Path, ranks: int | None) -> subprocess.CompletedProcess[str]:
    """A short run with the same output."""
    return run("getdata.py", *arguments(scan, out, "--no-report", poi="200,200", size="20,20"), ranks=ranks)


@pytest.mark.parametrize("ranks", RANKS)
def test_the_second_getdata_is_told_until_the_first_is_ended(
    scan: Path, tmp_path: Path, run: Run, ranks: int | None
) -> None:
    """By SIGTERM, as a batch system ends a job."""
    out = tmp_path / "out"
    first = launch(scan, out, ranks)
    line = error_line(again(run, scan, out, ranks), "getdata")
    holders = ranks_of(out)
    assert f"{out}: is being written by another run: host {socket.gethostname()}, process " in line
    assert int(line.split(", process ")[1].split(",")[0]) in holders
    assert str(scan) in line  # its command
    end(holders, signal.SIGTERM)
    _, stderr = first.communicate(timeout=60)
    assert first.returncode != 0
    assert "Traceback" not in stderr
    assert stderr.count("getdata: error: ") == stderr.count("getdata: error: interrupted\n") == 1
    assert not list(tmp_path.glob(".out.*"))
    works(run, scan, out, ranks)


@pytest.mark.parametrize("ranks", RANKS)
def test_after_a_run_that_was_killed_the_next_one_works(
    scan: Path, tmp_path: Path, run: Run, ranks: int | None
) -> None:
    out = tmp_path / "out"
    first = launch(scan, out, ranks)
    end(ranks_of(out), signal.SIGKILL)
    first.communicate(timeout=60)
    assert len(list(tmp_path.glob(".out.*"))) == 2
    works(run, scan, out, ranks)


def works(run: Run, scan: Path, out: Path, ranks: int | None) -> None:
    done = again(run, scan, out, ranks)
    assert (done.returncode, done.stderr) == (0, "")
    assert np.load(out / "dataarray.npy").shape == (3, 3, 10, 20, 20)
    assert not list(out.parent.glob(".out.*"))


@pytest.fixture
def init(tmp_path: Path) -> Path:
    write_scan(tmp_path, made_up_scan())
    return write_init(tmp_path / "init.txt", {**BASE, "path": tmp_path, "output": tmp_path / "out"})


@pytest.mark.parametrize("ranks", RANKS)
def test_the_second_recon3d_is_told(init: Path, run: Run, ranks: int | None) -> None:
    """Also on another host, whose time is all there is; once it is old, the run has died."""
    out = init.parent / "out"
    claim = out / ".grain.vtkhdf.running"
    first = take(out / "grain.vtkhdf")
    holder = json.loads(claim.read_text())
    line = error_line(run("recon3d.py", init, "--no-report", ranks=ranks), "recon3d")
    assert f"{out / 'grain.vtkhdf'}: is being written by another run: host " in line
    assert list(out.iterdir()) == [claim]
    first.release()
    claim.write_text(json.dumps(holder | {"machine": "other", "host": "node12"}))
    line = error_line(run("recon3d.py", init, "--no-report", ranks=ranks), "recon3d")
    assert "host node12, process" in line
    assert f"if it was killed, rm {claim})" in line
    os.utime(claim, (0, 0))
    done = run("recon3d.py", init, "--no-report", "--quiet", ranks=ranks)
    assert (done.returncode, done.stderr) == (0, "")
    assert sorted(path.name for path in out.iterdir()) == sorted(
        set(RESULT_FILES) - {"report.html", *CELL_FILES}
    )


# argv: a program and its arguments. When its work is done, another run takes the claim to the result over.
TAKEN_OVER = """
import json, sys
sys.path.insert(0, sys.argv.pop(1))
from lib import cli
from lib.parallel.claim import Claim
from lib.parallel.communicator import world
confirm = Claim.confirm
def late(claim):
    holder = json.loads(claim._path.read_text())
    claim._path.write_text(json.dumps(holder | {"id": "another run"}))
    confirm(claim)
Claim.confirm = late
sys.exit(getattr(cli, sys.argv[1])(sys.argv[2:], world()))
"""


# argv: a program and its arguments. Before the run claims its result, in `out`, the same command is run from
# beginning to end; what it has made is kept in `first`.
OVERTAKEN = """
import contextlib, io, shutil, sys
from pathlib import Path
sys.path.insert(0, sys.argv.pop(1))
from lib import cli, convert
from lib.getdata import acquire
from lib.parallel import claim
from lib.parallel.communicator import SerialComm, world
from lib.simulation import simulate
claimed, program, comm = claim.claimed, getattr(cli, sys.argv[1]), world()
@contextlib.contextmanager
def late(result, mine):
    for module in (convert, acquire, simulate):
        module.claimed = claimed
    if comm.rank == 0:
        with contextlib.redirect_stdout(io.StringIO()):
            assert program([*sys.argv[2:], *quiet], SerialComm()) == 0
        out = result if result.is_dir() else result.parent
        shutil.copytree(out, out.with_name("first"))
    with claimed(result, mine) as found:
        yield found
for module in (convert, acquire, simulate):
    module.claimed = late
quiet = [] if sys.argv[1] == "convert" else ["--quiet"]
sys.exit(program([*sys.argv[2:], *quiet], comm))
"""


@pytest.mark.parametrize("ranks", RANKS)
@pytest.mark.parametrize("program", ["getdata", "recon3d"])
def test_a_run_that_was_taken_over_ends_on_all_ranks(
    program: str, init: Path, scan: Path, tmp_path: Path, ranks: int | None
) -> None:
    """It says so once, does not hang, and leaves the claim and the result to the other run."""
    out = tmp_path / "out"
    result = out / "grain.vtkhdf" if program == "recon3d" else out
    given = [init, "--quiet"]
    if program == "getdata":
        given = arguments(scan, out, "--quiet", "--no-report", poi="200,200", size="20,20")
    command = [*launcher(ranks), sys.executable, "-c", TAKEN_OVER, ROOT, program, *given]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert f"{result}: was taken over by another run" in error_line(done, program)
    claim = result.with_name(f".{result.name}.running")
    assert json.loads(claim.read_text())["id"] == "another run"
    assert [path for path in out.glob("*") if path != claim] == []


@pytest.mark.parametrize("ranks", RANKS)
@pytest.mark.parametrize("program", ["getdata", "convert", "simulate"])
def test_a_result_that_appears_while_a_run_starts_is_not_overwritten(
    program: str, tmp_path: Path, ranks: int | None
) -> None:
    """The first run ends after the second has found its output free, and before that claims it."""
    if program == "getdata":
        slow_scan(tmp_path / "raw")
        given = arguments(tmp_path / "raw", tmp_path / "out", "--no-report", poi="200,200", size="20,20")
    elif program == "convert":
        write_old(tmp_path / "old", MU_GAMMA | OMEGA, dataarray=made_up())
        given = [tmp_path / "old", tmp_path / "out"]
    else:
        params = parameters(stem=str(tmp_path / "out" / "g_"), ang_steps=(2, 3, 2), sim_points=1000)
        (tmp_path / "sim.txt").write_text(format_initfile(params))
        given = [tmp_path / "sim.txt"]
    command = [*launcher(ranks), sys.executable, "-c", OVERTAKEN, ROOT, program, *given]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    line = error_line(done, program)
    assert str(tmp_path / "out") in line and "exist" in line
    first = [path.read_bytes() for path in sorted(tmp_path.glob("first/*"))]
    assert first and [path.read_bytes() for path in sorted(tmp_path.glob("out/*"))] == first
    assert not list(tmp_path.rglob(".*"))


def test_whoever_writes_says_so(init: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """convert, simulate and save, besides getdata and recon3d."""
    assert cli.recon3d([str(init), "--no-report", "--quiet"], SerialComm()) == 0
    grain = load(tmp_path / "out" / "grain.vtkhdf")
    write_old(tmp_path / "old", MU_GAMMA | OMEGA, dataarray=made_up())
    simulated = tmp_path / "simulated.txt"
    params = parameters(stem=str(tmp_path / "raw" / "g_"), ang_steps=(2, 3, 2), sim_points=1000)
    simulated.write_text(format_initfile(params))
    programs = {
        tmp_path / "new": lambda: cli.convert([str(tmp_path / "old"), str(tmp_path / "new")], SerialComm()),
        tmp_path / "raw" / "truth.vtkhdf": lambda: cli.simulate([str(simulated)], SerialComm()),
    }
    for result, program in programs.items():
        first = take(result)
        assert program() == 1
        assert f"{result}: is being written by another run" in capsys.readouterr().err
        first.release()
        assert program() == 0, capsys.readouterr().err
        assert result.exists()
    first = take(tmp_path / "grain")
    with pytest.raises(Recon3DError, match="is being written by another run"):
        grain.save(tmp_path / "grain")
    first.release()
    grain.save(tmp_path / "grain")
    assert not list(tmp_path.rglob(".*.running"))
