"""recon3d-cells: the cells of a result that is there already."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np

from ..errors import Recon3DError
from ..initfile.parse import read_initfile
from ..parallel.claim import claimed
from ..parallel.communicator import SerialComm
from . import volume
from .labels import CELL_FILES, cell_field, summary, write_table
from .polydata import write_surface


def write_beside(grain: volume.Volume, paths: Mapping[str, Path]) -> None:
    """Write what CELL_FILES names (not atomic: give temporary paths by name and rename)."""
    write_table(paths["cells.csv"], grain.cells)
    write_table(paths["boundaries.csv"], grain.boundaries)
    write_surface(paths["boundaries.vtp"], grain.surface(), grain.boundaries)


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
    names = (source.name, *CELL_FILES)
    parts = {name: source.with_name(f".{name}.part") for name in names}
    with claimed(source, SerialComm()):
        try:
            volume.write(parts[source.name], grain)
            write_beside(grain, parts)
            for name, part in parts.items():
                part.replace(source.with_name(name))
        finally:
            for part in parts.values():
                part.unlink(missing_ok=True)
    return [*(str(source.with_name(name)) for name in names), f"cells        {summary(grain.cells)}"]
