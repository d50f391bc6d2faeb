"""How well omegas are told that a reconstruction has not seen, and how well without what it claims to know.

On a coarse scan every third omega is left out; the others are reconstructed on the grain that was found, all
of its voxels equally dense, and the images left out are predicted. The same with the images of the others
dealt out among them at random, with the same orientations in all voxels, and on a grain that is two voxels
larger all round. What the result claims of rotation, orientation and shape it must tell better than these.

The score is that of the likelihood: the share of the deviance of evenly lit images that the prediction takes
away (deviance: twice what the log likelihood of the counts falls short of). 1 is a perfect prediction, 0 no
better than evenly lit images of the right brightness; noise and coarse voxels keep it below 1.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import binary_dilation
from threadpoolctl import threadpool_limits

from ..mlem import coarse
from ..mlem.coarse import CoarseScan, Trial
from ..mlem.expectation import Model, View
from ..mlem.map_kernels import RUN
from ..mlem.maps import Maps
from ..parallel.communicator import Comm, check_alarm, together
from ..parallel.messages import broadcast, collect_everywhere
from ..physics.tilts import OrientationGrid, Resolution, spread_of_sum
from ..scan.setting import Setting
from .seen import as_found

Array = NDArray[np.float64]
Support = tuple[Array, Array]  # places (n, 3) in micrometres of coarse voxels, and how full (n,) they are

RUN_ITSELF, SHUFFLED, CONSTANT, DILATED = "held_out", "shuffled", "one_orientation", "dilated"
NAMES = (RUN_ITSELF, SHUFFLED, CONSTANT, DILATED)
_HELD_OUT = 3  # every third omega
_LEAST_OMEGAS = 12  # of which four are left out
_ITERATIONS, _SUBSETS = 4, 6
_BLUR_STEPS = 0.8  # with which as many orientations as positions do best
_LARGER = 2  # voxels, all round
_FAINTEST = 1e-6  # counts


@dataclass(frozen=True)
class HeldOut:
    """The scores by name, and how many omegas they are of."""

    scores: dict[str, float]
    n_omega: int

    def facts(self) -> dict[str, Any]:
        """For the attributes of the result."""
        return {f"{name}_score": score for name, score in self.scores.items()}

    def words(self) -> str:
        """What the scores say, in plain words."""
        run, rest = self.scores[RUN_ITSELF], self.scores
        said = {
            SHUFFLED: ("the images of the other omegas shuffled", "the rotation"),
            CONSTANT: ("the same orientations in every voxel", "where in the grain which orientation is"),
            DILATED: (f"a grain {_LARGER} voxels larger all round", "the shape to two voxels"),
        }
        found = ", ".join(f"with {what} {100 * rest[name]:.0f} %" for name, (what, _) in said.items())
        lost = [claim for name, (_, claim) in said.items() if run <= rest[name]]
        verdict = "It does better than all of these, as it should."
        if lost:
            verdict = f"It does not do better where it should: the images do not tell {' nor '.join(lost)}."
        return (
            f"{self.n_omega} omegas were left out of a coarse reconstruction and predicted by it: "
            f"{100 * run:.0f} % of what sets them apart from evenly lit images is told (by likelihood; noise "
            f"and coarse voxels leave some); {found}. {verdict}"
        )


def judge(
    setting: Setting,
    mask: NDArray[np.bool_],
    facts: Mapping[str, Any],
    scan: CoarseScan,
    comm: Comm,
) -> HeldOut | None:
    """The scores; None where the omegas are too few, or no width was found. Collective.

    mask is the grain on rank 0, facts what was found with it, on every rank; every rank holds the scan.
    """
    resolution = _resolution(setting, scan, facts)
    if len(scan.images) < _LEAST_OMEGAS or resolution is None:
        return None
    made: tuple[Support, Support] | None = None
    with together(comm):
        if comm.rank == 0:
            larger = binary_dilation(mask, iterations=_LARGER)
            made = _support(setting, mask, scan), _support(setting, larger, scan)
    grain, larger_grain = broadcast(comm, made)  # type: ignore[misc]
    gain = float(facts.get("gain", 1.0))
    jobs = [(SHUFFLED,), (RUN_ITSELF, CONSTANT), (DILATED,)]
    found: dict[str, float] = {}
    with together(comm), threadpool_limits(1):
        for names in jobs[comm.rank :: comm.size]:
            trial = _Reconstruction.of(
                setting, larger_grain if DILATED in names else grain, scan, gain, resolution
            )
            maps = trial.maps(shuffled=SHUFFLED in names)
            for name in names:
                found[name] = trial.score(trial.uniform(maps) if name == CONSTANT else maps)
            check_alarm(comm)
    scores = {name: score for part in collect_everywhere(comm, found) for name, score in part.items()}
    return HeldOut({name: scores[name] for name in NAMES}, len(range(1, len(scan.images), _HELD_OUT)))


def _resolution(setting: Setting, scan: CoarseScan, facts: Mapping[str, Any]) -> Resolution | None:
    """The widths that were found, widened by the tilts that are put together; None where there is none."""
    measurement, widths = setting.measurement, [np.inf, np.inf]
    kind = measurement.scan_type
    for i, key in enumerate(kind.widths):
        width = float(facts.get(f"{key}_deg", np.inf if i else 0.0))
        spread = spread_of_sum(max(scan.tilt_steps), measurement.usual_step_deg)
        widths[i] = float(np.sqrt(width**2 + spread))
    return as_found(Resolution(widths[0], widths[1]), facts) if all(widths) else None


def _support(setting: Setting, mask: NDArray[np.bool_], scan: CoarseScan) -> Support:
    """The voxels of the mask put together to coarse ones, about as wide as a coarse pixel."""
    ijk = np.nonzero(mask)
    xyz = np.column_stack([axis[i] for axis, i in zip(setting.projector.volume.axes_um, ijk, strict=True)])
    cell_um = max(scan.factor / setting.params.M, *setting.projector.voxel_um)
    centres, n = coarse.put_together(xyz, cell_um)
    return centres, n / n.max()


@dataclass(frozen=True)
class _Reconstruction:
    """A coarse model, of which some views are left out, and how full (n,) its voxels are."""

    model: Model
    grid: OrientationGrid
    full: Array

    @classmethod
    def of(
        cls, setting: Setting, support: Support, scan: CoarseScan, gain: float, resolution: Resolution
    ) -> _Reconstruction:
        xyz_um, full = support
        views = scan.views(setting.projector.views)
        trial = Trial(setting.measurement, scan, xyz_um, views, all_pixels=True)
        blur = _BLUR_STEPS * trial.usual_step_deg
        model, grid = trial.model(resolution.sharpened(blur))
        model = replace(model, dark=replace(model.dark, gain=gain), scaled=True)
        return cls(model, grid, full)

    def _left_out(self, k: int) -> bool:
        return k % _HELD_OUT == 1

    def maps(self, *, shuffled: bool) -> Maps:
        """From the omegas that are not left out, all voxels as dense as they are full."""
        views = [view for k, view in enumerate(self.model.views) if not self._left_out(k)]
        if shuffled:
            order = np.random.default_rng(0).permutation(len(views))
            views = [_with_images_of(view, views[k]) for view, k in zip(views, order, strict=True)]
        model = replace(self.model, views=views)
        found = coarse.maximise(model, self.grid, _ITERATIONS, _SUBSETS).dense()
        total = found.sum(axis=1)
        usual = found.sum(axis=0) / max(float(found.sum()), _FAINTEST)
        shares = np.where(total[:, None] > 0.0, found / np.maximum(total, _FAINTEST)[:, None], usual)
        return self._dense(shares)

    def uniform(self, maps: Maps) -> Maps:
        """With the orientations of the whole grain in every voxel."""
        dense = maps.dense()
        return self._dense(
            np.broadcast_to(dense.sum(axis=0) / max(float(dense.sum()), _FAINTEST), dense.shape)
        )

    def _dense(self, shares: NDArray[np.float32]) -> Maps:
        values = (self.full[:, None] * shares).astype(np.float32)
        whole = Maps.full(len(values), self.grid.n_pairs, 0.0)
        return replace(whole, values=values.reshape(-1, RUN))

    def score(self, maps: Maps) -> float:
        """The share of the deviance of evenly lit images that the maps take away, at the omegas left out."""
        sums = np.array(
            [self._deviances(view, maps) for k, view in enumerate(self.model.views) if self._left_out(k)]
        ).sum(axis=0)
        return float(1.0 - sums[0] / max(sums[1], _FAINTEST))

    def _deviances(self, view: View, maps: Maps) -> tuple[float, float]:
        """Of the prediction, as bright as the image, and of an evenly lit image."""
        dark, noise = self.model.dark, self.model.dark.in_photons
        light = self.model.project(view, maps)[0][:, view.measured].astype(np.float64)
        counts = view.counts()[:, view.measured].astype(np.float64)
        known = np.isfinite(counts)
        light, counts = light[known], counts[known]
        above = max(float(counts.sum()) - dark.mean * counts.size, 0.0)
        light *= above / max(float(light.sum()), _FAINTEST)
        counts = np.maximum(counts + noise, 0.0)
        predicted = dark.stored(light.astype(np.float32)).astype(np.float64) + noise
        even = np.full(counts.size, counts.mean() if counts.size else 1.0)
        return _deviance(counts, predicted) / dark.gain, _deviance(counts, even) / dark.gain


def _with_images_of(view: View, other: View) -> View:
    """A view that looks at the images of another omega; tilts that either did not measure are left out."""
    both = view.measured & other.measured
    return replace(view, counts=other.counts, measured=both)


def _deviance(counts: Array, expected: Array) -> float:
    """Twice what the log likelihood of Poisson counts falls short of that of a perfect prediction."""
    expected = np.maximum(expected, _FAINTEST)
    terms = counts * np.log(np.maximum(counts, _FAINTEST) / expected) - (counts - expected)
    return float(2.0 * terms.sum())
