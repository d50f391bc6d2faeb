"""Which of the chosen entries are the scan, and which are darks, counts and alignment scans between them.

Entries of one kind have the same command, the same scanned motors with the same steps, the same camera
and size of frames. The scan is the kind that moves most of the three angles, first over all its
entries, then within them, then by its number of frames. Pure functions; frames are numbers.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..errors import Recon3DError
from ..frames.command import Outline
from ..frames.names import split_names
from ..frames.pixels import FrameInfo
from .motors import RoleOptions, assign_roles

if TYPE_CHECKING:
    from ..frames.catalog import Entry  # which takes h5py: EDF files do without

Motors = Mapping[str, NDArray[np.float64]]

_STANDS_STILL = 1e-3  # degrees, or whatever the motor's unit is
_UNTOLD = 0.01  # the same where only the motion tells what was scanned: read-back may scatter
_SAME_STEP = 0.02  # relative
_NO_FRAMES = "it holds no frames; was the camera recording?"


class Found(NamedTuple):
    """What was read of a file or entry, None for EDF files: so many frames, and what is wrong (where, what).

    empty says why where its scan was aborted before the first frame.
    """

    entry: Entry | None
    n_frames: int
    problems: tuple[tuple[str, str], ...] = ()
    empty: str = ""


@dataclass(frozen=True)
class Chosen:
    """An entry that dataname takes in, and what its frames told.

    frames are the numbers of its frames; by_name says that the user named this very entry; problems
    are what its reader found wrong (where, what); empty is why its scan has no frame, if it was aborted
    before the first.
    """

    entry: Entry
    by_name: bool
    frames: range
    shape_yx: tuple[int, int] | None = None
    problems: tuple[tuple[str, str], ...] = ()
    empty: str = ""

    @property
    def no_camera(self) -> bool:
        """Whether it never had to do with frames."""
        return not self.frames and not self.entry.cameras and not self.entry.broken


@dataclass(frozen=True)
class Kind:
    """What entries of one scan have in common; shape_yx and camera are None where they are not known."""

    word: str
    motors: tuple[str, ...]
    steps: tuple[float | None, ...]
    shape_yx: tuple[int, int] | None
    camera: str | None

    def misfit(self, scan: Kind, *, by_name: bool = False) -> str | None:
        """Why entries of this kind are not of the scan, None if they are.

        Of an entry that was named by the user, command and steps are the user's business.
        """
        if self.camera and scan.camera and self.camera != scan.camera:
            return f"its frames are those of {self.camera}, not of {scan.camera}"
        if self.shape_yx and scan.shape_yx and self.shape_yx != scan.shape_yx:
            mine, usual = (f"{shape[1]} x {shape[0]}" for shape in (self.shape_yx, scan.shape_yx))
            return f"its frames have {mine} pixels, those of the scan {usual}"
        if set(self.motors) != set(scan.motors):
            return f"it moves {_list(self.motors)}, the scan moves {_list(scan.motors)}"
        if by_name:
            return None
        if self.word != scan.word:
            return (
                f"it is a {self.word or 'scan without a command'}, the scan is made of {scan.word or 'none'}"
            )
        for motor, step in zip(self.motors, self.steps, strict=True):
            usual_step = dict(zip(scan.motors, scan.steps, strict=True))[motor]
            if step is not None and usual_step is not None and not _alike(step, usual_step):
                return f"its steps of {motor} are {step:.6g}, those of the scan {usual_step:.6g}"
        return None


def _alike(one: float, other: float) -> bool:
    return abs(abs(one) - abs(other)) <= _SAME_STEP * max(abs(one), abs(other))


def _list(motors: Sequence[str]) -> str:
    return ", ".join(motors) or "no motor"


@dataclass(frozen=True)
class EntryUse:
    """What became of an entry: used as frames or background, or left out for a reason."""

    entry: str
    title: str
    n_frames: int
    use: str
    left_out: str | None = None
    not_measured: bool = False  # a scan that was aborted before its first frame

    @property
    def warning(self) -> str:
        """A sentence that says why it is left out."""
        if self.not_measured:
            return (
                f"left out {self.entry} ({self.title or 'no title'}), which is not measured: {self.left_out}"
            )
        whose = "the scan" if self.use == "frames" else f"the {self.use}"
        return (
            f"left out {self.entry} ({self.title or 'no title'}), which does not belong to {whose}: "
            f"{self.left_out}"
        )


def gather(read: Sequence[Found], frames: Sequence[FrameInfo], by_name: Sequence[bool]) -> list[Chosen]:
    """The entries with their frames; none of EDF files."""
    chosen, start = [], 0
    for found, named in zip(read, by_name, strict=True):
        if found.entry is not None:
            numbers = range(start, start + found.n_frames)
            shape = frames[start].shape_yx if found.n_frames else None
            chosen.append(Chosen(found.entry, named, numbers, shape, found.problems, found.empty))
        start += found.n_frames
    return chosen


def uses(chosen: Sequence[Chosen], left_out: Mapping[int, str], use: str) -> list[EntryUse]:
    """What became of each of the entries, but for other scans that had no camera anyway."""
    return [
        EntryUse(
            c.entry.unit,
            c.entry.title,
            len(c.frames),
            use,
            left_out.get(i),
            not_measured=bool(c.empty) and left_out.get(i) == c.empty,
        )
        for i, c in enumerate(chosen)
        if not c.no_camera or left_out.get(i) in (None, _NO_FRAMES)
    ]


def own_names(names: str, units: Sequence[str]) -> list[bool]:
    """Of each unit whether the user named it, rather than a range or a pattern or a folder of its likes.

    >>> own_names("1.1,3.1-4.1", ["m.h5::1.1", "m.h5::3.1", "m.h5::4.1"])
    [True, False, False]
    """
    named = set(split_names(names))
    entries = [unit.rpartition("::")[2] for unit in units]
    often = Counter(entries)
    return [entry in named and often[entry] == 1 for entry in entries]


def choose_background(chosen: Sequence[Chosen], scan: Collection[str]) -> dict[int, str]:
    """Which background entries, number -> why, are none; raises Recon3DError where the user named one.

    scan has the units of the scan. Where darks (loopscan, ct: no motor moves) are chosen along with
    scans, the darks are meant.
    """
    still = [i for i, c in enumerate(chosen) if not c.entry.command.motors]
    left_out = {}
    for i, c in enumerate(chosen):
        if c.entry.unit in scan:
            left_out[i] = "it is one of the entries of the scan"
        elif c.entry.command.motors and still:
            left_out[i] = f"it moves {_list(c.entry.command.motors)}, others move no motor"
        elif c.empty and any(len(other.frames) for other in chosen):
            left_out[i] = c.empty
        if i in left_out and c.by_name and not c.empty:
            raise Recon3DError(c.entry.label, f"is no background: {left_out[i]}; take it out of bgname")
    if chosen and len(left_out) == len(chosen):
        raise Recon3DError(
            chosen[0].entry.label, "is no background: it is one of the entries of the scan; change bgname"
        )
    return left_out


def choose_scan(
    chosen: Sequence[Chosen], motors: Motors, options: RoleOptions, camera: str | None, *, skip: bool = False
) -> dict[int, str]:
    """Which entries, number -> why, are not the scan; none of EDF files. motors are those of all frames.

    Raises Recon3DError where it is a draw, or where the user named one of them and not to skip them.
    """
    readable = [i for i, c in enumerate(chosen) if len(c.frames)]
    if not readable:
        return {}
    angles = {options.tilt1, options.tilt2, options.omega}
    kinds = {i: _kind_of(chosen[i], motors, angles, camera) for i in range(len(chosen))}
    groups = _groups(chosen, readable, kinds)
    members = groups[0] if len(groups) == 1 else _likeliest(chosen, groups, motors, options)
    scan, fewest = kinds[members[0]], min(len(chosen[i].frames) for i in members)
    misfits = {i: _misfit(entry, kinds[i], scan, fewest) for i, entry in enumerate(chosen)}
    left_out = {i: why for i, why in misfits.items() if why is not None}
    named = [i for i in left_out if chosen[i].by_name and not chosen[i].empty]
    if named and not skip:
        others = "".join(f"; nor does {chosen[i].entry.label}: {left_out[i]}" for i in named[1:])
        raise Recon3DError(
            chosen[named[0]].entry.label,
            f"does not belong to the scan {_describe(chosen, members)}: {left_out[named[0]]}{others}; take "
            f"{'them' if others else 'it'} out of dataname (--skip-bad does)",
        )
    return left_out


def _likeliest(
    chosen: Sequence[Chosen], groups: list[list[int]], motors: Motors, options: RoleOptions
) -> list[int]:
    """The entries of the kind that is the scan. Raises Recon3DError where it is a draw."""
    ranked = sorted(
        ((*_angles_moved(chosen, members, motors, options), _n_frames(chosen, members)), members)
        for members in groups
    )
    (second, others), (best, members) = ranked[-2:]
    if second == best:
        one, other = (chosen[m[0]].entry.label for m in (others, members))
        raise Recon3DError(
            one,
            f"is as likely the scan as {other}, and both cannot be; name the entries of one of them, one by "
            "one or as title:PATTERN",
        )
    return members


def _describe(chosen: Sequence[Chosen], members: list[int]) -> str:
    first, n_more = chosen[members[0]].entry, len(members) - 1
    more = f" and {n_more} more" if n_more else ""
    return f"({first.name}{more}: {first.title or 'no title'})"


def _misfit(chosen: Chosen, kind: Kind, scan: Kind, fewest: int) -> str | None:
    """Why an entry is left out, None if it is not; fewest is how many frames one of the scan has at least."""
    if not len(chosen.frames):
        return _misfit_of_unreadable(chosen, kind, scan)
    untold = not chosen.entry.command.motors  # an aborted scan has moved fewer motors than it would have
    if untold and 0 < len(set(kind.motors) & set(scan.motors)) == len(kind.motors) < len(scan.motors):
        kind = replace(kind, motors=scan.motors, steps=scan.steps) if len(chosen.frames) < fewest else kind
    return kind.misfit(scan, by_name=chosen.by_name)


def _misfit_of_unreadable(chosen: Chosen, kind: Kind, scan: Kind) -> str | None:
    """The same of an entry that has a problem, which stays unless it says that it matters less."""
    if chosen.empty:
        known = kind.word and kind.motors and not chosen.by_name
        return (kind.misfit(scan) if known else None) or chosen.empty
    if chosen.by_name:
        return None
    why = kind.misfit(scan)
    if kind.camera and scan.camera and kind.camera != scan.camera:
        return why
    if not kind.word:
        return None
    if kind.word == scan.word and not kind.motors:  # the title says no more than that it is of this kind
        why = None
    if why is None and chosen.no_camera:
        return _NO_FRAMES
    return why if len(kind.motors) < len(scan.motors) or chosen.no_camera else None


def _kind_of(chosen: Chosen, motors: Motors, angles: Collection[str | None], camera: str | None) -> Kind:
    entry, command, cameras = chosen.entry, chosen.entry.command, chosen.entry.cameras
    if not command.motors:  # what moved says more than the title
        known = [name for name in motors if name in entry.motors or name in angles or not entry.motors]
        moving = [name for name in known if moves(motors[name][_slice(chosen.frames)], _UNTOLD)]
        command = Outline(command.word, tuple(sorted(moving)), (None,) * len(moving))
    name = camera if camera in cameras else next(iter(cameras), None)
    if camera is None and len(cameras) > 1:
        name = None  # its reader asks which
    return Kind(command.word, command.motors, command.steps, chosen.shape_yx, name)


def _slice(frames: range) -> slice:
    return slice(frames.start, frames.stop)


def moves(values: NDArray[np.float64], still: float = _STANDS_STILL) -> bool:
    """Whether read-back values (n,) are more than one place."""
    known = values[np.isfinite(values)]
    return bool(known.size and np.ptp(known) > still)


def _groups(chosen: Sequence[Chosen], readable: list[int], kinds: Mapping[int, Kind]) -> list[list[int]]:
    """The entries of each kind together."""
    groups: list[list[int]] = []
    for i in readable:
        for group in groups:
            named = chosen[i].by_name and chosen[group[0]].by_name
            if kinds[i].misfit(kinds[group[0]], by_name=named) is None:
                group.append(i)
                break
        else:
            groups.append([i])
    return groups


def _n_frames(chosen: Sequence[Chosen], members: list[int]) -> int:
    return sum(len(chosen[i].frames) for i in members)


def _angles_moved(
    chosen: Sequence[Chosen], members: list[int], motors: Motors, options: RoleOptions
) -> tuple[int, int]:
    """How many of the three angles move over all entries of a kind, and within one of them."""
    parts = [np.arange(chosen[i].frames.start, chosen[i].frames.stop) for i in members]
    frames = np.concatenate(parts)
    table = {name: values[frames] for name, values in motors.items() if np.isfinite(values[frames]).any()}
    try:
        roles = assign_roles(table, options, allow_gaps=True)
    except Recon3DError:
        return 0, 0
    angles = (roles.tilt1, roles.tilt2, roles.omega)
    ends = np.cumsum([part.size for part in parts])[:-1]
    within = sum(any(moves(part) for part in np.split(angle, ends)) for angle in angles)
    return sum(moves(angle) for angle in angles), within
