"""The workflow of `detector_center auto` and `drift correct`: the ranks look at the omegas, one fit."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from ..errors import Recon3DError
from ..parallel.communicator import Comm, check_alarm, together
from ..parallel.messages import broadcast, collect_everywhere
from ..parallel.partition import block
from ..parallel.progress import Progress
from ..physics.noise import Dark
from . import alignment
from .alignment import Alignment
from .bands import Bands, filled_in
from .measurement import Measurement
from .setting import Setting, find_dark
from .spots import Spot, find_spots

Spots = list[list[Spot]]

_POOR_FIT_PX = 3.0  # rms, far above the jitter of a stage
_CENTER_OFF_PX = 0.5  # across the axis, and four standard errors


def align(setting: Setting, comm: Comm, *, quiet: bool = False) -> Setting:
    """The setting with its projections where the scan says that they are, if that is asked for.

    Collective; the result is the same on every rank, for any number of ranks. Raises Recon3DError where
    the scan does not tell.
    """
    if setting.params.detector_center != "auto" and setting.params.drift == "none":
        return setting
    spots = look(setting.measurement, find_dark(setting.measurement, comm), comm, quiet=quiet)
    aligned: Setting | None = None
    with together(comm):
        if comm.rank == 0:
            aligned = apply(setting, spots)
    return broadcast(comm, aligned)  # type: ignore[return-value]


def look(measurement: Measurement, dark: Dark, comm: Comm, *, quiet: bool = False) -> Spots:
    """The spots of the tilt-summed image of every omega in use, on every rank. Collective."""
    n_omega = measurement.n_omega
    mine = block(n_omega, comm.size, comm.rank)
    show = comm.rank == 0 and not quiet
    found: Spots = []
    with (
        together(comm),
        Bands(measurement.scan, measurement.omega_index) as bands,
        Progress("alignment", len(mine), "omegas", overall=n_omega, visible=show) as progress,
    ):
        for k in mine:
            n_measured = int(measurement.measured(k).sum())
            background, sigma = n_measured * dark.mean, float(np.sqrt(n_measured * dark.variance))
            found.append(find_spots(filled_in(bands.total(k)), background, sigma))
            progress.advance()
            check_alarm(comm)
    return [spots for part in collect_everywhere(comm, found) for spots in part]


def apply(setting: Setting, spots: Spots) -> Setting:
    """Fit the spots and shift the projections by what the init file asks for."""
    params = setting.params
    auto = params.detector_center == "auto"
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
    )
    drift = found.drift_px if params.drift == "correct" else np.zeros_like(found.residual_px)
    moved = setting.projector.moved(found.center_px if auto else setting.projector.center_px, drift)
    warnings = setting.warnings + _warnings(setting, found, auto)
    return replace(setting, projector=moved, alignment=found, warnings=warnings)


def fit_center(setting: Setting, spots: Spots) -> Setting:
    """The setting with the centre that fits best; as it is where that cannot be found."""
    try:
        return apply(replace(setting, params=replace(setting.params, detector_center="auto")), spots)
    except Recon3DError:
        return setting


def _warnings(setting: Setting, found: Alignment, auto: bool) -> list[str]:
    """What a user should know of the fit."""
    warnings = []
    odd = found.standing_out
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
