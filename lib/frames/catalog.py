"""What a scan says of itself before its frames are read: title, command, how it ended, its cameras."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any

import h5py
import numpy as np

from ..errors import Recon3DError
from . import numbers
from .hdf5 import SEPARATOR, cameras_of, get, opened

_COMMAND = re.compile(r"\w*(scan|mesh|zap)\w*|s?ct", re.IGNORECASE)  # a first word that BLISS knows
_TO_STEP = re.compile(r"[ad]\d*(scan|mesh)|lookupscan")  # motor from to intervals; others: motor from step n
_POSITIONERS = (
    "instrument/positioners",
    "instrument/positioners_start",
    "instrument/start_positioners",
    "positioners_start",
    "start_positioners",
)


@dataclass(frozen=True)
class Command:
    """A title taken apart: its first word, the motors that it names and their steps (None: not said).

    word is empty where the title is free text.
    """

    word: str = ""
    motors: tuple[str, ...] = ()
    steps: tuple[float | None, ...] = ()


@dataclass(frozen=True)
class Entry:
    """An entry of an HDF5 file; cameras are (n, rows, columns) by name, broken links to frames that fail."""

    unit: str
    title: str = ""
    end_reason: str = ""
    cameras: dict[str, tuple[int, int, int]] = field(default_factory=dict)
    broken: tuple[str, ...] = ()
    motors: frozenset[str] = frozenset()  # those of the beamline, counters are none
    command: Command = Command()

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
            return facts_of(unit, get(root, name))
    except Recon3DError:
        return Entry(unit)


def facts_of(unit: str, entry: Any) -> Entry:
    """The facts of an entry that is open; an `entry` that is no group is a link that leads nowhere."""
    if not isinstance(entry, h5py.Group):
        return Entry(unit, broken=(unit.rpartition(SEPARATOR)[2],))
    title = text_of(get(entry, "title"))
    motors = motor_names(entry)
    cameras = {name: _shape(image) for name, image in cameras_of(entry).items()}
    return Entry(
        unit,
        title,
        text_of(get(entry, "end_reason")),
        cameras,
        () if cameras else tuple(broken_links(entry)),
        motors,
        _parameters_of(entry) or parse_command(title, motors),
    )


def _shape(image: h5py.Dataset) -> tuple[int, int, int]:
    rows, columns = image.shape[-2:]
    return int(np.prod(image.shape[:-2])), int(rows), int(columns)


def text_of(item: Any) -> str:
    """A dataset of text on one line, empty if it is none."""
    return " ".join(numbers.text_of(item).split())


def motor_names(entry: h5py.Group) -> frozenset[str]:
    """The motors of the beamline, as the lists of positions name them."""
    places = (get(entry, place) for place in _POSITIONERS)
    return frozenset(name for group in places if isinstance(group, h5py.Group) for name in group)


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


def _parameters_of(entry: h5py.Group) -> Command | None:
    """The command as instrument/fscan_parameters has it, None if it does not say."""
    group = get(entry, "instrument/fscan_parameters")
    if not isinstance(group, h5py.Group):
        return None
    word = text_of(get(group, "scan_name")) or text_of(get(group, "scan_type"))
    found = []
    for kind in ("", "slow_", "fast_"):
        motor = text_of(get(group, f"{kind}motor"))
        if motor:
            found.append((motor, _float_of(get(group, f"{kind}step_size"))))
    if not word or not found:
        return None
    return Command(word, tuple(m for m, _ in found), tuple(s for _, s in found))


def _float_of(item: Any) -> float | None:
    try:
        return float(item[()]) if isinstance(item, h5py.Dataset) else None
    except (OSError, TypeError, ValueError):
        return None


def parse_command(title: str, motors: frozenset[str]) -> Command:
    """The command in a title; what is followed by numbers is a motor, and so are the names in `motors`.

    >>> parse_command("fscan2d chi -0.5 0.08 26 diffry 7.12 0.06 37 0.5 0.5004", frozenset())
    Command(word='fscan2d', motors=('chi', 'diffry'), steps=(0.08, 0.06))
    >>> parse_command("ascan mu 0 1 10 0.1", frozenset(("mu",)))
    Command(word='ascan', motors=('mu',), steps=(0.1,))
    >>> parse_command("the sample at 300 K", frozenset())
    Command(word='', motors=(), steps=())
    """
    word, *rest = re.split(r"[\s(),]+", title.strip()) or [""]
    if not _COMMAND.fullmatch(word):
        return Command()
    named: list[tuple[str, list[float]]] = []
    for part in rest:
        try:
            number = float(part)
        except ValueError:
            named.append((part, []))
        else:
            if named:
                named[-1][1].append(number)
    named = [(name, n) for name, n in named if name in motors or (name.isidentifier() and len(n) > 1)]
    return Command(word, tuple(name for name, _ in named), tuple(_step(word, n) for _, n in named))


def _step(word: str, numbers: list[float]) -> float | None:
    if not _TO_STEP.fullmatch(word):
        return numbers[1] if word.startswith("fscan") and len(numbers) >= 3 else None
    if len(numbers) < 3 or not numbers[2] > 0:
        return None
    return (numbers[1] - numbers[0]) / numbers[2]
