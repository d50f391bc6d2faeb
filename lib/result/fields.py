"""The fields of the grain that report.html shows, each as still slices and for the viewer."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import Normalize, to_rgb
from matplotlib.figure import Figure
from numpy.typing import NDArray

from ..page.pictures import Body, Drawing, draw_key
from ..page.scene import DrawKey, Numbers, Paint
from ..page.viewer import Painted, thinned
from ..physics.colours import COLOUR_MAPS, Span, colour_range, orientation_rgb
from . import pictures, stills
from .pictures import NOTHING, OUTSIDE

Array = NDArray[np.float64]


@dataclass(frozen=True)
class OrientationView:
    """Both tilts (n_x, n_y, n_z) in degrees as one colour."""

    title: str
    text: str
    tilt1: Array
    tilt2: Array

    def still(self, body: Body) -> Drawing:
        """Three slices through the middle, and the key."""
        return stills.of_orientation(body, self.tilt1, self.tilt2, self._span(body))

    def painted(self, body: Body) -> Painted:
        """The voxels that the viewer shows."""
        thin = thinned(body.mask.shape)
        inside = body.mask[thin]
        tilts = self.tilt1[thin][inside], self.tilt2[thin][inside]
        tilt1_alone = not np.isfinite(self.tilt2).any()
        rgb = np.full((*inside.shape, 3), OUTSIDE, dtype=np.uint8)
        rgb[inside] = orientation_rgb(*tilts, *self._span(body), tilt1_alone=tilt1_alone)
        return Painted(self.title, self.text, rgb, None)

    def key(self, body: Body) -> Drawing:
        """What the colours mean."""
        return partial(_key, (3.4, 3.0), (0.22, 0.16, 0.74, 0.74), partial(_draw_plane, self._span(body)))

    def paint(self, body: Body) -> Paint:
        """The colours of the voxels in 3D."""
        span = self._span(body)
        limits = [(c - 2 * r, c + 2 * r) for c, r in zip(*span, strict=True)]
        tilt1, tilt2 = (np.linspace(*ends, 256) for ends in limits)
        table = orientation_rgb(tilt1[None, :], tilt2[:, None], *span)
        both = [Numbers(name, "deg", getattr(self, name)) for name in ("tilt1", "tilt2")]
        return Paint(self.title, self.text, both, limits, table, partial(_draw_plane, span))

    def _span(self, body: Body) -> Span:
        return colour_range(self.tilt1, self.tilt2, body.mask)


@dataclass(frozen=True)
class FieldView:
    """A field (n_x, n_y, n_z) times scale on a colour map between limits; only_grain leaves out the rest."""

    title: str
    text: str
    values: Array
    label: str
    cmap: str
    limits: tuple[float, float]
    only_grain: bool = False
    cutoff: float | None = None
    scale: float = 1.0

    def still(self, body: Body) -> Drawing:
        """Three slices through the middle, and the histogram."""
        return stills.of_field(
            body,
            self.values,
            self.label,
            cmap=self.cmap,
            limits=self.limits,
            only_grain=self.only_grain,
            cutoff=self.cutoff,
            scale=self.scale,
        )

    def painted(self, body: Body) -> Painted:
        """The voxels that the viewer shows; number 0 is where there is nothing."""
        low, high = self.limits
        thin = thinned(body.mask.shape)
        shown = body.mask[thin] if self.only_grain else np.ones(body.mask[thin].shape, dtype=bool)
        values = self.values[thin][shown]
        share = np.clip((self.scale * values - low) / (high - low), 0.0, 1.0)
        numbers = np.zeros(shown.shape, dtype=np.uint8)
        numbers[shown] = np.where(np.isfinite(values), 1.5 + 254.0 * share, 0.0)
        palette = np.vstack([to_rgb(NOTHING), self._colours(255)])
        return Painted(self.title, self.text, numbers, np.rint(255 * palette).astype(np.uint8))

    def key(self, _body: Body) -> Drawing:
        """What the colours mean."""
        return partial(_key, (3.4, 0.75), (0.06, 0.65, 0.88, 0.25), self._bar)

    def paint(self, body: Body) -> Paint:
        """The colours of the voxels in 3D."""
        name, _, unit = self.label.rstrip(")").partition(" (")
        numbers = Numbers(name, unit, self.scale * self.values)
        table = np.rint(255 * self._colours(256)).astype(np.uint8)
        return Paint(self.title, self.text, [numbers], [self.limits], table, self._bar)

    @property
    def _bar(self) -> DrawKey:
        return partial(_draw_bar, self.limits, self.cmap, self.label)

    def _colours(self, n: int) -> Array:
        """The colour map, (n, 3)."""
        return np.asarray(matplotlib.colormaps[self.cmap](np.linspace(0.0, 1.0, n))[:, :3])


def _key(size: tuple[float, float], place: tuple[float, float, float, float], draw: DrawKey) -> Figure:
    """A figure, its size in inches, with nothing but what the colours mean."""
    figure = Figure(figsize=size)
    draw(figure.add_axes(place))
    return figure


def _draw_plane(span: Span, plot: Axes) -> None:
    draw_key(plot, *span)
    plot.locator_params(nbins=5)


def _draw_bar(limits: tuple[float, float], cmap: str, label: str, bar: Axes) -> None:
    scale = matplotlib.cm.ScalarMappable(Normalize(*limits), cmap)
    bar.figure.colorbar(scale, cax=bar, orientation="horizontal", label=label)


# Fields of some scans only: title, text, label, factor.
_MORE_FIELDS: dict[str, tuple[str, str, str, float]] = {
    "strain": (
        "Strain",
        "Axial strain, along the scattering vector: red is stretched, blue is compressed.",
        "strain (1e-4)",
        1e4,
    ),
    "strain_std": (
        "Error of the strain",
        "Standard deviation of the strain.",
        "strain_std (1e-4)",
        1e4,
    ),
    "rocking_offset": (
        "Offset of the rocking curve",
        "The part of the rocking angle that does not turn with omega: strain and the motor's zero together.",
        "rocking_offset (deg)",
        1.0,
    ),
}


def _more_fields(fields: Mapping[str, Array], mask: NDArray[np.bool_]) -> list[FieldView]:
    """The fields that this scan has beyond those of a mosaicity scan."""
    views = []
    for name, (title, text, label, scale) in _MORE_FIELDS.items():
        if name in fields:
            cmap = COLOUR_MAPS[name]
            values = fields[name]
            low, high = pictures.usual_limits(scale * np.abs(values[mask] if mask.any() else values))
            limits = (-high if cmap == "RdBu_r" else low, high)
            view = FieldView(title, text, values, label, cmap, limits, only_grain=True, scale=scale)
            views.append(view)
    return views


def _density(fields: Mapping[str, Array], mask: NDArray[np.bool_]) -> list[FieldView]:
    """The density of dislocations, where both tilts tell of it."""
    if "gnd" not in fields or not np.isfinite(fields["gnd"][mask]).any():
        return []
    return [
        FieldView(
            "Dislocation density",
            "Lower bound of the density of geometrically necessary dislocations, from the slopes of both "
            "tilts: lines are walls, what is even all over is noise. Rotations about the scattering vector "
            "are not seen.",
            fields["gnd"],
            "gnd (1e12 m^-2)",
            COLOUR_MAPS["gnd"],
            pictures.usual_limits(1e-12 * fields["gnd"][mask]),
            only_grain=True,
            scale=1e-12,
        )
    ]


def _varies(values: Array) -> bool:
    """Whether there are several values: a motor that stood still has one."""
    known = values[np.isfinite(values)]
    return bool(known.size and np.ptp(known) > 0.0)


def fields_to_show(
    fields: Mapping[str, Array], mask: NDArray[np.bool_], *, mlem: bool, cutoff: float
) -> list[OrientationView | FieldView]:
    """What the page shows of a result; cutoff is that of the completeness."""

    def usual(name: str) -> tuple[float, float]:
        return pictures.usual_limits(fields[name][mask] if mask.any() else fields[name])

    light = "Density of the grain in counts" if mlem else "Mean counts of all tilts at the voxel's pixel"
    complete = (
        "" if mlem else f" The grain is what reaches the cutoff {cutoff:g} (dashed line in the histogram)."
    )
    spread = "the error of" if mlem else "the spread of the voxel's tilt map along"
    what = "Error" if mlem else "Width"
    views: list[OrientationView | FieldView] = [*_more_fields(fields, mask)]
    if all(_varies(fields[name][mask]) for name in ("tilt1", "tilt2")):
        views.append(
            OrientationView(
                "Orientation",
                "The same colour is the same orientation, to be read off the key, whose axes are the range "
                "in degrees.",
                fields["tilt1"],
                fields["tilt2"],
            )
        )
    views += [
        FieldView(
            "Shape",
            f"{light}, with the outline of the grain (white line): the outline should follow the rim of what "
            "is bright, away from the edges of the volume.",
            fields["intensity"],
            "intensity (counts)",
            COLOUR_MAPS["intensity"],
            usual("intensity"),
        ),
        FieldView(
            "Misorientation",
            "Mean angle between the orientations of a voxel and its neighbours (KAM): lines are boundaries "
            "within the grain, a fine grain all over is noise. Rotations about the scattering vector are "
            "not seen.",
            fields["kam"],
            "kam (deg)",
            COLOUR_MAPS["kam"],
            usual("kam"),
            only_grain=True,
        ),
        *_density(fields, mask),
        FieldView(
            "Completeness",
            "Share of the omegas at which a voxel is lit: near 1 inside of the grain when the geometry is "
            f"right, falling steeply outside.{complete}",
            fields["completeness"],
            "completeness",
            COLOUR_MAPS["completeness"],
            (0.0, 1.0),
            cutoff=None if mlem else cutoff,
        ),
    ]
    for tilt in ("tilt1", "tilt2"):
        text = f"{spread} {tilt}: small where the orientation is well known, large at boundaries."
        name = f"{tilt}_std"
        if not np.isfinite(fields[name]).any():
            continue
        views.append(
            FieldView(
                f"{what} of {tilt}",
                f"{name}, {text}",
                fields[name],
                f"{name} (deg)",
                COLOUR_MAPS[name],
                usual(name),
                only_grain=True,
            )
        )
    return views
