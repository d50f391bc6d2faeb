"""Whether the iterations still move the answer: the orientations and how full the voxels are.

Noise goes on moving single voxels for ever, and the misfit stands still long before slow, smooth errors
have gone. So what counts is how far the orientations move together in cells of a few voxels, and that in
both halves of a cell: with few counts noise moves whole cells, but not their halves alike. Where an iteration
has not all omegas, its own pull the answer to and fro; so it is looked at from one turn of the same omegas to
the next, too.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from ..physics.tilts import OrientationGrid
from ..projection.jit import kernel
from .map_kernels import RUN
from .maps import Maps

Array = NDArray[np.float64]

CELL_VOXELS = 4  # to a side
MOST_CELLS = 30_000  # of a volume, larger ones then: all ranks tell each other of all
_MOST_KEPT = 8  # iterations
_STILL_STEPS = 4e-3  # of the scan, by which orientations still move in an iteration
_STILL_SHARE = 1e-2  # of the densities, alike


@kernel()
def mark_centres(first, run, values, n1, n2, window, out):  # type: ignore[no-untyped-def]
    """Mass and centre (in orientations) of the main peak of each map, and its total: out (n_voxels, 4).

    The peak is what lies within `window` orientations of the brightest.
    """
    whole = np.empty(-(-n1 * n2 // RUN) * RUN, dtype=np.float32)
    for v in range(first.size - 1):
        whole[:] = 0.0
        best, total = 0, 0.0
        for r in range(first[v], first[v + 1]):
            for s in range(RUN):
                t = run[r] * RUN + s
                whole[t] = values[r, s]
                total += values[r, s]
                if whole[t] > whole[best]:
                    best = t
        i0, j0 = best // n2, best % n2
        mass = m1 = m2 = 0.0
        for i in range(max(i0 - window, 0), min(i0 + window + 1, n1)):
            for j in range(max(j0 - window, 0), min(j0 + window + 1, n2)):
                value = whole[i * n2 + j]
                mass += value
                m1 += value * i
                m2 += value * j
        scale = 1.0 / mass if mass > 0.0 else 0.0
        out[v, 0], out[v, 1], out[v, 2], out[v, 3] = mass, m1 * scale, m2 * scale, total


@dataclass
class Watch:
    """Compares the maps of this rank's voxels from one iteration to the next.

    grid are the orientations; half (n_voxels,) numbers the half of a cell in which each voxel lies, of
    n_halves in the volume, those of a cell one after the other. After `period` iterations the same omegas
    have their turn again.
    """

    grid: OrientationGrid
    half: NDArray[np.int64]
    n_halves: int
    period: int = 1
    _before: list[NDArray[np.float32]] = field(default_factory=list, init=False, repr=False)

    @property
    def lags(self) -> list[int]:
        """How many iterations lie between what is compared."""
        return sorted({1, min(self.period, _MOST_KEPT)})

    def moved(self, maps: Maps) -> Array:
        """What this rank's voxels of each half have moved, to be added to other ranks'.

        (n_lags, 5, n_halves): mass of the peaks, mass times the move of their centre along both tilts in
        steps of the scan, total and its change. Nothing before there is something to compare with.
        """
        now = np.empty((maps.n_voxels, 4), dtype=np.float32)
        n1, n2 = self.grid.axis1.size, self.grid.axis2.size
        mark_centres(maps.first, maps.run, maps.values, n1, n2, self.grid.refinement, now)
        found = np.zeros((len(self.lags), 5, self.n_halves))
        for sums, lag in zip(found, self.lags, strict=True):
            if lag <= len(self._before):
                sums[:] = self._since(self._before[-lag], now)
        self._before = [*self._before, now][-self.lags[-1] :]
        return found

    def _since(self, before: NDArray[np.float32], now: NDArray[np.float32]) -> Array:
        step = np.clip((now[:, 1:3] - before[:, 1:3]) / self.grid.refinement, -1.0, 1.0)
        columns = (now[:, 0], *(now[:, :1] * step).T, now[:, 3], now[:, 3] - before[:, 3])
        return np.array([np.bincount(self.half, column, self.n_halves) for column in columns], dtype=float)

    def stands(self, moved: Array) -> bool:
        """Whether cells whose halves moved so much, all ranks' together, hardly move any more.

        In one iteration, by any of the lags: what goes to and fro, or has slowed down, only makes it more.
        """
        rates = [_rates(sums) / lag for sums, lag in zip(moved, self.lags, strict=True)]
        return bool((np.min(rates, axis=0) <= (_STILL_STEPS, _STILL_SHARE)).all())


def _rates(sums: Array) -> Array:
    """By how many steps orientations move and by what share densities change, from sums (5, n_halves)."""
    mass, move1, move2, total, change = sums.reshape(5, -1, 2)
    weight = mass.min(axis=1)
    if not weight.sum() > 0.0:
        return np.full(2, np.inf)
    alike = sum((move / np.maximum(mass, 1e-30)).prod(axis=1) for move in (move1, move2)) @ weight
    steps = np.sqrt(max(float(alike), 0.0) / float(weight.sum()))
    return np.array([steps, np.abs(change.sum(axis=1)).sum() / max(float(total.sum()), 1e-30)])
