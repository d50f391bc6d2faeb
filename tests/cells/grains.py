"""Fields of made-up grains: cells with gradients, and bends without cells; noise as a map has it."""

from __future__ import annotations

import numpy as np
from scipy.ndimage import gaussian_filter
from scipy.spatial import cKDTree

STEP = 0.05  # deg, of the scan


def centres(n: int) -> np.ndarray:
    """Centres (n, n, n, 3) of voxels, from -1 to 1."""
    axis = (np.arange(n) - (n - 1) / 2) / (n / 2)
    return np.stack(np.meshgrid(axis, axis, axis, indexing="ij"), axis=-1)


def inside(r: np.ndarray) -> np.ndarray:
    """An ellipsoid with a bite out of it."""
    x, y, z = np.moveaxis(r / (0.9, 0.8, 0.95), -1, 0)
    return (x**2 + y**2 + z**2 < 1) & ((x - 0.8) ** 2 + (y - 0.8) ** 2 + z**2 > 0.3)


def voronoi(n_cells: int, n: int, seed: int, apart: float = 0.05) -> tuple[np.ndarray, np.ndarray]:
    """True labels (n, n, n) from 1, 0 outside, and tilts (n, n, n, 2) in degrees.

    Neighbours differ by `apart` at least, and bend by about a tenth of a step over a cell.
    """
    rng = np.random.default_rng(seed)
    r = centres(n)
    seeds = rng.uniform(-0.95, 0.95, (1, 3))
    while len(seeds) < n_cells:  # not closer than the cells of a real grain
        more = rng.uniform(-0.95, 0.95, (1, 3))
        if inside(more)[0] and np.linalg.norm(seeds - more, axis=1).min() > 1.1 / n_cells ** (1 / 3):
            seeds = np.vstack([seeds, more])
    which = cKDTree(seeds).query(r)[1]
    mean = np.zeros((n_cells, 2))
    for i in range(n_cells):
        tries = rng.uniform(-3 * STEP, 3 * STEP, (500, 2))
        near = np.linalg.norm(seeds[:i] - seeds[i], axis=1) < 2.4 / n_cells ** (1 / 3)
        far = [t for t in tries if (np.linalg.norm(mean[:i][near] - t, axis=1) > apart).all()]
        mean[i] = far[0]
    slope = rng.normal(0.0, 0.05 * STEP * n_cells ** (1 / 3), (n_cells, 2, 3))
    tilts = mean[which] + np.einsum("...ij,...j->...i", slope[which], r - seeds[which])
    return np.where(inside(r), which + 1, 0), tilts


BENDS = {
    "none": lambda x, y, z: (0.0 * x, 0.0 * y),
    "even": lambda x, y, z: (0.12 * x + 0.03 * z, 0.1 * y - 0.05 * x),
    "bow": lambda x, y, z: (0.15 * x**2 + 0.05 * z, 0.1 * y + 0.08 * x * z),
    "waves": lambda x, y, z: (0.08 * np.sin(4.0 * x + z), 0.06 * np.cos(3.5 * y)),
}


def bent(kind: str, n: int) -> tuple[np.ndarray, np.ndarray]:
    """Labels and tilts of a grain of one cell."""
    r = centres(n)
    return inside(r).astype(int), np.stack(BENDS[kind](*np.moveaxis(r, -1, 0)), axis=-1)


def map_of(tilts: np.ndarray, mask: np.ndarray, noise: float, seed: int = 0, blur: float = 0.6) -> np.ndarray:
    """The tilts as a reconstruction has them: smeared by less than a voxel, noise alike over about two."""
    rng = np.random.default_rng(seed)
    found = np.empty_like(tilts)
    weight = gaussian_filter(mask.astype(float), blur)
    for i in (0, 1):
        smooth = gaussian_filter(np.where(mask, tilts[..., i], 0.0), blur) / np.maximum(weight, 1e-9)
        error = gaussian_filter(rng.normal(size=mask.shape), 0.8)
        found[..., i] = np.where(mask, smooth + noise * error / error.std(), np.nan)
    return found


def rand_index(a: np.ndarray, b: np.ndarray) -> float:
    """Adjusted Rand index of two labellings (Hubert and Arabie 1985, J. Classif. 2, 193)."""
    table = np.zeros((a.max() + 1, b.max() + 1))
    np.add.at(table, (a, b), 1)
    pairs, rows, columns = ((t * (t - 1) / 2).sum() for t in (table, table.sum(1), table.sum(0)))
    by_chance = rows * columns / (a.size * (a.size - 1) / 2)
    most = (rows + columns) / 2
    return 1.0 if most == by_chance else float((pairs - by_chance) / (most - by_chance))
