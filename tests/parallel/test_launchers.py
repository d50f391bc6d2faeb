"""What mpirun, srun and others leave in the environment, and what a process concludes from it."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from lib.parallel import communicator, launchers
from lib.parallel.communicator import LeftAlone, SerialComm, world
from tests.running import MPIRUN, ROOT, Run, error_line

VARIABLES = ("PMI", "PMIX", "OMPI", "MV2", "JSM", "FLUX", "PALS", "ALPS", "SLURM", "MPI_LOCAL", "HYDI")
JOB = {"SLURM_JOB_ID": "77", "SLURM_NTASKS": "8", "SLURM_NPROCS": "8", "SLURM_TASKS_PER_NODE": "4(x2)"}


def step(n: int, rank: int = 0, number: int = 0, nodes: str | None = None, node: int = 0) -> dict[str, str]:
    """A task of srun."""
    return JOB | {
        "SLURM_STEP_ID": str(number),
        "SLURM_STEP_NUM_TASKS": str(n),
        "SLURM_STEP_TASKS_PER_NODE": nodes or str(n),
        "SLURM_NODEID": str(node),
        "SLURM_PROCID": str(rank),
        "SLURM_LAUNCH_NODE_IPADDR": "10.0.0.1",
        "SLURM_MPI_TYPE": "pmix",
    }


def open_mpi(n: int, rank: int = 0, local: int = 1) -> dict[str, str]:
    return {
        "OMPI_COMM_WORLD_SIZE": str(n),
        "OMPI_COMM_WORLD_RANK": str(rank),
        "OMPI_COMM_WORLD_LOCAL_SIZE": str(local),
        "PMIX_RANK": str(rank),
        "PMIX_NAMESPACE": "prterun-node1-4242@1",
    }


def hydra(n: int, rank: int = 0, local: int = 1) -> dict[str, str]:
    return {"PMI_SIZE": str(n), "PMI_RANK": str(rank), "MPI_LOCALNRANKS": str(local)}


# What is in the environment; size, rank and processes of this node.
ENVIRONMENTS = {
    "login": ({}, (1, 0, 1)),
    "batch script": (JOB | {"SLURM_PROCID": "0", "SLURM_NODEID": "0", "SLURM_LOCALID": "0"}, (1, 0, 1)),
    "salloc": (JOB, (1, 0, 1)),
    "interactive step": (step(1, number=0xFFFFFFFA), (1, 0, 1)),
    "step of a batch script that says more": (step(4, number=0xFFFFFFFB), (1, 0, 1)),
    "srun": (step(6, 5, nodes="4,2", node=1), (6, 5, 2)),
    "srun of equal nodes": (step(8, 3, nodes="4(x2)"), (8, 3, 4)),
    "srun -n 1": (step(1), (1, 0, 1)),
    "srun --mpi=pmix": (step(4, 2) | {"PMIX_RANK": "2", "PMIX_NAMESPACE": "slurm.pmix.77.0"}, (4, 2, 4)),
    "srun --mpi=pmi2": (step(4, 2) | {"PMI_SIZE": "4", "PMI_RANK": "2"}, (4, 2, 4)),
    "srun without the number of nodes": ({"SLURM_STEP_NUM_TASKS": "3", "SLURM_PROCID": "1"}, (3, 1, 3)),
    "mpirun of Open MPI": (open_mpi(12, 11, 4), (12, 11, 4)),
    "mpirun of Open MPI in a batch script": (JOB | open_mpi(8, 7, 4), (8, 7, 4)),
    "mpirun of Open MPI on another node": (step(2, 1, nodes="1(x2)", node=1) | open_mpi(8, 7, 4), (8, 7, 4)),
    "mpirun -n 1 on four nodes": (step(4, nodes="1(x4)") | open_mpi(1), (1, 0, 1)),
    "mpirun in a shell of srun": (step(1) | open_mpi(3, 1, 3), (3, 1, 3)),
    "mpirun of MPICH": (hydra(5, 4, 5), (5, 4, 5)),
    "mpirun of MPICH in a shell of srun": (step(4) | hydra(4, 0, 4), (4, 0, 4)),
    "mpirun of MPICH with as many as srun": (step(4, 2) | hydra(4, 2, 2), (4, 2, 2)),
    "MVAPICH": (
        {"MV2_COMM_WORLD_SIZE": "4", "MV2_COMM_WORLD_RANK": "3", "MV2_COMM_WORLD_LOCAL_SIZE": "2"},
        (4, 3, 2),
    ),
    "jsrun": (
        {"JSM_NAMESPACE_SIZE": "6", "JSM_NAMESPACE_RANK": "2", "JSM_NAMESPACE_LOCAL_SIZE": "3"},
        (6, 2, 3),
    ),
    "flux run": ({"FLUX_JOB_SIZE": "4", "FLUX_TASK_RANK": "3"}, (4, 3, 4)),
    "flux run with PMI": (
        {"FLUX_JOB_SIZE": "4", "FLUX_TASK_RANK": "3", "PMI_SIZE": "4", "PMI_RANK": "3"},
        (4, 3, 4),
    ),
    "PALS": (
        {"PALS_RANKID": "5", "PALS_LOCAL_SIZE": "4", "PMI_SIZE": "8", "PMI_RANK": "5", "PMI_LOCAL_SIZE": "4"},
        (8, 5, 4),
    ),
    "PALS without PMI": ({"PALS_RANKID": "1", "PALS_LOCAL_SIZE": "4"}, (2, 1, 4)),
    "an option for PALS": ({"PALS_NRANKS": "8", "PALS_PPN": "4"}, (1, 0, 1)),
    "aprun": ({"ALPS_APP_PE": "3", "ALPS_APP_DEPTH": "1"}, (4, 3, 4)),
    "prterun": ({"PMIX_RANK": "2", "PMIX_NAMESPACE": "prterun-node1-1@1"}, (3, 2, 3)),
    "prterun in a shell of srun": (
        step(1) | {"PMIX_RANK": "2", "PMIX_NAMESPACE": "prterun-node1-1@1"},
        (3, 2, 3),
    ),
    "no numbers": ({"OMPI_COMM_WORLD_SIZE": "", "PMI_SIZE": "many", "SLURM_STEP_NUM_TASKS": "-1"}, (1, 0, 1)),
}
ALONE = {"srun -n 1"}  # in which MPI is not asked


@pytest.mark.parametrize(("env", "expected"), ENVIRONMENTS.values(), ids=ENVIRONMENTS)
def test_size_rank_and_processes_of_the_node(env: dict[str, str], expected: tuple[int, int, int]) -> None:
    assert (launchers.size(env), launchers.rank(env), launchers.local_size(env)) == expected


def test_a_closed_descriptor_cuts_off(tmp_path: Path) -> None:
    """A Python program started by mpirun starts another one: subprocess closes what leads to mpirun."""
    with (tmp_path / "socket").open("w") as stream:
        opened = hydra(4, 1, 4) | {"PMI_FD": str(stream.fileno())}
        assert (launchers.size(opened), launchers.alone(opened)) == (4, False)
        also = opened | {"FLUX_JOB_SIZE": "4", "FLUX_TASK_RANK": "1"}
    assert (launchers.size(opened), launchers.rank(opened), launchers.alone(opened)) == (1, 0, True)
    assert launchers.alone(also)


@pytest.mark.parametrize("more", [{}, {"PMI_SIZE": "4", "PMI_RANK": "0"}], ids=["plain", "pmi2"])
def test_a_shell_of_several_tasks(more: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    """`srun -n 4 --pty bash` gives one shell, in which commands run alone."""
    in_shell = step(4) | {"SLURM_PTY_PORT": "4242"} | more
    monkeypatch.setattr(launchers, "_TERMINAL", os.devnull)
    assert launchers.size(in_shell) == 1
    assert launchers.alone(in_shell)
    assert launchers.size(in_shell | step(4, 2, number=1) | more) == 4  # srun in that shell
    assert launchers.size(in_shell | hydra(4, 0, 4)) == 4
    monkeypatch.setattr(launchers, "_TERMINAL", "/no/such/terminal")
    assert launchers.size(in_shell) == 4


@pytest.mark.parametrize(
    ("env", "expected"),
    [
        ({}, False),  # some launcher that is not known
        (step(1), True),
        (step(1) | {"PMIX_RANK": "0", "PMIX_NAMESPACE": "slurm.pmix.77.0"}, True),
        (step(1) | {"PMIX_RANK": "0", "PMIX_NAMESPACE": "prterun-x@1"}, False),
        (open_mpi(1) | step(4), False),  # srun in a script of mpirun -n 1, or the reverse
        (step(4), False),
    ],
)
def test_alone_is_said_only_where_it_is_sure(env: dict[str, str], expected: bool) -> None:
    assert launchers.alone(env) == expected


# ---- What a process does ----


class FakeMPI:
    """MPI of mpi4py whose world has one or more processes, whatever the launcher says."""

    def __init__(self, size: int, vendor: str = "MPICH", configured: str = "") -> None:
        self.COMM_WORLD = self
        self.size, self.rank, self.vendor, self.configured = size, 0, vendor, configured
        self.started = False

    def Get_size(self) -> int:
        assert self.started
        return self.size

    def Is_initialized(self) -> bool:
        return self.started

    def Init_thread(self) -> None:
        self.started = True

    def get_vendor(self) -> tuple[str, tuple[int, ...]]:
        return self.vendor, (4, 1, 6)

    def Get_library_version(self) -> str:
        return f"{self.vendor} configure: {self.configured}"


def pretend(monkeypatch: pytest.MonkeyPatch, env: dict[str, str], mpi: FakeMPI | None) -> FakeMPI | None:
    """This process with another environment, and mpi in place of mpi4py's; None: not installed."""
    for name in [name for name in os.environ if name.startswith(VARIABLES)]:
        monkeypatch.delenv(name)
    for name, value in env.items():
        monkeypatch.setenv(name, value)

    def import_mpi() -> FakeMPI:
        if mpi is None:
            raise ImportError
        return mpi

    monkeypatch.setattr(communicator, "_import_mpi", import_mpi)
    return mpi


