"""The workflow of recon3d.py: array and init file to the grain in 3D, on any number of ranks.

A first look rules out the voxels that cannot be complete enough. The ranks share what is left evenly,
layer by layer along the rotation axis, so that each needs only a band of the detector; it reads that
band a few omegas at a time. Rank 0 puts the voxels together.
"""

from __future__ import annotations

import sys
import time
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from . import backprojection, checks, iterate, results, rocking
from .align import align
from .backprojection import Backprojection, PairTurns, pixel_boxes
from .bands import Bands
from .checks import Checks
from .derived import add_polar, add_strain
from .hull import Hull, any_pair, find_hull, layers_of
from .parallel import Comm, check_alarm, receive_array, send_array, together
from .parameters import Parameters
from .partition import block, blocks_of_at_most
from .progress import Progress
from .rocking import Curves, RockingFit
from .setting import Setting, prepare
from .warmup import warm_up

Array = NDArray[np.float64]

_OMEGAS_AT_ONCE = 8  # of one pass over the sums; fixed, so that sums of floats do not depend on ranks
_SUMS_BYTES = 256 << 20  # per rank


def run(params: Parameters, comm: Comm, *, quiet: bool = False, report: bool = True) -> list[str]:
    """Reconstruct and write the result; returns the lines to print, on rank 0.

    Without a report the result is not checked against the images either.
    """
    started = time.monotonic()
    prepared: Setting | None = None
    with together(comm):
        if comm.rank == 0:
            prepared = prepare(params)
            results.check_folder(params.folder)
            warm_up(prepared, quiet=quiet)
    setting = align(comm.bcast(prepared), comm, quiet=quiet)
    if report:
        setting = replace(setting, totals={})
    for warning in setting.warnings if comm.rank == 0 else ():
        print(f"recon3d: warning: {warning}", file=sys.stderr)
    aligned = time.monotonic()
    fields, mask, facts = solve(setting, comm, quiet=quiet)
    reconstructed = time.monotonic()
    found = checks.run(setting, fields, mask, comm, quiet=quiet) if report else Checks()
    printed: list[str] = []
    with together(comm):
        if comm.rank == 0:
            times = {"preparation": aligned - started, "reconstruction": reconstructed - aligned}
            if report:
                times["checks"] = time.monotonic() - reconstructed
            lines = results.summary(setting, fields, mask, facts, comm.size, times)
            results.write(setting, fields, mask, facts, found, lines, report=report)
            printed = results.printed(setting, lines, report=report)
    return printed


Result = tuple[dict[str, Array], NDArray[np.bool_], dict[str, Any]]  # fields, mask and other facts
_NOTHING: Result = {}, np.empty(0, dtype=np.bool_), {}


def solve(setting: Setting, comm: Comm, *, quiet: bool = False) -> Result:
    """The result of the method that the init file asks for, on rank 0; nothing elsewhere. Collective."""
    methods = {"mlem": iterate_maps, "backprojection": backproject, "rocking": fit_rocking_curves}
    return methods[setting.params.method](setting, comm, quiet=quiet)


def iterate_maps(setting: Setting, comm: Comm, *, quiet: bool = False) -> Result:
    """Method `mlem`: the result of the whole volume on rank 0, nothing elsewhere.

    A measurement that holds two scans gives the orientation from the first and the strain from the second.
    """
    results = [_iterate_one(part, comm, quiet) for part in setting.parts()]
    fields, mask, facts = results[0]
    for more, other, its_facts in results[1:] if comm.rank == 0 else ():
        for name in ("strain", "strain_std"):
            fields[name] = np.where(mask & other, more[name], np.nan)
        facts |= {f"strain_{name.removeprefix('strain_')}": value for name, value in its_facts.items()}
    return fields, mask, facts


def _iterate_one(setting: Setting, comm: Comm, quiet: bool) -> Result:
    hull, shares, mine, outcome = iterate.reconstruct(setting, comm, quiet=quiet)
    volumes = _gather(setting, hull, iterate.READINGS, mine, shares, comm)
    if comm.rank != 0:
        return _NOTHING
    fields, mask = iterate.finish(setting, volumes, outcome)
    if setting.scan_type.one_for_two:
        add_polar(setting, fields)
    return fields, mask, outcome.facts()


