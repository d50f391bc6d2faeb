"""Width of the instrument's resolution, estimated from the scan itself.

The resolution blurs along directions that are fixed in the lab, the grain's own spread of
orientations turns with it; so the two can be told apart, and the likelihood of a reconstruction has a
maximum at the right widths. A coarse volume and a few omegas suffice for that.
"""

from __future__ import annotations

from dataclasses import astuple, replace

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize

from ..parallel.communicator import Comm, together
from ..physics.noise import Dark
from ..physics.tilts import Resolution
from ..projection.projector import Projector
from ..scan.hull import Hull
from ..scan.measurement import Measurement
from ..scan.setting import Setting
from . import coarse
from .coarse import Trial

Array = NDArray[np.float64]

_N_OMEGA = 24  # of the trial, at most
_PIXELS_ACROSS = 32  # of the trial, at most
_ITERATIONS, _SUBSETS = 3, 4  # of a trial, few for speed
_NARROW = 1.1  # steps of the scan
_START = (1.0, 1.4)  # widths in steps of the scan
_EVALUATIONS, _MORE_EVALUATIONS = 24, 14  # of the simplex, at most
_FEWEST_JUDGES = 3  # omegas that are left out
_FACTOR = 1.3  # between the first trials
REFINEMENT, _FINER = 2, 3  # orientations per step of the scan, along each tilt
_BLUR_STEPS = {1: 0.57, REFINEMENT: 0.68}  # with which a trial finds the true widths, by refinement
_BROAD = 5e-3  # per count: what a width that is broader by a factor of e may cost
_NARROWEST, _WIDEST = 0.2, 20.0  # steps of the scan
_NARROWEST_IN_LINE = 0.8  # where it always blurs along one line, like the spread of the grain


def find_resolution(setting: Setting, hull: Hull, dark: Dark, comm: Comm) -> Resolution:
    """The widths of the init file in degrees, those that are `auto` estimated. Collective."""
    measurement, projector = setting.measurement, setting.projector
    rock, roll = given = _given(setting)
    if rock is not None and roll is not None:
        return Resolution(rock, roll)
    scan = coarse.load(measurement, dark, comm, _N_OMEGA, _PIXELS_ACROSS)
    found: Resolution | None = None
    with together(comm):
        if comm.rank == 0:
            xyz_um = _coarse_voxels(projector, hull, scan.factor * max(projector.bins) / setting.params.M)
            trial = Trial(measurement, scan, xyz_um, scan.views(projector.views))
            found = _search(measurement, trial, given)
            if (
                _is_narrow(measurement, found) and measurement.scan_type.unknown[1]
            ):  # too narrow for a grid of steps
                found = _search(measurement, trial, given, found)
    result: Resolution = comm.bcast(found)
    return result


def refinement_for(measurement: Measurement, resolution: Resolution) -> int:
    """How many orientations on a step of the scan, along each tilt, do a scan of this resolution justice.

    More where it is hardly wider than a step, so that those amid two positions are seen faintly, if the data
    can tell so many apart.
    """
    finer = _is_narrow(measurement, resolution) and measurement.scan_type.sees_around(resolution)
    return _FINER if finer else REFINEMENT


def _is_narrow(measurement: Measurement, resolution: Resolution) -> bool:
    return 0.0 < resolution.narrow < _NARROW * measurement.usual_step_deg


def _given(setting: Setting) -> tuple[float | None, float | None]:
    """The widths of the init file, None for those to find; infinite where nothing depends on the direction.

    A scan of the rocking angle alone says too little of the other: all rolling angles count as accepted.
    """
    kind = setting.measurement.scan_type
    given = [getattr(setting.params, key) for key in kind.widths]
    roll = given[1] if len(given) > 1 else np.inf
    return given[0], np.inf if roll is None and kind.name == "rocking" else roll


def _deviance(trial: Trial, resolution: Resolution, refinement: int) -> float:
    """How badly given widths explain the scan: minus the log likelihood per count after few iterations.

    On a finer grid narrow widths would explain the noise as well: every third omega is then left out of
    the reconstruction, and it is these that it must explain.
    """
    blur = _BLUR_STEPS[refinement] * trial.measurement.usual_step_deg
    model, grid = trial.model(resolution.sharpened(blur), refinement)
    judges = [view for k, view in enumerate(model.views) if k % 3 == 1]
    if refinement == 1 or len(judges) < _FEWEST_JUDGES:
        return model.deviance(coarse.maximise(model, grid, _ITERATIONS, _SUBSETS))
    others = [view for k, view in enumerate(model.views) if k % 3 != 1]
    maps = coarse.maximise(replace(model, views=others), grid, _ITERATIONS, _SUBSETS)
    return replace(model, views=judges).deviance(maps)


def _coarse_voxels(projector: Projector, hull: Hull, cell_um: float) -> Array:
    """Centres (n, 3) of cells about as wide as a coarse pixel that hold voxels of the hull."""
    xyz = projector.centres_um(hull.voxels(range(hull.total)))
    _, which = np.unique(np.floor(xyz / cell_um).astype(np.int64), axis=0, return_inverse=True)
    which = which.reshape(-1)
    sums = np.stack([np.bincount(which, weights=column) for column in xyz.T], axis=1)
    return sums / np.bincount(which)[:, None]


def _search(
    measurement: Measurement,
    trial: Trial,
    given: tuple[float | None, float | None],
    found: Resolution | None = None,
) -> Resolution:
    """Minimise the deviance over the widths that are not given; again, finer, from those found before.

    Equal widths do not turn in the sample frame; narrower ones with broader orientations then explain the
    scan as well, but leave gaps between its positions. So of what fits alike the broadest is taken.
    """
    steps = measurement.steps_deg
    least = _NARROWEST if measurement.scan_type.unknown[1] else _NARROWEST_IN_LINE
    free = [i for i in range(2) if given[i] is None]

    def widths(logarithms: Array) -> Resolution:
        values = [0.0 if g is None else g for g in given]
        for i, logarithm in zip(free, logarithms, strict=True):
            values[i] = float(
                np.exp(np.clip(logarithm, np.log(least * steps[i]), np.log(_WIDEST * steps[i])))
            )
        return Resolution(values[0], values[1])

    if found is None:
        before = (_START[0] * steps[0], _START[1] * steps[1])
        refinement, factor, evaluations = 1, _FACTOR, _EVALUATIONS
    else:
        before = astuple(found)
        refinement, factor, evaluations = REFINEMENT, 1.0 / _FACTOR, _MORE_EVALUATIONS
    start = np.log([before[i] for i in free])
    simplex = np.vstack([start, start + np.log(factor) * np.eye(len(free))])
    best = minimize(
        lambda x: _deviance(trial, widths(x), refinement) - _BROAD * x.sum(),
        start,
        method="Nelder-Mead",
        options={"maxfev": evaluations, "initial_simplex": simplex, "xatol": 0.05, "fatol": 1e-6},
    )
    return widths(best.x)
