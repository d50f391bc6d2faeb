"""recon3d-cells: the cells of a result that is there already."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from ..errors import Recon3DError
from ..initfile.parse import read_initfile
from ..parallel.claim import claimed
from ..parallel.communicator import SerialComm
from . import volume
from .labels import CELL_FILES, cell_field, summary, write_table


def run(source: Path) -> list[str]:
    """Look for the cells of a result; write them into it and beside it, and return the lines to print."""
    if source.suffix != ".vtkhdf":
        source = read_initfile(source)[0].folder / "grain.vtkhdf"
    grain = volume.read(source)
    missing = [name for name in ("tilt1", "tilt2") if not np.isfinite(grain.fields.get(name, np.nan)).any()]
    if missing or grain.attributes.get("scan") == "strain":
        raise Recon3DError(source, "has no map of two tilts; cells are told apart by both")
    grain = replace(
        grain, fields={**grain.fields, **cell_field(grain.fields, grain.mask, grain.parameters.method)}
    )
    paths = [source, *(source.with_name(name) for name in CELL_FILES)]
    parts = [path.with_name(f".{path.name}.part") for path in paths]
    with claimed(source, SerialComm()):
        try:
            volume.write(parts[0], grain)
            write_table(parts[1], grain.cells)
            for part, path in zip(parts, paths, strict=True):
                part.replace(path)
        finally:
            for part in parts:
                part.unlink(missing_ok=True)
    return [*map(str, paths), f"cells        {summary(grain.cells)}"]
