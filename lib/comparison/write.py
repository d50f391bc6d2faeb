"""recon3d-compare with two results of one grain: from files to files."""

from __future__ import annotations

from pathlib import Path

from ..parallel.claim import claimed
from ..parallel.communicator import SerialComm
from ..result import labels, volume
from . import page
from .compare import compare, field_of_change, summary

COMPARISON_FILES = ("comparison.html", "comparison.vtkhdf", "comparison.csv")


def run(paths: tuple[Path, Path], folder: Path | None = None) -> tuple[list[str], list[str]]:
    """Compare two files; write COMPARISON_FILES into the folder (default: beside the second).

    Returns the lines to print and the warnings.
    """
    found = compare(volume.read(paths[0]), volume.read(paths[1]))
    folder = paths[1].parent if folder is None else folder
    names = [name for name in COMPARISON_FILES if found.cells is not None or not name.endswith(".csv")]
    parts = {name: folder / f".{name}.part" for name in COMPARISON_FILES}
    lines = {"first": str(paths[0]), "second": str(paths[1]), **summary(found)}
    with claimed(folder / COMPARISON_FILES[-1], SerialComm()):
        try:
            if found.cells is not None:
                labels.write_table(parts["comparison.csv"], found.cells)
            page.write(parts["comparison.html"], found, lines)
            volume.write(parts["comparison.vtkhdf"], field_of_change(found))
            for name in names:
                parts[name].replace(folder / name)
            for name in set(COMPARISON_FILES) - set(names):
                (folder / name).unlink(missing_ok=True)
        finally:
            for part in parts.values():
                part.unlink(missing_ok=True)
    printed = [str(folder / name) for name in names]
    return printed + [f"{label:<12} {text}" for label, text in lines.items()], found.doubts()
