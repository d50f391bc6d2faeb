"""Rank 0 hands out work on arrays that it holds; the others do it and send bytes back.

Rank 0 works too, and looks after the others meanwhile. The results come in the order of the jobs, whoever
did them; no more is handed out ahead of the next one than MOST_AHEAD, so that memory stays bounded.
"""

from __future__ import annotations

import itertools
import pickle
import traceback
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from .communicator import Comm, OtherRankFailed, SerialComm, abort
from .messages import pauses, receive_array, send_array, start_sending, wait

_JOB_TAG, _DONE_TAG = 41, 42
_QUEUE = 2  # jobs of a rank: the next is there when one is done
MOST_AHEAD = 512 << 20  # bytes of the arrays of jobs whose results have not been taken yet


class Job(NamedTuple):
    """work(*arguments, *arrays) yields bytes; a function of a module, and C-contiguous arrays."""

    work: Callable[..., Iterator[bytes]]
    arguments: tuple[Any, ...]
    arrays: tuple[NDArray[Any], ...]

    def parts(self) -> Iterator[bytes]:
        """Do it."""
        return self.work(*self.arguments, *self.arrays)


class Crew:
    """All ranks, on rank 0: `with Crew(comm) as crew: crew.results(jobs)`. The others `help_out(comm)`."""

    def __init__(self, comm: Comm) -> None:
        self._comm = comm
        self._given: dict[int, list[int]] = {rank: [] for rank in range(1, comm.size)}
        self._sending: dict[int, list[Any]] = {}
        self._done: dict[int, list[bytes]] = {}
        self._jobs: Iterator[Job] = iter(())
        self._next = 0
        self._ahead: dict[int, int] = {}  # bytes of the jobs that were handed out, see MOST_AHEAD
        self._failed = self._leaving = False

    def __enter__(self) -> Crew:
        return self

    def __exit__(self, *error: object) -> None:
        """Let the others go once they have done what they were given."""
        self._jobs, self._leaving = iter(()), True
        for _ in pauses():
            self._look_after()
            if not any(self._given.values()):
                break
        wait([self._comm.isend(None, dest=rank, tag=_JOB_TAG) for rank in self._given])

    def results(self, jobs: Iterable[Job]) -> Iterator[list[bytes]]:
        """What each job yields, in their order. Raises OtherRankFailed where another rank has an error."""
        self._jobs, self._next = iter(jobs), 0
        for turn in itertools.count():
            self._look_after()
            while turn not in self._done and (job := self._take()):
                self._do(*job)
            if turn == self._next:
                break
            for _ in pauses():
                if turn in self._done:
                    break
                self._look_after()
            del self._ahead[turn]
            yield self._done.pop(turn)

    def _take(self) -> tuple[int, Job] | None:
        """The next job and its number, if there is one that may be handed out."""
        job = next(self._jobs, None) if sum(self._ahead.values()) < MOST_AHEAD else None
        if job is None:
            return None
        number, self._next = self._next, self._next + 1
        self._ahead[number] = sum(array.nbytes for array in job.arrays)
        return number, job

    def _do(self, number: int, job: Job) -> None:
        """A job of rank 0's own, in a thread: long messages pass only while both sides look after them.

        New jobs are handed out between its own ones only: what makes them need not bear being run beside one.
        """
        if not self._given:
            self._done[number] = list(job.parts())
            return
        with ThreadPoolExecutor(max_workers=1) as thread:
            own = thread.submit(lambda: list(job.parts()))
            for _ in pauses():
                if own.done():
                    break
                self._take_in()
        self._done[number] = own.result()

    def _look_after(self) -> None:
        """Take in what others have done, and give them more."""
        self._take_in()
        for rank, numbers in self._given.items():
            while len(numbers) < _QUEUE and (job := self._take()):
                numbers.append(job[0])
                self._give(rank, *job)
        if self._failed and not self._leaving:
            raise OtherRankFailed

    def _take_in(self) -> None:
        for rank, numbers in self._given.items():
            while numbers and self._comm.iprobe(source=rank, tag=_DONE_TAG):
                self._receive(rank, numbers.pop(0))

    def _give(self, rank: int, number: int, job: Job) -> None:
        told = np.frombuffer(pickle.dumps((job.work, job.arguments)), dtype=np.uint8)
        arrays = (told, *job.arrays)
        described = [(array.shape, array.dtype.str) for array in arrays]
        requests = [self._comm.isend(described, dest=rank, tag=_JOB_TAG)]
        for array in arrays:
            requests += start_sending(self._comm, array, rank)
        self._sending[number] = requests

    def _receive(self, rank: int, number: int) -> None:
        n_parts, n_bytes = self._comm.recv(source=rank, tag=_DONE_TAG)
        wait(self._sending.pop(number))
        if n_parts < 0:
            self._failed = True
            return
        ends = receive_array(self._comm, np.empty(n_parts, dtype=np.int64), rank).tolist()
        whole = receive_array(self._comm, np.empty(n_bytes, dtype=np.uint8), rank)
        self._done[number] = [
            whole[start:end].tobytes() for start, end in zip([0, *ends], ends, strict=False)
        ]


ALONE = Crew(SerialComm())


def help_out(comm: Comm) -> None:
    """Do what rank 0 hands out until it lets go. An error of a job is raised then."""
    try:
        error = _serve(comm)
    except Exception:  # not of a job: rank 0 would wait forever
        traceback.print_exc()
        abort(comm)
        raise
    if error is not None:
        raise error


def _serve(comm: Comm) -> Exception | None:
    error: Exception | None = None
    while (described := _next_job(comm)) is not None:
        told, *arrays = (receive_array(comm, np.empty(shape, dtype), 0) for shape, dtype in described)
        parts: list[bytes] = []
        try:
            if error is None:
                work, arguments = pickle.loads(told.tobytes())  # noqa: S301 - our own
                parts = list(Job(work, arguments, tuple(arrays)).parts())
        except Exception as failure:
            error = failure
        if error is not None:
            comm.send((-1, 0), dest=0, tag=_DONE_TAG)
            continue
        ends = np.cumsum([len(part) for part in parts], dtype=np.int64)
        whole = np.frombuffer(b"".join(parts), dtype=np.uint8)
        comm.send((ends.size, whole.size), dest=0, tag=_DONE_TAG)
        send_array(comm, ends, dest=0)
        send_array(comm, whole, dest=0)
    return error


def _next_job(comm: Comm) -> Any:
    for _ in pauses():
        if comm.iprobe(source=0, tag=_JOB_TAG):
            break
    return comm.recv(source=0, tag=_JOB_TAG)
