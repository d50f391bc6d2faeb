"""The grain of a result in 3D: what report.html shows and tells of its voxels, and the still picture."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..page import scene
from ..page.cutaway import cutaway
from ..page.pictures import Body, Drawing
from ..page.scene import Numbers, Paint
from ..page.solid import Solid
from ..physics.colours import cell_rgb
from .fields import FieldView, OrientationView

Fields = Mapping[str, NDArray[Any]]
Views = Sequence[OrientationView | FieldView]

STILL_TEXT = (
    "The grain in the colours of its orientation, or of what this scan tells; an eighth is cut away, and the "
    "colours there are those of the voxels inside."
)
_TOLD = {"tilt1": "deg", "tilt2": "deg", "cell": ""}


def data(body: Body, views: Views, fields: Fields) -> tuple[Solid, dict[str, Any]]:
    """What the section of the page that turns holds. There must be a grain."""
    told = [
        Numbers(name, unit, fields[name])
        for name, unit in _TOLD.items()
        if name in fields and np.isfinite(fields[name][body.mask]).any()
    ]
    return scene.data(scene.shown(body), paints(body, views, fields), told)


def still(body: Body, views: Views, fields: Fields) -> Drawing:
    """The picture that stands in for it. There must be a grain."""
    return cutaway(body, paints(body, views, fields)[0])


def paints(body: Body, views: Views, fields: Fields) -> list[Paint]:
    """By what the grain may be coloured: what each view shows inside of the grain, and the cells."""
    of_views = [view.paint(body) for view in views if isinstance(view, OrientationView) or view.only_grain]
    first = next((i for i, paint in enumerate(of_views) if len(paint.fields) == 2), 0)
    return [*of_views[first : first + 1], *_cells(fields), *of_views[:first], *of_views[first + 1 :]]


def _cells(fields: Fields) -> list[Paint]:
    """The cells, each in a colour of its own."""
    if "cell" not in fields:
        return []
    n = int(fields["cell"].max(initial=0))
    what = "one cell" if n == 1 else f"{n} cells, the largest first"
    text = (
        f"Parts of the grain that differ by a step of the orientation: {what}. Colours only tell them apart."
    )
    return [Paint("Cells", text, [Numbers("cell", "", fields["cell"])], [(0, n)], cell_rgb(n), None)]
