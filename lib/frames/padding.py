"""Aborted scans: frames that BLISS made up (motors NaN, images 0), and frames it never took."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping

import h5py
import numpy as np
from numpy.typing import NDArray

from .hdf5 import get, numbers_of

Values = NDArray[np.float64]


def padded_frames(entry: h5py.Group, motors: Mapping[str, Values], n_frames: int) -> int:
    """How many frames at the end have NaN in everything that was recorded with every frame.

    One motor alone that breaks off is an encoder that did, not the end of the scan, unless it is the
    only one. 0 where nothing was recorded with the frames. motors are the positions of each (n_frames,).
    """
    if not any(np.isnan(values[-1]) for values in motors.values()):
        return 0
    found = []
    for item in _recorded(entry, get(entry, "instrument") or ()):
        values = numbers_of(item) if item.size == n_frames and item.dtype.kind == "f" else None
        if values is not None and np.isfinite(values).any() and not (values == values[0]).all():
            found.append(int(values.size - 1 - np.flatnonzero(np.isfinite(values))[-1]))
    return min(found, default=0)


def n_positions(entry: h5py.Group, motors: Mapping[str, Values], n_frames: int) -> int:
    """How many positions an entry recorded, where no motor has one for every frame; else n_frames."""
    moving = [name for name, values in motors.items() if (values != values[0]).any()]
    sizes = Counter(item.size for item in _recorded(entry, moving))
    return n_frames if n_frames in sizes or not sizes else max(n_frames, sizes.most_common(1)[0][0])


def _recorded(entry: h5py.Group, names: Iterable[str]) -> Iterator[h5py.Dataset]:
    """The datasets of several numbers that these motors have."""
    instrument = get(entry, "instrument")
    for name in names if isinstance(instrument, h5py.Group) else ():
        for path in (f"positioners/{name}", f"{name}/value", f"{name}/data"):
            item = get(instrument, path)
            if (
                isinstance(item, h5py.Dataset)
                and item.ndim == 1
                and item.size > 1
                and item.dtype.kind in "uif"
            ):
                yield item
