"""Where the motors of a BLISS entry stood in the middle of the exposure of each of its frames.

Values lie in many places: one for each frame, one for each row, or where the motor stood at the start.
The first of these that there is counts; only where there is no more than a start does the command say
how the motor went on.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import h5py
import numpy as np
from numpy.typing import NDArray

from . import command as commands
from .command import Command
from .exposure import middle_of_exposure, without_strays
from .numbers import Reading, read
from .quick import DATASET, GROUP, holds, kind_of

Values = NDArray[np.float64]

_STARTS = ("positioners_start", "start_positioners")  # at the entry, or under instrument
_ENDS = ("positioners_end", "end_positioners")
_ENCODERS = ("{}enc", "{}_enc", "enc_{}", "{}_encoder")
_CENTRES = ("_center", "_cen360")  # of the exposure
_COMPANION = re.compile(r"(.+?)(?:_center|_cen360|_trig|_?enc|_encoder)$|enc_(.+)")
_ROTATIONS = ("omega", "diffrz", "diffry", "diffrx", "mu", "phi", "chi", "samrz", "samry")
_STANDS_STILL = 0.02  # degrees between the start and the end of a scan
_MOVES = 1e-3


@dataclass
class Positions:
    """Of one entry: values of each motor (n_frames,), and what has to be said of them, by motor."""

    motors: dict[str, Values] = field(default_factory=dict)
    remarks: dict[str, str] = field(default_factory=dict)
    missing: dict[str, str] = field(default_factory=dict)
    doubts: list[str] = field(default_factory=list)


def positions_of(entry: h5py.Group, n_frames: int, title: str, parameters: Mapping[str, str]) -> Positions:
    """Positions of all motors of an entry, NaN where the file does not know them.

    title and parameters (fscan_parameters, as text) are what the entry says of its command.
    """
    result = Positions()
    readings = _readings(entry, n_frames, result)
    command = _command(title, parameters, n_frames, result)
    length = _length_of_scan(readings, n_frames)
    rows = _per_frame(readings, length)
    for name, found in readings.items():
        _place(name, found, length, rows, command, result)
    telling = {*_sweeps(command), *_ROTATIONS, *_companions(readings)}  # the others stand as they were read
    for name in [n for n in dict.fromkeys((*readings, *_sweeps(command))) if n in telling]:
        _complete(entry, name, length, command, result)
    result.motors = {name: _cut(values, n_frames) for name, values in result.motors.items()}
    return result


def _cut(values: Values, n_frames: int) -> Values:
    """As many values as frames, NaN for frames beyond the last."""
    if values.size == n_frames:
        return values
    cut = np.full(n_frames, np.nan)
    cut[: min(values.size, n_frames)] = values[:n_frames]
    return cut


def _sweeps(command: Command | None) -> tuple[str, ...]:
    return tuple(command.sweeps) if command else ()


def _readings(entry: h5py.Group, n_frames: int, result: Positions) -> dict[str, list[Reading]]:
    """All numbers of an entry that could be positions, by motor, the best place first."""
    found: dict[str, list[Reading]] = {}
    known: set[str] = set()
    full: set[str] = set()
    motors = _names(_group(_group(entry, "instrument"), "positioners"))
    for name, place, parent, key in _places(entry, motors, known, full):
        try:
            reading = read(parent, key, place, n_frames)
        except (KeyError, OSError, RuntimeError) as error:
            result.missing.setdefault(name, f"{place} is {_why(error)}")
            continue
        counter = place.startswith("measurement/") and name not in motors
        if reading is None or (counter and reading.values.size != n_frames):
            continue
        if not reading.instead or reading.known:
            known.add(name)
            if 1 < reading.values.size == n_frames and np.nanmax(reading.values) > np.nanmin(reading.values):
                full.add(name)
            found.setdefault(name, []).append(reading)
        if reading.instead:
            result.missing.setdefault(name, f"{place} holds {reading.instead}")
    first = [name for name in motors if name in found]  # before the counters, in lists of what moves
    return {name: found[name] for name in dict.fromkeys((*first, *found))}


def _places(
    entry: h5py.Group, motors: Sequence[str], known: set[str], full: set[str]
) -> Iterator[tuple[str, str, h5py.Group, str]]:
    """Motor, place, group and key of whatever may hold positions; motors are the names of positioners.

    Start values only of motors that are not yet `known`, copies only of those not yet known in `full`.
    """
    instrument = _group(entry, "instrument")
    for name in _names(instrument):
        if name in ("positioners", "fscan_parameters", *_STARTS, *_ENDS) or "positioners" in name:
            continue
        if kind_of(instrument, name) == GROUP:
            for key in ("value", "data", "position"):
                if holds(instrument, f"{name}/{key}"):
                    yield name, f"instrument/{name}/{key}", instrument, f"{name}/{key}"
        else:
            yield name, f"instrument/{name}", instrument, name
    for name in motors:
        yield name, f"instrument/positioners/{name}", instrument, f"positioners/{name}"
    measurement = _group(entry, "measurement")
    for name in _names(measurement):
        if name in full:
            continue
        yield name, f"measurement/{name}", measurement, name
    for parent, prefix in ((entry, ""), (instrument, "instrument/")):
        for start in _STARTS:
            group = _group(parent, start)
            for name in _names(group):
                if name not in known:
                    yield name, f"{prefix}{start}/{name}", group, name


def _group(parent: h5py.Group | None, name: str) -> h5py.Group | None:
    return None if parent is None or kind_of(parent, name) != GROUP else parent[name]


def _names(group: h5py.Group | None) -> tuple[str, ...]:
    return () if group is None else tuple(group)


def _why(error: Exception) -> str:
    return "a circle of links" if "too many" in str(error) else "a link that leads nowhere"


def _length_of_scan(readings: dict[str, list[Reading]], n_frames: int) -> int:
    """How many positions were recorded: one per frame, but for an aborted scan."""
    sizes = {name: {r.values.size for r in found} for name, found in readings.items()}
    several = Counter(n for found in sizes.values() for n in found if n > 1)
    motors = Counter(n for found in sizes.values() if 1 in found for n in found if n > 1) or several
    longer = [(count, n) for n, count in motors.items() if n > n_frames]
    return n_frames if n_frames in several or not longer else max(longer)[1]


def _per_frame(readings: dict[str, list[Reading]], length: int) -> list[Values]:
    """The motors (length,) that move, known at each frame."""
    full = [r.values for found in readings.values() for r in found if r.values.size == length]
    return [v for v in full if np.isfinite(v).all() and np.ptp(v) > _MOVES] if length > 1 else []


def _place(
    name: str,
    found: list[Reading],
    length: int,
    moving: list[Values],
    command: Command | None,
    result: Positions,
) -> None:
    """Take the best of the readings of a motor: per frame, per row, as far as it goes, or the start."""
    if len(found) == 1 and found[0].values.size == 1 < length:  # almost all motors of the beamline
        result.motors[name] = found[0].values.repeat(length)
        result.missing.pop(name, None)
        return
    full = [r for r in found if r.values.size == length and (length > 1 or np.isfinite(r.values).any())]
    if full:
        best = next((r for r in full if np.ptp(r.values[np.isfinite(r.values)]) > _MOVES), full[0])
        result.motors[name] = best.values
        gone = np.flatnonzero(~np.isfinite(best.values))
        if gone.size:
            instead = best.instead if best.instead.startswith("'") else "no number"
            result.missing[name] = f"{best.place} holds {instead} at {_some(gone)}"
        return
    several = sorted((r for r in found if 1 < r.values.size < length), key=lambda r: -r.values.size)
    for reading in several:
        rows = _rows(name, reading.values, length, moving, command)
        if rows is not None:
            result.motors[name] = rows
            result.missing.pop(name, None)
            return
    alone = next((r for r in found if r.values.size == 1), None)
    still = several and np.ptp(several[0].values[np.isfinite(several[0].values)]) <= _MOVES
    per_row = still and _row_lengths(name, several[0].values.size, length, moving, command)
    if several and not (alone and per_row):
        result.motors[name] = _cut(several[0].values, length)
        n = several[0].values.size
        result.missing[name] = f"{several[0].place} breaks off after {n} of {length} values"
    elif alone:
        result.motors[name] = np.full(length, alone.values[0])
        result.missing.pop(name, None)
    else:
        longest = max(found, key=lambda r: r.values.size)
        result.missing[name] = f"{longest.place} has {longest.values.size} values for {length} frames"


def _rows(
    name: str, values: Values, length: int, moving: list[Values], command: Command | None
) -> Values | None:
    """Values of a slow motor, one for each row, as one for each frame; None if they are not that."""
    if np.isfinite(values).sum() < 2 or np.ptp(values[np.isfinite(values)]) <= _MOVES:
        return None
    lengths = _row_lengths(name, values.size, length, moving, command)
    return np.repeat(values, lengths[0])[:length] if lengths else None


def _row_lengths(
    name: str, n_values: int, length: int, moving: list[Values], command: Command | None
) -> list[int]:
    """How long rows can be of which there are so many, by the command or by what other motors do."""
    if command and name in command.sweeps and command.n_frames >= length:
        n = command.frames_per_position(name)
        return [n] if n > 1 and -(-length // n) == n_values else []
    lengths = [n for n in range(2, length) if -(-length // n) == n_values]
    return [n for n in lengths if any(_repeats(other, n) for other in moving)]


def _repeats(values: Values, n: int) -> bool:
    """Whether a motor does the same in each row of n frames, forth or forth and back."""
    first = values[:n]
    step = float(np.median(np.abs(np.diff(first))))
    if step <= _MOVES or values.size <= n:
        return False
    there = np.abs(values[n : 2 * n] - first[: values[n : 2 * n].size]).max() < 0.5 * step
    back = np.abs(values[n : 2 * n] - first[::-1][: values[n : 2 * n].size]).max() < 1.5 * step
    again = values.size <= 2 * n or np.abs(values[2 * n :] - values[: -2 * n]).max() < 0.5 * step
    return bool(again and (there or back))


def _command(title: str, parameters: Mapping[str, str], n_frames: int, result: Positions) -> Command | None:
    """What was to be scanned, by fscan_parameters, else by the title; None if neither fits the frames."""
    found = [commands.of_parameters(parameters), commands.of_title(title)]
    given = [c for c in found if c is not None]
    if len(given) == 2 and (what := commands.disagreement(given[0], given[1])):
        result.doubts.append(what)
    fitting = [c for c in given if c.n_frames >= n_frames]
    for c in given:
        if c.n_frames < n_frames:
            result.doubts.append(f"{c.source} says {c.n_frames} frames, there are {n_frames}; it is not used")
    return fitting[0] if fitting else None


def _complete(entry: h5py.Group, name: str, length: int, command: Command | None, result: Positions) -> None:
    """Move read-back values to the middle of the exposure, and find what is no position."""
    values = result.motors.get(name)
    swept = command is not None and name in command.sweeps
    still = values is None or bool(np.isfinite(values).all() and np.ptp(values) <= _MOVES)
    if still and length > 1:
        for pattern in _ENCODERS:
            other = result.motors.get(pattern.format(name))
            if other is not None and name in result.motors and np.ptp(np.nan_to_num(other)) > _MOVES:
                values, still = other, False
                result.motors[name] = other
                result.remarks[name] = f"its positions are those of {pattern.format(name)}"
                break
    centre = _centre(name, values, result)
    if centre is not None:
        result.motors[name] = centre
        result.missing.pop(name, None)
    elif swept and still and length > 1:
        _by_command(name, values, length, command, result)
        return
    elif swept and values is not None and command is not None:
        result.motors[name], remark, doubt = middle_of_exposure(name, values, command)
        if remark:
            result.remarks[name] = remark
        result.doubts += [doubt] if doubt else []
    elif still and values is not None and length > 1 and (swept or name in _ROTATIONS):
        _check_end(entry, name, values, result)
    if swept and command is not None and name in result.motors:
        result.motors[name], stray, doubt = without_strays(name, result.motors[name], command)
        if stray:
            result.missing[name] = stray
        result.doubts += [doubt] if doubt else []


def _companions(names: Iterable[str]) -> set[str]:
    """Motors that are said by others, or that say of others, where these were."""
    found = [(name, match) for name in names if (match := _COMPANION.match(name))]
    return {part for name, match in found for part in (name, match[1] or match[2])}


def _centre(name: str, values: Values | None, result: Positions) -> Values | None:
    """What the file gives as the middle of the exposure; modulo 360 where it is no better known."""
    if name.endswith((*_CENTRES, "_trig")):
        if name.endswith("_trig"):
            result.remarks[name] = "it is where each exposure began, not its middle"
        return None
    centre, turned = (result.motors.get(name + end) for end in _CENTRES)
    source = f"{name}_center"
    if centre is None and turned is not None and values is not None:
        centre, source = values + np.mod(turned - values + 180.0, 360.0) - 180.0, f"{name}_cen360"
    if centre is None or centre.size < 2 or not np.isfinite(centre).any():
        return None
    if np.ptp(centre[np.isfinite(centre)]) <= _MOVES and values is not None and np.ptp(values) > _MOVES:
        return None
    step = np.nanmedian(np.abs(np.diff(centre)))
    if values is None or not np.nanmax(np.abs(centre - values)) < 0.1 * step:
        result.remarks[name] = f"its positions are those of {source}, the middle of the exposure"
    return centre


def _by_command(
    name: str, values: Values | None, length: int, command: Command | None, result: Positions
) -> None:
    """Positions of a motor of which the entry has no more than the start."""
    start = None if values is None else float(values[0])
    planned = command.positions(name, length, start) if command else None
    if planned is None or command is None or np.ptp(planned) <= _MOVES:
        return
    result.motors[name] = planned
    result.missing.pop(name, None)
    known = "has no positions of it" if start is None else "has only where it stood at the start"
    result.remarks[name] = f"its positions are those of the {command.source}, the entry {known}"
    step = abs(command.sweeps[name].step)
    if start is not None and not command.relative and abs(start - command.sweeps[name].start) > 2 * step:
        result.doubts.append(
            f"{name} stood at {start:.6g} at the start, the {command.source} says "
            f"{command.sweeps[name].start:g}"
        )


def _check_end(entry: h5py.Group, name: str, values: Values, result: Positions) -> None:
    """A motor that stands elsewhere at the end has moved, and nobody knows when."""
    instrument = _group(entry, "instrument")
    for parent in (entry, instrument):
        for place in _ENDS:
            group = _group(parent, place)
            if group is None or kind_of(group, name) != DATASET:
                continue
            reading = read(group, name, place, 1)
            if reading and abs((reading.values[0] - values[0] + 180) % 360 - 180) > _STANDS_STILL:
                result.motors[name] = np.full(values.size, np.nan)
                result.missing[name] = (
                    f"it stood at {values[0]:.6g} at the start and at {reading.values[0]:.6g} at the end; "
                    "where it was at each frame is not written down"
                )
            return


def _some(numbers: NDArray[np.int64]) -> str:
    """Some frames in words."""
    first = ", ".join(str(n) for n in numbers[:3].tolist())
    what = "frame" if numbers.size == 1 else "frames"
    return f"{what} {first}" + (f" and {numbers.size - 3} more" if numbers.size > 3 else "")
