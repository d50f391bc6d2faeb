"""HDF5 files as BLISS writes them: opened, and what their links lead to."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import h5py
import hdf5plugin  # noqa: F401 - the compressions of ESRF detectors
import numpy as np
from numpy.typing import NDArray

from ..errors import Recon3DError

SEPARATOR = "::"  # between file and entry in the name of a unit


@contextlib.contextmanager
def opened(path: str) -> Iterator[h5py.File]:
    """The file, for reading; without a lock, so that others may write it. Raises Recon3DError."""
    if not Path(path).exists():
        raise Recon3DError(path, "no such file or folder")
    try:
        file = h5py.File(path, "r", locking=False)
    except OSError as error:
        reason = " ".join(str(error).split())
        raise Recon3DError(path, f"cannot be read as HDF5 ({reason}); copy it again") from error
    with file:
        yield file


def get(group: h5py.Group, name: str) -> Any:
    """What a link leads to, None if it leads nowhere."""
    try:
        return group.get(name)
    except (OSError, KeyError, RuntimeError):  # the last for a circle of links
        return None


def cameras_of(entry: h5py.Group) -> dict[str, h5py.Dataset]:
    """The image datasets (n, y, x) of an entry by camera."""
    found: dict[str, h5py.Dataset] = {}
    for place, inside in (("instrument", "image"), ("instrument", "data"), ("measurement", None)):
        parent = get(entry, place)
        for name in parent if isinstance(parent, h5py.Group) else ():
            item = get(parent, name)
            if inside is not None:
                item = get(item, inside) if isinstance(item, h5py.Group) else None
            if isinstance(item, h5py.Dataset) and item.ndim == 3 and item.dtype.kind in "uif":
                found.setdefault(name, item)
    return found


def numbers_of(item: Any) -> NDArray[np.float64] | None:
    """A dataset of one or many numbers as (n,), else None."""
    if not isinstance(item, h5py.Dataset) or item.ndim > 1 or item.dtype.kind not in "uif":
        return None
    return np.atleast_1d(np.asarray(item[()], dtype=np.float64))
