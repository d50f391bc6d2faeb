"""The distribution of orientations in each voxel: what the iterative method looks for.

Most orientations soon have nothing in most voxels: a voxel of a crystal has one, at a boundary two. So a
map is kept as those runs of RUN orientations in a row that hold something, and work and memory go with
what is lit.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..physics.tilts import OrientationGrid
from .map_kernels import RUN, fade_out, find_highest

_VOXELS_AT_ONCE = 4096  # whose maps are made whole, on the way to another grid


def n_padded(n_pairs: int) -> int:
    """Number of orientations, filled up to whole runs."""
    return -(-n_pairs // RUN) * RUN


def padded(matrix: NDArray[np.float32]) -> NDArray[np.float32]:
    """A matrix (n, n_pairs) with columns of zeros for the orientations that fill up the last run."""
    n_pairs = matrix.shape[1]
    return np.ascontiguousarray(np.pad(matrix, ((0, 0), (0, n_padded(n_pairs) - n_pairs))))


@dataclass(frozen=True)
class Maps:
    """A map of `n_pairs` orientations per voxel; voxel v has the runs first[v] .. first[v + 1].

    first (n_voxels + 1,); run (n_runs,) the number of each run, ascending in a voxel: run r holds the
    orientations from r * RUN on; values (n_runs, RUN), zero beyond the last orientation.
    """

    n_pairs: int
    first: NDArray[np.int64]
    run: NDArray[np.int32]
    values: NDArray[np.float32]

    @classmethod
    def full(cls, n_voxels: int, n_pairs: int, value: float) -> Maps:
        """Every voxel with the same value at each orientation."""
        dense = np.zeros((n_voxels, n_padded(n_pairs)), dtype=np.float32)
        dense[:, :n_pairs] = value
        n_runs = dense.shape[1] // RUN
        run = np.tile(np.arange(n_runs, dtype=np.int32), n_voxels)
        return cls(n_pairs, np.arange(n_voxels + 1) * n_runs, run, dense.reshape(-1, RUN))

    @classmethod
    def joined(cls, parts: Sequence[Maps]) -> Maps:
        """The voxels of several lists, one list after the other."""
        n_runs = np.concatenate([np.diff(part.first) for part in parts])
        return cls(
            parts[0].n_pairs,
            np.concatenate([[0], np.cumsum(n_runs)]).astype(np.int64),
            np.concatenate([part.run for part in parts]),
            np.concatenate([part.values for part in parts]),
        )

    @property
    def n_voxels(self) -> int:
        """Number of voxels."""
        return self.first.size - 1

    def part(self, start: int, stop: int) -> Maps:
        """Some voxels in a row."""
        low, high = self.first[start], self.first[stop]
        return Maps(
            self.n_pairs, self.first[start : stop + 1] - low, self.run[low:high], self.values[low:high]
        )

    def dense(self) -> NDArray[np.float32]:
        """All values (n_voxels, n_padded)."""
        whole = np.zeros((self.n_voxels, n_padded(self.n_pairs) // RUN, RUN), dtype=np.float32)
        whole[self.voxel_of_run(), self.run] = self.values
        return whole.reshape(self.n_voxels, -1)

    def voxel_of_run(self) -> NDArray[np.int64]:
        """The voxel (n_runs,) that each run belongs to."""
        return np.repeat(np.arange(self.n_voxels), np.diff(self.first))

    def highest(self) -> NDArray[np.float32]:
        """The highest value (n_voxels,) of each map; zero where nothing is left."""
        top = np.empty(self.n_voxels, dtype=np.float32)
        find_highest(self.first, self.values, top)
        return top

    def above(self, limit: NDArray[np.float32]) -> Maps:
        """Without the runs that are nowhere above the limit (n_voxels,) of their voxel.

        Just above it runs fade, so that a rounding error never decides between something and nothing.
        """
        fade, kept = np.empty(self.run.size, dtype=np.float32), np.empty(self.n_voxels, dtype=np.int64)
        fade_out(self.first, self.values, limit, fade, kept)
        keep = fade > 0.0
        first = np.concatenate([[0], np.cumsum(kept)])
        return Maps(self.n_pairs, first, self.run[keep], self.values[keep] * fade[keep, None])

    def refined(self, grid: OrientationGrid, finer: OrientationGrid, share: float) -> Maps:
        """The same distributions on a finer grid, linear between the orientations of `grid`.

        Runs that stay below `share` of the voxel's highest value are left out.
        """
        matrix = padded(grid.spread_over(finer))
        matrix = np.pad(matrix, ((0, n_padded(grid.n_pairs) - grid.n_pairs), (0, 0)))
        parts = []
        for start in range(0, max(self.n_voxels, 1), _VOXELS_AT_ONCE):
            values = self.part(start, min(start + _VOXELS_AT_ONCE, self.n_voxels)).dense() @ matrix
            whole = Maps.full(values.shape[0], finer.n_pairs, 0.0)
            whole.values[:] = values.reshape(-1, RUN)
            parts.append(whole.above(share * values.max(axis=1, initial=0.0)))
        return Maps.joined(parts)
