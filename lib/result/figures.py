"""Figures for a paper, drawn with matplotlib: slices with a scale bar, the colour key, the cells with walls.

What `grain.plot_slice`, `grain.plot_key` and `grain.plot_cells` do. Nothing here chooses matplotlib's
backend: that is the notebook's or the script's.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from ..cells.surfaces import Surface
from ..errors import Recon3DError
from ..physics.colours import COLOUR_MAPS, cell_rgb, colour_range, orientation_rgb

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Array = NDArray[np.float64]

_WHITE = 255
_INK = "#22303c"


class Grain(Protocol):
    """What is drawn of a `Volume`."""

    @property
    def fields(self) -> Mapping[str, NDArray[Any]]:
        """Arrays (n_x, n_y, n_z) by name."""

    @property
    def mask(self) -> NDArray[np.bool_]:
        """The voxels of the grain."""

    @property
    def axes_um(self) -> tuple[Array, Array, Array]:
        """Centres of the voxels along x, y, z."""

    @property
    def spacing_um(self) -> Array:
        """Sizes of a voxel."""

    def surface(self) -> Surface:
        """The smooth surface of all cells."""


def plot_slice(
    grain: Grain,
    field: str,
    normal: str,
    at_um: float | None,
    axes: Axes | None,
    *,
    unit: str,
    scale_bar: bool,
    walls: bool,
) -> Axes:
    """See `Volume.plot_slice`."""
    cut = _Cut(grain, normal, at_um)
    axes = axes or _new_axes()
    inside = cut.of(grain.mask)
    if field == "orientation":
        center, radius = colour_range(grain.fields["tilt1"], grain.fields["tilt2"], grain.mask)
        rgb = orientation_rgb(cut.of(grain.fields["tilt1"]), cut.of(grain.fields["tilt2"]), center, radius)
        cut.show(axes, np.where(inside[..., None], rgb, _WHITE).astype(np.uint8))
    else:
        values = _field(grain, field)
        limits = _limits(values[grain.mask], COLOUR_MAPS.get(field, "viridis"))
        image = np.ma.masked_invalid(np.where(inside, cut.of(values), np.nan))
        shown = cut.show(axes, image, cmap=COLOUR_MAPS.get(field, "viridis"), vmin=limits[0], vmax=limits[1])
        axes.figure.colorbar(shown, ax=axes, label=f"{field} ({unit})" if unit else field, shrink=0.8)
    if walls:
        cut.draw_walls(axes, grain.surface())
    cut.finish(axes, scale_bar=scale_bar)
    return axes


def plot_key(grain: Grain, axes: Axes | None) -> Axes:
    """See `Volume.plot_key`."""
    axes = axes or _new_axes()
    center, radius = colour_range(grain.fields["tilt1"], grain.fields["tilt2"], grain.mask)
    tilt1, tilt2 = (np.linspace(c - r, c + r, 200) for c, r in zip(center, radius, strict=True))
    rgb = orientation_rgb(tilt1[None, :], tilt2[:, None], center, radius)
    extent = (tilt1[0], tilt1[-1], tilt2[0], tilt2[-1])
    axes.imshow(rgb, origin="lower", extent=extent, aspect=radius[0] / radius[1])
    axes.set_xlabel("tilt1 (deg)")
    axes.set_ylabel("tilt2 (deg)")
    axes.locator_params(nbins=4)
    return axes


def plot_cells(
    grain: Grain,
    normal: str,
    at_um: float | None,
    axes: Axes | None,
    *,
    scale_bar: bool,
    numbers: bool,
) -> Axes:
    """See `Volume.plot_cells`."""
    surface = grain.surface()  # says what is missing where there are no cells
    cut = _Cut(grain, normal, at_um)
    axes = axes or _new_axes()
    labels = cut.of(grain.fields["cell"])
    colours = cell_rgb(int(grain.fields["cell"].max(initial=0)))
    colours[0] = _WHITE
    cut.show(axes, colours[labels])
    cut.draw_walls(axes, surface)
    if numbers:
        for cell in np.unique(labels[labels > 0]).tolist():
            u, v = cut.heart(labels == cell)
            axes.text(u, v, str(cell), ha="center", va="center", fontsize=8, color=_INK)
    cut.finish(axes, scale_bar=scale_bar)
    return axes


class _Cut:
    """A layer of voxels and its place: the axis normal to it, and those to the right and up."""

    def __init__(self, grain: Grain, normal: str, at_um: float | None) -> None:
        if normal not in ("x", "y", "z"):
            raise Recon3DError("normal", f"must be 'x', 'y' or 'z', not {normal!r}")
        self.axis = "xyz".index(normal)
        self.right, self.up = (i for i in range(3) if i != self.axis)
        places = grain.axes_um[self.axis]
        if at_um is None:
            others = tuple(i for i in range(3) if i != self.axis)
            counts = np.count_nonzero(grain.mask, axis=others)
            at_um = float(np.average(places, weights=counts) if counts.any() else places.mean())
        half = grain.spacing_um[self.axis] / 2
        if not places[0] - half <= at_um <= places[-1] + half:
            span = f"{places[0]:.4g} .. {places[-1]:.4g} um"
            raise Recon3DError("at_um", f"{at_um:g} lies outside of the volume, whose {normal} is {span}")
        self.layer = int(np.argmin(np.abs(places - at_um)))
        self.at_um = float(places[self.layer])
        ends = [(a[0] - s / 2, a[-1] + s / 2) for a, s in zip(grain.axes_um, grain.spacing_um, strict=True)]
        self.extent = (*ends[self.right], *ends[self.up])
        self.places = grain.axes_um[self.right], grain.axes_um[self.up]

    def of(self, values: NDArray[Any]) -> NDArray[Any]:
        """The layer of a field, rows upwards."""
        return np.swapaxes(values.take(self.layer, axis=self.axis), 0, 1)

    def show(self, axes: Axes, image: NDArray[Any], **how: Any) -> Any:
        """Draw the layer, (n_up, n_right) or with colours."""
        return axes.imshow(image, origin="lower", extent=self.extent, interpolation="nearest", **how)

    def heart(self, part: NDArray[np.bool_]) -> tuple[float, float]:
        """The place in um deepest inside of a part of the layer."""
        from scipy.ndimage import distance_transform_edt

        depth = distance_transform_edt(np.pad(part, 1))[1:-1, 1:-1]
        row, column = np.unravel_index(np.argmax(depth), part.shape)
        return float(self.places[0][column]), float(self.places[1][row])

    def draw_walls(self, axes: Axes, surface: Surface) -> None:
        """The lines in which the layer's middle cuts the smooth surfaces of the cells."""
        from matplotlib.collections import LineCollection

        ends, inner = crossings(surface, self.axis, self.at_um)
        lines = ends[:, :, [self.right, self.up]]
        for chosen, width in ((~inner, 1.2), (inner, 0.8)):
            axes.add_collection(LineCollection(list(lines[chosen]), colors=_INK, linewidths=width))

    def finish(self, axes: Axes, *, scale_bar: bool) -> None:
        """Axes in micrometres, or a bar of a round length instead."""
        axes.set_aspect("equal")
        if not scale_bar:
            axes.set_xlabel(f"{'xyz'[self.right]} (µm)")
            axes.set_ylabel(f"{'xyz'[self.up]} (µm)")
            return
        axes.set_axis_off()
        left, right, bottom, top = self.extent
        length = round_length((right - left) / 3)
        low = bottom - 0.05 * (top - bottom)
        axes.plot([right - length, right], [low, low], color=_INK, linewidth=3, solid_capstyle="butt")
        text = f"{length:g} µm"
        axes.annotate(
            text, (right - length / 2, low), (0, -4), textcoords="offset points", ha="center", va="top"
        )
        right_up = f"{'xyz'[self.right]} to the right, {'xyz'[self.up]} up"
        names = f"{right_up}, {'xyz'[self.axis]} = {self.at_um:.2f} µm"
        axes.set_title(names, fontsize=8, color=_INK)


