"""Width of the instrument's resolution, estimated from the scan itself.

The resolution blurs along directions that are fixed in the lab, the grain's own spread of
orientations turns with it; so the two can be told apart, and the likelihood of a reconstruction has a
maximum at the right widths. A coarse volume and a few omegas suffice for that.
"""

from __future__ import annotations

from dataclasses import replace
from itertools import product
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from ..parallel.communicator import Comm, check_alarm, together
from ..parallel.messages import collect_everywhere
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
_TILTS_ACROSS = 6  # from twice as many on, neighbours are summed
_ITERATIONS, _SUBSETS = 4, 8  # of a trial; with fewer it has not got far, and narrow widths seem to fit
_NARROW, _PERHAPS_NARROW = 1.1, 1.25  # steps of the scan; the first search finds narrow widths too broad
_START = (1.0, 1.4)  # widths in steps of the scan
_TIMES = (1.0, 2.0, 4.0)  # of these, where the search may start
_FAR = 8.0  # times these: surely too broad
_FACTORS, _FACTORS_AGAIN = (1.6, 1.25), (1.25,)  # between the trials, coarse and fine
_MOVES = 6  # of the middle of the trials, at most
_FEWEST_JUDGES = 3  # omegas that are left out
REFINEMENT, _FINER = 2, 3  # orientations per step of the scan, along each tilt
_BLUR_STEPS = {1: 0.8, REFINEMENT: 0.68}  # with which a trial finds the true widths, by refinement
_BROAD = 8e-3  # of what too broad a width costs: what one broader by a factor of e may
_SURE = 10.0  # log likelihood that widths must gain over those that are too broad
_NARROWEST, _WIDEST = 0.2, 20.0  # steps of the scan
_NARROWEST_IN_LINE = 0.8  # where it always blurs along one line, like the spread of the grain


class Found(NamedTuple):
    """The widths, and whether the scan tells those that were looked for."""

    resolution: Resolution
    sure: bool = True


def find_resolution(setting: Setting, hull: Hull, dark: Dark, comm: Comm) -> Found:
    """The widths of the init file in degrees, those that are `auto` estimated. Collective.

    Where the scan does not tell, the widths are the usual ones.
    """
    measurement, projector = setting.measurement, setting.projector
    rock, roll = given = _given(setting)
    if rock is not None and roll is not None:
        return Found(Resolution(rock, roll))
    for n_tilts in (_TILTS_ACROSS, 0):
        scan = coarse.load(measurement, dark, comm, _N_OMEGA, _PIXELS_ACROSS, n_tilts, everywhere=True)
        xyz_um = _coarse_voxels(projector, hull, scan.factor * max(projector.bins) / setting.params.M)
        search = _Search(Trial(measurement, scan, xyz_um, scan.views(projector.views)), given, comm)
        found = search.first()
        narrow = found.resolution.narrow < _PERHAPS_NARROW * search.trial.usual_step_deg
        summed = max(scan.tilt_steps)
        if summed == 1:
            break
        if not narrow:
            return Found(_of_one(found.resolution, measurement, summed), found.sure)
    if found.sure and narrow and measurement.scan_type.unknown[1]:  # too narrow for a grid of steps
        return search.again(found)
    return found


def _of_one(resolution: Resolution, measurement: Measurement, n: int) -> Resolution:
    """The widths at one position from those at n neighbours summed, which widen them by their spread."""
    spread = 8.0 * np.log(2.0) * (n**2 - 1) / 12.0 * measurement.usual_step_deg**2
    rock, roll = (
        float(np.sqrt(max(w**2 - spread, 0.1 * w**2))) for w in (resolution.rocking, resolution.rolling)
    )
    return Resolution(rock, roll)


def refinement_for(measurement: Measurement, resolution: Resolution) -> int:
    """How many orientations on a step of the scan, along each tilt, do a scan of this resolution justice.

    More where it is hardly wider than a step, so that those amid two positions are seen faintly, if the data
    can tell so many apart.
    """
    finer = is_narrow(measurement, resolution) and measurement.scan_type.sees_around(resolution)
    return _FINER if finer else REFINEMENT


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


def _deviance(trial: Trial, resolution: Resolution, refinement: int) -> float:
    """How badly given widths explain the scan: minus the log likelihood per count after few iterations.

    On a finer grid narrow widths would explain the noise as well: every third omega is then left out of
    the reconstruction, and it is these that it must explain.
    """
    blur = _BLUR_STEPS[refinement] * trial.usual_step_deg
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


