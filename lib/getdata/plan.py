"""What getdata.py decides before it reads a pixel: the frames, where each goes, what is wrong with them.

Headers are read once, each by one rank; rank 0 decides and tells the others.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ..errors import Recon3DError
from ..frames.pixels import FrameInfo, Roi
from ..frames.sources import HeaderReader, find_units, unit_name
from ..parallel.communicator import Comm, check_alarm, together
from ..parallel.partition import block
from ..parallel.progress import Progress
from ..scan import store
from .belonging import Chosen, EntryUse, choose_background, choose_scan, gather, own_names, uses
from .cleaning import current_factors
from .motors import Grid, MotorTable, RoleOptions, Roles, assign_roles, build_grid, concatenate_tables
from .retakes import choose_duplicates

DUPLICATES = ("error", "first", "last", "mean")
BACKGROUNDS = ("mean", "median", "darkest")
_FEWEST_FOR_DARKEST = 3
_MOST_WARNINGS = 5  # of one kind that are printed one by one
_MOST_ENTRIES = 40  # left out, that are printed one by one; getdata.json has all

if TYPE_CHECKING:
    from ..frames.catalog import Entry

Motors = dict[str, NDArray[np.float64]]
Problem = tuple[str, str]  # where, what


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
    entries: list[EntryUse] = field(default_factory=list)

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
    """The frames of all sound files in the order of the files, their motors, and the bad files."""

    frames: list[FrameInfo]
    motors: Motors
    problems: list[Problem]
    n_files: int
    chosen: list[Chosen] = field(default_factory=list)  # the entries of HDF5 files
    entry_of_frame: NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, np.int64))

    @property
    def labels(self) -> list[str]:
        """How a message names the entry of each frame, empty for EDF files."""
        return [self.chosen[i].entry.label if self.chosen else "" for i in self.entry_of_frame.tolist()]

    def leave_out(self, bad: dict[int, str]) -> None:
        """Move frames, number -> what is wrong, to the problems."""
        if bad:
            self.problems += [(frame_name(self.frames[i]), what) for i, what in bad.items()]
            self._keep([i for i in range(len(self.frames)) if i not in bad])

    def leave_out_entries(self, numbers: Collection[int]) -> None:
        """Do without the frames of entries, and without what is wrong with them."""
        gone = [problem for number in numbers for problem in self.chosen[number].problems]
        self.problems = [problem for problem in self.problems if problem not in gone]
        if numbers:
            self._keep(np.flatnonzero(~np.isin(self.entry_of_frame, list(numbers))).tolist())

    def _keep(self, keep: list[int]) -> None:
        self.frames = [self.frames[i] for i in keep]
        self.motors = {name: values[keep] for name, values in self.motors.items()}
        self.entry_of_frame = self.entry_of_frame[keep]

    def settle(self, *, skip: bool) -> None:
        """Raise one Recon3DError that lists all problems, unless they are to be skipped."""
        if self.problems and not (skip and self.frames):
            where, what = self.problems[0]
            if len(self.problems) > 1:
                others = "; ".join(f"{unit_name(w)} {text}" for w, text in self.problems[1:])
                what += f" ({len(self.problems)} bad files of {self.n_files}, the others: {others})"
            raise Recon3DError(where, what + ("" if skip else "; --skip-bad leaves such files out"))


def frame_name(info: FrameInfo) -> str:
    """How a message names a frame."""
    return f"{info.path}{info.dataset}[{info.number}]" if info.dataset or info.number else info.path


def _some(motors: dict[str, float], info: FrameInfo) -> dict[str, float]:
    if not motors:
        raise Recon3DError(frame_name(info), "has no motors in its header")
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
    entries: list[tuple[Entry | None, int, list[Problem]]] = []
    reader = HeaderReader(params.camera)
    show = comm.rank == 0 and not params.quiet
    with together(comm), Progress(label, len(mine), "files", overall=len(units), visible=show) as progress:
        for number in mine:
            n_frames, n_problems = len(frames), len(problems)
            try:
                for info, motors in reader.read(units[number]):
                    if motors_needed:
                        table.add(_some(motors, info))
                    frames.append(info)
            except Recon3DError as error:
                problems.append((error.where, error.what))
            entries.append((reader.about(units[number]), len(frames) - n_frames, problems[n_problems:]))
            progress.advance()
            check_alarm(comm)
    parts = comm.gather((frames, table.arrays(), problems, entries))
    if comm.rank != 0:
        return None
    infos = [info for part in parts for info in part[0]]
    read = [entry for part in parts for entry in part[3]]
    return Scanned(
        infos,
        concatenate_tables([part[1] for part in parts if part[0]]),
        [problem for part in parts for problem in part[2]],
        len(units),
        gather(read, infos, own_names(stem, units)),
        np.repeat(np.arange(len(read)), [n for _, n, _ in read]),
    )


def _decide(params: GetdataParameters, data: Scanned, background: Scanned | None) -> Plan:
    """Check the frames, find the roles of the motors and the place of every frame."""
    entries = _keep_the_scan(params, data, background)
    usual = _usual_shape(data.frames)
    for scanned in (data, background):
        if scanned is not None:
            scanned.leave_out(_other_sizes(scanned.frames, usual))
    roles = _settle(params, data, background)
    roi = Roi.around(params.poi, params.imgsize)
    roi.check_inside(usual)
    grid = build_grid(roles, params.tolerance_deg)
    cells = np.array(sorted(grid.cells), dtype=np.int64)
    chosen, retakes = choose_duplicates(
        grid, cells, roles, params.duplicates, data.labels, lambda i: frame_name(data.frames[i])
    )
    if params.background == "darkest":
        _check_enough_for_darkest(grid, cells)
    frames = background.frames if background else []
    factors = None
    if params.normalize == "current":
        per_frame = current_factors([info.ring_current_ma for info in data.frames])
        factors = np.array([per_frame[numbers].mean() for numbers in chosen])
    problems = data.problems + (background.problems if background else [])
    warnings = [use.warning for use in entries if use.left_out][:_MOST_ENTRIES] + retakes
    warnings += _warnings(data.frames + frames, problems, cells.size, int(np.prod(grid.shape)))
    return Plan(data.frames, frames, roles, grid, roi, cells, chosen, factors, problems, warnings, entries)


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
            data.leave_out(_without_position(roles))
        except Recon3DError as error:
            failure = error
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


def _without_position(roles: Roles) -> dict[int, str]:
    """Frames of which the header does not say where they were taken."""
    finite = np.isfinite(roles.tilt1) & np.isfinite(roles.tilt2) & np.isfinite(roles.omega)
    motors = ", ".join(roles.setup.motors)
    return {int(i): f"has no number for one of the motors {motors}" for i in np.flatnonzero(~finite)}


def _check_enough_for_darkest(grid: Grid, cells: NDArray[np.int64]) -> None:
    counts = np.bincount(cells % grid.shape[2], minlength=grid.shape[2])
    if counts.min() < _FEWEST_FOR_DARKEST:
        omega = grid.axes[2].positions[counts.argmin()]
        raise Recon3DError(
            "--background darkest",
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
