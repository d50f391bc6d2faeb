"""The pictures of report.html: each a function of the result that gives a matplotlib figure.

Fields may be NaN anywhere, the grain empty and the volume a single layer.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import PowerNorm
from matplotlib.figure import Figure
from numpy.typing import NDArray

from ..page.pictures import BLUE, WIDTH, Body, draw_key
from ..page.skeleton import STYLE
from ..physics.colours import colour_range, orientation_rgb
from ..scan.alignment import Alignment

matplotlib.rcParams.update(STYLE)

Array = NDArray[np.float64]
Mask = NDArray[np.bool_]

RED, ORANGE, _GREY = "#d1495b", "#e69f00", "#9aa5b1"
NOTHING, OUTSIDE = "#e4e8ec", 238
_MOST_VALUES = 1 << 20  # of a histogram; larger volumes are thinned out evenly
_LONGEST_STRIP = 8.0  # a slice longer than this is stretched across
_PLACES = {2: (0, 0), 1: (1, 0), 0: (1, 1)}  # of the slices, by their normal; as in a drawing
_BINS = 60  # of a histogram


def draw_orientation(body: Body, tilt1: Array, tilt2: Array) -> Figure:
    """Three slices of the orientation, and its key."""
    center, radius = colour_range(tilt1, tilt2, body.mask)
    tilt1_alone = not np.isfinite(tilt2).any()

    def colours(cut: tuple[Any, ...]) -> NDArray[np.uint8]:
        rgb = orientation_rgb(tilt1[cut], tilt2[cut], center, radius, tilt1_alone=tilt1_alone)
        rgb[~body.mask[cut]] = OUTSIDE
        return rgb

    figure, spare = _slices(body, colours, outline=False)
    if body.mask.any():
        draw_key(spare, center, radius)
        spare.set_title("key", fontsize=9, y=1.0)
        spare.locator_params(nbins=5)
    else:
        spare.axis("off")
        spare.text(0.5, 0.5, "no grain", ha="center", va="center", transform=spare.transAxes)
    return figure


def draw_field(
    body: Body,
    values: Array,
    name: str,
    *,
    cmap: str,
    limits: tuple[float, float],
    only_grain: bool = False,
    cutoff: float | None = None,
    scale: float = 1.0,
) -> Figure:
    """Three slices of a field, times scale, with the grain's outline, and the histogram of its values."""
    low, high = limits
    colours = matplotlib.colormaps[cmap].with_extremes(bad=NOTHING)

    def shown(cut: tuple[Any, ...]) -> Array:
        return scale * (np.where(body.mask[cut], values[cut], np.nan) if only_grain else values[cut])

    figure, spare = _slices(
        body, shown, outline=not only_grain, label=name, cmap=colours, vmin=low, vmax=high
    )
    size, mask = values.size, thin_out(body.mask.ravel())
    _draw_histogram(spare, mask, scale * thin_out(values.ravel()), size, name, (low, high), only_grain)
    if cutoff is not None:
        spare.axvline(cutoff, color=RED, linestyle="--", linewidth=1, label=f"cutoff {cutoff:g}")
    if spare.get_legend_handles_labels()[0]:
        spare.legend(frameon=False, fontsize=8)
    return figure


def _slices(
    body: Body,
    image: Callable[[tuple[Any, ...]], NDArray[Any]],
    *,
    outline: bool,
    label: str = "",
    **how: Any,
) -> tuple[Figure, Axes]:
    """Three slices through the middle of the grain, and the fourth of four plots, empty."""
    figure = Figure(
        figsize=(WIDTH, 6.4)
    )  # laid out by hand, titles too: automatically it takes three times as long
    left_edge = 0.21 if label else 0.09
    places = {"left": left_edge, "right": 0.98, "bottom": 0.08, "top": 0.95, "wspace": 0.26, "hspace": 0.3}
    plots = figure.subplots(2, 2, gridspec_kw=places)
    shown: Any = None
    for normal, place in _PLACES.items():
        cut: list[slice | int] = [slice(None)] * 3
        cut[normal] = body.middle[normal]
        across, up = (i for i in range(3) if i != normal)
        (left, right), (bottom, top) = body.limits_um[across], body.limits_um[up]
        ratio = (right - left) / (top - bottom)
        thin = not 1 / _LONGEST_STRIP < ratio < _LONGEST_STRIP
        plot = plots[place]
        shown = plot.imshow(
            np.swapaxes(image(tuple(cut)), 0, 1),
            origin="lower",
            extent=(left, right, bottom, top),
            interpolation="nearest",
            aspect="auto" if thin else "equal",
            **how,
        )
        if outline:
            _draw_outline(plot, body.axes_um[across], body.axes_um[up], body.mask[tuple(cut)])
        at_um = body.axes_um[normal][body.middle[normal]]
        plot.set_title(f"{'xyz'[normal]} = {at_um:.4g} µm", fontsize=9, y=1.0)
        plot.set_xlabel(f"{'xyz'[across]} (µm)")
        plot.set_ylabel(f"{'xyz'[up]} (µm)")
        plot.spines[:].set_visible(False)
        plot.locator_params(nbins=5)
    if label:
        bar = figure.add_axes((0.09, 0.2, 0.018, 0.6))
        figure.colorbar(shown, cax=bar, label=label, ticklocation="left")
    return figure, plots[0, 1]