class _Search:
    """The widths with the least deviance: trials on a grid of widths, which the ranks share.

    Equal widths do not turn in the sample frame; narrower ones with broader orientations then explain the
    scan as well, but leave gaps between its positions. So of what fits alike the broadest is taken.
    """

    def __init__(self, trial: Trial, given: tuple[float | None, float | None], comm: Comm) -> None:
        self.trial, self.given, self.comm = trial, given, comm
        self.free = [i for i in range(2) if given[i] is None]
        measurement = trial.measurement
        least = _NARROWEST if measurement.scan_type.unknown[1] else _NARROWEST_IN_LINE
        self.steps = np.array([trial.steps_deg[i] for i in self.free])
        self.least, self.most = np.log(least * self.steps), np.log(_WIDEST * self.steps)
        self.known: dict[tuple[int, bytes], float] = {}
        self.price = 0.0  # of a width that is broader by a factor of e

    def first(self) -> Found:
        """The search from the usual widths and broader ones. Collective."""
        usual = np.log([_START[i] for i in self.free] * self.steps)
        starts = [usual + np.log(times) for times in (*_TIMES, _FAR)]
        *deviances, far = self._deviances(starts, 1)
        gain = far - min(deviances)
        if gain * self.trial.scan.n_counts < _SURE:
            return Found(self._widths(usual), sure=False)
        self.price = _BROAD * gain
        best, at_bound = self._descend(starts[int(np.argmin(deviances))], 1, _FACTORS)
        return Found(self._widths(usual), sure=False) if at_bound else Found(self._widths(best))

    def again(self, found: Found) -> Found:
        """The search on a finer grid of orientations, from the widths found before. Collective."""
        widths = (found.resolution.rocking, found.resolution.rolling)
        best, _ = self._descend(np.log([widths[i] for i in self.free]), REFINEMENT, _FACTORS_AGAIN)
        return Found(self._widths(best))

    def _widths(self, logarithms: Array) -> Resolution:
        values = [0.0 if g is None else g for g in self.given]
        for i, logarithm in zip(self.free, logarithms, strict=True):
            values[i] = float(np.exp(logarithm))
        return Resolution(values[0], values[1])

    def _descend(self, middle: Array, refinement: int, factors: tuple[float, ...]) -> tuple[Array, bool]:
        """The best logarithms of the widths, and whether that is at a bound."""
        directions = np.array(list(product((-1, 0, 1), repeat=middle.size)))
        at_bound = False
        for factor in factors:
            for _ in range(_MOVES):
                points = np.clip(middle + np.log(factor) * directions, self.least, self.most)
                values = np.array(self._deviances(list(points), refinement)) - self.price * points.sum(axis=1)
                best = points[np.argmin(values)]
                if np.array_equal(best, middle):
                    break
                middle = best
            at_bound = bool(((middle <= self.least) | (middle >= self.most)).any())
            between = np.clip(middle + np.log(factor) * _lowest(directions, values), self.least, self.most)
            value = self._deviances([between], refinement)[0] - self.price * between.sum()
            middle = between if value < values.min() else middle  # a ridge is no parabola
        return middle, at_bound

    def _deviances(self, points: list[Array], refinement: int) -> list[float]:
        """`_deviance` of widths given by their logarithms. Collective."""
        keys = [(refinement, point.round(12).tobytes()) for point in points]
        new = [k for k in dict.fromkeys(keys) if k not in self.known]
        place = dict(zip(keys, points, strict=True))
        mine: list[float] = []
        with together(self.comm), threadpool_limits(1):
            for key in new[self.comm.rank :: self.comm.size]:
                mine.append(_deviance(self.trial, self._widths(place[key]), refinement))
                check_alarm(self.comm)
        for rank, values in enumerate(collect_everywhere(self.comm, mine)):
            self.known.update(zip(new[rank :: self.comm.size], values, strict=True))
        return [self.known[key] for key in keys]


def _lowest(places: NDArray[np.int64], values: Array) -> Array:
    """Where a parabola through values on the grid -1, 0, 1 (3^n, n) is lowest, on the grid."""
    n = places.shape[1]
    pairs = [(i, j) for i in range(n) for j in range(i, n)]
    columns = [np.ones(len(places)), *places.T, *(places[:, i] * places[:, j] for i, j in pairs)]
    found = np.linalg.lstsq(np.stack(columns, axis=1), values, rcond=None)[0]
    hessian = np.zeros((n, n))
    for (i, j), value in zip(pairs, found[1 + n :], strict=True):
        hessian[i, j] += value
        hessian[j, i] += value
    if np.linalg.eigvalsh(hessian)[0] <= 0.0:
        return np.zeros(n)
    return np.clip(np.linalg.solve(hessian, -found[1 : 1 + n]), -1.0, 1.0)
