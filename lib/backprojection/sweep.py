"""The workflows of the methods `backprojection` and `rocking`: voxels to ranks, omegas over the voxels.

A first look rules out the voxels that cannot be complete enough. The ranks share what is left evenly,
layer by layer along the rotation axis, so that each needs only a band of the detector; it reads that
band a few omegas at a time. Rank 0 puts the voxels together.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from ..parallel.communicator import Comm, check_alarm, together
from ..parallel.partition import block, blocks_of_at_most
from ..parallel.progress import Progress
from ..projection.views import pixel_boxes
from ..scan.bands import Bands
from ..scan.gather import NOTHING, Result, gather_volume
from ..scan.hull import Hull, any_pair, find_hull
from ..scan.setting import Setting
from . import rocking, sums
from .rocking import Curves, RockingFit
from .sums import Backprojection, PairTurns, apply_cutoff

Array = NDArray[np.float64]

_OMEGAS_AT_ONCE = 8  # of one pass over the sums; fixed, so that sums of floats do not depend on ranks
_SUMS_BYTES = 256 << 20  # per rank


def backproject(setting: Setting, comm: Comm, *, quiet: bool = False) -> Result:
    """Method `backprojection`: the result of the whole volume on rank 0, nothing elsewhere. Collective."""
    fields = sum_maps(setting, comm, quiet=quiet)
    if comm.rank != 0:
        return NOTHING
    return Result(fields, apply_cutoff(fields, setting.params.completeness_cutoff), {})


def fit_rocking_curves(setting: Setting, comm: Comm, *, quiet: bool = False) -> Result:
    """Method `rocking`: the result of the whole volume on rank 0, nothing elsewhere. Collective."""
    fields = _share_out(setting, comm, rocking.FIELDS, _fit, quiet)
    if comm.rank != 0:
        return NOTHING
    mask = apply_cutoff(fields, setting.params.completeness_cutoff)
    for name in ("tilt_correlation", "rocking_offset", "rocking_offset_std"):
        fields[name][~mask] = np.nan
    return Result(fields, mask, {})


def sum_maps(setting: Setting, comm: Comm, *, quiet: bool = False) -> dict[str, Array]:
    """The fields of the whole volume on rank 0, nothing elsewhere, before the cutoff. Collective."""
    return _share_out(setting, comm, sums.FIELDS, _sum_maps, quiet)


def _share_out(
    setting: Setting,
    comm: Comm,
    names: tuple[str, ...],
    work: Callable[[Setting, Hull, range, Comm, bool], Array],
    quiet: bool,
) -> dict[str, Array]:
    """The fields of the whole volume on rank 0, nothing elsewhere, each rank working on its share."""
    hull = find_hull(setting.measurement, setting.projector, comm, any_pair(setting), quiet=quiet)
    shares = [block(hull.total, comm.size, rank) for rank in range(comm.size)]
    mine = np.empty((len(names), 0))
    with together(comm):
        mine = work(setting, hull, shares[comm.rank], comm, quiet)
    n_omega = setting.measurement.n_omega
    return gather_volume(setting.projector, hull, n_omega, names, mine, shares, comm)


def _sum_maps(setting: Setting, hull: Hull, share: range, comm: Comm, quiet: bool) -> Array:
    """The fields (n_fields, n_voxels) of this rank's voxels, in pieces whose sums fit into memory."""
    measurement, volume = setting.measurement, setting.projector.volume
    exact = setting.projector.pair_views is not None
    binarize = setting.params.binarize
    views = setting.projector.pair_views or setting.projector.views
    n_bytes = (8 if measurement.may_lack else 6) * measurement.n_pairs
    pieces = blocks_of_at_most(share, _SUMS_BYTES // n_bytes)
    fields = np.empty((len(sums.FIELDS), len(share)))
    show = comm.rank == 0 and not quiet
    turns = PairTurns.of(measurement.turns, binarize) if exact else None
    with (
        Bands(
            measurement.scan,
            measurement.omega_index,
            [] if exact else measurement.turns,
            setting.threshold if binarize and not exact else None,
            reuse=True,
        ) as bands,
        Progress("voxels", len(pieces) * len(views), "voxels", overall=hull.total, visible=show) as progress,
    ):
        for piece in pieces:
            chosen = setting.projector.c_order(hull.voxels(piece))
            dtype = np.dtype(np.float32) if measurement.turns and exact else bands.dtype
            lit_above = setting.threshold if exact or not binarize else 0.5
            added = Backprojection(volume, measurement.n_pairs, dtype, lit_above, chosen)
            boxes = pixel_boxes(views, volume, chosen)
            for start in range(0, len(views), _OMEGAS_AT_ONCE):
                part = slice(start, start + _OMEGAS_AT_ONCE)
                added.add(views[part], bands.load(part, boxes[part]), turns and turns[part])
                progress.advance(len(views[part]))
                check_alarm(comm)
            found = added.finish(measurement.scan.tilt1_deg, measurement.scan.tilt2_deg, measurement.n_omega)
            place = slice(piece.start - share.start, piece.stop - share.start)
            fields[:, place] = [found[name] for name in sums.FIELDS]
    return fields


def _fit(setting: Setting, hull: Hull, share: range, comm: Comm, quiet: bool) -> Array:
    """rocking.FIELDS (n_fields, n_voxels) of this rank's voxels, in pieces whose sums fit into memory."""
    measurement, volume, views = setting.measurement, setting.projector.volume, setting.projector.views
    n_omega = measurement.n_omega
    mu = measurement.relative_axes_deg()[0]
    curves = Curves.of(setting.params.mode, mu, measurement.omega_rad)
    pieces = blocks_of_at_most(
        share, _SUMS_BYTES // RockingFit.bytes_of_voxel(curves, may_lack=measurement.may_lack)
    )
    found = np.empty((len(rocking.FIELDS), len(share)))
    show = comm.rank == 0 and not quiet
    n_steps = len(pieces) * (1 + rocking.PASSES) * n_omega
    with (
        Bands(measurement.scan, measurement.omega_index, reuse=True) as bands,
        Progress("voxels", n_steps, "voxels", overall=hull.total, visible=show) as progress,
    ):
        for piece in pieces:
            chosen = setting.projector.c_order(hull.voxels(piece))
            fit = RockingFit(volume, curves, setting.threshold, chosen)
            boxes = pixel_boxes(views, volume, chosen)
            for number in range(1 + rocking.PASSES):
                for start in range(0, n_omega, _OMEGAS_AT_ONCE):
                    part = slice(start, start + _OMEGAS_AT_ONCE)
                    add = fit.vote if number == 0 else fit.collect
                    add(part, views, bands.load(part, boxes[part]))
                    progress.advance(len(views[part]))
                    check_alarm(comm)
                if number == 0:
                    fit.elect(n_omega)
                else:
                    fit.solve(last=number == rocking.PASSES)
            place = slice(piece.start - share.start, piece.stop - share.start)
            found[:, place] = fit.finish(n_omega, measurement.tilt_zero_deg)
    return found
