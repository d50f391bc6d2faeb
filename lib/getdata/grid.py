"""Read-back values to positions: which belong together, and the grid that they make.

Pure functions of arrays with one value per frame, in degrees, in the order of the frames.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import product

import numpy as np
from numpy.typing import NDArray

from ..errors import Recon3DError
from .motor_table import Values, moves
from .motors import ROLES, Roles
from .omega import unwrapped

_NEARLY_STILL_DEG = 0.02
_MOST_OWN_POSITIONS = 0.75  # of the frames, on an axis that is not the only one scanned
_APART_STEPS, _APART_SCATTER = 0.2, 5.0  # a gap within a position that makes it two
_NOISE_FLOOR_DEG = 1e-6  # differences below this are digits of the header, not of the motor


@dataclass(frozen=True)
class Axis:
    """Positions of one scanned angle, ascending (n,), and the position of each frame (n_frames,)."""

    positions: Values
    index: NDArray[np.int64]


def _axis_from_cuts(values: Values, order: NDArray[np.int64], cuts: NDArray[np.int64]) -> Axis:
    """Group sorted values at the cuts; a position is the mean of its read-back values."""
    index = np.empty(values.size, dtype=np.int64)
    index[order] = np.searchsorted(cuts, np.arange(values.size), side="right")
    ordered = values[order]
    first, last = np.append(0, cuts), np.append(cuts, values.size) - 1
    means = np.add.reduceat(ordered, first) / (last - first + 1)
    return Axis(np.where(ordered[first] == ordered[last], ordered[first], means), index)


def _candidates(values: Values, most: int = 10) -> list[tuple[float, Axis]]:
    """Ways to group read-back values by gaps, each with how much the gaps it cuts exceed the others."""
    one = Axis(np.array([values.mean()]), np.zeros(values.size, dtype=np.int64))
    if not moves(values):
        return [(0.0, one)]
    order = np.argsort(values, kind="stable")
    ordered = values[order]
    gaps = np.diff(ordered)
    by_size = np.argsort(-gaps, kind="stable")
    sizes = np.append(np.maximum(gaps[by_size], _NOISE_FLOOR_DEG), _NOISE_FLOOR_DEG)
    n_real = int(np.count_nonzero(gaps > _NOISE_FLOOR_DEG))
    found = []
    ratios = np.log10(sizes[:-1] / sizes[1:])[:n_real]
    for n_cuts in np.argsort(-ratios, kind="stable")[: 3 * most] + 1:
        cuts = np.sort(by_size[:n_cuts]) + 1
        widths = ordered[np.append(cuts, values.size) - 1] - ordered[np.append(0, cuts)]
        axis = _axis_from_cuts(values, order, cuts)
        pitch = np.diff(axis.positions)
        room = np.minimum(np.append(np.inf, pitch), np.append(pitch, np.inf))
        if (widths <= 0.75 * room).all():
            found.append((float(ratios[n_cuts - 1]), axis))
    return [*sorted(found, key=lambda item: -item[0])[:most], (0.0, one)]


def group_axes(values: tuple[Values, Values, Values], tolerance_deg: float | None = None) -> list[Axis]:
    """Positions of tilt1, tilt2 and omega from read-back values with jitter, missing and unequal steps.

    Values are grouped by gaps: of the groupings that the gaps of each angle suggest, the three are
    taken that together give every frame a place of its own on the fullest grid of the fewest
    positions. Only where the two others stand still may nearly every frame have a position of its own
    on one axis: else any motor that drifts would do. With a tolerance, gaps above it separate positions
    and that is all.
    """
    if tolerance_deg is not None:
        return [_group_by_tolerance(v, tolerance_deg) for v in values]
    n_frames = values[0].size

    def score(n_taken: int, sizes: list[int], ratios: list[float]) -> float:
        full, shared = n_taken / math.prod(sizes), (n_frames - n_taken) / n_frames
        return full - shared - 0.3 * sum(sizes) / n_frames + 0.05 * sum(min(r, 3.0) for r in ratios)

    ranges = np.array([np.ptp(v) for v in values])
    alone = [bool((np.delete(ranges, i) < _NEARLY_STILL_DEG).all()) for i in range(3)]
    best: tuple[float, tuple[Axis, ...]] | None = None
    for combination in product(*(_candidates(v) for v in values)):
        axes = tuple(axis for _, axis in combination)
        sizes = [axis.positions.size for axis in axes]
        ratios = [ratio for ratio, _ in combination]
        if any(n > _MOST_OWN_POSITIONS * n_frames and not a for n, a in zip(sizes, alone, strict=True)):
            continue
        if best is not None and score(min(n_frames, math.prod(sizes)), sizes, ratios) <= best[0]:
            continue  # not even if every frame had a place of its own
        reached = score(np.unique(_cell_numbers(axes)).size, sizes, ratios)
        if best is None or reached > best[0]:
            best = reached, axes
    assert best is not None  # noqa: S101 - every angle has the candidate "one position"
    return _parted(values, list(best[1]))


def _parted(values: tuple[Values, Values, Values], axes: list[Axis]) -> list[Axis]:
    """Two positions for one that holds two clearly apart: few frames of one are left of an aborted scan.

    They are two if their frames share places, and if what lies between them is wide beside the scatter of
    all positions, and beside the smallest step where there is one.
    """
    for k, axis in enumerate(axes):
        cells = _cell_numbers(axes)
        order = np.argsort(values[k], kind="stable")
        ordered, index = values[k][order], axis.index[order]
        gaps = np.where(np.diff(index) == 0, np.diff(ordered), 0.0)  # within positions
        least = max(_NEARLY_STILL_DEG, _APART_STEPS * _smallest_step(axis))
        found: list[int] = []
        for place in np.argsort(-gaps, kind="stable").tolist():
            scatter = float(np.delete(gaps, [*found, place]).max(initial=0.0))
            if gaps[place] <= max(least, _APART_SCATTER * scatter):
                break
            mine = order[index == index[place]]
            low = values[k][mine] <= ordered[place]
            if not np.intersect1d(cells[mine[low]], cells[mine[~low]]).size:
                break
            found.append(place)
        if found:
            cuts = np.flatnonzero(np.diff(index)).tolist() + found
            axes[k] = _axis_from_cuts(values[k], order, np.sort(cuts) + 1)
    return axes


def _group_by_tolerance(values: Values, tolerance_deg: float) -> Axis:
    order = np.argsort(values, kind="stable")
    return _axis_from_cuts(values, order, np.flatnonzero(np.diff(values[order]) > tolerance_deg) + 1)


def _usual_step(axis: Axis) -> float:
    """About the distance between positions, 0 where there is one."""
    return float(np.median(np.diff(axis.positions))) if axis.positions.size > 1 else 0.0


def _smallest_step(axis: Axis) -> float:
    """The distance between the nearest positions, 0 where there is one."""
    return float(np.diff(axis.positions).min()) if axis.positions.size > 1 else 0.0


def _cell_numbers(axes: tuple[Axis, ...] | list[Axis]) -> NDArray[np.int64]:
    """The number of each frame's place on the grid, in C order."""
    shape = tuple(axis.positions.size for axis in axes)
    return np.ravel_multi_index(tuple(axis.index for axis in axes), shape).astype(np.int64)


