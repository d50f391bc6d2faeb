"""The workflow of what finds itself, axis, drift and volume: the ranks look at the omegas, one fit."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from ..errors import Recon3DError
from ..parallel.communicator import Comm, together
from ..parallel.messages import broadcast
from . import alignment
from .alignment import Alignment
from .box import find_box
from .look import Spots, look
from .setting import Setting

_POOR_FIT_PX = 3.0  # rms, far above the jitter of a stage
_CENTER_OFF_PX = 0.5  # across the axis, and four standard errors
_OPEN = ("auto", ())  # of detector_center: it must be found, or it is where it can be
_MAY_FAIL_LEVER, _MAY_FAIL_STD_PX = 12.0, 0.4  # of a centre in whose place the middle would do
_CUT_SHARE = 0.05  # of the omegas
_DIGITS = 3  # of a centre, in pixels


def align(setting: Setting, comm: Comm, *, quiet: bool = False) -> Setting:
    """The setting with axis, drift and volume as the scan says, as far as that is asked for.

    Collective; the result is the same on every rank, for any number of ranks. Raises Recon3DError where
    the scan does not tell what the init file asks for.
    """
    params = setting.params
    if params.detector_center not in _OPEN and params.drift == "none" and params.has_volume:
        return setting
    spots, images = look(setting, comm, quiet=quiet)
    aligned: Setting | None = None
    with together(comm):
        if comm.rank == 0:
            aligned = find_box(_place(replace(setting, totals=None, lit=None), spots), images)
    found: Setting = broadcast(comm, aligned)  # type: ignore[assignment]
    return replace(found, totals=setting.totals, lit=setting.lit)


def _place(setting: Setting, spots: Spots) -> Setting:
    """With the axis and the drift, where they can be found or must be."""
    params = setting.params
    try:
        return apply(setting, spots)
    except Recon3DError as error:
        if params.detector_center == "auto" or params.drift == "correct":
            raise
        if params.has_volume:  # an init file from before the axis was looked for: the middle, as then
            return setting
        if params.detector_center == ():
            warning = f"{error}; it is taken to be the middle of the image"
            return replace(setting, warnings=[*setting.warnings, warning])
    cut = sum(row[0].at_edge for row in spots if row)
    if cut <= _CUT_SHARE * len(spots):
        return setting
    warning = (
        f"the grain touches the edge of the image at {cut} of {len(spots)} omegas: part of it may be "
        "missing; make the ROI larger (getdata.py)"
    )
    return replace(setting, warnings=[*setting.warnings, warning])


def apply(setting: Setting, spots: Spots) -> Setting:
    """Fit the spots and shift the projections by what the init file asks for. Raises Recon3DError."""
    params = setting.params
    auto = params.detector_center in _OPEN
    may_fail = params.detector_center == () and params.drift == "none"
    share = np.array([setting.measurement.measured(k).mean() for k in range(len(spots))])
    found = alignment.fit(
        spots,
        setting.projector.views.matrix,
        setting.projector.views.shift,
        setting.measurement.omega_rad,
        setting.projector.axis,
        setting.projector.center_px,
        share,
        where="detector_center" if auto else "drift",
        worst_lever=_MAY_FAIL_LEVER if may_fail else alignment.WORST_LEVER,
    )
    if may_fail and found.center_std_px > _MAY_FAIL_STD_PX:
        raise Recon3DError(
            "detector_center", f"cannot be found to better than {found.center_std_px:.1g} px; give [cx,cy]"
        )
    drift = found.drift_px if params.drift == "correct" else np.zeros_like(found.residual_px)
    center = setting.projector.center_px
    if auto:
        center = round(float(found.center_px[0]), _DIGITS), round(float(found.center_px[1]), _DIGITS)
    return replace(
        setting,
        params=replace(params, detector_center=center) if auto else params,
        projector=setting.projector.moved(center, drift),
        alignment=found,
        warnings=setting.warnings + _warnings(setting, found, auto),
        found=(*setting.found, "detector_center") if auto else setting.found,
    )


def fit_center(setting: Setting, spots: Spots) -> Setting:
    """The setting with the centre that fits best; as it is where that cannot be found."""
    try:
        return apply(replace(setting, params=replace(setting.params, detector_center="auto")), spots)
    except Recon3DError:
        return setting


def _warnings(setting: Setting, found: Alignment, auto: bool) -> list[str]:
    """What a user should know of the fit."""
    warnings = []
    odd = found.surely_out
    if odd.any():
        omega_deg = setting.measurement.omega_deg
        warnings.append(
            f"{int(odd.sum())} of {odd.size} omegas stand out by the brightness or place of the grain's "
            "image, as when another grain passes; look at them, or leave them out with "
            f"omega_exclude {alignment.listed(odd, omega_deg)}"
        )
    if found.scale_px > _POOR_FIT_PX:
        warnings.append(
            f"the grain's image keeps off the path of a rotation by {found.scale_px:.2g} px rms: the images "
            "drift, or omega_sign, o11 .. o22 or mode are wrong (recon3d-check finds out)"
        )
    off = float(np.dot(np.subtract(found.center_px, setting.projector.center_px), found.across))
    if not auto and abs(off) > max(_CENTER_OFF_PX, 4.0 * found.center_std_px):
        center = ",".join(f"{c:.2f}" for c in found.center_px)
        warnings.append(f"detector_center is {abs(off):.2g} px from where the scan has it, [{center}]")
    return warnings