def fit_rocking_curves(setting: Setting, comm: Comm, *, quiet: bool = False) -> Result:
    """Method `rocking`: the result of the whole volume on rank 0, nothing elsewhere."""
    hull = find_hull(setting, comm, any_pair(setting), quiet=quiet)
    shares = [block(hull.total, comm.size, rank) for rank in range(comm.size)]
    mine = np.empty((len(rocking.FIELDS), 0))
    with together(comm):
        mine = _fit(setting, hull, shares[comm.rank], comm, quiet)
    fields = _gather(setting, hull, rocking.FIELDS, mine, shares, comm)
    if comm.rank != 0:
        return _NOTHING
    mask = backprojection.apply_cutoff(fields, setting.params.completeness_cutoff)
    for name in ("tilt_correlation", "rocking_offset", "rocking_offset_std"):
        fields[name][~mask] = np.nan
    add_polar(setting, fields)
    return fields, mask, {}


def _fit(setting: Setting, hull: Hull, share: range, comm: Comm, quiet: bool) -> Array:
    """rocking.FIELDS (n_fields, n_voxels) of this rank's voxels, in pieces whose sums fit into memory."""
    views, n_omega = setting.views, setting.omega_index.size
    mu = setting.relative_axes_deg()[0]
    curves = Curves.of(setting.params.mode, mu, np.array([setting.omega(k) for k in range(n_omega)]))
    pieces = blocks_of_at_most(share, _SUMS_BYTES // (4 * mu.size**2))
    found = np.empty((len(rocking.FIELDS), len(share)))
    show = comm.rank == 0 and not quiet
    n_steps = len(pieces) * (1 + rocking.PASSES) * n_omega
    with (
        Bands(setting.scan, setting.omega_index) as bands,
        Progress("voxels", n_steps, "voxels", overall=hull.total, visible=show) as progress,
    ):
        for piece in pieces:
            chosen = _c_order(setting, hull.voxels(piece))
            fit = RockingFit(setting.volume, curves, setting.threshold, chosen)
            boxes = pixel_boxes(views, setting.volume, chosen)
            for number in range(1 + rocking.PASSES):
                for start in range(0, n_omega, _OMEGAS_AT_ONCE):
                    part = slice(start, start + _OMEGAS_AT_ONCE)
                    add = fit.vote if number == 0 else fit.collect
                    add(part, views, bands.load(part, boxes[part]))
                    progress.advance(len(views[part]))
                    check_alarm(comm)
                if number == 0:
                    fit.elect()
                else:
                    fit.solve(last=number == rocking.PASSES)
            place = slice(piece.start - share.start, piece.stop - share.start)
            found[:, place] = fit.finish(n_omega, setting.tilt_zero_deg)
    return found


def backproject(setting: Setting, comm: Comm, *, quiet: bool = False) -> Result:
    """Method `backprojection`: the result of the whole volume on rank 0, nothing elsewhere."""
    fields = reconstruct(setting, comm, quiet=quiet)
    if comm.rank != 0:
        return _NOTHING
    mask = backprojection.apply_cutoff(fields, setting.params.completeness_cutoff)
    if setting.scan_type.of_strain:
        add_strain(setting, fields, mask)
    return fields, mask, {}


def reconstruct(setting: Setting, comm: Comm, *, quiet: bool = False) -> dict[str, Array]:
    """The fields of the whole volume on rank 0, nothing elsewhere.

    Voxels that the first look ruled out have the upper bound of their completeness; their other fields,
    intensity included, are NaN.
    """
    hull = find_hull(setting, comm, any_pair(setting), quiet=quiet)
    shares = [block(hull.total, comm.size, rank) for rank in range(comm.size)]
    mine = np.empty((len(backprojection.FIELDS), 0))
    with together(comm):
        mine = _backproject(setting, hull, shares[comm.rank], comm, quiet)
    return _gather(setting, hull, backprojection.FIELDS, mine, shares, comm)


def _backproject(setting: Setting, hull: Hull, share: range, comm: Comm, quiet: bool) -> Array:
    """The fields (n_fields, n_voxels) of this rank's voxels, in pieces whose sums fit into memory."""
    exact = setting.pair_views is not None
    binarize = setting.params.binarize
    views = setting.pair_views or setting.views
    pieces = blocks_of_at_most(share, _SUMS_BYTES // (6 * setting.n_pairs))
    fields = np.empty((len(backprojection.FIELDS), len(share)))
    show = comm.rank == 0 and not quiet
    turns = PairTurns.of(setting.turns, binarize) if exact else None
    with (
        Bands(
            setting.scan,
            setting.omega_index,
            [] if exact else setting.turns,
            setting.threshold if binarize and not exact else None,
        ) as bands,
        Progress("voxels", len(pieces) * len(views), "voxels", overall=hull.total, visible=show) as progress,
    ):
        for piece in pieces:
            chosen = _c_order(setting, hull.voxels(piece))
            dtype = np.dtype(np.float32) if setting.turns and exact else bands.dtype
            lit_above = setting.threshold if exact or not binarize else 0.5
            sums = Backprojection(setting.volume, setting.n_pairs, dtype, lit_above, chosen)
            boxes = pixel_boxes(views, setting.volume, chosen)
            for start in range(0, len(views), _OMEGAS_AT_ONCE):
                part = slice(start, start + _OMEGAS_AT_ONCE)
                sums.add(views[part], bands.load(part, boxes[part]), turns and turns[part])
                progress.advance(len(views[part]))
                check_alarm(comm)
            found = sums.finish(setting.scan.tilt1_deg, setting.scan.tilt2_deg, setting.omega_index.size)
            place = slice(piece.start - share.start, piece.stop - share.start)
            fields[:, place] = [found[name] for name in backprojection.FIELDS]
    return fields


def _c_order(setting: Setting, voxels: NDArray[np.int64]) -> NDArray[np.int64]:
    """Numbers in C order of (x, y, z) of voxels that are numbered layer by layer."""
    if setting.axis == 0:
        return voxels
    n_layers = setting.volume.shape[setting.axis]
    layer, place = np.divmod(voxels, setting.volume.n_voxels // n_layers)
    return place * n_layers + layer


def _gather(
    setting: Setting, hull: Hull, names: tuple[str, ...], mine: Array, shares: list[range], comm: Comm
) -> dict[str, Array]:
    """Put the fields (n_names, n_voxels) of all ranks together on rank 0, one rank at a time."""
    counts = _gather_counts(setting, hull, comm)
    whole: dict[str, Array] = {}
    if comm.rank == 0:
        n_voxels = setting.volume.n_voxels
        whole = {name: np.full(n_voxels, np.nan) for name in names}
        whole["completeness"] = counts / setting.omega_index.size
    elif shares[comm.rank]:
        send_array(comm, mine, dest=0)
    for rank, share in enumerate(shares if comm.rank == 0 else []):
        if not share:
            continue
        if rank > 0:
            mine = np.empty((len(names), len(share)))
            receive_array(comm, mine, source=rank)
        places = _c_order(setting, hull.voxels(share))
        for name, values in zip(names, mine, strict=True):
            whole[name][places] = values
    return {name: values.reshape(setting.volume.shape) for name, values in whole.items()}


def _gather_counts(setting: Setting, hull: Hull, comm: Comm) -> NDArray[np.int32]:
    """The counts of all layers on rank 0, flat in C order of (x, y, z); nothing elsewhere."""
    if comm.rank != 0:
        send_array(comm, hull.counts, dest=0)
        return np.empty(0, dtype=np.int32)
    shape = setting.volume.shape
    whole = np.empty(shape, dtype=np.int32)
    by_layer = np.moveaxis(whole, setting.axis, 0)
    for rank, layers in enumerate(layers_of(setting, comm)):
        counts = hull.counts
        if rank > 0:
            counts = np.empty((len(layers), hull.n_in_layer), dtype=np.int32)
            receive_array(comm, counts, source=rank)
        by_layer[layers.start : layers.stop] = counts.reshape(len(layers), *by_layer.shape[1:])
    return whole.ravel()
