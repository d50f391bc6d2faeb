"""EDF files: find them, read headers and regions of frames, write frames. fabio knows the format.

fabio parses the header and finds the pixels. The files of a scan differ in little but the values in
their headers; where that is so, only the lines that differ are read anew. Of an uncompressed file
only the rows of the region of interest are read from disk; everything else is left to fabio.
"""

from __future__ import annotations

import os
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from fabio.edfimage import EdfImage
from numpy.typing import NDArray

from ..errors import Recon3DError
from .edf_blocks import Frame, open_image, read_blocks, whole_frame
from .edf_header import FORMAT_KEYS, MotorLists, key_and_value, read_motors, ring_current_ma
from .names import natural
from .pixels import FrameInfo, Roi

SUFFIXES = (".edf", ".edf.gz", ".edf.bz2")
_FORMAT_KEY = re.compile(rf"({FORMAT_KEYS})$", re.IGNORECASE)


def find_files(folder: str, stem: str) -> list[str]:
    """EDF files in `folder` whose names begin with `stem`, in natural order (2 before 10)."""
    directory = Path(folder)
    if not directory.is_dir():
        what = "is a file, not a folder" if directory.exists() else "no such folder"
        raise Recon3DError(folder, f"{what}; give the folder that holds the .edf files")
    names = [entry.name for entry in os.scandir(directory) if entry.name.endswith(SUFFIXES)]
    chosen = [name for name in names if name.startswith(stem)]
    if not chosen:
        present = (
            f"it holds {len(names)} others, such as {min(names)}" if names else "it holds no EDF file at all"
        )
        raise Recon3DError(folder, f"no {', '.join(SUFFIXES)} file begins with '{stem}'; {present}")
    return [os.path.join(folder, name) for name in sorted(chosen, key=natural)]  # noqa: PTH118 - 5 x faster


def read_headers(path: str) -> list[Frame]:
    """The frames of one file, each with its motors. Raises Recon3DError for a torn file or no EDF."""
    found = read_blocks(path)
    for info, _ in found:
        if info.fault:
            raise Recon3DError(path, info.fault)
    return found


class HeaderReader:
    """Reads the headers of many files, quickly where they resemble the one before.

    A file of the same size with the same header but for values of the scan (motors, counters, date)
    has its pixels at the same place in the same form: fabio has seen to that for the first.
    """

    def __init__(self) -> None:
        self._known: FrameInfo | None = None
        self._size = 0
        self._lines: list[bytes] = []
        self._header: dict[str, str] = {}
        self._motors = MotorLists()
        self._last: dict[str, int] = {}  # the line that counts where a key is given twice

    def read(self, path: str) -> list[Frame]:
        """The same as `read_headers(path)`, but that a torn frame after sound ones has a fault."""
        found = self._read_alike(path) if path.endswith(".edf") else None
        if found is None:
            found = read_blocks(path)
            if all(info.fault for info, _ in found):
                raise Recon3DError(path, found[0][0].fault)
            if path.endswith(".edf"):
                self._learn(found)
        return found

    def _learn(self, frames: list[Frame]) -> None:
        info, motors = frames[0]
        self._known = None
        if len(frames) == 1 and info.offset and not info.excess_bytes and not info.unit:
            self._size, block = _first_bytes(info.path, info.offset)
            self._lines = block.split(b";")
            pairs = [key_and_value(line) for line in self._lines[:-1]]
            self._header = {pair[0]: pair[1] for pair in pairs if pair}
            self._last = {pair[0]: number for number, pair in enumerate(pairs) if pair}
            understood = (read_motors(info.path, self._header, self._motors), ring_current_ma(self._header))
            if understood == (motors, info.ring_current_ma) and _ends_header(self._lines[-1]):
                self._known = info

    def _read_alike(self, path: str) -> list[Frame] | None:
        known = self._known
        if known is None or known.offset is None:
            return None
        try:
            size, block = _first_bytes(path, known.offset)
        except OSError:
            return None  # fabio says what is wrong with it
        lines = block.split(b";")
        if size != self._size or len(lines) != len(self._lines) or not _ends_header(lines[-1]):
            return None
        header = self._header.copy()
        for number, (line, before) in enumerate(zip(lines[:-1], self._lines[:-1], strict=True)):
            if line != before:
                pair, former = key_and_value(line), key_and_value(before)
                if b"}" in line or (pair is None) != (former is None):
                    return None
                if pair is None or former is None:
                    continue  # neither says anything
                if pair[0] != former[0] or _FORMAT_KEY.match(pair[0]):
                    return None
                if self._last[pair[0]] == number:
                    header[pair[0]] = pair[1]
        info = FrameInfo(
            path, 0, known.offset, known.dtype, known.shape_yx, ring_current_ma(header), known.excess_bytes
        )
        return [(info, read_motors(path, header, self._motors))]


def _first_bytes(path: str, count: int) -> tuple[int, bytes]:
    """The size of a file and its first bytes."""
    handle = os.open(path, os.O_RDONLY)
    try:
        return os.fstat(handle).st_size, os.pread(handle, count, 0)
    finally:
        os.close(handle)


def _ends_header(padding: bytes) -> bool:
    return padding.split() == [b"}"] and padding.endswith((b"}\n", b"}\r\n"))


def scan_command(path: str) -> str:
    """The command of the scan that a file is of, as far as its header says; else empty."""
    header = open_image(path).header
    return next((header[key] for key in ("scan", "scan_command", "title") if header.get(key)), "")


def read_roi(info: FrameInfo, roi: Roi, rows: range | None = None) -> NDArray[Any]:
    """Pixels of the ROI, shape (y, x), in the file's own type and native byte order.

    `rows` narrows the read to some rows of the ROI, counted from its first.
    """
    rows = range(roi.height) if rows is None else rows
    part = replace(roi, y0=roi.y0 + rows.start, height=len(rows))
    return RoiReader(part).read(info)


class RoiReader:
    """Reads one ROI of many frames into one buffer: what `read` gives is valid until the next call."""

    def __init__(self, roi: Roi) -> None:
        self.roi = roi
        self._rows: NDArray[Any] = np.empty((0, 0))
        self._pixels: NDArray[Any] = np.empty((0, 0))

    def read(self, info: FrameInfo) -> NDArray[Any]:
        """Pixels of the ROI (y, x), contiguous, in the file's own type and native byte order."""
        roi = self.roi
        columns = slice(roi.x0, roi.x0 + roi.width)
        if info.offset is None:
            whole = whole_frame(info)
            return np.ascontiguousarray(whole[roi.y0 : roi.y0 + roi.height, columns])
        shape = (roi.height, info.shape_yx[1])
        if self._rows.shape != shape or self._rows.dtype.str != info.dtype:
            self._rows = np.empty(shape, np.dtype(info.dtype))
            self._pixels = np.empty(roi.shape_yx, self._rows.dtype.newbyteorder("="))
        rows = self._rows
        handle = os.open(info.path, os.O_RDONLY)
        try:
            start = info.offset + roi.y0 * shape[1] * rows.itemsize
            if os.preadv(handle, [rows.data], start) < rows.nbytes:
                raise Recon3DError(
                    info.name, "cut short since its header was read; is it still being written?"
                )
        finally:
            os.close(handle)
        np.copyto(self._pixels, rows[:, columns])
        return self._pixels


def write_frame(path: Path, pixels: NDArray[Any], header: dict[str, str]) -> None:
    """Write one frame (y, x) as an EDF file with the given header keys."""
    EdfImage(data=pixels, header=header).write(str(path))
