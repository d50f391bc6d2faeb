"""What the method makes of frames whose truth is known: those that the result itself would have given.

A parametric bootstrap. The result is taken for the truth, its frames are made with the resolution that was
found and the noise of the counts, and reconstructed as those of the scan were: what comes out differs from
the result as the result differs from the grain, as far as method and noise go. Where an iteration has not all
omegas, those in a row are made as one with all their light, as many as a subset has: each step is worth what
it is in the reconstruction, so the errors come out the same, in less time.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from ..parallel.communicator import Comm, check_alarm, together
from ..parallel.memory import fits_on_every_node
from ..physics.tilts import BLUR_STEPS, Resolution
from ..projection.footprint import where_it_falls
from ..projection.projector import Projector
from ..scan.measurement import Measurement
from .expectation import Exchange, Model, View, iterations_for_all
from .maps import Maps
from .overlaps import RankExchange
from .response import Image
from .simulated import FINER, Truth, add_noise, as_maps, box_widths_px, normal_numbers

Array = NDArray[np.float64]

_OMEGAS_OF_LINES = 60  # at least, if the scan has so many: each sees the orientations along a line only
_FEWEST = 12  # however little memory is free
_VOXELS_AT_ONCE = 20_000  # whose light is worked out at once


@dataclass(frozen=True)
class PartOf:
    """The `Exchange` of some of the views, given by their numbers."""

    whole: Exchange
    numbers: Sequence[int]

    def add_overlaps(self, indices: list[int], predictions: Sequence[Image]) -> None:
        """See `expectation.Exchange`."""
        self.whole.add_overlaps([self.numbers[k] for k in indices], predictions)

    def total(self, values: Array) -> Array:
        """See `expectation.Exchange`."""
        return self.whole.total(values)


def thinned(model: Model, measurement: Measurement, n_subsets: int, comm: Comm) -> range:
    """All omegas, or every second and so on where many are taken together or would not fit. Collective.

    n_subsets of them there are in the reconstruction.
    """
    n_omega, n_pairs = len(model.views), math.prod(measurement.scanned_shape)
    every = 1
    if measurement.scan_type.sees_lines:
        every = max(1, n_omega // _OMEGAS_OF_LINES)
    elif iterations_for_all(n_subsets) > 1:
        every = max(1, round(n_omega / n_subsets))
    while n_omega // (every + 1) >= _FEWEST:
        n_bytes = sum(4 * view.pixels.size * n_pairs for view in model.views[::every])
        if fits_on_every_node(comm, n_bytes, None):
            break
        every += 1
    return range(0, n_omega, every)


def simulated_views(
    measurement: Measurement,
    projector: Projector,
    resolution: Resolution,
    model: Model,
    truth: Truth,
    chosen: range,
    comm: Comm,
) -> list[View]:
    """Some of the views with the counts that the truth would have given. Collective.

    truth are the voxels of this rank. Every omega has the light of `chosen.step` of them, and what was not
    measured of it is not known here either.
    """
    axes = measurement.relative_axes_deg()
    grid = measurement.scan_type.grid(axes, FINER)
    sharp = resolution.sharpened(BLUR_STEPS * measurement.usual_step_deg)
    scale = np.float32(chosen.step * _area(sharp, measurement) / max(_area(resolution, measurement), 1e-30))
    widths = box_widths_px(projector.views, projector.voxel_um)
    views: list[View] = []
    with together(comm):
        for k in chosen:
            view = model.views[k]
            place = view.matrix, view.shift, widths[k], view.shape
            hit, cover = where_it_falls(truth.xyz_um, *place)
            hit[view.pixels] = True

            def sees(what: Resolution, k: int = k) -> Image:
                return np.asarray(scale * measurement.response(axes, grid, what, k))

            seen = replace(view, widths=widths[k], pixels=np.flatnonzero(hit), cover=cover)
            views.append(seen.responding(model.lean, sees, resolution, truth.xyz_um))
    exchange = RankExchange(comm, views)
    dark = model.dark.times(chosen.step)
    pool = normal_numbers(measurement.n_pairs)
    parts = [
        truth.part(start, start + _VOXELS_AT_ONCE) for start in range(0, len(truth.density), _VOXELS_AT_ONCE)
    ]
    grains = [(part.xyz_um, as_maps(part, grid)) for part in parts]
    made: list[View] = []
    for number, k in enumerate(chosen):
        light = _light(views[number], grains)
        exchange.add_overlaps([number], [light])
        real = model.views[k]
        counts = np.ascontiguousarray(light[np.searchsorted(views[number].pixels, real.pixels)])
        add_noise(counts, real.pixels, k, dark, pool)
        known = real.counts()
        if known.dtype.kind == "f":
            counts[np.isnan(known)] = np.nan
        made.append(real.holding(counts))
        check_alarm(comm)
    return made


def _area(resolution: Resolution, measurement: Measurement) -> float:
    """How much a Gaussian of these widths holds, up to a factor."""
    area = resolution.rocking or 1.0
    if measurement.scan_type.unknown[1] and np.isfinite(resolution.rolling):
        area *= resolution.rolling or 1.0
    return area


def _light(view: View, grains: list[tuple[Array, Maps]]) -> Image:
    """What the voxels of this rank, in parts, give at the pixels of a view: (n_rows, n_scanned)."""
    light = np.zeros((view.pixels.size, view.response.n_scanned), dtype=np.float32)
    for xyz_um, maps in grains:
        light += Model(xyz_um, []).project(view, maps)[0]
    return light
