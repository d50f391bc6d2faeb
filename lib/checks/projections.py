"""The projections of the result beside the measured images, to see whether the grain explains them.

The reconstructed density, projected at every omega with the geometry of the run, should look like the
images summed over the tilts. What is left over tells a wrong geometry: a centre that is off leaves the
images displaced across the rotation axis, by about as much, at all omegas alike.

Only what was measured is compared: of an omega with missing frames the projections hold what the others show
of each voxel, by its orientation (`seen`), and pixels that are known at too few tilts are left out.

The ranks share the omegas; rank 0 sends them the voxels a chunk at a time. Where voxels are larger than
pixels, the images are summed to bins of their size.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import median_filter

from ..parallel.communicator import Comm, check_alarm, together
from ..parallel.messages import broadcast, collect, collect_everywhere
from ..parallel.partition import block, blocks_of_at_most
from ..parallel.progress import Progress
from ..projection import footprint
from ..scan.bands import Bands
from ..scan.look import zingers
from ..scan.setting import Setting
from .seen import Seen

Array = NDArray[np.float64]
Image = NDArray[np.float32]
T = TypeVar("T")

_VOXELS_AT_ONCE = 1 << 20
_IMAGES_BYTES = 128 << 20  # per rank
_WHOLE = 0.5  # of the frames of other omegas, with which an omega can be compared
_KNOWN = 0.9  # of the measured frames, at which a pixel must be known
_SHOWN = 4  # omegas of which the images are kept, and the worst one
_BRIGHTER = 3.0  # times as bright as other omegas, which no beam is
_NEIGHBOURS = 9  # omegas at least, or half of all, whose median residual is the usual one
_FAR_ABOVE, _WORTH_A_WORD = 2.0, 0.1  # times the usual residual, and above it
_UNSURE = 0.5  # of the light that missing frames would have held, which is worked out only roughly
_SPREADS, _SIGMAS = 6.0, 5.0  # times the scatter of all omegas, and the photons' noise


@dataclass(frozen=True)
class Shown:
    """The images (n_x, n_y) of one omega in counts above the dark level, of bins (along x, y) of pixels."""

    omega_deg: float
    measured: Image
    predicted: Image
    bins: tuple[int, int]


@dataclass(frozen=True)
class Comparison:
    """Projections against images, all tilts of an omega together; arrays have an entry per omega in use.

    omega_deg (n,); measured and predicted (n,) are counts above the dark level in the frames and pixels that
    were measured, with one common scale of the prediction; residual (n,) is what the prediction, as bright as
    the image, leaves unexplained of it beyond the noise of the photons: 0 nothing, 1 everything (the ratio of
    root mean squares); NaN where nothing is lit, or at omegas that are not `whole` (n,): too many frames were
    not measured. noise (n,) is the standard deviation of its square by that noise, lost (n,) the share of the
    light that missing frames would have held. shift_px (n, 2) is how far the image lies from the prediction;
    across is the unit vector in the image normal to the projected rotation axis. shown are some of the
    images, on rank 0 only.
    """

    omega_deg: Array
    measured: Array
    predicted: Array
    residual: Array
    noise: Array
    lost: Array
    shift_px: Array
    whole: NDArray[np.bool_]
    across: tuple[float, float]
    shown: list[Shown]

    @property
    def usual_residual(self) -> float:
        """The median over the omegas; 0 where nothing is lit."""
        known = self.residual[np.isfinite(self.residual)]
        return float(np.median(known)) if known.size else 0.0

    @property
    def residual_by_noise(self) -> float:
        """The `usual_residual` that noise alone may leave."""
        known = self.noise[np.isfinite(self.residual)]
        return float(np.sqrt(_SIGMAS * np.median(known) / np.sqrt(known.size))) if known.size else 0.0

    @property
    def shift_across_px(self) -> float:
        """How far the images lie from the projections across the axis, median over the omegas."""
        shifts = self.shift_px @ np.array(self.across)
        known = shifts[np.isfinite(shifts)]
        return float(np.median(known)) if known.size else 0.0

    @property
    def standing_out(self) -> NDArray[np.bool_]:
        """The omegas (n,) whose residual is far above that of their neighbours, scatter and noise."""
        residual = np.where(self.whole, np.nan_to_num(self.residual, nan=1.0), self.usual_residual)
        n_around = max(_NEIGHBOURS, residual.size // 2)
        usual = median_filter(residual, n_around, mode="nearest")
        spread = 1.4826 * np.median(np.abs(residual - np.median(residual)))
        noisy = np.sqrt(usual**2 + _SIGMAS * np.nan_to_num(self.noise)) - usual
        above = np.maximum(noisy, max(_SPREADS * float(spread), _WORTH_A_WORD))
        limit = np.maximum(_FAR_ABOVE * usual, usual + above) + _UNSURE * self.lost
        return self.whole & (residual > limit)

    def facts(self) -> dict[str, Any]:
        """For the attributes of the result; single precision keeps them small."""
        return {
            "projection_omega_deg": self.omega_deg.astype(np.float32),
            "projection_measured_counts": self.measured.astype(np.float32),
            "projection_predicted_counts": self.predicted.astype(np.float32),
            "projection_residual": self.residual.astype(np.float32),
            "projection_shift_across_px": self.shift_across_px,
        }


def compare(
    setting: Setting,
    density: Array,
    comm: Comm,
    fields: Mapping[str, Array] | None = None,
    facts: Mapping[str, Any] | None = None,
    *,
    quiet: bool = False,
) -> Comparison:
    """Project the density (n_x, n_y, n_z) of rank 0, in any unit, at every omega. Collective.

    Other ranks may give anything; the result is the same on every rank (but for `shown`), for any number of
    ranks. fields are those of the orientation, on rank 0, and None on all ranks where it is not known; facts
    what was found with the density, on every rank: the brightness of the omegas, the gain, the resolution.
    """
    facts, n_omega = facts or {}, setting.measurement.n_omega
    bright = facts.get("omega_factors", np.ones(n_omega))
    projector = _Projector(setting, density, comm, fields, facts)
    mine = len(block(n_omega, comm.size, comm.rank))
    show = comm.rank == 0 and not quiet
    with Progress("projections", mine, "omegas", overall=n_omega, visible=show) as progress:
        rows = projector.each(range(n_omega), projector.statistics, progress)
        statistics = np.array(rows)
        whole = setting.measurement.share_of_frames >= _WHOLE
        statistics[~whole, -2:] = np.nan
        statistics[:, [1, 3]] *= bright[:, None]
        statistics[:, 4] *= bright**2
        scale = statistics[whole, 3].sum() / max(statistics[whole, 4].sum(), 1e-30)
        own = _own_scale(statistics, scale)
        omega_deg = setting.measurement.omega_deg
        residual = np.where(whole, _residual(statistics, own), np.nan)
        chosen = _choose(residual)
        shown = projector.each(
            chosen,
            lambda k, m, p: Shown(
                float(omega_deg[k]), m, (own[k] * bright[k] * p).astype(np.float32), projector.bins
            ),
            everywhere=False,
        )
    along = setting.projector.views.matrix[:, :, setting.projector.axis].mean(axis=0)
    across = np.array([-along[1], along[0]]) / np.hypot(*along)
    across *= np.sign(across[np.abs(across).argmax()])
    return Comparison(
        omega_deg,
        statistics[:, 0],
        scale * statistics[:, 1],
        residual,
        _noise(statistics, residual),
        statistics[:, 8],
        statistics[:, -2:],
        whole,
        (float(across[0]), float(across[1])),
        shown,
    )


def _own_scale(statistics: Array, scale: float) -> Array:
    """The scale (n,) of the prediction at each omega, near the common one: the beam varies, the grain not."""
    own = statistics[:, 3] / np.maximum(statistics[:, 4], 1e-30)
    return np.clip(own, scale / _BRIGHTER, scale * _BRIGHTER)


def _residual(statistics: Array, scale: float | Array) -> Array:
    """See `Comparison`; the photons' noise is taken out of both sums of squares."""
    _, _, mm, mp, pp, noise = statistics[:, :6].T
    left = np.maximum(mm - 2.0 * scale * mp + scale**2 * pp - noise, 0.0)
    light = mm - noise
    lit = light > noise / 10
    return np.where(lit, np.sqrt(left / np.where(lit, light, 1.0)), np.nan)


