"""Where the frames of a scan were taken, as far as that is known: what `plan` asks about its frames."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np

from ..errors import Recon3DError
from ..frames import edf
from ..frames.catalog import Entry
from ..frames.command import Command, moving_of, of_title
from ..frames.pixels import FrameInfo
from .motor_table import Values, moves
from .motors import ROLES, USUAL, RoleOptions, Roles, Setup
from .notes import Notes
from .strays import far_values
from .table import read_positions

_ARMS = ("obpitch", "obyaw")  # of 2theta
Problem = tuple[str, str]  # where, what


def with_table(
    path: str | None,
    options: RoleOptions,
    frames: Sequence[FrameInfo],
    motors: dict[str, Values],
    problems: Sequence[Problem],
) -> tuple[RoleOptions, dict[str, Values], list[str]]:
    """The roles as the table of --positions gives them, the motors with its angles among them; warnings."""
    if path is None:
        return options, motors, []
    table = read_positions(path)
    counted = [key for key in table.angles if key.isdecimal()]
    if problems and counted:
        raise Recon3DError(
            f"{path}, line {table.lines[counted[0]]}",
            f"counts frames ({counted[0]}), but {problems[0][0]} {problems[0][1]}; give the names of the "
            "files instead of numbers",
        )
    return table.place(frames, motors, options)


def with_command(
    frames: Sequence[FrameInfo], motors: dict[str, Values]
) -> tuple[dict[str, Values], list[str]]:
    """EDF headers that are a snapshot of the start: the motors as the scan command moved them; warnings.

    Only where the command has as many positions as there are frames, in the order of the files; or where
    the files are many such scans one after the other, as zap lines are, and within each no motor moves.
    """
    still = [name for name, values in motors.items() if np.ptp(values) == 0.0]
    if len(frames) < 2 or not still or frames[0].dataset:
        return motors, []
    first = of_title(edf.scan_command(frames[0].path))
    snapshots = [motor for motor in first.sweeps if motor in still] if first else []
    if first is None or not snapshots or len(frames) % first.n_frames or not _counts(motors, first.n_frames):
        return motors, []
    n, n_scans = first.n_frames, len(frames) // first.n_frames
    commands: list[Command | None] = [first]
    if n_scans > 1:
        if n < 2 or not _stands_within(motors, n):
            return motors, []
        commands += [of_title(edf.scan_command(info.path)) for info in frames[n::n]]
    moved, warnings = dict(motors), []
    for motor in snapshots:
        at_start = float(motors[motor][0])
        planned = [_planned(command, motor, n, at_start) for command in commands]
        parts = [values for values in planned if values is not None]
        if len(parts) == n_scans and np.ptp(parts[0]) > 0:
            moved[motor] = np.concatenate(parts)
            scans = "" if n_scans == 1 else f" of each {n} files"
            warnings.append(
                f"{motor} stood still in all {len(frames)} headers; its positions are those of the scan "
                f"command{scans}, in the order of the files"
            )
    return moved, warnings


def moving_roles(frames: Sequence[FrameInfo], entries: Sequence[Entry], setup: Setup) -> list[str] | None:
    """Which of the ROLES have motors that move while a frame is taken; None where the files do not say.

    entries are those of HDF5 files, which have to agree; of EDF files the first frame's header counts.
    """
    said = {moving_of(entry.title, entry.parameters) for entry in entries}
    if frames and not frames[0].dataset:
        said = {moving_of(edf.scan_command(frames[0].path), {})}
    if len(said) != 1 or (moving := said.pop()) is None:
        return None
    motors = {role: getattr(setup, role) for role in ROLES}
    return [role for role, motor in motors.items() if any(f"{motor}_".startswith(f"{m}_") for m in moving)]


def _planned(command: Command | None, motor: str, n_frames: int, at_start: float) -> Values | None:
    """Where a command of so many frames moves a motor; None if it does not."""
    if command is None or command.n_frames != n_frames or motor not in command.sweeps:
        return None
    return command.positions(motor, n_frames, at_start)


def _counts(motors: Mapping[str, Values], n: int) -> bool:
    """Whether point_no, where headers have it, counts the frames of scans of n: else it is another scan's."""
    points = motors.get("point_no")
    if points is None:
        return True
    scans = points.reshape(-1, n)
    return bool((scans - scans[:, :1] == np.arange(n)).all())


def _stands_within(motors: Mapping[str, Values], n: int) -> bool:
    """Whether the motors that a scan may move stand still in each n frames that follow each other."""
    known = [values.reshape(-1, n) for name, values in motors.items() if name in {*USUAL, *_ARMS}]
    return not any(moves(scan) for scans in known for scan in scans)


def other_regions(frames: Sequence[FrameInfo], motors: Mapping[str, Values], notes: Notes) -> dict[int, str]:
    """Frames that show another part of the detector than most, in spite of their size."""
    regions = [notes.region(i) for i in range(len(frames))]
    corners = [key for key in ("col_beg", "row_beg") if key in motors and np.ptp(motors[key]) > 0]
    if corners:
        regions = [", ".join(f"{key} {motors[key][i]:g}" for key in corners) for i in range(len(frames))]
    usual = Counter(regions).most_common(1)[0][0] if regions else ""
    return {
        i: f"shows another region of the detector ({region or 'whole'}) than most frames ({usual or 'whole'})"
        for i, region in enumerate(regions)
        if region != usual
    }


def unknown_places(roles: Roles, notes: Notes) -> dict[int, str]:
    """Frames of which it is not known where they were taken: what is wrong with each."""
    finite = np.isfinite(roles.tilt1) & np.isfinite(roles.tilt2) & np.isfinite(roles.omega)
    motors = roles.setup.motors
    what = f"has no number for one of the motors {', '.join(motors)}"
    found = {}
    for frame in np.flatnonzero(~finite).tolist():
        why = notes.why(frame, motors)
        found[frame] = what + (f" ({why})" if why else "")
    return {**far_values(roles, notes.entry), **found}


def together_alike(problems: Sequence[Problem]) -> list[Problem]:
    """Problems with those of the same kind in the frames of one file or entry counted, not repeated."""
    groups: dict[tuple[str, str], list[str]] = {}
    for where, what in problems:
        groups.setdefault((where.rpartition("[")[0] or where, what), []).append(where)
    return [
        (found[0], what if len(found) == 1 else f"and {len(found) - 1} more frames after it: {what}")
        for (_, what), found in groups.items()
    ]


def why_shared(roles: Roles, claims: Sequence[int]) -> str:
    """What makes frames share a position, if the motors tell."""
    a, b = (float(roles.omega[i]) for i in claims[:2])
    if abs(a - b) > 180:
        return f"omega {a:.6g} and {b:.6g} are one position, whole turns apart; "
    still = [role for role in ROLES if np.ptp(getattr(roles, role)) == 0.0]
    named = [f"{getattr(roles.setup, role)}" for role in still if getattr(roles.setup, role) != "none"]
    if not named:
        return ""
    return (
        f"{', '.join(named)} stood still in all headers: if the scan moved it, they hold a snapshot of its "
        "start, and --positions FILE can say where each frame was; else "
    )
