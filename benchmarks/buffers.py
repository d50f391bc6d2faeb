"""The largest messages between ranks, from the shapes of a scan and a volume."""

from __future__ import annotations

import math

from lib.checks import projections
from lib.mlem import counting, standstill
from lib.result import derived, volume
from lib.result.compression import chunk_sides
from lib.scan import hull, look

_MOST_COARSE_VOXELS = 40**3  # of about 32 pixels across, and the cells of a grid that they reach into


def largest_buffers(
    n_omega: int,
    n_pairs: int,
    image: tuple[int, int],
    voxels: tuple[int, int, int],
    n_kept: int,
    n_ranks: int,
) -> dict[str, int]:
    """The largest message of the stages that send any of a size that grows, in bytes; before it is cut up.

    image are the pixels (n_x, n_y) of a frame, n_kept the voxels that the first look leaves. Where it
    depends on the grain: the most that is possible.
    """
    n_pixels, n_voxels = image[0] * image[1], voxels[0] * voxels[1] * voxels[2]
    layers = -(-max(voxels) // n_ranks)  # of a rank, along the rotation axis; the most
    in_layer = n_voxels // min(voxels)
    bits = -(-n_pixels // 8)
    side_x, side_y, _ = chunk_sides(voxels)
    slab = 8 * max(min(volume._VOXELS_AT_ONCE, side_x * voxels[1] * voxels[2]), side_x * side_y * voxels[2])
    cell = max(standstill.CELL_VOXELS, math.ceil((n_voxels / standstill.MOST_CELLS) ** (1 / 3)))
    n_cells = math.prod(-(-n // cell) for n in voxels)
    omegas = max(n_ranks, hull._BITS_AT_ONCE // bits)
    most = counting._MOST_VALUES + n_pixels
    return {
        "reconstruction._prepare_on_all": max(4 * n_pixels, 64 * n_omega, n_omega * n_pairs),
        "hull.add": -(-min(n_omega, omegas) // n_ranks) * (bits + 64 * sum(image)),
        "hull.find_hull": layers * max(-(-in_layer // 8), 8),
        "gather._gather_layers": 4 * layers * in_layer,
        "gather.gather_field": 8 * -(-n_kept // n_ranks),
        "gather.scatter_field": 8 * -(-n_kept // n_ranks),
        "projections._voxels": 8 * min(n_kept, projections._VOXELS_AT_ONCE),
        "projections.each": max(4 * n_pixels, 96 * n_omega),
        "heldout.judge": 24 * min(n_voxels, _MOST_COARSE_VOXELS),
        "parity.judge": 48,
        "look.look": 4 * -(-n_omega // n_ranks) * min(n_pixels, look._MOST_PIXELS**2),
        "overlaps.total": 160 * n_cells,  # of both halves of each, since one iteration and since several
        "counting.with_noise": max(4 * min(n_pixels * n_pairs, most), 8 * n_pixels),
        "overlaps._shared_rows": n_omega * max(bits + 1, 16),
        "overlaps.add_overlaps": 4 * n_omega * n_pairs * n_pixels,
        "volume._fill": slab,
        "reconstruction._run": max(5 * slab // 4, 4_000_000),  # what comes back, plotly with what turns, too
        "report._together": 2_000_000 + 24 * min(n_voxels, 128**3),  # figures, what moves and turns
        "derived._by_layers": 8 * (derived._LAYERS + 2) * voxels[1] * voxels[2],
    }
