"""Pictures of `projections.Comparison`: images beside projections, intensity and residual per omega."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from .grain_pictures import BLUE, ORANGE, RED, WIDTH
from .projections import Comparison, Shown

_ROW_HEIGHT = 2.1  # inches
_BRIGHTEST = 99.8  # percentile


def draw_images(shown: Sequence[Shown]) -> Figure:
    """Measured, projected and the difference of both, an omega in each row."""
    n_x, n_y = shown[0].measured.shape
    height = float(np.clip(_ROW_HEIGHT * n_y / n_x, 1.0, 3.2))
    figure = Figure(figsize=(WIDTH, 0.5 + height * len(shown)), layout="constrained")
    plots = figure.subplots(len(shown), 3, squeeze=False, sharex=True, sharey=True)
    for row, pair in zip(plots, shown, strict=True):
        top = max(float(np.percentile(image, _BRIGHTEST)) for image in (pair.measured, pair.predicted))
        top = top if top > 0 else 1.0
        difference = pair.measured - pair.predicted
        images = (
            (pair.measured, "viridis", 0.0),
            (pair.predicted, "viridis", 0.0),
            (difference, "RdBu_r", -top),
        )
        edges = (-0.5, n_x * pair.bin - 0.5, -0.5, n_y * pair.bin - 0.5)
        for plot, (image, cmap, low) in zip(row, images, strict=True):
            drawn = plot.imshow(
                image.T, origin="lower", extent=edges, cmap=cmap, vmin=low, vmax=top, interpolation="nearest"
            )
            plot.locator_params(nbins=4)
            if plot is not row[1]:
                figure.colorbar(drawn, ax=plot, shrink=0.9, pad=0.02, ticks=MaxNLocator(4))
        row[0].set_ylabel(f"omega {pair.omega_deg:.4g}°\ny (px)")
    for plot, title in zip(plots[0], ("measured", "projected", "difference"), strict=True):
        plot.set_title(title, fontsize=9)
    for plot in plots[-1]:
        plot.set_xlabel("x (px)")
    return figure


def draw_omegas(found: Comparison) -> Figure:
    """Counts of image and projection at every omega, and what is left unexplained."""
    figure = Figure(figsize=(WIDTH, 4.6), layout="constrained")
    light, rest = figure.subplots(2, 1, sharex=True)
    light.plot(found.omega_deg, found.measured, ".-", color=BLUE, linewidth=1.2, label="measured")
    light.plot(found.omega_deg, found.predicted, "-", color=ORANGE, linewidth=1.2, label="projected")
    most = float(max(found.measured.max(), found.predicted.max()))
    light.set_ylim(min(0.0, float(found.measured.min())), 1.1 * most if most > 0 else 1.0)
    light.set_ylabel("counts above the dark level")
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
