"""BLISS HDF5 files (ESRF from 2020, NeXus layout): the frames of an entry, and their pixels.

An entry `1.1` holds the frames in `instrument/<camera>/image` or `measurement/<camera>` (n, y, x), the
motors that were scanned in `instrument/<motor>/value` or `/data` (n,), all others as single numbers in
`instrument/positioners`, and the ring current in `instrument/machine/current`.
"""

from __future__ import annotations

from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from ..errors import Recon3DError
from . import camera as cameras
from .about import About, NothingWritten
from .catalog import Entry, facts_of
from .current import ring_current_of
from .edf_blocks import Frame
from .hdf5 import SEPARATOR, camera_paths, file_names_of, get, lost_cameras, open_master, opened
from .holdings import HELD, NEVER, Holdings, raw_segments
from .links import explain, find_raw_file
from .padding import n_positions, padded_frames
from .pixels import FrameInfo, Roi
from .positions import Positions, positions_of

_LARGEST_BLOCK = 1 << 26  # bytes of frames that share compressed chunks, read at once
_READS_OF_ONE_OPENING = (
    32  # HDF5 keeps the sources of a virtual dataset open, and gives zeros when it may not
)
_MOST_NAMES = 5


def read_entry(
    unit: str,
    camera: str | None = None,
    notes: list[About] | None = None,
    facts: list[Entry] | None = None,
) -> list[Frame]:
    """The frames of an entry, each with its motors; a frame beyond the last motor value has NaN there.

    Frames within the scan that the entry does not hold have a fault; those after its end are counted. What
    else the entry says of its scan is appended to `notes`; and to `facts` what it is, whether or not its
    frames can be read.
    """
    path, _, name = unit.rpartition(SEPARATOR)
    with opened(path) as root:
        entry = get(root, name)
        found = camera_paths(entry) if isinstance(entry, h5py.Group) else {}
        known = facts_of(unit, entry, found)
        if facts is not None:
            facts.append(known)
        if entry is None:
            raise Recon3DError(unit, explain(root, name))
        place = _place(unit, entry, camera, found)
        image = entry[place]
        n_frames = image.shape[0]
        if n_frames == 0:
            raise NothingWritten(unit, "holds no frames; the scan was aborted before the first")
        stood = positions_of(entry, n_frames, known.title, known.parameters)
        motors = stood.motors
        faults, end = _what_is_held(unit, image, padded_frames(entry, motors, n_frames))
        if notes is not None:
            names = [camera] if camera else list(found)
            notes.append(_about(known, entry, n_frames, names, stood))
        current = ring_current_of(entry, n_frames)
        places = _places(image)
        n_cut = n_positions(entry, motors, n_frames) - end
        table = np.array(list(motors.values())).T.tolist() if motors else [[]] * n_frames
        dtype, shape = image.dtype.str, (image.shape[1], image.shape[2])
        frames = []
        for i in range(end):
            file, offset = places[i] if places else (path, None)
            info = FrameInfo(
                path=file,
                number=i,
                offset=offset,
                dtype=dtype,
                shape_yx=shape,
                ring_current_ma=float(current[i]) if np.isfinite(current[i]) else None,
                dataset=f"/{name}/{place}",
                unit=unit,
                fault=faults[i],
                n_cut=n_cut if i + 1 == end else 0,
            )
            frames.append((info, dict(zip(motors, table[i], strict=True))))
    return frames


def _about(known: Entry, entry: h5py.Group, n_frames: int, names: list[str], stood: Positions) -> About:
    return About(
        known.unit,
        n_frames,
        known.title,
        stood.remarks,
        stood.missing,
        tuple(stood.doubts),
        cameras.pixel_um(entry, names),
        cameras.region(entry, names),
    )


def _place(unit: str, entry: h5py.Group, camera: str | None, found: dict[str, str]) -> str:
    """The path from the entry to the frames of the camera, one of the paths that were found."""
    lost = {name: path for name, path in lost_cameras(entry).items() if name not in found}
    if camera is None and len(found) + len(lost) > 1:
        names = ", ".join([*found, *(f"{name} ({explain(entry, path)})" for name, path in lost.items())])
        raise Recon3DError(unit, f"holds frames of {names}; choose one with --camera")
    if lost and (camera in lost or not camera):
        path = lost[camera or next(iter(lost))]
        raise Recon3DError(unit, f"{path} {explain(entry, path)}")
    if not found and (listed := file_names_of(entry)):
        path, files = listed
        raise Recon3DError(
            unit,
            f"{path} is a list of file names ({', '.join(files)}, ...), not frames; "
            "give the folder of these files if they are EDF, else have them converted to HDF5",
        )
    if not found and (odd := cameras.odd_frames(entry)):
        raise Recon3DError(unit, f"holds no frames that can be read: {odd}")
    if not found:
        raise Recon3DError(unit, "holds no frames (instrument/<camera>/image); was the camera recording?")
    if camera is not None and camera not in found:
        raise Recon3DError(unit, f"has no camera '{camera}'; it holds frames of {', '.join(found)}")
    return found[camera or next(iter(found))]


