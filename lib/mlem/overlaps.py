"""What ranks of the iterative method tell each other: predictions of shared pixels, maps of neighbours."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from ..parallel.communicator import Comm
from .expectation import View
from .maps import Maps
from .response import Image

_PREDICTION_TAG, _HALO_TAG = 21, 22


class RankExchange:
    """Adds up the predictions of all ranks where they hit the same pixels: `mlem.Exchange` for MPI.

    `views` are the given ones with `owned` set: the lowest rank that hits a pixel answers for it.
    """

    def __init__(self, comm: Comm, views: list[View]) -> None:
        self._comm = comm
        mine = [view.pixels.astype(np.int32) for view in views]
        everyone = comm.allgather(mine) if comm.size > 1 else [mine]
        self._shared: dict[int, list[NDArray[np.int64]]] = {}
        owned = [np.ones(view.pixels.size, dtype=np.bool_) for view in views]
        for rank, theirs in enumerate(everyone):
            if rank == comm.rank:
                continue
            rows = [
                np.flatnonzero(np.isin(a, b, assume_unique=True)) for a, b in zip(mine, theirs, strict=True)
            ]
            if any(r.size for r in rows):
                self._shared[rank] = rows
            if rank < comm.rank:
                for own, r in zip(owned, rows, strict=True):
                    own[r] = False
        self.views = [replace(view, owned=own) for view, own in zip(views, owned, strict=True)]

    def add_overlaps(self, indices: list[int], predictions: Sequence[Image]) -> None:
        """Send what this rank predicts for shared pixels, and add what the others predict. In place."""
        requests, incoming = [], []
        for rank, rows in self._shared.items():
            parts = [p[rows[k]] for k, p in zip(indices, predictions, strict=True)]
            outgoing = np.ascontiguousarray(np.concatenate(parts))
            received = np.empty_like(outgoing)
            incoming.append((rank, received))
            requests.append(self._comm.Irecv(received, source=rank, tag=_PREDICTION_TAG))
            requests.append(self._comm.Isend(outgoing, dest=rank, tag=_PREDICTION_TAG))
        for request in requests:
            request.Wait()
        for rank, received in incoming:
            start = 0
            for k, prediction in zip(indices, predictions, strict=True):
                rows_here = self._shared[rank][k]
                prediction[rows_here] += received[start : start + rows_here.size]
                start += rows_here.size

    def total(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """Sum over all ranks, in their order, the same on each."""
        return np.sum(self._comm.allgather(values), axis=0)


def fetch_halo(
    comm: Comm, maps: Maps, shares: list[range], n_in_layers: NDArray[np.int64], halo: int
) -> tuple[int, Maps]:
    """Maps of this rank's voxels and of those up to `halo` layers around, and the number of the first.

    The voxels of all ranks are one list, layer by layer (n_in_layers of each); rank r has shares[r].
    """
    needs = [_with_halo(share, n_in_layers, halo) for share in shares]
    mine, need = shares[comm.rank], needs[comm.rank]
    others = [rank for rank in range(comm.size) if rank != comm.rank]
    requests = []
    for rank in others:
        asked = _common(needs[rank], mine)
        if asked:
            part = maps.part(asked.start - mine.start, asked.stop - mine.start)
            requests.append(comm.isend(part, dest=rank, tag=_HALO_TAG))
    parts = {comm.rank: maps}
    for rank in others:
        if _common(need, shares[rank]):
            parts[rank] = comm.recv(source=rank, tag=_HALO_TAG)
    for request in requests:
        request.wait()
    return need.start, Maps.joined([parts[rank] for rank in sorted(parts)])


def _with_halo(share: range, n_in_layers: NDArray[np.int64], halo: int) -> range:
    """The share widened to whole layers, `halo` of them on each side; an empty one stays empty."""
    if not share:
        return share
    ends = np.concatenate([[0], np.cumsum(n_in_layers)])
    first = int(np.searchsorted(ends, share.start, side="right")) - 1
    last = int(np.searchsorted(ends, share.stop, side="left")) - 1
    start, stop = max(first - halo, 0), min(last + halo + 1, n_in_layers.size)
    return range(int(ends[start]), int(ends[stop]))


def _common(a: range, b: range) -> range:
    return range(max(a.start, b.start), max(min(a.stop, b.stop), max(a.start, b.start)))
