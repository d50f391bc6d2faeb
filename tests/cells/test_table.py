"""What is said of each cell, beside cells whose sizes and gradients are known."""

from __future__ import annotations

import numpy as np
import pytest

from lib.cells.table import table_of_cells

SHAPE = (20, 14, 12)
SPACING = np.array([0.5, 0.4, 0.25])
AXES = tuple(s * (np.arange(n) - (n - 1) / 2) + 3.0 for s, n in zip(SPACING, SHAPE, strict=True))


@pytest.fixture(scope="module")
def rows():
    """Two blocks within a rim of nothing; the second is bent by 0.03 deg/um along (3, 4, 0)/5."""
    labels = np.zeros(SHAPE, np.int32)
    labels[2:12, 2:12, 2:10] = 1
    labels[12:18, 2:12, 2:10] = 2
    x, y, _ = np.meshgrid(*AXES, indexing="ij")
    tilt1 = np.where(labels == 1, 0.1, 0.03 * (0.6 * (x - 5.0) + 0.8 * (y - 3.0)))
    tilt2 = np.where(labels == 1, -0.2, 0.05)
    nothing = labels == 0
    tilt1[nothing] = tilt2[nothing] = np.nan
    errors = np.full(SHAPE, 0.01), np.full(SHAPE, 0.02)
    return table_of_cells(labels, labels > 0, AXES, SPACING, (tilt1, tilt2), errors)


def test_sizes_and_places(rows):
    np.testing.assert_array_equal(rows["id"], [1, 2])
    np.testing.assert_allclose(rows["volume_um3"], np.array([800, 480]) * 0.05)
    np.testing.assert_allclose(np.pi / 6 * rows["diameter_um"] ** 3, rows["volume_um3"])
    np.testing.assert_allclose(rows["x_um"], [AXES[0][2:12].mean(), AXES[0][12:18].mean()])
    np.testing.assert_allclose(rows["y_um"], 3.0)
    np.testing.assert_allclose(rows["z_um"], 3.0)
    assert rows["at_surface"].all()


def test_orientations(rows):
    np.testing.assert_allclose(rows["tilt1_deg"][0], 0.1)
    np.testing.assert_allclose(rows["tilt2_deg"], [-0.2, 0.05])
    np.testing.assert_allclose(rows["gradient_deg_per_um"], [0.0, 0.03], atol=1e-12)
    assert rows["spread_deg"][0] < 1e-12 and 0.01 < rows["spread_deg"][1] < 0.04
    np.testing.assert_allclose(rows["tilt2_error_deg"], 2 * rows["tilt1_error_deg"])
    assert (rows["tilt1_error_deg"] < 0.01 / 3).all() and (rows["tilt1_error_deg"] > 0.01 / 30).all()


def test_a_cell_inside_is_not_at_the_surface():
    labels = np.ones((7, 7, 7), np.int32)
    labels[2:5, 2:5, 2:5] = 2
    flat = np.zeros(labels.shape)
    axes = (np.arange(7.0),) * 3
    rows = table_of_cells(labels, labels > 0, axes, np.ones(3), (flat, flat), None)
    np.testing.assert_array_equal(rows["at_surface"], [True, False])
    assert np.isnan(rows["tilt1_error_deg"]).all()


def test_no_cells():
    labels = np.zeros((3, 3, 3), np.int32)
    flat = np.zeros(labels.shape)
    assert not table_of_cells(labels, labels > 0, (np.arange(3.0),) * 3, np.ones(3), (flat, flat), None).size
