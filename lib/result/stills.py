"""Three slices through the middle of the grain, and a fourth plot that explains them: pictures at rest.

Fields may be NaN anywhere, the grain empty and the volume a single layer. What a picture needs of the volume
is taken out of it here, and is little: any rank can draw it.
"""

from __future__ import annotations

from functools import partial
from typing import Any, NamedTuple

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from ..page.pictures import BLUE, WIDTH, Array, Body, Drawing, Mask, draw_key
from ..physics.colours import Span, orientation_rgb
from .pictures import BINS, GREY, NOTHING, OUTSIDE, RED, thin_out

Bars = list[tuple[str, str, Array]]  # label, colour, voxels per bin

_LONGEST_STRIP = 8.0  # a slice longer than this is stretched across
_PLACES = {2: (0, 0), 1: (1, 0), 0: (1, 1)}  # of the slices, by their normal; as in a drawing


class _Slice(NamedTuple):
    """A slice: its normal and where on it, its axes, across and up, with limits, and the grain in it."""

    normal: int
    at_um: float
    axes_um: tuple[Array, Array]
    limits_um: Array
    mask: Mask


def _cuts(body: Body) -> list[tuple[Any, ...]]:
    """Indices of the slices."""
    whole = (slice(None),) * 3
    return [(*whole[:normal], body.middle[normal], *whole[normal + 1 :]) for normal in _PLACES]


def _slices(body: Body) -> list[_Slice]:
    slices = []
    for normal, cut in zip(_PLACES, _cuts(body), strict=True):
        across, up = (i for i in range(3) if i != normal)
        at_um = float(body.axes_um[normal][body.middle[normal]])
        axes = body.axes_um[across], body.axes_um[up]
        slices.append(_Slice(normal, at_um, axes, body.limits_um[[across, up]], body.mask[cut]))
    return slices


def of_orientation(body: Body, tilt1: Array, tilt2: Array, span: Span) -> Drawing:
    """Three slices of the orientation, and its key, which spans a range."""
    tilt1_alone = not np.isfinite(tilt2).any()
    images = []
    for cut in _cuts(body):
        rgb = orientation_rgb(tilt1[cut], tilt2[cut], *span, tilt1_alone=tilt1_alone)
        rgb[~body.mask[cut]] = OUTSIDE
        images.append(rgb)
    return partial(_draw_orientation, _slices(body), images, span if body.mask.any() else None)


def _draw_orientation(slices: list[_Slice], images: list[NDArray[np.uint8]], span: Span | None) -> Figure:
    figure, spare = _draw(slices, images, outline=False)
    if span is not None:
        draw_key(spare, *span)
        spare.set_title("key", fontsize=9, y=1.0)
        spare.locator_params(nbins=5)
    else:
        spare.axis("off")
        spare.text(0.5, 0.5, "no grain", ha="center", va="center", transform=spare.transAxes)
    return figure


def of_field(
    body: Body,
    values: Array,
    name: str,
    *,
    cmap: str,
    limits: tuple[float, float],
    only_grain: bool = False,
    cutoff: float | None = None,
    scale: float = 1.0,
) -> Drawing:
    """Three slices of a field, times scale, with the grain's outline, and the histogram of its values."""
    images = [
        scale * (np.where(body.mask[cut], values[cut], np.nan) if only_grain else values[cut])
        for cut in _cuts(body)
    ]
    bars = _bars(body.mask, values, scale, limits, only_grain)
    return partial(
        _draw_field, _slices(body), images, bars, name, cmap, limits, outline=not only_grain, cutoff=cutoff
    )


def _draw_field(
    slices: list[_Slice],
    images: list[Array],
    bars: Bars,
    name: str,
    cmap: str,
    limits: tuple[float, float],
    *,
    outline: bool,
    cutoff: float | None,
) -> Figure:
    colours = matplotlib.colormaps[cmap].with_extremes(bad=NOTHING)
    low, high = limits
    figure, spare = _draw(slices, images, outline=outline, label=name, cmap=colours, vmin=low, vmax=high)
    _draw_bars(spare, bars, name, limits)
    if cutoff is not None:
        spare.axvline(cutoff, color=RED, linestyle="--", linewidth=1, label=f"cutoff {cutoff:g}")
    if spare.get_legend_handles_labels()[0]:
        spare.legend(frameon=False, fontsize=8)
    return figure


