"""Who started this process, and as one of how many: what mpirun, srun and others leave in the environment.

Known before MPI is, and without it: nothing heavy is imported here. Launchers can be nested (mpirun in a
shell of srun), and what the outer one said is then inherited; the first in `_KNOWN` that says something
counts, because it is the one that is started within the others. Variables that a batch system sets for
the whole job (SLURM_NTASKS) or reads as options (PALS_NRANKS) say nothing about a process.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from typing import NamedTuple

_FIRST_SPECIAL_STEP = 0xFFFFFFF0  # numbers of SLURM's steps for the batch script and interactive shells
_TERMINAL = "/dev/tty"  # can be opened by who has a controlling terminal


class Launch(NamedTuple):
    """What a launcher says: the processes that it started together, and which of them this is.

    None is what it does not say; local_size are those on this node, said_by is the variable that tells that
    there are several. cut_off is a process that stands apart from the others, and cannot reach them.
    """

    launcher: str
    size: int | None
    rank: int | None
    local_size: int | None
    said_by: str
    cut_off: bool = False

    @property
    def is_one_of_several(self) -> bool:
        """Whether it is sure that there are others."""
        return self.size > 1 if self.size is not None else bool(self.rank)

    @property
    def speaks(self) -> bool:
        """Whether this is the one process that says what is wrong with all of them."""
        return self.rank in (None, 1 if self.size is None else 0)


class _Launcher(NamedTuple):
    """The names of its variables: size, rank, and the processes of a node; empty where there is none."""

    name: str
    size: str
    rank: str
    local_size: tuple[str, ...] = ()


_OPEN_MPI = _Launcher(
    "mpirun of Open MPI", "OMPI_COMM_WORLD_SIZE", "OMPI_COMM_WORLD_RANK", ("OMPI_COMM_WORLD_LOCAL_SIZE",)
)
_PMI = _Launcher(
    "mpirun of MPICH or Intel MPI", "PMI_SIZE", "PMI_RANK", ("MPI_LOCALNRANKS", "PMI_LOCAL_SIZE")
)
_PMIX = _Launcher("prterun", "", "PMIX_RANK")
_SRUN = _Launcher("srun", "SLURM_STEP_NUM_TASKS", "SLURM_PROCID")
_KNOWN = (
    _OPEN_MPI,
    _Launcher(
        "mpirun_rsh of MVAPICH", "MV2_COMM_WORLD_SIZE", "MV2_COMM_WORLD_RANK", ("MV2_COMM_WORLD_LOCAL_SIZE",)
    ),
    _Launcher("jsrun", "JSM_NAMESPACE_SIZE", "JSM_NAMESPACE_RANK", ("JSM_NAMESPACE_LOCAL_SIZE",)),
    _PMI,
    _Launcher("flux run", "FLUX_JOB_SIZE", "FLUX_TASK_RANK"),
    _Launcher("mpiexec of PALS", "", "PALS_RANKID", ("PALS_LOCAL_SIZE",)),
    _Launcher("aprun", "", "ALPS_APP_PE"),
    _PMIX,
    _SRUN,
)


def found(env: Mapping[str, str] | None = None) -> list[Launch]:
    """What the launchers that started this process say, the innermost first; empty if none is known."""
    env = os.environ if env is None else env
    launches = []
    for known in _KNOWN:
        if (launch := _read(known, env)) is not None:
            launches.append(launch)
            if launch.cut_off:
                break
    return launches


def alone(env: Mapping[str, str] | None = None) -> bool:
    """Whether it is sure that this process was started as the only one, so that MPI need not be asked."""
    launches = found(env)
    return bool(launches) and all(launch.size == 1 for launch in launches)


def to_unset(env: Mapping[str, str] | None = None) -> list[str]:
    """The variables without which this process would not be sure that it is one of several."""
    env, names = dict(os.environ if env is None else env), []
    while (launches := found(env)[:1]) and launches[0].is_one_of_several:  # the next one then counts
        names.append(launches[0].said_by)
        del env[names[-1]]
    return names


def size(env: Mapping[str, str] | None = None) -> int:
    """How many processes were started together, this one included; 1 where nobody says more."""
    for launch in found(env)[:1]:
        return launch.size if launch.size is not None else (launch.rank or 0) + 1
    return 1


def rank(env: Mapping[str, str] | None = None) -> int:
    """The number of this process among those started together; 0 where nobody says."""
    return next((launch.rank or 0 for launch in found(env)), 0)


def local_size(env: Mapping[str, str] | None = None) -> int:
    """How many of the processes started together are on this node; all of them where nobody says."""
    return next((launch.local_size for launch in found(env)[:1] if launch.local_size), size(env))


def _read(launcher: _Launcher, env: Mapping[str, str]) -> Launch | None:
    """What one launcher says, or None if it did not start this process, or not as one of its processes."""
    n, number = _size_and_rank(launcher, env)
    if n is None and (launcher.size or number is None):
        return None
    if launcher is _PMIX and env.get("PMIX_NAMESPACE", "").startswith("slurm."):
        return None  # srun with PMIx: it says how many there are
    said_by = launcher.size or launcher.rank
    if launcher is _PMI and not _is_open(env.get("PMI_FD")):  # closed by a program between it and mpirun
        return Launch(launcher.name, 1, 0, 1, said_by, cut_off=True)
    local = next((said for name in launcher.local_size if (said := _count(env, name))), None)
    if launcher is _PMI and local is None and (n, number) == _size_and_rank(_SRUN, env):
        return _read(_SRUN, env)  # srun speaks PMI
    if launcher is _SRUN:
        if number is None or (_count(env, "SLURM_STEP_ID") or 0) >= _FIRST_SPECIAL_STEP:
            return None
        if _in_a_shell_of_srun(env):
            return Launch(launcher.name, 1, 0, 1, said_by, cut_off=True)
        local = _tasks_of_node(env)
    return Launch(launcher.name, n, number, 1 if n == 1 else local, said_by)


def _size_and_rank(launcher: _Launcher, env: Mapping[str, str]) -> tuple[int | None, int | None]:
    return _count(env, launcher.size), _count(env, launcher.rank)


def _in_a_shell_of_srun(env: Mapping[str, str]) -> bool:
    """Whether this is a command typed in a shell of `srun -n 8 --pty bash`: there is one shell, of task 0.

    A step started in that shell inherits the variable, but has no terminal.
    """
    return "SLURM_PTY_PORT" in env and env.get("SLURM_PROCID") == "0" and _has_terminal()


def _has_terminal() -> bool:
    try:
        os.close(os.open(_TERMINAL, os.O_RDWR | os.O_NOCTTY))
    except OSError:
        return False
    return True


def _is_open(descriptor: str | None) -> bool:
    """Whether the number of a file descriptor is that of an open one; true where there is none."""
    try:
        os.fstat(int(descriptor or 0)) if descriptor else None
    except (OSError, ValueError):
        return False
    return True


def _tasks_of_node(env: Mapping[str, str]) -> int | None:
    """From lists such as 4(x2),3 the number at the place of this node."""
    node, places = _count(env, "SLURM_NODEID"), []
    for tasks, repeats in re.findall(r"(\d+)(?:\(x(\d+)\))?", env.get("SLURM_STEP_TASKS_PER_NODE", "")):
        places += [int(tasks)] * int(repeats or 1)
    return places[node] if node is not None and node < len(places) else None


def _count(env: Mapping[str, str], name: str) -> int | None:
    text = env.get(name, "")
    return int(text) if text.isascii() and text.isdigit() else None
