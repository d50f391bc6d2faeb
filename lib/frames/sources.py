"""Frames whatever their format: EDF files, or the scans in BLISS HDF5 files.

Both formats give the same: a list of units (an EDF file, an entry of an HDF5 file) that are found by
folder and name, the frames of each unit with their motors, and the pixels of a region of each frame.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from . import edf
from .about import About
from .edf_blocks import Frame
from .pixels import FrameInfo, Roi

if TYPE_CHECKING:
    from .catalog import Entry

HDF5_SUFFIXES = (".h5", ".hdf5", ".nxs")


def is_hdf5(folder: str) -> bool:
    """Whether `datadir` is an HDF5 file, or a folder that holds such files and no EDF file."""
    path = Path(folder)
    if not path.is_dir():
        return path.name.endswith(HDF5_SUFFIXES)
    names = os.listdir(path)  # noqa: PTH208 - there may be 100,000
    return any(n.endswith(HDF5_SUFFIXES) for n in names) and not any(n.endswith(edf.SUFFIXES) for n in names)


def find_units(folder: str, stem: str) -> list[str]:
    """What `datadir` and `dataname` name, in natural order. Raises Recon3DError if that is nothing."""
    if is_hdf5(folder):
        from . import entries  # h5py need not be loaded for EDF files

        return entries.find_entries(folder, stem)
    return edf.find_files(folder, stem)


class HeaderReader:
    """Reads what is known of the frames of one unit after the other; `notes` is what else they say."""

    def __init__(self, camera: str | None = None) -> None:
        self.camera = camera
        self.notes: list[About] = []
        self._edf = edf.HeaderReader()
        self._facts: list[Entry] = []  # of the last unit

    def read(self, unit: str) -> list[Frame]:
        """The frames of a unit, each with its motors."""
        if unit.endswith(edf.SUFFIXES):
            return self._edf.read(unit)
        from . import bliss

        self._facts.clear()
        return bliss.read_entry(unit, self.camera, self.notes, self._facts)

    def about(self, unit: str) -> Entry | None:
        """What an entry of an HDF5 file, that was just read, says of itself; None of an EDF file."""
        if unit.endswith(edf.SUFFIXES):
            return None
        if self._facts and self._facts[0].unit == unit:
            return self._facts[0]
        from . import catalog

        return catalog.read_entry_facts(unit)


class RoiReader:
    """Reads one ROI of many frames; what `read` gives is valid until the next call."""

    def __init__(self, roi: Roi) -> None:
        self.roi = roi
        self._in_place = edf.RoiReader(roi)
        self._hdf5: Any = None

    def read(self, info: FrameInfo) -> NDArray[Any]:
        """Pixels of the ROI (y, x) in the file's own type and native byte order."""
        if not info.dataset or info.offset is not None:
            return self._in_place.read(info)
        if self._hdf5 is None:
            from . import bliss

            self._hdf5 = bliss.RoiReader(self.roi)
        return np.asarray(self._hdf5.read(info))


def unit_name(unit: str) -> str:
    """A unit without its folder, for messages."""
    return Path(unit).name
