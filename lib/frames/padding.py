"""Aborted scans: frames that BLISS made up (motors NaN, images 0), and frames it never took."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from .hdf5 import get
from .quick import DATASET, kind_of, numbers, shape_and_kind

Values = NDArray[np.float64]


def padded_frames(entry: h5py.Group, motors: Mapping[str, Values], n_frames: int) -> int:
    """How many frames at the end have NaN in everything that was recorded with every frame.

    One motor alone that breaks off is an encoder that did, not the end of the scan, unless it is the
    only one. 0 where nothing was recorded with the frames. motors are the positions of each (n_frames,).
    """
    if not any(np.isnan(values[-1]) for values in motors.values()):
        return 0
    found = []
    instrument = get(entry, "instrument")
    for path, n, kind in _recorded(instrument, instrument):
        values = numbers(instrument, path, n) if n == n_frames and kind == "f" else None
        if values is not None and np.isfinite(values).any() and not (values == values[0]).all():
            found.append(int(values.size - 1 - np.flatnonzero(np.isfinite(values))[-1]))
    return min(found, default=0)


def n_positions(entry: h5py.Group, motors: Mapping[str, Values], n_frames: int) -> int:
    """How many positions an entry recorded, where no motor has one for every frame; else n_frames."""
    moving = (name for name, values in motors.items() if (values != values[0]).any())
    sizes: Counter[int] = Counter()
    for _, n, _ in _recorded(get(entry, "instrument"), moving):
        if n == n_frames:
            return n_frames
        sizes[n] += 1
    return max(n_frames, sizes.most_common(1)[0][0]) if sizes else n_frames


def _recorded(instrument: Any, names: Iterable[str] | None) -> Iterator[tuple[str, int, str]]:
    """The datasets of several numbers that these motors have: path, how many, and kind of dtype."""
    for name in (names or ()) if isinstance(instrument, h5py.Group) else ():
        for path in (f"positioners/{name}", f"{name}/value", f"{name}/data"):
            if kind_of(instrument, path) != DATASET:
                continue
            shape, kind = shape_and_kind(instrument, path)
            if kind in ("u", "i", "f") and shape and len(shape) == 1 and shape[0] > 1:
                yield path, shape[0], kind
