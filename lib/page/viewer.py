"""The part of report.html that moves: slices through the volume with sliders, drawn by viewer.js.

Every field travels as a contact sheet, a PNG picture of all layers of z side by side with the colours
in its palette. Without JavaScript and on paper the still pictures of the middle slices stand in.
"""

from __future__ import annotations

import base64
import io
import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ..page.pictures import Body

Bytes = NDArray[np.uint8]

_MOST_VOXELS = 128  # along an axis; of larger volumes every n-th voxel is shown


@dataclass(frozen=True)
class Painted:
    """A field as colours: rgb (n_x, n_y, n_z, 3), or numbers (n_x, n_y, n_z) into a palette (256, 3).

    Of the voxels that `thinned` chooses.
    """

    title: str
    text: str
    colours: Bytes
    palette: Bytes | None


def thinned(shape: tuple[int, ...]) -> tuple[slice, ...]:
    """The voxels of a volume that the viewer shows."""
    steps = [-(-n // _MOST_VOXELS) for n in shape]
    return tuple(slice(step // 2, None, step) for step in steps)


def data(body: Body, fields: list[Painted]) -> dict[str, Any]:
    """What the section holds; small, for it is sent to the rank that makes the section."""
    thin = thinned(body.mask.shape)
    steps = [part.step for part in thin]
    axes = [axis[part] for axis, part in zip(body.axes_um, thin, strict=True)]
    size_um = np.ptp(body.limits_um, axis=1) / body.mask.shape
    return {
        "n": [axis.size for axis in axes],
        "first": [float(axis[0]) for axis in axes],
        "pitch": (size_um * steps).tolist(),
        "steps": max(steps),
        "start": [min(i // step, a.size - 1) for i, step, a in zip(body.middle, steps, axes, strict=True)],
        "columns": _columns(axes[2].size),
        "mask": _picture(np.where(body.mask[thin], 255, 0).astype(np.uint8), None),
        "fields": [
            {
                "title": field.title,
                "text": field.text,
                "sheet": _picture(field.colours, field.palette),
            }
            for field in fields
        ],
    }


def section(data: dict[str, Any]) -> str:
    """The section of the page with its data and script; hidden until the script runs."""
    steps = data["steps"]
    note = f" Of {steps} voxels in a row one is shown." if steps > 1 else ""
    script = Path(__file__).with_name("viewer.js").read_text(encoding="utf-8")
    volume = json.dumps(data, default=_url).replace("<", "\\u003c")
    return (
        f'<section id="viewer"><h2>Through the volume</h2><p>Move the sliders, or click into a slice. The '
        f'line is the outline of the grain; empty voxels are grey.{note}</p><nav></nav><p class="about"></p>'
        f'<div class="slices">{_slices()}</div></section>'
        f'<script type="application/json" id="volume">{volume}</script><script>{script}</script>'
    )


def _slices() -> str:
    """Three slices and the key, arranged as in a drawing."""
    figures = {
        axis: f'<figure><canvas data-axis="{axis}"></canvas><figcaption><label>{name} <input type="range" '
        f'min="0" data-axis="{axis}"></label><output data-axis="{axis}"></output></figcaption></figure>'
        for axis, name in enumerate("xyz")
    }
    return f'{figures[2]}<figure><img class="key" alt=""></figure>{figures[1]}{figures[0]}'


def _columns(n_layers: int) -> int:
    """Tiles in a row of a contact sheet."""
    return math.ceil(math.sqrt(n_layers))


def _sheet(voxels: Bytes) -> Bytes:
    """The layers of z of (n_x, n_y, n_z, ...) side by side: a picture whose rows are y."""
    n_x, n_y, n_z, *rest = voxels.shape
    columns = _columns(n_z)
    rows = -(-n_z // columns)
    tiles = np.zeros((rows * columns, n_y, n_x, *rest), dtype=np.uint8)
    tiles[:n_z] = voxels.swapaxes(0, 2)
    tiles = tiles.reshape(rows, columns, n_y, n_x, *rest).swapaxes(1, 2)
    return np.ascontiguousarray(tiles).reshape(rows * n_y, columns * n_x, *rest)


def _picture(voxels: Bytes, palette: Bytes | None) -> Image.Image:
    picture = Image.fromarray(_sheet(voxels))
    if palette is not None:
        picture.putpalette(palette.tobytes())
    return picture


def _url(picture: Image.Image) -> str:
    """A picture as data URL; PNG is lossless, so that the script reads the very colours."""
    stream = io.BytesIO()
    picture.save(stream, format="png", compress_level=6)
    return f"data:image/png;base64,{base64.b64encode(stream.getvalue()).decode()}"
