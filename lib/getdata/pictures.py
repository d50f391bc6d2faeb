"""The pictures of getdata.html: each a function of the overview that gives a matplotlib figure."""

from __future__ import annotations

import math

import matplotlib
import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from ..page.skeleton import STYLE
from .overview import HISTOGRAM_EDGES, Overview

Array = NDArray[np.float64]

_WIDTH = 10.5  # inches
_MOST_IN_SHEET = 120
_MOST_IN_MONTAGE = 400
_BEFORE, _AFTER, _MISSING = "#9aa5b1", "#1f5f8b", "#d1495b"
matplotlib.rcParams.update(STYLE)


def _limits(images: Array) -> tuple[float, float]:
    """Grey levels (n_images, ...) from the usual dark to the usual brightest, whatever a few images do."""
    low = np.percentile(images, 5)
    brightest = np.percentile(images.reshape(images.shape[0], -1), 99.8, axis=1)
    return float(low), float(low + max(1.2 * (np.median(brightest) - low), 1e-9))


def _angles(values: Array) -> list[str]:
    """Angles with as many digits as tell them apart.

    >>> _angles(np.array([-0.07, 0.00006, 0.07]))
    ['-0.070', '0.000', '0.070']
    """
    step = np.diff(values).min() if values.size > 1 else 1.0
    digits = int(np.clip(1 - math.floor(math.log10(max(step, 1e-6))), 1, 6))
    return [f"{v + 0.0:.{digits}f}" for v in np.round(values, digits)]


def _extent(axis: Array, n_rows: int) -> tuple[float, float, float, float]:
    half = (axis[-1] - axis[0]) / max(axis.size - 1, 1) / 2 or 0.5
    return float(axis[0] - half), float(axis[-1] + half), n_rows - 0.5, -0.5


def draw_coverage(overview: Overview) -> Figure:
    """Intensity of every frame on the grid of tilt pairs and omega; missing ones in red."""
    table = overview.table()
    n1, n2, n_omega = overview.plan.grid.shape
    tilt1, _, omega = (axis.positions for axis in overview.plan.grid.axes)
    figure = Figure(figsize=(_WIDTH, 3.6), layout="constrained")
    plot = figure.subplots()
    colours = matplotlib.colormaps["viridis"].with_extremes(bad=_MISSING)
    extent = (-0.5, n_omega - 0.5, n1 * n2 - 0.5, -0.5)
    low = float(np.nanmin(table))
    usual = float(np.nanmedian(np.nanmax(table, axis=0, initial=low)))
    high = low + max(1.3 * (usual - low), 1e-9)
    shown = plot.imshow(
        table, aspect="auto", cmap=colours, vmin=low, vmax=high, interpolation="nearest", extent=extent
    )
    for i in range(1, n1):
        plot.axhline(i * n2 - 0.5, color="white", linewidth=0.6)
    _index_ticks(plot.xaxis, np.arange(n_omega), omega, 12)
    _index_ticks(plot.yaxis, np.arange(n1) * n2 + (n2 - 1) / 2, tilt1, 11)
    plot.tick_params(axis="y", length=0)
    plot.set_xlabel("omega (deg)")
    plot.set_ylabel("tilt1 (deg)\nin each band: tilt2, ascending" if n2 > 1 else "tilt1 (deg)")
    for found, marker, name in (
        (overview.bright(), "o", "far brighter than around"),
        (overview.repeated(), "s", "same as another frame"),
    ):
        if found.any():
            pairs, omegas = np.nonzero(found)
            plot.scatter(omegas, pairs, 60, marker=marker, facecolors="none", edgecolors=_MISSING, label=name)
    if plot.collections:
        figure.legend(*plot.get_legend_handles_labels(), loc="outside upper right", ncols=2, frameon=False)
    figure.colorbar(shown, ax=plot, label="mean counts", pad=0.01)
    return figure


