"""boundaries.vtp: surfaces as XML PolyData, which ParaView opens."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..cells.surfaces import Surface

_TYPES = {"f4": "Float32", "i4": "Int32", "i8": "Int64"}


def write_surface(path: Path, found: Surface, boundaries: NDArray[Any]) -> None:
    """Write the surface (not atomic: give a temporary name and rename), points in um.

    Every polygon has cell_1, cell_2 (0: outside) and the misorientation of its wall in degrees, NaN outside.
    """
    n = len(found.corners)
    known = {(row["cell_1"], row["cell_2"]): row["misorientation_deg"] for row in boundaries}
    pairs, which = np.unique(found.between, axis=0, return_inverse=True)
    of_pairs = np.array([known.get((a, b), np.nan) for a, b in pairs.tolist()])
    fields = {
        "cell_1": found.between[:, 0].astype("<i4"),
        "cell_2": found.between[:, 1].astype("<i4"),
        "misorientation_deg": of_pairs[which.ravel()].astype("<f4") if n else np.zeros(0, "<f4"),
    }
    parts = [
        '<?xml version="1.0"?>',
        '<VTKFile type="PolyData" version="1.0" byte_order="LittleEndian" header_type="UInt64">',
        f'<PolyData><Piece NumberOfPoints="{len(found.points_um)}" NumberOfPolys="{n}">',
        "<Points>",
        _array("points_um", found.points_um.astype("<f4"), 3),
        "</Points><Polys>",
        _array("connectivity", found.corners.ravel().astype("<i8")),
        _array("offsets", 4 * np.arange(1, n + 1, dtype="<i8")),
        "</Polys><CellData>",
        *(_array(name, values) for name, values in fields.items()),
        "</CellData></Piece></PolyData></VTKFile>",
    ]
    path.write_text("\n".join(parts) + "\n", encoding="ascii")


def _array(name: str, values: NDArray[Any], n_components: int = 1) -> str:
    data = np.ascontiguousarray(values).tobytes()
    text = base64.b64encode(np.array([len(data)], "<u8").tobytes() + data).decode("ascii")
    kind = _TYPES[values.dtype.str[1:]]
    many = f' NumberOfComponents="{n_components}"' if n_components > 1 else ""
    return f'<DataArray type="{kind}" Name="{name}"{many} format="binary">{text}</DataArray>'
