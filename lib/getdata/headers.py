"""What the headers of a scan say: its frames, their motors, the entries that they are of, what is wrong."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from ..errors import Recon3DError
from ..frames.about import NothingWritten
from ..frames.pixels import FrameInfo
from ..frames.sources import HeaderReader, find_units, unit_name
from ..parallel.communicator import Comm, check_alarm, together
from ..parallel.messages import collect
from ..parallel.partition import block
from ..parallel.progress import Progress
from .belonging import Chosen, Found, gather, own_names
from .faults import faults_of
from .motor_table import MotorTable, concatenate_tables
from .motors import NONE
from .notes import Notes
from .places import Problem, together_alike

Motors = dict[str, NDArray[np.float64]]


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
        for number in numbers:
            self.cut.pop(self.chosen[number].entry.unit, None)
        if numbers:
            self._keep(np.flatnonzero(~np.isin(self.entry_of_frame, list(numbers))).tolist())

    def _keep(self, keep: list[int]) -> None:
        self.frames = [self.frames[i] for i in keep]
        self.motors = {name: values[keep] for name, values in self.motors.items()}
        self.entry_of_frame = self.entry_of_frame[keep]
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


def scan_headers(
    folder: str,
    stem: str,
    comm: Comm,
    label: str,
    *,
    camera: str | None = None,
    motors_needed: bool = True,
    any_motors: bool = False,
    quiet: bool = False,
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
    entries: list[Found] = []
    reader = HeaderReader(camera)
    show = comm.rank == 0 and not quiet
    with together(comm), Progress(label, len(mine), "files", overall=len(units), visible=show) as progress:
        for number in mine:
            n_frames, n_problems, empty = len(frames), len(problems), ""
            try:
                found = reader.read(units[number])
                if any(info.fault for info, _ in found):
                    problems += faults_of([info for info, _ in found])
                of_unit = len(reader.notes) - 1 if len(found) > 1 or reader.notes else -1
                for info, motors in found:
                    if info.n_cut:
                        cut[units[number]] = info.n_cut
                    if info.fault:
                        continue
                    if motors_needed:
                        table.add(motors or {NONE: 0.0} if any_motors else _some(motors, info))
                    frames.append(info)
                    entry.append(of_unit)
            except Recon3DError as error:
                problems.append((error.where, error.what))
                empty = error.what if isinstance(error, NothingWritten) else ""
            about = reader.about(units[number])
            entries.append(Found(about, len(frames) - n_frames, tuple(problems[n_problems:]), empty))
            progress.advance()
            check_alarm(comm)
    parts = collect(comm, (frames, table.arrays(), problems, entries, cut, reader.notes, entry))
    if comm.rank != 0:
        return None
    infos = [info for part in parts for info in part[0]]
    read = [entry for part in parts for entry in part[3]]
    return Scanned(
        infos,
        concatenate_tables([part[1] for part in parts if part[0]]),
        [problem for part in parts for problem in part[2]],
        len(units),
        {unit: n for part in parts for unit, n in part[4].items()},
        Notes.joined([(part[5], part[6]) for part in parts]),
        gather(read, infos, own_names(stem, units)),
        np.repeat(np.arange(len(read)), [found.n_frames for found in read]),
    )
