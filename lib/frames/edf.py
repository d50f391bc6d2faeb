"""EDF files: find them, read headers and regions of frames, write frames. fabio knows the format.

fabio parses the header and finds the pixels. The files of a scan differ in little but the values in
their headers; where that is so, only the lines that differ are read anew. Of an uncompressed file
only the rows of the region of interest are read from disk; everything else is left to fabio.
"""

from __future__ import annotations

import logging
import math
import os
import re
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from fabio.edfimage import EdfImage
from numpy.typing import NDArray

from ..errors import Recon3DError
from .pixels import FrameInfo, Roi

logging.getLogger("fabio").setLevel(logging.CRITICAL)  # what matters is said here, once and by file name

SUFFIXES = (".edf", ".edf.gz", ".edf.bz2")
_FORMAT_KEYS = r"EDF_.*|Dim_\d|Size|ByteOrder|DataType|Compression"  # where the pixels are, and what
_FORMAT_KEY = re.compile(rf"({_FORMAT_KEYS})$", re.IGNORECASE)
_OWN_KEY = re.compile(rf"({_FORMAT_KEYS}|Image|HeaderID|offset)$", re.IGNORECASE)
_DIGITS = re.compile(r"(\d+)")

Frame = tuple[FrameInfo, dict[str, float]]  # a frame and its motors


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


def natural(name: str) -> tuple[list[Any], str]:
    """Key that sorts names with their numbers as numbers: text and numbers take turns in it."""
    parts: list[Any] = _DIGITS.split(name)
    parts[1::2] = map(int, parts[1::2])
    return parts, name  # the name decides between 1 and 01


def read_headers(path: str) -> list[Frame]:
    """The frames of one file, each with its motors. Raises Recon3DError for a torn file or no EDF."""
    image = _open(path)
    compressed = not path.endswith(".edf")
    size = 0 if compressed else Path(path).stat().st_size
    found = []
    for index in range(image.nframes):
        frame = image._frames[index]
        shape, dtype = tuple(frame.shape), np.dtype(frame.dtype)
        if len(shape) != 2:
            raise Recon3DError(path, f"frame {index} has {len(shape)} dimensions; it must be an image")
        if frame.swap_needed():
            dtype = dtype.newbyteorder()
        n_bytes = math.prod(shape) * dtype.itemsize
        packed = compressed or frame._data_compression is not None  # left to fabio
        available = frame.blobsize if compressed else size - frame.start
        torn = frame.incomplete_data if packed else False  # fabio believes the key Size, we the shape
        if torn or (available < n_bytes and (compressed or not packed)):
            known = "" if compressed else f" ({available} of {n_bytes} bytes)"
            raise Recon3DError(
                path, f"cut short{known}: {shape[1]} x {shape[0]} pixels do not fit; copy it again"
            )
        info = FrameInfo(
            path=path,
            number=index,
            offset=None if packed else int(frame.start),
            dtype=dtype.str,
            shape_yx=(int(shape[0]), int(shape[1])),
            ring_current_ma=ring_current_ma(frame.header),
            excess_bytes=_excess(image, size, n_bytes) if index + 1 == image.nframes else 0,
        )
        found.append((info, read_motors(path, frame.header)))
    return found


def _excess(image: EdfImage, file_size: int, n_bytes: int) -> int:
    """Bytes after the last pixel and its padding; in a compressed file fabio found them to be no frame."""
    if not image.filename.endswith(".edf"):
        return 0 if not image.incomplete_file else _compressed_excess(image)
    last = image._frames[-1]
    if last._data_compression is not None or last.start + last.blobsize == file_size:
        return 0
    return max(0, file_size - last.start - n_bytes)


def _compressed_excess(image: EdfImage) -> int:
    last = image._frames[-1]
    with image._open(image.filename, "rb") as stream:
        stream.seek(last.start + last.blobsize)
        return len(stream.read())


