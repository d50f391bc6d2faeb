"""The workflow of method `mlem`: voxels and pixels to ranks, iterations, maps to the grain.

The ranks share the voxels of the visual hull evenly, layer by layer along the rotation axis. Each
holds the pixels that its voxels hit; neighbours add up their predictions where their pixels are the
same. Rank 0 only ever gets what is read off the maps.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
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
from ..scan.gather import NOTHING, Result, gather_completeness, gather_field, scatter_field
from ..scan.hull import Hull, find_hull
from ..scan.look import lit_sums
from ..scan.measurement import Measurement
from ..scan.setting import Setting
from ..scan.store import ARRAY
from . import expectation
from .counting import N_VIEWS, with_noise
from .errors import Difference, Errors, Grain
from .expectation import Exchange, Model, View
from .halves import MapResolution
from .lean import Lean
from .maps import Maps, n_padded
from .outcome import Outcome, finish, self_test_holds
from .overlaps import RankExchange
from .readings import gather as gather_readings
from .readings import read as readings_of
from .resolution import find_resolution, is_narrow, refinement_for
from .response import NO_RESPONSE
from .search import REFINEMENT
from .selftest import PartOf, simulated_views, thinned
from .simulated import Truth
from .standstill import CELL_VOXELS, MOST_CELLS, Watch

Array = NDArray[np.float64]

_MOST_KEPT = 0.75  # of the voxels; an ellipsoid fills half of its box
_FAINT = 0.05  # of what a bright pixel has; a ray so short is no voxel long


def reconstruct(setting: Setting, comm: Comm, *, quiet: bool = False) -> Result:
    """Method `mlem`: the result of the whole volume on rank 0, nothing elsewhere. Collective."""
    setting = setting.fitted_to_voxels()
    measurement, projector = setting.measurement, setting.projector
    hull = find_hull(measurement, projector, comm, lit_sums(setting), quiet=quiet)
    if hull.total > _MOST_KEPT * projector.volume.n_voxels:  # there is light nearly everywhere
        hull = find_hull(measurement, projector, comm, lit_sums(setting, _FAINT), quiet=quiet)
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
    resolution, sure = find_resolution(setting, hull, comm)
    with Bands(measurement.scan, measurement.omega_index, unknown=np.nan) as bands:
        lean = Lean.of(resolution, projector.views, measurement.usual_step_deg)
        n_responses = len(projector.views) * lean.n_strips(projector.detector_shape)
        room = n_responses if lean.leans or resolution.tails else 0  # others are small
        exchange = RankExchange(comm, _views(setting, bands, xyz_um, room, comm, quiet))
        even = not is_narrow(measurement, resolution)  # else all tilts together differ with omega anyway
        scaled = setting.params.omega_scale == "auto" and even
        model = Model(xyz_um, exchange.views, setting.dark.times(measurement.n_summed), scaled, lean)
        refinement = refinement_for(measurement, resolution)
        work = Work(setting, hull, shares, voxels, resolution, refinement, comm)
        maps, misfits, noise, factors = _iterate(
            setting, model, voxels, resolution, refinement, exchange, comm, quiet
        )
        model = replace(model, dark=noise)
        readings = work.read(maps)
        del maps
        found = gather_readings(projector, hull, readings, shares, comm)
        grain = None
        if found is not None:
            density, mask, inside = found
            tilts = np.stack([inside.tilt1, inside.tilt2], axis=1)
            grain = Grain.of(density, mask, tilts, smooth=measurement.scan_type.of_strain)
        work = replace(work, iterations=len(misfits))
        half = work.apart(work.from_half(model, exchange), grain)
        tested = work.self_test(model, exchange, grain)
    model = replace(model, views=model.views[:1])
    del exchange
    complete = gather_completeness(projector, hull, measurement.n_omega, comm)
    if found is None or complete is None or grain is None:
        return NOTHING
    whole = replace(model.views[0], measured=np.ones_like(model.views[0].measured))
    one_view = replace(model, views=[whole])
    response = _with_response(measurement, one_view, refinement, resolution).views[0].response
    outcome = Outcome(
        resolution,
        sure,
        measurement.scan_type.widths,
        misfits,
        float(np.mean(response.seen) * factors.mean()),
        hull.total / projector.volume.n_voxels,
        noise.gain,
        math.sqrt(noise.variance / (measurement.n_summed * math.prod(measurement.scan.bins))),
        factors / factors.mean(),
    )
    errors = Errors.of(grain, tested, half)
    fine = MapResolution.of(grain, tested, half, projector.voxel_um)
    holds = measurement.scan_type.name == "mosaicity" and self_test_holds(measurement, resolution)
    if tested is not None and holds:
        grain = grain.less_bias(tested)
    fields = finish(measurement, grain, found[2], errors, outcome) | {"completeness": complete}
    facts = outcome.facts() | errors.facts() | ({} if fine is None else fine.facts())
    return Result(fields, grain.mask, facts)


@dataclass(frozen=True)
class Work:
    """How this rank's voxels are reconstructed: from the scan, and once more to see how far that is right."""

    setting: Setting
    hull: Hull
    shares: list[range]
    voxels: NDArray[np.int64]
    resolution: Resolution
    refinement: int
    comm: Comm
    iterations: int = 0

    def read(self, maps: Maps) -> Array:
        """Readings (n_readings, n_voxels) of this rank's voxels. Collective."""
        projector, measurement = self.setting.projector, self.setting.measurement
        what = self.hull, self.shares, self.voxels, maps, self.refinement, self.resolution
        return readings_of(measurement, projector, *what, self.comm)

    def from_half(self, model: Model, exchange: Exchange) -> Array | None:
        """Readings of a reconstruction from every second omega, if the key `errors` asks. Collective."""
        if self.setting.params.errors_by not in ("halves", "both"):
            return None
        chosen = range(0, len(model.views), 2)
        n_subsets = _n_subsets(self.setting, len(chosen))
        return self._again(replace(model, views=model.views[::2]), exchange, chosen, n_subsets)

    def _again(self, model: Model, exchange: Exchange, chosen: range, n_subsets: int) -> Array:
        """Readings of a reconstruction from the views of the chosen omegas, with as many iterations."""
        measurement = self.setting.measurement.of_omegas(chosen)
        params = replace(self.setting.params, iterations=self.iterations, subsets=n_subsets)
        setting = replace(self.setting, measurement=measurement, params=params)
        part = PartOf(exchange, chosen)
        how = self.resolution, self.refinement, part, self.comm
        maps, *_ = _iterate(setting, model, self.voxels, *how, quiet=True, noise_known=True)
        return self.read(maps)

    def apart(self, readings: Array | None, found: Grain | None, scale: float = 1.0) -> Difference | None:
        """How far what was read in another reconstruction, so bright, is from what was found. Collective."""
        if readings is None:
            return None
        density, tilt1, tilt2 = (
            gather_field(self.setting.projector, self.hull, row, self.shares, self.comm)
            for row in readings[:3]
        )
        if found is None or density is None or tilt1 is None or tilt2 is None:
            return None
        smooth = self.setting.measurement.scan_type.of_strain
        return found.less(density / scale, (tilt1, tilt2), smooth=smooth)

    def self_test(self, model: Model, exchange: Exchange, found: Grain | None) -> Difference | None:
        """How far a reconstruction of the frames that the result would have given is from it. Collective.

        found is the result on rank 0, and so is the answer; if the key `errors` asks.
        """
        if self.setting.params.errors_by not in ("selftest", "both"):
            return None
        measurement, projector = self.setting.measurement, self.setting.projector
        fields = [None] * 3 if found is None else found.columns()
        density, tilt1, tilt2 = (
            scatter_field(projector, self.hull, field, self.shares, self.comm) for field in fields
        )
        mine = density > 0.0
        truth = Truth(model.xyz_um[mine], np.stack([tilt1, tilt2], axis=1)[mine], density[mine])
        n_subsets = _n_subsets(self.setting, len(model.views))
        chosen = thinned(model, measurement, n_subsets, self.comm)
        views = simulated_views(measurement, projector, self.resolution, model, truth, chosen, self.comm)
        again = replace(model, views=views, dark=model.dark.times(chosen.step))
        if chosen.step > 1:
            lines = measurement.scan_type.sees_lines
            n_subsets = _n_subsets(self.setting, len(chosen)) if lines else len(chosen)
        return self.apart(self._again(again, exchange, chosen, n_subsets), found, chosen.step)