def _index_ticks(axis: matplotlib.axis.Axis, places: NDArray[np.generic], values: Array, most: int) -> None:
    """Label places on an axis of numbers with the angles that they stand for."""
    step = -(-len(places) // most)
    axis.set_ticks(places[::step], _angles(values)[::step])


def draw_intensity(overview: Overview) -> Figure:
    """Mean counts per omega before and after normalisation."""
    before, after = overview.intensity_per_omega()
    omega = overview.plan.grid.axes[2].positions
    figure = Figure(figsize=(_WIDTH, 2.8), layout="constrained")
    plot = figure.subplots()
    if np.ptp(overview.factors) > 0:
        plot.plot(omega, before, ".-", color=_BEFORE, label="before normalisation", linewidth=1)
        plot.plot(omega, after, ".-", color=_AFTER, label="after", linewidth=1.4)
        plot.legend(frameon=False)
    else:
        plot.plot(omega, after, ".-", color=_AFTER, linewidth=1.4)
    most = 2.5 * np.nanmedian(after)
    beyond = np.fmax(before, after) > (most if most > 0 else np.inf)
    shown = np.concatenate([v[~beyond & np.isfinite(v)] for v in (before, after)])
    low, high = shown.min(), shown.max()
    plot.set_ylim(min(0.0, low) if low < 0.5 * high else low - 0.2 * (high - low + 1e-9), high * 1.05 + 1e-9)
    if beyond.any():
        off = [angle for angle, b in zip(_angles(omega), beyond, strict=True) if b]
        text = f"off the scale: omega {', '.join(off[:8])}"
        plot.set_title(text, loc="left", fontsize=9, color=_MISSING)
    plot.set_xlabel("omega (deg)")
    plot.set_ylabel("mean counts per pixel")
    plot.grid(alpha=0.3)
    return figure


def draw_histogram(overview: Overview, threshold: float | None) -> Figure:
    """How many pixels have how many counts, and the threshold."""
    counts = overview.histogram[1:]
    edges = np.append(HISTOGRAM_EDGES, 2 * HISTOGRAM_EDGES[-1])
    widths = np.diff(edges)
    figure = Figure(figsize=(_WIDTH, 2.8), layout="constrained")
    plot = figure.subplots()
    share = counts / max(1, overview.histogram.sum()) / widths
    plot.stairs(share, edges, color=_AFTER, fill=True, alpha=0.75)
    plot.set_xscale("log")
    if counts.any():
        plot.set_yscale("log")
    last = np.flatnonzero(counts)[-1] if counts.any() else 0
    plot.set_xlim(1, edges[min(last + 2, edges.size - 1)])
    plot.set_xlabel("counts, as stored")
    plot.set_ylabel("share of pixels per count")
    zeros = overview.histogram[0] / max(1, overview.histogram.sum())
    plot.set_title(f"{zeros:.1%} of the pixels are 0", loc="left", fontsize=9, color="#3b4754")
    if threshold is not None:
        plot.axvline(threshold, color=_MISSING, linestyle="--", label=f"threshold {threshold:g}")
        plot.legend(frameon=False)
    return figure


def draw_montage(overview: Overview) -> Figure:
    """The frames of one omega, tilt1 downwards and tilt2 to the right."""
    n1, n2, _ = overview.plan.grid.shape
    tilt1, tilt2, omega = (axis.positions for axis in overview.plan.grid.axes)
    s1, s2 = (-(-n // math.isqrt(_MOST_IN_MONTAGE)) for n in (n1, n2))
    frames = overview.montage_means().reshape(n1, n2, *overview.montage.shape[1:])[::s1, ::s2]
    title = f"omega = {_angles(omega)[overview.montage_omega]} deg"
    labels = (_angles(tilt1)[::s1], _angles(tilt2)[::s2])
    return _tile(frames, labels, ("tilt1 (deg)", "tilt2 (deg)"), title)


def draw_contact_sheet(overview: Overview) -> Figure:
    """The tilt-summed image of every omega, or of every n-th; one picture, for speed."""
    images, omega = overview.tilt_means(), overview.plan.grid.axes[2].positions
    step = -(-omega.size // _MOST_IN_SHEET)
    images, angles = images[::step], _angles(omega)[::step]
    columns = int(np.clip(len(angles), 6, 12))
    rows = -(-len(angles) // columns)
    height, width = images.shape[1] + 0.02 * images.shape[2], 1.02 * images.shape[2]
    label = 0.16 * images.shape[2]  # room for the angle above each image
    scale = _WIDTH / (columns * width)
    figure = Figure(figsize=(_WIDTH, rows * (height + label) * scale))
    plot = figure.add_axes((0.0, 0.0, 1.0, 1.0))
    low, high = _limits(images)
    for n, (image, angle) in enumerate(zip(images, angles, strict=True)):
        left, top = n % columns * width, n // columns * (height + label) + label
        extent = (left, left + image.shape[1], top + image.shape[0], top)
        plot.imshow(image, cmap="magma", vmin=low, vmax=high, extent=extent, interpolation="nearest")
        middle = left + image.shape[1] / 2
        plot.text(middle, top - 0.2 * label, angle, ha="center", va="bottom", fontsize=7, color="#3b4754")
    plot.set_xlim(0, columns * width)
    plot.set_ylim(rows * (height + label), 0)
    plot.axis("off")
    return figure


def _tile(images: Array, labels: tuple[list[str], list[str]], names: tuple[str, str], title: str) -> Figure:
    """Images (rows, columns, y, x) side by side in one picture with thin lines between them."""
    rows, columns, height, width = images.shape
    low, high = np.percentile(images, (5, 99.8))
    canvas = np.full((rows * (height + 1) - 1, columns * (width + 1) - 1), np.nan)
    for i, j in np.ndindex(rows, columns):
        canvas[i * (height + 1) :, j * (width + 1) :][:height, :width] = images[i, j]
    size = min(8.5, 1.3 * columns + 1.2)
    figure = Figure(
        figsize=(size, min(14.0, (size - 1.0) * canvas.shape[0] / canvas.shape[1] + 0.7)),
        layout="constrained",
    )
    plot = figure.subplots()
    colours = matplotlib.colormaps["magma"].with_extremes(bad="white")
    plot.imshow(canvas, cmap=colours, vmin=low, vmax=max(high, low + 1e-9), interpolation="nearest")
    plot.set_yticks(np.arange(rows) * (height + 1) + height / 2, labels[0])
    plot.set_xticks(
        np.arange(columns) * (width + 1) + width / 2, labels[1], rotation=0 if columns < 14 else 90
    )
    plot.set_ylabel(names[0])
    plot.set_xlabel(names[1])
    plot.tick_params(length=0)
    plot.spines[:].set_visible(False)
    plot.set_title(title, fontsize=10)
    return figure


def draw_sinograms(overview: Overview) -> Figure:
    """Tilt-summed intensity along y and along x against omega: the grain must move on sine curves."""
    omega = overview.plan.grid.axes[2].positions
    figure = Figure(figsize=(_WIDTH, 3.8), layout="constrained")
    for plot, profile, name in zip(
        figure.subplots(1, 2), (overview.profile_x, overview.profile_y), "xy", strict=True
    ):
        image = profile.T
        low, high = _limits(profile)
        extent = _extent(omega, image.shape[0])
        plot.imshow(
            image, aspect="auto", cmap="magma", vmin=low, vmax=high, extent=extent, interpolation="nearest"
        )
        plot.set_xlabel("omega (deg)")
        plot.set_ylabel(f"{name} (pixel of the array)")
        plot.set_title(f"summed along {'y' if name == 'x' else 'x'}", fontsize=10)
    return figure
