"""What ranks of the iterative method tell each other: predictions of shared pixels, maps of neighbours."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from ..parallel.communicator import Comm
from ..parallel.messages import (
    allgather_rows,
    receive_array,
    receive_object,
    start_receiving,
    start_sending,
    start_sending_object,
    wait,
)
from .expectation import View
from .maps import Maps
from .response import Image

Boxes = NDArray[np.int32]

_PREDICTION_TAG, _HALO_TAG = 21, 22


class RankExchange:
    """Adds up the predictions of all ranks where they hit the same pixels: `mlem.Exchange` for MPI.

    `views` are the given ones with `owned` set: the lowest rank that hits a pixel answers for it.
    """

    def __init__(self, comm: Comm, views: list[View]) -> None:
        self._comm = comm
        self._shared = _shared_rows(comm, views)
        owned = [np.ones(view.pixels.size, dtype=np.bool_) for view in views]
        for rank, rows in self._shared.items():
            if rank < comm.rank:
                for own, r in zip(owned, rows, strict=True):
                    own[r] = False
        self.views = [replace(view, owned=own) for view, own in zip(views, owned, strict=True)]

    def add_overlaps(self, indices: list[int], predictions: Sequence[Image]) -> None:
        """Send what this rank predicts for shared pixels, and add what the others predict. In place."""
        requests, incoming, outgoing = [], [], []
        for rank, rows in self._shared.items():
            parts = [p[rows[k]] for k, p in zip(indices, predictions, strict=True)]
            outgoing.append(np.ascontiguousarray(np.concatenate(parts)))
            received = np.empty_like(outgoing[-1])
            incoming.append((rank, received))
            requests += start_receiving(self._comm, received, rank, _PREDICTION_TAG)
            requests += start_sending(self._comm, outgoing[-1], rank, _PREDICTION_TAG)
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
        return np.asarray(allgather_rows(self._comm, values[None], [1] * self._comm.size).sum(axis=0))


def _shared_rows(comm: Comm, views: list[View]) -> dict[int, list[NDArray[np.int32]]]:
    """Rows of this rank's pixels that another rank hits too, by rank and view; ranks without are left out.

    All ranks learn the boxes around each other's pixels; two of them tell each other, a bit per pixel, what
    they hit where their boxes meet.
    """
    mine = np.array([_box(view) for view in views], dtype=np.int32).reshape(1, len(views), 4)
    boxes = allgather_rows(comm, mine, [1] * comm.size)
    shared: dict[int, list[NDArray[np.int32]]] = {}
    for step in range(1, comm.size):
        to, source = (comm.rank + step) % comm.size, (comm.rank - step) % comm.size
        there, here = _meet(mine[0], boxes[to]), _meet(mine[0], boxes[source])
        sent = _bits(views, there)
        requests = start_sending(comm, sent, to)
        bits = receive_array(comm, np.empty(_n_bytes(here).sum(), dtype=np.uint8), source)
        wait(requests)
        rows = _rows(views, here, bits)
        if any(r.size for r in rows):
            shared[source] = rows
    return dict(sorted(shared.items()))


def _box(view: View) -> tuple[int, int, int, int]:
    """First and last x, first and last y of the pixels, these not included; empty without any."""
    if not view.pixels.size:
        return 0, 0, 0, 0
    x, y = np.divmod(view.pixels, view.shape[1])
    return int(x.min()), int(x.max()) + 1, int(y.min()), int(y.max()) + 1


def _meet(a: Boxes, b: Boxes) -> Boxes:
    """The boxes (n_views, 4) in which two lists of boxes meet."""
    low, high = np.maximum(a[:, ::2], b[:, ::2]), np.minimum(a[:, 1::2], b[:, 1::2])
    return np.stack([low, np.maximum(low, high)], axis=2).reshape(-1, 4)


def _n_bytes(boxes: Boxes) -> NDArray[np.int64]:
    """Bytes (n_views,) of the bits of the pixels in each box."""
    sides = (boxes[:, 1::2] - boxes[:, ::2]).astype(np.int64)
    return -(-sides.prod(axis=1) // 8)


def _places(view: View, box: NDArray[np.int32]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The rows of the view's pixels that lie in a box, and their numbers in it."""
    x0, x1, y0, y1 = box.tolist()
    n_y = view.shape[1]
    first, last = np.searchsorted(view.pixels, [x0 * n_y, x1 * n_y])
    x, y = np.divmod(view.pixels[first:last], n_y)
    inside = np.flatnonzero((y >= y0) & (y < y1))
    return first + inside, (x[inside] - x0) * (y1 - y0) + y[inside] - y0


def _bits(views: list[View], boxes: Boxes) -> NDArray[np.uint8]:
    """A bit for each pixel of the boxes: whether it is hit."""
    parts = [np.empty(0, dtype=np.uint8)]
    for view, box, n in zip(views, boxes, _n_bytes(boxes).tolist(), strict=True):
        if n:
            hit = np.zeros(8 * n, dtype=np.bool_)
            hit[_places(view, box)[1]] = True
            parts.append(np.packbits(hit))
    return np.concatenate(parts)


def _rows(views: list[View], boxes: Boxes, bits: NDArray[np.uint8]) -> list[NDArray[np.int32]]:
    """The rows of each view whose pixels are hit by the rank that sent the bits."""
    found, start = [], 0
    for view, box, n in zip(views, boxes, _n_bytes(boxes).tolist(), strict=True):
        rows, numbers = _places(view, box) if n else (np.empty(0, np.int64),) * 2
        hit = np.unpackbits(bits[start : start + n]).view(np.bool_)
        found.append(rows[hit[numbers]].astype(np.int32))
        start += n
    return found


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
            requests += start_sending_object(comm, part, rank, _HALO_TAG)
    parts = {comm.rank: maps}
    for rank in others:
        if _common(need, shares[rank]):
            parts[rank] = receive_object(comm, rank, _HALO_TAG)
    wait(requests)
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
