"""The volume put together on rank 0, from the voxels that the ranks worked on."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..parallel.communicator import Comm, receive_array, send_array
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
    """The fields of the whole volume on rank 0, one rank at a time, from (n_names, n_voxels) of each.

    Voxels that the first look ruled out have the upper bound of their completeness; their other fields
    are NaN. Collective; nothing on other ranks.
    """
    counts = _gather_layers(projector, hull.counts, comm)
    unseen = None if hull.unseen is None else _gather_layers(projector, hull.unseen, comm)
    whole: dict[str, Array] = {}
    if comm.rank == 0:
        n_voxels = projector.volume.n_voxels
        whole = {name: np.full(n_voxels, np.nan) for name in names}
        whole["completeness"] = upper_bound(counts, unseen, n_omega, hull.lacking)
    elif shares[comm.rank]:
        send_array(comm, mine, dest=0)
    for rank, share in enumerate(shares if comm.rank == 0 else []):
        if not share:
            continue
        if rank > 0:
            mine = np.empty((len(names), len(share)))
            receive_array(comm, mine, source=rank)
        places = projector.c_order(hull.voxels(share))
        for name, values in zip(names, mine, strict=True):
            whole[name][places] = values
    return {name: values.reshape(projector.volume.shape) for name, values in whole.items()}


def _gather_layers(projector: Projector, mine: NDArray[np.int32], comm: Comm) -> NDArray[np.int32]:
    """The counts of all layers on rank 0, flat in C order of (x, y, z); nothing elsewhere.

    mine (n_layers, n_in_layer) are those of the layers that this rank looked at.
    """
    if comm.rank != 0:
        send_array(comm, mine, dest=0)
        return np.empty(0, dtype=np.int32)
    shape = projector.volume.shape
    whole = np.empty(shape, dtype=np.int32)
    by_layer = np.moveaxis(whole, projector.axis, 0)
    for rank, layers in enumerate(layers_of(projector, comm)):
        counts = mine
        if rank > 0:
            counts = np.empty((len(layers), projector.n_in_layer), dtype=np.int32)
            receive_array(comm, counts, source=rank)
        by_layer[layers.start : layers.stop] = counts.reshape(len(layers), *by_layer.shape[1:])
    return whole.ravel()
