"""comparison.html: two results of one grain in one page, with slices that move."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..page import colour_keys, viewer
from ..page.pictures import Body
from ..page.skeleton import facts_list, page, picture_section, warnings_section
from ..page.table import Column, table
from ..result.fields import FieldView, OrientationView
from .compare import Comparison
from .matching import KINDS

Array = NDArray[np.float64]
View = FieldView | OrientationView

_MOST_ROWS = 200
_COLOURS = 20  # of cells
_MIDDLE = "Slices through the middle of the first."


def write(path: Path, found: Comparison, lines: Mapping[str, str]) -> None:
    """Write the page (not atomic: give a temporary name and rename). lines sum the comparison up."""
    first = found.first
    size_um = first.spacing_um * np.array(first.mask.shape)
    limits = np.stack([first.origin_um, first.origin_um + size_um], axis=1)
    body = Body(limits, first.axes_um, first.mask)
    views = _views(found)
    sections = [
        warnings_section(found.doubts(), nothing="The two fit upon each other."),
        f"<section><h2>Result</h2><p>As recon3d-compare prints it.</p>{facts_list(lines)}</section>",
        colour_keys.section({view.title: view.key(body) for view in views}),
        viewer.section(viewer.data(body, [view.painted(body) for view in views])),
        *(
            picture_section(view.title, f"{_MIDDLE} {view.text}", view.still(body)(), kind="still")
            for view in views
        ),
    ]
    if found.cells is not None:
        sections.append(_table(found.cells))
    title = "Two results of one grain"
    path.write_text(page("compare", title, f"{lines['first']} → {lines['second']}", sections), "utf-8")


def _views(found: Comparison) -> list[View]:
    """What is shown, on the voxels of the first."""
    first, views = found.first, list[View]()
    if found.change is not None and found.tilts is not None and found.common_deg is not None:
        size = np.hypot(*found.change)
        common = found.common_deg[:, None, None, None]
        views += [
            FieldView(
                "Change",
                "How far the orientation turned, beyond the rotation that all of the grain has in common. "
                "Rotations about the scattering vector are not seen.",
                size,
                "change (deg)",
                "inferno",
                (0.0, _top(size)),
                only_grain=True,
            ),
            OrientationView(
                "Direction of the change",
                "Colour says in which direction the orientation turned, to be read off the key.",
                found.change[0],
                found.change[1],
            ),
            OrientationView(
                "First", "Orientation in the first.", first.fields["tilt1"], first.fields["tilt2"]
            ),
            OrientationView(
                "Second",
                "Orientation in the second, moved upon the first, less the common rotation.",
                *(found.tilts - common),
            ),
        ]
    views.append(_shapes(found))
    if found.strain_change is not None and np.isfinite(found.strain_change).any():
        top = _top(np.abs(1e4 * found.strain_change))
        views.append(
            FieldView(
                "Change of the strain",
                "Axial strain, along the scattering vector, second less first.",
                found.strain_change,
                "change of strain (1e-4)",
                "RdBu_r",
                (-top, top),
                only_grain=True,
                scale=1e4,
            )
        )
    return views + _cells(found)


def _shapes(found: Comparison) -> FieldView:
    only = np.where(found.mask, 1.0, 0.0) - np.where(found.first.mask, 1.0, 0.0)
    return FieldView(
        "Shapes",
        "Blue: in the first only; red: in the second only, moved upon the first; white: in both.",
        np.where(found.mask | found.first.mask, only, np.nan),
        "second less first",
        "RdBu_r",
        (-1.0, 1.0),
    )


def _cells(found: Comparison) -> list[View]:
    """The cells of both; those of the second in the colour of the one they share most with."""
    if found.cells is None or found.cell is None:
        return []
    partner = np.zeros(int(found.cells["cell_2"].max(initial=0)) + 1, dtype=np.int64)
    for row in np.sort(found.cells, order="overlap_um3"):
        partner[row["cell_2"]] = row["cell_1"]
    partner[0] = 0
    own = found.first.fields["cell"]
    return [
        FieldView(title, text, _coloured(cell), "cell, colours repeat", "tab20", (0.0, _COLOURS - 1.0), True)
        for title, text, cell in (
            ("Cells of the first", "Each in a colour.", own),
            (
                "Cells of the second",
                "In the colour of that cell of the first with which they share most; empty: new.",
                partner[found.cell],
            ),
        )
    ]


def _coloured(cell: NDArray[Any]) -> Array:
    return np.where(cell > 0, (7 * cell) % _COLOURS, np.nan)


def _top(values: Array) -> float:
    """The upper end of a scale: all but the last hundredth."""
    known = values[np.isfinite(values)]
    return max(float(np.percentile(known, 99)), 1e-6) if known.size else 1.0


def _table(rows: NDArray[Any]) -> str:
    """The matched cells, the largest overlaps first."""
    some = rows[np.argsort(-np.nan_to_num(rows["overlap_um3"]), kind="stable")[:_MOST_ROWS]]
    columns = [Column("kind", "", some["kind"].tolist(), [KINDS.index(kind) for kind in some["kind"]])]
    for name in (rows.dtype.names or ())[1:]:
        columns.append(Column(name, "", [_shown(value) for value in some[name].tolist()], some[name]))
    left = f" The first {_MOST_ROWS} of {len(rows)} rows." if len(rows) > _MOST_ROWS else ""
    return (
        '<section class="long"><h2>Cells</h2><p>Which is which, by the volume they share, as in '
        f"comparison.csv; columns: docs/compare.md.{left}</p>{table(columns)}</section>"
    )


def _shown(value: float) -> str:
    return "" if np.isnan(value) or value == 0 else f"{value:.4g}"
