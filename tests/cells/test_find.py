"""Cells of made-up maps: as many as there are, where they are; one where the grain only bends."""

from __future__ import annotations

import numpy as np
import pytest

from lib.cells.find import find_cells
from tests.cells import grains


def found_in(tilts: np.ndarray, mask: np.ndarray, noise: float, *, stated: bool = True) -> np.ndarray:
    field = grains.map_of(tilts, mask, noise * grains.STEP)
    errors = np.full(mask.shape, noise * grains.STEP * np.sqrt(2)) if stated else None
    return find_cells(field[..., 0], field[..., 1], errors, mask)


@pytest.mark.parametrize("noise", (0.01, 0.03, 0.05))
@pytest.mark.parametrize("n_cells", (5, 20))
def test_cells_are_found(n_cells, noise):
    labels, tilts = grains.voronoi(n_cells, 40, seed=n_cells)
    mask = labels > 0
    found = found_in(tilts, mask, noise)
    assert abs(found.max() - n_cells) <= 0.1 * n_cells
    assert grains.rand_index(labels[mask], found[mask]) > 0.92


@pytest.mark.parametrize("noise", (0.01, 0.05))
def test_small_cells_do_not_run_together(noise):
    """Nine voxels across, so that pieces at a wall are as large as many a cell."""
    labels, tilts = grains.voronoi(60, 44, seed=60)
    mask = labels > 0
    found = found_in(tilts, mask, noise)
    assert abs(found.max() - 60) <= 6
    assert grains.rand_index(labels[mask], found[mask]) > 0.9


@pytest.mark.parametrize("stated", (True, False))
@pytest.mark.parametrize("noise", (0.01, 0.05))
@pytest.mark.parametrize("kind", grains.BENDS)
def test_a_bend_is_not_cut_up(kind, noise, stated):
    labels, tilts = grains.bent(kind, 36)
    found = found_in(tilts, labels > 0, noise, stated=stated)
    np.testing.assert_array_equal(found, labels)


def test_a_step_within_the_errors_is_no_wall():
    """The same step, once with small errors and once with large ones."""
    r = grains.centres(30)
    mask = grains.inside(r)
    tilts = np.stack([np.where(r[..., 0] > 0.1, 0.02, 0.0), 0.01 * r[..., 1]], axis=-1)
    field = grains.map_of(tilts, mask, 0.001)
    for error, n in ((0.001, 2), (0.03, 1)):
        assert find_cells(field[..., 0], field[..., 1], np.full(mask.shape, error), mask).max() == n


def test_labels_count_from_the_largest_and_know_the_grain():
    labels, tilts = grains.voronoi(5, 30, seed=1)
    mask = labels > 0
    found = found_in(tilts, mask, 0.02)
    sizes = np.bincount(found[mask])[1:]
    assert found.dtype == np.int32
    np.testing.assert_array_equal(found > 0, mask)
    np.testing.assert_array_equal(sizes, np.sort(sizes)[::-1])


@pytest.mark.parametrize("turn", ((1, 2, 0), (2, 0, 1)))
def test_axes_do_not_matter(turn):
    labels, tilts = grains.voronoi(8, 30, seed=3)
    mask = labels > 0
    field = grains.map_of(tilts, mask, 0.02 * grains.STEP)
    errors = np.full(mask.shape, 0.03 * grains.STEP)
    straight = find_cells(field[..., 0], field[..., 1], errors, mask)
    turned = find_cells(*(a.transpose(turn) for a in (field[..., 0], field[..., 1], errors, mask)))
    same = grains.rand_index(straight[mask], turned.transpose(np.argsort(turn))[mask])
    assert same > 0.99


def test_voxels_without_orientation_are_in_no_cell():
    labels, tilts = grains.voronoi(2, 24, seed=2)
    mask = labels > 0
    field = grains.map_of(tilts, mask, 0.001)
    field[10:13, 11, 12] = np.nan
    found = find_cells(field[..., 0], field[..., 1], None, mask)
    np.testing.assert_array_equal(found > 0, mask & np.isfinite(field[..., 0]))


@pytest.mark.parametrize("shape", ((1, 1, 1), (1, 5, 7), (2, 2, 2)))
def test_the_smallest_grains(shape):
    flat = np.zeros(shape)
    assert (find_cells(flat, flat, None, np.ones(shape, bool)) == 1).all()
    assert (find_cells(flat, flat, None, np.zeros(shape, bool)) == 0).all()
    assert (find_cells(flat * np.nan, flat, None, np.ones(shape, bool)) == 0).all()
