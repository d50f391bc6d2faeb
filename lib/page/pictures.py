"""The volume to draw, slices of a grain beside the truth, and the colour key."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from ..physics.colours import colour_range, orientation_rgb

matplotlib.use("Agg")

Array = NDArray[np.float64]
Mask = NDArray[np.bool_]
Drawing = Callable[[], Figure]  # of little data: what is left to do for a picture, on any rank
Grain = tuple[Array, NDArray[np.bool_]]  # orientation (x, y, z, 2) in degrees, mask (x, y, z)
WIDTH = 7.0  # inches; text stays legible on a telephone
BLUE = "#1f5f8b"
_OUTSIDE = 238  # grey level


@dataclass(frozen=True)
class Body:
    """The volume to draw: limits_um (3, 2) of its edges, axes_um its voxel centres, the mask of the grain."""

    limits_um: Array
    axes_um: tuple[Array, Array, Array]
    mask: Mask

    @cached_property
    def middle(self) -> list[int]:
        """The voxel at the middle of the grain."""
        return middle_voxel(self.mask)


def draw_slices(path: Path, axes_um: list[Array], found: Grain, true: Grain, completeness: Array) -> None:
    """Three orthogonal slices through the middle: orientation found and true, completeness, the key."""
    center, radius = colour_range(true[0][..., 0], true[0][..., 1], true[1])
    figure = Figure(figsize=(12.5, 9.5), layout="constrained")
    plots = figure.subplots(3, 4, width_ratios=[1, 1, 1, 0.8])
    middle = middle_voxel(true[1])
    for row, normal in enumerate((2, 1, 0)):
        cut: list[slice | int] = [slice(None)] * 3
        cut[normal] = middle[normal]
        where = f"{'xyz'[normal]} = {axes_um[normal][middle[normal]]:.1f} um"
        for column, (title, grain) in enumerate((("reconstructed", found), ("truth", true))):
            rgb = orientation_rgb(grain[0][..., 0], grain[0][..., 1], center, radius)
            rgb[~grain[1]] = _OUTSIDE
            _show(plots[row, column], rgb[tuple(cut)], axes_um, normal, f"{title}, {where}")
        shape = _show(
            plots[row, 2], completeness[tuple(cut)], axes_um, normal, "completeness, outline: truth"
        )
        u, v = (axes_um[i] for i in range(3) if i != normal)
        if u.size > 1 and v.size > 1:
            plots[row, 2].contour(u, v, true[1][tuple(cut)].T, levels=[0.5], colors="w", linewidths=1)
        figure.colorbar(shape, ax=plots[row, 2], shrink=0.8)
        plots[row, 3].axis("off")
    key = plots[0, 3]
    key.axis("on")
    draw_key(key, center, radius)
    figure.savefig(path, dpi=100)


def middle_voxel(mask: NDArray[np.bool_]) -> list[int]:
    """The voxel at the middle of the grain, or of the volume where there is none."""
    middle = []
    for axis, n in enumerate(mask.shape):
        others = tuple(i for i in range(3) if i != axis)
        counts = np.count_nonzero(mask, axis=others)
        middle.append(np.average(np.arange(n), weights=counts) if counts.any() else (n - 1) / 2)
    return [int(i) for i in np.rint(middle)]


def _show(plot: Axes, image: NDArray, axes_um: list[Array], normal: int, title: str):  # type: ignore[type-arg, no-untyped-def]
    """One slice with its axes in micrometres; the first remaining axis runs to the right."""
    (name_u, u), (name_v, v) = (
        (name, a) for i, (name, a) in enumerate(zip("xyz", axes_um, strict=True)) if i != normal
    )
    extent = (*_edges(u), *_edges(v))
    shown = plot.imshow(np.swapaxes(image, 0, 1), origin="lower", extent=extent, cmap="viridis")
    plot.set_title(title, fontsize=10)
    plot.set_xlabel(f"{name_u} (um)")
    plot.set_ylabel(f"{name_v} (um)")
    return shown


def _edges(axis: Array) -> tuple[float, float]:
    half = (axis[1] - axis[0]) / 2 if axis.size > 1 else 0.5
    return float(axis[0] - half), float(axis[-1] + half)


def draw_key(plot: Axes, center: tuple[float, float], radius: tuple[float, float]) -> None:
    """The colour key over the range of orientations that it spans."""
    t1 = np.linspace(center[0] - radius[0], center[0] + radius[0], 200)
    t2 = np.linspace(center[1] - radius[1], center[1] + radius[1], 200)
    rgb = orientation_rgb(t1[None, :], t2[:, None], center, radius)
    plot.imshow(rgb, origin="lower", extent=(t1[0], t1[-1], t2[0], t2[-1]), aspect="auto")
    plot.set_title("orientation key", fontsize=10, y=1.0)
    plot.set_xlabel("tilt1 (deg)")
    plot.set_ylabel("tilt2 (deg)")


def draw_dark_level(pattern: Array, omega_deg: Array, level: Array) -> Figure:
    """The dark level of each pixel (n_x, n_y), and of the usual one at each omega (n,), in counts."""
    figure = Figure(figsize=(WIDTH, 2.6), layout="constrained")
    image, curve = figure.subplots(1, 2, width_ratios=[1, 1.3])
    low, high = np.percentile(pattern, [1.0, 99.0])
    shown = image.imshow(pattern.T, origin="lower", cmap="viridis", vmin=low, vmax=max(high, low + 1.0))
    image.set_xlabel("x (px)")
    image.set_ylabel("y (px)")
    figure.colorbar(shown, ax=image, label="counts")
    curve.plot(omega_deg, level, ".-", color=BLUE, markersize=3, linewidth=0.8)
    curve.set_ylim(min(0.0, float(level.min()) * 1.1), max(1.0, float(level.max()) * 1.1))
    curve.set_xlabel("omega (deg)")
    curve.set_ylabel("counts")
    return figure
