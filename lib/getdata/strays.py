"""Values of a motor that are no position: far from all others, or alone beside thousands."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from .grid import Axis, Grid
from .motor_table import Values
from .motors import ROLES, Roles

_NO_ANGLE = 1e6  # degrees
_FEWEST = 6  # frames of an entry that can tell which of them is odd
_FAR_SPREADS, _FAR_DEG = 15.0, 1.0  # from the middle of an entry
_MOST_OF_STILL = 0.02  # of the frames of an entry in which the motor stands still
_SCANNED_DEG = 0.02  # a motor that moves less was not scanned in the entries
_FAR_SPANS = 3.0  # between a position and all others
_FEW = 0.02  # of the frames that other positions have
_ENOUGH, _SOME = 20, 3  # frames at the others: then a few are no position, or if they are far


def far_values(roles: Roles, entry: NDArray[np.int64]) -> dict[int, str]:
    """Frames of which a motor is far from where it was at the others of their entry: what it reads.

    entry (n_frames,) numbers the files or entries that hold several frames; -1 belongs to none.
    """
    found: dict[int, str] = {}
    for role in ROLES:
        values, motor = getattr(roles, role), getattr(roles.setup, role)
        bad = np.abs(np.nan_to_num(values)) > _NO_ANGLE
        for number in np.unique(entry[entry >= 0]).tolist():
            mine = np.flatnonzero((entry == number) & np.isfinite(values) & ~bad)
            if mine.size >= _FEWEST:
                bad[mine[_far(values[mine], turns=role == "omega")]] = True
        all_entries = np.flatnonzero((entry >= 0) & np.isfinite(values) & ~bad)
        if role != "omega" and np.unique(entry[all_entries]).size > 1:
            bad[all_entries[_far(values[all_entries], turns=False, least=_SCANNED_DEG)]] = True
        for frame in np.flatnonzero(bad).tolist():
            found.setdefault(frame, f"has {motor} {values[frame]:.6g}, far from all others; no position")
    return found


def _far(values: Values, *, turns: bool, least: float = 0.0) -> NDArray[np.bool_]:
    """Which values are far from the middle of all; none where most differ by less than `least`."""
    off = values - np.median(values)
    if turns:
        off = np.mod(off + 180.0, 360.0) - 180.0
    off = np.abs(off)
    spread = float(np.quantile(off, 0.75))
    far = off > max(_FAR_SPREADS * spread, _FAR_DEG)
    if spread < least:
        return np.zeros(values.size, dtype=bool)
    if spread < 1e-3 and np.count_nonzero(far) > max(1.0, _MOST_OF_STILL * values.size):
        return np.zeros(values.size, dtype=bool)
    return np.asarray(far)


def stray_positions(grid: Grid, roles: Roles) -> dict[int, str]:
    """Frames at positions that hardly any frame has, off the steps of the others: what is wrong."""
    found: dict[int, str] = {}
    for role, axis in zip(ROLES, grid.axes, strict=True):
        motor = getattr(roles.setup, role)
        for number in _strays(axis):
            place = axis.positions[number]
            for frame in np.flatnonzero(axis.index == number).tolist():
                found.setdefault(
                    frame, f"has {motor} {place:.6g}, where no other frame is, off the steps of the scan"
                )
    return found


def _strays(axis: Axis) -> list[int]:
    """The positions of an axis that are none."""
    counts = np.bincount(axis.index, minlength=axis.positions.size)
    usual = float(np.median(counts))
    few = counts <= max(1.0, _FEW * usual)
    sound = axis.positions[~few]
    if not few.any() or not sound.size or usual < _SOME:
        return []
    span = float(np.ptp(sound))
    pitch = float(np.median(np.diff(sound))) if sound.size > 1 else 0.0
    found = []
    for number in np.flatnonzero(few).tolist():
        away = float(np.abs(np.delete(axis.positions, number) - axis.positions[number]).min())
        isolated = away > max(_FAR_SPANS * span, 3.0 * pitch) and sound.size > 1
        off_step = usual >= _ENOUGH and not 0.75 * pitch <= away <= 1.5 * pitch
        if isolated or off_step:
            found.append(number)
    return found
