"""The table of --positions: where each frame was taken, for files whose headers do not know.

A text file of lines `frame tilt1 tilt2 omega`, separated by commas, semicolons, tabs or blanks. A first
line of names gives the columns another order, or leaves some of them to the headers.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import Recon3DError
from ..frames.pixels import FrameInfo
from .motor_table import Values
from .motors import GAMMA, NONE, ROLES, RoleOptions

_KEYS = ("frame", "file", "name", "number")
_SUFFIXES = (".gz", ".bz2", ".edf")
_WANTED = "frame, tilt1, tilt2, omega"


@dataclass(frozen=True)
class PositionsTable:
    """The lines of a table: frame (a number or a name) to its angles, in the order of `roles`."""

    path: Path
    roles: tuple[str, ...]
    angles: dict[str, tuple[float, ...]]
    lines: dict[str, int]

    def place(
        self, frames: Sequence[FrameInfo], motors: Mapping[str, Values], options: RoleOptions
    ) -> tuple[RoleOptions, dict[str, Values], list[str]]:
        """The roles with the angles of the table in them, and the motors of all frames with these among them.

        An angle takes the name of the motor that was given for its role, or of the role. Frames
        without a line have NaN. Raises Recon3DError for a line without a frame.
        """
        warnings: list[str] = []
        numbers = self._numbers(frames, warnings)
        found = dict(motors)
        if options.tilt2 == GAMMA and "tilt2" in self.roles:
            options = replace(options, tilt_frame=options.tilt_frame or "lab")
        for column, role in enumerate(self.roles):
            given = getattr(options, role)
            name = role if given in (None, NONE, GAMMA) else given
            values = np.full(len(frames), math.nan)
            for key, frame in numbers.items():
                values[frame] = self.angles[key][column]
            found[name] = values
            change: dict[str, Any] = {role: name}
            options = replace(options, **change)
        return options, found, warnings

    def _numbers(self, frames: Sequence[FrameInfo], warnings: list[str]) -> dict[str, int]:
        """The frame of each line, counted over all files from 0."""
        by_name: dict[str, list[int]] = {}
        for number, info in enumerate(frames):
            for name in _names(info):
                by_name.setdefault(name, []).append(number)
        counts = [int(key) for key in self.angles if key.isdecimal() and key not in by_name]
        first = int(bool(counts) and min(counts) == 1 and max(counts) == len(frames))
        if first:
            warnings.append(
                f"{self.path}: its frames are counted from 1, as none is 0 and the last is {max(counts)}"
            )
        found: dict[str, int] = {}
        taken: dict[int, str] = {}
        for key in self.angles:
            frame = self._frame(key, by_name, len(frames), first)
            if frame in taken:
                raise self._error(self.lines[key], f"'{key}' is the frame of line {self.lines[taken[frame]]}")
            taken[frame] = key
            found[key] = frame
        return found

    def _frame(self, key: str, by_name: dict[str, list[int]], n_frames: int, first: int) -> int:
        matching = by_name.get(key) or by_name.get(_without_suffix(key)) or []
        if len(matching) > 1:
            raise self._error(
                self.lines[key], f"'{key}' holds {len(matching)} frames; write {key}[0], {key}[1] ..."
            )
        if matching:
            return matching[0]
        if key.isdecimal():
            if first <= int(key) < n_frames + first:
                return int(key) - first
            raise self._error(
                self.lines[key],
                f"there is no frame {key}; they are numbered {first} to {n_frames + first - 1}",
            )
        example = min(by_name, key=len, default="")
        raise self._error(
            self.lines[key],
            f"no frame '{key}' in the scan; give a number from 0, or a name such as {example}",
        )

    def _error(self, line: int, what: str) -> Recon3DError:
        return Recon3DError(f"{self.path}, line {line}", what)


def _names(info: FrameInfo) -> set[str]:
    """The names that a table may give a frame, without folders and .edf."""
    file = Path(info.path).name
    bases = [file, info.path, _without_suffix(file)]
    entry = info.dataset.strip("/").partition("/")[0] if info.dataset else ""
    if entry:
        bases = [entry, f"{file}::{entry}", f"{info.path}::{entry}"]
    return {*bases, *(f"{base}[{info.number}]" for base in bases)}


def _without_suffix(name: str) -> str:
    for suffix in _SUFFIXES:
        name = name.removesuffix(suffix)
    return name


def read_positions(path: str) -> PositionsTable:
    """Read the table. Raises Recon3DError naming the file, the line and the value."""
    file = Path(path)
    lines = _lines(file)
    if not lines:
        raise Recon3DError(file, f"holds no positions; its lines must be {_WANTED}")
    first_number, first = lines[0]
    words = [word.lower() for word in first]
    columns: tuple[str, ...] = (_KEYS[0], *ROLES)
    if _is_header(words):
        columns = _columns(file, first_number, words)
        lines = lines[1:]
        if not lines:
            raise Recon3DError(file, "holds names of columns and no positions below them")
    roles = tuple(name for name in columns if name in ROLES)
    key_column = next(i for i, name in enumerate(columns) if name in _KEYS)
    angles: dict[str, tuple[float, ...]] = {}
    numbers: dict[str, int] = {}
    for number, cells in lines:
        if len(cells) != len(columns):
            raise Recon3DError(
                f"{file}, line {number}",
                f"has {len(cells)} values instead of {len(columns)} ({', '.join(columns)})",
            )
        key = str(int(cells[key_column])) if cells[key_column].isdecimal() else cells[key_column]
        if key in angles:
            raise Recon3DError(
                f"{file}, line {number}", f"frame '{key}' was given in line {numbers[key]} already"
            )
        values = zip(columns, cells, strict=True)
        angles[key] = tuple(_angle(file, number, name, cell) for name, cell in values if name in ROLES)
        numbers[key] = number
    return PositionsTable(file, roles, angles, numbers)


def _lines(file: Path) -> list[tuple[int, list[str]]]:
    """The lines that say something, with their numbers, in cells."""
    try:
        text = file.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise Recon3DError(file, "no such file (--positions)") from None
    except IsADirectoryError:
        raise Recon3DError(file, "is a folder; --positions needs a text file") from None
    except UnicodeDecodeError:
        raise Recon3DError(file, f"is no text file; its lines must be {_WANTED}") from None
    except OSError as error:
        raise Recon3DError(file, f"cannot be read ({error.strerror})") from None
    if "\0" in text:
        raise Recon3DError(file, f"is no text file; its lines must be {_WANTED}")
    found = []
    for number, line in enumerate(text.splitlines(), start=1):
        content = line.partition("#")[0].strip()
        if content:
            found.append((number, _cells(content)))
    return found


def _cells(line: str) -> list[str]:
    """The values of a line; the first of ; tab , blank that it holds separates them."""
    for separator in (";", "\t", ","):
        if separator in line:
            return [cell.strip().strip("\"'") for cell in line.split(separator)]
    return [cell.strip("\"'") for cell in re.split(r"\s+", line)]


def _is_header(words: Sequence[str]) -> bool:
    return any(word in (*_KEYS, *ROLES) for word in words)


def _columns(file: Path, number: int, words: Sequence[str]) -> tuple[str, ...]:
    unknown = [word for word in words if word not in (*_KEYS, *ROLES)]
    if unknown:
        raise Recon3DError(
            f"{file}, line {number}", f"names a column '{unknown[0]}'; columns are {_WANTED} (or file)"
        )
    twice = [word for word in words if words.count(word) > 1]
    if twice:
        raise Recon3DError(f"{file}, line {number}", f"names the column '{twice[0]}' twice")
    if sum(word in _KEYS for word in words) != 1:
        raise Recon3DError(f"{file}, line {number}", "needs one column 'frame' or 'file' beside the angles")
    if not any(word in ROLES for word in words):
        raise Recon3DError(f"{file}, line {number}", f"names no angle; columns are {_WANTED}")
    return tuple(words)


def _angle(file: Path, line: int, name: str, cell: str) -> float:
    try:
        value = float(cell)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        hint = "; decimals are written with a point" if re.fullmatch(r"[-+]?\d+,\d+", cell) else ""
        raise Recon3DError(f"{file}, line {line}", f"{name} '{cell}' is no number of degrees{hint}")
    return value