def _noise(statistics: Array, residual: Array) -> Array:
    """See `Comparison`; of pixels that are left with a share `residual` of their counts."""
    mm, noise, squares, lit = statistics[:, [2, 5, 6, 7]].T
    left = np.nanmedian(residual) if np.isfinite(residual).any() else 0.0
    return np.asarray(
        np.sqrt(2.0 * squares + 4.0 * left**2 * lit) / np.maximum(mm - noise, noise / 10 + 1e-30)
    )


def _choose(residual: Array) -> list[int]:
    """Numbers of some omegas, evenly spread, and of the one with the largest residual."""
    n = residual.size
    even = ((np.arange(min(n, _SHOWN)) + 0.5) / _SHOWN * n).astype(int)
    worst = int(np.nanargmax(residual)) if np.isfinite(residual).any() else 0
    return sorted({worst, *np.minimum(even, n - 1).tolist()})


class _Projector:
    """Measured and predicted images of the omegas, shared among the ranks."""

    def __init__(
        self,
        setting: Setting,
        density: Array,
        comm: Comm,
        fields: Mapping[str, Array] | None,
        facts: Mapping[str, Any],
    ) -> None:
        self.setting, self.comm = setting.fitted_to_voxels(), comm
        measurement = self.setting.measurement
        self.dark = replace(self.setting.dark, gain=float(facts.get("gain", 1.0)))
        self.bins, self.shape = self.setting.projector.bins, self.setting.projector.detector_shape
        self.widths_px = self.setting.projector.widths_px
        self.values = density.reshape(-1) if comm.rank == 0 else np.empty(0)
        self.places = np.flatnonzero(self.values > 0)
        self.lost: dict[int, float] = {}
        self.seen = Seen.of(measurement, setting.params, facts) if fields is not None else None
        self.unknown = np.zeros((self.places.size, 2), dtype=np.float32)
        if self.seen is not None and comm.rank == 0 and fields:
            self.unknown = self.seen.unknown(fields, self.places)

    def each(
        self,
        numbers: Sequence[int],
        work: Callable[[int, Image, Image], T],
        progress: Progress | None = None,
        *,
        everywhere: bool = True,
    ) -> list[T]:
        """work(k, measured, predicted) of omegas given by number, on all ranks or on rank 0. Collective."""
        comm, results = self.comm, []
        n_images = max(1, _IMAGES_BYTES // (4 * self.shape[0] * self.shape[1] + 1))
        with Bands(self.setting.measurement.scan, self.setting.measurement.omega_index) as bands:
            for part in blocks_of_at_most(range(len(numbers)), comm.size * n_images):
                mine = [numbers[part[i]] for i in block(len(part), comm.size, comm.rank)]
                predicted = self._predict(mine)
                done: list[T] = []
                with together(comm):
                    for k, image in zip(mine, predicted, strict=True):
                        done.append(work(k, self._measured(bands, k), image))
                        if progress:
                            progress.advance()
                        check_alarm(comm)
                found = (collect_everywhere if everywhere else collect)(comm, done)
                results += [result for share in found for result in share]
        return results

    def statistics(self, k: int, measured: Image, predicted: Image) -> tuple[float, ...]:
        """Sums over the pixels that were measured, and the shift (x, y) in pixels.

        Sums of m, p, mm, mp, pp, of the variances v of the noise, of vv and v mm; then the share of the light
        in missing frames.
        """
        known = np.isfinite(measured)
        m, p = (image[known].astype(np.float64) for image in (measured, predicted))
        n_frames = int(self.setting.measurement.measured(k).sum())
        variance = self.dark.gain * np.maximum(m, 0.0) + n_frames * self.dark.variance
        products = (m, p, m * m, m * p, p * p, variance, variance**2, variance * m * m)
        return *(float(v.sum()) for v in products), self.lost[k], *(self.bins * _shift(measured, predicted))

    def _measured(self, bands: Bands, k: int) -> Image:
        """Counts above the dark level of one omega, the measured tilts together, binned.

        NaN where a pixel is known at too few of them.
        """
        measured, image = self.setting.measurement.measured(k), self.setting.kept_total(k)
        if image is None:
            found = bands.over_tilts(k)
            image = found.total
            if found.n_unknown is not None:
                image[found.n_unknown > (1.0 - _KNOWN) * measured.sum()] = np.nan
        image = image - np.float32(measured.sum() * self.dark.mean)
        image[zingers(image, float(measured.sum()) * self.dark.variance, self.dark.gain)] = np.nan
        return image

    def _predict(self, numbers: list[int]) -> list[Image]:
        """The projections at this rank's omegas of the density, as far as the measured frames show it."""
        images = [np.zeros(self.shape, dtype=np.float32) for _ in numbers]
        views, any_row = self.setting.projector.views, np.empty(0, dtype=np.int32)
        tables = [None if self.seen is None else self.seen.table(k) for k in numbers]
        plain = self.setting.measurement.share_of_frames.astype(np.float32)
        light = np.zeros((2, len(numbers)))
        for xyz_um, values, unknown in self._voxels():
            for n, (k, image, table) in enumerate(zip(numbers, images, tables, strict=True)):
                place = views.matrix[k], views.shift[k], self.widths_px[k], self.shape, any_row
                if self.seen is None:
                    shares: Image | np.float32 = plain[k]
                else:
                    shares = np.float32(1.0) if table is None else self.seen.share(table, unknown)
                footprint.cast(values * shares, (xyz_um, *place), image)
                light[:, n] += float(values.sum()), float((values * shares).sum())
        self.lost |= dict(zip(numbers, (1.0 - light[1] / np.maximum(light[0], 1e-30)).tolist(), strict=True))
        return images

    def _voxels(self) -> Iterator[tuple[Array, Image, Image]]:
        """Places (n, 3) in micrometres, density (n,) and unknown (n, 2) of the voxels that hold any.

        Chunk by chunk.
        """
        comm, grid = self.comm, self.setting.projector.volume.axes_um
        for start in range(0, comm.bcast(self.places.size), _VOXELS_AT_ONCE):
            some = slice(start, start + _VOXELS_AT_ONCE)
            here = self.places[some]
            chunk = here, self.values[here].astype(np.float32), self.unknown[some]
            here, values, unknown = broadcast(comm, chunk)
            ijk = np.unravel_index(here, self.setting.projector.volume.shape)
            xyz_um = np.column_stack([axis[i] for axis, i in zip(grid, ijk, strict=True)])
            yield xyz_um, values, unknown


def _shift(measured: Image, predicted: Image) -> Array:
    """How far (x, y) the measured image lies from the predicted one, in pixels, to first order.

    Least squares of measured = s (predicted - shift . gradient); NaN where that is not determined.
    """
    if min(predicted.shape) < 2:
        return np.full(2, np.nan)
    known, p = np.isfinite(measured), predicted.astype(np.float64)
    slopes = (np.gradient(p, axis=axis) for axis in (0, 1))
    design = np.column_stack([p[known], *(-slope[known] for slope in slopes)])
    normal = design.T @ design
    if not normal[0, 0] > 0 or np.linalg.cond(normal / normal[0, 0]) > 1e9:
        return np.full(2, np.nan)
    scale, *moved = np.linalg.solve(normal, design.T @ measured[known].astype(np.float64))
    return np.array(moved) / scale if scale > 0 else np.full(2, np.nan)
