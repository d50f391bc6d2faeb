"""What a scan says of itself before its frames are read: title, command, how it ended, its cameras."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import h5py

from ..errors import Recon3DError
from . import numbers
from .command import Outline, outline_of
from .hdf5 import SEPARATOR, camera_paths, get, opened
from .quick import GROUP, kind_of

_POSITIONERS = (
    "instrument/positioners",
    "instrument/positioners_start",
    "instrument/start_positioners",
    "positioners_start",
    "start_positioners",
)


@dataclass(frozen=True)
class Entry:
    """An entry of an HDF5 file; cameras are (n, rows, columns) by name, broken links to frames that fail."""

    unit: str
    title: str = ""
    end_reason: str = ""
    cameras: dict[str, tuple[int, int, int]] = field(default_factory=dict)
    broken: tuple[str, ...] = ()
    motors: frozenset[str] = frozenset()  # those of the beamline, counters are none
    command: Outline = Outline()
    parameters: Mapping[str, str] = field(default_factory=dict)  # instrument/fscan_parameters, as text

    @property
    def name(self) -> str:
        """The entry alone, without its file."""
        return self.unit.rpartition(SEPARATOR)[2]

    @property
    def label(self) -> str:
        """How a message names it: file, entry and title."""
        return f"{self.unit} ({self.title or 'no title'})"


def read_entry_facts(unit: str) -> Entry:
    """The facts of `file::entry`; what cannot be read is empty, the frames' own reader says why."""
    path, _, name = unit.rpartition(SEPARATOR)
    try:
        with opened(path) as root:
            entry = get(root, name)
            return facts_of(unit, entry, camera_paths(entry) if isinstance(entry, h5py.Group) else {})
    except Recon3DError:
        return Entry(unit)


def facts_of(unit: str, entry: Any, paths: Mapping[str, str]) -> Entry:
    """The facts of an entry that is open, with the `camera_paths` in it.

    An `entry` that is no group is a link that leads nowhere.
    """
    if not isinstance(entry, h5py.Group):
        return Entry(unit, broken=(unit.rpartition(SEPARATOR)[2],))
    title, parameters, motors = text_of(get(entry, "title")), parameters_of(entry), motor_names(entry)
    cameras = {name: _shape(entry, path) for name, path in paths.items()}
    return Entry(
        unit,
        title,
        text_of(get(entry, "end_reason")),
        cameras,
        () if cameras else tuple(broken_links(entry)),
        motors,
        outline_of(title, parameters, motors),
        parameters,
    )


def _shape(entry: h5py.Group, path: str) -> tuple[int, int, int]:
    n_frames, rows, columns = entry[path].shape
    return int(n_frames), int(rows), int(columns)


def text_of(item: Any) -> str:
    """A dataset of text on one line, empty if it is none."""
    return " ".join(numbers.text_of(item).split())


def motor_names(entry: h5py.Group) -> frozenset[str]:
    """The motors of the beamline, as the lists of positions name them."""
    groups = [entry[place] for place in _POSITIONERS if kind_of(entry, place) == GROUP]
    return frozenset(name for group in groups for name in group)


def broken_links(entry: h5py.Group) -> list[str]:
    """Links where frames may be that lead nowhere, as places inside the entry."""
    found = []
    instrument, measurement = get(entry, "instrument"), get(entry, "measurement")
    for place, group in (("instrument", instrument), ("measurement", measurement)):
        for name in group if isinstance(group, h5py.Group) else ():
            item = get(group, name)
            if item is None and isinstance(group.get(name, getlink=True), h5py.ExternalLink):
                found.append(f"{place}/{name}")
            if isinstance(item, h5py.Group) and place == "instrument":
                keys = [key for key in ("data", "image") if key in item and get(item, key) is None]
                found += [f"{place}/{name}/{key}" for key in keys]
    return found


def parameters_of(entry: h5py.Group) -> dict[str, str]:
    """instrument/fscan_parameters as text, empty where there are none."""
    group = get(entry, "instrument/fscan_parameters")
    if not isinstance(group, h5py.Group):
        return {}
    return {name: text_of(get(group, name)) for name in group}
