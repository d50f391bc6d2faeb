"""Scans of made-up grains, sampled by points: formulas written out here, no code of lib/.

Positions in micrometres, tilts in degrees relative to the middle of the scan.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import h5py
import numpy as np

M = 2.5
THETA = np.arcsin(0.7293 / 4.0495)
STEP = 0.04
ROCK, ROLL = 0.036, 0.06  # FWHM
INIT: dict[str, object] = {
    "unit_cell": "[4.0495,4.0495,4.0495,90,90,90]",
    "hkl": "[2,0,0]",
    "wavelength": 0.7293,
    "M": M,
}


@dataclass(frozen=True)
class Case:
    """A scan and the truth on the voxels of its init file."""

    counts: np.ndarray
    tilt1: np.ndarray
    tilt2: np.ndarray
    omega: np.ndarray
    mask: np.ndarray
    orientation: np.ndarray
    init: dict[str, object]

    def write(self, folder: Path, **keys: object) -> Path:
        """The array, its axes and the init file; returns the path of the latter."""
        folder.mkdir(parents=True, exist_ok=True)
        np.save(folder / "dataarray.npy", self.counts)
        for name in ("tilt1", "tilt2", "omega"):
            np.save(folder / f"{name}.npy", getattr(self, name))
        lines = [f"{key} {value}" for key, value in {**self.init, "path": folder, **keys}.items()]
        path = folder / "init.txt"
        path.write_text("\n".join(lines) + "\n")
        return path


def inside(r: np.ndarray) -> np.ndarray:
    """An ellipsoid with a bite out of it."""
    x, y, z = np.moveaxis(r / (4.2, 3.6, 3.9), -1, 0)
    return (x**2 + y**2 + z**2 < 1) & ((x - 0.7) ** 2 + (y - 0.7) ** 2 + z**2 > 0.3)


def orientation(r: np.ndarray) -> np.ndarray:
    """Two subgrains, one of them bent."""
    x, y, z = np.moveaxis(r, -1, 0)
    left = x + 0.4 * z < 0.3
    a = np.where(left, -0.045 + 0.006 * y, 0.04)
    b = np.where(left, 0.03, -0.035)
    return np.stack([a, b], axis=-1)


def image_of(mode: str, r: np.ndarray, w: float) -> tuple[np.ndarray, np.ndarray]:
    """x_d and z_d in pixels."""
    x, y, z = r.T
    c, s = np.cos(w), np.sin(w)
    if mode == "horizontal":
        return -M * (np.cos(THETA) * x + np.sin(THETA) * (y * c - z * s)), -M * (y * s + z * c)
    return -M * (x * c - y * s), -M * (-np.sin(THETA) * (x * s + y * c) + np.cos(THETA) * z)


def deviations(
    mode: str, frame: str, t: np.ndarray, ab: np.ndarray, w: float
) -> tuple[np.ndarray, np.ndarray]:
    """How far tilts t (2,) are from where orientations ab (n, 2) diffract, along rocking and rolling."""
    sign = 1 if mode == "horizontal" else -1
    c, s = np.cos(w), sign * np.sin(w)

    def turn(d: np.ndarray) -> np.ndarray:
        return np.stack([d[..., 0] * c + d[..., 1] * s, -d[..., 0] * s + d[..., 1] * c], axis=-1)

    d = turn(t - ab) if frame == "sample" else t - turn(ab)
    return d[..., 0], d[..., 1]


def make(
    mode: str = "horizontal",
    frame: str = "sample",
    peak_counts: float = 150.0,
    n: int = 24,
    n_tilts: int = 5,
    n_omega: int = 24,
    roi: tuple[int, int] = (30, 28),
    seed: int = 0,
    read_noise: float = 0.0,
    crystal: Callable[[np.ndarray], np.ndarray] = orientation,
    widths: tuple[float, float] = (ROCK, ROLL),
    lean: tuple[float, float] = (0.0, 0.0),
    tails: float = 0.0,
    moves: float = 0.0,
) -> Case:
    """A scan of the grain over a full turn; peak_counts is about that of its brightest pixel.

    crystal gives the orientations (n, 2) of points (n, 3), widths are the FWHM of rocking and rolling, lean
    by how much the accepted roll moves from pixel to pixel along x and y, tails the share of a Lorentzian.
    tilt1 moves by so many degrees while a frame is taken.
    """
    rng = np.random.default_rng(seed)
    size = 10.0
    points = rng.uniform(-size / 2, size / 2, (150_000, 3))
    points = points[inside(points)]
    ab = crystal(points)
    tilts = STEP * (np.arange(n_tilts) - (n_tilts - 1) / 2)
    omega = 360.0 / n_omega * np.arange(n_omega)
    counts = np.zeros((n_tilts, n_tilts, n_omega, *roi))
    on_the_way = moves * ((np.arange(5) + 0.5) / 5 - 0.5) if moves else np.zeros(1)
    for k, w in enumerate(np.radians(omega)):
        x_d, z_d = image_of(mode, points, w)
        ix, iy = (np.rint(p + (size - 1) / 2).astype(int) for p, size in zip((x_d, z_d), roi, strict=True))
        pixel = ix * roi[1] + iy
        for i, j in np.ndindex(n_tilts, n_tilts):
            for moved in on_the_way:
                rock, roll = deviations(mode, frame, np.array([tilts[i] + moved, tilts[j]]), ab, w)
                roll = roll + lean[0] * x_d + lean[1] * z_d
                square = (rock / widths[0]) ** 2 + (roll / widths[1]) ** 2
                weight = (1 - tails) * np.exp(-4 * np.log(2) * square) + tails / (1 + 4 * square)
                counts[i, j, k] += np.bincount(pixel, weight, roi[0] * roi[1]).reshape(roi)
    counts = rng.poisson(counts * (peak_counts / counts.max())).astype(float)
    counts += rng.normal(0, read_noise, counts.shape) if read_noise else 0.0
    axis = size / n * (np.arange(n) - (n - 1) / 2)
    grid = np.stack(np.meshgrid(axis, axis, axis, indexing="ij"), axis=-1)
    init = INIT | {"mode": mode, "tilt_frame": frame, "grain_dim": [size] * 3, "grain_steps": [n] * 3}
    stored = np.clip(np.rint(counts), 0, 65535).astype(np.uint16)
    return Case(stored, tilts + 1.5, tilts - 0.7, omega, inside(grid), crystal(grid) + (1.5, -0.7), init)


LEVELS = {  # counts on which the light of a scan stands, by the kind of fault
    "exact": lambda n, x, y: 0.0,
    "2 left": lambda n, x, y: 2.0,
    "10 left": lambda n, x, y: 10.0,
    "all left": lambda n, x, y: 100.0,
    "halo": lambda n, x, y: 12.0 * np.exp(-(x**2 + y**2) / 120.0),
    "change with omega": lambda n, x, y: 6.0 + 4.0 * np.sin(np.linspace(0, 7, n))[:, None, None],
    "pattern": lambda n, x, y: np.random.default_rng(5).exponential(3.0, x.shape),
}
LEVELS["all of them"] = lambda n, x, y: sum(LEVELS[k](n, x, y) for k in (*LEVELS,)[1:3] + (*LEVELS,)[4:7])


def level_of(kind: str, case: Case) -> np.ndarray:
    """The dark level (n_omega, n_x, n_y) of a kind in LEVELS."""
    n_omega, n_x, n_y = case.counts.shape[2:]
    x, y = np.meshgrid(np.arange(n_x) - n_x / 2, np.arange(n_y) - n_y / 2, indexing="ij")
    return np.broadcast_to(LEVELS[kind](n_omega, x, y), case.counts.shape[2:])


def on_level(case: Case, level: np.ndarray, noise: float = 2.0, signed: bool = False) -> Case:
    """The scan with read noise and a dark level (n_omega, n_x, n_y), cut at zero unless signed."""
    rng = np.random.default_rng(11)
    counts = np.rint(case.counts + level + rng.normal(0, noise, case.counts.shape))
    return replace(case, counts=counts.astype("f4") if signed else np.maximum(counts, 0).astype("u2"))


def voxels(case: Case) -> np.ndarray:
    """Centres (n, n, n, 3) of the voxels."""
    n, size = case.mask.shape[0], case.init["grain_dim"][0]
    axis = size / n * (np.arange(n) - (n - 1) / 2)
    return np.stack(np.meshgrid(axis, axis, axis, indexing="ij"), axis=-1)


def judge(case: Case, mask: np.ndarray, found: np.ndarray) -> tuple[float, np.ndarray]:
    """Dice of the mask, and the deviations (n, 2) in steps where mask and truth agree."""
    both = mask & case.mask
    dice = 2 * both.sum() / (mask.sum() + case.mask.sum())
    return dice, (found[both] - case.orientation[both]) / STEP


def pulls(case: Case, mask: np.ndarray, found: np.ndarray, std: np.ndarray) -> np.ndarray:
    """Error over stated error, (n, 2), where mask and truth agree."""
    both = mask & case.mask
    return (found[both] - case.orientation[both]) / std[both]


TWO_THETA = 0.005 * (np.arange(7) - 3.0)
SUBGRAINS = np.array([[0.04, 0.02], [-0.03, 0.035], [-0.035, -0.03], [0.02, -0.045]])  # a, b in deg


def four_subgrains(r: np.ndarray) -> np.ndarray:
    """Four subgrains about the axis y."""
    x, _, z = np.moveaxis(r, -1, 0)
    return SUBGRAINS[2 * (x - 0.3 * z < 0.2) + (z + 0.2 * x < -0.1)]


def strain(r: np.ndarray) -> np.ndarray:
    """Axial strain: a gradient of +-5e-4 over the grain."""
    x, y, z = np.moveaxis(r, -1, 0)
    return 5e-4 * (x / 4.2 + 0.5 * y / 3.6 - 0.3 * z / 3.9) / 1.2


def make_line_scan(
    kind: str,
    mode: str = "horizontal",
    peak_counts: float = 150.0,
    n: int = 24,
    n_positions: int = 7,
    n_omega: int = 36,
    turn: float = 360.0,
    roi: tuple[int, int] = (30, 28),
    roll: float = np.inf,
    seed: int = 0,
    scale: float = 1.0,
    step: float = STEP,
    crystal: Callable[[np.ndarray], np.ndarray] = four_subgrains,
    moves: float = 0.0,
) -> Case:
    """A scan of one angle: "rocking", of mu below omega, or "strain", of 2theta; or of both.

    roll is the FWHM of the accepted rolling angles, scale enlarges grain and volume. The truth of a
    strain scan is 2theta, as tilt1. "rocking_strain" has the steps of 2theta of TWO_THETA as tilt2. By moves
    times as much as strain does, it moves mu.
    """
    rng = np.random.default_rng(seed)
    size = 10.0 * scale
    points = rng.uniform(-size / 2, size / 2, (int(150_000 * scale**3), 3))
    points = points[inside(points / scale)]
    positions = step * (np.arange(n_positions) - (n_positions - 1) / 2)
    omega = turn / n_omega * np.arange(n_omega)
    arm = TWO_THETA if kind == "rocking_strain" else np.array([0.0])
    counts = np.zeros((n_positions, arm.size, n_omega, *roi))
    sign = 1 if mode == "horizontal" else -1
    width = 0.9 * step
    for k, w in enumerate(np.radians(omega)):
        x_d, z_d = image_of(mode, points, w)
        ix, iy = (np.rint(p + (size - 1) / 2).astype(int) for p, size in zip((x_d, z_d), roi, strict=True))
        two_theta = -2 * np.degrees(np.tan(THETA) * strain(points / scale))
        if kind != "strain":
            a, b = crystal(points / scale).T
            at = a * np.cos(w) + sign * b * np.sin(w)
            at = at - moves * np.degrees(np.tan(THETA) * strain(points / scale))
            off = -sign * a * np.sin(w) + b * np.cos(w)
        else:
            at, off = two_theta, 0.0
        for i, j in np.ndindex(n_positions, arm.size):
            exponent = ((positions[i] - at) / width) ** 2 + (off / roll) ** 2
            if arm.size > 1:
                exponent += ((arm[j] - two_theta) / 0.005) ** 2
            weight = np.exp(-4 * np.log(2) * exponent)
            counts[i, j, k] = np.bincount(ix * roi[1] + iy, weight, roi[0] * roi[1]).reshape(roi)
    counts = rng.poisson(counts * (peak_counts / counts.max()))
    axis = size / n * (np.arange(n) - (n - 1) / 2)
    grid = np.stack(np.meshgrid(axis, axis, axis, indexing="ij"), axis=-1)
    zero = 20.75 if kind == "strain" else 1.5
    truth = crystal(grid / scale) + (zero, 0.4)
    if kind == "strain":
        truth[..., 0] = zero - 2 * np.degrees(np.tan(THETA) * strain(grid / scale))
    init = INIT | {
        "mode": mode,
        "method": "mlem",
        "scan": kind,
        "grain_dim": [size] * 3,
        "grain_steps": [n] * 3,
    }
    return Case(
        counts.astype(np.uint16), positions + zero, arm + 0.4, omega, inside(grid / scale), truth, init
    )


def read_result(folder: Path) -> tuple[np.ndarray, np.ndarray, dict[str, np.ndarray]]:
    """Mask, orientation and all fields with axes x, y, z."""
    with h5py.File(folder / "grain.vtkhdf") as file:
        fields = {name: np.swapaxes(data[()], 0, 2) for name, data in file["VTKHDF/CellData"].items()}
    return fields["mask"] > 0, np.load(folder / "grain_ang.npy")[..., :2], fields
