"""The dark level of a scan without background files, and what is left of it in the array.

--background scan takes off a level per pixel and per omega, which the darkest frames of all omegas show
(`physics.dark`). What is left in any array is looked at before it appears.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..errors import Recon3DError
from ..physics.dark import BARELY, DarkLevel, Estimate, Image, estimate
from ..scan import dark, store
from .cleaning import with_beam
from .faults import no_counts
from .pipeline import PositionReader
from .plan import Plan

_SHARE_OF_TILTS, _FEWEST, _MOST = 8, 2, 16  # one tilt in so many; frames of an omega
_LOOKED_AT = 32  # omegas of an array, spread evenly: for a word and a picture they are enough


class ScanBackground:
    """The level of each pixel, and what each omega adds."""

    def __init__(self, level: DarkLevel, omegas: list[int]) -> None:
        self.level = level
        self.mean = float(level.pattern.mean())
        self._row = {omega: row for row, omega in enumerate(omegas)}
        self._last: tuple[int, NDArray[np.float64] | None] = (-1, None)

    def of_omega(self, k: int) -> NDArray[np.float64] | None:
        """Counts (y, x) at omega number k."""
        if self._last[0] != k:
            level = self.level.pattern.T.astype(np.float64) + float(self.level.of_omega[self._row[k]])
            self._last = (k, level)
        return self._last[1]


class FramesWithBeam:
    """Which frames may be the background: by_omega has the numbers of those with beam, of each omega.

    sums are the intensities (n_cells,) of the positions, infinite where a frame holds no count at all: such
    frames are neither background, nor do they need one. n_without are the others that had no beam, by ring
    current or by their intensities. Raises Recon3DError for `--background how` where an omega has fewer with
    beam than it needs.
    """

    def __init__(self, plan: Plan, sums: NDArray[np.float64], how: str, fewest: int) -> None:
        counted, omegas = np.flatnonzero(np.isfinite(sums)), plan.omega_of_cell
        if not counted.size:
            raise no_counts(plan.frames)
        currents = [[plan.frames[i].ring_current_ma for i in plan.frames_of_cell[n]] for n in counted]
        has_current = np.array([all(c is not None and c > 0 for c in some) for some in currents])
        lit = counted[with_beam(sums[counted], omegas[counted], has_current)]
        self.n_without = counted.size - lit.size
        self.by_omega = {k: lit[omegas[lit] == k] for k in np.unique(omegas[counted]).tolist()}
        for k, numbers in self.by_omega.items():
            if numbers.size < fewest:
                raise Recon3DError(
                    f"--background {how}",
                    f"omega {plan.grid.axes[2].positions[k]:.6g} has {numbers.size} frames with beam; it "
                    f"needs {fewest} at least, or background files (bgdir, bgname)",
                )


def find_scan_level(plan: Plan, sums: NDArray[np.float64]) -> ScanBackground | None:
    """The level as the darkest frames of each omega show it; None where there is none.

    sums are the intensities (n_cells,) of the positions. Raises Recon3DError where they do not show one.
    """
    chosen: list[NDArray[np.int64]] = []
    lit = FramesWithBeam(plan, sums, "scan", 1).by_omega
    for numbers in lit.values():
        n = min(max(numbers.size // _SHARE_OF_TILTS, _FEWEST), _MOST, numbers.size)
        chosen.append(numbers[np.argsort(sums[numbers], kind="stable")[:n]])
    reader = PositionReader(plan)

    def frames_of(row: int) -> Image:
        frames = [reader.read(int(n))[0].T.astype(np.float32) for n in chosen[row]]
        return dark.filled(np.stack(frames))

    shape = (plan.roi.width, plan.roi.height)
    found = estimate(frames_of, len(chosen), shape, signed=False)
    if found.doubtful or not found.anywhere:
        raise Recon3DError(
            "--background scan",
            "even the darkest frames of each omega show no dark level: grain shines into them; give "
            "background files (bgdir, bgname), or scan a wider range of tilts",
        )
    return None if found.level is None else ScanBackground(found.level, list(lit))


def left_in_array(folder: Path, totals: NDArray[np.float64]) -> tuple[Estimate, list[str]]:
    """The dark level that an array which was just written still stands on, and a word on it.

    totals (n_tilt1, n_tilt2, n_omega) are those of `dark.column_total` of each frame that was measured.
    Of long scans some omegas are looked at, and the level of the others is that between them.
    """
    scan = store.read_scan(folder)
    omegas = np.flatnonzero(scan.measured.any(axis=(0, 1)))
    some = omegas[np.unique(np.linspace(0, omegas.size - 1, min(omegas.size, _LOOKED_AT)).astype(int))]
    found, signal = dark.find_level(scan, some, totals)
    if found.level is not None and some.size < omegas.size:
        of_omega = np.zeros_like(found.level.of_omega)
        of_omega[omegas] = np.interp(omegas, some, found.level.of_omega[some])
        found = replace(found, level=replace(found.level, of_omega=of_omega))
    level = found.level
    if level is None or abs(level.largest) < max(min(level.sigma / 3.0, 0.01 * signal), BARELY):
        return found, []
    low, high = level.limits
    if level.over_subtracted < 0.0:
        return found, [
            f"the background is about {-level.mean:.2g} counts too high, and the array is cut at zero: faint "
            "light is lost; give background files that fit, --background scan, or --dtype int16"
        ]
    return found, [
        f"the array stands on a dark level of {level.mean:.3g} counts ({low:.3g} to {high:.3g} over pixels "
        f"and omegas; noise {level.sigma:.2g}): take it off with background files that fit, or with "
        "--background scan"
    ]
