"""The workflow of getdata.py: detector files to one array, on any number of ranks.

Headers are read once, each by one rank; rank 0 places the frames on the grid; every rank then reads
its frames and writes them at their place in the file.
"""

from __future__ import annotations

import shutil
import sys
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from . import __version__, edf, store
from .errors import Recon3DError
from .frames import (
    OUTPUT_DTYPES,
    FrameInfo,
    PixelCounts,
    Roi,
    background_level,
    saturated_pixels,
    subtract_background,
    to_output,
)
from .motors import (
    Grid,
    MotorTable,
    RoleOptions,
    Roles,
    assign_roles,
    build_grid,
    concatenate_tables,
)
from .parallel import Comm, check_alarm, together
from .partition import block, blocks_of_at_most
from .progress import Progress

DUPLICATES = ("error", "first", "last", "mean")
_MOST_LISTED = 8
_BACKGROUND_PIXELS = 1 << 23  # of all background frames, held at once by a rank


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
    background: str = "mean"
    dtype: str = "uint16"
    clip: bool = True
    duplicates: str = "error"
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


@dataclass(frozen=True)
class Plan:
    """What rank 0 decided: the frames, where each goes, and the background frames."""

    frames: list[FrameInfo]
    background: list[FrameInfo]
    roles: Roles
    grid: Grid
    roi: Roi
    warnings: list[str]


def run(params: GetdataParameters, comm: Comm) -> dict[str, Any]:
    """Make the array; returns what getdata.json holds, on every rank."""
    with together(comm):
        if comm.rank == 0:
            _check_target(params)
    data, motors = _scan_headers(params.datadir, params.dataname, comm, params, "headers")
    background: list[FrameInfo] = []
    if (params.bgdir, params.bgname) != ("-", "-"):
        background, _ = _scan_headers(params.bgdir, params.bgname, comm, params, "background headers")
    plan: Plan | None = None
    with together(comm):
        if comm.rank == 0:
            plan = _make_plan(params, data, motors, background)
    plan = comm.bcast(plan)
    for warning in plan.warnings if comm.rank == 0 else ():
        print(f"getdata: warning: {warning}", file=sys.stderr)
    try:
        info = _write(params, plan, comm)
    except BaseException:
        if comm.rank == 0:
            shutil.rmtree(params.temporary, ignore_errors=True)
        raise
    return info


def _check_target(params: GetdataParameters) -> None:
    """Find out before any work whether the result can be written."""
    if params.clip is False and params.dtype != "float32":
        raise Recon3DError("--no-clip", "negative values need --dtype float32")
    if not params.outputdirname or Path(params.outputdirname).name != params.outputdirname:
        raise Recon3DError("outputdirname", f"'{params.outputdirname}' must be a plain folder name")
    present = [name for name in store.FILES if (params.folder / name).exists()]
    if present and not params.overwrite:
        raise Recon3DError(params.folder / present[0], "exists; use --overwrite or another outputdirname")
    if params.folder.exists() and not params.folder.is_dir():
        raise Recon3DError(params.folder, "is a file; give another outputdirname")
    parent = Path(params.outputpath)
    if parent.exists() and not parent.is_dir():
        raise Recon3DError(params.outputpath, "is a file; outputpath must be a folder")


def _scan_headers(
    folder: str, stem: str, comm: Comm, params: GetdataParameters, label: str
) -> tuple[list[FrameInfo], dict[str, NDArray[np.float64]]]:
    """The frames of all files in file order and their motors, on rank 0 (elsewhere nothing)."""
    paths: list[str] = []
    with together(comm):
        if comm.rank == 0:
            paths = edf.find_files(folder, stem)
    paths = comm.bcast(paths)
    mine = block(len(paths), comm.size, comm.rank)
    found: list[FrameInfo] = []
    table = MotorTable()
    bad: list[Recon3DError] = []
    show = comm.rank == 0 and not params.quiet
    with (
        together(comm),
        Progress(label, len(mine), "files", overall=len(paths), visible=show) as progress,
    ):
        for number in mine:
            try:
                for info, motors in edf.read_headers(paths[number]):
                    found.append(info)
                    table.add(motors)
            except Recon3DError as error:
                bad.append(error)
            progress.advance()
            check_alarm(comm)
    all_bad = [error for part in comm.allgather(bad) for error in part]
    if all_bad:
        raise _all_bad_files(all_bad, len(paths))
    parts = comm.gather((found, table.arrays()))
    if comm.rank != 0:
        return [], {}
    filled = [part for part in parts if part[0]]
    return [info for part in filled for info in part[0]], concatenate_tables([part[1] for part in filled])


