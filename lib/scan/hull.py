"""First look: which voxels can be complete enough at all, and who reconstructs which of them.

Completeness at any one pair of tilts never exceeds the share of omegas at which any pair is lit at the
voxel's pixel. That takes one bit per pixel and omega: ranks share the omegas, exchange the bits, and
each counts its layers of voxels. What stays below the cutoff is ruled out, exactly.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..parallel.communicator import Comm, check_alarm, together
from ..parallel.messages import allgather_rows
from ..parallel.partition import block, blocks_of_at_most
from ..parallel.progress import Progress
from ..projection import kernels
from ..projection.projector import Projector
from ..projection.views import Views, deviations, mean_views
from .bands import Bands
from .measurement import Measurement
from .setting import Setting

_BITS_AT_ONCE = 64 << 20  # bytes of lit bits that a rank holds


@dataclass(frozen=True)
class Hull:
    """The voxels that are left, the same on every rank but for `counts`.

    Voxels are numbered layer by layer along the rotation axis, in C order within a layer. kept
    (n_layers, ceil(n_in_layer / 8)) holds a bit for each, n_kept (n_layers,) counts them. counts
    (n of this rank's layers, n_in_layer) are the omegas at which any pair is lit.
    """

    n_in_layer: int
    kept: NDArray[np.uint8]
    n_kept: NDArray[np.int64]
    counts: NDArray[np.int32]

    @property
    def total(self) -> int:
        """Number of voxels left."""
        return int(self.n_kept.sum())

    def voxels(self, part: range) -> NDArray[np.int64]:
        """Numbers of the part-th of the voxels left, ascending."""
        ends = np.cumsum(self.n_kept)
        found = [np.empty(0, dtype=np.int64)]
        for layer in range(
            int(np.searchsorted(ends, part.start, side="right")), np.searchsorted(ends, part.stop) + 1
        ):
            if not part or layer == ends.size:
                break
            first = int(ends[layer] - self.n_kept[layer])
            here = np.flatnonzero(np.unpackbits(self.kept[layer], count=self.n_in_layer))
            here = here[max(part.start - first, 0) : part.stop - first]
            found.append(here + layer * self.n_in_layer)
        return np.concatenate(found)


def layers_of(projector: Projector, comm: Comm) -> list[range]:
    """The layers that each rank counts in the first look."""
    return [
        block(projector.volume.axes_um[projector.axis].size, comm.size, rank) for rank in range(comm.size)
    ]


@dataclass(frozen=True)
class Look:
    """What the first look asks of a voxel: to be lit at a share `cutoff` of the omegas.

    lit(bands, k) is the image (n_x, n_y) of what is lit at omega k; lit pixels grow by `margin`.
    """

    lit: Callable[[Bands, int], NDArray[np.bool_]]
    cutoff: float
    margin: int = 0


def any_pair(setting: Setting) -> Look:
    """The look of `backprojection`: no voxel can be more complete than any of its pairs is lit."""

    def lit(bands: Bands, k: int) -> NDArray[np.bool_]:
        most, total = bands.brightest_and_total(k, total=setting.totals is not None)
        setting.keep_total(k, total)
        return most > setting.threshold

    return Look(lit, setting.params.completeness_cutoff)


def find_hull(
    measurement: Measurement, projector: Projector, comm: Comm, look: Look, *, quiet: bool = False
) -> Hull:
    """Count where voxels are lit and rule voxels out. Collective. Cutoff 0 rules out nothing."""
    n_in_layer = projector.n_in_layer
    mine = layers_of(projector, comm)[comm.rank]
    counts = np.zeros((len(mine), n_in_layer), dtype=np.int32)
    kept = np.ones((len(mine), n_in_layer), dtype=np.bool_)
    if look.cutoff > 0:
        counts = _count(measurement, projector, look, mine, comm, quiet)
        kept = counts / measurement.n_omega >= look.cutoff
    n_rows = [len(layers) for layers in layers_of(projector, comm)]
    bits = allgather_rows(comm, np.packbits(kept, axis=1), n_rows)
    n_kept = allgather_rows(comm, kept.sum(axis=1, dtype=np.int64), n_rows)
    return Hull(n_in_layer, bits, n_kept, counts)


def _count(
    measurement: Measurement, projector: Projector, look: Look, layers: range, comm: Comm, quiet: bool
) -> NDArray[np.int32]:
    """Omegas (n_layers, n_in_layer) at which any pair is lit, for the voxels of some layers."""
    views, margin = _hull_views(projector, look.margin)
    grid = list(projector.volume.axes_um)
    grid[projector.axis] = grid[projector.axis][layers.start : layers.stop]
    counts = np.zeros([axis.size for axis in grid], dtype=np.int32)
    n_omega = measurement.n_omega
    n_pixels = int(np.prod(views.detector_shape))
    n_bytes = -(-n_pixels // 8)
    show = comm.rank == 0 and not quiet
    parts = blocks_of_at_most(range(n_omega), max(comm.size, _BITS_AT_ONCE // n_bytes))
    my_total = sum(len(block(len(part), comm.size, comm.rank)) for part in parts)
    with (
        Bands(measurement.scan, measurement.omega_index) as bands,
        Progress("first look", my_total, "omegas", overall=n_omega, visible=show) as progress,
    ):
        for part in parts:
            shares = [block(len(part), comm.size, rank) for rank in range(comm.size)]
            bits = np.empty((len(shares[comm.rank]), n_bytes), dtype=np.uint8)
            with together(comm):
                for row, k in zip(bits, shares[comm.rank], strict=True):
                    row[:] = _lit_bits(look.lit(bands, part[k]), margin)
                    progress.advance()
                    check_alarm(comm)
            bits = allgather_rows(comm, bits, [len(share) for share in shares])
            for k, row in zip(part, bits, strict=True):
                here = views[k : k + 1]
                lit = np.unpackbits(row, count=n_pixels)[None]
                kernels.count_hull(
                    counts.reshape(-1), lit, here.matrix, here.shift, here.detector_shape, *grid
                )
    n_in_layer = projector.n_in_layer
    return np.moveaxis(counts, projector.axis, 0).reshape(len(layers), n_in_layer)


def _hull_views(projector: Projector, margin: int) -> tuple[Views, tuple[int, int]]:
    """The projections to count with, and by how many pixels (x, y) lit pixels must grow for them.

    Pairs with projections of their own lie around the mean one: a pixel then counts as lit when a pixel
    within reach of it is, which keeps the count an upper bound. The image grows by as much on each side.
    """
    if projector.pair_views is None and margin == 0:
        return projector.views, (0, 0)
    views, reach = projector.views, np.full(2, margin)
    if projector.pair_views is not None:
        least, most = deviations(projector.pair_views, projector.volume)
        reach += np.floor(np.maximum(-least, most).max(axis=0)).astype(int) + 1
        views = mean_views(projector.pair_views)
    n_x, n_y = views.detector_shape
    larger = (n_x + 2 * int(reach[0]), n_y + 2 * int(reach[1]))
    return Views(views.matrix, views.shift + reach, larger), (int(reach[0]), int(reach[1]))


def _lit_bits(lit: NDArray[np.bool_], margin: tuple[int, int]) -> NDArray[np.uint8]:
    """A lit image (n_x, n_y) as bits, grown by a margin of pixels in each direction."""
    (n_x, n_y), (reach_x, reach_y) = lit.shape, margin
    grown = np.zeros((n_x + 2 * reach_x, n_y + 2 * reach_y), dtype=np.bool_)
    for dx in range(2 * reach_x + 1):
        for dy in range(2 * reach_y + 1):
            grown[dx : dx + n_x, dy : dy + n_y] |= lit
    return np.packbits(grown)
