"""The projections of the result beside the measured images, to see whether the grain explains them.

The reconstructed density, projected at every omega with the geometry of the run, should look like the
images summed over the tilts. What is left over tells a wrong geometry: a centre that is off leaves the
images displaced across the rotation axis, by about as much, at all omegas alike.

The ranks share the omegas; rank 0 sends them the voxels a chunk at a time. Where voxels are larger than
pixels, the images are summed to bins of their size.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
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
from ..scan.binned import binned
from ..scan.setting import Setting, find_dark

Array = NDArray[np.float64]
Image = NDArray[np.float32]
T = TypeVar("T")

_VOXELS_AT_ONCE = 1 << 20
_IMAGES_BYTES = 128 << 20  # per rank
_WHOLE = 0.9  # of the frames of other omegas, with which an omega can be compared
_SHOWN = 4  # omegas of which the images are kept, and the worst one
_NEIGHBOURS = 9  # omegas whose median residual is the usual one
_FAR_ABOVE, _WORTH_A_WORD = 2.0, 0.1  # times the usual residual, and above it


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

    omega_deg (n,); measured and predicted (n,) are counts above the dark level in the pixels that were
    measured, with one common scale of the prediction; residual (n,) is what the prediction leaves unexplained
    of the image beyond the noise of the photons: 0 nothing, 1 everything (the ratio of root mean squares);
    NaN where nothing is lit, or at omegas that are not `whole` (n,): too many frames were not measured.
    shift_px (n, 2) is how far the image lies from the prediction; across is the unit vector in the image
    normal to the projected rotation axis. shown are some of the images, on rank 0 only.
    """

    omega_deg: Array
    measured: Array
    predicted: Array
    residual: Array
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
    def shift_across_px(self) -> float:
        """How far the images lie from the projections across the axis, median over the omegas."""
        shifts = self.shift_px @ np.array(self.across)
        known = shifts[np.isfinite(shifts)]
        return float(np.median(known)) if known.size else 0.0

    @property
    def standing_out(self) -> NDArray[np.bool_]:
        """The omegas (n,) whose residual is far above that of their neighbours."""
        residual = np.where(self.whole, np.nan_to_num(self.residual, nan=1.0), self.usual_residual)
        usual = median_filter(residual, _NEIGHBOURS, mode="nearest")
        return self.whole & (residual > np.maximum(_FAR_ABOVE * usual, usual + _WORTH_A_WORD))

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
    setting: Setting, density: Array, comm: Comm, factors: Array | None = None, *, quiet: bool = False
) -> Comparison:
    """Project the density (n_x, n_y, n_z) of rank 0, in any unit, at every omega. Collective.

    Other ranks may give anything; the result is the same on every rank (but for `shown`), for any number of
    ranks. factors (n,) are the brightness of the omegas, on every rank; None: the same at all.
    """
    bright = np.ones(setting.measurement.n_omega) if factors is None else factors
    n_omega = setting.measurement.n_omega
    projector = _Projector(setting, density, comm)
    mine = len(block(n_omega, comm.size, comm.rank))
    show = comm.rank == 0 and not quiet
    with Progress("projections", mine, "omegas", overall=n_omega, visible=show) as progress:
        rows = projector.each(range(n_omega), projector.statistics, progress)
        statistics = np.array(rows)
        whole = setting.measurement.share_of_frames >= _WHOLE
        statistics[~whole, 6:8] = np.nan
        statistics[:, [1, 3]] *= bright[:, None]
        statistics[:, 4] *= bright**2
        scale = statistics[whole, 3].sum() / max(statistics[whole, 4].sum(), 1e-30)
        omega_deg = setting.measurement.omega_deg
        residual = np.where(whole, _residual(statistics, scale), np.nan)
        chosen = _choose(residual)
        shown = projector.each(
            chosen,
            lambda k, m, p: Shown(
                float(omega_deg[k]), m, (scale * bright[k] * p).astype(np.float32), projector.bins
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
        statistics[:, 6:8],
        whole,
        (float(across[0]), float(across[1])),
        shown,
    )


def _residual(statistics: Array, scale: float) -> Array:
    """See `Comparison`; the photons' noise is taken out of both sums of squares."""
    _, _, mm, mp, pp, noise = statistics[:, :6].T
    left = np.maximum(mm - 2.0 * scale * mp + scale**2 * pp - noise, 0.0)
    light = mm - noise
    lit = light > noise / 10
    return np.where(lit, np.sqrt(left / np.where(lit, light, 1.0)), np.nan)


def _choose(residual: Array) -> list[int]:
    """Numbers of some omegas, evenly spread, and of the one with the largest residual."""
    n = residual.size
    even = ((np.arange(min(n, _SHOWN)) + 0.5) / _SHOWN * n).astype(int)
    worst = int(np.nanargmax(residual)) if np.isfinite(residual).any() else 0
    return sorted({worst, *np.minimum(even, n - 1).tolist()})


class _Projector:
    """Measured and predicted images of the omegas, shared among the ranks."""

    def __init__(self, setting: Setting, density: Array, comm: Comm) -> None:
        self.setting, self.comm = setting.fitted_to_voxels(), comm
        self.dark = find_dark(self.setting.measurement, comm)
        self.share_of_frames = setting.measurement.share_of_frames
        self.bins, self.shape = self.setting.projector.bins, self.setting.projector.detector_shape
        self.widths_px = self.setting.projector.widths_px
        self.values = density.reshape(-1) if comm.rank == 0 else np.empty(0)
        self.places = np.flatnonzero(self.values > 0)

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
        """Sums m, p, mm, mp, pp over the pixels, the expected square of the noise, the shift (x, y) in px.

        Of the pixels that were measured.
        """
        known = np.isfinite(measured)
        m, p = (image[known].astype(np.float64) for image in (measured, predicted))
        n_values = int(self.setting.measurement.measured(k).sum()) * m.size
        scaled = 1.0 / self.share_of_frames[k]
        noise = scaled * (float(np.maximum(m, 0.0).sum()) + scaled * n_values * self.dark.variance)
        sums = [float(v) for v in (m.sum(), p.sum(), (m * m).sum(), (m * p).sum(), (p * p).sum())]
        return *sums, noise, *(self.bins * _shift(measured, predicted))

    def _measured(self, bands: Bands, k: int) -> Image:
        """Counts above the dark level of one omega, all tilts together, binned; NaN where not measured.

        Scaled up where frames are missing.
        """
        total = (self.setting.totals or {}).get(k)
        image = bands.total(k) if total is None else total
        image = image if image.shape == self.shape else binned(image, self.bins)
        dark = np.float32(self.setting.measurement.measured(k).sum() * self.dark.mean)
        return (image - dark) / np.float32(self.share_of_frames[k])

    def _predict(self, numbers: list[int]) -> list[Image]:
        """The projections of the density at this rank's omegas."""
        images = [np.zeros(self.shape, dtype=np.float32) for _ in numbers]
        views, any_row = self.setting.projector.views, np.empty(0, dtype=np.int32)
        for xyz_um, values in self._voxels():
            for k, image in zip(numbers, images, strict=True):
                place = views.matrix[k], views.shift[k], self.widths_px[k], self.shape, any_row
                footprint.cast(values, (xyz_um, *place), image)
        return images

    def _voxels(self) -> Iterator[tuple[Array, Image]]:
        """Places (n, 3) in micrometres and density (n,) of the voxels that hold any, chunk by chunk."""
        comm, grid = self.comm, self.setting.projector.volume.axes_um
        for start in range(0, comm.bcast(self.places.size), _VOXELS_AT_ONCE):
            here = self.places[start : start + _VOXELS_AT_ONCE]
            here, values = broadcast(comm, (here, self.values[here].astype(np.float32)))
            ijk = np.unravel_index(here, self.setting.projector.volume.shape)
            xyz_um = np.column_stack([axis[i] for axis, i in zip(grid, ijk, strict=True)])
            yield xyz_um, values


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
