"""Kernels before the work, compiled on one rank; small calls of those with which a scan is read."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

import numpy as np

from ..parallel.communicator import Comm, together
from ..projection import kernels
from ..projection.jit import compile_all, load_kept
from ..projection.kernel_cache import hand_over
from ..projection.views import pixel_boxes
from .binned import binned
from .setting import Setting


def compile_once(calls: Iterable[Callable[[], object]], comm: Comm, *, quiet: bool = False) -> None:
    """Have all ranks make small calls of every kernel of the run, of which rank 0 alone compiles. Collective.

    The others load meanwhile what is kept from earlier runs, and are handed what is not.
    """
    with together(comm):
        if comm.rank == 0:
            compile_all(calls, quiet=quiet)
        else:
            load_kept(calls)
    hand_over(comm)


def small_calls(setting: Setting) -> Iterator[Callable[[], object]]:
    """The kernels with arguments of the types that the run will use."""
    views = (setting.projector.pair_views or setting.projector.views)[:1]
    chosen = np.zeros(1, dtype=np.int64)
    n_pairs, measured = setting.measurement.n_pairs, setting.measurement.scan.dtype.newbyteorder("=")
    frames = np.zeros((n_pairs, 1, 1), dtype=measured)
    maps = np.zeros((1, n_pairs), dtype=measured)
    yield lambda: pixel_boxes(views, setting.projector.volume, chosen)
    yield lambda: kernels.transpose_frames(frames, 0, 1, maps)
    pixel, total, n_unknown = maps[0, :1], np.zeros(1, dtype=np.float32), np.zeros(1, dtype=np.uint16)
    yield lambda: kernels.add_frame(pixel, total, pixel.copy(), n_unknown)
    yield lambda: kernels.second_brightest(np.zeros((3, 3), dtype=np.float32), total[None])
    small = (np.zeros((1, 2, 3)), np.zeros((1, 2)), (1, 1), *(np.zeros(1) for _ in range(3)))
    yield lambda: kernels.count_hull(np.zeros(1, np.int32), np.zeros((1, 1), np.uint8), *small)


def small_calls_of_bins(setting: Setting) -> Iterator[Callable[[], object]]:
    """The kernels with which images are read that are summed over bins of pixels."""
    sums = np.zeros((setting.measurement.n_pairs, 1, 1), dtype=np.float32)
    pixel, n_unknown = sums[0, 0], np.zeros(1, dtype=np.uint16)
    yield lambda: kernels.add_frame(pixel, pixel.copy(), pixel.copy(), n_unknown)
    yield lambda: kernels.transpose_frames(sums, 0, 1, sums.reshape(1, -1))
    measured = setting.measurement.scan.dtype.newbyteorder("=")
    for image in (np.zeros((1, 1), dtype=measured), sums[0]):
        yield lambda image=image: binned(image, (1, 1))  # type: ignore[misc]
