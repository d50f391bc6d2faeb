"""The array on disk: dataarray.npy with its axes, measured.npy and getdata.json.

The array is written and read piece by piece at its place in the file; no process ever holds it.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import json
import math
import os
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..errors import Recon3DError
from ..physics.dark import DarkLevel
from .above import Frames, FramesAbove, FramesWithGaps
from .binned import FramesBinned, whole_bins

ARRAY, MEASURED, INFO = "dataarray.npy", "measured.npy", "getdata.json"
REPORT = "getdata.html"
_WRITES_IT = "getdata.py writes it beside dataarray.npy"
AXES = ("tilt1", "tilt2", "omega")
_IN_INFO = {  # what is read of it
    "scan": (str, "a name"),
    "tilt_frame": (str, "a name"),
    "roles": (dict, "an object"),
    "motors": (dict, "an object"),
    "moving": (list, "a list of axes"),
    "optics": (dict, "an object"),
    "unmeasured_pixels": (int, "a whole number"),
}
FILES = (ARRAY, *(f"{axis}.npy" for axis in AXES), MEASURED, INFO)  # renamed in this order, the json last


@contextlib.contextmanager
def writing(path: Path) -> Iterator[None]:
    """Say which file could not be written, and why (a full disk, a quota, a lost server)."""
    try:
        yield
    except OSError as error:
        raise Recon3DError(
            path, f"cannot be written ({error.strerror or error}); nothing was kept"
        ) from error


def _reserve(path: Path, handle: int, n_bytes: int) -> None:
    """Have the file system set the space aside: a full disk is found now, and writing is faster.

    Linux's fallocate, because os.posix_fallocate writes the zeros itself where a file system cannot
    reserve; there the space is taken as it is written.
    """
    fallocate = getattr(ctypes.CDLL(None, use_errno=True), "fallocate", None)
    if fallocate is None:
        return
    fallocate.argtypes = (ctypes.c_int, ctypes.c_int, ctypes.c_int64, ctypes.c_int64)
    if fallocate(handle, 0, 0, n_bytes) and ctypes.get_errno() in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        reason = os.strerror(ctypes.get_errno())
        raise Recon3DError(path, f"cannot be made ({reason}); the array needs {n_bytes / 1e9:.3g} GB")


def check_room(folder: Path, shape: tuple[int, ...], dtype: np.dtype[Any]) -> int:
    """How many bytes an array takes. Raises Recon3DError where there is no room for them in a folder."""
    n_bytes = math.prod(shape) * dtype.itemsize
    free = shutil.disk_usage(next(path for path in (folder, *folder.parents) if path.exists())).free
    if n_bytes > free:
        raise Recon3DError(folder, f"{free / 1e9:.3g} GB are free, the array needs {n_bytes / 1e9:.3g} GB")
    return n_bytes


class ArrayFile:
    """An .npy file of shape (tilt1, tilt2, omega, x, y), read or written in pieces. Use in `with`."""

    def __init__(self, path: Path, *, writable: bool = False) -> None:
        self.path = path
        try:
            with path.open("rb") as stream:
                version = np.lib.format.read_magic(stream)
                read_header = {
                    (1, 0): np.lib.format.read_array_header_1_0,
                    (2, 0): np.lib.format.read_array_header_2_0,
                }[version]
                self.shape, fortran, self.dtype = read_header(stream)
                self.offset = stream.tell()
        except FileNotFoundError:
            raise Recon3DError(path, "no such file; getdata.py makes it") from None
        except Exception as error:  # numpy's reader of damaged headers raises of all kinds
            reason = " ".join(str(error).split())
            raise Recon3DError(
                path, f"is not a .npy file ({reason}); make it again with getdata.py"
            ) from None
        if fortran:
            raise Recon3DError(path, "is in Fortran order; save it in C order (numpy.ascontiguousarray)")
        _check_dtype(path, self.dtype)
        expected = self.offset + math.prod(self.shape) * self.dtype.itemsize
        if path.stat().st_size < expected:
            raise Recon3DError(path, f"cut short: {path.stat().st_size} of {expected} bytes; make it again")
        self._handle = os.open(path, os.O_RDWR if writable else os.O_RDONLY)

    def __enter__(self) -> ArrayFile:
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        os.close(self._handle)

    @classmethod
    def create(cls, path: Path, shape: tuple[int, ...], dtype: np.dtype[Any]) -> None:
        """Make the file, all zeros, without writing them; raises Recon3DError on a full disk or a quota."""
        n_bytes = check_room(path.parent, shape, dtype)
        with path.open("wb") as stream:
            header = {"descr": np.lib.format.dtype_to_descr(dtype), "fortran_order": False, "shape": shape}
            np.lib.format.write_array_header_1_0(stream, header)
            stream.truncate(stream.tell() + n_bytes)
            stream.flush()
            _reserve(path, stream.fileno(), stream.tell() + n_bytes)

    def _place(self, index: tuple[int, ...], first_x: int = 0) -> int:
        _, n_2, n_3, n_x, n_y = self.shape
        frame = (int(index[0]) * n_2 + int(index[1])) * n_3 + int(index[2])
        return self.offset + ((frame * n_x + first_x) * n_y) * self.dtype.itemsize

    def write_frame(self, index: tuple[int, ...], pixels: NDArray[Any]) -> None:
        """Write the pixels (x, y) of position (i_tilt1, i_tilt2, i_omega)."""
        whole = pixels.astype(self.dtype, order="C", casting="same_kind", copy=False)
        data = memoryview(whole.data).cast("B")
        place = self._place(index)
        with writing(self.path):
            while data:
                written = os.pwrite(self._handle, data, place)
                data, place = data[written:], place + written

    def read_columns(self, index: tuple[int, ...], first_x: int, out: NDArray[Any]) -> None:
        """Fill `out` (x, n_y) with the pixels of one position from column first_x on."""
        place = self._place(index, first_x)
        count = os.preadv(self._handle, [out.data], place)
        if count == out.nbytes:  # almost always
            return
        data, place = memoryview(out.data).cast("B")[count:], place + count
        while data:
            count = os.preadv(self._handle, [data], place)
            if count == 0:
                raise Recon3DError(self.path, "ended before its last pixel; is it being written?")
            data, place = data[count:], place + count


class ArrayInMemory:
    """An array of shape (tilt1, tilt2, omega, x, y) read like a file."""

    def __init__(self, values: NDArray[Any]) -> None:
        self._values = values

    def __enter__(self) -> ArrayInMemory:
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        """Nothing is open."""

    def read_columns(self, index: tuple[int, ...], first_x: int, out: NDArray[Any]) -> None:
        """Fill `out` (x, n_y) with the pixels of one position from column first_x on."""
        np.copyto(out, self._values[tuple(index)][first_x : first_x + out.shape[0]])


@dataclass(frozen=True)
class Scan:
    """What a folder made by getdata.py holds, without the pixels.

    shape = (n_tilt1, n_tilt2, n_omega, n_x, n_y); axes float64 degrees, ascending; measured bool
    (n_tilt1, n_tilt2, n_omega); info is getdata.json, or empty. pixels is the array itself where that is
    in memory, or None; dark is the level that is taken off on reading. dtype is that of the pixels as they
    are read: float32 where the array holds integers (`stored`), of which those in `gaps` (n_x, n_y), 0 in
    the array, read as NaN. Where `bins` (along x, along y) hold more than one, a pixel is the sum over a bin
    of those of the scan `unbinned`.
    """

    folder: Path  # names the scan in messages
    shape: tuple[int, int, int, int, int]
    dtype: np.dtype[Any]
    tilt1_deg: NDArray[np.float64]
    tilt2_deg: NDArray[np.float64]
    omega_deg: NDArray[np.float64]
    measured: NDArray[np.bool_]
    info: dict[str, Any] = field(default_factory=dict)
    pixels: NDArray[Any] | None = None
    dark: DarkLevel | None = None
    gaps: NDArray[np.bool_] | None = None
    stored: np.dtype[Any] | None = None
    bins: tuple[int, int] = (1, 1)
    unbinned: Scan | None = None

    def with_gaps(self, gaps: NDArray[np.bool_]) -> Scan:
        """The scan of integers, some pixels (n_x, n_y) of which were not measured."""
        return replace(self, dtype=np.dtype(np.float32), gaps=gaps, stored=self.dtype)

    def binned(self, bins: tuple[int, int]) -> Scan:
        """The scan with its pixels summed over bins (along x, along y)."""
        if bins == (1, 1):
            return self
        n_pixels, _ = whole_bins(self.shape[3:], bins)
        shape = (*self.shape[:3], *n_pixels)
        return replace(self, shape=shape, dtype=np.dtype(np.float32), bins=bins, unbinned=self)

    def open(self) -> Frames:
        """The pixels above the dark level, to be read in pieces. Use in `with`."""
        if self.unbinned is not None:
            return FramesBinned(self.unbinned.open(), self.unbinned.shape[3:], self.unbinned.dtype, self.bins)
        frames: Frames = ArrayFile(self.folder / ARRAY) if self.pixels is None else ArrayInMemory(self.pixels)
        if self.gaps is not None and self.stored is not None:
            frames = FramesWithGaps(frames, self.gaps, self.stored)
        return frames if self.dark is None else FramesAbove(frames, self.dark)


def read_scan(folder: Path) -> Scan:
    """Read and check everything but the pixels. Raises Recon3DError naming the file."""
    if not folder.is_dir():
        raise Recon3DError(folder, "no such folder (key 'path'); it must hold dataarray.npy from getdata.py")
    with ArrayFile(folder / ARRAY) as array:
        shape, dtype = _check_shape(folder / ARRAY, array.shape), array.dtype
    paths = [folder / f"{name}.npy" for name in AXES]
    axes = [_check_axis(path, _load(path), n) for path, n in zip(paths, shape[:3], strict=True)]
    measured = np.ones(shape[:3], dtype=bool)
    if (folder / MEASURED).exists():
        measured = _check_measured(folder / MEASURED, _load(folder / MEASURED), shape[:3])
    return Scan(folder, shape, dtype, axes[0], axes[1], axes[2], measured, _read_info(folder / INFO))


def _read_info(path: Path) -> dict[str, Any]:
    """What getdata.json says, without what it leaves open; empty where there is no such file."""
    if not path.exists():
        return {}
    try:
        info = json.loads(path.read_text())
    except ValueError as error:
        raise Recon3DError(path, f"is not JSON ({error})") from None
    if not isinstance(info, dict):
        raise Recon3DError(path, "must hold a JSON object, as getdata.py writes it")
    for key, (kind, name) in _IN_INFO.items():
        value = info.get(key)
        if value is not None and (not isinstance(value, kind) or isinstance(value, bool)):
            raise Recon3DError(path, f"{key} is {json.dumps(value)}; it must be {name}, or null")
    return {key: value for key, value in info.items() if value is not None}


def scan_of_arrays(
    pixels: NDArray[Any],
    axes: Mapping[str, ArrayLike | None],
    measured: ArrayLike | None = None,
    info: dict[str, Any] | None = None,
) -> Scan:
    """A scan whose pixels (tilt1, tilt2, omega, x, y) are in memory, or mapped; its axes in degrees."""
    shape = _check_shape("the array", pixels.shape)
    _check_dtype("the array", pixels.dtype)
    missing = [name for name in AXES if axes.get(name) is None]
    if missing:
        raise Recon3DError(missing[0], "is missing: the positions in degrees, beside the array")
    tilt1, tilt2, omega = (
        _check_axis(name, np.asarray(axes[name]), n) for name, n in zip(AXES, shape[:3], strict=True)
    )
    known = np.ones(shape[:3], dtype=bool) if measured is None else np.asarray(measured)
    known = _check_measured("measured", known, shape[:3])
    where = Path("arrays in memory")
    return Scan(where, shape, pixels.dtype, tilt1, tilt2, omega, known, info or {}, pixels)


def _check_shape(where: object, shape: tuple[int, ...]) -> tuple[int, int, int, int, int]:
    if len(shape) != 5 or 0 in shape:
        raise Recon3DError(where, f"has shape {shape}; it must have five axes: tilt1, tilt2, omega, x, y")
    n_tilt1, n_tilt2, n_omega, n_x, n_y = shape
    return n_tilt1, n_tilt2, n_omega, n_x, n_y


def _check_dtype(where: object, dtype: np.dtype[Any]) -> None:
    if dtype.kind not in "uif" or (dtype.kind == "f" and dtype.itemsize not in (4, 8)):
        raise Recon3DError(where, f"holds {dtype}; it must hold integers, float32 or float64")


def _check_measured(where: object, measured: NDArray[Any], shape: tuple[int, ...]) -> NDArray[np.bool_]:
    if measured.shape != shape:
        raise Recon3DError(where, f"has shape {measured.shape}, the array {shape}")
    return measured.astype(bool)


def _load(path: Path) -> NDArray[Any]:
    try:
        return np.load(path, allow_pickle=False)
    except FileNotFoundError:
        old = any((path.parent / name).exists() for name in ("mu.npy", "alpha.npy"))
        hint = "the folder is of the 2017 programs: see recon3d-convert" if old else _WRITES_IT
        raise Recon3DError(path, f"no such file; {hint}") from None
    except (ValueError, EOFError, OSError) as error:
        raise Recon3DError(path, f"cannot be read ({error})") from None


def _check_axis(where: object, values: NDArray[Any], length: int) -> NDArray[np.float64]:
    if values.shape != (length,):
        raise Recon3DError(where, f"has shape {values.shape}; the array has {length} positions on this axis")
    if values.dtype.kind not in "uif":
        raise Recon3DError(where, f"holds {values.dtype}; it must hold angles in degrees")
    values = values.astype(np.float64)
    if not np.isfinite(values).all() or (np.diff(values) <= 0).any():
        raise Recon3DError(where, "must hold finite, ascending angles in degrees")
    return values


def write_axes(folder: Path, axes: list[NDArray[np.float64]], measured: NDArray[np.bool_]) -> None:
    """Write tilt1.npy, tilt2.npy, omega.npy and measured.npy."""
    for name, values in zip(AXES, axes, strict=True):
        np.save(folder / f"{name}.npy", np.asarray(values, dtype="<f8"))
    np.save(folder / MEASURED, measured)


def write_info(folder: Path, info: dict[str, Any]) -> None:
    """Write getdata.json."""
    (folder / INFO).write_text(json.dumps(info, indent=1) + "\n")


def publish(temporary: Path, folder: Path, names: tuple[str, ...]) -> None:
    """Move finished files to their folder under their final names.

    A new folder appears in one step; in an existing one each file does, getdata.json last.
    """
    if not folder.exists():
        temporary.rename(folder)
        return
    for name in (REPORT, INFO):  # the presence of the latter says that the set is whole
        (folder / name).unlink(missing_ok=True)
    for name in names:
        (temporary / name).replace(folder / name)
    shutil.rmtree(temporary)
