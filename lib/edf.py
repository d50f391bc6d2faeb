"""EDF files: find them, read headers and regions of frames, write frames. fabio knows the format.

fabio parses the header and finds the pixels. Of an uncompressed file only the rows of the region of
interest are then read from disk; everything else is left to fabio.
"""

from __future__ import annotations

import logging
import math
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from fabio.edfimage import EdfImage
from numpy.typing import NDArray

from .errors import Recon3DError
from .frames import Roi

logging.getLogger("fabio").setLevel(logging.CRITICAL)  # what matters is said here, once and by file name

SUFFIXES = (".edf", ".edf.gz", ".edf.bz2")
_OWN_KEYS = re.compile(r"(EDF_.*|Dim_\d|Size|Image|HeaderID|ByteOrder|DataType|offset)$", re.IGNORECASE)


@dataclass(frozen=True)
class FrameInfo:
    """One frame of a file: where its pixels are and what its header says.

    offset is the first byte of the pixels, None in a compressed file.
    """

    path: str
    index: int
    offset: int | None
    dtype: str
    shape_yx: tuple[int, int]
    ring_current_ma: float | None = None
    excess_bytes: int = 0


def find_files(folder: str, stem: str) -> list[str]:
    """EDF files in `folder` whose names begin with `stem`, in natural order (2 before 10)."""
    directory = Path(folder)
    if not directory.is_dir():
        what = "is a file, not a folder" if directory.exists() else "no such folder"
        raise Recon3DError(folder, f"{what}; give the folder that holds the .edf files")
    names = [p.name for p in directory.iterdir() if p.name.endswith(SUFFIXES)]
    chosen = [name for name in names if name.startswith(stem)]
    if not chosen:
        present = (
            f"it holds {len(names)} others, such as {min(names)}" if names else "it holds no EDF file at all"
        )
        raise Recon3DError(folder, f"no {', '.join(SUFFIXES)} file begins with '{stem}'; {present}")
    return [str(directory / name) for name in sorted(chosen, key=_natural)]


def _natural(name: str) -> list[tuple[int, int, str]]:
    parts = re.split(r"(\d+)", name)
    return [(1, int(part), part) if part.isdigit() else (0, 0, part) for part in parts]


def read_headers(path: str) -> list[tuple[FrameInfo, dict[str, float]]]:
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
        available = frame.blobsize if compressed else size - frame.start
        if frame.incomplete_data or available < n_bytes:
            known = "" if compressed else f" ({available} of {n_bytes} bytes)"
            raise Recon3DError(
                path, f"cut short{known}: {shape[1]} x {shape[0]} pixels do not fit; copy it again"
            )
        info = FrameInfo(
            path=path,
            index=index,
            offset=None if compressed else int(frame.start),
            dtype=dtype.str,
            shape_yx=(int(shape[0]), int(shape[1])),
            ring_current_ma=ring_current_ma(frame.header),
            excess_bytes=0 if compressed or index + 1 < image.nframes else available - n_bytes,
        )
        found.append((info, read_motors(path, frame.header)))
    return found


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


def _paired_lists(path: str, header: dict[str, str], stem: str) -> dict[str, float]:
    """The blank-separated lists `stem`_mne and `stem`_pos as name -> value."""
    names, values = (header.get(f"{stem}_{kind}", "").split() for kind in ("mne", "pos"))
    if len(names) != len(values):
        raise Recon3DError(path, f"{stem}_mne names {len(names)} but {stem}_pos gives {len(values)} values")
    return {name: _number(value) for name, value in zip(names, values, strict=True)}


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return math.nan


def read_motors(path: str, header: dict[str, str]) -> dict[str, float]:
    """Motor positions of a header: the motor lists and, where they name none, every numeric key."""
    plain = {
        key: float(text)
        for key, text in header.items()
        if not _OWN_KEYS.match(key) and not key.endswith(("_mne", "_pos")) and math.isfinite(_number(text))
    }
    return plain | _paired_lists(path, header, "motor")


def ring_current_ma(header: dict[str, str]) -> float | None:
    """Ring current in mA: counter `srcur`, else the key `machine current`, else None.

    The counter's place is looked up and read in the counter lists, never in those of the motors.
    """
    names, values = header.get("counter_mne", "").split(), header.get("counter_pos", "").split()
    current = _number(dict(zip(names, values, strict=False)).get("srcur", ""))
    if math.isfinite(current):
        return current
    words = header.get("machine current", "").split()
    candidates = [_number(word) for word in (*words[:1], *words[-2:-1])]
    return next((value for value in candidates if math.isfinite(value)), None)


def read_roi(info: FrameInfo, roi: Roi, rows: range | None = None) -> NDArray[Any]:
    """Pixels of the ROI, shape (y, x), in the file's own type and native byte order.

    `rows` narrows the read to some rows of the ROI, counted from its first.
    """
    rows = range(roi.height) if rows is None else rows
    columns = slice(roi.x0, roi.x0 + roi.width)
    first = roi.y0 + rows.start
    dtype, width = np.dtype(info.dtype), info.shape_yx[1]
    if info.offset is None:
        whole = _open(info.path).get_frame(info.index).data
        return np.ascontiguousarray(whole[first : first + len(rows), columns])
    start = info.offset + first * width * dtype.itemsize
    with Path(info.path).open("rb") as stream:
        flat = np.fromfile(stream, dtype, count=len(rows) * width, offset=start)
    if flat.size < len(rows) * width:
        raise Recon3DError(info.path, "cut short since its header was read; is it still being written?")
    return flat.reshape(len(rows), width)[:, columns].astype(dtype.newbyteorder("="), copy=False)


def write_frame(path: Path, pixels: NDArray[Any], header: dict[str, str]) -> None:
    """Write one frame (y, x) as an EDF file with the given header keys."""
    EdfImage(data=pixels, header=header).write(str(path))
