"""Made-up grains that were moved, turned and strained: formulas written out here, no code of lib/."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from scipy.ndimage import gaussian_filter
from scipy.spatial import cKDTree
from scipy.spatial.transform import Rotation

from lib.comparison.maps import Map

LEANING = Rotation.from_rotvec((12, 25, -17), degrees=True).as_matrix()  # not along the voxels


@dataclass
class Grain:
    """A leaning ellipsoid with a bite out of it, about 20 um wide, of n cells, at rest."""

    n_cells: int = 12
    seed: int = 0
    radii: tuple[float, float, float] = (9.0, 8.0, 9.5)
    bite: bool = True
    seeds: np.ndarray = field(init=False)
    mean: np.ndarray = field(init=False)
    slope: np.ndarray = field(init=False)

    def __post_init__(self) -> None:
        rng = np.random.default_rng(self.seed)
        self.seeds = rng.uniform(-8, 8, (self.n_cells, 3))
        self.mean = rng.uniform(-0.15, 0.15, (self.n_cells, 2))
        self.slope = rng.normal(0, 0.003, (self.n_cells, 2, 3))

    def inside(self, r: np.ndarray) -> np.ndarray:
        x, y, z = np.moveaxis((r @ LEANING) / self.radii, -1, 0)
        whole = x**2 + y**2 + z**2 < 1
        return whole & ((x - 0.8) ** 2 + (y - 0.7) ** 2 + z**2 > 0.3) if self.bite else whole

    def cell(self, r: np.ndarray) -> np.ndarray:
        return cKDTree(self.seeds).query(r)[1]

    def tilts(self, r: np.ndarray) -> np.ndarray:
        which = self.cell(r)
        return self.mean[which] + np.einsum("...ij,...j->...i", self.slope[which], r - self.seeds[which])


def turned_pairs(mode: str, tilts: np.ndarray, angle_deg: float) -> np.ndarray:
    """Pairs (..., 2) after the sample was turned about the scattering vector (-x, or +z)'s axis x or z."""
    c, s = np.cos(np.radians(angle_deg)), np.sin(np.radians(angle_deg))
    a, b = np.moveaxis(tilts, -1, 0)
    if mode == "horizontal":  # G = -x + (0, a, -b), turned about x
        return np.stack([c * a + s * b, c * b - s * a], axis=-1)
    return np.stack([c * a - s * b, c * b + s * a], axis=-1)  # G = z + (-b, a, 0), turned about z


def see(
    grain: Grain,
    *,
    shape=(48, 48, 48),
    spacing=(0.5, 0.5, 0.5),
    centre=(0.0, 0.0, 0.0),
    shift=(0.0, 0.0, 0.0),
    turn=(0.0, 0.0, 0.0),
    common=(0.0, 0.0),
    strain=None,
    noise=0.002,
    mode="horizontal",
    seed=0,
) -> Map:
    """The map of a grain that was shifted (um) and turned (deg) with its orientations.

    strain gives a further change (..., 2) of the orientation at places of the grain at rest; the map is
    smeared by less than a voxel, its noise alike over about two.
    """
    spacing = np.array(spacing)
    first = np.array(centre) - spacing * (np.array(shape) - 1) / 2
    grid = np.stack(np.meshgrid(*(np.arange(n) for n in shape), indexing="ij"), axis=-1)
    places = first + spacing * grid
    rest = Rotation.from_rotvec(turn, degrees=True).inv().apply((places - shift).reshape(-1, 3))
    rest = rest.reshape(places.shape)
    mask = grain.inside(rest)
    tilts = grain.tilts(rest)
    if strain is not None:
        tilts = tilts + strain(rest)
    tilts = turned_pairs(mode, tilts, turn[0 if mode == "horizontal" else 2]) + np.array(common)
    rng = np.random.default_rng(seed)
    weight = np.maximum(gaussian_filter(mask.astype(float), 0.6), 1e-9)
    found = []
    for i in (0, 1):
        smooth = gaussian_filter(np.where(mask, tilts[..., i], 0.0), 0.6) / weight
        error = gaussian_filter(rng.normal(size=mask.shape), 0.8)
        found.append(np.where(mask, smooth + noise * error / error.std(), np.nan))
    return Map(mask, first, spacing, np.stack(found), np.where(mask, grain.cell(rest) + 1, 0))
