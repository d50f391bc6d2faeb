"""getdata.py --list: what a file or folder holds, so that one can choose; reads headers only."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from ..errors import Recon3DError
from ..frames import edf
from ..frames.sources import HeaderReader, find_units, is_hdf5, unit_name
from ..parallel.progress import Progress
from .belonging import moves
from .motor_table import MotorTable
from .motors import USUAL

_MOST_MOTORS = 5  # shown of one entry
_GAP_RATIO = 4.0  # between the steps of a motor and what its read-back scatters
_FEW_STEMS = 12  # scans of EDF files that differ in one number of their names

Values = NDArray[np.float64]


@dataclass
class Listed:
    """One line: an entry with one of its cameras, or the EDF files of one stem."""

    name: str
    title: str
    n_frames: str = "-"
    size: str = "-"
    end_reason: str = ""
    moving: dict[str, Values] = field(default_factory=dict)
    still: dict[str, float] = field(default_factory=dict)
    problem: str = ""


def count_positions(values: Values) -> int:
    """How many places read-back values (n,) stand for: clusters between the gaps that stand out most.

    >>> count_positions(np.array([0.0, 0.001, 0.1, 0.1002, 0.2, 0.2001]))
    3
    """
    ordered = np.sort(values[np.isfinite(values)])
    gaps = np.sort(np.maximum(np.diff(ordered), 1e-6))[::-1]
    if not gaps.size or gaps[0] <= 1e-6:
        return min(1, ordered.size)
    ratios = gaps[:-1] / gaps[1:]
    stands_out = bool(ratios.size and ratios.max() > _GAP_RATIO)
    return int(np.argmax(ratios)) + 2 if stands_out else ordered.size


def describe_motion(moving: Mapping[str, Values]) -> str:
    """Motors with their ranges and numbers of positions."""
    shown = [
        f"{name} {np.nanmin(values):.6g}..{np.nanmax(values):.6g} ({count_positions(values)})"
        for name, values in list(moving.items())[:_MOST_MOTORS]
    ]
    return ", ".join(shown) + (
        f" and {len(moving) - _MOST_MOTORS} more" if len(moving) > _MOST_MOTORS else ""
    )


def run(datadir: str, dataname: str | None, *, quiet: bool = False) -> list[str]:
    """The lines to print. Raises Recon3DError where there is nothing to list."""
    stem = None if dataname in (None, "-") else dataname
    if not is_hdf5(datadir):
        return _table(datadir, ("files", "frames"), _list_edf(datadir, stem or "", quiet))
    from ..frames import entries  # h5py need not be loaded for EDF files
    from ..frames.hdf5 import SEPARATOR

    units = entries.all_units(datadir) if stem is None else find_units(datadir, stem)
    if not units:
        raise Recon3DError(datadir, "holds no entries")
    listed: list[Listed] = []
    with Progress("entries", len(units), "entries", visible=not quiet) as progress:
        for unit in units:
            listed += _list_entry(unit)
            progress.advance()
    if len({unit.rpartition(SEPARATOR)[0] for unit in units}) == 1:
        for line in listed:  # then the entry alone is what dataname needs
            line.name = line.name.rpartition(SEPARATOR)[2]
    return _table(datadir, ("entry", "frames"), listed)


def _list_entry(unit: str) -> list[Listed]:
    """An entry: a line for each of its cameras, one line if it has none."""
    from ..frames.catalog import read_entry_facts

    entry = read_entry_facts(unit)
    lines = []
    for camera, (n, rows, columns) in (entry.cameras or {"": (0, 0, 0)}).items():
        line = Listed(unit_name(unit), entry.title, end_reason=entry.end_reason)
        if entry.cameras:
            line.n_frames, line.size = str(n), f"{columns} x {rows}"
        if len(entry.cameras) > 1:
            line.size += f" {camera}"
        if entry.cameras or entry.broken:
            try:
                frames = HeaderReader(camera or None).read(unit)
            except Recon3DError as error:
                line.problem = error.what
            except (KeyError, OSError, RuntimeError) as error:  # the link of the entry itself leads nowhere
                line.problem = f"cannot be read ({' '.join(str(error).split())})"
            else:
                _fill(line, [motors for _, motors in frames], set(entry.motors) | set(entry.command.motors))
        lines.append(line)
    return lines


def _fill(line: Listed, frames: Iterable[dict[str, float]], names: set[str]) -> None:
    """Note which of the named motors move, and where the others stand."""
    table = MotorTable()
    for motors in frames:
        if motors:
            table.add(motors)
    for name, values in table.arrays().items():
        if (names and name not in names) or not np.isfinite(values).any():
            continue
        if moves(values):
            line.moving[name] = values
        else:
            line.still[name] = float(np.nanmean(values))


def _list_edf(folder: str, stem: str, quiet: bool) -> list[Listed]:
    """The files of each scan together: a stem that getdata.py takes as dataname."""
    paths = edf.find_files(folder, stem)
    listed = []
    reader = HeaderReader()
    with Progress("headers", len(paths), "files", visible=not quiet) as progress:
        for name, group in group_by_stem(paths).items():
            line = Listed(name, "")
            frames, sizes = [], []
            for path in group:
                try:
                    for info, motors in reader.read(path):
                        frames.append(motors)
                        sizes.append(f"{info.shape_yx[1]} x {info.shape_yx[0]}")
                except Recon3DError as error:
                    line.problem = line.problem or f"{unit_name(path)} {error.what}"
                progress.advance()
            line.title, names = edf_title(group[0])
            line.n_frames = f"{len(frames)}" + (f" in {len(group)}" if len(frames) != len(group) else "")
            line.size = " and ".join(dict.fromkeys(sizes)) or "-"
            _fill(line, frames, names)
            listed.append(line)
    return listed


def edf_title(path: str) -> tuple[str, set[str]]:
    """The title in the header of a file, and the motors that its motor list names (none: all keys may be)."""
    from fabio.edfimage import EdfImage

    try:
        with EdfImage() as image:
            header = image.read(path).header
    except Exception:  # noqa: BLE001 - fabio raises anything; the reader of headers has said what is wrong
        return "", set()
    return " ".join(str(header.get("title", "")).split()), set(header.get("motor_mne", "").split())


def group_by_stem(paths: Sequence[str]) -> dict[str, list[str]]:
    """Files of one scan together, by the beginning that their names share.

    Names that differ in numbers only are one scan, unless one of several numbers takes few values: then
    that number counts scans.

    >>> group_by_stem(["/d/a_0001.edf", "/d/a_0002.edf", "/d/dark.edf"])
    {'a_': ['/d/a_0001.edf', '/d/a_0002.edf'], 'dark': ['/d/dark.edf']}
    >>> list(group_by_stem([f"/d/t_{k:02d}_{i:04d}.edf" for k in (7, 8) for i in range(99)]))
    ['t_07_', 't_08_']
    """
    alike: dict[tuple[str, ...], list[tuple[list[str], str]]] = {}
    for path in paths:
        parts = re.split(r"(\d+)", os.path.basename(path))  # noqa: PTH119 - there may be 100,000
        alike.setdefault(tuple(parts[::2]), []).append((parts, path))
    groups: dict[str, list[str]] = {}
    for members in alike.values():
        varying = [k for k in range(1, len(members[0][0]), 2) if len({m[0][k] for m in members}) > 1]
        first = len({m[0][varying[0]] for m in members}) if varying else 0
        n_fixed = varying[0] + 2 if len(varying) > 1 and first <= _FEW_STEMS else None
        for parts, path in members:
            if not varying:
                name = re.sub(r"\.edf(\.gz|\.bz2)?$", "", "".join(parts))
            else:
                name = "".join(parts[: n_fixed or varying[0]])
            groups.setdefault(name, []).append(path)
    return groups


def _table(where: str, heads: tuple[str, str], listed: list[Listed]) -> list[str]:
    """The lines in columns; motors that stand still are shown where they differ between the lines."""
    between = [m for m in _differ(listed) if m in USUAL or any(m in line.moving for line in listed)]
    rows = [(*heads, "size", "moves", "ended", "title")]
    for line in listed:
        motion = describe_motion(line.moving) or ("" if line.n_frames == "-" else "nothing")
        places = [f"{m} {line.still[m]:.6g}" for m in between if m in line.still][:_MOST_MOTORS]
        motion += f" at {', '.join(places)}" if places else ""
        if line.problem:
            motion = f"! {line.problem}"
        rows.append((line.name, line.n_frames, line.size, motion, line.end_reason, line.title))
    widths = [max(len(row[k]) for row in rows) for k in range(len(rows[0]))]
    text = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in rows]
    return [where, *(row.rstrip() for row in text)]


def _differ(listed: list[Listed]) -> list[str]:
    names = dict.fromkeys(name for line in listed for name in line.still)
    return [n for n in names if moves(np.array([line.still[n] for line in listed if n in line.still]))]
