"""Small scans as EDF files, and the array that getdata.py must make of them in plain numpy.

EDF is written byte by byte here, as ID06 writes it; nothing is taken from the package.
"""

from __future__ import annotations

import bz2
import gzip
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np

EDF_TYPES = {
    "u1": "UnsignedByte",
    "i1": "SignedByte",
    "u2": "UnsignedShort",
    "i2": "SignedShort",
    "u4": "UnsignedInteger",
    "i4": "SignedInteger",
    "u8": "Unsigned64",
    "i8": "Signed64",
    "f4": "FloatValue",
    "f8": "DoubleValue",
}
REST_MOTORS = {"trash": 2.0, "mono": 5.67781, "corx": 0.41}  # they stand still in every scan of the tests
COUNTERS = {"sec": 0.5, "srcur": 167.777, "pico1": 4.83755e-06, "foc1": float("nan")}


def paired_lists(stem: str, values: Mapping[str, float]) -> dict[str, str]:
    """`stem`_pos and `stem`_mne of a header."""
    numbers = ("-nan" if np.isnan(v) else f"{v:.12g}" for v in values.values())
    return {f"{stem}_pos": " ".join(numbers), f"{stem}_mne": " ".join(values)}


def motor_header(motors: Mapping[str, float], counters: Mapping[str, float] = COUNTERS) -> dict[str, str]:
    """A header with motor and counter lists; the scanned motors stand between others."""
    first, *rest = REST_MOTORS.items()
    return paired_lists("counter", counters) | paired_lists("motor", dict([first, *motors.items(), *rest]))


def edf_block(
    pixels: np.ndarray, header: Mapping[str, str], *, big_endian: bool = False, header_bytes: int = 1024
) -> bytes:
    """One frame (y, x) as it stands in a file: `{`, lines `key = value ;`, blanks, `}`, pixels."""
    kind = f"{pixels.dtype.kind}{pixels.dtype.itemsize}"
    own = {
        "HeaderID": "EH:000001:000000:000000",
        "Image": 1,
        "ByteOrder": "HighByteFirst" if big_endian else "LowByteFirst",
        "DataType": EDF_TYPES[kind],
        "Dim_1": pixels.shape[1],
        "Dim_2": pixels.shape[0],
        "Size": pixels.nbytes,
    }
    lines = "".join(f"{key:<14} = {value} ;\n" for key, value in {**own, **header}.items())
    text = "{\n" + lines
    text += " " * (-(len(text) + 2) % header_bytes) + "}\n"
    return text.encode("ascii") + pixels.astype(pixels.dtype.newbyteorder("><"[not big_endian])).tobytes()


def pack(name: str, content: bytes) -> bytes:
    """The bytes of a file of that name: packed where it ends in .gz or .bz2."""
    if name.endswith(".gz"):
        return gzip.compress(content, 1)
    return bz2.compress(content, 1) if name.endswith(".bz2") else content


