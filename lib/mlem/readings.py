"""What is read off the maps of all ranks: by each rank for its voxels, then on rank 0 for the volume."""

from __future__ import annotations

from dataclasses import astuple, fields, replace

import numpy as np
from numpy.typing import NDArray

from ..parallel.communicator import Comm
from ..parallel.messages import collect_everywhere
from ..physics.tilts import OrientationGrid, Resolution
from ..projection.projector import Projector
from ..scan.gather import gather_field
from ..scan.hull import Hull
from ..scan.measurement import Measurement
from . import shape
from .in_line import InLine
from .maps import Maps
from .overlaps import fetch_halo
from .shape import Readings

Array = NDArray[np.float64]

READINGS = tuple(key.name for key in fields(Readings))


def read(
    measurement: Measurement,
    projector: Projector,
    hull: Hull,
    shares: list[range],
    voxels: NDArray[np.int64],
    maps: Maps,
    refinement: int,
    resolution: Resolution,
    comm: Comm,
) -> Array:
    """READINGS (n_readings, n_voxels) of this rank's voxels, from its maps and its neighbours'. Collective.

    resolution is that of the scan, on which it depends where one unknown lies between two positions.
    """
    grid = measurement.scan_type.grid(measurement.relative_axes_deg(), refinement)
    if not measurement.scan_type.in_line or resolution.rocking == 0.0:
        return _own(projector, hull, shares, voxels, maps, grid, shape.NO_LIGHT, comm)
    line = InLine(measurement, resolution, grid)
    found = Readings(*_own(projector, hull, shares, voxels, maps, grid, line.light(), comm))
    mass, spread = (np.nan_to_num(found.peak_mass * x) for x in (1.0, found.var1))
    total = np.sum(collect_everywhere(comm, np.array([mass.sum(), spread.sum()])), axis=0)
    return np.stack(astuple(replace(found, tilt1=line.placed(found.tilt1, total[1] / max(total[0], 1e-30)))))


def _own(
    projector: Projector,
    hull: Hull,
    shares: list[range],
    voxels: NDArray[np.int64],
    maps: Maps,
    grid: OrientationGrid,
    light: Array,
    comm: Comm,
) -> Array:
    """READINGS (n_readings, n_voxels), see `shape.read_maps`. Collective."""
    first, maps = fetch_halo(comm, maps, shares, hull.n_kept, shape.HALO)
    around = hull.voxels(range(first, first + maps.n_voxels))
    if not voxels.size:
        return np.empty((len(READINGS), 0))
    layered = projector.layered_shape
    first_layer, last_layer = around[0] // hull.n_in_layer, around[-1] // hull.n_in_layer
    index = np.full((last_layer - first_layer + 1, *layered[1:]), -1, dtype=np.int64)
    index.reshape(-1)[around - first_layer * hull.n_in_layer] = np.arange(around.size)
    ijk = np.stack(np.unravel_index(voxels - first_layer * hull.n_in_layer, index.shape), axis=1)
    return np.stack(astuple(shape.read_maps(maps, index, ijk, grid, light)))


def gather(
    projector: Projector, hull: Hull, readings: Array, shares: list[range], comm: Comm
) -> tuple[Array, NDArray[np.bool_], Readings] | None:
    """Density and mask (n_x, n_y, n_z) on rank 0, and the readings inside the mask. Collective.

    One reading after the other, so that rank 0 holds no more volumes than the result has.
    """
    density, mask = np.empty(0), np.empty(0, dtype=np.bool_)
    inside: dict[str, Array] = {}
    for name, mine in zip(READINGS, readings, strict=True):
        volume = gather_field(projector, hull, mine, shares, comm)
        if volume is None:
            continue
        if name == READINGS[0]:
            density = np.nan_to_num(volume, copy=False)
            mask = shape.grain_mask(density)
        inside[name] = volume[mask]
    return (density, mask, Readings(**inside)) if inside else None
