"""The search for what explains a coarse scan best: widths of the resolution, and what goes with them.

A trial is a reconstruction of few voxels with a given resolution; the ranks share the trials.
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
from ..physics.tilts import SHARED_STEPS, USUAL_STEPS, Resolution, width_of_two
from . import coarse
from .coarse import Trial

Array = NDArray[np.float64]

_TIMES = (1.0, 2.0, 4.0)  # of these, where the search may start
_FAR = 8.0  # times these: surely too broad
_FACTORS, _FACTORS_AGAIN = (1.6, 1.25), (1.25, 1.1)  # between the trials, coarse and fine
_FACTORS_IN_LINE = (1.6, 1.25, 1.1)  # where what is narrower fits as well, and what is broader not at all
_ALIKE = 1.6  # times each other; of such widths one is found too narrow and one too broad, on a ridge,
_ON_A_RIDGE = (1.1,)  # which is then gone along
_MOVES = 6  # of the middle of the trials, at most
_FEWEST_JUDGES = 3  # omegas that are left out
REFINEMENT = 2  # orientations per step of the scan, along each tilt
FINER = 3  # where the resolution is narrow
_SUBSETS = 8
_ITERATIONS = 16  # of a trial; with fewer narrow widths seem to fit, above all where dark noise slows them
_BROAD = 8e-3  # of what too broad a width costs: what one broader by a factor of e may
_BROAD_IN_LINE = 5e-4  # alike, where nothing turns, and narrow widths have noise alone to explain
_NARROWER = 0.7  # of a width that may hide a narrower one; more than what the finer grid finds too narrow
SURE = 30.0  # log likelihood that must be gained by what says more of a scan; less is chance
_NARROWEST, _WIDEST = 0.2, 20.0  # steps of the scan
_NARROWEST_IN_LINE = 0.8  # where it always blurs along one line, like the spread of the grain


class Found(NamedTuple):
    """The widths, and whether the scan tells those that were looked for."""

    resolution: Resolution
    sure: bool = True


def _deviance(trial: Trial, resolution: Resolution, refinement: int) -> float:
    """How badly given widths explain the scan: minus the log likelihood per count.

    Narrow widths would explain the noise as well: so the omegas of `_judges` are left out of the
    reconstruction, and it is these that it must explain. What lies between two orientations of the grid they
    share, which blurs by itself.
    """
    step = trial.usual_step_deg / refinement
    if trial.measurement.scan_type.in_line:
        sharp = replace(resolution, rocking=width_of_two(resolution.rocking, step))
    else:
        sharp = resolution.sharpened(SHARED_STEPS * step)
    model, grid = trial.model(sharp, refinement)
    judges = _judges(trial, refinement)
    some = len(judges) < len(model.views)
    others = [view for k, view in enumerate(model.views) if not some or k not in judges]
    maps = coarse.maximise(replace(model, views=others), grid, _ITERATIONS, _SUBSETS)
    return replace(model, views=[model.views[k] for k in judges]).deviance(maps)


def _judges(trial: Trial, refinement: int) -> range:
    """The views whose likelihood counts: every third, which the reconstruction then leaves out.

    All, where they are too few, or where an omega sees the orientations along a line only: there broad widths
    foresee what was not seen better than the right ones, as they leave out noise, and on a grid of steps
    narrow ones explain none.
    """
    n_views = len(trial.scan.images)
    third = range(1, n_views, 3)
    along_line = trial.measurement.scan_type.sees_lines and refinement == 1
    return range(n_views) if len(third) < _FEWEST_JUDGES or along_line else third


class Search:
    """The widths with the least deviance: trials on a grid of widths, which the ranks share.

    Equal widths do not turn in the sample frame; narrower ones with broader orientations then explain the
    scan as well, but leave gaps between its positions. So of what fits alike the broadest is taken. In a scan
    of one unknown that is the one with which two orientations look like what lies amid them.
    """

    def __init__(
        self, trial: Trial, given: tuple[float | None, float | None], like: Resolution, comm: Comm
    ) -> None:
        self.trial, self.given, self.comm = trial, given, comm
        self.free = [i for i in range(2) if given[i] is None]
        measurement = trial.measurement
        least = _NARROWEST_IN_LINE if measurement.scan_type.in_line else _NARROWEST
        self.steps = np.array([trial.steps_deg[i] for i in self.free])
        self.least, self.most = np.log(least * self.steps), np.log(_WIDEST * self.steps)
        self.like = like  # what does not change while the widths are looked for
        self.known: dict[tuple[int, Resolution], float] = {}
        self.price = 0.0  # of a width that is broader by a factor of e

    def first(self) -> Found:
        """The search from the usual widths and broader ones. Collective."""
        usual = np.log([USUAL_STEPS[i] for i in self.free] * self.steps)
        starts = [usual + np.log(times) for times in (*_TIMES, _FAR)]
        *deviances, far = self.deviances([self._widths(start) for start in starts], 1)
        gain = far - min(deviances)
        if gain * self.n_counts(1) < SURE:
            return Found(self._widths(usual), sure=False)
        in_line = self.trial.measurement.scan_type.in_line
        self.price = (_BROAD_IN_LINE if in_line else _BROAD) * gain
        factors = _FACTORS_IN_LINE if in_line else _FACTORS
        best, at_bound = self._descend(starts[int(np.argmin(deviances))], 1, factors)
        if len(self.free) == 2 and abs(best[0] - best[1]) < np.log(_ALIKE):
            best, at_bound = self._descend(best, 1, _ON_A_RIDGE)
        return Found(self._widths(usual), sure=False) if at_bound else Found(self._widths(best))

    def again(self, found: Found) -> Found:
        """The search on a finer grid, from widths found before; these, if little is gained. Collective."""
        finer = self.around(found.resolution, REFINEMENT)
        before, now = self.deviances([found.resolution, finer], REFINEMENT)
        return Found(finer) if before - now > self._little else found

    def hides_narrower(self, found: Found, below_deg: float) -> bool:
        """Whether less of the widths below a limit explains the scan much better on a finer grid. Collective.

        On that of the scan a width of less than a step may look as one of more.
        """
        widths = found.resolution.rocking, found.resolution.rolling
        tried = [_NARROWER * w if i in self.free and w < below_deg else w for i, w in enumerate(widths)]
        less = replace(found.resolution, rocking=tried[0], rolling=tried[1])
        before, now = self.deviances([found.resolution, less], REFINEMENT)
        return before - now > self._little

    @property
    def _little(self) -> float:
        """What a finer grid gains with any narrower widths: what breadth may cost, and chance."""
        return self.price + SURE / self.n_counts(REFINEMENT)

    def around(self, what: Resolution, refinement: int) -> Resolution:
        """The best widths about those of a resolution, which says the rest. Collective."""
        self.like = what
        if not self.free:
            return what
        widths = (what.rocking, what.rolling)
        middle = np.log([widths[i] for i in self.free])
        return self._widths(self._descend(middle, refinement, _FACTORS_AGAIN)[0])

    def _widths(self, logarithms: Array) -> Resolution:
        values = [0.0 if g is None else g for g in self.given]
        for i, logarithm in zip(self.free, logarithms, strict=True):
            values[i] = float(np.exp(logarithm.round(12)))
        return replace(self.like, rocking=values[0], rolling=values[1])

    def _descend(self, middle: Array, refinement: int, factors: tuple[float, ...]) -> tuple[Array, bool]:
        """The best logarithms of the widths, and whether that is at a bound."""
        directions = np.array(list(product((-1, 0, 1), repeat=middle.size)))
        at_bound = False
        for factor in factors:
            for _ in range(_MOVES):
                points = np.clip(middle + np.log(factor) * directions, self.least, self.most)
                values = self._costs(points, refinement)
                best = points[np.argmin(values)]
                if np.array_equal(best, middle):
                    break
                middle = best
            at_bound = bool(((middle <= self.least) | (middle >= self.most)).any())
            between = np.clip(middle + np.log(factor) * lowest(directions, values), self.least, self.most)
            if self._costs(between[None], refinement)[0] < values.min():  # a ridge is no parabola
                middle = between
        return middle, at_bound

    def _costs(self, points: Array, refinement: int) -> Array:
        """Deviances of logarithms of the widths (n, n_free), less what breadth gains. Collective.

        Nothing, where a motor moves: the edges of its way tell narrow widths from the grain's own spread.
        """
        values = np.array(self.deviances([self._widths(point) for point in points], refinement))
        return values if self.like.swept else values - self.price * points.sum(axis=1)

    def n_counts(self, refinement: int) -> float:
        """How many counts a deviance is the mean of."""
        return self.trial.scan.n_counts(_judges(self.trial, refinement))

    def deviances(self, tried: list[Resolution], refinement: int) -> list[float]:
        """`_deviance` of some resolutions. Collective."""
        new = [what for what in dict.fromkeys(tried) if (refinement, what) not in self.known]
        mine: list[float] = []
        with together(self.comm), threadpool_limits(1):
            for what in new[self.comm.rank :: self.comm.size]:
                mine.append(_deviance(self.trial, what, refinement))
                check_alarm(self.comm)
        for rank, values in enumerate(collect_everywhere(self.comm, mine)):
            for what, value in zip(new[rank :: self.comm.size], values, strict=True):
                self.known[refinement, what] = value
        return [self.known[refinement, what] for what in tried]


def lowest(places: NDArray[np.int64], values: Array) -> Array:
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