def _what_is_held(unit: str, image: h5py.Dataset, n_padded: int) -> tuple[list[str], int]:
    """What is wrong with every frame, and the frame at which the scan was cut off, n_frames if it was not.

    n_padded frames at the end were made up, or more. Raises Recon3DError if no frame is left.
    """
    holdings = Holdings()
    codes = holdings.of(image)
    end = min(int(np.flatnonzero(codes != NEVER).max(initial=-1)) + 1, codes.size - n_padded)
    held = codes[:end] == HELD
    if held.any():
        texts = {int(code): _fault(holdings, int(code), image) for code in np.unique(codes)}
        return [texts[code] for code in codes.tolist()], end
    wrong = codes[codes > NEVER]
    if wrong.size:
        raise Recon3DError(unit, _fault(holdings, int(wrong[0]), image))
    raise NothingWritten(unit, f"none of its {codes.size} frames was written; was the scan aborted?")


def _fault(holdings: Holdings, code: int, image: h5py.Dataset) -> str:
    if code == HELD:
        return ""
    if code == NEVER:
        return "was never written: HDF5 would give zeros for it"
    reason = holdings.reasons[code]
    if not reason.endswith(" is missing"):
        return f"{reason}; copy that file again" if reason.endswith(("cut short", ")")) else reason
    names, n_missing = holdings.missing, len(holdings.missing)
    shown = ", ".join(names[:_MOST_NAMES]) + (" ..." if n_missing > _MOST_NAMES else "")
    text = f"{n_missing} of the files with its frames are missing: {shown}; copy them"
    return text + (", or set HDF5_EXTFILE_PREFIX to their folder" if image.external else "")


def _places(image: h5py.Dataset) -> list[tuple[str, int | None]]:
    """File and first byte of every frame where they lie there plain; empty where HDF5 must read them."""
    n_frames, step = image.shape[0], int(np.prod(image.shape[1:])) * image.dtype.itemsize
    file = image.file.filename
    if image.external:
        places: list[tuple[str, int | None]] = [(file, None)] * n_frames
        for name, start, stop, offset in raw_segments(image):
            found = str(find_raw_file(name, file))
            for i in range(-(-start // step), stop // step):
                places[i] = found, offset + i * step - start
        return places if all(offset is not None for _, offset in places) else []
    first = None if image.is_virtual else image.id.get_offset()
    return [] if first is None else [(file, first + i * step) for i in range(n_frames)]


class RoiReader:
    """Reads one ROI of many frames; frames that share compressed chunks are read together once."""

    def __init__(self, roi: Roi) -> None:
        self.roi = roi
        self._file: h5py.File | None = None
        self._dataset: h5py.Dataset | None = None
        self._place = ""
        self._reads = 0
        self._first = 0
        self._block: NDArray[Any] = np.empty((0, 0, 0))

    def read(self, info: FrameInfo) -> NDArray[Any]:
        """Pixels of the ROI (y, x) in the file's own type and native byte order."""
        try:
            dataset = self._open(info)
            if not self._first <= info.number < self._first + len(self._block):
                self._read_block(dataset, info.number)
        except (OSError, KeyError) as error:
            reason = " ".join(str(error).split())
            raise Recon3DError(info.name, f"cannot be read ({reason})") from error
        return self._block[info.number - self._first]

    def _read_block(self, dataset: h5py.Dataset, number: int) -> None:
        roi = self.roi
        together = dataset.chunks[0] if dataset.chunks else 1
        together = max(1, min(together, _LARGEST_BLOCK // (roi.width * roi.height * dataset.dtype.itemsize)))
        first = number // together * together
        rows, columns = (slice(roi.y0, roi.y0 + roi.height), slice(roi.x0, roi.x0 + roi.width))
        block = dataset[first : first + together, rows, columns]
        self._first, self._block = first, block.astype(block.dtype.newbyteorder("="), copy=False)
        self._reads += 1

    def _open(self, info: FrameInfo) -> h5py.Dataset:
        if self._reads >= _READS_OF_ONE_OPENING and self._dataset is not None and self._dataset.is_virtual:
            self._close()
        if self._file is None or self._file.filename != info.path:
            self._close()
            self._file = open_master(info.path)
        if self._dataset is None or self._place != info.dataset:
            self._dataset, self._place, self._reads = self._file[info.dataset], info.dataset, 0
            self._block = np.empty((0, 0, 0))
        return self._dataset

    def _close(self) -> None:
        self._dataset = None
        if self._file is not None:
            self._file.close()
            self._file = None
