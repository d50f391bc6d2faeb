"""Method `mlem`: the maximum-likelihood distribution of orientations in every voxel.

Forward model: I[t, w, u] = sum_s K_w[t, s] sum_v P_w[u, v] f[v, s] + background, with P_w the projection of
voxels on pixels (`projection.footprint`) and K_w the response of the scanned tilts (`tilts.response`). f is
found by expectation maximisation with ordered subsets of omegas (Shepp & Vardi 1982, IEEE Trans. Med.
Imaging 1, 113; Hudson & Larkin 1994, ibid. 13, 601), started from a constant on the visual hull.
Dark noise is taken in by the shifted-Poisson model: its variance is added to data and prediction. What is
still below zero then stays: cut, it would be light that no grain gives.
Beam, absorption and normalisation give each omega a brightness of its own, a factor of its light: at every
step it is the likeliest, what was counted over what is expected, so that a step changes the grain and not its
total.

A rank holds some of the voxels and the pixels that these hit. Where other ranks hit the same pixels,
the predictions are added up by an `Exchange`; all else is local.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from ..physics.noise import Dark
from ..physics.tilts import Resolution
from ..projection import footprint
from . import map_kernels
from .lean import UPRIGHT, Lean
from .maps import Maps
from .response import BlockResponse, Image
from .standstill import Watch

Brightness = NDArray[np.float64]  # of views (n_views,)
Lit = NDArray[np.bool_] | None  # runs (n_rows, n_runs) of an image of orientations that hold something

OMEGAS_PER_SUBSET = 3  # at which a pass moves far, and noise has no more part in it than with 8
OMEGAS_OF_LINES = 5  # where each sees the orientations along a line only: three tell too little of them
SUBSETS_AT_ONCE = 20  # in an iteration, after which the answer is looked at
_FAINTEST = 1e-6  # counts; a prediction below this is taken for this
NOTHING = 2e-2  # of the highest value of a voxel, below which an orientation is given up
_FAINT_VOXEL = 0.1  # of the usual highest value; a fainter voxel is judged as one of this
_LIT_SHARE = 0.1  # of the light, that must be expected in lit pixels to tell a brightness
_DARKEST = 1e-3  # brightness
_FEW_SCANNED = 16  # times as many orientations as scanned positions: K goes before P then


@dataclass(frozen=True)
class View:
    """One omega as this rank sees it.

    matrix (2, 3), shift (2,) and widths (2, 2) say how a voxel falls on the n_x by n_y pixels of `shape` (see
    `projection.footprint`); pixels (n_rows,) are the numbers of those that the rank's voxels hit, ascending;
    counts() gives their data (n_rows, n_scanned); response is K, zero where a tilt pair was not measured;
    cover (n_voxels,) the weight with which a voxel falls on the detector; owned (n_rows,) whether this rank
    answers for the pixel in sums over all.
    """

    matrix: NDArray[np.float64]
    shift: NDArray[np.float64]
    widths: NDArray[np.float64]
    shape: tuple[int, int]
    pixels: NDArray[np.int64]
    counts: Callable[[], NDArray[Any]]
    measured: NDArray[np.bool_]
    response: BlockResponse
    cover: NDArray[np.float32]
    owned: NDArray[np.bool_]

    @property
    def sees_few(self) -> bool:
        """Whether far fewer positions are scanned than there are orientations, all pixels alike."""
        many = _FEW_SCANNED * self.response.n_scanned <= self.response.n_padded
        return many and len(self.response.seen) == 1

    def holding(self, counts: NDArray[Any]) -> View:
        """The view with these counts in memory."""
        return replace(self, counts=lambda: counts)

    def responding(
        self,
        lean: Lean,
        sees: Callable[[Resolution], Image],
        resolution: Resolution,
        xyz_um: NDArray[np.float64],
    ) -> View:
        """The view with its response, for voxels (n_voxels, 3); sees gives K of one place in the image.

        Zero where nothing was measured.
        """

        def measured(what: Resolution) -> Image:
            return np.where(self.measured[:, None], sees(what), np.float32(0.0))

        places = xyz_um @ self.matrix.T + self.shift if lean.leans else xyz_um[:, :2]
        return replace(self, response=lean.response(measured, resolution, self.pixels, self.shape, places))

    def place(self, xyz_um: NDArray[np.float64]) -> tuple[Any, ...]:
        """Where voxels (n_voxels, 3) fall, as the kernels want it."""
        row_of = np.full(self.shape[0] * self.shape[1], -1, dtype=np.int32)
        row_of[self.pixels] = np.arange(self.pixels.size, dtype=np.int32)
        return xyz_um, self.matrix, self.shift, self.widths, self.shape, row_of


@dataclass(frozen=True)
class Model:
    """The forward model of a rank: its voxels (n_voxels, 3) in micrometres, its views, its dark values.

    scaled says that each view has a brightness of its own, lean how far what is accepted moves over an image.
    """

    xyz_um: NDArray[np.float64]
    views: list[View]
    dark: Dark = Dark()  # noqa: RUF009 - frozen
    scaled: bool = False
    lean: Lean = UPRIGHT

    def project(self, view: View, maps: Maps) -> tuple[Image, Lit]:
        """P and K: the prediction (n_rows, n_scanned) of this rank's voxels, and where it comes from.

        The two act on different indices: the one that leaves less to the other comes first.
        """
        if view.sees_few:
            image = np.zeros((view.pixels.size, view.response.n_scanned), dtype=np.float32)
            footprint.scatter(view.response.of_voxels(maps), view.place(self.xyz_um), image)
            return image, None
        image = np.zeros((view.pixels.size, view.response.n_padded), dtype=np.float32)
        map_kernels.scatter_maps(maps.first, maps.run, maps.values, view.place(self.xyz_um), image)
        return view.response.of_pixels(image)

    def backproject(self, view: View, image: Image, lit: Lit, maps: Maps) -> None:
        """Add the adjoint of `project` of an image (n_rows, n_scanned) to what the maps hold.

        lit is what `project` gave for the same maps; what they hold nothing of is left out.
        """
        if lit is None:
            seen = np.zeros((maps.n_voxels, view.response.n_scanned), dtype=np.float32)
            footprint.gather(image, view.place(self.xyz_um), seen)
            view.response.of_voxels_back(seen, maps)
        else:
            back = view.response.of_pixels_back(image, lit)
            map_kernels.gather_maps(back, view.place(self.xyz_um), maps.first, maps.run, maps.values)

    def light_sums(self, view: View, image: Image, counts: NDArray[Any]) -> NDArray[np.float64]:
        """What `factors_of` needs (6,) of a view's light and counts (n_rows, n_scanned)."""
        measured = view.measured.astype(np.float32)
        return map_kernels.sum_light(image, counts, measured, view.owned, np.float32(self.dark.least_light))

    def factors_of(self, sums: NDArray[np.float64]) -> NDArray[np.float64]:
        """The brightness (n,) of views: counts over light, from the `light_sums` (n, 6) of all ranks.

        Of what is lit, which neither the cut of the dark noise nor a faint background changes, if that is not
        too little.
        """
        if not self.scaled:
            return np.ones(len(sums))
        light, counts, n, lit_light, lit_counts, n_lit = sums.T
        enough = lit_light > _LIT_SHARE * light
        above = np.where(enough, lit_counts - self.dark.level * n_lit, counts - self.dark.mean * n)
        light = np.where(enough, lit_light, light)
        return np.where(light > 0.0, np.maximum(above / np.maximum(light, 1e-30), _DARKEST), 1.0)

    def chi_square(self, chosen: Sequence[int], maps: Maps, factors: Brightness, exchange: Exchange) -> float:
        """Chi-square per value of some views as `maximise` has it, with their brightness (n_views,)."""
        squares = np.zeros(2)
        for k in chosen:
            view, factor = self.views[k], np.float32(factors[k])
            image = self.project(view, maps)[0]
            exchange.add_overlaps([k], [image])
            squares += self.compare(view, image, view.counts(), factor)
        return self.per_value(exchange.total(squares))

    def compare(
        self, view: View, image: Image, counts: NDArray[Any], factor: np.float32
    ) -> NDArray[np.float64]:
        """Chi-square, for a gain of 1, and number of values; turns light into counts over it, in place."""
        measured, dark = view.measured.astype(np.float32), self.dark.for_kernel()
        return np.array(
            map_kernels.compare(image, counts, measured, view.owned, factor, dark, np.float32(_FAINTEST))
        )

    def per_value(self, squares: NDArray[np.float64]) -> float:
        """The misfit, from what `compare` gives for all views and ranks."""
        return float(squares[0] / max(squares[1], 1.0)) / self.dark.gain

    def deviance(self, maps: Maps) -> float:
        """Minus the log likelihood of the maps per count, of a model that has all voxels.

        With the brightness of each view that goes with the maps.
        """
        total = n_counts = 0.0
        for view in self.views:
            noise, data = np.float32(self.dark.in_photons), view.counts()
            image = self.project(view, maps)[0]
            factor = self.factors_of(self.light_sums(view, image, data)[None])[0]
            light = np.float32(factor) * image[:, view.measured]
            expected = np.maximum(self.dark.stored(light) + noise, _FAINTEST)
            counts = data[:, view.measured] + noise
            known = np.isfinite(counts)
            if not known.all():
                expected, counts = expected[known], counts[known]
            total += float((expected - counts * np.log(expected)).sum(dtype=np.float64))
            n_counts += float(counts.sum(dtype=np.float64))
        return total / max(n_counts, 1.0)