def _open(path: str) -> EdfImage:
    try:
        image = EdfImage()
        image.read(path)
    except FileNotFoundError:
        raise Recon3DError(path, "no such file") from None
    except Exception as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise Recon3DError(
            path, f"cannot be read as EDF ({reason}); copy it again or leave it out"
        ) from error
    return image


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

    def read(self, path: str) -> list[Frame]:
        """The same as `read_headers(path)`."""
        if not path.endswith(".edf"):
            return read_headers(path)
        found = self._read_alike(path)
        if found is None:
            found = read_headers(path)
            self._learn(found)
        return found

    def _learn(self, frames: list[Frame]) -> None:
        info = frames[0][0]
        self._known = None
        if len(frames) == 1 and info.offset and not info.excess_bytes:
            self._size, block = _first_bytes(info.path, info.offset)
            self._header = {}
            self._lines = block.split(b";")
            pairs = [_key_and_value(line) for line in self._lines]
            if all(pair is not None for pair in pairs[:-1]) and _ends_header(self._lines[-1]):
                self._header = dict(pair for pair in pairs if pair)
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
        for line, before in zip(lines[:-1], self._lines[:-1], strict=True):
            if line != before:
                pair = _key_and_value(line)
                if pair is None or pair[0] not in header or _FORMAT_KEY.match(pair[0]) or b"}" in line:
                    return None
                header[pair[0]] = pair[1]
        info = FrameInfo(
            path, 0, known.offset, known.dtype, known.shape_yx, ring_current_ma(header), known.excess_bytes
        )
        return [(info, read_motors(path, header))]


def _first_bytes(path: str, count: int) -> tuple[int, bytes]:
    """The size of a file and its first bytes."""
    handle = os.open(path, os.O_RDONLY)
    try:
        return os.fstat(handle).st_size, os.pread(handle, count, 0)
    finally:
        os.close(handle)


def _ends_header(padding: bytes) -> bool:
    return padding.split() == [b"}"] and padding.endswith(b"}\n")


def _key_and_value(line: bytes) -> tuple[str, str] | None:
    key, equals, value = line.partition(b"=")
    if not equals or not line.isascii():
        return None
    return key.decode().strip(" \t\r\n\0{"), value.decode().strip(" \t\r\n\0")


def _paired_lists(path: str, header: dict[str, str], stem: str) -> dict[str, float]:
    """The blank-separated lists `stem`_mne and `stem`_pos as name -> value."""
    names, texts = _words(header.get(f"{stem}_mne", "")), header.get(f"{stem}_pos", "").split()
    if len(names) != len(texts):
        raise Recon3DError(path, f"{stem}_mne names {len(names)} but {stem}_pos gives {len(texts)} values")
    try:
        return dict(zip(names, map(float, texts), strict=True))
    except ValueError:
        return {name: _number(text) for name, text in zip(names, texts, strict=True)}


@lru_cache(maxsize=64)
def _words(text: str) -> tuple[str, ...]:
    return tuple(text.split())


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return math.nan


@lru_cache(maxsize=4096)
def _plain_number(key: str, text: str) -> float | None:
    """The value of a header key that could be a motor; None if it is no number or has another meaning."""
    if _OWN_KEY.match(key) or key.endswith(("_mne", "_pos")):
        return None
    value = _number(text)
    return value if math.isfinite(value) else None


def read_motors(path: str, header: dict[str, str]) -> dict[str, float]:
    """Motor positions of a header: the motor lists and, where they name none, every numeric key."""
    plain = {key: value for key, text in header.items() if (value := _plain_number(key, text)) is not None}
    return plain | _paired_lists(path, header, "motor")


def scan_command(path: str) -> str:
    """The command of the scan that a file is of, as far as its header says; else empty."""
    header = _open(path).header
    return next((header[key] for key in ("scan", "scan_command", "title") if header.get(key)), "")


def ring_current_ma(header: dict[str, str]) -> float | None:
    """Ring current in mA: counter `srcur`, else the key `machine current`, else None.

    The counter's place is looked up and read in the counter lists, never in those of the motors.
    """
    names, values = _words(header.get("counter_mne", "")), header.get("counter_pos", "").split()
    if "srcur" in names and names.index("srcur") < len(values):
        current = _number(values[names.index("srcur")])
        if math.isfinite(current) and current > 0:
            return current
    words = header.get("machine current", "").split()
    candidates = [_number(word) for word in (*words[:1], *words[-2:-1])]
    return next((value for value in candidates if math.isfinite(value) and value > 0), None)


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
            whole = _open(info.path).get_frame(info.number).data
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
                    info.path, "cut short since its header was read; is it still being written?"
                )
        finally:
            os.close(handle)
        np.copyto(self._pixels, rows[:, columns])
        return self._pixels


def write_frame(path: Path, pixels: NDArray[Any], header: dict[str, str]) -> None:
    """Write one frame (y, x) as an EDF file with the given header keys."""
    EdfImage(data=pixels, header=header).write(str(path))
