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
from ..frames.sources import HeaderReader, find_units, unit_name
from ..parallel.communicator import Comm, check_alarm, together
from ..parallel.partition import block
from ..parallel.progress import Progress
from ..scan import store
from .cleaning import current_factors
from .duplicates import check_enough_for_darkest, choose_frames
from .faults import cut_off_warnings, faults_of
from .grid import Grid, build_grid
from .motor_table import MotorTable, concatenate_tables
from .motors import NONE, RoleOptions, Roles, assign_roles
from .notes import Notes
from .optics import optics_of
from .places import (
    Problem,
    other_regions,
    together_alike,
    unknown_places,
    with_command,
    with_table,
)
from .strays import stray_positions

DUPLICATES = ("error", "first", "last", "mean")
BACKGROUNDS = ("mean", "median", "darkest")
_MOST_WARNINGS = 5  # of one kind that are printed one by one

Motors = dict[str, NDArray[np.float64]]


@dataclass(frozen=True)
class GetdataParameters:
    """The command line of getdata.py; names are those of its arguments."""

    datadir: str
    dataname: str
    bgdir: str
    bgname: str
    poi: tuple[int, int]
    imgsize: tuple[int, int]
    outputpath: str
    outputdirname: str
    roles: RoleOptions = field(default_factory=RoleOptions)
    tolerance_deg: float | None = None
    positions: str | None = None
    camera: str | None = None
    background: str = "mean"
    normalize: str = "none"
    hot_pixels: float | None = None
    threshold: float | None = None
    min_area: int | None = None
    bin: int = 1
    dtype: str = "uint16"
    clip: bool = True
    duplicates: str = "error"
    skip_bad: bool = False
    report: bool = True
    overwrite: bool = False
    quiet: bool = False
    command: str = ""

    @property
    def folder(self) -> Path:
        """Where the result goes."""
        return Path(self.outputpath) / self.outputdirname

    @property
    def temporary(self) -> Path:
        """Where it is made: beside the result, so that a rename suffices."""
        return self.folder.with_name(f".{self.folder.name}.part")

    @property
    def has_background_files(self) -> bool:
        """Whether bgdir and bgname name files."""
        return (self.bgdir, self.bgname) != ("-", "-")

    @property
    def files(self) -> tuple[str, ...]:
        """The files of the result, in the order in which they appear."""
        return store.FILES if not self.report else (*store.FILES[:-1], store.REPORT, store.FILES[-1])