class Exchange(Protocol):
    """How the ranks put their predictions together."""

    def add_overlaps(self, indices: list[int], predictions: Sequence[Image]) -> None:
        """Add to the predictions of these views what other ranks predict for the same pixels."""

    def total(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """Sum of the values over all ranks, the same on each."""


class NoExchange:
    """A single rank has nothing to exchange."""

    def add_overlaps(self, indices: list[int], predictions: Sequence[Image]) -> None:
        """Leave the predictions as they are."""

    def total(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the values."""
        return values


def ordered_subsets(n_views: int, n_subsets: int) -> list[list[int]]:
    """Interleaved subsets of the views, in an order that keeps neighbours in time far apart in omega."""
    n_subsets = min(max(n_subsets, 1), n_views)
    ratio = (5.0**0.5 - 1.0) / 2.0
    order = np.argsort([(k * ratio) % 1.0 for k in range(n_subsets)], kind="stable")
    return [list(range(int(k), n_views, n_subsets)) for k in order]


def iteration_of(n_views: int, n_subsets: int, number: int) -> list[list[int]]:
    """The subsets of an iteration: all, or some SUBSETS_AT_ONCE of them in turn where they are many."""
    subsets = ordered_subsets(n_views, n_subsets)
    n_parts = iterations_for_all(len(subsets))
    part = number % n_parts
    return subsets[len(subsets) * part // n_parts : len(subsets) * (part + 1) // n_parts]


def iterations_for_all(n_subsets: int) -> int:
    """In how many iterations every subset has its turn."""
    return max(1, round(n_subsets / SUBSETS_AT_ONCE))


def maximise(
    model: Model,
    maps: Maps,
    iterations: int,
    n_subsets: int,
    exchange: Exchange,
    report: Callable[[int, float], None] = lambda done, misfit: None,
    watch: Watch | None = None,
    factors: NDArray[np.float64] | None = None,
) -> tuple[Maps, list[float]]:
    """Improve the maps; returns them and the misfit of every iteration.

    An iteration goes through the views of `iteration_of`. The misfit is chi-square per measured value where
    the grain is expected to give light, as met on the way. The iterations end early when the answer that
    `watch` sees stands still, but not before every view has had its part. `report` is called after every
    subset with the number of views done. After each iteration orientations that hold next to nothing are
    given up. factors (n_views,) is filled with the brightness of the views, as last found.
    """
    factors = np.ones(len(model.views)) if factors is None else factors
    misfits: list[float] = []
    for iteration in range(iterations):
        squares = np.zeros(2)
        for indices in iteration_of(len(model.views), n_subsets, iteration):
            squares += _update(model, indices, maps, exchange, factors)
            report(len(indices), misfits[-1] if misfits else np.nan)
        if model.scaled:  # brightness and density are known up to a common factor
            maps.values[:] *= np.float32(factors.mean())
            factors /= factors.mean()
        misfits.append(model.per_value(exchange.total(squares)))
        stands = watch is not None and watch.stands(exchange.total(watch.moved(maps)))
        if stands and iteration + 1 >= iterations_for_all(n_subsets):
            break
        maps = pruned(maps, exchange)
    return maps, misfits


def pruned(maps: Maps, exchange: Exchange) -> Maps:
    """Without what is next to nothing beside the peak of its voxel, or beside the peaks of the grain."""
    top = maps.highest().astype(np.float64)
    sums = exchange.total(np.array([np.sum(top**2), np.sum(top)]))
    usual = sums[0] / max(sums[1], 1e-30)
    return maps.above((NOTHING * np.maximum(top, _FAINT_VOXEL * usual)).astype(np.float32))


def constant(model: Model, n_pairs: int, exchange: Exchange) -> Maps:
    """Maps of one value throughout that predict the total of the counts: where the iterations start."""
    counts = response = 0.0
    for view in model.views:
        owned = view.counts()[view.owned][:, view.measured]
        known = owned if owned.dtype.kind != "f" else owned[np.isfinite(owned)]
        share = known.size / max(owned.size, 1)  # the rest is as bright as these
        counts += (float(known.sum(dtype=np.float64)) - model.dark.mean * known.size) / max(share, 1e-9)
        response += float(view.cover.sum()) * float(view.response.seen.mean(axis=0).sum())
    total = exchange.total(np.array([counts, response]))
    return Maps.full(model.xyz_um.shape[0], n_pairs, max(total[0], 1.0) / max(total[1], 1e-9))


def _update(
    model: Model, indices: list[int], maps: Maps, exchange: Exchange, factors: NDArray[np.float64]
) -> NDArray[np.float64]:
    """One step of expectation maximisation on some views, in place; returns (chi-square, values)."""
    views = [model.views[k] for k in indices]
    images, lits = zip(*(model.project(view, maps) for view in views), strict=True)
    exchange.add_overlaps(indices, images)
    counts = [view.counts() for view in views]
    if model.scaled:
        sums = np.stack([model.light_sums(*each) for each in zip(views, images, counts, strict=True)])
        factors[indices] = model.factors_of(exchange.total(sums))
    corrections = replace(maps, values=np.zeros_like(maps.values))
    squares = np.zeros(2)
    bright = factors[indices].astype(np.float32)
    for view, image, lit, data, factor in zip(views, images, lits, counts, bright, strict=True):
        squares += model.compare(view, image, data, factor)
        model.backproject(view, image, lit, corrections)
    cover = np.stack([factor * view.cover for view, factor in zip(views, bright, strict=True)])
    seen, which = _seen_by(views, maps.n_voxels)
    map_kernels.multiply(maps.first, maps.run, maps.values, corrections.values, cover, seen, which)
    return squares


def _seen_by(views: list[View], n_voxels: int) -> tuple[Image, NDArray[np.int32]]:
    """What all positions of views together see of each orientation, and which row of it counts for a voxel.

    A row (n_padded,) for each strip of each view, and numbers of rows (n_views, n_voxels).
    """
    first, which = 0, np.empty((len(views), n_voxels), dtype=np.int32)
    for k, view in enumerate(views):
        strip = view.response.voxel_strip
        which[k] = first if strip is None else first + strip
        first += len(view.response.seen)
    return np.concatenate([view.response.seen for view in views]), which
