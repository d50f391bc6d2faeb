"""The background of a scan: from its files, or from the darkest frames of each omega."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..frames.pixels import background_level, mask_unmeasured
from ..frames.sources import RoiReader
from ..parallel.communicator import Comm, check_alarm, together
from ..parallel.messages import add_up, broadcast, collect_everywhere
from ..parallel.partition import block, blocks_of_at_most
from ..parallel.progress import Progress
from .cleaning import darkest_frames
from .parameters import FROM_THE_SCAN, GetdataParameters
from .pipeline import Background, PositionReader
from .plan import Plan
from .scan_level import FramesWithBeam, ScanBackground, find_scan_level

_PIXELS_AT_ONCE = 1 << 22  # of all background frames, held at once by a rank

Level = NDArray[np.float64]


class FixedBackground:
    """The same background (y, x) for all omegas, or none."""

    def __init__(self, level: Level | None) -> None:
        self.level = level
        self.mean = None if level is None or np.isnan(level).all() else float(np.nanmean(level))

    def of_omega(self, k: int) -> Level | None:
        """Counts (y, x), or None."""
        return self.level


class DarkestBackground:
    """Mean of the two frames of least intensity at each omega, read when that omega comes."""

    def __init__(self, plan: Plan, sums: NDArray[np.float64]) -> None:
        found = FramesWithBeam(plan, sums, "darkest", 2)
        self.n_without_beam = found.n_without
        self._reader = PositionReader(plan)
        self._numbers = {k: numbers[darkest_frames(sums[numbers])] for k, numbers in found.by_omega.items()}
        chosen = np.concatenate(list(self._numbers.values()))
        self.mean: float | None = float(sums[chosen].mean() / (plan.roi.width * plan.roi.height))
        self._last: tuple[int, Level | None] = (-1, None)

    def of_omega(self, k: int) -> Level | None:
        """Counts (y, x) at omega number k."""
        if self._last[0] != k:
            pair = [self._reader.read(int(n))[0].astype(np.float64) for n in self._numbers[k]]
            self._last = (k, background_level(np.stack(pair), "mean"))
        return self._last[1]


def find_background(params: GetdataParameters, plan: Plan, comm: Comm) -> tuple[Background, float | None]:
    """The background and its mean level in counts. Collective."""
    if params.background in FROM_THE_SCAN:
        reader = PositionReader(plan)
        sums = survey(plan, comm, lambda n: _intensity(reader.read(n)[0]), "darkest frames", params.quiet)
        if params.background == "scan":
            return _of_scan(plan, sums, comm)
        with together(comm):
            darkest = DarkestBackground(plan, sums)
        if darkest.n_without_beam:
            plan.warnings.append(
                f"--background darkest: {darkest.n_without_beam} frames had no beam (no ring current, or far "
                "darker than the dark frames) and are no background"
            )
        return darkest, darkest.mean
    fixed = FixedBackground(_from_files(params.background, plan, comm) if plan.background else None)
    return fixed, fixed.mean


def _of_scan(plan: Plan, sums: NDArray[np.float64], comm: Comm) -> tuple[Background, float | None]:
    """The level that the darkest frames of all omegas show, found by rank 0."""
    found: ScanBackground | None = None
    with together(comm):
        if comm.rank == 0:
            found = find_scan_level(plan, sums)
    background: Background = broadcast(comm, found) or FixedBackground(None)
    return background, None if found is None else found.mean


def _intensity(pixels: NDArray[Any]) -> float:
    """The sum of a frame; where some of it was not measured, that of as many pixels like the others."""
    if pixels.dtype.kind != "f":
        return float(pixels.sum(dtype=np.float64))
    known = pixels[np.isfinite(pixels)]
    return float(known.mean(dtype=np.float64)) * pixels.size if known.size else np.inf


def survey(
    plan: Plan, comm: Comm, measure: Callable[[int], float], label: str, quiet: bool
) -> NDArray[np.float64]:
    """One number of every measured position (n_cells,), on every rank: a pass over the frames. Collective."""
    found = np.zeros(plan.cells.size)
    order = plan.order
    mine = block(order.size, comm.size, comm.rank)
    show = comm.rank == 0 and not quiet
    with together(comm), Progress(label, len(mine), "frames", overall=order.size, visible=show) as progress:
        for number in order[mine.start : mine.stop].tolist():
            found[number] = measure(number)
            progress.advance()
            check_alarm(comm)
    return add_up(comm, found)


def _from_files(statistic: str, plan: Plan, comm: Comm) -> Level:
    """Mean or median of the files: each rank reads its rows of all of them, so none reads twice."""
    roi = plan.roi
    mine = block(roi.height, comm.size, comm.rank)
    at_once = max(1, _PIXELS_AT_ONCE // (len(plan.background) * roi.width))
    parts = [np.empty((0, roi.width))]
    with together(comm):
        for rows in blocks_of_at_most(mine, at_once):
            reader = RoiReader(replace(roi, y0=roi.y0 + rows.start, height=len(rows)))
            stack = np.stack([mask_unmeasured(reader.read(info)).copy() for info in plan.background])
            parts.append(background_level(stack, statistic))
            check_alarm(comm)
    return np.concatenate(collect_everywhere(comm, np.concatenate(parts)))
