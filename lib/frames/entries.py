"""Which entries of BLISS files a user means: by name, range or pattern."""

from __future__ import annotations

import fnmatch
import re
from pathlib import Path

import h5py

from ..errors import Recon3DError
from .edf import natural
from .hdf5 import SEPARATOR, camera_paths, file_names_of, get, lost_cameras, opened

SUFFIXES = (".h5", ".hdf5", ".nxs")
_RANGE = re.compile(r"(\d+)\.(\d+)-(\d+)\.(\d+)$")


def find_entries(path: str, names: str) -> list[str]:
    """Units `file::entry` of a file, or of the files of a folder, in natural order.

    `names` is an entry (`1.1`), a range (`1.1-37.1`), a pattern (`*.1`), or several with commas.
    Entries that a range or pattern selects count only if they hold frames, or should: where a link to
    them is broken.
    """
    files = [path]
    if Path(path).is_dir():
        inside = [p.name for p in Path(path).iterdir() if p.name.endswith(SUFFIXES)]
        files = [str(Path(path) / name) for name in sorted(inside, key=natural)]
    units, present = [], []
    for file in files:
        with opened(file) as root:
            entries = sorted(
                (name for name in root if not isinstance(get(root, name), h5py.Dataset)), key=natural
            )
            present += entries
            units += [f"{file}{SEPARATOR}{e}" for e in entries if _selects(names, e, get(root, e))]
    if not units:
        shown = ", ".join(present[:12]) + (" ..." if len(present) > 12 else "")
        raise Recon3DError(
            path,
            f"no entry '{names}' with frames; the file holds {shown or 'no entries'}; "
            "dataname is an entry such as 1.1, a range 1.1-37.1, or a pattern *.1",
        )
    return units


def _selects(names: str, entry: str, group: h5py.Group | None) -> bool:
    for name in names.split(","):
        if name == entry:
            return True
        limits = _RANGE.match(name)
        if limits:
            first, sub, last, _ = (int(n) for n in limits.groups())
            number = re.fullmatch(rf"(\d+)\.{sub}", entry)
            chosen = number is not None and first <= int(number[1]) <= last
        else:
            chosen = any(c in name for c in "*?[") and fnmatch.fnmatchcase(entry, name)
        if chosen and (group is None or camera_paths(group) or lost_cameras(group) or file_names_of(group)):
            return True
    return False