@dataclass(frozen=True)
class Plan:
    """What rank 0 decided: the frames, where each goes, and the background frames.

    cells are the measured positions, numbers on the grid in C order, ascending; frames_of_cell has the
    numbers of their frames, those that --duplicates chose.
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
    data = _scan_headers(params.datadir, params.dataname, comm, params, "headers")
    background = None
    if params.has_background_files:
        background = _scan_headers(
            params.bgdir, params.bgname, comm, params, "background headers", motors_needed=False
        )
    plan: Plan | None = None
    with together(comm):
        if comm.rank == 0 and data is not None:
            plan = _decide(params, data, background)
    decided: Plan = comm.bcast(plan)
    return decided


def check_parameters(params: GetdataParameters) -> None:
    """Find out before any work whether the options fit each other and the result can be written."""
    if params.clip is False and params.dtype != "float32":
        raise Recon3DError("--no-clip", "negative values need --dtype float32")
    if params.min_area is not None and params.threshold is None:
        raise Recon3DError("--min-area", "needs --threshold COUNTS, which says what is lit")
    if params.background == "darkest" and params.has_background_files:
        raise Recon3DError("--background darkest", "takes no background files; give - - for bgdir bgname")
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
    present = [name for name in store.FILES if (params.folder / name).exists()]
    if present and not params.overwrite:
        raise Recon3DError(params.folder / present[0], "exists; use --overwrite or another outputdirname")
    if params.folder.exists() and not params.folder.is_dir():
        raise Recon3DError(params.folder, "is a file; give another outputdirname")
    parent = Path(params.outputpath)
    if parent.exists() and not parent.is_dir():
        raise Recon3DError(params.outputpath, "is a file; outputpath must be a folder")


@dataclass
class Scanned:
    """The frames of all sound files in the order of the files, their motors, and the bad files.

    cut has the entries whose scan was cut off, and how many frames were never taken.
    """

    frames: list[FrameInfo]
    motors: Motors
    problems: list[Problem]
    n_files: int
    cut: dict[str, int] = field(default_factory=dict)
    notes: Notes = field(default_factory=Notes)

    def leave_out(self, bad: dict[int, str]) -> None:
        """Move frames, number -> what is wrong, to the problems."""
        if bad:
            self.problems += [(frame_name(self.frames[i]), what) for i, what in bad.items()]
            keep = [i for i in range(len(self.frames)) if i not in bad]
            self.frames = [self.frames[i] for i in keep]
            self.motors = {name: values[keep] for name, values in self.motors.items()}
            self.notes.keep(keep)

    def settle(self, *, skip: bool) -> None:
        """Raise one Recon3DError that lists all problems, unless they are to be skipped."""
        if self.problems and not (skip and self.frames):
            where, what = self.problems[0]
            if len(self.problems) > 1:
                others = "; ".join(f"{unit_name(w)} {text}" for w, text in together_alike(self.problems[1:]))
                what += f" ({len(self.problems)} bad files of {self.n_files}, the others: {others})"
            raise Recon3DError(where, what + ("" if skip else "; --skip-bad leaves such files out"))


def frame_name(info: FrameInfo) -> str:
    """How a message names a frame."""
    return info.name


def _some(motors: dict[str, float], info: FrameInfo) -> dict[str, float]:
    if not motors:
        raise Recon3DError(frame_name(info), "has no motors in its header")
    if info.n_under_header > 1:
        raise Recon3DError(
            info.unit or info.path,
            f"holds {info.n_under_header} frames under one header (Num_Images, Size or Dim_3), which cannot "
            "say where each was taken; give the positions with --positions FILE",
        )
    return motors


def _scan_headers(
    folder: str, stem: str, comm: Comm, params: GetdataParameters, label: str, *, motors_needed: bool = True
) -> Scanned | None:
    """Read the headers, each rank those of some files; the result is on rank 0 only."""
    units: list[str] = []
    with together(comm):
        if comm.rank == 0:
            units = find_units(folder, stem)
    units = comm.bcast(units)
    mine = block(len(units), comm.size, comm.rank)
    frames: list[FrameInfo] = []
    table = MotorTable()
    problems: list[Problem] = []
    cut: dict[str, int] = {}
    entry: list[int] = []
    reader = HeaderReader(params.camera)
    show = comm.rank == 0 and not params.quiet
    with together(comm), Progress(label, len(mine), "files", overall=len(units), visible=show) as progress:
        for number in mine:
            try:
                found = reader.read(units[number])
                problems += faults_of([info for info, _ in found])
                of_unit = len(reader.notes) - 1 if len(found) > 1 or reader.notes else -1
                for info, motors in found:
                    if info.n_cut:
                        cut[units[number]] = info.n_cut
                    if info.fault:
                        continue
                    if motors_needed:
                        table.add(_some(motors, info) if params.positions is None else motors or {NONE: 0.0})
                    frames.append(info)
                    entry.append(of_unit)
            except Recon3DError as error:
                problems.append((error.where, error.what))
            progress.advance()
            check_alarm(comm)
    parts = comm.gather((frames, table.arrays(), problems, cut, reader.notes, entry))
    if comm.rank != 0:
        return None
    return Scanned(
        [info for part in parts for info in part[0]],
        concatenate_tables([part[1] for part in parts if part[0]]),
        [problem for part in parts for problem in part[2]],
        len(units),
        {unit: n for part in parts for unit, n in part[3].items()},
        Notes.joined([(part[4], part[5]) for part in parts]),
    )


def _decide(params: GetdataParameters, data: Scanned, background: Scanned | None) -> Plan:
    """Check the frames, find the roles of the motors and the place of every frame."""
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
    chosen = choose_frames(grid, cells, data.frames, frame_name, roles, params.duplicates, said)
    if params.background == "darkest":
        check_enough_for_darkest(grid, cells)
    frames = background.frames if background else []
    optics = optics_of(data.motors, data.notes.pixel_um(), params.bin)
    factors = None
    if params.normalize == "current":
        per_frame = current_factors([info.ring_current_ma for info in data.frames])
        factors = np.array([per_frame[numbers].mean() for numbers in chosen])
    problems = data.problems + (background.problems if background else [])
    warnings = said + data.notes.warnings(roles.setup.motors)
    warnings += _warnings(data.frames + frames, problems, cells.size, int(np.prod(grid.shape)))
    warnings += cut_off_warnings(data.cut | (background.cut if background else {}))
    return Plan(data.frames, frames, roles, grid, roi, cells, chosen, factors, problems, warnings, optics)


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
