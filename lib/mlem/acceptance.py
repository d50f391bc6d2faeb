"""What else a position of the scan accepts: tails, a motor that moves within a frame, a field that leans.

All are found as the widths are, by what explains a coarse scan best (`resolution`), once these are known.
"""

from __future__ import annotations

from dataclasses import replace
from itertools import product

import numpy as np
from numpy.typing import NDArray

from ..physics.tilts import Resolution
from ..projection.views import um_per_px
from .search import FINER, REFINEMENT, SURE, Search, lowest

Array = NDArray[np.float64]

_LEAST_LEFT = 0.3  # of the rocking width, where the motor's way makes up for the rest of it
_CLEARLY = 0.08  # of what one wider by a factor of e may cost, that a moving motor must gain
_ABOUT = (0.64, 0.8, 1.0, 1.25, 1.6)  # times a width, among which that lies that does best on the finest grid
_SHARES = (0.0, 0.05, 0.1, 0.2, 0.4)  # of a Lorentzian, that are tried
_NARROWER = 0.35  # of its width, that a resolution which is all Lorentzian is taken to be
_MATTERS = 0.12  # steps by which the accepted roll moves over the grain's radius of gyration; less is chance
_TRIED = 0.25  # steps over that radius, between the slopes that are tried
_CLOSER = 0.5  # of these, in the end
_MOVES = 6


def with_tails(search: Search, found: Resolution, refinement: int) -> Resolution:
    """The resolution with the share of a Lorentzian that explains the scan best. Collective.

    Orientations a step apart would look like a resolution without tails.
    """
    values = search.deviances([_with_share(found, share) for share in _SHARES], REFINEMENT)
    before, best = values[0], int(np.argmin(values))
    if best == 0:
        return found
    about = slice(best - 1, best + 2) if best + 1 < len(_SHARES) else slice(-3, None)
    a, b, _ = np.polyfit(_SHARES[about], values[about], 2)
    share = float(np.clip(-b / (2.0 * a), 0.0, _SHARES[-1])) if a > 0.0 else _SHARES[-1]
    tailed = search.around(_with_share(found, round(share, 6)), refinement)
    gained = (before - search.deviances([tailed], REFINEMENT)[0]) * search.n_counts(REFINEMENT)
    return tailed if gained > SURE else found


def _with_share(found: Resolution, share: float) -> Resolution:
    """So much of a Lorentzian, and narrower by about as much as explains a scan alike."""
    narrower = 1.0 - _NARROWER * share
    return replace(found, rocking=found.rocking * narrower, rolling=found.rolling * narrower, tails=share)


def with_sweep(search: Search, found: Resolution) -> Resolution:
    """The resolution with the motor's way, if that explains the scan better: a step of tilt1, or of mu.

    Below omega the two are one. A Gaussian of a step and more hides the way that it is moved by, which then
    is not looked for; nor where a Gaussian that spreads with it as the one found is much worse. Collective.
    """
    kind, step = search.trial.measurement.scan_type, search.trial.steps_deg[0]
    left = found.without_sweep_of(step, _LEAST_LEFT)
    if left > step:
        return found
    best, least = found, max(_CLEARLY * search.price, SURE / search.n_counts(FINER))
    before = _at_best(search, found)
    for by_mu in (False, True) if kind.tilt_frame == "sample" else (False,):
        swept = replace(found, rocking=left, swept=step, by_mu=by_mu)
        if _at_best(search, swept) > before + least:
            continue
        swept = search.around(swept, REFINEMENT)
        now = _at_best(search, swept)
        if before - now > least:
            best, before = swept, now
    return search.around(best, FINER) if best.swept else best


def _at_best(search: Search, what: Resolution) -> float:
    """The least deviance on the finest grid of orientations, of rocking widths about that of a resolution."""
    return min(search.deviances([replace(what, rocking=f * what.rocking) for f in _ABOUT], FINER))


def with_slope(search: Search, found: Resolution, refinement: int) -> Resolution:
    """The resolution with the slope of the accepted roll over the image, where that matters. Collective."""
    trial = search.trial
    radius_um = _radius_um(search)
    if not radius_um.min() > 0.0:
        return found
    unit = _TRIED * trial.usual_step_deg / radius_um
    around = np.array(list(product((-1, 0, 1), repeat=2)))
    middle = np.zeros(2)

    def leaning(places: Array, refinement: int = refinement) -> list[float]:
        slopes = [replace(found, slope=(x, y)) for x, y in (places * unit).round(12).tolist()]
        return search.deviances(slopes, refinement)

    ahead, back = (np.array(leaning(way * np.eye(2))) for way in (1.0, -1.0))
    bend = 0.5 * (ahead + back) - search.deviances([found], refinement)[0]
    first = np.abs(0.25 * (ahead - back)) / np.maximum(bend, 1e-30)  # where a parabola along each is lowest
    if bool((bend > 0.0).all()) and float(np.hypot(*first)) * _TRIED < _MATTERS:
        return found
    for _ in range(_MOVES):
        values = np.array(leaning(middle + around))
        best = middle + around[np.argmin(values)]
        if np.array_equal(best, middle):
            break
        middle = best
    place = middle + lowest(around, values)
    place = place if leaning(place[None])[0] < values.min() else middle
    gained = (leaning(np.zeros((1, 2)))[0] - leaning(place[None])[0]) * search.n_counts(refinement)
    if gained < SURE or float(np.hypot(*place)) * _TRIED < _MATTERS:
        return found
    closer = leaning(place + _CLOSER * around, REFINEMENT)  # orientations a step apart pull slopes, too
    x, y = ((place + _CLOSER * lowest(around, np.array(closer))) * unit).round(12).tolist()
    return search.around(replace(found, slope=(x, y)), refinement)


def _radius_um(search: Search) -> Array:
    """Radius of gyration (2,) of the grain's images along x and y, on the sample."""
    trial = search.trial
    places = np.einsum("kij,vj->kvi", trial.views.matrix, trial.xyz_um)
    return np.asarray(um_per_px(trial.views) * np.sqrt(places.var(axis=1).mean(axis=0)))