def _all_bad_files(errors: list[Recon3DError], n_files: int) -> Recon3DError:
    if len(errors) == 1:
        return errors[0]
    listed = "; ".join(f"{Path(e.where).name} {e.what}" for e in errors[1:_MOST_LISTED])
    more = f"; and {len(errors) - _MOST_LISTED} more" if len(errors) > _MOST_LISTED else ""
    what = f"{errors[0].what} ({len(errors)} bad files of {n_files}, the others: {listed}{more})"
    return Recon3DError(errors[0].where, what)


def _make_plan(
    params: GetdataParameters,
    data: list[FrameInfo],
    motors: dict[str, NDArray[np.float64]],
    background: list[FrameInfo],
) -> Plan:
    """Check sizes and ROI, find the roles of the motors and the place of every frame."""
    shape = data[0].shape_yx
    for info in (*data, *background):
        if info.shape_yx != shape:
            raise Recon3DError(
                info.path,
                f"has {info.shape_yx[1]} x {info.shape_yx[0]} pixels, "
                f"{Path(data[0].path).name} has {shape[1]} x {shape[0]}; all frames must have one size",
            )
    roi = Roi.around(params.poi, params.imgsize)
    roi.check_inside(shape)
    roles = assign_roles(motors, params.roles)
    grid = build_grid(roles, params.tolerance_deg)
    _check_duplicates(grid, data, roles, params.duplicates)
    warnings = [
        f"{info.path}: {info.excess_bytes} bytes follow the pixels; the file may be damaged"
        for info in (*data, *background)
        if info.excess_bytes
    ]
    n_missing = int(np.prod(grid.shape)) - len(grid.cells)
    if n_missing:
        warnings.append(f"{n_missing} of {int(np.prod(grid.shape))} positions were not measured")
    return Plan(data, background, roles, grid, roi, warnings)


def _check_duplicates(grid: Grid, data: list[FrameInfo], roles: Roles, policy: str) -> None:
    doubles = [(cell, frames) for cell, frames in grid.cells.items() if len(frames) > 1]
    if not doubles or policy != "error":
        return
    cell, frames = doubles[0]
    place = np.unravel_index(cell, grid.shape)
    where = ", ".join(
        f"{getattr(roles.setup, role)} {axis.positions[i]:.6g}"
        for role, axis, i in zip(store.AXES, grid.axes, place, strict=True)
    )
    raise Recon3DError(
        data[frames[1]].path,
        f"is at the same position as {Path(data[frames[0]].path).name} ({where}), one of {len(doubles)} "
        "such cases; choose --duplicates first, last or mean, or check the motors and --tolerance",
    )


def _write(params: GetdataParameters, plan: Plan, comm: Comm) -> dict[str, Any]:
    dtype = OUTPUT_DTYPES[params.dtype]
    shape = (*plan.grid.shape, plan.roi.width, plan.roi.height)
    array_path = params.temporary / store.ARRAY
    with together(comm):
        if comm.rank == 0:
            shutil.rmtree(params.temporary, ignore_errors=True)
            params.temporary.mkdir(parents=True)
            store.ArrayFile.create(array_path, shape, dtype)
    background = _background(params, plan, comm)
    counts = PixelCounts()
    with together(comm):
        counts = _write_frames(params, plan, comm, background, array_path)
    counts = sum(comm.allgather(counts), PixelCounts())
    info = _describe(params, plan, counts, background, shape)
    with together(comm):
        if comm.rank == 0:
            measured = np.zeros(plan.grid.shape, dtype=bool)
            measured.flat[list(plan.grid.cells)] = True
            store.write_axes(params.temporary, [axis.positions for axis in plan.grid.axes], measured)
            store.write_info(params.temporary, info)
            store.publish(params.temporary, params.folder, store.FILES)
    return info


