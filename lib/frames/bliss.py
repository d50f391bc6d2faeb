"""BLISS HDF5 files (ESRF from 2020, NeXus layout): the frames of an entry, and their pixels.

An entry `1.1` holds the frames in `instrument/<camera>/image` or `measurement/<camera>` (n, y, x), the
motors that were scanned in `instrument/<motor>/value` or `/data` (n,), all others as single numbers in
`instrument/positioners`, and the ring current in `instrument/machine/current`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from ..errors import Recon3DError
from . import camera as cameras
from .about import About
from .current import ring_current_of
from .edf import Frame
from .hdf5 import SEPARATOR, cameras_of, get, opened
from .numbers import text_of
from .pixels import FrameInfo, Roi
from .positions import Positions, positions_of

_LARGEST_BLOCK = 1 << 26  # bytes of frames that share compressed chunks, read at once


def read_entry(unit: str, camera: str | None = None, notes: list[About] | None = None) -> list[Frame]:
    """The frames of an entry, each with its motors; a frame beyond the last motor value has NaN there.

    What else the entry says of its scan is appended to `notes`.
    """
    path, _, name = unit.rpartition(SEPARATOR)
    with opened(path) as root:
        entry = root[name]
        found = cameras_of(entry)
        if not found and (odd := cameras.odd_frames(entry)):
            raise Recon3DError(unit, f"holds no frames that can be read: {odd}")
        image = _image(unit, found, camera)
        _check_sources(unit, image)
        n_frames = image.shape[0]
        stood = positions_of(entry, n_frames)
        motors = stood.motors
        if notes is not None:
            notes.append(_about(unit, entry, n_frames, [camera] if camera else list(found), stood))
        current = ring_current_of(entry, n_frames)
        offset = None if image.is_virtual or image.external else image.id.get_offset()
        step = int(np.prod(image.shape[1:])) * image.dtype.itemsize
        frames = []
        for i in range(n_frames):
            info = FrameInfo(
                path=path,
                number=i,
                offset=None if offset is None else offset + i * step,
                dtype=image.dtype.str,
                shape_yx=(image.shape[1], image.shape[2]),
                ring_current_ma=float(current[i]) if np.isfinite(current[i]) else None,
                dataset=image.name,
            )
            frames.append((info, {motor: float(values[i]) for motor, values in motors.items()}))
    return frames


def _about(unit: str, entry: h5py.Group, n_frames: int, names: list[str], stood: Positions) -> About:
    return About(
        unit,
        n_frames,
        text_of(get(entry, "title")),
        stood.remarks,
        stood.missing,
        tuple(stood.doubts),
        cameras.pixel_um(entry, names),
        cameras.region(entry, names),
    )


def _image(unit: str, cameras: dict[str, h5py.Dataset], camera: str | None) -> h5py.Dataset:
    if not cameras:
        raise Recon3DError(unit, "holds no frames (instrument/<camera>/image); was the camera recording?")
    if camera is None and len(cameras) > 1:
        raise Recon3DError(unit, f"holds frames of {', '.join(cameras)}; choose one with --camera")
    if camera is not None and camera not in cameras:
        raise Recon3DError(unit, f"has no camera '{camera}'; it holds frames of {', '.join(cameras)}")
    image = cameras[camera or next(iter(cameras))]
    if image.shape[0] == 0:
        raise Recon3DError(unit, "holds no frames; the scan was aborted before the first")
    return image


def _check_sources(unit: str, image: h5py.Dataset) -> None:
    """HDF5 silently gives zeros for the parts of a virtual dataset whose files are missing."""
    if not image.is_virtual:
        return
    folder = Path(image.file.filename).parent
    names = {source.file_name for source in image.virtual_sources()} - {"."}
    missing = sorted(name for name in names if not (folder / name).exists())
    if missing:
        raise Recon3DError(
            unit, f"{len(missing)} of the files with its frames are missing: {', '.join(missing)}; copy them"
        )


class RoiReader:
    """Reads one ROI of many frames; frames that share compressed chunks are read together once."""

    def __init__(self, roi: Roi) -> None:
        self.roi = roi
        self._file: h5py.File | None = None
        self._dataset: h5py.Dataset | None = None
        self._first = 0
        self._block: NDArray[Any] = np.empty((0, 0, 0))

    def read(self, info: FrameInfo) -> NDArray[Any]:
        """Pixels of the ROI (y, x) in the file's own type and native byte order."""
        dataset = self._open(info)
        if not self._first <= info.number < self._first + len(self._block):
            roi = self.roi
            together = dataset.chunks[0] if dataset.chunks else 1
            together = max(
                1, min(together, _LARGEST_BLOCK // (roi.width * roi.height * dataset.dtype.itemsize))
            )
            self._first = info.number // together * together
            rows, columns = (slice(roi.y0, roi.y0 + roi.height), slice(roi.x0, roi.x0 + roi.width))
            try:
                block = dataset[self._first : self._first + together, rows, columns]
            except OSError as error:
                where = f"{info.path}{SEPARATOR}{info.dataset}"
                reason = " ".join(str(error).split())
                raise Recon3DError(where, f"frame {info.number} cannot be read ({reason})") from error
            self._block = block.astype(block.dtype.newbyteorder("="), copy=False)
        return self._block[info.number - self._first]

    def _open(self, info: FrameInfo) -> h5py.Dataset:
        if self._file is None or self._file.filename != info.path:
            if self._file is not None:
                self._file.close()
            self._file, self._dataset = h5py.File(info.path, "r", locking=False), None
        if self._dataset is None or self._dataset.name != info.dataset:
            self._dataset = self._file[info.dataset]
            self._block = np.empty((0, 0, 0))
        return self._dataset
