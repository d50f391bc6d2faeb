"""Arrays between ranks, by themselves or inside of objects: as buffers and in pieces, whatever their size.

MPI counts in 32 bits, and pickling an array copies it. So arrays travel as they lie in memory, in messages
of at most LARGEST bytes; what is pickled is only what describes them. Whoever waits for a single rank
sleeps now and then: MPI libraries wait in a busy loop, which starves those who still work where there are
more ranks than cores.
"""

from __future__ import annotations

import pickle
import time
from collections.abc import Iterable, Iterator
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from .communicator import Comm, settle

T = TypeVar("T")
Bytes = NDArray[np.uint8]

LARGEST = 1 << 29  # bytes
SMALL = 1 << 10  # bytes; shorter arrays are pickled with the object that holds them
_TAG = 7
_SHORTEST_PAUSE_S, _LONGEST_PAUSE_S = 2e-5, 2e-3


# ---- Waiting ----


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


# ---- Arrays whose shape the other side knows ----


def pieces(array: NDArray[Any]) -> list[Bytes]:
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


def add_up(comm: Comm, array: NDArray[Any]) -> NDArray[Any]:
    """The sum of the arrays of all ranks, on every rank. Exact where ranks fill different places."""
    if comm.size == 1:
        return array
    mine = np.ascontiguousarray(array)
    total = np.empty_like(mine)
    at_once = LARGEST // mine.itemsize
    for start in range(0, mine.size, at_once):
        part = slice(start, start + at_once)
        comm.Allreduce(mine.reshape(-1)[part], total.reshape(-1)[part])
    return total


def allgather_rows(comm: Comm, rows: NDArray[Any], n_rows: list[int]) -> NDArray[Any]:
    """All ranks' rows under each other, on every rank; n_rows[rank] says how many each has."""
    if comm.size == 1:
        return rows
    settle(comm)
    whole = np.empty((sum(n_rows), *rows.shape[1:]), dtype=rows.dtype)
    if whole.nbytes <= LARGEST:
        row_bytes = rows.dtype.itemsize * int(np.prod(rows.shape[1:], dtype=np.int64))
        mine = np.ascontiguousarray(rows).reshape(-1).view(np.uint8)
        comm.Allgatherv(mine, [whole.reshape(-1).view(np.uint8), [n * row_bytes for n in n_rows]])
        return whole
    start = 0
    for rank, n in enumerate(n_rows):
        theirs = whole[start : start + n]
        if rank == comm.rank:
            theirs[:] = rows
        for piece in pieces(theirs):
            comm.Bcast(piece, root=rank)
        start += n
    return whole


# ---- Objects that hold arrays ----


def packed(value: Any) -> tuple[bytes, list[Bytes]]:
    """A pickle of the object without its arrays, and their bytes, not copied."""
    buffers: list[pickle.PickleBuffer] = []

    def keep(buffer: pickle.PickleBuffer) -> bool:
        if buffer.raw().nbytes < SMALL:
            return True  # in the pickle
        buffers.append(buffer)
        return False

    head = pickle.dumps(value, protocol=5, buffer_callback=keep)
    return head, [np.frombuffer(buffer.raw(), dtype=np.uint8) for buffer in buffers]


def unpacked(head: bytes, buffers: list[Bytes]) -> Any:
    """The object again; its arrays are the buffers, not copies."""
    return pickle.loads(head, buffers=[buffer.data for buffer in buffers])  # noqa: S301 - of another rank


def broadcast(comm: Comm, value: T) -> T:
    """The object of rank 0 on every rank; what other ranks give does not matter. Collective."""
    if comm.size == 1:
        return value
    head, buffers = packed(value) if comm.rank == 0 else (b"", [])
    head, sizes = comm.bcast((head, [buffer.size for buffer in buffers]))
    if comm.rank != 0:
        buffers = [np.empty(size, dtype=np.uint8) for size in sizes]
    for buffer in buffers:
        for piece in pieces(buffer):
            comm.Bcast(piece, root=0)
    found: T = value if comm.rank == 0 else unpacked(head, buffers)
    return found


def collect(comm: Comm, value: T) -> list[T]:
    """The objects of all ranks, in their order, on rank 0; nothing elsewhere. Collective."""
    if comm.size == 1:
        return [value]
    head, buffers = packed(value)
    told = comm.gather((head, [buffer.size for buffer in buffers]))
    if comm.rank != 0:
        wait(request for buffer in buffers for request in start_sending(comm, buffer, 0))
        return []
    found = [value]
    for rank, (theirs, sizes) in list(enumerate(told))[1:]:
        found.append(
            unpacked(theirs, [receive_array(comm, np.empty(n, dtype=np.uint8), rank) for n in sizes])
        )
    return found


def collect_everywhere(comm: Comm, value: T) -> list[T]:
    """The objects of all ranks, in their order, on every rank. Collective."""
    return broadcast(comm, collect(comm, value))


def start_sending_object(comm: Comm, value: Any, dest: int, tag: int) -> list[Any]:
    """Requests to wait for, until which the object must stay as it is; `dest` calls `receive_object`."""
    head, buffers = packed(value)
    requests = [comm.isend((head, [buffer.size for buffer in buffers]), dest=dest, tag=tag)]
    return requests + [r for buffer in buffers for r in start_sending(comm, buffer, dest, tag)]


def receive_object(comm: Comm, source: int, tag: int) -> Any:
    """What `source` sends."""
    for _ in pauses():
        if comm.iprobe(source=source, tag=tag):
            break
    head, sizes = comm.recv(source=source, tag=tag)
    buffers = [np.empty(size, dtype=np.uint8) for size in sizes]
    for buffer in buffers:
        wait(start_receiving(comm, buffer, source, tag))
    return unpacked(head, buffers)
