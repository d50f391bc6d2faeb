"""The workflow of method `mlem`: voxels and pixels to ranks, iterations, maps to the grain.

The ranks share the voxels of the visual hull evenly, layer by layer along the rotation axis. Each
holds the pixels that its voxels hit; neighbours add up their predictions where their pixels are the
same. Rank 0 only ever gets what is read off the maps.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import astuple, dataclass, fields, replace
from itertools import chain
from typing import Any

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from ..errors import Recon3DError
from ..parallel.communicator import Comm, check_alarm, together
from ..parallel.memory import check_memory, fits_on_every_node
from ..parallel.partition import block
from ..parallel.progress import Progress
from ..physics.noise import Dark
from ..physics.tilts import BLUR_STEPS, OrientationGrid, Resolution
from ..projection.footprint import where_it_falls
from ..projection.projector import Projector
from ..scan.bands import Bands
from ..scan.gather import NOTHING, Result, gather_completeness, gather_field
from ..scan.hull import Hull, find_hull
from ..scan.look import lit_sums
from ..scan.measurement import Measurement
from ..scan.setting import Setting, find_dark
from ..scan.store import ARRAY
from . import expectation, shape
from .counting import N_VIEWS, with_noise
from .expectation import Model, View
from .maps import Maps, n_padded
from .overlaps import RankExchange, fetch_halo
from .resolution import find_resolution, refinement_for
from .response import BlockResponse
from .shape import Readings
from .standstill import CELL_VOXELS, MOST_CELLS, Watch
from .uncertainty import orientation_errors

Array = NDArray[np.float64]

READINGS = tuple(key.name for key in fields(Readings))
_MOST_KEPT = 0.75  # of the voxels; an ellipsoid fills half of its box
_FAINT = 0.05  # of what a bright pixel has; a ray so short is no voxel long


@dataclass(frozen=True)
class Outcome:
    """What this method adds to the fields: for the report and the file."""

    resolution: Resolution
    sure: bool
    width_keys: tuple[str, ...]
    misfits: list[float]
    counts_per_density: float
    hull_share: float
    gain: float
    dark_noise_counts: float

    def facts(self) -> dict[str, Any]:
        """For the attributes of the result."""
        return {
            "n_iterations": len(self.misfits),
            "misfit": self.misfits,
            "gain": self.gain,
            "dark_noise_counts": self.dark_noise_counts,
            "hull_share": self.hull_share,
            "resolution_found": self.sure,
            **{f"{key}_deg": width for key, width in self.widths.items() if np.isfinite(width)},
        }

    @property
    def widths(self) -> dict[str, float]:
        """The widths of the resolution by the names of their keys."""
        return dict(zip(self.width_keys, (self.resolution.rocking, self.resolution.rolling), strict=False))


def reconstruct(setting: Setting, comm: Comm, *, quiet: bool = False) -> Result:
    """Method `mlem`: the result of the whole volume on rank 0, nothing elsewhere. Collective."""
    setting = setting.fitted_to_voxels()
    measurement, projector = setting.measurement, setting.projector
    dark = find_dark(measurement, comm)
    hull = find_hull(measurement, projector, comm, lit_sums(setting, dark), quiet=quiet)
    if hull.total > _MOST_KEPT * projector.volume.n_voxels:  # there is light nearly everywhere
        hull = find_hull(measurement, projector, comm, lit_sums(setting, dark, _FAINT), quiet=quiet)
    with together(comm):
        if hull.total == 0 and comm.rank == 0:
            raise Recon3DError(
                measurement.scan.folder / ARRAY,
                "no voxel of the volume is lit at nine tenths of the omegas, so there is no grain: check M, "
                "omega_sign, detector_center, grain_pos and grain_dim (recon3d-check tries the geometry)",
            )
    shares = [block(hull.total, comm.size, rank) for rank in range(comm.size)]
    voxels = hull.voxels(shares[comm.rank])
    xyz_um = projector.centres_um(voxels)
    resolution, sure = find_resolution(setting, hull, dark, comm)
    with Bands(measurement.scan, measurement.omega_index, unknown=np.nan) as bands:
        exchange = RankExchange(comm, _views(setting, bands, xyz_um, comm, quiet))
        model = Model(xyz_um, exchange.views, dark.times(measurement.n_summed))
        refinement = refinement_for(measurement, resolution)
        maps, misfits, noise = _iterate(setting, model, voxels, resolution, refinement, exchange, comm, quiet)
    readings = _read(measurement, projector, hull, shares, voxels, maps, refinement, comm)
    model = replace(model, views=model.views[:1])
    del maps, exchange  # with the counts of all pixels, before the volumes need room
    found = _gather(projector, hull, readings, shares, comm)
    complete = gather_completeness(projector, hull, measurement.n_omega, comm)
    if found is None or complete is None:
        return NOTHING
    whole = replace(model.views[0], measured=np.ones_like(model.views[0].measured))
    one_view = replace(model, views=[whole])
    response = _with_response(measurement, one_view, refinement, resolution).views[0].response
    outcome = Outcome(
        resolution,
        sure,
        measurement.scan_type.widths,
        misfits,
        float(np.mean(response.seen)),
        hull.total / projector.volume.n_voxels,
        noise.gain,
        math.sqrt(noise.variance / (measurement.n_summed * math.prod(measurement.scan.bins))),
    )
    fields = finish(measurement, *found, outcome) | {"completeness": complete}
    return Result(fields, found[1], outcome.facts())


def _views(setting: Setting, bands: Bands, xyz_um: Array, comm: Comm, quiet: bool) -> list[View]:
    """The pixels that the voxels hit at each omega, with their counts if these fit into memory.

    Where they do not, they are read again in each iteration.
    """
    views: list[View] = []
    with together(comm):
        views = [
            _view(setting.measurement, setting.projector, widths_px, bands, k, xyz_um)
            for k, widths_px in enumerate(setting.projector.widths_px)
        ]
    _check_memory_of_maps(setting, views, xyz_um.shape[0], comm)
    limit = None if setting.params.memory is None else setting.params.memory * 1e9
    n_bytes = sum(view.pixels.size for view in views) * bands.n_pairs * bands.dtype.itemsize
    if not fits_on_every_node(comm, n_bytes, limit):
        return views
    show = comm.rank == 0 and not quiet
    with together(comm), Progress("pixels", len(views), "omegas", visible=show) as progress:
        for k, view in enumerate(views):
            views[k] = replace(view, counts=_held(view.counts()))
            progress.advance()
            check_alarm(comm)
    return views


def _check_memory_of_maps(setting: Setting, views: list[View], n_voxels: int, comm: Comm) -> None:
    """Refuse what does not fit: maps and their corrections in the first pass, predictions of a subset."""
    n_states = n_padded(_grid(setting.measurement, 1).n_pairs)
    n_scanned = math.prod(setting.measurement.scanned_shape)
    n_subsets = setting.params.subsets or max(1, round(len(views) / expectation.OMEGAS_PER_SUBSET))
    n_pixels = [view.pixels.size for view in views]
    check_memory(
        comm,
        4 * (2 * n_voxels * n_states + sum(n_pixels) // n_subsets * n_scanned + max(n_pixels) * n_states),
        "grain_steps",
        f"method mlem with {n_voxels} voxels on a rank and {n_states} orientations in each",
        "take fewer or larger voxels, a larger number of subsets, more nodes or fewer ranks on each, or "
        "getdata.py --bin 2",
    )


def _view(
    measurement: Measurement, projector: Projector, widths_px: Array, bands: Bands, k: int, xyz_um: Array
) -> View:
    """Which pixels the voxels hit at the k-th omega; its response comes later, with the orientations."""
    place = projector.views.matrix[k], projector.views.shift[k], widths_px, projector.detector_shape
    hit, cover = where_it_falls(xyz_um, *place)
    pixels, n_y = np.flatnonzero(hit), projector.detector_shape[1]
    return View(
        *place,
        pixels=pixels,
        counts=lambda: measurement.put_together(_counts(bands, k, pixels, n_y)),
        measured=measurement.scanned(k),
        response=BlockResponse.of(np.zeros((measurement.n_pairs, 1), dtype=np.float32)),
        cover=cover,
        owned=hit[pixels],
    )


def _held(counts: NDArray[Any]) -> Callable[[], NDArray[Any]]:
    return lambda: counts


def _counts(bands: Bands, k: int, pixels: NDArray[np.int64], n_y: int) -> NDArray[Any]:
    """The counts (n_rows, n_scanned) of some pixels, given by their numbers."""
    if pixels.size == 0:
        return np.empty((0, bands.n_pairs), dtype=bands.dtype)
    x, y = np.divmod(pixels, n_y)
    box = np.array([[x.min(), y.min(), np.ptp(x) + 1, np.ptp(y) + 1]])
    loaded = bands.load(slice(k, k + 1), box)
    return loaded.flat[(x - box[0, 0]) * box[0, 3] + y - box[0, 1]]


def _grid(measurement: Measurement, refinement: int) -> OrientationGrid:
    return measurement.scan_type.grid(measurement.relative_axes_deg(), refinement)


def _with_response(
    measurement: Measurement,
    model: Model,
    refinement: int,
    resolution: Resolution,
    chosen: Sequence[int] | None = None,
) -> Model:
    """The model for orientations of which `refinement` fall on a step of the scan; of all views, or some."""
    axes, grid = measurement.relative_axes_deg(), _grid(measurement, refinement)
    sharp = resolution.sharpened(BLUR_STEPS * measurement.usual_step_deg)
    views = list(model.views)
    for k in range(len(views)) if chosen is None else chosen:
        sees = measurement.response(axes, grid, sharp, k)
        sees[~views[k].measured] = 0.0
        views[k] = replace(views[k], response=BlockResponse.of(sees))
    return replace(model, views=views)


def _iterate(
    setting: Setting,
    model: Model,
    voxels: NDArray[np.int64],
    resolution: Resolution,
    refinement: int,
    exchange: RankExchange,
    comm: Comm,
    quiet: bool,
) -> tuple[Maps, list[float], Dark]:
    """One iteration with the orientations of the scan, which leaves few per voxel; then on the finer grid.

    Returns the maps, the misfits of the latter and what the former showed of the noise.
    """
    measurement, iterations = setting.measurement, setting.params.iterations
    n_subsets = setting.params.subsets or max(1, round(len(model.views) / expectation.OMEGAS_PER_SUBSET))
    first = sorted(chain(*expectation.iteration_of(len(model.views), n_subsets, 0)))
    show = comm.rank == 0 and not quiet
    with Progress("iterations", (1 + iterations) * len(first), "omegas", visible=show) as progress:

        def advance(done: int, misfit: float) -> None:
            progress.advance(done)

        rough = _with_response(measurement, model, 1, resolution, first)
        grid, finer = _grid(measurement, 1), _grid(measurement, refinement)
        start = replace(rough, views=[rough.views[k] for k in first])
        maps = expectation.constant(start, grid.n_pairs, exchange)
        maps, _ = expectation.maximise(rough, maps, 1, n_subsets, exchange, advance)
        some = first[:: -(-len(first) // N_VIEWS)]
        model = replace(model, dark=with_noise(rough, maps, some, setting.params.gain, exchange, comm))
        with threadpool_limits(1):  # ranks that share cores must not spin on them
            maps = maps.refined(grid, finer, expectation.NOTHING)
        fine = _with_response(measurement, model, refinement, resolution)
        watch = _watch(setting.projector, voxels, finer)
        maps, misfits = expectation.maximise(fine, maps, iterations, n_subsets, exchange, advance, watch)
        progress.finish()
    return maps, misfits, model.dark


def _watch(projector: Projector, voxels: NDArray[np.int64], grid: OrientationGrid) -> Watch:
    """What tells whether the maps of these voxels stand still."""
    shape = projector.layered_shape
    side = max(CELL_VOXELS, math.ceil((projector.volume.n_voxels / MOST_CELLS) ** (1 / 3)))
    cells = tuple(-(-n // side) for n in shape)
    places = [place // side for place in np.unravel_index(voxels, shape)]
    return Watch(grid, np.ravel_multi_index(places, cells), math.prod(cells))


def _read(
    measurement: Measurement,
    projector: Projector,
    hull: Hull,
    shares: list[range],
    voxels: NDArray[np.int64],
    maps: Maps,
    refinement: int,
    comm: Comm,
) -> Array:
    """READINGS (n_readings, n_voxels) of this rank's voxels, from its maps and its neighbours'."""
    first, maps = fetch_halo(comm, maps, shares, hull.n_kept, shape.HALO)
    around = hull.voxels(range(first, first + maps.n_voxels))
    if not voxels.size:
        return np.empty((len(READINGS), 0))
    layered = projector.layered_shape
    first_layer, last_layer = around[0] // hull.n_in_layer, around[-1] // hull.n_in_layer
    index = np.full((last_layer - first_layer + 1, *layered[1:]), -1, dtype=np.int64)
    index.reshape(-1)[around - first_layer * hull.n_in_layer] = np.arange(around.size)
    ijk = np.stack(np.unravel_index(voxels - first_layer * hull.n_in_layer, index.shape), axis=1)
    return np.stack(astuple(shape.read_maps(maps, index, ijk, _grid(measurement, refinement))))


def _gather(
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


def finish(
    measurement: Measurement,
    density: Array,
    mask: NDArray[np.bool_],
    inside: Readings,
    outcome: Outcome,
) -> dict[str, Array]:
    """The fields (n_x, n_y, n_z) from the density, and what was read inside the mask.

    Outside of the mask there is no orientation. Intensity is the density in counts at one omega.
    """
    kind = measurement.scan_type
    unsure: Array | float = 0.0
    if kind.of_strain:
        inside, unsure = _at_surface(inside, mask)
    pull = kind.pull(outcome.resolution, measurement.usual_step_deg)
    errors = orientation_errors(inside, mask, measurement.steps_deg, pull, one_for_two=kind.one_for_two)
    found = {
        **_tilts(measurement, inside, (np.hypot(errors[0], unsure), errors[1])),
        "peaks": 1.0 + (inside.second_peak > shape.SECOND_PEAK),
    }
    volume_of = {name: shape.as_field(values, mask) for name, values in found.items()}
    volume_of["intensity"] = density * outcome.counts_per_density
    return volume_of


def _at_surface(inside: Readings, mask: NDArray[np.bool_]) -> tuple[Readings, Array]:
    """Readings of a smooth unknown without what the average over neighbours does to it at the surface.

    Returns how uncertain (n_voxels,) that leaves them, too: by half of what they are moved.
    """
    shift = shape.surface_shift(shape.as_field(inside.tilt1, mask), mask)[mask]
    return replace(inside, tilt1=inside.tilt1 - shift), 0.5 * np.abs(shift)


def _tilts(measurement: Measurement, inside: Readings, errors: tuple[Array, Array]) -> dict[str, Array]:
    """Positions of the motors at which the voxels diffract, with errors; NaN where it is not known.

    A motor that stood still in a scan of strain has its one position.
    """
    zero1, zero2 = measurement.tilt_zero_deg
    fields = {"tilt1": inside.tilt1 + zero1, "tilt2": inside.tilt2 + zero2}
    fields |= {"tilt1_std": errors[0], "tilt2_std": errors[1]}
    if measurement.scan_type.unknown[1]:
        with np.errstate(invalid="ignore"):
            fields["tilt_correlation"] = inside.cov12 / np.sqrt(inside.var1 * inside.var2)
        return fields
    nothing = np.full(inside.tilt1.size, np.nan)
    if not measurement.scan_type.of_strain:
        return fields | {"tilt2": nothing, "tilt2_std": nothing}
    moved = measurement.scan_type.two_theta_axis(measurement.scanned_shape)
    arm, still = ("tilt1", "tilt2") if moved == 0 else ("tilt2", "tilt1")
    stood = float((measurement.scan.tilt2_deg, measurement.scan.tilt1_deg)[moved][0])
    fields = {arm: inside.tilt1 + measurement.tilt_zero_deg[moved], f"{arm}_std": errors[0]}
    return fields | {still: np.full(nothing.size, stood), f"{still}_std": nothing}
