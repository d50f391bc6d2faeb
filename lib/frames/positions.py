"""Where the motors of a BLISS entry stood at each of its frames, and the ring current."""

from __future__ import annotations

from collections import Counter

import h5py
import numpy as np
from numpy.typing import NDArray

from .hdf5 import get, numbers_of


def motors_of(entry: h5py.Group, n_frames: int) -> dict[str, NDArray[np.float64]]:
    """Positions of all motors (n_frames,): those that were scanned, and the fixed ones repeated."""
    instrument = get(entry, "instrument") or {}
    fixed: dict[str, NDArray[np.float64]] = {}
    scanned: dict[str, NDArray[np.float64]] = {}
    positioners = get(instrument, "positioners") or {}
    for name in positioners:
        values = numbers_of(get(positioners, name))
        if values is not None and values.size:
            (fixed if values.size == 1 else scanned)[name] = values
    for name in instrument:
        item = get(instrument, name)
        for key in ("value", "data") if isinstance(item, h5py.Group) and name != "positioners" else ():
            values = numbers_of(get(item, key))
            if values is not None and values.size > 1:
                scanned[name] = values
                break
    length = _length_of_scan(fixed, scanned, n_frames)
    result = {name: np.full(n_frames, values[0]) for name, values in fixed.items()}
    for name, values in scanned.items():
        if values.size == length:
            result[name] = np.full(n_frames, np.nan)
            result[name][: min(length, n_frames)] = values[:n_frames]
    return result


def _length_of_scan(
    fixed: dict[str, NDArray[np.float64]], scanned: dict[str, NDArray[np.float64]], n_frames: int
) -> int:
    """How many positions were recorded: one per frame, but for an aborted scan."""
    lengths = Counter(values.size for name, values in scanned.items())
    motors = Counter(scanned[name].size for name in fixed if name in scanned) or lengths
    return n_frames if n_frames in lengths or not motors else motors.most_common(1)[0][0]


def ring_current_of(entry: h5py.Group, n_frames: int) -> NDArray[np.float64]:
    """Ring current of every frame in mA, NaN where it is unknown."""
    for place in ("instrument/machine/current", "instrument/current/data", "measurement/current"):
        values = numbers_of(get(entry, place))
        if values is not None and values.size in (1, n_frames):
            return np.broadcast_to(values, (n_frames,))
    return np.full(n_frames, np.nan)
