"""BLISS HDF5 files (ESRF from 2020, NeXus layout): entries as scans, frames, motors, ring current.

An entry `1.1` holds the frames in `instrument/<camera>/image` or `measurement/<camera>` (n, y, x), the
motors that were scanned in `instrument/<motor>/value` or `/data` (n,), all others as single numbers in
`instrument/positioners`, and the ring current in `instrument/machine/current`.
"""

from __future__ import annotations

import contextlib
import fnmatch
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import h5py
import hdf5plugin  # noqa: F401 - the compressions of ESRF detectors
import numpy as np
from numpy.typing import NDArray

from ..errors import Recon3DError
from .edf import Frame, natural
from .pixels import FrameInfo, Roi

SUFFIXES = (".h5", ".hdf5", ".nxs")
_SEPARATOR = "::"  # between file and entry in the name of a unit
_RANGE = re.compile(r"(\d+)\.(\d+)-(\d+)\.(\d+)$")
_LARGEST_BLOCK = 1 << 26  # bytes of frames that share compressed chunks, read at once


def find_entries(path: str, names: str) -> list[str]:
    """Units `file::entry` of a file, or of the files of a folder, in natural order.

    `names` is an entry (`1.1`), a range (`1.1-37.1`), a pattern (`*.1`), or several with commas.
    Entries that a range or pattern selects count only if they hold frames.
    """
    files = [path]
    if Path(path).is_dir():
        inside = [p.name for p in Path(path).iterdir() if p.name.endswith(SUFFIXES)]
        files = [str(Path(path) / name) for name in sorted(inside, key=natural)]
    units, present = [], []
    for file in files:
        with _opened(file) as root:
            entries = sorted((name for name in root if isinstance(_get(root, name), h5py.Group)), key=natural)
            present += entries
            units += [f"{file}{_SEPARATOR}{e}" for e in entries if _selects(names, e, root[e])]
    if not units:
        shown = ", ".join(present[:12]) + (" ..." if len(present) > 12 else "")
        raise Recon3DError(
            path,
            f"no entry '{names}' with frames; the file holds {shown or 'no entries'}; "
            "dataname is an entry such as 1.1, a range 1.1-37.1, or a pattern *.1",
        )
    return units


def _selects(names: str, entry: str, group: h5py.Group) -> bool:
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
        if chosen and _cameras(group):
            return True
    return False


@contextlib.contextmanager
def _opened(path: str) -> Iterator[h5py.File]:
    if not Path(path).exists():
        raise Recon3DError(path, "no such file or folder")
    try:
        file = h5py.File(path, "r", locking=False)
    except OSError as error:
        reason = " ".join(str(error).split())
        raise Recon3DError(path, f"cannot be read as HDF5 ({reason}); copy it again") from error
    with file:
        yield file


def _get(group: h5py.Group, name: str) -> Any:
    """What a link leads to, None if it leads nowhere."""
    try:
        return group.get(name)
    except (OSError, KeyError):
        return None


def _cameras(entry: h5py.Group) -> dict[str, h5py.Dataset]:
    """The image datasets (n, y, x) of an entry by camera."""
    found: dict[str, h5py.Dataset] = {}
    for place, inside in (("instrument", "image"), ("instrument", "data"), ("measurement", None)):
        parent = _get(entry, place)
        for name in parent if isinstance(parent, h5py.Group) else ():
            item = _get(parent, name)
            if inside is not None:
                item = _get(item, inside) if isinstance(item, h5py.Group) else None
            if isinstance(item, h5py.Dataset) and item.ndim == 3 and item.dtype.kind in "uif":
                found.setdefault(name, item)
    return found


def read_entry(unit: str, camera: str | None = None) -> list[Frame]:
    """The frames of an entry, each with its motors; a frame beyond the last motor value has NaN there."""
    path, _, name = unit.rpartition(_SEPARATOR)
    with _opened(path) as root:
        entry = root[name]
        image = _image(unit, _cameras(entry), camera)
        _check_sources(unit, image)
        n_frames = image.shape[0]
        motors = _motors(entry, n_frames)
        current = _ring_current(entry, n_frames)
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


def _numbers(item: Any) -> NDArray[np.float64] | None:
    """A dataset of one or many numbers as (n,), else None."""
    if not isinstance(item, h5py.Dataset) or item.ndim > 1 or item.dtype.kind not in "uif":
        return None
    return np.atleast_1d(np.asarray(item[()], dtype=np.float64))


def _motors(entry: h5py.Group, n_frames: int) -> dict[str, NDArray[np.float64]]:
    """Positions of all motors (n_frames,): those that were scanned, and the fixed ones repeated."""
    instrument = _get(entry, "instrument") or {}
    fixed: dict[str, NDArray[np.float64]] = {}
    scanned: dict[str, NDArray[np.float64]] = {}
    positioners = _get(instrument, "positioners") or {}
    for name in positioners:
        values = _numbers(_get(positioners, name))
        if values is not None and values.size:
            (fixed if values.size == 1 else scanned)[name] = values
    for name in instrument:
        item = _get(instrument, name)
        for key in ("value", "data") if isinstance(item, h5py.Group) and name != "positioners" else ():
            values = _numbers(_get(item, key))
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


def _ring_current(entry: h5py.Group, n_frames: int) -> NDArray[np.float64]:
    """Ring current of every frame in mA, NaN where it is unknown."""
    for place in ("instrument/machine/current", "instrument/current/data", "measurement/current"):
        values = _numbers(_get(entry, place))
        if values is not None and values.size in (1, n_frames):
            return np.broadcast_to(values, (n_frames,))
    return np.full(n_frames, np.nan)


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
                where = f"{info.path}{_SEPARATOR}{info.dataset}"
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