@dataclass(frozen=True)
class Grid:
    """The scan as a grid: three axes, and for each measured cell the frames that claim it."""

    axes: tuple[Axis, Axis, Axis]
    cells: dict[int, list[int]]

    @property
    def shape(self) -> tuple[int, int, int]:
        """(n_tilt1, n_tilt2, n_omega)."""
        a, b, c = (axis.positions.size for axis in self.axes)
        return a, b, c


def build_grid(roles: Roles, tolerance_deg: float | None) -> Grid:
    """Place every frame; raises Recon3DError where less than half of the grid is measured."""
    tilt1, tilt2, omega = group_axes((roles.tilt1, roles.tilt2, roles.omega), tolerance_deg)
    turned = unwrapped(roles.omega, _usual_step(omega))
    if turned is not roles.omega:
        tilt1, tilt2, omega = group_axes((roles.tilt1, roles.tilt2, turned), tolerance_deg)
    axes = (tilt1, tilt2, omega)
    cells: dict[int, list[int]] = {}
    for frame, cell in enumerate(_cell_numbers(axes).tolist()):
        cells.setdefault(cell, []).append(frame)
    grid = Grid(axes, cells)
    n_cells = int(np.prod(grid.shape))
    if len(cells) * 2 < n_cells:
        sizes = " x ".join(str(n) for n in grid.shape)
        motors = ", ".join(f"{role} {getattr(roles.setup, role)}" for role in ROLES)
        finest = max(zip(grid.shape, ROLES, strict=True))[1]
        raise Recon3DError(
            f"--{finest} {getattr(roles.setup, finest)}",
            f"only {len(cells)} of {sizes} positions ({motors}) are measured, less than half; the wrong "
            f"motor for a role, or a --tolerance that is too small, splits {finest} into too many positions",
        )
    return grid