def _draw(
    slices: list[_Slice], images: list[Any], *, outline: bool, label: str = "", **how: Any
) -> tuple[Figure, Axes]:
    """The slices, and the fourth of four plots, empty.

    Laid out by hand, titles too: automatically it takes three times as long.
    """
    figure = Figure(figsize=(WIDTH, 6.4))
    left_edge = 0.225 if label else 0.09
    places = {"left": left_edge, "right": 0.98, "bottom": 0.08, "top": 0.95, "wspace": 0.26, "hspace": 0.3}
    plots = figure.subplots(2, 2, gridspec_kw=places)
    shown: Any = None
    for this, image in zip(slices, images, strict=True):
        (left, right), (bottom, top) = this.limits_um
        ratio = (right - left) / (top - bottom)
        thin = not 1 / _LONGEST_STRIP < ratio < _LONGEST_STRIP
        plot = plots[_PLACES[this.normal]]
        shown = plot.imshow(
            np.swapaxes(image, 0, 1),
            origin="lower",
            extent=(left, right, bottom, top),
            interpolation="nearest",
            aspect="auto" if thin else "equal",
            **how,
        )
        if outline:
            _draw_outline(plot, *this.axes_um, this.mask)
        plot.set_title(f"{'xyz'[this.normal]} = {this.at_um:.4g} µm", fontsize=9, y=1.0)
        across, up = (name for i, name in enumerate("xyz") if i != this.normal)
        plot.set_xlabel(f"{across} (µm)")
        plot.set_ylabel(f"{up} (µm)")
        plot.spines[:].set_visible(False)
        plot.locator_params(nbins=5)
    if label:
        bar = figure.add_axes((0.105, 0.2, 0.018, 0.6))
        figure.colorbar(shown, cax=bar, label=label, ticklocation="left")
        bar.ticklabel_format(axis="y", scilimits=(-3, 4))  # long ones would push the name out of the figure
    return figure, plots[0, 1]


def _draw_outline(plot: Axes, u: Array, v: Array, mask: Mask) -> None:
    """The outline of the grain, white within black, to be seen on any colour."""
    if min(mask.shape) < 2 or mask.all() or not mask.any():
        return
    for colour, width in (("black", 2.2), ("white", 1.0)):
        plot.contour(u, v, mask.T.astype(float), levels=[0.5], colors=colour, linewidths=width)


def _edges(limits: tuple[float, float]) -> Array:
    return np.linspace(*limits, BINS // 2 + 1)


def _bars(mask: Mask, values: Array, scale: float, limits: tuple[float, float], only_grain: bool) -> Bars:
    """Voxels per value, in the grain and outside of it; those beyond the limits at the last bar."""
    inside, some = thin_out(mask.ravel()), scale * thin_out(values.ravel())
    groups = [("grain", inside & np.isfinite(some), BLUE)]
    if not only_grain:
        groups.insert(0, ("not grain, above 0", ~inside & (some > 0), GREY))
    each = values.size / max(1, some.size)
    return [
        (label, colour, each * np.histogram(np.clip(some[where], *limits), _edges(limits))[0])
        for label, where, colour in groups
        if where.any()
    ]


def _draw_bars(plot: Axes, bars: Bars, name: str, limits: tuple[float, float]) -> None:
    for label, colour, counts in bars:
        plot.stairs(counts, _edges(limits), fill=True, alpha=0.75, color=colour, label=label)
    if not bars:
        plot.text(0.5, 0.5, "no values", ha="center", va="center", transform=plot.transAxes)
    plot.set_title("all voxels", fontsize=9, y=1.0)
    plot.set_xlabel(name)
    plot.set_ylabel("voxels")
    plot.ticklabel_format(axis="y", style="sci", scilimits=(-3, 4))
    plot.locator_params(nbins=5)
