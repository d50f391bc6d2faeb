"""The workflow of recon3d-convert: a folder of the 2017 programs becomes one that recon3d.py reads.

Those programs wrote the frames as rows and columns, the tilts as mu and gamma (fixed in the lab) or alpha
and beta (above omega), and did not say which positions were measured. One frame at a time is held.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .errors import Recon3DError
from .initfile.old import translate
from .parallel.claim import claimed
from .parallel.communicator import SerialComm
from .scan import store
from .version import __version__

Axis = NDArray[np.float64]

OLD_AXES = {"lab": ("mu", "gamma", "omega"), "sample": ("alpha", "beta", "omega")}
_RAW, _CLEANED = "dataarray.npy", "dataarray_final.npy"
_INITFILE = "init.txt"
_LOST = 0.01  # |cos omega| below which gamma could not be told from phi


@dataclass(frozen=True)
class Options:
    """What the user asks for. folder is read, output is made."""

    folder: Path
    output: Path
    initfile: Path | None = None
    array: str | None = None
    tilt_frame: str | None = None
    rotation_column: float | None = None
    overwrite: bool = False
    command: str = ""


@dataclass(frozen=True)
class OldScan:
    """A folder of the 2017 programs. pixels (tilt1, tilt2, omega, row, column) are mapped, not read.

    order are the indices that sort each axis; raw is the array before cleaning, if it is there.
    """

    frame: str
    name: str
    pixels: NDArray[Any]
    raw: NDArray[Any] | None
    axes: tuple[Axis, Axis, Axis]
    order: tuple[NDArray[np.int64], ...]


def run(options: Options) -> list[str]:
    """Convert; returns the lines to print. Raises Recon3DError."""
    if options.output.resolve() == options.folder.resolve():
        raise Recon3DError(options.output, "is the folder to be converted; choose another one")
    _refuse_existing(options)
    old = read_old(options)
    notes = _what_cannot_be_known(options, old)
    frame = options.tilt_frame or old.frame
    rows, columns = old.pixels.shape[3:]
    text = None
    if options.initfile is not None:
        column = options.rotation_column
        center = None if column is None else (column, (rows - 1) / 2)
        source = _read_text(options.initfile)
        text, said = translate(source, str(options.initfile), str(options.output), old.frame, center)
        notes += said
    with _new_folder(options) as part:
        measured = _write_array(old, part)
        n_missing = int((~measured).sum())
        store.write_axes(part, list(old.axes), measured)
        store.write_info(part, _describe(options, old, frame, measured, notes))
        names = store.FILES
        if text is not None:
            (part / _INITFILE).write_text(text)
            names = (_INITFILE, *names)
        store.publish(part, options.output, names)
    n_1, n_2, n_omega = measured.shape
    return [
        *(str(options.output / name) for name in names),
        f"array       {n_1} x {n_2} tilts x {n_omega} omegas x {columns} x {rows} pixels, from {old.name}",
        f"tilts       {' and '.join(OLD_AXES[old.frame][:2])}, fixed in the {frame}",
        f"missing     {n_missing} of {measured.size} positions",
        *(f"note        {note}" for note in notes),
    ]


def _refuse_existing(options: Options) -> None:
    if (options.output / store.ARRAY).exists() and not options.overwrite:
        raise Recon3DError(options.output / store.ARRAY, "exists; choose another folder, or --overwrite")


def read_old(options: Options) -> OldScan:
    """Look at the old folder: which files there are, and whether they fit. Raises Recon3DError."""
    folder = options.folder
    frame = next((f for f, n in OLD_AXES.items() if all((folder / f"{a}.npy").exists() for a in n)), None)
    if frame is None:
        raise Recon3DError(folder, "has neither mu.npy, gamma.npy nor alpha.npy, beta.npy, with omega.npy")
    name = options.array or (_CLEANED if (folder / _CLEANED).exists() else _RAW)
    pixels = _map(folder / name)
    raw = _map(folder / _RAW) if (folder / _RAW).exists() else None
    if pixels.ndim != 5 or 0 in pixels.shape:
        raise Recon3DError(
            folder / name, f"has shape {pixels.shape}; it must be tilts, tilts, omegas, rows, columns"
        )
    if raw is not None and raw.shape != pixels.shape:
        raise Recon3DError(folder / _RAW, f"has shape {raw.shape}, {name} {pixels.shape}")
    values = [
        _axis(folder / f"{axis}.npy", n) for axis, n in zip(OLD_AXES[frame], pixels.shape[:3], strict=True)
    ]
    order = tuple(np.argsort(axis, kind="stable") for axis in values)
    tilt1, tilt2, omega = (axis[index] for axis, index in zip(values, order, strict=True))
    return OldScan(frame, name, pixels, raw, (tilt1, tilt2, omega), order)


def _map(path: Path) -> NDArray[Any]:
    try:
        return np.load(path, mmap_mode="r", allow_pickle=False)
    except FileNotFoundError:
        raise Recon3DError(path, "no such file") from None
    except (ValueError, EOFError, OSError) as error:
        raise Recon3DError(path, f"cannot be read ({error})") from None


def _axis(path: Path, length: int) -> Axis:
    values = np.asarray(_map(path), dtype=np.float64)
    if values.shape != (length,):
        raise Recon3DError(path, f"has shape {values.shape}; the array has {length} positions on this axis")
    if not np.isfinite(values).all() or np.unique(values).size != length:
        raise Recon3DError(path, "must hold finite angles, each once; make the array again with getdata.py")
    return values


def _read_text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig", errors="replace")
    except OSError as error:
        raise Recon3DError(path, f"cannot be read ({error.strerror})") from None


def _what_cannot_be_known(options: Options, old: OldScan) -> list[str]:
    """One line for each thing that the old files do not say."""
    notes = []
    if options.tilt_frame is None and old.frame == "sample":
        notes.append("alpha and beta are taken as tilts above omega; if they were below, --tilt-frame lab")
    notes.append("flips and sign of omega are those of the 2017 recon3d.py; recon3d-check tells which fit")
    if old.frame == "lab" and (np.abs(np.cos(np.radians(old.axes[2]))) < _LOST).any():
        notes.append(
            "omega 90 and 270 count as not measured: there the 2017 getdata.py put all gammas on one position"
        )
    if old.raw is None:
        notes.append(f"without {_RAW}, every position counts as measured")
    return notes


@contextmanager
def _new_folder(options: Options) -> Iterator[Path]:
    """A hidden folder beside the final one, gone in the end."""
    output = options.output
    part = output.with_name(f".{output.name}.part")
    with claimed(output, SerialComm()):
        _refuse_existing(options)  # another run may have ended since it was asked first
        try:
            shutil.rmtree(part, ignore_errors=True)
            part.mkdir(parents=True)
            yield part
        except OSError as error:
            raise Recon3DError(output, f"cannot be written ({error.strerror or error})") from None
        finally:
            shutil.rmtree(part, ignore_errors=True)


def _write_array(old: OldScan, folder: Path) -> NDArray[np.bool_]:
    """Write the pixels as (x, y) = (column, row); returns which positions were measured."""
    n_1, n_2, n_omega, rows, columns = old.pixels.shape
    dtype = old.pixels.dtype.newbyteorder("<")
    store.ArrayFile.create(folder / store.ARRAY, (n_1, n_2, n_omega, columns, rows), dtype)
    measured = np.ones((n_1, n_2, n_omega), dtype=np.bool_)
    if old.frame == "lab":
        measured &= np.abs(np.cos(np.radians(old.axes[2]))) >= _LOST
    with store.ArrayFile(folder / store.ARRAY, writable=True) as array:
        for place in np.ndindex(measured.shape):
            source = tuple(index[i] for index, i in zip(old.order, place, strict=True))
            if old.raw is not None and not old.raw[source].any():
                measured[place] = False  # the old programs left zeros where no frame was
            if measured[place]:
                array.write_frame(place, old.pixels[source].T)
    return measured


def _describe(
    options: Options, old: OldScan, frame: str, measured: NDArray[np.bool_], notes: list[str]
) -> dict[str, Any]:
    """The contents of getdata.json."""
    *scanned, rows, columns = old.pixels.shape
    return {
        "program": "Recon3D convert",
        "version": __version__,
        "command": options.command,
        "converted_from": str((options.folder / old.name).resolve()),
        "array": {
            "shape": [*scanned, columns, rows],
            "dtype": old.pixels.dtype.name,
            "axes": [*store.AXES, "x", "y"],
        },
        "motors": dict(zip(store.AXES, OLD_AXES[old.frame], strict=True)),
        "tilt_frame": frame,
        "missing_positions": np.argwhere(~measured).tolist(),
        "notes": notes,
    }
