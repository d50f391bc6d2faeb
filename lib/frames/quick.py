"""The few questions that are asked of very many HDF5 objects, by h5py's low-level interface: 10 x faster.

An entry of BLISS lists each motor of the beamline, and a scan has hundreds of entries.
"""

from __future__ import annotations

import h5py
import numpy as np
from h5py import h5d, h5g, h5s, h5t
from numpy.typing import NDArray

GROUP, DATASET, OTHER, NOTHING = "group", "dataset", "other", ""
_KINDS = {h5g.GROUP: GROUP, h5g.DATASET: DATASET}
_ERRORS = (KeyError, OSError, RuntimeError, TypeError, ValueError)  # the third for links in a circle


def kind_of(group: h5py.Group, path: str) -> str:
    """What a path leads to; NOTHING where it leads nowhere, also by a broken link."""
    key = b""
    try:
        for part in path.split("/"):  # asked step by step: an error takes longer than all these questions
            key = key + b"/" + _bytes(part) if key else _bytes(part)
            if not group.id.links.exists(key):
                return NOTHING
        return _KINDS.get(h5g.get_objinfo(group.id, key).type, OTHER)
    except _ERRORS:
        return NOTHING


def holds(group: h5py.Group, path: str) -> bool:
    """Whether there is a link of that name in a group, or in a group below it that is there."""
    return bool(group.id.links.exists(_bytes(path)))


def shape_and_kind(group: h5py.Group, path: str) -> tuple[tuple[int, ...] | None, str]:
    """Shape of the dataset and kind of its numpy dtype; () and "" where the path leads to none."""
    try:
        dataset = h5d.open(group.id, _bytes(path))
        return dataset.shape, dataset.dtype.kind
    except _ERRORS:
        return (), ""


def is_stack(group: h5py.Group, path: str) -> bool:
    """Whether a path leads to a dataset of numbers along three axes, as frames are."""
    try:
        dataset = h5d.open(group.id, _bytes(path))
        return dataset.rank == 3 and dataset.dtype.kind in "uif"
    except _ERRORS:
        return False


def numbers(group: h5py.Group, path: str, most: int) -> NDArray[np.float64] | None:
    """One number or several (n,), at most so many; None where the path leads to anything else."""
    try:
        dataset = h5d.open(group.id, _bytes(path))
        shape = dataset.shape
        if shape is None or len(shape) > 1 or not 0 < (size := shape[0] if shape else 1) <= most:
            return None
        if dataset.get_type().get_class() not in (h5t.FLOAT, h5t.INTEGER):
            return None
        values = np.empty(size)
        dataset.read(h5s.ALL, h5s.ALL, values if shape else values.reshape(()), h5t.NATIVE_DOUBLE)
        return values
    except _ERRORS:
        return None


def _bytes(name: str) -> bytes:
    return name.encode("utf-8", "surrogateescape")
