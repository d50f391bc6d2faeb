"""What ranks tell each other, counted on the way."""

from __future__ import annotations

import pickle
import sys
from dataclasses import dataclass, field
from typing import Any

_HERE = (__name__, "lib.parallel.")


@dataclass
class Count:
    """Messages of one kind."""

    n_bytes: int = 0
    largest: int = 0

    def add(self, n_bytes: int) -> None:
        """One more."""
        self.n_bytes += n_bytes
        self.largest = max(self.largest, n_bytes)


@dataclass
class Traffic:
    """By the function that communicates: objects that were pickled, and buffers; what this rank gave."""

    pickled: dict[str, Count] = field(default_factory=dict)
    buffers: dict[str, Count] = field(default_factory=dict)
    received: int = 0

    def table(self) -> dict[str, dict[str, list[int]]]:
        """For JSON: bytes and the largest message by function."""
        return {
            kind: {place: [c.n_bytes, c.largest] for place, c in counts.items()}
            for kind, counts in (("pickled", self.pickled), ("buffers", self.buffers))
        }


class CountingComm:
    """A communicator that counts what its rank sends and receives."""

    def __init__(self, comm: Any) -> None:
        self._comm, self.traffic = comm, Traffic()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._comm, name)

    def _gave(self, kind: dict[str, Count], n_bytes: int) -> None:
        kind.setdefault(_place(), Count()).add(n_bytes)

    def bcast(self, value: Any, root: int = 0) -> Any:
        """Count the pickle."""
        value = self._comm.bcast(value, root)
        if self._comm.rank == root:
            self._gave(self.traffic.pickled, _size(value))
        else:
            self.traffic.received += _size(value)
        return value

    def allgather(self, value: Any) -> Any:
        """Count the pickles."""
        self._gave(self.traffic.pickled, _size(value))
        everyone = self._comm.allgather(value)
        self.traffic.received += sum(_size(v) for v in everyone) - _size(value)
        return everyone

    def gather(self, value: Any, root: int = 0) -> Any:
        """Count the pickles."""
        self._gave(self.traffic.pickled, _size(value))
        everyone = self._comm.gather(value, root)
        self.traffic.received += sum(_size(v) for v in everyone) - _size(value) if everyone else 0
        return everyone

    def send(self, value: Any, **where: int) -> None:
        """Count the pickle."""
        self._gave(self.traffic.pickled, _size(value))
        self._comm.send(value, **where)

    def isend(self, value: Any, **where: int) -> Any:
        """Count the pickle."""
        self._gave(self.traffic.pickled, _size(value))
        return self._comm.isend(value, **where)

    def recv(self, **where: int) -> Any:
        """Count the pickle."""
        value = self._comm.recv(**where)
        self.traffic.received += _size(value)
        return value

    def Bcast(self, array: Any, root: int = 0) -> None:  # noqa: N802 - mpi4py's name
        """Count the array."""
        if self._comm.rank == root:
            self._gave(self.traffic.buffers, array.nbytes)
        else:
            self.traffic.received += array.nbytes
        self._comm.Bcast(array, root)

    def Allgatherv(self, mine: Any, whole: Any) -> None:  # noqa: N802
        """Count what goes to the others, and what comes from them."""
        self._gave(self.traffic.buffers, mine.nbytes)
        self.traffic.received += whole[0].nbytes - mine.nbytes
        self._comm.Allgatherv(mine, whole)

    def Allreduce(self, mine: Any, total: Any) -> None:  # noqa: N802
        """Count the array."""
        self._gave(self.traffic.buffers, mine.nbytes)
        self.traffic.received += mine.nbytes
        self._comm.Allreduce(mine, total)

    def Isend(self, array: Any, **where: int) -> Any:  # noqa: N802
        """Count the array."""
        self._gave(self.traffic.buffers, array.nbytes)
        return self._comm.Isend(array, **where)

    def Irecv(self, array: Any, **where: int) -> Any:  # noqa: N802
        """Count the array."""
        self.traffic.received += array.nbytes
        return self._comm.Irecv(array, **where)


def _size(value: Any) -> int:
    return len(pickle.dumps(value, protocol=5))


def _place() -> str:
    """The function that communicates, outside of what moves messages."""
    frame: Any = sys._getframe(2)
    while frame.f_globals.get("__name__", "").startswith(_HERE) or frame.f_code.co_name[0] == "<":
        frame = frame.f_back
    return f"{frame.f_globals['__name__'].rpartition('.')[2]}.{frame.f_code.co_name}"
