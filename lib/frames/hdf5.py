"""HDF5 files as BLISS writes them: opened, and what their links lead to."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import h5py
import hdf5plugin  # noqa: F401 - the compressions of ESRF detectors

from ..errors import Recon3DError
from .hdf5_file import BeingWrittenError, open_hdf5
from .quick import GROUP, NOTHING, holds, is_stack, kind_of

SEPARATOR = "::"  # between file and entry in the name of a unit


@contextlib.contextmanager
def opened(path: str) -> Iterator[h5py.File]:
    """The file, for reading. Raises Recon3DError."""
    if not Path(path).exists():
        raise Recon3DError(path, "no such file or folder")
    try:
        file = open_master(path)
    except BeingWrittenError as error:
        raise Recon3DError(path, str(error)) from error
    except OSError as error:
        reason = " ".join(str(error).split())
        raise Recon3DError(path, f"cannot be read as HDF5 ({reason}); copy it again") from error
    with file:
        yield file


def open_master(path: str) -> h5py.File:
    """A file for reading, also while its writer adds to it if it lets others read. Raises OSError."""
    try:
        return open_hdf5(path)
    except BeingWrittenError:
        return open_hdf5(path, swmr=True)


def get(group: h5py.Group, name: str) -> Any:
    """What a link leads to, None if it leads nowhere."""
    try:
        return group.get(name)
    except (OSError, KeyError, RuntimeError):  # the last for links in a circle
        return None


_PLACES = (("instrument", "image"), ("instrument", "data"), ("measurement", ""))  # of a camera's frames


def _camera_places(entry: h5py.Group) -> Iterator[tuple[str, str]]:
    """Where frames may be: the camera, and the path from the entry."""
    for place, key in _PLACES:
        parent = get(entry, place)
        for name in parent if isinstance(parent, h5py.Group) else ():
            if not key or (kind := kind_of(parent, name)) == NOTHING:
                yield name, f"{place}/{name}"
            elif kind == GROUP and holds(parent, f"{name}/{key}"):
                yield name, f"{place}/{name}/{key}"


def camera_paths(entry: h5py.Group) -> dict[str, str]:
    """Paths from the entry to the image datasets (n, y, x) by camera: to be walked in the master file.

    What a link leads to may lie in another file, where that path, or its name in either, means nothing.
    """
    found: dict[str, str] = {}
    for camera, path in _camera_places(entry):
        if camera not in found and is_stack(entry, path):
            found[camera] = path
    return found


def lost_cameras(entry: h5py.Group) -> dict[str, str]:
    """Paths by camera whose links lead to another file and there to nothing."""
    found: dict[str, str] = {}
    for camera, path in _camera_places(entry):
        if camera not in found and kind_of(entry, path) == NOTHING:
            parent, _, name = path.rpartition("/")
            if _leaves_the_file(entry[parent], name):
                found[camera] = path
    return found


def _leaves_the_file(group: h5py.Group, name: str, depth: int = 0) -> bool:
    link = group.get(name, getlink=True)
    if isinstance(link, h5py.SoftLink) and depth < 8:
        start = group.file if link.path.startswith("/") else group
        folder, _, last = link.path.strip("/").rpartition("/")
        target = get(start, folder) if folder else start
        return isinstance(target, h5py.Group) and last in target and _leaves_the_file(target, last, depth + 1)
    return isinstance(link, h5py.ExternalLink)


def file_names_of(entry: h5py.Group) -> tuple[str, list[str]] | None:
    """The path of a camera whose data is a list of file names, and the names; None if there is none."""
    for _, path in _camera_places(entry):
        item = get(entry, path)
        if isinstance(item, h5py.Dataset) and item.ndim == 1 and h5py.check_string_dtype(item.dtype):
            names = [str(text) for text in item.asstr()[: min(2, item.shape[0])]]
            if names and path.startswith("instrument"):
                return path, names
    return None
