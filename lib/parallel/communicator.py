"""Everything that knows MPI: the communicator, and errors that all ranks agree on.

The communicator is passed in everywhere; only the command line asks `world()` for it. A serial run
uses `SerialComm`, so the work below knows nothing of the difference.
"""

from __future__ import annotations

import contextlib
import os
import pickle
import sys
import time
import traceback
import warnings
from collections.abc import Iterator
from typing import Any

from ..errors import Recon3DError
from . import launchers
from .launchers import Launch

_ALARM_TAG = 911
_SHORTEST_PAUSE_S, _LONGEST_PAUSE_S = 1e-4, 5e-3


class SerialComm:
    """The part of an MPI communicator that this program uses, for one process without MPI."""

    rank = 0
    size = 1

    def bcast(self, value: Any, root: int = 0) -> Any:
        """Return the value."""
        return value

    def allgather(self, value: Any) -> list[Any]:
        """Return the values of all ranks."""
        return [value]

    def gather(self, value: Any, root: int = 0) -> list[Any]:
        """Return the values of all ranks."""
        return [value]


Comm = Any  # an mpi4py communicator or a SerialComm


class LeftAlone(Recon3DError):
    """One of several processes that do not find each other: each would do all of the work, and write it.

    `speaks` is true of the one that says so for all.
    """

    def __init__(self, launch: Launch, what: str) -> None:
        n = f"at least {(launch.rank or 0) + 1}" if launch.size is None else str(launch.size)
        found = f"{n} processes were started ({launch.said_by}), but {what}"
        super().__init__(
            launch.launcher, f"{found}; to run one alone, unset {' '.join(launchers.to_unset())}"
        )
        self.speaks = launch.speaks


def world() -> Comm:
    """MPI's world, or a `SerialComm` where this process is the only one; then MPI is not even started.

    Raises LeftAlone where the launcher knows of others, and MPI does not.
    """
    if launchers.alone():
        return SerialComm()
    several = [launch for launch in launchers.found()[:1] if launch.is_one_of_several]
    with warnings.catch_warnings():  # mpi4py warns of some of what LeftAlone says
        warnings.filterwarnings("ignore", "suspicious MPI execution environment")
        try:
            MPI = _import_mpi()
        except (ImportError, RuntimeError):  # RuntimeError: mpi4py found no MPI library
            for launch in several:
                raise LeftAlone(launch, f"mpi4py with an MPI library is not installed: {_INSTALL}") from None
            return SerialComm()
        can_start = _can_start(MPI)
        if can_start and not MPI.Is_initialized():
            MPI.Init_thread()
    if can_start and MPI.COMM_WORLD.Get_size() > 1:
        return MPI.COMM_WORLD
    for launch in several:
        raise LeftAlone(launch, _what_to_type(launch, *MPI.get_vendor()))
    return SerialComm()


def _import_mpi() -> Any:
    """MPI of mpi4py, not started yet."""
    from mpi4py import rc

    rc.initialize, rc.finalize = False, True
    from mpi4py import MPI

    return MPI


def _can_start(MPI: Any) -> bool:
    """False where MPICH would end the process as it starts: without PMIx under a launcher that speaks it."""
    if MPI.get_vendor()[0] != "MPICH" or "PMIX_RANK" not in os.environ:
        return True
    knows_pmix = "pmix" in MPI.Get_library_version().lower()
    return knows_pmix or any(name in os.environ for name in ("PMI_FD", "PMI_PORT"))


_INSTALL = "type pip install mpi4py where the MPI of your site is loaded"
_BUILD = "pip install --force-reinstall --no-cache-dir --no-binary=mpi4py mpi4py"


def _what_to_type(launch: Launch, name: str, version: tuple[int, ...]) -> str:
    """Where the launcher and the MPI of mpi4py do not know each other."""
    mine = f"{name} {'.'.join(map(str, version))}"
    theirs = launch.launcher.split(" of ")[-1]
    if launch.launcher == "srun":
        plugin = "pmix" if name == "Open MPI" else "pmi2"
        typed = f"srun --mpi={plugin} (srun --mpi=list shows all), or the mpirun of {name}"
    else:
        typed = f"the mpirun of {name}, or build mpi4py for {theirs}: {_BUILD}"
    return f"mpi4py uses {mine}, in which each is alone: type {typed}"


class OtherRankFailed(Exception):
    """Raised out of a long loop when another rank has given up; that rank's error is the one to show."""


@contextlib.contextmanager
def together(comm: Comm) -> Iterator[None]:
    """Run a block that does not communicate; if it fails on one rank, it fails on all of them.

    Every rank then raises the error of the lowest rank that has one of its own. Loops inside the
    block call `check_alarm` now and then, so that nobody works on for hours after a failure.
    """
    error: BaseException | None = None
    alarms: list[Any] = []
    try:
        yield
    except OtherRankFailed as alarm:
        error = alarm
    except Exception as failure:
        error = failure
        alarms = [comm.isend(None, dest=r, tag=_ALARM_TAG) for r in range(comm.size) if r != comm.rank]
    settle(comm)
    verdicts = comm.allgather(_portable(error))
    for rank, verdict in enumerate(verdicts):
        if rank != comm.rank and verdict is not None and not isinstance(verdict, OtherRankFailed):
            comm.recv(source=rank, tag=_ALARM_TAG)
    for alarm_sent in alarms:
        alarm_sent.wait()
    for verdict in verdicts:
        if verdict is not None and not isinstance(verdict, OtherRankFailed):
            verdict.agreed = True  # all ranks are about to leave
            raise verdict from error


def _portable(error: BaseException | None) -> BaseException | None:
    """The error itself where it survives the journey to another rank, else its traceback as text."""
    if error is None or isinstance(error, Recon3DError | OtherRankFailed):
        return error
    text = "".join(traceback.format_exception(error))
    with contextlib.suppress(Exception):
        copy = pickle.loads(pickle.dumps(error))  # noqa: S301 - our own bytes
        copy.add_note(text) if hasattr(copy, "add_note") else None
        return copy
    return RuntimeError(text)


def settle(comm: Comm) -> None:
    """Wait for all ranks without burning the processor that a slower rank may need.

    MPI libraries wait in a busy loop; with more ranks than cores that starves those who still work.
    """
    if comm.size == 1:
        return
    request, pause = comm.Ibarrier(), _SHORTEST_PAUSE_S
    while not request.Test():
        time.sleep(pause)
        pause = min(2.0 * pause, _LONGEST_PAUSE_S)


def check_alarm(comm: Comm) -> None:
    """Leave a long loop if another rank has failed. Costs a microsecond."""
    if comm.size > 1 and comm.iprobe(tag=_ALARM_TAG):
        raise OtherRankFailed


def abort(comm: Comm) -> None:
    """End all ranks at once: the last resort when this one fails where the others do not look."""
    sys.stderr.flush()
    if comm.size > 1:
        comm.Abort(1)
