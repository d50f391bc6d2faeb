"""Areas and normals without stairs: spheres, cubes, and balls cut in two by planes."""

from __future__ import annotations

import numpy as np
import pytest

from lib.cells.boundaries import table_of_boundaries
from lib.cells.surfaces import surface
from lib.cells.table import COLUMNS


def grid(n: int, spacing: np.ndarray) -> np.ndarray:
    axes = [s * (np.arange(n) - (n - 1) / 2) for s in spacing]
    return np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1)


def area(labels: np.ndarray, spacing: np.ndarray) -> float:
    found = surface(labels.astype(np.int32), np.zeros(3), spacing)
    return float(np.linalg.norm(found.areas_um2(), axis=1).sum())


@pytest.mark.parametrize("spacing", ((0.2, 0.2, 0.2), (0.2, 0.22, 0.18)))
@pytest.mark.parametrize("radius", (2.0, 4.0))
def test_a_sphere(radius, spacing):
    spacing = np.array(spacing)
    r = np.linalg.norm(grid(int(2 * radius / 0.18) + 4, spacing), axis=-1)
    assert area(r < radius, spacing) == pytest.approx(4 * np.pi * radius**2, rel=0.02)


@pytest.mark.parametrize("side", (28, 40))
def test_a_cube(side):
    labels = np.zeros((side + 2,) * 3)
    labels[1:-1, 1:-1, 1:-1] = 1
    assert area(labels, np.full(3, 0.5)) == pytest.approx(6 * (0.5 * side) ** 2, rel=0.02)


DIRECTIONS = ((1, 0, 0), (1, 1, 0), (1, 2, 3), (0.2, 1, 0.1), (1, 1, 1), (-3, 1, 0.5))


@pytest.mark.parametrize("direction", DIRECTIONS)
def test_two_cells(direction):
    """A ball cut at some distance from its middle: area to 3 %, normal to 2 degrees, and the centre."""
    spacing, radius, at = np.full(3, 0.2), 5.0, 0.5
    r = grid(54, spacing)
    normal = np.array(direction) / np.linalg.norm(direction)
    labels = np.where(np.linalg.norm(r, axis=-1) < radius, np.where(r @ normal > at, 2, 1), 0)
    found = surface(labels.astype(np.int32), np.full(3, -5.4), spacing)
    cells = np.zeros(2, COLUMNS)
    cells["tilt1_deg"], cells["tilt2_deg"] = (0.1, 0.4), (0.0, -0.4)
    (row,) = table_of_boundaries(found, cells)
    assert (row["cell_1"], row["cell_2"]) == (1, 2)
    assert row["area_um2"] == pytest.approx(np.pi * (radius**2 - at**2), rel=0.03)
    cosine = sum(row[f"normal_{axis}"] * part for axis, part in zip("xyz", normal, strict=True))
    assert cosine > np.cos(np.radians(2))
    assert row["misorientation_deg"] == pytest.approx(0.5)
    np.testing.assert_allclose([row[f"{axis}_um"] for axis in "xyz"], at * normal, atol=0.1)


def test_normals_point_out_of_the_grain():
    """The surface of every cell is closed, and encloses its volume."""
    labels = np.zeros((12, 12, 12), np.int32)
    labels[2:10, 2:10, 2:6], labels[2:10, 2:10, 6:10] = 2, 1
    found = surface(labels, np.zeros(3), np.ones(3))
    middle, vectors = found.points_um[found.corners].mean(axis=1), found.areas_um2()
    for cell in (1, 2):
        sign = np.where(found.between[:, 0] == cell, 1.0, np.where(found.between[:, 1] == cell, -1.0, 0.0))
        np.testing.assert_allclose(sign @ vectors, 0.0, atol=1e-9)
        assert (sign * (middle * vectors).sum(axis=1)).sum() / 3 == pytest.approx(256, rel=0.06)


def test_nothing():
    found = surface(np.zeros((3, 3, 3), np.int32), np.zeros(3), np.ones(3))
    assert not len(found.corners)
    assert not table_of_boundaries(found, np.zeros(0, COLUMNS)).size
