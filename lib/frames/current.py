"""The ring current of the frames of a BLISS entry: from the entry itself, or the slow counters beside it."""

from __future__ import annotations

import re

import h5py
import numpy as np
from numpy.typing import NDArray

from .hdf5 import get
from .numbers import read
from .quick import DATASET, kind_of

Values = NDArray[np.float64]

_PLACES = (
    "instrument/current/data",
    "instrument/current/signal",
    "instrument/current/value",
    "measurement/current",
    "instrument/machine/current",
)
_CLOCKS = {
    "epoch": ("instrument/epoch/value", "instrument/epoch/data", "measurement/epoch"),
    "elapsed time": (
        "instrument/elapsed_time/value",
        "instrument/elapsed_time/data",
        "measurement/elapsed_time",
    ),
}
_FRAME_CLOCKS = {
    "epoch": ("instrument/epoch_trig/data", "measurement/epoch_trig", "instrument/epoch_trig/value")
}
_MOST = 1 << 20  # values of a slow counter that are read


def ring_current_of(entry: h5py.Group, n_frames: int) -> Values:
    """Ring current of every frame in mA (n_frames,), NaN where it is unknown.

    One value for each frame counts before those of the slow counters, which are taken at the time of
    each frame where both times are known and else as their mean, and before one for the entry.
    Neither NaN nor 0 is a current.
    """
    own = [_currents(entry, place, n_frames) for place in _PLACES]
    for values in own:
        if values is not None and values.size == n_frames and np.isfinite(values).any():
            return values
    slow = get(entry.parent, _slow_counters(entry))
    for group in (slow, entry):
        if isinstance(group, h5py.Group):
            found = _from_counters(group, entry, n_frames)
            if found is not None:
                return found
    single = [v[0] for v in own if v is not None and v.size == 1 and np.isfinite(v[0])]
    if not single and isinstance(slow, h5py.Group):
        others = [_currents(slow, place, 1) for place in _PLACES]
        single = [v[0] for v in others if v is not None and v.size == 1 and np.isfinite(v[0])]
    return np.full(n_frames, single[0] if single else np.nan)


def _slow_counters(entry: h5py.Group) -> str:
    """The entry of the slow counters: 3.2 beside 3.1."""
    name = entry.name.rpartition("/")[2]
    return re.sub(r"\.1$", ".2", name) if name.endswith(".1") else "none"


def _numbers(group: h5py.Group, place: str, n_frames: int) -> Values | None:
    if kind_of(group, place) != DATASET:
        return None
    reading = read(group, place, place, max(n_frames, _MOST // 16))
    return None if reading is None else reading.values


def _currents(group: h5py.Group, place: str, n_frames: int) -> Values | None:
    values = _numbers(group, place, n_frames)
    return None if values is None else np.where(values > 0, values, np.nan)


def _from_counters(group: h5py.Group, entry: h5py.Group, n_frames: int) -> Values | None:
    """The current of counters of their own rate at the frames of the entry; None if there is none."""
    for place in _PLACES:
        values = _currents(group, place, n_frames)
        if values is None or values.size < 2 or not np.isfinite(values).any():
            continue
        known = np.isfinite(values)
        for clock, places in _CLOCKS.items():
            times = _first(group, places, values.size, n_frames)
            frames = _first(entry, (*_FRAME_CLOCKS.get(clock, ()), *places), n_frames, n_frames)
            if times is None or frames is None:
                continue
            sound = known & np.isfinite(times)
            when = np.sort(times[sound]) if sound.any() else np.zeros(0)
            if not when.size or frames[np.isfinite(frames)].size == 0:
                continue
            order = np.argsort(times[sound], kind="stable")
            found = np.interp(frames, when, values[sound][order])
            return np.where(np.isfinite(found), found, values[known].mean())
        return np.full(n_frames, values[known].mean())
    return None


def _first(group: h5py.Group, places: tuple[str, ...], size: int, n_frames: int) -> Values | None:
    """The first of these datasets that has so many values."""
    for place in places:
        values = _numbers(group, place, n_frames)
        if values is not None and values.size == size:
            return values
    return None
