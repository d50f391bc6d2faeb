"""Small calls of the kernels of the checks, for `scan.warmup.compile_once`."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np

from ..mlem.warmup import fit_one_voxel
from ..projection import footprint
from ..scan.setting import Setting
from ..scan.warmup import small_calls_of_bins


def small_calls(setting: Setting) -> Iterator[Callable[[], object]]:
    """The kernels with arguments of the types that the run will use."""
    yield from small_calls_of_bins(setting)
    matrix, shift = setting.projector.views.matrix[0], setting.projector.views.shift[0]
    pixel = np.zeros((1, 1), dtype=np.float32)
    place = (np.zeros((1, 3)), matrix, shift, footprint.ONE_PIXEL, (1, 1), np.zeros(0, dtype=np.int32))
    yield lambda: footprint.cast(pixel[0], place, pixel.copy())
    for part in setting.measurement.parts():  # a coarse scan is of float32
        yield lambda part=part: fit_one_voxel(part, matrix, np.dtype(np.float32))  # type: ignore[misc]
