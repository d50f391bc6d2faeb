"""Distributions of cells for report.html: sizes, misorientations and spreads, with the fits of papers."""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from ..cells.fits import Chi, LogNormal
from ..page.pictures import BLUE, WIDTH
from . import labels
from .pictures import RED

Array = NDArray[np.float64]

_FEW = 3  # values, which no curve is drawn through
_CURVE = 200


def words(cells: NDArray[Any], boundaries: NDArray[Any]) -> str:
    """The fits in words."""
    size, angle, spread = labels.fits(cells, boundaries)
    of_all = labels.sizes(cells).size == cells.size
    which = "of all cells" if of_all else "of those inside of the grain"
    text = (
        f"{cells.size} cells, {boundaries.size} pairs of neighbours. Left: equivalent diameters, {which}; "
        "middle: misorientations of neighbours, projected; right: spread of the orientations in each cell "
        "(rms). Curves are the fits of greatest likelihood"
    )
    known = [f"log-normal, median {size.median:.3g} um, sigma {size.sigma:.2g}"] if _told(size) else []
    known += [f"chi, k {angle.k:.2g}, scale {angle.scale:.2g} deg"] if _told(angle) else []
    known += (
        [f"log-normal, median {spread.median:.2g} deg, sigma {spread.sigma:.2g}"] if _told(spread) else []
    )
    return f"{text}: {'; '.join(known)}." if known else f"{text}; there are too few."


def _told(fit: LogNormal | Chi) -> bool:
    return bool(np.isfinite(fit).all() and min(fit) > 0.0)


def draw(cells: NDArray[Any], boundaries: NDArray[Any]) -> Figure:
    """Three histograms with their fits."""
    size, angle, spread = labels.fits(cells, boundaries)
    figure = Figure(figsize=(WIDTH, 2.5), layout="constrained")
    shown: tuple[tuple[NDArray[Any], LogNormal | Chi, str], ...] = (
        (labels.sizes(cells), size, "diameter (um)"),
        (boundaries["misorientation_deg"], angle, "misorientation (deg)"),
        (cells["spread_deg"], spread, "spread (deg)"),
    )
    for plot, (values, fit, label) in zip(figure.subplots(1, 3), shown, strict=True):
        _histogram(plot, np.asarray(values, dtype=np.float64), fit)
        plot.set_xlabel(label)
    return figure


def _histogram(plot: Axes, values: Array, fit: LogNormal | Chi) -> None:
    """Numbers in bins from 0 on, and those that the fit expects."""
    if not values.size:
        plot.text(0.5, 0.5, "none", ha="center", va="center", transform=plot.transAxes)
        return
    top = max(float(values.max()) * 1.05, 1e-9)
    n_bins = int(np.clip(2 * np.sqrt(values.size), 5, 40))
    plot.hist(values, bins=n_bins, range=(0.0, top), color=BLUE)
    plot.set_xlim(0.0, top)
    plot.yaxis.set_major_locator(MaxNLocator(integer=True))
    plot.locator_params(axis="x", nbins=5)
    if values.size >= _FEW and _told(fit):
        at = np.linspace(0.0, top, _CURVE)[1:]
        plot.plot(at, fit.density(at) * values.size * top / n_bins, color=RED, linewidth=1.2)
