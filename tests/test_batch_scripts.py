"""The batch scripts of examples/ do what they say, in place of a batch system that is not here."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tests.backprojection.recon3d_command import BASE
from tests.backprojection.reference import made_up_scan, write_init
from tests.backprojection.reference import write_scan as write_array
from tests.running import MPIRUN, ROOT
from tests.scans import arguments, write_scan

SCRIPTS = sorted((ROOT / "examples").glob("slurm_*.sh"))

# srun as the scripts call it: tasks that PMI connects.
SRUN = f"""#!/bin/bash
[ "$1" = --mpi=pmix ] || exit 9
shift
exec {MPIRUN} "$@"
"""


def submit(folder: Path, script: str, *given: object, launcher: str) -> subprocess.CompletedProcess[str]:
    """Run a script as sbatch would, on two tasks."""
    srun = folder / "bin" / "srun"
    srun.parent.mkdir()
    srun.write_text(SRUN)
    srun.chmod(0o755)
    job = {
        "PATH": f"{srun.parent}:{MPIRUN.parent}:{os.environ['PATH']}",
        "SLURM_JOB_ID": "77",
        "SLURM_NTASKS": "2",
        "SLURM_PROCID": "0",
        "RECON3D": str(ROOT),
        "VENV": sys.prefix,
        "MPI_MODULE": "",
        "MPIRUN": launcher,
        "SCRATCH": str(folder),
    }
    return subprocess.run(
        ["bash", ROOT / "examples" / script, *map(str, given)],
        env=os.environ | job,
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


@pytest.mark.parametrize("launcher", ["mpirun", "srun --mpi=pmix"])
def test_getdata_as_a_job(tmp_path: Path, launcher: str) -> None:
    write_scan(tmp_path / "scan")
    given = arguments(tmp_path / "scan", tmp_path / "out", "--no-report")
    done = submit(tmp_path, "slurm_getdata.sh", *given, launcher=launcher)
    assert (done.returncode, done.stderr) == (0, "")
    assert np.load(tmp_path / "out" / "dataarray.npy").any()


@pytest.mark.parametrize("launcher", ["mpirun", "srun --mpi=pmix"])
def test_recon3d_as_a_job(tmp_path: Path, launcher: str) -> None:
    write_array(tmp_path, made_up_scan())
    init = write_init(tmp_path / "init.txt", {**BASE, "path": tmp_path})
    done = submit(tmp_path, "slurm_recon3d.sh", init, launcher=launcher)
    assert done.returncode == 0, done.stderr
    assert "on 2 ranks" in done.stdout
    assert (tmp_path / "grain.vtkhdf").exists()


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.name)
def test_without_arguments_a_script_says_what_it_wants(script: Path) -> None:
    done = subprocess.run(["bash", script], capture_output=True, text=True, check=False)
    assert done.returncode != 0
    assert "usage: sbatch" in done.stderr


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.name)
def test_scripts_are_sound(script: Path) -> None:
    checker = [shutil.which("shellcheck") or "bash", *([] if shutil.which("shellcheck") else ["-n"])]
    done = subprocess.run([*checker, script], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
