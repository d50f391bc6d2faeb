"""Arrays between ranks: as buffers and in pieces, whatever their size.

MPI counts in 32 bits, and pickling an array copies it. So arrays travel as they lie in memory, in messages
of at most LARGEST bytes; what is pickled is only what describes them, some hundred bytes each. Whoever
waits sleeps now and then: MPI libraries wait in a busy loop, which starves those who still work where
there are more ranks than cores.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .communicator import Comm

LARGEST = 1 << 29  # bytes
_TAG = 31
_SHORTEST_PAUSE_S, _LONGEST_PAUSE_S = 2e-5, 2e-3


def pauses() -> Iterator[None]:
    """Pauses of a wait, from short to long: `for _ in pauses(): if done: break`."""
    pause = _SHORTEST_PAUSE_S
    while True:
        yield
        time.sleep(pause)
        pause = min(2.0 * pause, _LONGEST_PAUSE_S)


def wait(requests: Iterable[Any]) -> None:
    """Wait for requests of MPI."""
    for request in requests:
        for _ in pauses():
            if request.Test():
                break


def pieces(array: NDArray[Any]) -> list[NDArray[np.uint8]]:
    """The bytes of a C-contiguous array in messages that MPI can count; not copied."""
    flat = array.reshape(-1).view(np.uint8)
    return [flat[start : start + LARGEST] for start in range(0, flat.size, LARGEST)]


def start_sending(comm: Comm, array: NDArray[Any], dest: int, tag: int = _TAG) -> list[Any]:
    """Requests to wait for; until then the C-contiguous array must stay as it is."""
    return [comm.Isend(piece, dest=dest, tag=tag) for piece in pieces(array)]


def start_receiving(comm: Comm, array: NDArray[Any], source: int, tag: int = _TAG) -> list[Any]:
    """Requests to wait for, into a C-contiguous array of the sender's shape and dtype."""
    return [comm.Irecv(piece, source=source, tag=tag) for piece in pieces(array)]


def send_array(comm: Comm, array: NDArray[Any], dest: int) -> None:
    """Send a C-contiguous array to `dest`, which calls `receive_array`."""
    wait(start_sending(comm, array, dest))


def receive_array(comm: Comm, array: NDArray[Any], source: int) -> NDArray[Any]:
    """Receive into a C-contiguous array of the sender's shape and dtype, and return it."""
    wait(start_receiving(comm, array, source))
    return array


def broadcast(comm: Comm, array: NDArray[Any]) -> NDArray[Any]:
    """The array of rank 0 on every rank; what other ranks give does not matter. Collective."""
    if comm.size == 1:
        return array
    whole = np.ascontiguousarray(array)
    shape, dtype = comm.bcast((whole.shape, whole.dtype.str))
    if comm.rank != 0:
        whole = np.empty(shape, dtype=dtype)
    for piece in pieces(whole):
        comm.Bcast(piece, root=0)
    return whole


def gather_arrays(
    comm: Comm, arrays: Sequence[NDArray[Any]], *, everywhere: bool = False
) -> list[NDArray[Any]]:
    """The arrays of all ranks, in their order, on rank 0 or everywhere; else none. Collective."""
    if comm.size == 1:
        return list(arrays)
    mine = [np.ascontiguousarray(array) for array in arrays]
    told = comm.allgather([(array.shape, array.dtype.str) for array in mine])
    found: list[NDArray[Any]] = []
    for rank, described in enumerate(told):
        for number, (shape, dtype) in enumerate(described):
            whole = mine[number] if rank == comm.rank else None
            if everywhere:
                whole = np.empty(shape, dtype=dtype) if whole is None else whole
                for piece in pieces(whole):
                    comm.Bcast(piece, root=rank)
            elif comm.rank == 0:
                whole = receive_array(comm, np.empty(shape, dtype), rank) if whole is None else whole
            elif whole is not None:
                send_array(comm, whole, dest=0)
            if whole is not None and (everywhere or comm.rank == 0):
                found.append(whole)
    return found
