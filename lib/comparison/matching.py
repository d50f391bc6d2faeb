"""Which cell of one result is which of the other: pairs, splits and merges, by the volume they share."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

from ..cells.borders import core, inside
from ..cells.steps import numbers
from ..cells.table import error_of_mean

Array = NDArray[np.float64]
Labels = NDArray[np.int32]

COLUMNS = np.dtype(
    [
        ("kind", "U7"),
        ("cell_1", "i4"),
        ("cell_2", "i4"),
        ("overlap_um3", "f8"),
        ("volume_1_um3", "f8"),
        ("volume_2_um3", "f8"),
        ("tilt1_change_deg", "f8"),
        ("tilt2_change_deg", "f8"),
        ("change_deg", "f8"),
        ("change_error_deg", "f8"),
    ]
)
KINDS = ("pair", "split", "merge", "mixed", "gone", "new", "outside")
_FEW = 8  # voxels, of which none may be read on those of the other result
_MOST = 0.5  # of the smaller one is shared by two that belong together


def match(
    labels: tuple[Labels, Labels],
    volumes_um3: tuple[Array, Array],
    voxel_um3: float,
    change: Array,
    errors: Array | None,
) -> NDArray[Any]:
    """A row of COLUMNS for each two cells that belong together, and for each that has no other.

    labels (n_x, n_y, n_z) of both results on the same voxels, 0 outside and where the box of the other ends;
    volumes_um3 of all cells of each, from 1. change (2, n_x, n_y, n_z) of the tilts in degrees, NaN where not
    known, and errors likewise; None: not known.

    Two cells belong together if they share half of the smaller one. What hangs together so is a pair (one
    and one), a split (one and several), a merge (several and one) or mixed. A cell without any other is
    gone or new; or outside, if less than half of it lies in the box of the other result. The change is the
    mean over what both share, two voxels away from other cells where there is any: at walls the two maps mix
    cells differently.
    """
    shape = len(volumes_um3[0]) + 1, len(volumes_um3[1]) + 1
    shared = np.zeros(shape)
    np.add.at(shared, labels, 1)
    shared[0] = shared[:, 0] = 0
    own = [np.bincount(found.ravel(), minlength=n) for found, n in zip(labels, shape, strict=True)]
    linked = np.argwhere((shared > 0) & (shared >= _MOST * np.minimum(own[0][:, None], own[1])))
    rows = np.zeros(len(linked), dtype=COLUMNS)
    rows["cell_1"], rows["cell_2"] = linked.T
    rows["kind"] = _kinds(linked, shape)
    rows["overlap_um3"] = voxel_um3 * shared[tuple(linked.T)]
    tables = [rows]
    for i, name in enumerate(("gone", "new")):
        alone = np.setdiff1d(np.arange(1, shape[i]), linked[:, i])
        more = np.zeros(alone.size, dtype=COLUMNS)
        more[f"cell_{i + 1}"] = alone
        size = volumes_um3[i][alone - 1] / voxel_um3
        outside = (own[i][alone] < _MOST * size) & (size > _FEW)
        more["kind"] = np.where(outside, "outside", name)
        tables.append(more)
    table = np.concatenate(tables)
    for i in (0, 1):
        table[f"volume_{i + 1}_um3"] = np.append(np.nan, volumes_um3[i])[table[f"cell_{i + 1}"]]
    _add_changes(table, labels, change, errors)
    return table


def _kinds(linked: NDArray[np.int64], shape: tuple[int, int]) -> list[str]:
    """What each link (n, 2) belongs to."""
    a, b = linked[:, 0], linked[:, 1] + shape[0]
    n = sum(shape)
    group = connected_components(coo_matrix((np.ones(len(a)), (a, b)), shape=(n, n)), directed=False)[1]
    firsts = np.bincount(group[np.unique(a)], minlength=n)[group[a]]
    seconds = np.bincount(group[np.unique(b)], minlength=n)[group[a]]
    names = {(False, False): "pair", (False, True): "split", (True, False): "merge", (True, True): "mixed"}
    return [names[one > 1, other > 1] for one, other in zip(firsts, seconds, strict=True)]


def _add_changes(
    table: NDArray[Any], labels: tuple[Labels, Labels], change: Array, errors: Array | None
) -> None:
    """The mean change of the orientation in each row that has two cells; in place."""
    columns = ("tilt1_change_deg", "tilt2_change_deg", "change_deg", "change_error_deg")
    for name in columns:
        table[name] = np.nan
    number = np.full((int(table["cell_1"].max(initial=0)) + 1, int(table["cell_2"].max(initial=0)) + 1), -1)
    rows = np.flatnonzero((table["cell_1"] > 0) & (table["cell_2"] > 0))
    number[table["cell_1"][rows], table["cell_2"][rows]] = rows
    at = np.where(np.isfinite(change).all(axis=0), number[labels], -1)
    known = at >= 0
    which = at[known].astype(np.int32)
    n, number_of = len(table), numbers(known)
    pure = core(which, number_of)
    for more in (inside(which, number_of), np.ones_like(pure)):
        pure |= more & (np.bincount(which, pure, n) == 0)[which]
    which, count = which[pure], np.bincount(which[pure], minlength=n)
    told = count > 0
    mean = np.stack([np.bincount(which, v[known][pure], n) for v in change])[:, told] / count[told]
    table["tilt1_change_deg"][told], table["tilt2_change_deg"][told] = mean
    table["change_deg"][told] = np.hypot(*mean)
    if errors is not None:
        both = [error_of_mean(which, error[known][pure], n)[told] for error in errors]
        table["change_error_deg"][told] = np.hypot(*both) / np.sqrt(2.0)
