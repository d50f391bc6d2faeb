"""A scan made small: some omegas, with pixels and tilts put together, so that a trial takes a moment.

Used to try what is not known: widths of the resolution, signs and flips of the geometry.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..parallel.communicator import Comm, check_alarm, together
from ..parallel.messages import collect, collect_everywhere
from ..parallel.partition import block
from ..physics.noise import Dark
from ..physics.tilts import OrientationGrid, Resolution
from ..projection.footprint import ONE_PIXEL, where_it_falls
from ..projection.views import Views
from ..scan.bands import Bands
from ..scan.binned import whole_bins
from ..scan.measurement import Measurement
from . import expectation
from .expectation import Model, NoExchange, View
from .lean import Lean
from .maps import Maps
from .response import NO_RESPONSE

Array = NDArray[np.float64]

_LEAST_KNOWN = 0.5  # of what is put together, from which the rest is taken to be alike


@dataclass(frozen=True)
class CoarseScan:
    """Counts summed over factor x factor pixels and over neighbouring tilts, at some omegas.

    chosen (n,) are these among the omegas in use; shape = (n_x, n_y) in coarse pixels, the first of which
    begins at the pixel first_px; axes_deg are the tilts from tilt_zero, each the middle of tilt_steps
    positions; images hold (n_x * n_y, n_scanned) and measured (n_scanned,) per omega, NaN where too few of
    the pixels were measured; dark is that of a coarse pixel.
    """

    chosen: NDArray[np.int64]
    factor: int
    shape: tuple[int, int]
    first_px: tuple[int, int]
    axes_deg: tuple[Array, Array]
    tilt_steps: tuple[int, int]
    images: list[NDArray[np.float32]]
    measured: list[NDArray[np.bool_]]
    dark: Dark

    def n_counts(self, omegas: Sequence[int]) -> float:
        """Total of the counts above the dark level at some of its omegas."""
        images = [self.images[k] for k in omegas]
        total = sum(float(np.nansum(image, dtype=np.float64)) for image in images)
        known = sum(int(np.isfinite(image).sum()) for image in images)
        return max(total - known * self.dark.mean, 1.0)

    def views(self, views: Views) -> Views:
        """The projections to coarse pixels, from those of all omegas to the pixels of the ROI."""
        matrix = views.matrix[self.chosen] / self.factor
        middle = np.array(self.first_px) + (self.factor - 1) / 2.0
        shift = (views.shift[self.chosen] - middle) / self.factor
        return Views(np.ascontiguousarray(matrix), np.ascontiguousarray(shift), self.shape)


def load(
    measurement: Measurement,
    dark: Dark,
    comm: Comm,
    n_omega: int,
    n_pixels: int,
    n_tilts: int = 0,
    *,
    everywhere: bool = False,
) -> CoarseScan:
    """Read at most n_omega omegas with at most n_pixels across. Collective.

    Each tilt is brought to at most 2 n_tilts - 1 positions; 0 leaves the tilts as they are. The images go
    to rank 0, or `everywhere`.
    """
    chosen = np.unique(np.linspace(0, measurement.n_omega - 1, n_omega).round().astype(int))
    n_x, n_y = measurement.scan.shape[3:]
    factor = max(1, -(-max(n_x, n_y) // n_pixels))
    steps = [max(1, n // n_tilts) if n_tilts else 1 for n in measurement.scanned_shape]
    small, (shape, first_px) = (
        measurement.scan.binned((factor, factor)),
        whole_bins((n_x, n_y), (factor, factor)),
    )
    images: list[NDArray[np.float32]] = []
    with together(comm), Bands(small, measurement.omega_index, unknown=np.nan) as bands:
        for k in block(chosen.size, comm.size, comm.rank):
            images.append(_small_image(measurement, bands, int(chosen[k]), steps))
            check_alarm(comm)
    axis1, axis2 = (
        _small(axis, [step]) / step for axis, step in zip(measurement.relative_axes_deg(), steps, strict=True)
    )
    frames = np.stack([measurement.measured(k) for k in chosen]).astype(np.float32)
    shares = _fewer_tilts(measurement, frames, steps) / _fewer_tilts(measurement, np.ones_like(frames), steps)
    parts = (collect_everywhere if everywhere else collect)(comm, images)
    n_summed = factor**2 * steps[0] * steps[1] * measurement.n_summed
    return CoarseScan(
        chosen=chosen,
        factor=factor,
        shape=shape,
        first_px=first_px,
        axes_deg=(axis1, axis2),
        tilt_steps=(steps[0], steps[1]),
        images=[image for part in parts for image in part],
        measured=[share >= _LEAST_KNOWN for share in shares],
        dark=dark.times(n_summed),
    )


def _small(values: NDArray[Any], steps: list[int]) -> NDArray[Any]:
    """Sum over blocks of the first axes, steps[i] long on axis i; what is left over at the end is dropped."""
    for axis, step in enumerate(steps):
        n = values.shape[axis] // step
        whole = np.moveaxis(values, axis, 0)[: n * step]
        values = np.moveaxis(whole.reshape(n, step, *whole.shape[1:]).sum(axis=1), 0, axis)
    return values


def _small_image(measurement: Measurement, bands: Bands, k: int, steps: list[int]) -> NDArray[np.float32]:
    """Coarse counts (n_x * n_y, n_scanned) of one omega, from bands of coarse pixels.

    Of neighbouring tilts that were measured in part the counts are scaled up; NaN where that is too little.
    """
    n_x, n_y = bands.scan.shape[3:]
    flat = bands.load(slice(k, k + 1), np.array([[0, 0, n_x, n_y]])).flat.astype(np.float32, copy=False)
    known = np.isfinite(flat) & measurement.measured(k)
    if known.all():
        return _fewer_tilts(measurement, flat, steps)
    share = _fewer_tilts(measurement, known.astype(np.float32), steps)
    share /= _fewer_tilts(measurement, np.ones_like(flat), steps)
    light = _fewer_tilts(measurement, np.where(known, flat, np.float32(0.0)), steps)
    return np.divide(light, share, out=np.full_like(light, np.nan), where=share >= _LEAST_KNOWN)


def _fewer_tilts(measurement: Measurement, values: NDArray[Any], steps: list[int]) -> NDArray[np.float32]:
    """Values (n, n_pairs) of frames summed over those that belong together, and over neighbours."""
    whole = measurement.put_together(values).reshape(-1, *measurement.scanned_shape)
    return np.ascontiguousarray(_small(whole, [1, *steps]).reshape(len(values), -1))


def put_together(xyz_um: Array, cell_um: float) -> tuple[Array, NDArray[np.int64]]:
    """Mean places (n, 3) of voxels (n_voxels, 3) in cells of this width, and how many are in each (n,)."""
    cells = np.floor(xyz_um / cell_um).astype(np.int64)
    _, which, n = np.unique(cells, axis=0, return_inverse=True, return_counts=True)
    sums = np.stack([np.bincount(which.reshape(-1), weights=column) for column in xyz_um.T], axis=1)
    return sums / n[:, None], n


@dataclass(frozen=True)
class Trial:
    """Coarse voxels xyz_um (n, 3) before the coarse scan, seen by `views` (of the coarse pixels).

    With all_pixels, pixels that no voxel hits take part too: the data that a wrong geometry does not
    explain then count against it. scaled says that each view has a brightness of its own.
    """

    measurement: Measurement
    scan: CoarseScan
    xyz_um: Array
    views: Views
    all_pixels: bool = False
    scaled: bool = False

    @property
    def steps_deg(self) -> tuple[float, float]:
        """Mean steps of the axes of the unknown, as `Measurement.steps_deg`."""
        return self.measurement.steps_of(self.scan.axes_deg)

    @property
    def usual_step_deg(self) -> float:
        """Their mean."""
        return self.measurement.usual_step_of(self.scan.axes_deg)

    def model(self, resolution: Resolution, refinement: int = 1) -> tuple[Model, OrientationGrid]:
        """The forward model with given widths, and its orientations: `refinement` on a step of the scan."""
        measurement, scan = self.measurement, self.scan
        grid = measurement.scan_type.grid(scan.axes_deg, refinement)
        lean = Lean.of(resolution, self.views, self.usual_step_deg)
        views = []
        for k, view in zip(scan.chosen.tolist(), self._unresponsive, strict=True):
            sees = partial(measurement.response, scan.axes_deg, grid, k=k)
            views.append(view.responding(lean, sees, resolution, self.xyz_um))
        return Model(self.xyz_um, views, scan.dark, self.scaled, lean), grid

    @cached_property
    def _unresponsive(self) -> list[View]:
        """The views without their response, which are the same for all widths."""
        views = []
        for k, image in enumerate(self.scan.images):
            place = self.views.matrix[k], self.views.shift[k], ONE_PIXEL, self.scan.shape
            hit, cover = where_it_falls(self.xyz_um, *place)
            pixels = np.arange(hit.size) if self.all_pixels else np.flatnonzero(hit)
            owned = np.ones(pixels.size, dtype=np.bool_)
            counts = partial(np.asarray, np.take(image, pixels, axis=0))
            views.append(View(*place, pixels, counts, self.scan.measured[k], NO_RESPONSE, cover, owned))
        return views


def maximise(model: Model, grid: OrientationGrid, iterations: int, n_subsets: int) -> Maps:
    """The maps of a small model that one rank holds."""
    start = expectation.constant(model, grid.n_pairs, NoExchange())
    return expectation.maximise(model, start, iterations, n_subsets, NoExchange())[0]
