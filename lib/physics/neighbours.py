"""Which voxels count as neighbours: those that share a face, and all within a distance."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

Steps = tuple[int, int, int]
Part = tuple[slice, slice, slice]


def steps_within(kernel_um: float, spacing_um: NDArray[np.float64]) -> list[Steps]:
    """Steps in voxels to the neighbours within kernel_um, one of each two opposite ones.

    Neighbours that share a face count however far they are, so that 0 stands for them alone.

    >>> steps_within(0.0, np.ones(3))
    [(0, 0, 1), (0, 1, 0), (1, 0, 0)]
    >>> len(steps_within(1.5, np.ones(3)))
    9
    """
    reach = [int(kernel_um / spacing) + 1 for spacing in spacing_um]
    found = []
    x, y, z = (range(-n, n + 1) for n in reach)
    for step in itertools.product(x, y, z):
        near = np.linalg.norm(np.array(step) * spacing_um) <= kernel_um * (1 + 1e-9)
        if step > (0, 0, 0) and (near or np.abs(step).sum() == 1):
            found.append(step)
    return found


def pairs(step: Steps, shape: tuple[int, ...]) -> Iterator[tuple[Part, Part]]:
    """The voxels that have a neighbour a step away, and these neighbours; nothing if no voxel has one."""
    if all(abs(s) < n for s, n in zip(step, shape, strict=True)):
        low = tuple(slice(max(-s, 0), n - max(s, 0)) for s, n in zip(step, shape, strict=True))
        high = tuple(slice(max(s, 0), n - max(-s, 0)) for s, n in zip(step, shape, strict=True))
        yield (low[0], low[1], low[2]), (high[0], high[1], high[2])
