"""What ranks tell each other: counted on the way, and from the shapes of a scan and a volume."""

from __future__ import annotations

import pickle
import sys
from dataclasses import dataclass, field
from typing import Any

from lib.result.compression import chunk_sides

_HERE = (__name__, "lib.parallel.")


@dataclass
class Count:
    """Messages of one kind."""

    calls: int = 0
    n_bytes: int = 0
    largest: int = 0

    def add(self, n_bytes: int) -> None:
        """One more."""
        self.calls += 1
        self.n_bytes += n_bytes
        self.largest = max(self.largest, n_bytes)


@dataclass
class Traffic:
    """By the function that communicates: objects that were pickled, and buffers; what this rank gave."""

    pickled: dict[str, Count] = field(default_factory=dict)
    buffers: dict[str, Count] = field(default_factory=dict)
    received: int = 0

    def table(self) -> dict[str, dict[str, list[int]]]:
        """For JSON: calls, bytes and the largest message by function."""
        return {
            kind: {place: [c.calls, c.n_bytes, c.largest] for place, c in counts.items()}
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


def largest_buffers(
    n_omega: int,
    n_pairs: int,
    image: tuple[int, int],
    voxels: tuple[int, int, int],
    n_kept: int,
    n_ranks: int,
    at_once: int = 2 << 20,
) -> dict[str, int]:
    """The largest message of the stages that send any of a size that grows, in bytes; before it is cut up.

    image are the pixels (n_x, n_y) of a frame, n_kept the voxels that the first look leaves, at_once
    those of a slab of grain.vtkhdf. Where it depends on the grain: the most that is possible.
    """
    n_pixels, n_voxels = image[0] * image[1], voxels[0] * voxels[1] * voxels[2]
    layers = -(-max(voxels) // n_ranks)  # of a rank, along the rotation axis; the most
    bits = -(-n_pixels // 8)
    side_x, side_y, _ = chunk_sides(voxels)
    slab = 8 * max(min(at_once, side_x * voxels[1] * voxels[2]), side_x * side_y * voxels[2])
    omegas = max(n_ranks, (64 << 20) // bits)
    return {
        "reconstruction._prepare_on_all": max(4 * n_pixels, 64 * n_omega, n_omega * n_pairs),
        "hull.add": -(-min(n_omega, omegas) // n_ranks) * (bits + 64 * sum(image)),
        "hull.find_hull": layers * (n_voxels // min(voxels) + 7),
        "gather._gather_layers": 4 * layers * n_voxels // min(voxels),
        "gather.gather_field": 8 * -(-n_kept // n_ranks),
        "projections._voxels": 8 * min(n_kept, 1 << 20),
        "projections.each": max(4 * n_pixels, 72 * n_omega),
        "overlaps._shared_rows": n_omega * max(bits + 1, 16),
        "overlaps.add_overlaps": 4 * n_omega * n_pairs * n_pixels,
        "volume._fill": slab,
        "reconstruction._run": 5 * slab // 4,  # what comes back
        "derived.misorientation": 8 * 6 * voxels[1] * voxels[2],
    }