@pytest.mark.parametrize(
    "env",
    [env for env, (n, _, _) in ENVIRONMENTS.values() if n > 1],
    ids=[name for name, (_, (n, _, _)) in ENVIRONMENTS.items() if n > 1],
)
@pytest.mark.parametrize("installed", [True, False])
def test_one_of_several_that_is_alone_is_refused(
    env: dict[str, str], installed: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    pretend(monkeypatch, env, FakeMPI(1) if installed else None)
    with pytest.raises(LeftAlone) as caught:
        world()
    line = str(caught.value)
    assert "\n" not in line
    assert f"{launchers.size()} processes were started" in line
    assert ("mpi4py uses MPICH 4.1.6" in line) == installed
    assert ("pip install mpi4py" in line) == (not installed)
    names = line.partition("; to run one alone, unset ")[2].split()
    assert names
    for name in names:
        monkeypatch.delenv(name)
    assert isinstance(world(), SerialComm)  # does what it says
    for name in names:  # and each is needed
        monkeypatch.setenv(name, env[name])
        with pytest.raises(LeftAlone):
            world()
        monkeypatch.delenv(name)


@pytest.mark.parametrize(
    "env",
    [env for env, (n, _, _) in ENVIRONMENTS.values() if n == 1],
    ids=[name for name, (_, (n, _, _)) in ENVIRONMENTS.items() if n == 1],
)
@pytest.mark.parametrize("installed", [True, False])
def test_a_single_process_runs(env: dict[str, str], installed: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    pretend(monkeypatch, env, FakeMPI(1) if installed else None)
    assert isinstance(world(), SerialComm)


@pytest.mark.parametrize("name", ENVIRONMENTS)
def test_what_mpi_finds_counts(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever was inherited, processes that see each other work together; one alone does not look."""
    mpi = pretend(monkeypatch, ENVIRONMENTS[name][0], FakeMPI(3, "Open MPI"))
    assert mpi is not None
    found = world()
    assert mpi.started == (found is mpi) == (name not in ALONE)
    assert isinstance(found, SerialComm) == (name in ALONE)


def test_a_single_task_does_not_start_mpi(monkeypatch: pytest.MonkeyPatch) -> None:
    """Open MPI without SLURM's PMI ends a process that it finds in a step of srun."""
    mpi = pretend(monkeypatch, step(1), FakeMPI(1))
    assert isinstance(world(), SerialComm)
    assert mpi is not None
    assert not mpi.started


@pytest.mark.parametrize(
    ("vendor", "configured", "more", "starts"),
    [
        ("MPICH", "--with-pm=hydra", {}, False),
        ("MPICH", "--with-pmix=/usr", {}, True),
        ("MPICH", "--with-pm=hydra", {"PMI_PORT": "node:1"}, True),
        ("Open MPI", "", {}, True),
    ],
)
def test_mpich_is_not_started_where_it_would_end_the_process(
    vendor: str, configured: str, more: dict[str, str], starts: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    mpi = pretend(monkeypatch, open_mpi(3) | more, FakeMPI(1, vendor, configured))
    with pytest.raises(LeftAlone, match=f"mpi4py uses {vendor} 4.1.6"):
        world()
    assert mpi is not None
    assert mpi.started == starts


def test_srun_is_told_which_plugin(monkeypatch: pytest.MonkeyPatch) -> None:
    for vendor, plugin in (("Open MPI", "pmix"), ("MPICH", "pmi2")):
        pretend(monkeypatch, step(4), FakeMPI(1, vendor))
        with pytest.raises(LeftAlone, match=f"type srun --mpi={plugin} "):
            world()


@pytest.mark.parametrize(
    ("env", "speaks"),
    [
        (open_mpi(3, 0), True),
        (open_mpi(3, 1), False),
        (step(3, 2), False),
        ({"PMIX_RANK": "1"}, True),  # rank 0 cannot know that there are others
        ({"PMIX_RANK": "2"}, False),
        ({"OMPI_COMM_WORLD_SIZE": "3"}, True),
    ],
)
def test_one_process_speaks_for_all(
    env: dict[str, str], speaks: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    pretend(monkeypatch, env, None)
    with pytest.raises(LeftAlone) as caught:
        world()
    assert caught.value.speaks == speaks


# ---- The commands ----


def without(folder: Path, *packages: str) -> dict[str, str]:
    """The environment of a process in which importing these packages is an error."""
    for package in packages:
        (folder / package).mkdir()
        (folder / package / "__init__.py").write_text("raise SystemExit('imported ' + __name__)\n")
    return os.environ | {"PYTHONPATH": str(folder)}


@pytest.mark.parametrize("option", ["--help", "-h", "--version"])
@pytest.mark.parametrize("script", ["getdata.py", "recon3d.py"])
@pytest.mark.parametrize("ranks", [1, 2, 3])
def test_help_and_version_need_neither_mpi_nor_libraries(
    script: str, option: str, ranks: int, tmp_path: Path
) -> None:
    packages = ("mpi4py", "numba", "h5py", "hdf5plugin", "fabio", "scipy", "matplotlib")
    command = [MPIRUN, "-n", str(ranks), sys.executable, ROOT / script, option]
    done = subprocess.run(
        command[3 * (ranks == 1) :],
        env=without(tmp_path, *packages),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("Recon3D " if option == "--version" else f"usage: {script[:-3]} ")
    assert done.stdout.count("Recon3D ") + done.stdout.count("usage:") == 1


@pytest.mark.parametrize("ranks", [2, 3])
def test_processes_that_mpirun_leaves_alone_end_with_one_line(ranks: int, tmp_path: Path) -> None:
    (tmp_path / "mpi4py").mkdir()
    (tmp_path / "mpi4py/__init__.py").write_text("raise ImportError\n")
    done = subprocess.run(
        [MPIRUN, "-n", str(ranks), sys.executable, ROOT / "recon3d.py", "init.txt"],
        env=os.environ | {"PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    line = error_line(done, "recon3d")
    assert f"mpirun of MPICH or Intel MPI: {ranks} processes were started (PMI_SIZE), but mpi4py" in line


def test_the_others_of_srun_end_in_silence(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """For real: the MPI library of this environment, and three tasks that srun has left alone."""
    for name, value in step(3, 1).items():
        monkeypatch.setenv(name, value)
    start = time.monotonic()
    done = run("recon3d.py", "init.txt")
    assert (done.returncode, done.stdout, done.stderr) == (1, "", "")
    assert time.monotonic() - start > 1  # rank 0 had time to say it
    monkeypatch.setenv("SLURM_PROCID", "0")
    assert "srun: 3 processes were started" in error_line(run("recon3d.py", "init.txt"), "recon3d")


def test_another_mpirun_than_that_of_mpi4py(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in open_mpi(2).items():
        monkeypatch.setenv(name, value)
    line = error_line(run("recon3d.py", "init.txt"), "recon3d")
    assert "mpirun of Open MPI: 2 processes were started (OMPI_COMM_WORLD_SIZE), but mpi4py uses" in line


def test_a_program_of_mpirun_may_start_a_single_run(tmp_path: Path) -> None:
    script = "import subprocess, sys; sys.exit(subprocess.run([sys.executable, *sys.argv[1:]]).returncode)"
    done = subprocess.run(
        [MPIRUN, "-n", "2", sys.executable, "-c", script, ROOT / "recon3d.py", tmp_path / "none.txt"],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.stderr.count("recon3d: error: ") == done.stderr.count("none.txt: no such init file") == 2
