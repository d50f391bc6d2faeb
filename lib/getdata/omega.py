"""omega goes round: 359.9998 and 0.0001 are one position."""

from __future__ import annotations

import numpy as np

from .motor_table import Values

_TURN = 360.0
_HOLE_DEG, _HOLE_STEPS = 45.0, 3.0  # a part of the circle that was not scanned is larger than these
_SAME_STEPS = 0.25  # positions that are closer than this are one; of the seam, scatter that explains it
_NEXT_STEPS = 1.5  # positions that are closer than this are neighbours


def unwrapped(omega: Values, step: float) -> Values:
    """Angles omega (n,) in degrees on one turn, where read-back values of one position lie a turn apart.

    step is about the distance between positions. Values within one turn of which none meet at its ends
    stay as they are. A scan of a part of the circle that crosses the zero of its encoder becomes one
    piece, at the place that most values are at already; any other is brought to the turn that
    begins with its lowest position.
    """
    low, high = float(omega.min()), float(omega.max())
    if high - low <= _TURN / 2 or step <= 0.0:
        return omega
    seam = _TURN - (high - low)
    circle = np.sort(np.mod(omega, _TURN))
    gaps = np.diff(np.append(circle, circle[0] + _TURN))
    largest = int(gaps.argmax())
    hole = float(gaps[largest])
    next_largest = float(np.partition(gaps, -2)[-2]) if gaps.size > 1 else 0.0
    usual = max(step, next_largest)
    if seam <= _NEXT_STEPS * step and hole >= max(_HOLE_DEG, _HOLE_STEPS * usual, 2.0 * seam):
        begin = float(circle[(largest + 1) % circle.size]) - 0.5 * min(hole, step)
        turns = np.floor((omega - begin) / _TURN)
        return np.asarray(omega - _TURN * (turns - _most_common(turns)))
    apart = np.diff(np.sort(omega))
    scatter = float(apart[apart < 0.5 * step].max(initial=0.0))  # of the read-back at one position
    if seam < _SAME_STEPS * step or (seam < 0.5 * step and scatter > _SAME_STEPS * seam):
        return np.asarray(omega - _TURN * np.floor((omega - low + 0.5 * step) / _TURN))
    return omega


def _most_common(turns: Values) -> float:
    """The number of turns by which most values differ; the lower where it is a draw."""
    values, counts = np.unique(turns, return_counts=True)
    return float(values[counts.argmax()])
