"""The frames in an EDF file as fabio finds them: where their pixels are, and whether they are whole."""

from __future__ import annotations

import logging
import math
from pathlib import Path
from typing import Any

import numpy as np
from fabio.edfimage import EdfImage
from numpy.typing import NDArray

from ..errors import Recon3DError
from .edf_header import MotorLists, number_of, read_motors, ring_current_ma, value_of
from .pixels import FrameInfo

logging.getLogger("fabio").setLevel(logging.CRITICAL)  # what matters is said here, once and by file name

Frame = tuple[FrameInfo, dict[str, float]]  # a frame and its motors

_COUNT_KEYS = ("num_images", "nb_images", "number_of_images", "number_of_frames", "nframes")


def read_blocks(path: str) -> list[Frame]:
    """The frames of one file; one that was cut short has a fault."""
    image = open_image(path)
    compressed = not path.endswith(".edf")
    size = 0 if compressed else Path(path).stat().st_size
    found: list[Frame] = []
    lists = MotorLists()
    for index, frame in enumerate(image._frames):
        last = index + 1 == image.nframes
        *several, height, width = (1, 1, 1, *frame.shape)[-3:]
        if len(frame.shape) not in (2, 3) or (height == 1 and len(frame.shape) == 3):
            raise Recon3DError(path, f"frame {index} has {len(frame.shape)} dimensions; it must be an image")
        dtype = np.dtype(frame.dtype)
        n_bytes = height * width * dtype.itemsize
        packed = compressed or frame._data_compression is not None  # left to fabio
        file, start, available = path, frame.start, frame.blobsize if compressed else size - frame.start
        if compressed and last:
            available += _excess(image, size, 0)
        if frame.bfname is not None and not packed:
            file, start, available = *_binary_file(path, frame), 0
            available = Path(file).stat().st_size - start
        n_frames = (
            1 if packed and not compressed else _frames_under_header(image, frame, several[0], available)
        )
        known = "" if packed else f" ({max(0, available)} of {n_frames * n_bytes} bytes)"
        cut = f"cut short{known}: {width} x {height} pixels do not fit; copy it again"
        torn = frame.incomplete_data if packed else False  # fabio believes the key Size, we the shape
        motors = read_motors(path, frame.header, lists)
        for number in range(n_frames):
            beyond = available < (number + 1) * n_bytes and (compressed or not packed)
            info = FrameInfo(
                path=file,
                number=len(found),
                offset=None if packed else int(start) + number * n_bytes,
                dtype=(dtype.newbyteorder() if frame.swap_needed() else dtype).str,
                shape_yx=(int(height), int(width)),
                ring_current_ma=ring_current_ma(frame.header),
                excess_bytes=_excess(image, size, n_frames * n_bytes)
                if last and number + 1 == n_frames
                else 0,
                unit=path if file != path else "",
                n_under_header=n_frames,
                fault=cut if torn or beyond else "",
            )
            found.append((info, motors))
    return found


def _binary_file(path: str, frame: Any) -> tuple[str, int]:
    """The file beside the header's that holds the pixels, and where in it."""
    if not Path(frame.bfname).is_file():
        raise Recon3DError(
            path, f"has its pixels in {Path(frame.bfname).name}, which is missing; copy it too"
        )
    return str(frame.bfname), int(frame.bfstart)


def _frames_under_header(image: EdfImage, frame: Any, several: int, available: int) -> int:
    """How many frames one header stands for: by its third dimension, Num_Images, or Size.

    Size may be padded: what follows the first frame must be more than zeros.
    """
    if several > 1:
        return several
    n_bytes = math.prod(frame.shape) * np.dtype(frame.dtype).itemsize
    fit = available // n_bytes if n_bytes else 0
    if fit < 2 or image.nframes > 1:
        return 1
    declared = next(
        (number_of(value_of(frame.header, key)) for key in _COUNT_KEYS if value_of(frame.header, key)), 1
    )
    if declared > 1 and declared == int(declared):
        return int(declared)
    if frame.blobsize % n_bytes == 0 and frame.blobsize >= 2 * n_bytes and any(_after(image, n_bytes)):
        return int(frame.blobsize // n_bytes)
    return 1


def _after(image: EdfImage, n_bytes: int) -> bytes:
    """What follows the first frame of a file, until the pixels of a second would end."""
    with image._open(image.filename, "rb") as stream:
        stream.seek(image._frames[0].start + n_bytes)
        return bytes(stream.read(n_bytes))


def _excess(image: EdfImage, file_size: int, n_bytes: int) -> int:
    """Bytes after the last pixel and its padding; in a compressed file fabio found them to be no frame."""
    last = image._frames[-1]
    if not image.filename.endswith(".edf"):
        n_after = _compressed_excess(image) if image.incomplete_file and not last.incomplete_data else 0
        return max(0, n_after + last.blobsize - max(n_bytes, last.blobsize))
    whole = last.start + last.blobsize == file_size
    if last._data_compression is not None or last.bfname is not None or whole:
        return 0
    return max(0, file_size - last.start - n_bytes)


def _compressed_excess(image: EdfImage) -> int:
    last = image._frames[-1]
    with image._open(image.filename, "rb") as stream:
        stream.seek(last.start + last.blobsize)
        return len(stream.read())


def open_image(path: str) -> EdfImage:
    """The file, its headers read. Raises Recon3DError."""
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


def whole_frame(info: FrameInfo) -> NDArray[Any]:
    """All pixels (y, x) of a frame of a compressed file."""
    image = open_image(info.path)
    if info.n_under_header == 1:
        return np.asarray(image.get_frame(info.number).data)
    first = image._frames[0]
    n_pixels = math.prod(info.shape_yx)
    with image._open(info.path, "rb") as stream:
        stream.seek(first.start + info.number * n_pixels * np.dtype(info.dtype).itemsize)
        pixels = np.frombuffer(stream.read(n_pixels * np.dtype(info.dtype).itemsize), info.dtype)
    return pixels.astype(pixels.dtype.newbyteorder("=")).reshape(info.shape_yx)
