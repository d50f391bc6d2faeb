"""Small calls of the kernels of `backprojection`, for `scan.warmup.compile_once`."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

import numpy as np

from ..projection import kernels
from ..projection.views import PixelSet
from ..scan import warmup
from ..scan.setting import Setting
from .rocking import Curves, RockingFit
from .sums import Backprojection, PairTurns, moments_of


def small_calls(setting: Setting) -> Iterator[Callable[[], object]]:
    """The kernels with arguments of the types that the run will use."""
    yield from warmup.small_calls(setting)
    measurement, projector, binarize = setting.measurement, setting.projector, setting.params.binarize
    exact = projector.pair_views is not None
    maps = np.zeros((1, measurement.n_pairs), dtype=measurement.scan.dtype.newbyteorder("="))
    values = maps
    if measurement.turns:
        turned = np.zeros((1, measurement.n_pairs), dtype=np.float32)
        turn = measurement.turns[0]
        yield lambda: kernels.interpolate_pairs(maps, turn.index, turn.weight, turned)
        values = turned
    if binarize and not exact:
        values = values.astype(np.uint8)
    views = (projector.pair_views or projector.views)[:1]
    boxes = np.array([[0, 0, *views.detector_shape]]) * [1, 1, 0, 0]
    nothing = np.zeros(0, dtype=np.int64)
    sums = Backprojection(projector.volume, measurement.n_pairs, values.dtype, 0.0, nothing)
    turns = PairTurns.of(measurement.turns, binarize) if exact else None
    pixels = PixelSet(maps if exact else values, boxes, np.zeros(1, dtype=np.int64))
    yield lambda: sums.add(views, pixels, turns and turns[:1])
    yield lambda: sums.finish(measurement.scan.tilt1_deg, measurement.scan.tilt2_deg, 1)
    if measurement.may_lack:
        marked = replace(pixels, unknown=np.zeros(pixels.flat.shape, dtype=np.bool_))
        yield lambda: sums.add(views, marked, turns and turns[:1])
        pairs = np.zeros(measurement.n_pairs)
        yield lambda: moments_of(pairs[None], [pairs, pairs])


def small_calls_of_rocking(setting: Setting) -> Iterator[Callable[[], object]]:
    """The same for the method `rocking`."""
    yield from warmup.small_calls(setting)
    measurement, projector = setting.measurement, setting.projector
    views, mu = projector.views[:1], measurement.relative_axes_deg()[0]
    curves = Curves.of(setting.params.mode, mu, measurement.omega_rad[:1])
    fit = RockingFit(projector.volume, curves, setting.threshold, np.zeros(0, dtype=np.int64))
    maps = np.zeros((1, measurement.n_pairs), dtype=measurement.scan.dtype.newbyteorder("="))
    pixels = PixelSet(maps, np.array([[0, 0, 1, 1]]), np.zeros(1, dtype=np.int64))
    yield lambda: fit.vote(slice(1), views, pixels)
    yield lambda: fit.collect(slice(1), views, pixels)
    if measurement.may_lack:
        marked = replace(pixels, unknown=np.zeros(maps.shape, dtype=np.bool_))
        yield lambda: fit.vote(slice(1), views, marked)
        yield lambda: fit.collect(slice(1), views, marked)