def _background(params: GetdataParameters, plan: Plan, comm: Comm) -> NDArray[np.float64] | None:
    """The background of the ROI (y, x): each rank reads its rows of all frames, so none reads twice."""
    if not plan.background:
        return None
    mine = block(plan.roi.height, comm.size, comm.rank)
    at_once = max(1, _BACKGROUND_PIXELS // (len(plan.background) * plan.roi.width))
    parts = [np.empty((0, plan.roi.width))]
    with together(comm):
        for rows in blocks_of_at_most(mine, at_once):
            stack = np.stack([edf.read_roi(info, plan.roi, rows) for info in plan.background])
            parts.append(background_level(stack, params.background))
            check_alarm(comm)
    return np.concatenate(comm.allgather(np.concatenate(parts)))


def _write_frames(
    params: GetdataParameters,
    plan: Plan,
    comm: Comm,
    background: NDArray[np.float64] | None,
    array_path: Path,
) -> PixelCounts:
    """Read, clean and write this rank's share of the positions, in the order of the files."""
    cells = sorted(plan.grid.cells, key=lambda cell: plan.grid.cells[cell][0])
    mine = block(len(cells), comm.size, comm.rank)
    dtype = OUTPUT_DTYPES[params.dtype]
    total = PixelCounts()
    show = comm.rank == 0 and not params.quiet
    with (
        store.ArrayFile(array_path, writable=True) as array,
        Progress("frames", len(mine), "frames", overall=len(cells), visible=show) as progress,
    ):
        for number in mine:
            cell = cells[number]
            place = tuple(int(i) for i in np.unravel_index(cell, plan.grid.shape))
            frames = [plan.frames[k] for k in plan.grid.cells[cell]]
            raw = [edf.read_roi(info, plan.roi) for info in _selected(frames, params.duplicates)]
            pixels = subtract_background(raw[0] if len(raw) == 1 else np.mean(raw, axis=0), background)
            stored, counts = to_output(pixels, dtype, clip=params.clip)
            counts.saturated = sum(saturated_pixels(frame) for frame in raw)
            total += counts
            array.write_frame(place, stored.T)
            progress.advance()
            check_alarm(comm)
        array.flush()
    return total


def _selected(frames: list[FrameInfo], policy: str) -> list[FrameInfo]:
    """The frames of one position that count: all of them for the mean."""
    return {"first": frames[:1], "last": frames[-1:]}.get(policy, frames)


def _describe(
    params: GetdataParameters,
    plan: Plan,
    counts: PixelCounts,
    background: NDArray[np.float64] | None,
    shape: tuple[int, ...],
) -> dict[str, Any]:
    """Everything needed to know how the array was made."""
    setup, roles = plan.roles.setup, plan.roles
    currents = [f.ring_current_ma for f in plan.frames if f.ring_current_ma is not None]
    missing = np.setdiff1d(np.arange(np.prod(plan.grid.shape)), list(plan.grid.cells))
    return {
        "program": "Recon3D getdata",
        "version": __version__,
        "command": params.command,
        "array": {"shape": list(shape), "dtype": params.dtype, "axes": [*store.AXES, "x", "y"]},
        "datadir": str(Path(params.datadir).resolve()),
        "dataname": params.dataname,
        "roi": asdict(plan.roi),
        "setup": setup.name,
        "motors": {"tilt1": setup.tilt1, "tilt2": setup.tilt2, "omega": setup.omega},
        "motors_found_as": roles.explanation,
        "phi0_deg": roles.phi0_deg,
        "chi0_deg": roles.chi0_deg,
        "tilt_frame": setup.tilt_frame,
        "n_files": len({f.path for f in plan.frames}),
        "n_frames": len(plan.frames),
        "duplicates": params.duplicates,
        "n_duplicates": len(plan.frames) - len(plan.grid.cells),
        "missing_positions": [[int(i) for i in np.unravel_index(m, plan.grid.shape)] for m in missing],
        "clip": params.clip,
        "clipped_low": counts.clipped_low,
        "clipped_high": counts.clipped_high,
        "saturated": counts.saturated,
        "background": {
            "bgdir": params.bgdir,
            "bgname": params.bgname,
            "statistic": params.background,
            "n_frames": len(plan.background),
            "level": None if background is None else float(background.mean()),
        },
        "ring_current_ma": [min(currents), max(currents)] if currents else None,
        "warnings": plan.warnings,
        "files": [Path(f.path).name for f in plan.frames],
    }


def summary(info: dict[str, Any], folder: Path) -> list[str]:
    """What getdata.py prints at the end: the path and what is in it."""
    tilt1, tilt2, omega, width, height = info["array"]["shape"]
    motors = ", ".join(f"{role} {motor}" for role, motor in info["motors"].items())
    background = info["background"]
    level = "none" if background["level"] is None else f"{background['level']:.1f} counts"
    current = info["ring_current_ma"]
    beam = (
        "ring current unknown" if current is None else f"ring current {current[0]:.1f}..{current[1]:.1f} mA"
    )
    clipped = f"{info['clipped_low']} below 0" if info["clip"] else "none below 0"
    return [
        str(folder / store.ARRAY),
        f"array       {tilt1} x {tilt2} tilts x {omega} omegas x {width} x {height} pixels, "
        f"{info['array']['dtype']}",
        f"motors      {motors} (set-up {info['setup']}, tilts fixed in the {info['tilt_frame']})",
        f"frames      {info['n_frames']} from {info['n_files']} files, "
        f"{len(info['missing_positions'])} positions missing, {info['n_duplicates']} duplicates",
        f"background  {level}, {beam}",
        f"pixels      clipped: {clipped}, {info['clipped_high']} above 65535; saturated: {info['saturated']}",
    ]
