"""What the files say of their motors beside the numbers: told for those that are used."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..errors import Recon3DError
from ..frames.about import About

_MOST = 3  # entries that are named of many
_MOST_LINES = 6


class Notes:
    """What the units of a scan say; `entry` is the number of the unit of each frame, -1 without notes."""

    def __init__(self, about: Sequence[About] = (), entry: NDArray[np.int64] | None = None) -> None:
        self.about = list(about)
        self.entry = np.zeros(0, dtype=np.int64) if entry is None else entry

    @classmethod
    def joined(cls, parts: Sequence[tuple[list[About], list[int]]]) -> Notes:
        """The notes of consecutive frames as one."""
        about: list[About] = []
        entry = []
        for notes, numbers in parts:
            one = np.array(numbers, dtype=np.int64)
            entry.append(np.where(one < 0, -1, one + len(about)))
            about += notes
        return cls(about, np.concatenate(entry) if entry else None)

    def keep(self, frames: Sequence[int]) -> None:
        """Leave out all frames but these."""
        self.entry = self.entry[list(frames)]

    def why(self, frame: int, motors: Sequence[str]) -> str:
        """Why a frame has no number for one of these motors, as far as its file says."""
        number = int(self.entry[frame]) if frame < self.entry.size else -1
        missing = self.about[number].missing if number >= 0 else {}
        return "; ".join(f"{motor}: {missing[motor]}" for motor in motors if motor in missing)

    def region(self, frame: int) -> str:
        """The part of the detector that a frame shows, as its file says; empty if it does not."""
        number = int(self.entry[frame]) if frame < self.entry.size else -1
        return self.about[number].region if number >= 0 else ""

    def explained(self, error: Recon3DError) -> Recon3DError:
        """An error about a motor, `--role motor`, with what the files hold in the place of its number."""
        motor = str(error.where).rpartition(" ")[2]
        for one in self.about:
            if motor in one.missing:
                return Recon3DError(
                    error.where, f"no number for it in {one.unit} ({one.missing[motor]}); {error.what}"
                )
        return error

    def warnings(self, motors: Sequence[str]) -> list[str]:
        """One line for each thing that has to be said of the motors that are used, with the entries."""
        used = np.unique(self.entry[self.entry >= 0]).tolist()
        said: dict[str, list[str]] = {}
        for number in used:
            one = self.about[number]
            lines = [f"{motor}: {one.remarks[motor]}" for motor in motors if motor in one.remarks]
            for line in (*lines, *one.doubts):
                said.setdefault(line, []).append(one.unit)
        lines = [f"{_named(units)}: {line}" for line, units in said.items()]
        rest = len(lines) - _MOST_LINES
        return lines if rest <= 1 else [*lines[:_MOST_LINES], f"and {rest} more remarks of this kind"]

    def pixel_um(self) -> float | None:
        """The camera's pixel in um, if all units agree on it."""
        sizes = {one.pixel_um for one in self.about}
        return sizes.pop() if len(sizes) == 1 else None


def _named(units: list[str]) -> str:
    first = ", ".join([units[0], *(Path(unit).name for unit in units[1:_MOST])])
    return first + (f" and {len(units) - _MOST} more" if len(units) > _MOST else "")
