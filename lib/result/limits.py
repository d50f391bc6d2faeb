"""What no scan of one reflection can say, for the report and the attributes of the result."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from numpy.typing import NDArray

from ..page.pictures import Drawing
from ..scan.setting import Setting

Array = NDArray[np.float64]

_SEEN, _UNSEEN = "#3b6ea5", "#d9822b"


def facts(setting: Setting) -> dict[str, Any]:
    """For the attributes of the result; angles in degrees.

    Views lie 90 - theta from the rotation axis, so that all waves within theta of it are missing; an omega is
    as good as the one half a turn away only as far as that cone is small.
    """
    return {
        "missing_cone_half_angle_deg": float(np.degrees(setting.params.geometry().theta_rad)),
        "largest_omega_gap_deg": omega_gap_deg(setting.measurement.omega_deg),
        "kam_is_projected": 1,
        "rotation_about_scattering_vector_known": 0,
        "position_along_axis_known": 0,
    }


def omega_gap_deg(omega_deg: Array) -> float:
    """The largest range of omegas in which nothing was measured, those half a turn away counted as well."""
    ordered = np.sort(np.mod(omega_deg, 180.0))
    return float(np.diff(ordered, append=ordered[0] + 180.0).max())


def points(setting: Setting) -> list[str]:
    """What cannot be known, in plain words."""
    params = setting.params
    theta = np.degrees(params.geometry().theta_rad)
    gap = omega_gap_deg(setting.measurement.omega_deg)
    return [
        "A rotation of the lattice about the scattering vector moves no peak: it is not seen, and "
        "misorientations (KAM) are projected, smaller than the true ones.",
        f"Every view is {90.0 - theta:.1f} deg from the rotation axis: detail along the axis, within "
        f"{theta:.1f} deg of it in Fourier space, is in no image (the missing cone, left). Surfaces normal "
        "to the axis are the least sharp.",
        f"The largest gap between the omegas is {gap:.1f} deg, views half a turn apart taken together "
        "(right).",
        "Where the grain stands along the rotation axis: as detector_center and grain_pos say, for the "
        "images do not.",
        f"All lengths go as 1/M, with M {params.M:g} px/um, as given.",
    ]


def drawing(setting: Setting) -> Drawing:
    """The missing cone about the rotation axis, and the omegas that were measured."""
    return partial(_draw, setting.params.geometry().theta_rad, setting.measurement.omega_deg)


def _draw(theta: float, omega_deg: Array) -> Figure:
    figure = Figure(figsize=(7.0, 3.2))
    cone = figure.add_subplot(1, 2, 1)
    around = np.linspace(0.0, 2.0 * np.pi, 181)
    cone.fill(np.cos(around), np.sin(around), color=_SEEN, alpha=0.35, label="seen")
    for sign, label in ((1.0, "missing"), (-1.0, None)):
        rim = np.linspace(-theta, theta, 31)
        x, y = np.append(np.sin(rim), 0.0), np.append(sign * np.cos(rim), 0.0)
        cone.fill(x, y, color=_UNSEEN, label=label)
    cone.axvline(0.0, color="black", linewidth=0.8, linestyle="--")
    cone.set(aspect="equal")
    cone.set_title("Fourier space, axis upright", fontsize=9, y=1.0)
    cone.axis("off")
    cone.legend(loc="lower right", fontsize=8)
    omegas = figure.add_subplot(1, 2, 2)
    angle = np.radians(omega_deg)
    omegas.add_collection(_rays(angle, 0.55, 1.0, linewidths=1.0))
    omegas.add_collection(_rays(angle + np.pi, 0.55, 0.75, linewidths=0.5, alpha=0.5))
    omegas.plot(np.cos(around), np.sin(around), color="black", linewidth=0.8)
    for deg in range(0, 360, 45):
        x, y = 1.16 * np.cos(np.radians(deg)), 1.12 * np.sin(np.radians(deg))
        omegas.text(x, y, f"{deg}°", ha="center", va="center", fontsize=8)
    omegas.set(aspect="equal", xlim=(-1.3, 1.3), ylim=(-1.25, 1.25))
    omegas.set_title("omegas measured; short: half a turn away", fontsize=9, y=1.0)
    omegas.axis("off")
    return figure


def _rays(angle: Array, start: float, end: float, **how: float) -> LineCollection:
    """Lines along radii (of a plain plot: a polar one takes ten times as long)."""
    ends = np.array([start, end])[None, :, None] * np.stack([np.cos(angle), np.sin(angle)], -1)[:, None, :]
    return LineCollection(ends, colors=_SEEN, **how)
