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
from .bands import Bands, Marks
from .measurement import Measurement
from .setting import Setting

_BITS_AT_ONCE = 64 << 20  # bytes of lit bits that a rank holds


@dataclass(frozen=True)
class Hull:
    """The voxels that are left, the same on every rank but for `counts`.

    Voxels are numbered layer by layer along the rotation axis, in C order within a layer. kept
    (n_layers, ceil(n_in_layer / 8)) holds a bit for each, n_kept (n_layers,) counts them. counts
    (n of this rank's layers, n_in_layer) are the omegas at which any pair is lit, unseen those of the others
    at which not all of the voxel's pixels were measured; None where they all were. lacking: see `Look`.
    """

    n_in_layer: int
    kept: NDArray[np.uint8]
    n_kept: NDArray[np.int64]
    counts: NDArray[np.int32]
    unseen: NDArray[np.int32] | None = None
    lacking: int = 0

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

    see(bands, k) gives images (n_x, n_y) of what is lit at omega k, and of what is not but may be, for it
    was not (wholly) measured; None for nothing. Both grow by `margin` pixels. lacking is at how many omegas
    the frames may be missing that a voxel needs.
    """

    see: Callable[[Bands, int], tuple[NDArray[np.bool_], Marks]]
    cutoff: float
    margin: int = 0
    lacking: int = 0


def any_pair(setting: Setting) -> Look:
    """The look of `backprojection` and `rocking`: a voxel is no more complete than any of its pairs is lit.

    Of its pairs, or of those that a rocking curve needs, one may be missing at some omegas.
    """

    def see(bands: Bands, k: int) -> tuple[NDArray[np.bool_], Marks]:
        if setting.lit is not None and k in setting.lit:
            n_x, n_y = bands.scan.shape[3:]
            return np.unpackbits(setting.lit[k], count=n_x * n_y).reshape(n_x, n_y).view(np.bool_), None
        most, total, n_unknown = bands.over_tilts(k)
        setting.keep_total(k, total)
        lit = most > setting.threshold
        return lit, None if n_unknown is None else (n_unknown > 0) & ~lit

    lacking = setting.measurement.lacking
    of_one = lacking.any(axis=1) if setting.params.method == "rocking" else lacking
    return Look(see, setting.params.completeness_cutoff, lacking=int(of_one.sum(axis=0).max()))


def upper_bound(
    counts: NDArray[np.int32], unseen: NDArray[np.int32] | None, n_omega: int, lacking: int
) -> NDArray[np.float64]:
    """The most that the completeness of voxels can be: counts and unseen as of `Hull`, any shape.

    At the omegas that are neither, every pair that was measured is known to be dark. A pair is lit at no more
    than `counts`, and dark at all of those, less the ones where its frame is missing.
    """
    n_seen = np.asarray(n_omega - lacking) if unseen is None else n_omega - lacking - unseen
    share = np.divide(counts, n_seen, out=np.ones(counts.shape), where=n_seen > 0)
    return np.minimum(share, 1.0, out=share)


def find_hull(
    measurement: Measurement, projector: Projector, comm: Comm, look: Look, *, quiet: bool = False
) -> Hull:
    """Count where voxels are lit and rule voxels out. Collective. Cutoff 0 rules out nothing."""
    n_in_layer = projector.n_in_layer
    mine = layers_of(projector, comm)[comm.rank]
    counts, unseen = np.zeros((len(mine), n_in_layer), dtype=np.int32), None
    kept = np.ones((len(mine), n_in_layer), dtype=np.bool_)
    if look.cutoff > 0:
        counts, unseen = _count(measurement, projector, look, mine, comm, quiet)
        kept = upper_bound(counts, unseen, measurement.n_omega, look.lacking) >= look.cutoff
    n_rows = [len(layers) for layers in layers_of(projector, comm)]
    bits = allgather_rows(comm, np.packbits(kept, axis=1), n_rows)
    n_kept = allgather_rows(comm, kept.sum(axis=1, dtype=np.int64), n_rows)
    return Hull(n_in_layer, bits, n_kept, counts, unseen, look.lacking)


def _count(
    measurement: Measurement, projector: Projector, look: Look, layers: range, comm: Comm, quiet: bool
) -> tuple[NDArray[np.int32], NDArray[np.int32] | None]:
    """`Hull.counts` and `Hull.unseen` of the voxels of some layers."""
    views, margin = _hull_views(projector, look.margin)
    grid = list(projector.volume.axes_um)
    grid[projector.axis] = grid[projector.axis][layers.start : layers.stop]
    counts, unseen = np.zeros([axis.size for axis in grid], dtype=np.int32), None
    n_omega = measurement.n_omega
    n_pixels = int(np.prod(views.detector_shape))
    n_bytes = -(-n_pixels // 8)
    show = comm.rank == 0 and not quiet

    def add(to: NDArray[np.int32], bits: NDArray[np.uint8], n_rows: list[int], part: range) -> None:
        for k, row in zip(part, allgather_rows(comm, bits, n_rows), strict=True):
            here = views[k : k + 1]
            image = np.unpackbits(row, count=n_pixels)[None]
            kernels.count_hull(to.reshape(-1), image, here.matrix, here.shift, here.detector_shape, *grid)

    parts = blocks_of_at_most(range(n_omega), max(comm.size, _BITS_AT_ONCE // n_bytes))
    my_total = sum(len(block(len(part), comm.size, comm.rank)) for part in parts)
    with (
        Bands(measurement.scan, measurement.omega_index) as bands,
        Progress("first look", my_total, "omegas", overall=n_omega, visible=show) as progress,
    ):
        for part in parts:
            shares = [block(len(part), comm.size, rank) for rank in range(comm.size)]
            n_rows = [len(share) for share in shares]
            lit, blind = (np.zeros((n_rows[comm.rank], n_bytes), dtype=np.uint8) for _ in range(2))
            with together(comm):
                for row, k in enumerate(shares[comm.rank]):
                    lit[row], blind[row] = _bits(*look.see(bands, part[k]), margin)
                    progress.advance()
                    check_alarm(comm)
            add(counts, lit, n_rows, part)
            if any(comm.allgather(bool(blind.any()))):
                unseen = np.zeros(counts.shape, dtype=np.int32) if unseen is None else unseen
                add(unseen, blind, n_rows, part)

    def by_layer(values: NDArray[np.int32]) -> NDArray[np.int32]:
        return np.moveaxis(values, projector.axis, 0).reshape(len(layers), projector.n_in_layer)

    return by_layer(counts), None if unseen is None else by_layer(unseen)


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


def _bits(
    lit: NDArray[np.bool_], blind: Marks, margin: tuple[int, int]
) -> tuple[NDArray[np.uint8], NDArray[np.uint8] | int]:
    """What is lit, and what is not but may be, as bits, grown by a margin of pixels in each direction."""
    grown = _grown(lit, margin)
    return np.packbits(grown), 0 if blind is None else np.packbits(_grown(blind, margin) & ~grown)


def _grown(image: NDArray[np.bool_], margin: tuple[int, int]) -> NDArray[np.bool_]:
    (n_x, n_y), (reach_x, reach_y) = image.shape, margin
    grown = np.zeros((n_x + 2 * reach_x, n_y + 2 * reach_y), dtype=np.bool_)
    for dx in range(2 * reach_x + 1):
        for dy in range(2 * reach_y + 1):
            grown[dx : dx + n_x, dy : dy + n_y] |= image
    return grown
