"""The middle of the exposure, and values that are no position: read-back values against the command."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from .command import Command

Values = NDArray[np.float64]

_AS_PLANNED = 0.25  # steps between what was read and what was planned
_ASTRAY = 0.75
_SOUND = 0.5  # of the frames; where fewer are as planned, it is the command that is wrong


def middle_of_exposure(motor: str, values: Values, command: Command) -> tuple[Values, str, str]:
    """Positions (n,) of a motor that moves while the camera exposes; what was done, and what is doubtful.

    Values that agree with the middle of the planned steps are left as they are; others are taken to be
    the start of the exposure, half a step before it in the direction of their row. The title alone is no
    proof: it counts only where rows go forth and back and their positions would not meet otherwise.
    """
    sweep = command.sweeps[motor]
    if motor not in command.moving or sweep.step == 0.0 or sweep.n < 2:
        return values, "", ""
    direction = _directions(values, command, motor)
    place = np.arange(values.size) % sweep.n
    forth = direction * np.sign(sweep.step) > 0
    centre = sweep.start + sweep.step * (np.where(forth, place, sweep.n - 1 - place) + 0.5)
    shift = 0.5 * abs(sweep.step) * direction
    off = [_distance(values, planned) / abs(sweep.step) for planned in (centre, centre - shift)]
    if off[0] < _AS_PLANNED:
        return values, "", ""
    zigzag = bool((forth != forth[0]).any())
    if command.source == "title" and not (zigzag and off[1] < _AS_PLANNED):
        doubt = ""
        if off[1] < _AS_PLANNED and not zigzag:
            doubt = (
                f"{motor}: the title says that it moved during the exposure, and its positions are those of "
                f"the start; the middle ({motor}_center) is not written down, half a step "
                f"({abs(sweep.step) / 2:g}) further"
            )
        return values, "", doubt
    rows = "; its rows are zigzag" if zigzag else ""
    remark = (
        f"its values are those of the start of the exposure; half a step ({abs(sweep.step) / 2:g}, by "
        f"{command.source}) was added in the direction of movement{rows}"
    )
    return values + shift, remark, ""


def _directions(values: Values, command: Command, motor: str) -> Values:
    """Whether the motor went up (1) or down (-1) in the row of each frame, by its values or the command."""
    sweep, n = command.sweeps[motor], values.size
    result = np.empty(n)
    for first in range(0, n, sweep.n):
        row = slice(first, min(first + sweep.n, n))
        steps = np.diff(values[row])
        usual = np.abs(np.abs(steps) - abs(sweep.step)) < 0.5 * abs(sweep.step)  # others are rubbish
        way = float(np.median(steps[usual])) if usual.any() else 0.0
        if way == 0.0:
            back = command.zigzag and (first // sweep.n) % 2 == 1
            way = -sweep.step if back else sweep.step
        result[row] = np.sign(way)
    return result


def _distance(values: Values, planned: Values) -> float:
    """How far most values (n,) are from where they were planned."""
    off = np.abs(_turned(values - planned))
    return float(np.nanmedian(off)) if np.isfinite(off).any() else 0.0


def _turned(difference: Values) -> Values:
    """Differences of angles, whole turns left out."""
    return np.asarray(np.mod(difference + 180.0, 360.0) - 180.0)


def without_strays(motor: str, values: Values, command: Command) -> tuple[Values, str, str]:
    """Values (n,) with NaN where they are not where the command wanted the motor, while most are.

    Returns also what was found, in words, and what is doubtful where most are elsewhere.
    """
    sweep = command.sweeps[motor]
    known = np.isfinite(values)
    if sweep.step == 0.0 or np.count_nonzero(known) < 3 or command.relative:
        return values, "", ""
    planned = command.positions(motor, values.size)
    if planned is None:
        return values, "", ""
    candidates = [planned]
    if motor in command.moving:
        direction = _directions(values, command, motor)
        place = np.arange(values.size) % sweep.n
        grid = np.where(direction * np.sign(sweep.step) > 0, place, sweep.n - 1 - place)
        candidates.append(sweep.start + sweep.step * (grid + 0.5))
    limit = _ASTRAY * abs(sweep.step)
    best = None
    for one in candidates:
        off = _turned(values - one)
        off = np.abs(off - np.nanmedian(off))
        if best is None or np.count_nonzero(off <= limit) > np.count_nonzero(best[0] <= limit):
            best = off, one
    off, planned = best or (np.zeros(values.size), planned)
    stray = known & (off > limit)
    if not stray.any():
        zero = float(np.nanmedian(_turned(values - planned)))
        if abs(zero) > limit:
            return values, "", _differs(motor, values, planned, command)
        return values, "", ""
    if np.count_nonzero(stray) >= _SOUND * np.count_nonzero(known):
        return values, "", _differs(motor, values, planned, command)
    first = int(np.flatnonzero(stray)[0])
    n = int(np.count_nonzero(stray))
    what = (
        f"it reads {values[first]:.6g} at frame {first} where the {command.source} says {planned[first]:.6g}"
        + (f", and so at {n - 1} more" if n > 1 else "")
    )
    return np.where(stray, np.nan, values), what, ""


def _differs(motor: str, values: Values, planned: Values, command: Command) -> str:
    low, high = np.nanmin(values), np.nanmax(values)
    return (
        f"{motor} was read at {low:.6g}..{high:.6g}, the {command.source} says "
        f"{planned.min():.6g}..{planned.max():.6g}; what was read counts"
    )