def write_edf(path: Path, pixels: np.ndarray, header: Mapping[str, str], **how: Any) -> Path:
    """Write a file of one frame; the end of its name says whether it is compressed."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(pack(path.name, edf_block(pixels, header, **how)))
    return path


@dataclass
class Frame:
    """One frame of a scan: its place on the grid (tilt1, tilt2, omega), its motors and pixels (y, x)."""

    place: tuple[int, int, int]
    motors: dict[str, float]
    pixels: np.ndarray


def make_frames(
    axes: Mapping[str, Sequence[float]],
    shape_yx: tuple[int, int],
    *,
    seed: int = 0,
    jitter: float = 0.0,
    missing: Iterable[tuple[int, int, int]] = (),
) -> list[Frame]:
    """The frames of a scan of three motors, in scan order, without the `missing` positions.

    The read-back of each motor is off by up to `jitter` of its smallest step. Pixels are random
    integers 0 .. 999, so that no two frames look alike.
    """
    rng = np.random.default_rng(seed)
    values = [np.asarray(v, dtype=float) for v in axes.values()]
    smallest = [np.diff(v).min() if v.size > 1 else 0.0 for v in values]
    left_out = set(missing)
    frames = []
    for place in product(*(range(v.size) for v in values)):
        pixels = rng.integers(0, 1000, shape_yx).astype(np.uint16)
        off = rng.uniform(-jitter, jitter, 3) * smallest
        read_back = [float(v[i] + d) for v, i, d in zip(values, place, off, strict=True)]
        if place not in left_out:
            frames.append(Frame(place, dict(zip(axes, read_back, strict=True)), pixels))
    return frames


def write_frames(
    folder: Path, frames: Sequence[Frame], *, stem: str = "scan_", seed: int = 0, plain: bool = False
) -> list[Path]:
    """A file for each frame, numbered at random: names say nothing about the order of the scan."""
    numbers = np.random.default_rng(seed).permutation(len(frames))
    paths = []
    for number, frame in zip(numbers, frames, strict=True):
        header = {k: f"{v:.12g}" for k, v in frame.motors.items()} if plain else motor_header(frame.motors)
        paths.append(write_edf(folder / f"{stem}{number:04d}.edf", frame.pixels, header))
    return paths


def write_background(
    folder: Path, shape_yx: tuple[int, int], n_frames: int = 3, *, stem: str = "dark_", seed: int = 99
) -> np.ndarray:
    """Background files of 90 .. 110 counts; returns their pixels (n, y, x)."""
    stack = np.random.default_rng(seed).integers(90, 111, (n_frames, *shape_yx)).astype(np.uint16)
    for number, pixels in enumerate(stack):
        write_edf(folder / f"{stem}{number}.edf", pixels, motor_header({"diffrx": 1.0 * number}))
    return stack


def crop(image: np.ndarray, poi: tuple[int, int], size: tuple[int, int]) -> np.ndarray:
    """The region of interest of an image (..., y, x), as axes (..., x, y)."""
    x0, y0 = poi[0] - size[0] // 2, poi[1] - size[1] // 2
    part = image[..., y0 : y0 + size[1], x0 : x0 + size[0]]
    assert part.shape[-2:] == (size[1], size[0])
    return np.swapaxes(part, -1, -2)


def expected_array(
    frames: Sequence[Frame],
    shape: tuple[int, int, int],
    poi: tuple[int, int],
    size: tuple[int, int],
    background: np.ndarray | None = None,
) -> np.ndarray:
    """`frame - background` of every position in float64 (tilt1, tilt2, omega, x, y), 0 where not measured."""
    array = np.zeros((*shape, *size))
    for frame in frames:
        level = 0.0 if background is None else background
        array[frame.place] = crop(frame.pixels.astype(np.float64) - level, poi, size)
    return array


def as_uint16(array: np.ndarray) -> np.ndarray:
    """Rounded to nearest and clipped, as getdata.py stores it by default."""
    return np.clip(np.rint(array), 0, 65535).astype(np.uint16)


def snapshot(folder: Path) -> dict[str, tuple[bytes, int]]:
    """Content and time of last change of everything in a folder."""
    found = (p for p in sorted(folder.rglob("*")) if p.is_file())
    return {str(p.relative_to(folder)): (p.read_bytes(), p.stat().st_mtime_ns) for p in found}


class OpenRecorder:
    """Records which files below a folder are opened and how, from Python's audit events."""

    def __init__(self) -> None:
        self.folder: Path | None = None
        self.opened: list[tuple[str, str | None, int]] = []
        sys.addaudithook(self._hook)  # stays for the life of the process, asleep while folder is None

    def _hook(self, event: str, arguments: tuple[Any, ...]) -> None:
        if self.folder is not None and event == "open" and str(arguments[0]).startswith(str(self.folder)):
            self.opened.append((str(arguments[0]), arguments[1], arguments[2]))

    def start(self, folder: Path) -> None:
        """Forget what was recorded, and record what is opened in `folder` from now on."""
        self.opened.clear()
        self.folder = folder

    def stop(self) -> list[tuple[str, str | None, int]]:
        """Path, mode (None for os.open) and flags of each time a file was opened since the start."""
        self.folder = None
        return list(self.opened)
