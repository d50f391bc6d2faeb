"""The pictures of report.html that are no slices: each a function of little data, as a matplotlib figure.

What is left to draw, a `Drawing`, is sent to the rank that has time.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from functools import partial
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import PowerNorm
from matplotlib.figure import Figure
from numpy.typing import NDArray

from ..page.pictures import BLUE, WIDTH, Drawing
from ..page.skeleton import STYLE
from ..scan.alignment import Alignment

matplotlib.rcParams.update(STYLE)

Array = NDArray[np.float64]
Mask = NDArray[np.bool_]

RED, ORANGE, GREY = "#d1495b", "#e69f00", "#9aa5b1"
NOTHING, OUTSIDE = "#e4e8ec", 238
_MOST_VALUES = 1 << 18  # of a histogram; larger volumes are thinned out evenly
BINS = 60  # of a histogram


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


def orientations(
    tilt1: Array, tilt2: Array, weight: Array, scanned_deg: tuple[Array, Array] | None
) -> Drawing:
    """How much of the grain has which orientation, and the range that was scanned.

    tilt1, tilt2 in degrees and weight (n_voxels,) are those of voxels inside the grain, of all or some.
    """
    known = np.isfinite(tilt1) & np.isfinite(tilt2) & np.isfinite(weight)
    shares: tuple[Array, Array, Array] | None = None
    if known.any():
        spans = [_span(tilt[known]) for tilt in (tilt1, tilt2)]
        n_bins = int(np.clip(np.sqrt(known.sum()) / 2, 8, BINS))
        shares = np.histogram2d(tilt1[known], tilt2[known], n_bins, spans, weights=weight[known])
    ranges = [(float(axis.min()), float(axis.max())) for axis in scanned_deg or ()]
    return partial(_draw_orientations, shares, ranges)


def _draw_orientations(
    shares: tuple[Array, Array, Array] | None, scanned: list[tuple[float, float]]
) -> Figure:
    """A histogram of both tilts with its edges, if there is any; the ranges of both, where they are known."""
    figure, plot = _one_plot(5.0)
    if shares is not None:
        counts, edges1, edges2 = shares
        counts = np.ma.masked_equal(counts.T / (counts.max() or 1.0), 0.0)
        norm = PowerNorm(0.5, 0.0, 1.0)
        mesh = plot.pcolormesh(edges1, edges2, counts, cmap="viridis", norm=norm, rasterized=True)
        figure.colorbar(mesh, ax=plot, label="share of the fullest spot", pad=0.02)
    else:
        plot.text(0.5, 0.5, "no grain", ha="center", va="center", transform=plot.transAxes)
    if scanned:
        (low1, high1), (low2, high2) = scanned
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
        rest.axhline(0.0, color=GREY, linewidth=1)
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


def correlation(facts: Mapping[str, Any]) -> Drawing:
    """The correlation of two maps against the frequency of their details, of orientations and of shape."""
    curves = {what: facts[f"correlation_of_{what}"] for what in ("orientation", "shape")}
    return partial(
        _draw_correlation, facts["correlation_frequency_per_um"], curves, facts["correlation_cutoff"]
    )


def _draw_correlation(frequency_per_um: Array, curves: Mapping[str, Array], cutoff: float) -> Figure:
    figure = Figure(figsize=(5.2, 3.2))
    axes = figure.add_subplot()
    for (what, curve), color in zip(curves.items(), ("#3b6ea5", "#d9822b"), strict=True):
        axes.plot(frequency_per_um, curve, color=color, label=what)
    axes.axhline(cutoff, color="grey", linestyle="--", linewidth=0.8)
    axes.set(xlabel="frequency (1/um)", ylabel="correlation", ylim=(-0.1, 1.05))
    axes.legend(fontsize=8)
    figure.tight_layout()
    return figure