def _views(
    setting: Setting, bands: Bands, xyz_um: Array, n_responses: int, comm: Comm, quiet: bool
) -> list[View]:
    """The pixels that the voxels hit at each omega, with their counts if these fit into memory.

    n_responses is how many matrices K there will be that are not mostly zero.

    Where they do not, they are read again in each iteration.
    """
    views: list[View] = []
    with together(comm):
        views = [
            _view(setting.measurement, setting.projector, widths_px, bands, k, xyz_um)
            for k, widths_px in enumerate(setting.projector.widths_px)
        ]
    _check_memory_of_maps(setting, views, xyz_um.shape[0], n_responses, comm)
    limit = None if setting.params.memory is None else setting.params.memory * 1e9
    n_bytes = sum(view.pixels.size for view in views) * bands.n_pairs * bands.dtype.itemsize
    if not fits_on_every_node(comm, n_bytes, limit):
        return views
    show = comm.rank == 0 and not quiet
    with together(comm), Progress("pixels", len(views), "omegas", visible=show) as progress:
        for k, view in enumerate(views):
            views[k] = view.holding(view.counts())
            progress.advance()
            check_alarm(comm)
    return views


def _n_subsets(setting: Setting, n_views: int) -> int:
    lines = setting.measurement.scan_type.sees_lines
    at_once = expectation.OMEGAS_OF_LINES if lines else expectation.OMEGAS_PER_SUBSET
    return setting.params.subsets or max(1, round(n_views / at_once))


