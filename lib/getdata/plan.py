"""What getdata.py decides before it reads a pixel: the frames, where each goes, what is wrong with them.

Headers are read once, each by one rank; rank 0 decides and tells the others.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import Recon3DError
from ..frames.pixels import FrameInfo, Roi
from ..parallel.claim import refuse_if_claimed
from ..parallel.communicator import Comm, together
from ..parallel.messages import broadcast
from ..scan import store
from .belonging import EntryUse, choose_background, choose_scan, uses
from .cleaning import current_factors
from .faults import cut_off_warnings
from .grid import Grid, build_grid
from .headers import Scanned, frame_name, scan_headers
from .motors import Roles, assign_roles
from .optics import optics_of
from .parameters import FROM_THE_SCAN, GetdataParameters
from .places import (
    Problem,
    moving_roles,
    other_regions,
    unknown_places,
    with_command,
    with_table,
)
from .retakes import choose_duplicates
from .strays import stray_positions

_FEWEST_FOR_DARKEST = 3  # frames of an omega, two of which are the background
_MOST_WARNINGS = 5  # of one kind that are printed one by one
_MOST_ENTRIES = 40  # left out, that are printed one by one; getdata.json has all


@dataclass(frozen=True)
class Plan:
    """What rank 0 decided: the frames, where each goes, and the background frames.

    cells are the measured positions, numbers on the grid in C order, ascending; frames_of_cell has the
    numbers of their frames, those that --duplicates chose. moving are the roles of motors that move while a
    frame is taken, None where the files do not say.
    """

    frames: list[FrameInfo]
    background: list[FrameInfo]
    roles: Roles
    grid: Grid
    roi: Roi
    cells: NDArray[np.int64]
    frames_of_cell: list[list[int]]
    factors: NDArray[np.float64] | None
    skipped: list[Problem]
    warnings: list[str]
    optics: dict[str, Any] | None = None
    entries: list[EntryUse] = field(default_factory=list)
    moving: list[str] | None = None

    @property
    def omega_of_cell(self) -> NDArray[np.int64]:
        """Number of the omega of each measured position (n_cells,)."""
        return self.cells % self.grid.shape[2]

    @property
    def pair_of_cell(self) -> NDArray[np.int64]:
        """Number of the pair of tilts of each measured position (n_cells,)."""
        return self.cells // self.grid.shape[2]

    @property
    def order(self) -> NDArray[np.int64]:
        """Measured positions in the order of work: omega by omega, and in the order of the files.

        Frames in HDF5 files may share compressed chunks, so there the order of the files comes first.
        """
        first = np.array([frames[0] for frames in self.frames_of_cell])
        if self.frames[0].dataset:
            return np.argsort(first, kind="stable")
        return np.lexsort((first, self.omega_of_cell))


def make_plan(params: GetdataParameters, comm: Comm) -> Plan:
    """Read all headers and decide; the same plan on every rank. Raises Recon3DError on all of them."""
    with together(comm):
        if comm.rank == 0:
            check_parameters(params)
    options: dict[str, Any] = {"camera": params.camera, "quiet": params.quiet}
    data = scan_headers(
        params.datadir,
        params.dataname,
        comm,
        "headers",
        any_motors=params.positions is not None,
        **options,
    )
    background = None
    if params.has_background_files:
        background = scan_headers(
            params.bgdir, params.bgname, comm, "background headers", motors_needed=False, **options
        )
    plan: Plan | None = None
    with together(comm):
        if comm.rank == 0 and data is not None:
            plan = _decide(params, data, background)
    return broadcast(comm, plan)  # type: ignore[return-value]


def check_parameters(params: GetdataParameters) -> None:
    """Find out before any work whether the options fit each other and the result can be written."""
    if params.clip is False and params.dtype != "float32":
        raise Recon3DError("--no-clip", "is for --dtype float32 (int16 keeps negative values anyway)")
    if params.min_area is not None and params.threshold is None:
        raise Recon3DError("--min-area", "needs --threshold COUNTS, which says what is lit")
    if params.background in FROM_THE_SCAN and params.has_background_files:
        raise Recon3DError(
            f"--background {params.background}", "takes no background files; give - - for bgdir bgname"
        )
    if min(params.imgsize) < 1:
        width, height = params.imgsize
        raise Recon3DError("imgsize", f"{width},{height}: both sides must be at least 1 pixel")
    for side in params.imgsize:
        if side % params.bin:
            raise Recon3DError(
                "--bin", f"imgsize {params.imgsize[0]},{params.imgsize[1]} is no multiple of {params.bin}"
            )
    if (
        not params.outputdirname
        or params.outputdirname in (".", "..")
        or (Path(params.outputdirname).name != params.outputdirname)
    ):
        raise Recon3DError("outputdirname", f"'{params.outputdirname}' must be a plain folder name")
    refuse_existing(params)
    if params.folder.exists() and not params.folder.is_dir():
        raise Recon3DError(params.folder, "is a file; give another outputdirname")
    parent = Path(params.outputpath)
    if parent.exists() and not parent.is_dir():
        raise Recon3DError(params.outputpath, "is a file; outputpath must be a folder")
    refuse_if_claimed(params.folder)


def refuse_existing(params: GetdataParameters) -> None:
    """Raise Recon3DError where there is a result already; to be asked again by who holds the claim to it."""
    present = [name for name in store.FILES if (params.folder / name).exists()]
    if present and not params.overwrite:
        raise Recon3DError(params.folder / present[0], "exists; use --overwrite or another outputdirname")


def _decide(params: GetdataParameters, data: Scanned, background: Scanned | None) -> Plan:
    """Check the frames, find the roles of the motors and the place of every frame."""
    entries = _keep_the_scan(params, data, background)
    usual = _usual_shape(data.frames)
    options, data.motors, said = with_table(
        params.positions, params.roles, data.frames, data.motors, data.problems
    )
    params = replace(params, roles=options)
    if params.positions is None:
        data.motors, said = with_command(data.frames, data.motors)
    data.leave_out(other_regions(data.frames, data.motors, data.notes))
    for scanned in (data, background):
        if scanned is not None:
            scanned.leave_out(_other_sizes(scanned.frames, usual))
    roles = _settle(params, data, background)
    roi = Roi.around(params.poi, params.imgsize)
    roi.check_inside(usual)
    grid = build_grid(roles, params.tolerance_deg)
    if stray := stray_positions(grid, roles):
        data.leave_out(stray)
        roles = _settle(params, data, background)
        grid = build_grid(roles, params.tolerance_deg)
    cells = np.array(sorted(grid.cells), dtype=np.int64)
    chosen, retakes = choose_duplicates(
        grid, cells, roles, params.duplicates, data.labels, lambda i: frame_name(data.frames[i])
    )
    if params.background in FROM_THE_SCAN:
        _check_enough_dark_frames(grid, cells, params.background)
    frames = background.frames if background else []
    optics = optics_of(data.motors, data.notes.pixel_um(), params.bin)
    factors = None
    if params.normalize == "current":
        per_frame = current_factors([info.ring_current_ma for info in data.frames])
        factors = np.array([per_frame[numbers].mean() for numbers in chosen])
    problems = data.problems + (background.problems if background else [])
    warnings = [use.warning for use in entries if use.left_out][:_MOST_ENTRIES] + said + retakes
    warnings += data.notes.warnings(roles.setup.motors)
    warnings += _warnings(data.frames + frames, problems, cells.size, int(np.prod(grid.shape)))
    warnings += cut_off_warnings(data.cut | (background.cut if background else {}))
    used = [data.chosen[i].entry for i in np.unique(data.entry_of_frame)] if data.chosen else []
    return Plan(
        data.frames,
        frames,
        roles,
        grid,
        roi,
        cells,
        chosen,
        factors,
        problems,
        warnings,
        optics,
        entries,
        moving_roles(data.frames, used, roles.setup),
    )


def _keep_the_scan(params: GetdataParameters, data: Scanned, background: Scanned | None) -> list[EntryUse]:
    """Leave out the entries of HDF5 files that do not belong; what became of each entry."""
    left_out = choose_scan(data.chosen, data.motors, params.roles, params.camera, skip=params.skip_bad)
    data.leave_out_entries(left_out)
    if background is None:
        return uses(data.chosen, left_out, "frames")
    used = {chosen.entry.unit for i, chosen in enumerate(data.chosen) if i not in left_out}
    no_dark = choose_background(background.chosen, used)
    background.leave_out_entries(no_dark)
    dark = uses(background.chosen, no_dark, "background")
    in_use = {use.entry for use in dark if not use.left_out}
    scan = uses(data.chosen, left_out, "frames")
    return [use for use in scan if not (use.left_out and use.entry in in_use)] + dark


def _settle(params: GetdataParameters, data: Scanned, background: Scanned | None) -> Roles:
    """The roles of the motors; raises one error for all bad files, or leaves them out."""
    failure: Recon3DError | None = None
    if data.frames:
        try:
            roles = assign_roles(data.motors, params.roles, allow_gaps=True)
            data.leave_out(unknown_places(roles, data.notes))
        except Recon3DError as error:
            failure = data.notes.explained(error)
    for scanned in (data, background):
        if scanned is not None:
            scanned.settle(skip=params.skip_bad)
    if failure is not None:
        raise failure
    return assign_roles(data.motors, params.roles)


def _usual_shape(frames: list[FrameInfo]) -> tuple[int, int]:
    """The size of most frames; of the first where it is a draw."""
    sizes = Counter(info.shape_yx for info in frames)
    return sizes.most_common(1)[0][0] if sizes else (0, 0)


def _other_sizes(frames: list[FrameInfo], usual: tuple[int, int]) -> dict[int, str]:
    return {
        i: f"has {info.shape_yx[1]} x {info.shape_yx[0]} pixels, the other frames have "
        f"{usual[1]} x {usual[0]}; all frames must have one size"
        for i, info in enumerate(frames)
        if info.shape_yx != usual
    }


def _check_enough_dark_frames(grid: Grid, cells: NDArray[np.int64], how: str) -> None:
    """Raise Recon3DError where an omega has too few frames to take its background from them."""
    counts = np.bincount(cells % grid.shape[2], minlength=grid.shape[2])
    if counts.min() < _FEWEST_FOR_DARKEST:
        omega = grid.axes[2].positions[counts.argmin()]
        raise Recon3DError(
            f"--background {how}",
            f"omega {omega:.6g} has {counts.min()} frames, the two darkest of which are the background; "
            f"it needs {_FEWEST_FOR_DARKEST} at least",
        )


def _warnings(frames: list[FrameInfo], problems: list[Problem], n_cells: int, n_grid: int) -> list[str]:
    warnings = [f"skipped {where}: {what}" for where, what in problems]
    if len(warnings) > _MOST_WARNINGS:
        rest = len(warnings) - _MOST_WARNINGS
        warnings = [*warnings[:_MOST_WARNINGS], f"skipped {rest} more files, listed in getdata.json"]
    long = [info for info in frames if info.excess_bytes]
    warnings += [
        f"{info.path}: {info.excess_bytes} bytes follow the pixels; the file may be damaged"
        for info in long[:_MOST_WARNINGS]
    ]
    if len(long) > _MOST_WARNINGS:
        warnings.append(f"{len(long) - _MOST_WARNINGS} more files are too long")
    if n_cells < n_grid:
        warnings.append(f"{n_grid - n_cells} of {n_grid} positions were not measured")
    return warnings
