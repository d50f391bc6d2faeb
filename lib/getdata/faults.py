"""What is said of frames that a file should hold and does not, and of pixels that no detector measured."""

from __future__ import annotations

from collections.abc import Mapping

from ..errors import Recon3DError
from ..frames.pixels import FrameInfo, PixelCounts

_MOST_WARNINGS = 5  # of one kind that are printed one by one


def faults_of(frames: list[FrameInfo]) -> list[tuple[str, str]]:
    """Where, and what is wrong: one problem for all the frames of a unit that have the same fault."""
    numbers: dict[str, list[int]] = {}
    for info in frames:
        if info.fault:
            numbers.setdefault(info.fault, []).append(info.number)
    return [
        (frames[0].unit or frames[0].path, f"{fault} ({_span(these, len(frames))})")
        for fault, these in numbers.items()
    ]


def _span(numbers: list[int], n_all: int) -> str:
    if len(numbers) == 1:
        return f"frame {numbers[0]} of {n_all}"
    return f"{len(numbers)} of {n_all} frames, within {numbers[0]} to {numbers[-1]}"


def cut_off_warnings(cut: Mapping[str, int]) -> list[str]:
    """Of the scans that were cut off: the units, and how many frames each lacks."""
    found = [
        f"{unit}: the last {n} frames were never written (was the scan aborted?); they are not measured"
        for unit, n in list(cut.items())[:_MOST_WARNINGS]
    ]
    if len(cut) > _MOST_WARNINGS:
        rest = list(cut.values())[_MOST_WARNINGS:]
        found.append(f"{len(rest)} more scans were cut off; they lack {sum(rest)} frames")
    return found


def no_counts(frames: list[FrameInfo]) -> Recon3DError:
    """The error of a scan whose frames hold no count in any pixel."""
    return Recon3DError(
        frames[0].name,
        f"holds no count at all (NaN or the largest value in every pixel), nor does any of the {len(frames)} "
        "frames: nothing was measured; give other frames (datadir, dataname) or another region (poi)",
    )


def pixel_warnings(counts: PixelCounts, blank: list[str], lost: list[str], dtype: str) -> list[str]:
    """Of pixels that are no counts; and of frames (by name) that are zero, or no count, in every pixel."""
    found = []
    if lost:
        found.append(
            f"{len(lost)} frames hold no count at all (NaN or the largest value in every pixel), first "
            f"{lost[0]}; they are not measured"
        )
    if counts.unmeasured:
        place = (
            "0 in dataarray.npy, as if they were dark (--dtype float32 keeps them apart)"
            if dtype != "float32"
            else "NaN in dataarray.npy"
        )
        found.append(
            f"{counts.unmeasured} pixels were not measured (detector gaps, dead pixels): they are {place}"
        )
    if blank:
        found.append(
            f"{len(blank)} frames are zero in every pixel, first {blank[0]}: were they never written (an "
            "aborted scan)? They count as measured"
        )
    return found
