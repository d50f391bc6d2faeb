"""Small calls of the kernels of `mlem`, for `scan.warmup.compile_once`."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..parallel.communicator import SerialComm
from ..physics.noise import Dark
from ..projection.footprint import ONE_PIXEL, where_it_falls
from ..scan import warmup
from ..scan.measurement import Measurement
from ..scan.setting import Setting
from . import expectation, shape, simulated
from .counting import with_noise
from .expectation import Model, NoExchange, View
from .maps import Maps
from .response import BlockResponse
from .search import REFINEMENT
from .standstill import Watch


def small_calls(setting: Setting) -> Iterator[Callable[[], object]]:
    """The kernels with arguments of the types that the run will use."""
    yield from warmup.small_calls(setting)
    yield from warmup.small_calls_of_bins(setting)
    matrix, counted = setting.projector.views.matrix[0], setting.measurement.scan.dtype.newbyteorder("=")
    for dtype in (counted, np.dtype(np.float32)):  # as measured, and of coarse scans
        for part in setting.measurement.parts():
            yield lambda part=part, dtype=dtype: fit_one_voxel(part, matrix, dtype)  # type: ignore[misc]


def fit_one_voxel(measurement: Measurement, matrix: NDArray[np.float64], dtype: np.dtype[Any]) -> None:
    """An iteration with one voxel in front of one pixel, and what is read off its map."""
    counts = measurement.put_together(np.zeros((1, measurement.n_pairs), dtype=dtype))
    xyz, place = np.zeros((1, 3)), (matrix, np.zeros(2), ONE_PIXEL, (1, 1))
    hit, cover = where_it_falls(xyz, *place)
    pixels, measured = np.flatnonzero(hit), measurement.scanned(0)
    for refinement in (1, REFINEMENT):  # K may come before P or after it
        grid = measurement.scan_type.grid(measurement.relative_axes_deg(), refinement)
        response = BlockResponse.of(np.ones((measured.size, grid.n_pairs), dtype=np.float32))
        view = View(*place, pixels, lambda: counts, measured, response, cover, hit)
        model, maps = Model(xyz, [view], scaled=True), Maps.full(1, grid.n_pairs, 1.0)
        with_noise(model, maps, [0], None, NoExchange(), SerialComm())
        watch = Watch(grid, np.zeros(1, dtype=np.int64), 2)
        maps, _ = expectation.maximise(model, maps, 1, 1, NoExchange(), watch=watch)
        if refinement == 1:
            _simulate_one_voxel(measurement, model)
        shape.read_maps(maps, np.zeros((1, 1, 1), dtype=np.int64), np.zeros((1, 3), dtype=np.int64), grid)


def _simulate_one_voxel(measurement: Measurement, model: Model) -> None:
    """The frames of a voxel, as the self-test makes them."""
    grid = measurement.scan_type.grid(measurement.relative_axes_deg(), simulated.FINER)
    truth = simulated.Truth(model.xyz_um, np.zeros((1, 2)), np.ones(1))
    n_scanned = model.views[0].response.n_scanned
    response = BlockResponse.of(np.ones((n_scanned, grid.n_pairs), dtype=np.float32))
    view = replace(model.views[0], response=response)
    maps = simulated.as_maps(truth, grid)
    light = model.project(view, maps)[0]
    simulated.add_noise(light, view.pixels, 0, Dark(), simulated.normal_numbers(n_scanned))
