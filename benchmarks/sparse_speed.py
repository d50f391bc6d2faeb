"""Sums of lit values only, against sums of all: python -m benchmarks.sparse_speed.

A pixel's map kept as its lit tilts (number and value) touches fewer bytes, but each value then goes to a
place of its own in the voxel's sums, one at a time. Where does that pay?
"""

from __future__ import annotations

import numba
import numpy as np
from numpy.typing import NDArray

from benchmarks.common import best, table

N_PAIRS, N_PIXELS, N_VOXELS, N_OMEGA = 121, 90_000, 20_000, 8
LIT_SHARES = (0.01, 0.03, 0.1, 0.3, 1.0)


@numba.njit
def gather_all(flat, rows, sums):  # type: ignore[no-untyped-def]
    """sums[v] += flat[r] for the rows r of each voxel, four omegas at a time as recon3d does."""
    for v in range(rows.shape[0]):
        total = sums[v]
        for k in range(0, rows.shape[1], 4):
            r0, r1 = flat[rows[v, k]], flat[rows[v, k + 1]]
            r2, r3 = flat[rows[v, k + 2]], flat[rows[v, k + 3]]
            for s in range(total.size):
                total[s] += (np.uint32(r0[s]) + r1[s]) + (np.uint32(r2[s]) + r3[s])


@numba.njit
def gather_lit(first, pair, value, rows, sums):  # type: ignore[no-untyped-def]
    """The same from the lit tilts of each pixel: pair and value of first[r] .. first[r + 1]."""
    for v in range(rows.shape[0]):
        total = sums[v]
        for k in range(rows.shape[1]):
            for i in range(first[rows[v, k]], first[rows[v, k] + 1]):
                total[np.uintp(pair[i])] += value[i]


def compare(share: float, rows: NDArray[np.int64], rng: np.random.Generator) -> tuple[float, float]:
    """Seconds of both forms where this share of the values is lit; their sums are the same."""
    flat = rng.integers(1, 300, (N_PIXELS, N_PAIRS)).astype(np.uint16)
    flat[rng.random(flat.shape) >= share] = 0
    lit = flat > 0
    first = np.concatenate([[0], np.cumsum(lit.sum(axis=1))])
    pair, value = np.nonzero(lit)[1].astype(np.uint8), flat[lit]
    sums = [np.zeros((N_VOXELS, N_PAIRS), dtype=np.uint32) for _ in range(2)]
    gather_all(flat, rows, sums[0])
    gather_lit(first, pair, value, rows, sums[1])
    np.testing.assert_array_equal(*sums)
    return (
        best(lambda: gather_all(flat, rows, sums[0])),
        best(lambda: gather_lit(first, pair, value, rows, sums[1])),
    )


def main(arguments: list[str] | None = None) -> str:
    """Measure; returns the report."""
    rng = np.random.default_rng(0)
    start = np.arange(N_VOXELS) * (N_PIXELS // 10) // N_VOXELS  # neighbours hit neighbouring pixels
    rows = np.stack([start + k * (N_PIXELS // 10) for k in range(N_OMEGA)], axis=1)
    lines = []
    for share in LIT_SHARES:
        dense, sparse = compare(share, rows, rng)
        lines.append([f"{share:.0%}", f"{dense * 1e3:.1f}", f"{sparse * 1e3:.1f}", f"{dense / sparse:.2f}"])
    head = ["values lit", "all values (ms)", "lit values (ms)", "all / lit"]
    return (
        f"{N_VOXELS} voxels, {N_OMEGA} omegas, {N_PAIRS} tilt pairs, one core.\n\n{table(head, lines)}\n\n"
        "The sums of `backprojection` take all values, dark ones too: lit values alone would give other\n"
        "numbers unless getdata.py has cut the noise. Recon3D takes all values, and leaves out voxels.\n"
    )


if __name__ == "__main__":
    print(main())
