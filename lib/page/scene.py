"""The part of report.html that turns: the grain in 3D, cut open by planes, drawn by scene.js with plotly.

The page holds all that it takes, compressed: plotly's script, the surface of the grain, and the numbers of
its voxels. Where a browser cannot draw it, and on paper, a still picture stands in.
"""

from __future__ import annotations

import base64
import json
import math
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from numpy.typing import NDArray

from .pictures import Body
from .solid import Solid, solid

Bytes = NDArray[np.uint8]
Limits = tuple[float, float]
DrawKey = Callable[[Axes], None]  # of little data, like a `Drawing`

_MOST_VOXELS = 104  # along an axis; of larger grains every n-th voxel is shown
_MISSING = 65535
_STEPS = 65534  # of a number between its limits
_SHADES = 400  # steps over the limits of colours: finer than these, and coarse enough to pack well
_LEVEL = 4  # of the compression: twice as fast as the usual 6, a twentieth larger
_UNKNOWN = (228, 232, 236)


@dataclass(frozen=True)
class Numbers:
    """A field (n_x, n_y, n_z) that the page tells of a voxel, NaN where nothing is known."""

    name: str
    unit: str
    values: NDArray[Any]


@dataclass(frozen=True)
class Paint:
    """Colours of the voxels by one field or two: table (n, 3) over the limits, or (n_2, n_1, 3).

    A field of whole numbers 0 .. n - 1 has these as its limits. draw_key draws what the colours mean: a
    plane for two fields, a bar for one.
    """

    title: str
    text: str
    fields: Sequence[Numbers]
    limits: Sequence[Limits]
    table: Bytes
    draw_key: DrawKey | None

    def colours(self, what: Solid) -> Bytes:
        """The colours (n, 3) of the voxels of the grain."""
        place = np.zeros(np.count_nonzero(what.mask), dtype=np.int64)
        known = np.ones(place.shape, dtype=bool)
        sides = self.table.shape[-2::-1]
        for field, (low, high), side in reversed(list(zip(self.fields, self.limits, sides, strict=True))):
            values = what.of(field.values).astype(np.float64)
            known &= np.isfinite(values)
            share = np.clip((values - low) / ((high - low) or 1.0), 0.0, 1.0)
            place = place * side + np.rint((side - 1) * np.where(known, share, 0.0)).astype(np.int64)
        return np.where(known[:, None], self.table.reshape(-1, 3)[place], _UNKNOWN).astype(np.uint8)


def shown(body: Body) -> Solid:
    """The voxels of the grain that the page holds. There must be a grain."""
    return solid(body, _MOST_VOXELS)


def data(what: Solid, paints: Sequence[Paint], told: Sequence[Numbers]) -> tuple[Solid, dict[str, Any]]:
    """What the section holds, the grain and its numbers; small, for it is sent to the rank that makes it.

    told are the fields that the page tells of the voxel under the pointer, besides that of the colour.
    """
    fields = {field.name: field for field in (*told, *(f for paint in paints for f in paint.fields))}
    names = list(fields)
    exact = {field.name for field in told}
    coarse = {p.fields[0].name: np.ptp(p.limits[0]) / _SHADES for p in paints}
    coarse = {name: step for name, step in coarse.items() if name not in exact}
    return what, {
        "told": [names.index(field.name) for field in told],
        "fields": [_field(what, field, coarse.get(field.name, 0.0)) for field in fields.values()],
        "paints": [
            {
                "title": paint.title,
                "text": paint.text,
                "fields": [names.index(field.name) for field in paint.fields],
                "limits": paint.limits,
                "sides": paint.table.shape[-2::-1],
                "table": paint.table,
            }
            for paint in paints
        ],
    }


def section(data: tuple[Solid, dict[str, Any]]) -> str:
    """The section of the page with its data and scripts; hidden until it can draw."""
    what, numbers = data
    body = _body(what)
    steps = body["steps"]
    note = f" Of {steps} voxels in a row one is shown." if steps > 1 else ""
    here = Path(__file__).parent
    scripts = "".join((here / name).read_text(encoding="utf-8") for name in ("cutting.js", "scene.js"))
    text = json.dumps(body | numbers, default=_as_text).replace("<", "\\u003c")
    return (
        '<section id="scene"><h2>The grain in 3D</h2><p>Drag to turn, wheel or two fingers to zoom, right '
        "button to shift. What lies beyond all planes that are switched on is cut away; the colours at a cut "
        f"are those of the voxels there.{note}</p>"
        '<nav class="paints"></nav><p class="about"></p>'
        '<div class="stage"><div class="view"></div><img class="key" alt=""></div>'
        '<p class="told" aria-live="polite">Point at the grain, or tap it, to read off its numbers.</p>'
        f'<div class="cuts">{_cuts()}</div></section>'
        f'<script type="application/json" id="scene-data">{text}</script>'
        f'<script type="text/plain" id="plotly">{_text(_library())}</script>'
        f"<script>{scripts}</script>"
    )


def _cuts() -> str:
    """A switch, a slider and a turn to the other side for each of three planes."""
    return "".join(
        f'<div data-axis="{axis}"><label><input type="checkbox" checked> {name}</label>'
        f'<input type="range" min="0" aria-label="plane {name}"><output></output>'
        f'<button type="button" title="cut away the other side" aria-label="other side of {name}">&#8644;'
        "</button></div>"
        for axis, name in enumerate("xyz")
    )


def _body(what: Solid) -> dict[str, Any]:
    net = what.net()
    return {
        "n": what.mask.shape,
        "start": what.start_um.tolist(),
        "pitch": what.pitch_um.tolist(),
        "steps": max(part.step for part in what.part),
        "mask": what.mask.astype(np.uint8),
        "points": net.points_um.astype("<f4"),
        "corners": net.corners.astype("<u4"),
        "owner": net.owner.astype("<u4"),
    }


def _field(what: Solid, field: Numbers, coarse: float) -> dict[str, Any]:
    """A field as numbers of 16 bits from its lowest value on, each less the one before it, which packs well.

    Their steps are a fifth of the last digit that is told, or coarse.
    """
    values = what.of(field.values).astype(np.float64)
    known = np.isfinite(values)
    low, high = (float(values[known].min()), float(values[known].max())) if known.any() else (0.0, 0.0)
    whole = field.values.dtype.kind in "iu"
    digits = 0 if whole else _digits(high - low)
    step = 1.0 if whole else max((high - low) / _STEPS, 0.2 * 10.0**-digits, float(coarse))
    numbers = np.full(values.shape, _MISSING)
    numbers[known] = np.rint((values[known] - low) / step) if step else 0
    return {
        "name": field.name,
        "unit": field.unit,
        "low": low,
        "step": step,
        "digits": digits,
        "numbers": np.diff(numbers.astype("<u2"), prepend=np.uint16(0)).astype("<u2", copy=False),
    }


def _digits(span: float) -> int:
    """Digits after the point that tell a thousandth of a span."""
    return min(max(3 - math.floor(math.log10(span)), 0), 9) if span > 0.0 else 4


def _as_text(values: NDArray[Any]) -> str:
    return _text(values.tobytes())


def _text(data: bytes) -> str:
    """Bytes, compressed, as letters."""
    return base64.b64encode(zlib.compress(data, _LEVEL)).decode("ascii")


def _library() -> bytes:
    """The script of plotly, which its package brings along; importing that would take a second."""
    found = find_spec("plotly")
    if found is None or not found.submodule_search_locations:
        raise ModuleNotFoundError("plotly is not installed: pip install plotly")
    return (Path(found.submodule_search_locations[0]) / "package_data" / "plotly.min.js").read_bytes()