def _check_memory_of_maps(
    setting: Setting, views: list[View], n_voxels: int, n_responses: int, comm: Comm
) -> None:
    """Refuse what does not fit: maps and corrections of the first pass, predictions, responses."""
    n_states = n_padded(_grid(setting.measurement, 1).n_pairs)
    n_scanned = math.prod(setting.measurement.scanned_shape)
    n_subsets = _n_subsets(setting, len(views))
    n_pixels = [view.pixels.size for view in views]
    responses = 2 * n_responses * n_scanned * n_padded(_grid(setting.measurement, REFINEMENT).n_pairs)
    images = sum(n_pixels) // n_subsets * n_scanned + max(n_pixels) * n_states
    check_memory(
        comm,
        4 * (2 * n_voxels * n_states + images + responses),
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
        response=NO_RESPONSE,
        cover=cover,
        owned=hit[pixels],
    )


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
        sees = partial(measurement.response, axes, grid, k=k)
        views[k] = views[k].responding(model.lean, sees, sharp, model.xyz_um)
    return replace(model, views=views)


def _iterate(
    setting: Setting,
    model: Model,
    voxels: NDArray[np.int64],
    resolution: Resolution,
    refinement: int,
    exchange: Exchange,
    comm: Comm,
    quiet: bool,
    noise_known: bool = False,
) -> tuple[Maps, list[float], Dark, Array]:
    """One iteration with the orientations of the scan, which leaves few per voxel; then on the finer grid.

    Returns the maps, the misfits of the latter, the noise, and the brightness of the omegas. What the rough
    maps leave shows enough of the noise to go on with; it is looked at again at the end, and the misfits are
    those for what is found then; where it is not known from before.
    """
    measurement, iterations = setting.measurement, setting.params.iterations
    n_subsets = _n_subsets(setting, len(model.views))
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
        if not noise_known:
            model = replace(model, dark=with_noise(rough, maps, some, setting.params.gain, exchange, comm))
        with threadpool_limits(1):  # ranks that share cores must not spin on them
            maps = maps.refined(grid, finer, expectation.NOTHING)
        fine = _with_response(measurement, model, refinement, resolution)
        period = expectation.iterations_for_all(min(n_subsets, len(model.views)))
        watch = _watch(setting.projector, voxels, finer, period)
        factors = np.ones(len(model.views))
        maps, misfits = expectation.maximise(
            fine, maps, iterations, n_subsets, exchange, advance, watch, factors
        )
        if noise_known:
            progress.finish()
            return maps, misfits, model.dark, factors
        noise = with_noise(fine, maps, some, setting.params.gain, exchange, comm)
        better = replace(fine, dark=noise)
        was, is_now = (each.chi_square(some, maps, factors, exchange) for each in (fine, better))
        progress.finish()
    return maps, [misfit * is_now / max(was, 1e-30) for misfit in misfits], noise, factors


def _watch(projector: Projector, voxels: NDArray[np.int64], grid: OrientationGrid, period: int) -> Watch:
    """What tells whether the maps of these voxels stand still; all omegas have their turn in a period."""
    shape = projector.layered_shape
    side = max(CELL_VOXELS, math.ceil((projector.volume.n_voxels / MOST_CELLS) ** (1 / 3)))
    cells = tuple(-(-n // side) for n in shape)
    places = np.unravel_index(voxels, shape)
    cell = np.ravel_multi_index([place // side for place in places], cells)
    second = sum(2 * (place % side) >= side for place in places) % 2  # every other eighth of the cell
    return Watch(grid, 2 * cell + second, 2 * math.prod(cells), period)
