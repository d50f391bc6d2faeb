"""Positions of the motors, one value per frame, as the headers give them."""

from __future__ import annotations

import math
from array import array
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

Values = NDArray[np.float64]

_STANDS_STILL_DEG = 1e-3  # a motor whose read-back varies by less than this has not been scanned


def moves(values: Values) -> bool:
    """Whether a motor was scanned, by its values of all frames."""
    known = values[np.isfinite(values)]
    return bool(known.size and np.ptp(known) > _STANDS_STILL_DEG)


class MotorTable:
    """Positions of the motors, one value per frame, kept compactly; NaN where a frame does not know it."""

    def __init__(self) -> None:
        self._parts: list[tuple[tuple[str, ...], array[float]]] = []  # frames that name the same motors

    def add(self, motors: Mapping[str, float]) -> None:
        """Append the motors of one more frame, one at least."""
        names = tuple(motors)
        if not self._parts or self._parts[-1][0] != names:
            self._parts.append((names, array("d")))
        self._parts[-1][1].extend(motors.values())

    def arrays(self) -> dict[str, Values]:
        """The table as arrays (n_frames,)."""
        parts = [(names, np.array(values).reshape(-1, len(names))) for names, values in self._parts]
        return concatenate_tables([dict(zip(names, v.T, strict=True)) for names, v in parts])


def concatenate_tables(tables: list[dict[str, Values]]) -> dict[str, Values]:
    """Tables of consecutive frames as one, with NaN for the motors that one of them does not know."""
    sizes = [next(iter(table.values())).size if table else 0 for table in tables]
    names = dict.fromkeys(name for table in tables for name in table)
    return {
        name: np.concatenate(
            [table.get(name, np.full(n, math.nan)) for table, n in zip(tables, sizes, strict=True)]
        )
        for name in names
    }


def moving_motors(motors: Mapping[str, Values], most: int = 12) -> str:
    """A phrase that lists the motors that move, with their ranges."""
    moving = [name for name, values in motors.items() if np.isfinite(values).all() and moves(values)]
    if not moving:
        return "no motor moves"
    ranges = [f"{name} {motors[name].min():.6g}..{motors[name].max():.6g}" for name in moving[:most]]
    more = f" and {len(moving) - most} more" if len(moving) > most else ""
    return f"motors that move: {', '.join(ranges)}{more}"