def _draw_outline(plot: Axes, u: Array, v: Array, mask: Mask) -> None:
    """The outline of the grain, white within black, to be seen on any colour."""
    if min(mask.shape) < 2 or mask.all() or not mask.any():
        return
    for colour, width in (("black", 2.2), ("white", 1.0)):
        plot.contour(u, v, mask.T.astype(float), levels=[0.5], colors=colour, linewidths=width)


def usual_limits(values: Array) -> tuple[float, float]:
    """From 0 to what few values exceed."""
    known = thin_out(values[np.isfinite(values)])
    high = float(np.percentile(known, 99.5)) if known.size else 0.0
    return 0.0, high if high > 0 else 1.0


def thin_out(values: NDArray[Any]) -> NDArray[Any]:
    """Every n-th of the values, so that a large volume takes no longer.

    n has no divisor in common with the number of values, else it could be those of a few layers. A view.
    """
    n = max(1, -(-values.size // _MOST_VALUES))
    while values.size and math.gcd(n, values.size) > 1:
        n += 1
    return values[::n]


def _draw_histogram(
    plot: Axes,
    inside: Mask,
    some: Array,
    n_voxels: int,
    name: str,
    limits: tuple[float, float],
    only_grain: bool,
) -> None:
    """Voxels per value, in the grain and outside of it; those beyond the limits at the last bar.

    `some` are the values of a part of all n_voxels, `inside` those of them that are in the grain.
    """
    edges = np.linspace(*limits, _BINS // 2 + 1)
    scale = n_voxels / max(1, some.size)
    groups = [("grain", inside & np.isfinite(some), BLUE)]
    if not only_grain:
        groups.insert(0, ("not grain, above 0", ~inside & (some > 0), _GREY))
    drawn = False
    for label, where, colour in groups:
        if where.any():
            counts = np.histogram(np.clip(some[where], *limits), edges)[0] * scale
            plot.stairs(counts, edges, fill=True, alpha=0.75, color=colour, label=label)
            drawn = True
    if not drawn:
        plot.text(0.5, 0.5, "no values", ha="center", va="center", transform=plot.transAxes)
    plot.set_title("all voxels", fontsize=9, y=1.0)
    plot.set_xlabel(name)
    plot.set_ylabel("voxels")
    plot.ticklabel_format(axis="y", style="sci", scilimits=(-3, 4))
    plot.locator_params(nbins=5)


def draw_orientations(
    tilt1: Array, tilt2: Array, weight: Array, scanned_deg: tuple[Array, Array] | None
) -> Figure:
    """How much of the grain has which orientation, and the range that was scanned.

    tilt1, tilt2 in degrees and weight (n_voxels,) are those of voxels inside the grain, of all or some.
    """
    figure, plot = _one_plot(5.0)
    known = np.isfinite(tilt1) & np.isfinite(tilt2) & np.isfinite(weight)
    if known.any():
        spans = [_span(tilt[known]) for tilt in (tilt1, tilt2)]
        n_bins = int(np.clip(np.sqrt(known.sum()) / 2, 8, _BINS))
        counts, edges1, edges2 = np.histogram2d(
            tilt1[known], tilt2[known], n_bins, spans, weights=weight[known]
        )
        counts /= counts.max() or 1.0
        norm = PowerNorm(0.5, 0.0, 1.0)
        mesh = plot.pcolormesh(
            edges1, edges2, np.ma.masked_equal(counts.T, 0.0), cmap="viridis", norm=norm, rasterized=True
        )
        figure.colorbar(mesh, ax=plot, label="share of the fullest spot", pad=0.02)
    else:
        plot.text(0.5, 0.5, "no grain", ha="center", va="center", transform=plot.transAxes)
    if scanned_deg is not None:
        (low1, high1), (low2, high2) = ((float(a.min()), float(a.max())) for a in scanned_deg)
        corners = [low1, high1, high1, low1, low1], [low2, low2, high2, high2, low2]
        plot.plot(*corners, color=RED, linestyle="--", linewidth=1, label="scanned range")
        plot.legend(frameon=False, loc="upper left", bbox_to_anchor=(0, 1.09))
    plot.set_xlabel("tilt1 (deg)")
    plot.set_ylabel("tilt2 (deg)")
    plot.ticklabel_format(useOffset=False)
    plot.locator_params(nbins=6)
    plot.grid(alpha=0.25)
    return figure


def _one_plot(height: float) -> tuple[Figure, Axes]:
    """A figure with one plot, laid out by hand."""
    figure = Figure(figsize=(WIDTH, height))
    inch = 1.0 / height
    places = {"left": 0.12, "right": 0.97, "bottom": 0.52 * inch, "top": 1.0 - 0.3 * inch}
    return figure, figure.subplots(gridspec_kw=places)


def _span(values: Array) -> tuple[float, float]:
    low, high = float(values.min()), float(values.max())
    margin = max(0.03 * (high - low), 1e-4)
    return low - margin, high + margin


def draw_factors(omega_deg: Array, factors: Array) -> Figure:
    """The brightness (n,) of each omega."""
    figure = Figure(figsize=(WIDTH, 2.4), layout="constrained")
    plot = figure.subplots()
    plot.plot(omega_deg, factors, ".-", color=BLUE, markersize=3, linewidth=0.8)
    plot.set_ylim(0.0, 1.1 * max(1.0, float(factors.max())))
    plot.set_xlabel("omega (deg)")
    plot.set_ylabel("brightness")
    plot.grid(alpha=0.3)
    return figure


def draw_misfit(misfits: list[float]) -> Figure:
    """The misfit of each iteration."""
    figure, plot = _one_plot(3.0)
    plot.plot(np.arange(1, len(misfits) + 1), misfits, "o-", color=BLUE, linewidth=1.4, markersize=4)
    plot.axhline(1.0, color=RED, linestyle="--", linewidth=1, label="noise alone")
    plot.set_ylim(0.0, 1.1 * max(1.0, *misfits))
    plot.set_xticks(np.unique(np.linspace(1, max(len(misfits), 2), 10).astype(int)))
    plot.set_xlabel("iteration")
    plot.set_ylabel("misfit")
    plot.legend(frameon=False)
    plot.grid(alpha=0.3)
    return figure


def draw_alignment(omega_deg: Array, found: Alignment, px_per_um: float) -> Figure:
    """The path of the grain's centroid, measured and fitted, above what the fit leaves over."""
    figure = Figure(figsize=(WIDTH, 5.6))
    places = {"left": 0.11, "right": 0.98, "bottom": 0.09, "top": 0.89, "wspace": 0.2, "hspace": 0.1}
    plots = figure.subplots(2, 2, sharex=True, height_ratios=(2, 1), gridspec_kw=places)
    fitted = found.centroid_px - found.residual_px
    for column, name in enumerate("xy"):
        path, rest = plots[0, column], plots[1, column]
        path.plot(omega_deg, found.centroid_px[:, column], ".", color=BLUE, label="measured")
        path.plot(omega_deg, fitted[:, column], "-", color=ORANGE, linewidth=1.2, label="fitted")
        _mark(path, omega_deg, found.centroid_px[:, column], ~found.trusted)
        path.set_title(f"{name} of the centroid", fontsize=9, y=1.0)
        rest.axhline(0.0, color=_GREY, linewidth=1)
        rest.plot(omega_deg, found.residual_px[:, column], ".-", color=BLUE, linewidth=0.8)
        _mark(rest, omega_deg, found.residual_px[:, column], ~found.trusted)
        rest.set_xlabel("omega (deg)")
        for plot in (path, rest):
            plot.grid(alpha=0.3)
            plot.ticklabel_format(axis="y", useOffset=False)
            plot.locator_params(nbins=5)
    plots[0, 0].set_ylabel("pixel of the array")
    plots[1, 0].set_ylabel(f"left over (px)\n1 px = {1 / px_per_um:.3g} µm")
    figure.legend(*plots[0, 0].get_legend_handles_labels(), frameon=False, loc="upper center", ncols=3)
    return figure


def _mark(plot: Axes, omega_deg: Array, values: Array, odd: Mask) -> None:
    """Cross out what the fit took no account of."""
    if (odd & np.isfinite(values)).any():
        plot.plot(omega_deg[odd], values[odd], "x", color=RED, markersize=7, label="left out of the fit")


def draw_correlation(facts: Mapping[str, Any]) -> Figure:
    """The correlation of two maps against the frequency of their details, of orientations and of shape."""
    figure = Figure(figsize=(5.2, 3.2))
    axes = figure.add_subplot()
    for what, color in (("orientation", "#3b6ea5"), ("shape", "#d9822b")):
        correlation = facts[f"correlation_of_{what}"]
        axes.plot(facts["correlation_frequency_per_um"], correlation, color=color, label=what)
    axes.axhline(facts["correlation_cutoff"], color="grey", linestyle="--", linewidth=0.8)
    axes.set(xlabel="frequency (1/um)", ylabel="correlation", ylim=(-0.1, 1.05))
    axes.legend(fontsize=8)
    figure.tight_layout()
    return figure
