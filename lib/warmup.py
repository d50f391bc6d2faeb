"""Compile the kernels before the work, once: later runs and other ranks find them in the cache."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator

import numpy as np

from . import kernels
from .backprojection import Backprojection, PairTurns, PixelSet, pixel_boxes
from .setting import Setting


def warm_up(setting: Setting, *, quiet: bool = False) -> None:
    """Call every kernel of the run on a voxel or two; says so on standard error where that compiles.

    Call it on one rank while the others wait: they then load what this one has compiled.
    """
    started, said = time.monotonic(), False
    for call in _small_calls(setting):
        call()
        if kernels.n_compiled() and not said:
            said = True
            if not quiet:
                print("compiling kernels ...", end=" ", file=sys.stderr, flush=True)
    if said and not quiet:
        print(f"{time.monotonic() - started:.1f} s (once)", file=sys.stderr, flush=True)


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
