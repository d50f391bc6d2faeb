"""The volume put together on rank 0, from the voxels that the ranks worked on."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..parallel.communicator import Comm
from ..parallel.messages import receive_array, send_array
from ..projection.projector import Projector
from .hull import Hull, layers_of, upper_bound

Array = NDArray[np.float64]


class Result(NamedTuple):
    """What a method finds: fields by name and the mask of the grain (n_x, n_y, n_z), and other facts."""

    fields: dict[str, Array]
    mask: NDArray[np.bool_]
    facts: dict[str, Any]


NOTHING = Result({}, np.empty(0, dtype=np.bool_), {})  # what other ranks than 0 have of it


def gather_volume(
    projector: Projector,
    hull: Hull,
    n_omega: int,
    names: tuple[str, ...],
    mine: Array,
    shares: list[range],
    comm: Comm,
) -> dict[str, Array]:
    """The fields of the whole volume on rank 0, from (n_names, n_voxels) of each rank.

    Voxels that the first look ruled out have the upper bound of their completeness; their other fields
    are NaN. Collective; nothing on other ranks.
    """
    complete = gather_completeness(projector, hull, n_omega, comm)
    whole: dict[str, Array] = {}
    for name, values in zip(names, mine, strict=True):
        outside = complete if name == "completeness" else None
        found = gather_field(projector, hull, values, shares, comm, outside)
        if found is not None:
            whole[name] = found
    if complete is not None:
        whole.setdefault("completeness", complete)
    return whole


def gather_field(
    projector: Projector,
    hull: Hull,
    mine: Array,
    shares: list[range],
    comm: Comm,
    volume: Array | None = None,
) -> Array | None:
    """A field (n_x, n_y, n_z) on rank 0 from the values (n_voxels,) of each rank. Collective.

    The voxels that the first look ruled out are NaN, or stay as they are in the volume.
    """
    if comm.rank != 0:
        send_array(comm, np.ascontiguousarray(mine), dest=0)
        return None
    kept = np.empty(hull.total)
    kept[: len(shares[0])] = mine
    for rank in range(1, comm.size):
        receive_array(comm, kept[shares[rank].start : shares[rank].stop], source=rank)
    if volume is None:
        volume = np.full(projector.volume.shape, np.nan)
    start = 0
    for layer, bits, n in zip(_by_layer(volume, projector), hull.kept, hull.n_kept.tolist(), strict=True):
        here = np.unpackbits(bits, count=hull.n_in_layer).view(np.bool_)
        layer[here.reshape(layer.shape)] = kept[start : start + n]
        start += n
    return volume


def scatter_field(
    projector: Projector, hull: Hull, volume: Array | None, shares: list[range], comm: Comm
) -> Array:
    """The values (n_voxels,) of each rank from a field (n_x, n_y, n_z) of rank 0. Collective."""
    if volume is None:
        return receive_array(comm, np.empty(len(shares[comm.rank])), source=0)
    kept = np.empty(hull.total)
    start = 0
    for layer, bits, n in zip(_by_layer(volume, projector), hull.kept, hull.n_kept.tolist(), strict=True):
        here = np.unpackbits(bits, count=hull.n_in_layer).view(np.bool_)
        kept[start : start + n] = layer[here.reshape(layer.shape)]
        start += n
    for rank in range(1, comm.size):
        send_array(comm, kept[shares[rank].start : shares[rank].stop], dest=rank)
    return kept[: len(shares[0])]


def gather_completeness(projector: Projector, hull: Hull, n_omega: int, comm: Comm) -> Array | None:
    """The upper bound of completeness (n_x, n_y, n_z) that the first look knows, on rank 0. Collective."""
    counts = _gather_layers(projector, hull.counts, comm)
    unseen = None if hull.unseen is None else _gather_layers(projector, hull.unseen, comm)
    if comm.rank != 0:
        return None
    return upper_bound(counts, unseen, n_omega, hull.lacking).reshape(projector.volume.shape)


def _gather_layers(projector: Projector, mine: NDArray[np.int32], comm: Comm) -> NDArray[np.int32]:
    """The counts of all layers on rank 0, flat in C order of (x, y, z); nothing elsewhere.

    mine (n_layers, n_in_layer) are those of the layers that this rank looked at.
    """
    if comm.rank != 0:
        send_array(comm, mine, dest=0)
        return np.empty(0, dtype=np.int32)
    whole = np.empty(projector.volume.shape, dtype=np.int32)
    by_layer = _by_layer(whole, projector)
    for rank, layers in enumerate(layers_of(projector, comm)):
        counts = mine
        if rank > 0:
            counts = np.empty((len(layers), projector.n_in_layer), dtype=np.int32)
            receive_array(comm, counts, source=rank)
        by_layer[layers.start : layers.stop] = counts.reshape(len(layers), *by_layer.shape[1:])
    return whole.ravel()


def _by_layer(volume: NDArray[Any], projector: Projector) -> NDArray[Any]:
    """The same volume, its layers along the rotation axis first."""
    return np.moveaxis(volume, projector.axis, 0)
