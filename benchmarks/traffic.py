"""What the ranks of `mlem` have to tell each other, from the shape of the grain: docs/scaling.md.

python -m benchmarks.traffic

The hull is taken as an ellipsoid of revolution, in pixels: `length` along the rotation axis, `width` across.
The ranks hold slabs of the same volume. Theta leans the slabs against the beam, so that at each omega a slab
covers a band of the detector, and the bands of neighbours overlap.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from benchmarks.common import table

Array = NDArray[np.float64]

PASSES = 4  # over the omegas: one on the grid of the scan, and the iterations that the paper's scan takes
READINGS = 10  # numbers that rank 0 gets of each voxel
AT_ONCE = 8  # omegas of a subset
_BOX_BYTES = 16  # first and last x and y of the pixels of a rank
PYTHON_BYTES = 0.4e9  # of a process: Python, compiled code, MPI


@dataclass(frozen=True)
class Case:
    """A scan and the hull of its grain."""

    name: str
    n_omega: int
    n_tilts: int
    detector: tuple[int, int]
    length_px: float
    width_px: float
    n_voxels: float  # of the hull
    box: int  # voxels along a side of the volume
    theta_deg: float = 10.4
    bytes_each: int = 2

    def edges(self, n_ranks: int) -> Array:
        """Where the slabs of the same volume end, from -1 to 1."""
        x = np.linspace(-1.0, 1.0, 20001)
        volume = (3 * x - x**3 + 2) / 4
        return np.interp(np.arange(n_ranks + 1) / n_ranks, volume, x)

    def bands(self, n_ranks: int) -> tuple[Array, Array]:
        """First and last column (n_ranks, n_heights) of each band, for 400 heights; NaN where it has none."""
        heights = (np.arange(400) + 0.5) / 400 - 0.5  # of the width
        edges, theta = self.edges(n_ranks), math.radians(self.theta_deg)
        first = np.full((n_ranks, heights.size), np.nan)
        last = first.copy()
        for rank in range(n_ranks):
            x = np.linspace(edges[rank], edges[rank + 1], 200)[:, None]
            inside = (1 - x**2) / 4 - heights**2
            middle = np.where(inside >= 0, 0.5 * self.length_px * x * math.cos(theta), np.nan)
            lean = self.width_px * math.sin(theta) * np.sqrt(np.maximum(inside, 0))
            seen = (inside >= 0).any(axis=0)
            first[rank, seen] = np.nanmin((middle - lean)[:, seen], axis=0)
            last[rank, seen] = np.nanmax((middle + lean)[:, seen], axis=0)
        return first, last

    def pixels(self, n_ranks: int) -> tuple[Array, float]:
        """Pixels of each rank at one omega (n_ranks,), and those that it shares, summed over all pairs."""
        first, last = self.bands(n_ranks)
        row_px = self.width_px / first.shape[1]
        own = np.nansum(last - first, axis=1) * row_px
        shared = 0.0
        for rank in range(n_ranks):
            overlap = np.minimum(last[rank], last) - np.maximum(first[rank], first)
            overlap[rank] = 0.0
            shared += float(np.nansum(np.maximum(overlap, 0.0))) * row_px
        return own, shared

    def meeting(self, n_ranks: int) -> float:
        """Pixels at one omega where the boxes around the pixels of two ranks meet, summed over all pairs."""
        first, last = self.bands(n_ranks)
        row_px = self.width_px / first.shape[1]
        left, right = np.nanmin(first, axis=1), np.nanmax(last, axis=1)
        heights = np.isfinite(first).sum(axis=1) * row_px  # all around the same middle
        columns = np.minimum(right[:, None], right) - np.maximum(left[:, None], left)
        meeting = np.maximum(columns, 0.0) * np.minimum(heights[:, None], heights)
        return float(meeting.sum() - np.trace(meeting))

    def received(self, n_ranks: int) -> dict[str, float]:
        """Bytes that all ranks together receive, by what they are."""
        _, shared = self.pixels(n_ranks)
        others = n_ranks - 1
        bits = self.n_omega * (self.detector[0] + 2) * (self.detector[1] + 2) / 8
        bytes_of_boxes = self.meeting(n_ranks) / 8 + _BOX_BYTES * n_ranks * others
        return {
            "predictions": PASSES * self.n_omega * 4 * self.n_tilts * shared,
            "which pixels are shared": self.n_omega * bytes_of_boxes,
            "lit bits, voxels left": others * (bits + self.box**3 / 8),
            "result": (8 * READINGS * self.n_voxels + 4 * self.box**3) * others / n_ranks,
        }

    def rank_bytes(self, n_ranks: int) -> tuple[float, float]:
        """Memory of the largest rank: besides the counts, and the counts where they are held."""
        pixels = float(self.pixels(n_ranks)[0].max())
        row = 4 * (self.n_tilts + 8 * -(-self.n_tilts // 8))
        maps = 2 * 4 * 8 * -(-self.n_tilts // 8) * self.n_voxels / n_ranks
        held = self.n_omega * pixels * self.n_tilts * self.bytes_each
        return PYTHON_BYTES + AT_ONCE * pixels * row + maps, held


PAPER = Case("the paper's scan", 226, 121, (300, 300), 188, 174, 151_930, 101)
LARGE = Case("2048 x 2048 pixels, 226 omegas", 226, 121, (2048, 2048), 1280, 1189, 5.5e7, 690)
LONG = replace(LARGE, name="2048 x 2048 pixels, 1000 omegas", n_omega=1000)


def report(case: Case, ranks: tuple[int, ...]) -> str:
    """A table of the case on some numbers of ranks."""
    lines = []
    for n in ranks:
        own, _ = case.pixels(n)
        received, (memory, held) = case.received(n), case.rank_bytes(n)
        whole = own.sum() / case.pixels(1)[0].sum()
        numbers = [f"{value / 1e6:.4g}" for value in (*received.values(), sum(received.values()))]
        lines.append([str(n), f"{whole:.2f}", *numbers, f"{memory / 1e9:.3g}", f"{held / 1e9:.3g}"])
    head = ["ranks", "pixels, all / one rank", *(f"{name} (MB)" for name in case.received(2)), "all (MB)"]
    return f"{case.name}\n\n{table([*head, 'GB per rank', 'and counts'], lines)}\n"


if __name__ == "__main__":
    print(report(PAPER, (1, 2, 4, 10, 16)))
    print(report(LARGE, (10, 20, 40, 80, 320)))
    print(report(LONG, (20, 40)))
