"""The grain in 3D as a still picture, an eighth of it cut away."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
from matplotlib import rc_context
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from mpl_toolkits.mplot3d.art3d import Poly3DCollection
from numpy.typing import NDArray

from .pictures import WIDTH, Array, Body, Drawing
from .scene import Bytes, DrawKey, Paint
from .solid import Solid, solid

_MOST_VOXELS = 64  # along an axis
_SIDES = (1, -1, 1)  # along x, y, z: where the eighth is that is cut away
_LIGHT = np.array([0.738, -0.42, 0.527])  # nearly the same on all faces of the cut
_VIEW_DEG = (25.0, -48.0)  # elevation, azimuth
_DARK, _BRIGHT = 0.72, 0.5  # of a face in the shade, and what light adds; those of the cut are bright


def cutaway(body: Body, paint: Paint) -> Drawing:
    """The grain in the colours of a field, axes in um. There must be a grain."""
    what = solid(body, _MOST_VOXELS)
    return partial(_draw, what, paint.colours(what), paint.draw_key, plane=len(paint.fields) > 1)


def _draw(what: Solid, of_voxels: Bytes, draw_key: DrawKey | None, *, plane: bool) -> Figure:
    net = what.net(what.mask & ~_eighth(what))
    faces = net.points_um[net.corners]
    normals = np.cross(faces[:, 2] - faces[:, 0], faces[:, 3] - faces[:, 1])
    normals /= np.maximum(np.linalg.norm(normals, axis=1, keepdims=True), 1e-300)
    light = np.minimum(_DARK + _BRIGHT * (normals @ _LIGHT), 1.0)[:, None]
    colours = light * of_voxels[net.owner] / 255.0

    figure = Figure(figsize=(WIDTH, 5.2))
    with rc_context({"grid.color": "#dde3e9", "axes.labelpad": 1.0}):
        axes: Any = figure.add_axes((0.02, -0.02, 0.7 if draw_key else 0.95, 0.98), projection="3d")
    axes.add_collection3d(Poly3DCollection(faces, facecolors=colours, edgecolors=colours, linewidths=0.3))
    _set_axes(axes, what)
    if draw_key:
        key = figure.add_axes((0.79, 0.37, 0.2, 0.27) if plane else (0.75, 0.5, 0.22, 0.03))
        draw_key(key)
        if plane:
            key.locator_params(axis="x", nbins=2)
    return figure


def _eighth(what: Solid) -> NDArray[np.bool_]:
    """The voxels of the box beyond its middle, on the side of the viewer."""
    beyond = np.ones(what.mask.shape, dtype=bool)
    for axis, (n, side) in enumerate(zip(what.mask.shape, _SIDES, strict=True)):
        place = np.arange(n) >= round(n / 2)
        beyond &= (place if side > 0 else ~place).reshape([-1 if i == axis else 1 for i in range(3)])
    return beyond


def _set_axes(axes: Any, what: Solid) -> None:
    """Limits, equal scales, names and the point of view."""
    size: Array = what.pitch_um * what.mask.shape
    for name, low, length in zip("xyz", what.start_um, size, strict=True):
        getattr(axes, f"set_{name}lim")(low, low + length)
        getattr(axes, f"set_{name}label")(f"{name} (um)")
        axis = getattr(axes, f"{name}axis")
        axis.set_pane_color((1.0, 1.0, 1.0, 0.0))
        axis.set_major_locator(MaxNLocator(5))
    axes.set_box_aspect(size, zoom=0.97)
    axes.zaxis.set_ticks_position("lower")  # on the left
    axes.zaxis.set_label_position("lower")
    axes.set_proj_type("ortho")
    axes.view_init(*_VIEW_DEG)
