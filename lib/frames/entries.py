"""Which entries of BLISS files a user means: by name, range, pattern or title."""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import h5py

from ..errors import Recon3DError
from .camera import odd_frames
from .catalog import broken_links, motor_names, text_of
from .command import outline_of
from .hdf5 import SEPARATOR, camera_paths, file_names_of, get, lost_cameras, opened
from .names import natural, split_names

SUFFIXES = (".h5", ".hdf5", ".nxs")
TITLE = "title:"
_SLOW = re.compile(r"\d+\.(?!1$)\d+$")  # n.2, the slow counters of the scan n.1
_ENTRY = re.compile(r"\d+\.\d+$")
_MOST_TITLES = 8  # that a message lists


def find_files(path: str) -> list[str]:
    """The file itself, or the HDF5 files of a folder, in natural order."""
    if not Path(path).is_dir():
        return [path]
    inside = [p.name for p in Path(path).iterdir() if p.name.endswith(SUFFIXES)]
    return [str(Path(path) / name) for name in sorted(inside, key=natural)]


def find_entries(path: str, names: str) -> list[str]:
    """Units `file::entry` of a file, or of the files of a folder, in natural order.

    `names` is an entry (`1.1`), a range (`1.1-37.1`), a pattern (`*.1`), a pattern of titles
    (`title:fscan2d*`), or several with commas; a pattern that fits no entry is tried on the titles. Of
    what a range or pattern selects, entries without a camera are no matter, but for scans whose camera
    did not record and for links that lead nowhere: the reader of frames says what is wrong with them.
    """
    wanted = split_names(names)
    by_name: dict[str, set[str]] = {name: set() for name in wanted}
    by_title: dict[str, set[str]] = {name: set() for name in wanted}
    titles: dict[str, str] = {}
    lost = set()  # links to entries that lead nowhere; their titles may be any
    for unit, group in _all_entries(path):
        entry = unit.rpartition(SEPARATOR)[2]
        title = titles[unit] = text_of(get(group, "title")) if group is not None else ""
        if group is None:
            lost.add(unit)
        selecting = [name for name in wanted if _selects(name, entry)]
        by_its_title = [name for name in wanted if _selects_title(name, title)]
        if (selecting or by_its_title) and not _holds_or_lost_frames(entry, group):
            selecting, by_its_title = [], []
        for name in (*selecting, *(name for name in wanted if name == entry)):
            by_name[name].add(unit)
        for name in by_its_title:
            by_title[name].add(unit)
    chosen: set[str] = set()
    for name in wanted:
        if not (by_name[name] or by_title[name]):
            raise Recon3DError(
                path,
                f"no entry '{name}' with frames; the file holds {_what_is_there(titles)}; dataname is "
                "an entry such as 1.1, a range 1.1-37.1, a pattern *.1, or title:fscan*; --list lists them",
            )
        chosen |= by_name[name] or by_title[name] | lost
    return [unit for unit in titles if unit in chosen]


def _all_entries(path: str) -> Iterator[tuple[str, Any]]:
    """Every entry of the files as unit and open group, None where its link leads nowhere."""
    for file in find_files(path):
        with opened(file) as root:
            for entry in sorted(root, key=natural):
                group = get(root, entry)
                if group is None or isinstance(group, h5py.Group):
                    yield f"{file}{SEPARATOR}{entry}", group


def _what_is_there(titles: dict[str, str]) -> str:
    """The entries for a message, those whose titles differ in numbers only together."""
    kinds: dict[str, list[str]] = {}
    for unit, title in titles.items():
        entry = unit.rpartition(SEPARATOR)[2]
        words = [w for w in title.split() if not re.match(r"[-+.\d]", w)]
        kinds.setdefault(" ".join(words), []).append(entry)
    parts = []
    for text, entries in list(kinds.items())[:_MOST_TITLES]:
        shown = ", ".join(entries[:6]) + (f" ... {entries[-1]}" if len(entries) > 6 else "")
        parts.append(f"{shown} ({text})" if text else shown)
    more = f"; and {len(kinds) - _MOST_TITLES} other kinds" if len(kinds) > _MOST_TITLES else ""
    return "; ".join(parts) + more if parts else "no entries"


def _selects(name: str, entry: str) -> bool:
    """Whether a range or pattern means this entry, by its name."""
    if name.startswith(TITLE):
        return False
    limits = [(name[: m.start()], name[m.end() :]) for m in re.finditer("-", name)]
    if any(_in_range(entry, first, last) for first, last in limits):
        return True
    return _is_pattern(name) and fnmatch.fnmatchcase(entry, name)


def _selects_title(name: str, title: str) -> bool:
    pattern = name.removeprefix(TITLE).strip()
    return (name.startswith(TITLE) or _is_pattern(name)) and fnmatch.fnmatchcase(title, pattern)


def _in_range(entry: str, first: str, last: str) -> bool:
    """Whether an entry lies in first..last: names that differ in numbers only, with the same last number.

    >>> _in_range("10.1", "2.1", "37.1"), _in_range("10.2", "2.1", "37.1")
    (True, False)
    >>> _in_range("a_3.1", "a_1.1", "a_9.1")
    True
    """
    texts, numbers = [], []
    for name in (first, entry, last):
        parts = re.split(r"(\d+)", name)
        texts.append(parts[::2])
        numbers.append([int(n) for n in parts[1::2]])
    if not (_ENTRY.search(first) and texts[0] == texts[1] == texts[2]):
        return False
    return (
        numbers[0] <= numbers[1] and numbers[1][:-1] <= numbers[2][:-1] and numbers[0][-1] == numbers[1][-1]
    )


def _is_pattern(name: str) -> bool:
    return any(c in name for c in "*?[")


def _holds_or_lost_frames(entry: str, group: Any) -> bool:
    """Whether an entry of a range or pattern has to do with frames."""
    if group is None or camera_paths(group):
        return True
    if _SLOW.search(entry):
        return False
    if broken_links(group) or lost_cameras(group) or file_names_of(group) or odd_frames(group):
        return True
    return bool(outline_of(text_of(get(group, "title")), {}, motor_names(group)).motors)


def all_units(path: str) -> list[str]:
    """The units of all entries of a file, or of the files of a folder, in natural order."""
    return [unit for unit, _ in _all_entries(path)]
