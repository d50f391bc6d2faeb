"""Pictures of `projections.Comparison`: images beside projections, intensity and residual per omega."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from ..checks.projections import Comparison, Image, Shown
from ..page.pictures import BLUE, WIDTH
from .pictures import ORANGE, RED

_ROW_HEIGHT = 2.1  # inches
_BRIGHTEST = 99.8  # percentile
_TITLES = ("measured", "projected", "difference")


def draw_images(shown: Sequence[Shown]) -> Figure:
    """Measured, projected and the difference of both, an omega in each row."""
    n_x, n_y = shown[0].measured.shape
    bin_x, bin_y = shown[0].bins
    row = float(np.clip(_ROW_HEIGHT * (n_y * bin_y) / (n_x * bin_x), 0.8, 3.0))
    below, above = 0.9, 0.25
    height = below + above + row * len(shown)
    figure = Figure(figsize=(WIDTH, height))  # laid out by hand: an automatic layout takes far longer
    places = {"left": 0.1, "right": 0.99, "bottom": below / height, "top": 1 - above / height, "wspace": 0.04}
    plots = figure.subplots(1, 3, sharex=True, gridspec_kw=places)
    measured, predicted = (
        np.concatenate([_framed(getattr(pair, name)) for pair in shown], axis=1)
        for name in ("measured", "predicted")
    )
    top = float(max(np.nanpercentile(image, _BRIGHTEST) for image in (measured, predicted)))
    top = top if top > 0 else 1.0
    columns = (
        (measured, "viridis", 0.0),
        (predicted, "viridis", 0.0),
        (measured - predicted, "RdBu_r", -top / 2),
    )
    edges = (-0.5, n_x * bin_x - 0.5, len(shown), 0)
    for plot, (image, cmap, low), title in zip(plots, columns, _TITLES, strict=True):
        drawn = plot.imshow(
            image.T,
            extent=edges,
            cmap=cmap,
            vmin=low,
            vmax=-low or top,
            interpolation="nearest",
            aspect="auto",
        )
        plot.set_title(title, fontsize=9, y=1.0)
        plot.set_xlabel("x (px)")
        plot.set_yticks([])
        plot.locator_params(axis="x", nbins=4)
        plot.spines[:].set_visible(False)
        if plot is not plots[1]:
            left = plot.get_position().x0 + 0.02
            bar = figure.add_axes((left, 0.28 / height, plot.get_position().width - 0.04, 0.07 / height))
            figure.colorbar(drawn, cax=bar, orientation="horizontal", ticks=MaxNLocator(4))
    plots[0].set_yticks(
        np.arange(len(shown)) + 0.5,
        [f"{pair.omega_deg:.4g}°" for pair in shown],
        rotation=90,
        va="center",
    )
    plots[0].tick_params(axis="y", length=0)
    plots[0].set_ylabel("omega")
    return figure


def _framed(image: Image) -> Image:
    """The image (n_x, n_y), y turned upwards, with an empty line at its lower end."""
    turned = image[:, ::-1].copy()
    turned[:, -1:] = np.nan
    return turned


def draw_omegas(found: Comparison) -> Figure:
    """Counts of image and projection at every omega, and what is left unexplained."""
    figure = Figure(figsize=(WIDTH, 4.6))
    places = {"left": 0.13, "right": 0.98, "bottom": 0.11, "top": 0.97, "hspace": 0.1}
    light, rest = figure.subplots(2, 1, sharex=True, gridspec_kw=places)
    light.plot(found.omega_deg, found.measured, ".-", color=BLUE, linewidth=1.2, label="measured")
    light.plot(found.omega_deg, found.predicted, "-", color=ORANGE, linewidth=1.2, label="projected")
    most = float(max(found.measured.max(), found.predicted.max()))
    light.set_ylim(min(0.0, float(found.measured.min())), 1.1 * most if most > 0 else 1.0)
    light.set_ylabel("counts above the dark level")
    light.ticklabel_format(axis="y", style="sci", scilimits=(-3, 5))
    light.legend(frameon=False, ncols=2, loc="lower right")
    percent = 100 * found.residual
    rest.plot(found.omega_deg, percent, ".-", color=BLUE, linewidth=1.2)
    odd = found.standing_out
    if odd.any():
        rest.plot(
            found.omega_deg[odd],
            percent[odd],
            "x",
            color=RED,
            markersize=8,
            label="stands out",
            clip_on=False,
        )
        rest.legend(frameon=False)
    rest.set_ylim(0.0, 105.0 if not (percent < 50).all() else 50.0)
    rest.set_ylabel("unexplained (%)")
    rest.set_xlabel("omega (deg)")
    for plot in (light, rest):
        plot.grid(alpha=0.3)
    return figure
