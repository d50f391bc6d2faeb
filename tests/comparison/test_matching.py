"""Cells of two results whose fate is known."""

from __future__ import annotations

import numpy as np
import pytest

from lib.comparison.matching import COLUMNS, match

N = 12
CHANGE = np.zeros((2, N, N, N))


def blocks(*edges: tuple[int, int]) -> np.ndarray:
    """Cells 1, 2, ... side by side along x."""
    labels = np.zeros((N, N, N), np.int32)
    for i, (low, high) in enumerate(edges):
        labels[low:high, 2:10, 2:10] = i + 1
    return labels


def volumes(labels: np.ndarray, voxel: float = 1.0) -> np.ndarray:
    return voxel * np.bincount(labels.ravel())[1:]


def matched(first, second, change=CHANGE, errors=None, voxel=1.0, larger=1.0):
    sizes = volumes(first, voxel), larger * volumes(second, voxel)
    return match((first, second), sizes, voxel, change, errors)


def kinds(rows) -> dict[str, set[tuple[int, int]]]:
    found: dict[str, set[tuple[int, int]]] = {}
    for row in rows:
        found.setdefault(str(row["kind"]), set()).add((int(row["cell_1"]), int(row["cell_2"])))
    return found


def test_pairs_with_other_numbers():
    rows = matched(
        blocks((0, 4), (4, 8), (8, 12)), np.array([0, 3, 1, 2], np.int32)[blocks((0, 5), (5, 8), (8, 12))]
    )
    assert kinds(rows) == {"pair": {(1, 3), (2, 1), (3, 2)}}


def test_a_split_and_a_merge():
    whole, parts = blocks((0, 6), (6, 12)), blocks((0, 3), (3, 6), (6, 12))
    assert kinds(matched(whole, parts)) == {"split": {(1, 1), (1, 2)}, "pair": {(2, 3)}}
    assert kinds(matched(parts, whole)) == {"merge": {(1, 1), (2, 1)}, "pair": {(3, 2)}}


def test_several_to_several():
    assert kinds(matched(blocks((0, 4), (4, 8)), blocks((0, 2), (2, 6), (6, 8)))) == {
        "mixed": {(1, 1), (1, 2), (2, 2), (2, 3)}
    }


def test_without_another():
    rows = matched(blocks((0, 4), (4, 8)), blocks((0, 4)))
    assert kinds(rows) == {"pair": {(1, 1)}, "gone": {(2, 0)}}
    assert np.isnan(rows["volume_2_um3"][1]) and np.isnan(rows["change_deg"][1])
    assert kinds(matched(blocks((0, 4)), blocks((0, 4), (4, 8)))) == {"pair": {(1, 1)}, "new": {(0, 2)}}
    assert matched(blocks(), blocks()).size == 0


def test_what_lies_outside_of_the_other_box_is_not_new():
    """The second cell is three times as large as what of it is on these voxels."""
    rows = matched(blocks((0, 4)), blocks((0, 4), (8, 12)), larger=3.0)
    assert kinds(rows) == {"pair": {(1, 1)}, "outside": {(0, 2)}}


def test_sizes_and_changes():
    first, second = blocks((0, 6), (6, 12)), blocks((0, 5), (5, 12))
    change = np.zeros((2, N, N, N))
    change[:, :6], change[:, 6:] = np.array([0.03, -0.04])[:, None, None, None], 0.1
    change[:, 5:7] = 7.0  # at the wall, where nothing is counted
    change[:, :, 4, 4] = np.nan
    rows = matched(first, second, change, np.full((2, N, N, N), 0.01), voxel=0.125)
    assert rows.dtype == COLUMNS
    np.testing.assert_allclose(rows["overlap_um3"], [5 * 8, 6 * 8])
    np.testing.assert_allclose(rows["volume_1_um3"], [48, 48])
    np.testing.assert_allclose(rows["volume_2_um3"], [40, 56])
    assert rows["tilt1_change_deg"][0] == pytest.approx(0.03)
    assert rows["tilt2_change_deg"][0] == pytest.approx(-0.04)
    assert rows["change_deg"][0] == pytest.approx(0.05)
    assert 0.001 < rows["change_error_deg"][0] < 0.01
