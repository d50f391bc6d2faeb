"""Width of the instrument's resolution, estimated from the scan itself.

The resolution blurs along directions that are fixed in the lab, the grain's own spread of
orientations turns with it; so the two can be told apart, and the likelihood of a reconstruction has a
maximum at the right widths. A coarse volume and a few omegas suffice for that.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from ..parallel.communicator import Comm
from ..physics.tilts import Resolution, spread_of_sum
from ..projection.projector import Projector
from ..scan.hull import Hull
from ..scan.measurement import Measurement
from ..scan.setting import Setting
from . import coarse
from .acceptance import with_slope, with_sweep, with_tails
from .coarse import Trial
from .search import FINER, REFINEMENT, Found, Search

Array = NDArray[np.float64]

_N_OMEGA = 24  # of the trial, at most
_QUICK_OMEGA = 12  # of that of a quick look, while it tells the widths
_PIXELS_ACROSS = 16  # of the trial, at most; with more the voxels hold fewer counts, and noise takes part
_TILTS_ACROSS = 6  # from twice as many on, neighbours are summed
_NARROW, _PERHAPS_NARROW = 1.1, 1.35  # steps of the scan; the first search finds narrow widths too broad
_HIDES_NARROW = 1.6  # steps, below which a narrower one is asked for
_SHAPED = 0.8  # steps; a narrower resolution tells too little of its shape


def find_resolution(setting: Setting, hull: Hull, comm: Comm) -> Found:
    """The widths of the init file in degrees, those that are `auto` estimated. Collective.

    Where the scan does not tell, the widths are the usual ones.
    """
    rock, roll = _given(setting)
    if rock is not None and roll is not None:
        return Found(replace(_known(setting), rocking=rock, rolling=roll))
    if setting.params.quality == "quick":
        found = _search(setting, hull, comm, _QUICK_OMEGA)
        if found.sure:
            return found
    return _search(setting, hull, comm, _N_OMEGA)


def _search(setting: Setting, hull: Hull, comm: Comm, n_omega: int) -> Found:
    """The widths as so many omegas tell them."""
    measurement, projector = setting.measurement, setting.projector
    given, like, quick = _given(setting), _known(setting), setting.params.quality == "quick"
    for n_tilts in (_TILTS_ACROSS, 0):
        scan = coarse.load(measurement, setting.dark, comm, n_omega, _PIXELS_ACROSS, n_tilts, everywhere=True)
        xyz_um = _coarse_voxels(projector, hull, scan.factor * max(projector.bins) / setting.params.M)
        scaled = setting.params.omega_scale == "auto"
        trial = Trial(measurement, scan, xyz_um, scan.views(projector.views), scaled=scaled)
        search = Search(trial, given, like, comm)
        found = search.first()
        step = search.trial.usual_step_deg
        narrow = found.resolution.narrow < _PERHAPS_NARROW * step
        summed = max(scan.tilt_steps)
        if summed == 1:
            break
        if not narrow:
            found = _with_the_rest(setting, search, found, 1)
            return Found(_of_one(found.resolution, measurement, summed), found.sure)
    if not found.sure or measurement.scan_type.in_line or quick:
        return _with_the_rest(setting, search, found, 1)
    hides = _HIDES_NARROW * step
    if narrow or (found.resolution.narrow < hides and search.hides_narrower(found, hides)):
        return _with_the_rest(setting, search, search.again(found), REFINEMENT)
    return _with_the_rest(setting, search, found, 1)


def _known(setting: Setting) -> Resolution:
    """Tails, a motor that moves, a field that leans as the init file has them; without widths."""
    params, measurement, moves = setting.params, setting.measurement, _moves(setting)
    swept = 0.0
    if moves in ("true", "mu") and not measurement.scan_type.of_strain and measurement.scanned_shape[0] > 1:
        swept = measurement.steps_deg[0]
    slope = params.roll_slope or (0.0, 0.0)
    return Resolution(0.0, 0.0, swept, moves == "mu", slope, tails=params.tails or 0.0)


def _moves(setting: Setting) -> str:
    """The key rock_box: where it is `auto`, as the files of the scan say, if they do."""
    stated = setting.measurement.scan.info.get("moving")
    if setting.params.rock_box != "auto" or stated is None:
        return setting.params.rock_box
    return "true" if "tilt1" in stated else "false"


def _with_the_rest(setting: Setting, search: Search, found: Found, refinement: int) -> Found:
    """With tails, a motor that moves, a field that leans as the scan has them, where `auto`. Collective."""
    params, what, measurement = setting.params, found.resolution, setting.measurement
    if not (measurement.scan_type.name == "mosaicity" and found.sure) or params.quality == "quick":
        return found
    broad = what.narrow > _SHAPED * measurement.usual_step_deg
    if broad and params.tails is None and len(search.free) == 2:
        what = with_tails(search, what, refinement)
    scanned = measurement.scanned_shape[0] > 1
    if _moves(setting) == "auto" and scanned and max(search.trial.scan.tilt_steps) == 1 and 0 in search.free:
        what = with_sweep(search, what)
    if broad and params.roll_slope is None:
        what = with_slope(search, what, refinement)
    return found._replace(resolution=what)


def _of_one(resolution: Resolution, measurement: Measurement, n: int) -> Resolution:
    """The widths at one position from those at n neighbours summed, which widen them by their spread."""
    spread = spread_of_sum(n, measurement.usual_step_deg)
    rock, roll = (
        float(np.sqrt(max(w**2 - spread, 0.1 * w**2))) for w in (resolution.rocking, resolution.rolling)
    )
    return replace(resolution, rocking=rock, rolling=roll)


def refinement_for(measurement: Measurement, resolution: Resolution) -> int:
    """How many orientations on a step of the scan, along each tilt, do a scan of this resolution justice.

    More where it is hardly wider than a step, so that those amid two positions are seen faintly, if the data
    can tell so many apart.
    """
    finer = is_narrow(measurement, resolution) and measurement.scan_type.sees_around(resolution)
    return FINER if finer else REFINEMENT


def is_narrow(measurement: Measurement, resolution: Resolution) -> bool:
    """Whether orientations amid two positions of the scan are seen more faintly than those at one."""
    return 0.0 < resolution.narrow < _NARROW * measurement.usual_step_deg


def _given(setting: Setting) -> tuple[float | None, float | None]:
    """The widths of the init file, None for those to find; infinite where nothing depends on the direction.

    A scan of the rocking angle alone says too little of the other: all rolling angles count as accepted.
    """
    kind = setting.measurement.scan_type
    given = [getattr(setting.params, key) for key in kind.widths]
    roll = given[1] if len(given) > 1 else np.inf
    return given[0], np.inf if roll is None and kind.name == "rocking" else roll


def _coarse_voxels(projector: Projector, hull: Hull, cell_um: float) -> Array:
    """Centres (n, 3) of cells about as wide as a coarse pixel that hold voxels of the hull."""
    xyz = projector.centres_um(hull.voxels(range(hull.total)))
    return coarse.put_together(xyz, cell_um)[0]
