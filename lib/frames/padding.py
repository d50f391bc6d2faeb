"""Aborted scans: frames that BLISS made up (motors NaN, images 0), and frames it never took."""

from __future__ import annotations

from collections import Counter

import h5py
import numpy as np
from numpy.typing import NDArray

from .hdf5 import get, numbers_of


def padded_frames(entry: h5py.Group, n_frames: int) -> int:
    """How many frames at the end have NaN in everything that was recorded with every frame.

    One motor alone that breaks off is an encoder that did, not the end of the scan, unless it is the
    only one. 0 where nothing was recorded with the frames.
    """
    found: dict[str, int] = {}
    for place in ("instrument", "instrument/positioners"):
        group = get(entry, place)
        for name in group if isinstance(group, h5py.Group) else ():
            item = get(group, name)
            keys = ("value", "data") if isinstance(item, h5py.Group) else ("",)
            for key in keys:
                values = _recorded(get(item, key) if key else item, n_frames)
                if values is not None:
                    n_padded = _nan_at_the_end(values)
                    if n_padded < n_frames:
                        found[name] = min(n_padded, found.get(name, n_frames))
    return min(found.values(), default=0)


def n_positions(entry: h5py.Group, n_frames: int) -> int:
    """How many positions an entry recorded, where no motor has one for every frame; else n_frames."""
    instrument = get(entry, "instrument")
    sizes: Counter[int] = Counter()
    positioners = get(instrument, "positioners") if instrument is not None else None
    for name in positioners if isinstance(positioners, h5py.Group) else ():
        for path in (f"positioners/{name}", f"{name}/value", f"{name}/data"):
            item = get(instrument, path)
            if isinstance(item, h5py.Dataset) and item.ndim == 1 and item.dtype.kind in "uif":
                sizes.update([item.size] if item.size > 1 else [])
    if n_frames in sizes or not sizes:
        return n_frames
    return max(n_frames, sizes.most_common(1)[0][0])


def _recorded(item: object, n_frames: int) -> NDArray[np.float64] | None:
    """The values (n_frames,) of a dataset of so many floats that are not all the same."""
    if not isinstance(item, h5py.Dataset) or item.shape != (n_frames,) or item.dtype.kind != "f":
        return None
    values = numbers_of(item)
    return None if values is None or n_frames < 2 or (values == values[0]).all() else values


def _nan_at_the_end(values: NDArray[np.float64]) -> int:
    known = np.flatnonzero(np.isfinite(values))
    return int(values.size - 1 - known[-1]) if known.size else values.size
