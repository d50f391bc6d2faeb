"""Files that an HDF5 file points to: found where HDF5 looks for them, and named where they are missing."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import h5py
import hdf5plugin  # noqa: F401 - the compressions of ESRF detectors

from .hdf5_file import open_hdf5

LINKS, VIRTUAL, RAW = "HDF5_EXT_PREFIX", "HDF5_VDS_PREFIX", "HDF5_EXTFILE_PREFIX"  # of the environment
_ORIGIN = "${ORIGIN}"  # in the last two: the folder of the file that points
_LONGEST_CHAIN = 16  # links, one after the other


def find_file(name: str, owner: str, variable: str) -> Path | None:
    """The HDF5 file `name` that the file `owner` points to, looked for as HDF5 does; None if there is none.

    As it is if it is absolute; then (an absolute one by its last part) in the folders of the environment
    variable, beside the owner, in the working folder, and beside the file that a symlinked owner is.
    """
    folder = Path(os.path.abspath(owner)).parent  # noqa: PTH100 - links must stay as they are
    rest = Path(name)
    candidates = []
    if rest.is_absolute():
        candidates.append(rest)
        rest = Path(rest.name)
    prefixes = [text for text in os.environ.get(variable, "").split(":") if text]
    if variable == VIRTUAL:
        prefixes = [text.replace(_ORIGIN, str(folder)) for text in prefixes]
    candidates += [Path(text) / rest for text in prefixes]
    candidates += [folder / rest, rest, Path(owner).resolve().parent / rest]
    present = [path for path in candidates if path.is_file()]
    return next((path for path in present if h5py.is_hdf5(path)), present[0] if present else None)


def find_raw_file(name: str, owner: str) -> Path:
    """Where HDF5 looks for a file of external raw storage: in its one folder, else in the working folder."""
    folder = str(Path(os.path.abspath(owner)).parent)  # noqa: PTH100 - links must stay as they are
    return Path(os.environ.get(RAW, "").replace(_ORIGIN, folder)) / name


def explain(group: h5py.Group, path: str, depth: int = 0) -> str:
    """Why the path leads nowhere, seen from the group: the link that fails, and the file it names."""
    if depth > _LONGEST_CHAIN:
        return "is a link that leads in a circle"
    parts = [part for part in path.split("/") if part]
    for number, part in enumerate(parts):
        try:
            link = group.get(part, getlink=True)
        except (KeyError, OSError):
            link = None
        if link is None:
            return f"leads to {group.name.rstrip('/')}/{part}, which does not exist"
        target = _opened(group, part)
        if isinstance(target, h5py.Group):
            group = target
        elif target is None:
            return _explain_link(group, link, depth)
        elif number + 1 < len(parts):
            return f"leads to {target.name}, which is no group"
    return "leads nowhere"


def _explain_link(group: h5py.Group, link: Any, depth: int) -> str:
    if isinstance(link, h5py.SoftLink):
        start = group.file["/"] if link.path.startswith("/") else group
        return explain(start, link.path, depth + 1)
    if not isinstance(link, h5py.ExternalLink):
        return "cannot be opened"
    path = find_file(link.filename, group.file.filename, LINKS)
    if path is None:
        return f"leads to {link.filename}, which is missing; copy that file"
    try:
        with open_hdf5(path) as file:
            found = explain(file["/"], link.path, depth + 1)
            return f"leads into {link.filename}, which has no {link.path}" if "exist" in found else found
    except OSError as error:
        reason = " ".join(str(error).split())
        return f"leads to {link.filename}, which cannot be read as HDF5 ({reason}); copy that file again"


def _opened(group: h5py.Group, name: str) -> Any:
    try:
        return group.get(name)
    except (OSError, KeyError, RuntimeError):
        return None
