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
from collections.abc import Iterator
from typing import Any

from ..errors import Recon3DError

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


def world() -> Comm:
    """MPI's world, or a `SerialComm` where mpi4py or an MPI library is missing."""
    try:
        from mpi4py import MPI
    except (ImportError, RuntimeError):  # RuntimeError: mpi4py found no MPI library
        if _launched() > 1:
            raise Recon3DError(
                "mpirun",
                f"{_launched()} processes were started, but mpi4py with an MPI library is not installed",
            ) from None
        return SerialComm()
    if MPI.COMM_WORLD.Get_size() > 1:
        return MPI.COMM_WORLD
    if _launched() > 1:
        raise Recon3DError(
            "mpirun",
            f"{_launched()} processes were started, but each is alone: mpirun and mpi4py's MPI differ",
        )
    return SerialComm()


def _launched() -> int:
    """How many processes mpirun says that it has started."""
    return next((int(os.environ[k]) for k in ("PMI_SIZE", "OMPI_COMM_WORLD_SIZE") if k in os.environ), 1)


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
