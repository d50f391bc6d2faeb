"""Compile the kernels before the work, once: later runs and other ranks find them in the cache."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from . import kernels, map_kernels, mlem, shape
from .backprojection import Backprojection, PairTurns, PixelSet, pixel_boxes
from .maps import Maps
from .mlem import Model, NoExchange, View
from .resolution import REFINEMENT
from .responses import BlockResponse
from .setting import Setting


def warm_up(setting: Setting, *, quiet: bool = False) -> None:
    """Call every kernel of the run on a voxel or two; says so on standard error where that compiles.

    Call it on one rank while the others wait: they then load what this one has compiled.
    """
    started, said = time.monotonic(), False
    for call in _small_calls(setting):
        call()
        if _n_compiled() and not said:
            said = True
            if not quiet:
                print("compiling kernels ...", end=" ", file=sys.stderr, flush=True)
    if said and not quiet:
        print(f"{time.monotonic() - started:.1f} s (once)", file=sys.stderr, flush=True)


def _n_compiled() -> int:
    """How many kernels this process has compiled, rather than found in the cache on disk."""
    modules = (kernels, map_kernels, shape)
    functions = (f for module in modules for f in vars(module).values() if hasattr(f, "stats"))
    return sum(sum(f.stats.cache_misses.values()) for f in functions)


def _small_calls(setting: Setting) -> Iterator[Callable[[], object]]:
    """The kernels with arguments of the types that the run will use."""
    views = (setting.pair_views or setting.views)[:1]
    chosen = np.zeros(1, dtype=np.int64)
    boxes = np.array([[0, 0, *views.detector_shape]]) * [1, 1, 0, 0]
    measured = setting.scan.dtype.newbyteorder("=")
    frames = np.zeros((setting.n_pairs, 1, 1), dtype=measured)
    maps = np.zeros((1, setting.n_pairs), dtype=measured)
    yield lambda: pixel_boxes(views, setting.volume, chosen)
    yield lambda: kernels.transpose_frames(frames, 0, 1, maps)
    small = (np.zeros((1, 2, 3)), np.zeros((1, 2)), (1, 1), *(np.zeros(1) for _ in range(3)))
    yield lambda: kernels.count_hull(np.zeros(1, np.int32), np.zeros((1, 1), np.uint8), *small)
    if setting.params.method == "mlem":
        yield lambda: _fit_one_voxel(setting, maps)
        return
    values = maps
    if setting.turns:
        turned = np.zeros((1, setting.n_pairs), dtype=np.float32)
        turn = setting.turns[0]
        yield lambda: kernels.interpolate_pairs(maps, turn.index, turn.weight, turned)
        values = turned
    exact = setting.pair_views is not None
    if setting.params.binarize and not exact:
        values = values.astype(np.uint8)
    sums = Backprojection(setting.volume, setting.n_pairs, values.dtype, 0.0, chosen[:0])
    turns = PairTurns.of(setting.turns, setting.params.binarize) if exact else None
    pixels = PixelSet(maps if exact else values, boxes, np.zeros(1, dtype=np.int64))
    yield lambda: sums.add(views, pixels, turns and turns[:1])
    yield lambda: sums.finish(setting.scan.tilt1_deg, setting.scan.tilt2_deg, 1)


def _fit_one_voxel(setting: Setting, counts: NDArray[Any]) -> None:
    """An iteration of `mlem` with one voxel in front of one pixel, and what is read off its map."""
    xyz, matrix, shift = np.zeros((1, 3)), setting.views.matrix[0], np.zeros(2)
    hit, cover = np.zeros(1, dtype=np.bool_), np.zeros(1, dtype=np.float32)
    kernels.mark_pixels(xyz, matrix, shift, (1, 1), hit, cover)
    pixels, measured = np.flatnonzero(hit), setting.measured(0)
    for refinement in (1, REFINEMENT):  # K may come before P or after it
        grid = setting.scan_type.grid(setting.relative_axes_deg(), refinement)
        response = BlockResponse.of(np.ones((setting.n_pairs, grid.n_pairs), dtype=np.float32))
        view = View(matrix, shift, (1, 1), pixels, lambda: counts, measured, response, cover, hit)
        model, maps = Model(xyz, [view], 0.0, 0.0), Maps.full(1, grid.n_pairs, 1.0)
        maps, _ = mlem.maximise(model, maps, 1, 1, NoExchange())
        shape.read_maps(maps, np.zeros((1, 1, 1), dtype=np.int64), np.zeros((1, 3), dtype=np.int64), grid)
