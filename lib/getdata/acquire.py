"""The workflow of getdata.py: detector files to one array, on any number of ranks.

`plan` decides where each frame goes; every rank then reads and cleans its frames (`pipeline`) and
writes them at their place in the file. No rank ever holds more than a few frames.
"""

from __future__ import annotations

import shutil
import sys
from contextlib import ExitStack
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..frames.pixels import OUTPUT_DTYPES, PixelCounts
from ..parallel.claim import Claim, claimed
from ..parallel.communicator import Comm, check_alarm, together
from ..parallel.messages import add_up
from ..parallel.partition import block
from ..parallel.progress import Progress
from ..scan import store
from ..scan.dark import column_total
from .backgrounds import find_background, survey
from .cleaning import integral_factors
from .faults import no_counts, pixel_warnings
from .info import describe, summary
from .overview import Overview
from .parameters import GetdataParameters
from .pipeline import Background, Pipeline
from .plan import Plan, make_plan, refuse_existing
from .scan_level import ScanBackground, left_in_array

__all__ = ["GetdataParameters", "run", "summary"]


def run(params: GetdataParameters, comm: Comm) -> dict[str, Any]:
    """Make the array; returns what getdata.json holds, on every rank."""
    plan = make_plan(params, comm)
    if comm.rank == 0:
        _warn(plan.warnings)
    with together(comm):
        if comm.rank == 0 and not params.temporary.exists():  # what a killed run left is removed first
            store.check_room(params.folder.parent, _shape(params, plan), OUTPUT_DTYPES[params.dtype])
    with claimed(params.folder, comm) as claim:
        try:
            return _make(params, plan, comm, claim)
        except BaseException:
            if claim is not None and claim.holds():
                shutil.rmtree(params.temporary, ignore_errors=True)
            raise


def _warn(warnings: list[str]) -> None:
    for warning in warnings:
        print(f"getdata: warning: {warning}", file=sys.stderr)


def _shape(params: GetdataParameters, plan: Plan) -> tuple[int, ...]:
    return (*plan.grid.shape, plan.roi.width // params.bin, plan.roi.height // params.bin)


def _make(params: GetdataParameters, plan: Plan, comm: Comm, claim: Claim | None) -> dict[str, Any]:
    shape = _shape(params, plan)
    with together(comm):
        if comm.rank == 0:
            refuse_existing(params)  # another run may have ended since the plan was made
            shutil.rmtree(params.temporary, ignore_errors=True)
            params.temporary.mkdir(parents=True)
            store.ArrayFile.create(params.temporary / store.ARRAY, shape, OUTPUT_DTYPES[params.dtype])
    n_said = len(plan.warnings)
    background, level = find_background(params, plan, comm)
    if comm.rank == 0:
        _warn(plan.warnings[n_said:])
    factors = _factors(params, plan, background, comm)
    pipeline = Pipeline(params, plan, background, factors)
    overview = Overview.of(plan, factors, params.bin, params.dtype) if params.report else None
    with together(comm):
        darkness = _write_frames(params, plan, comm, pipeline, overview)
    totals = np.zeros(plan.grid.shape)
    totals.flat[plan.cells] = add_up(comm, darkness)
    counts = sum(comm.allgather(pipeline.counts), PixelCounts())
    blank, lost = (_names(plan, comm, numbers) for numbers in (pipeline.blank, pipeline.lost))
    cells = np.delete(plan.cells, list(lost))
    with together(comm):
        if not cells.size:
            raise no_counts(plan.frames)
    if overview is not None:
        overview.collect(comm, pipeline.signatures)
    info = describe(params, plan, counts, level, factors, shape, cells)
    found = pixel_warnings(counts, list(blank.values()), list(lost.values()), params.dtype)
    info["warnings"] = [*info["warnings"], *found]
    with together(comm):
        if comm.rank == 0:
            _warn(found)
        if claim is not None:
            claim.confirm()
            with store.writing(params.folder):
                _write_the_rest(params, plan, cells, totals, info, overview, background)
    return comm.bcast(info)


def _factors(
    params: GetdataParameters, plan: Plan, background: Background, comm: Comm
) -> NDArray[np.float64] | None:
    """The factor of every measured position (n_cells,), None for no normalisation. Collective."""
    if params.normalize != "integral":
        return plan.factors
    pipeline = Pipeline(params, plan, background)
    sums = survey(plan, comm, pipeline.integral, "intensity", params.quiet)
    n_pairs, n_omega = plan.grid.shape[0] * plan.grid.shape[1], plan.grid.shape[2]
    table, measured = np.zeros((n_pairs, n_omega)), np.zeros((n_pairs, n_omega), dtype=bool)
    table.flat[plan.cells], measured.flat[plan.cells] = sums, True
    with together(comm):
        factors = integral_factors(table, measured)
    return factors[plan.omega_of_cell]


def _write_frames(
    params: GetdataParameters, plan: Plan, comm: Comm, pipeline: Pipeline, overview: Overview | None
) -> NDArray[np.float64]:
    """Read, clean and write this rank's share of the positions; how dark each is (n_cells,), 0 for others."""
    totals = np.zeros(plan.cells.size)
    order = plan.order
    mine = block(order.size, comm.size, comm.rank)
    numbers = order[mine.start : mine.stop]
    places = np.stack(np.unravel_index(plan.cells[numbers], plan.grid.shape), axis=1)
    n_bytes = plan.roi.width * plan.roi.height * np.dtype(plan.frames[0].dtype).itemsize
    show = comm.rank == 0 and not params.quiet
    with ExitStack() as stack:
        array = stack.enter_context(store.ArrayFile(params.temporary / store.ARRAY, writable=True))
        progress = stack.enter_context(
            Progress("frames", len(mine), "frames", overall=order.size, bytes_each=n_bytes, visible=show)
        )
        for number, place in zip(numbers.tolist(), places.tolist(), strict=True):
            pixels = pipeline.stored(number)
            array.write_frame(tuple(place), pixels)
            totals[number] = column_total(pixels)
            if overview is not None:
                overview.add(number, pixels, pipeline.n_saturated)
            progress.advance()
            check_alarm(comm)
    return totals


def _names(plan: Plan, comm: Comm, numbers: list[int]) -> dict[int, str]:
    """The measured positions that all ranks found, ascending, each with the name of its first frame."""
    everyone = sorted(number for part in comm.allgather(numbers) for number in part)
    return {number: plan.frames[plan.frames_of_cell[number][0]].name for number in everyone}


def _write_the_rest(
    params: GetdataParameters,
    plan: Plan,
    cells: NDArray[np.int64],
    totals: NDArray[np.float64],
    info: dict[str, Any],
    overview: Overview | None,
    background: Background,
) -> None:
    """Write everything but the array, and let the result appear. cells are those that were measured."""
    measured = np.zeros(plan.grid.shape, dtype=bool)
    measured.flat[cells] = True
    store.write_axes(params.temporary, [axis.positions for axis in plan.grid.axes], measured)
    left, found = left_in_array(params.temporary, totals)
    if overview is not None:
        found = overview.warnings() + found
    info["warnings"] = [*info["warnings"], *found]
    info["background"]["left"] = None if left.level is None else round(left.level.mean, 3)
    _warn(found)
    if overview is not None:
        from . import page  # matplotlib is for rank 0 alone

        taken = background.level if isinstance(background, ScanBackground) else None
        page.write(params.temporary / store.REPORT, info, overview, taken, left.level)
    store.write_info(params.temporary, info)
    store.publish(params.temporary, params.folder, params.files)