def crossings(surface: Surface, axis: int, at_um: float) -> tuple[Array, NDArray[np.bool_]]:
    """Where a plane normal to an axis cuts a surface: ends (n, 2, 3) in um of lines, and which lie inside.

    Each quadrilateral is two triangles; a line lies inside where cells are on both sides.
    """
    a, b, c, d = surface.corners.T
    triangles = np.concatenate([np.stack([a, b, c], axis=1), np.stack([a, c, d], axis=1)])
    inner = np.tile(surface.between[:, 1] > 0, 2)
    above = surface.points_um[:, axis][triangles] > at_um
    cut = above.any(axis=1) & ~above.all(axis=1)
    triangles, above, inner = triangles[cut], above[cut], inner[cut]
    odd = np.argmax(above == (above.sum(axis=1) == 1)[:, None], axis=1)  # the corner alone on its side
    rows = np.arange(len(triangles))
    tip = surface.points_um[triangles[rows, odd]]
    ends = []
    for k in (1, 2):
        other = surface.points_um[triangles[rows, (odd + k) % 3]]
        share = (at_um - tip[:, axis]) / (other[:, axis] - tip[:, axis])
        ends.append(tip + share[:, None] * (other - tip))
    return np.stack(ends, axis=1), inner


def round_length(at_most: float) -> float:
    """The largest of 1, 2, 5 times a power of ten that is no longer."""
    power = 10.0 ** math.floor(math.log10(at_most))
    return max(m * power for m in (1, 2, 5) if m * power <= at_most * (1 + 1e-9))


def _new_axes() -> Axes:
    from matplotlib import pyplot

    _, axes = pyplot.subplots(layout="constrained")
    return axes


def _field(grain: Grain, name: str) -> Array:
    if name not in grain.fields:
        known = ", ".join(["orientation", *sorted(grain.fields)])
        raise Recon3DError("field", f"the grain has no '{name}', but {known}")
    return grain.fields[name].astype(np.float64)


def _limits(values: Array, cmap: str) -> tuple[float, float]:
    """What nearly all values lie between; symmetric for a map that is."""
    known = values[np.isfinite(values)]
    low, high = np.percentile(known, [0.5, 99.5]).tolist() if known.size else (0.0, 1.0)
    if cmap == "RdBu_r":
        low, high = -max(abs(low), abs(high)), max(abs(low), abs(high))
    return low, high if high > low else low + 1.0
