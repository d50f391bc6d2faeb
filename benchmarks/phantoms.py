"""Scans of one grain with the faults of real ones, sampled by points: formulas, no code of lib/.

A grain of 10 um (shape of tests/phantoms.py) with a gradient and a subgrain, or of forty cells; 7 x 7 tilts
of 0.05 deg, 60 omegas, 200 counts in the brightest pixels, 88 x 88 pixels of 1/8 um.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numba
import numpy as np
from scipy.ndimage import gaussian_filter
from scipy.spatial import cKDTree

from benchmarks.common import ROOT

sys.path.insert(0, str(ROOT / "tests"))
from tests import phantoms  # noqa: E402 - after its folder

M, SIZE_UM, ROI, STEP = 8.0, 10.0, (88, 88), 0.05
DARK, NOISE = 0.0, 1.5  # counts, after the background was taken off
_N_POINTS = 700_000  # in the box of the grain
_CELLS = 40

Orientation = Callable[[np.ndarray], np.ndarray]


def gradient_and_subgrain(r: np.ndarray) -> np.ndarray:
    """Orientations (n, 2) in degrees: bent all over, a third of it turned away."""
    x, y, z = np.moveaxis(r, -1, 0)
    apart = (x + 0.5 * y - 0.2 * z > 1.6)[..., None]
    bent = np.stack([0.010 * y + 0.004 * z, -0.008 * x + 0.006 * z], axis=-1)
    return np.where(apart, bent + (0.045, -0.05), bent)


def forty_cells(r: np.ndarray) -> np.ndarray:
    """Orientations (n, 2) in degrees: cells of one orientation each, with sharp walls."""
    rng = np.random.default_rng(8)
    middles = rng.uniform(-4.5, 4.5, (_CELLS, 3))
    angles = rng.uniform(-0.085, 0.085, (_CELLS, 2))
    return angles[cKDTree(middles).query(r)[1]]


@numba.njit(cache=True)
def _weight(rock, roll, widths, box, tails):  # type: ignore[no-untyped-def]
    """What is accepted at deviations from a position: a Gaussian, 1 at its top."""
    total = 0.0
    n = 7 if box > 0.0 else 1
    for i in range(n):
        moved = rock + box * ((i + 0.5) / n - 0.5)
        q = (moved / widths[0]) ** 2 + (roll / widths[1]) ** 2
        total += (1.0 - tails) * np.exp(-2.772588722 * q) + tails / (1.0 + 4.0 * q)
    return total / n


@numba.njit(cache=True)
def _project(image, px, py, a, b, tilts, w, in_lab, widths, box, tails, lean):  # type: ignore[no-untyped-def]
    """Add to image (n1, n2, n_x, n_y) the points at pixels px, py with orientations a, b at omega w."""
    c, s = np.cos(w), np.sin(w)
    for p in range(px.size):
        if px[p] < 0 or py[p] < 0 or px[p] >= image.shape[2] or py[p] >= image.shape[3]:
            continue
        for i in range(tilts.size):
            for j in range(tilts.size):
                if in_lab:
                    rock, roll = tilts[i] - a[p] * c - b[p] * s, tilts[j] + a[p] * s - b[p] * c
                else:
                    d1, d2 = tilts[i] - a[p], tilts[j] - b[p]
                    rock, roll = d1 * c + d2 * s, -d1 * s + d2 * c
                roll += lean * (px[p] - 0.5 * image.shape[2])
                image[i, j, px[p], py[p]] += _weight(rock, roll, widths, box, tails)


@dataclass(frozen=True)
class Fault:
    """What is wrong with a scan, or not.

    widths (FWHM), box, how far the rocking motor moves in a frame, and lean, how far the accepted roll moves
    per pixel along x, are in steps; tails is the share of a Lorentzian in the resolution; gain the rms of a
    factor per omega; absorption how much is lost on one side; scatter counts of light spread over every frame
    in proportion to what diffracts; zingers the share of values; drift in pixels; adu the counts per photon.
    """

    crystal: Orientation = gradient_and_subgrain
    frame: str = "sample"
    widths: tuple[float, float] = (1.41, 2.83)
    counts: float = 200.0
    n_omega: int = 60
    turn_deg: float = 360.0
    box: float = 0.0
    tails: float = 0.0
    lean: float = 0.0
    gain: float = 0.0
    absorption: float = 0.0
    blur_px: float = 0.0
    scatter: float = 0.0
    missing: float = 0.0
    zingers: float = 0.0
    vignetting: float = 0.0
    drift_px: float = 0.0
    adu: float = 1.0
    keys: tuple[tuple[str, str], ...] = ()  # of the init file, besides


_MOVES = {"box": 1.0, "widths": (0.4, 3.0)}  # ID06: a sharp rocking curve, swept over by the motor
FAULTS: dict[str, Fault] = {
    "clean": Fault(),
    "clean, tilts below omega": Fault(frame="lab"),
    "gain per omega, 15 %": Fault(gain=0.15),
    "absorption, 30 %": Fault(absorption=0.3),
    "blur, 1 px": Fault(blur_px=1.0),
    "scatter, 5 counts": Fault(scatter=5.0),
    "10 % of the frames missing": Fault(missing=0.1),
    "zingers": Fault(zingers=1e-5),
    "vignetting, 30 %": Fault(vignetting=0.3),
    "tails, 20 %": Fault(tails=0.2),
    "motor moves through its step": Fault(box=1.0),
    "motor moves, tilts below omega": Fault(frame="lab", **_MOVES),
    "forty cells": Fault(crystal=forty_cells),
    "forty cells, tilts below omega": Fault(crystal=forty_cells, frame="lab"),
    "drift, 1.5 px": Fault(drift_px=1.5),
    "leaning acceptance": Fault(lean=0.7 / 40.0),
    "leaning acceptance, tilts below omega": Fault(frame="lab", lean=0.7 / 40.0),
    "5 counts": Fault(counts=5.0),
    "40 counts": Fault(counts=40.0),
    "1000 counts": Fault(counts=1000.0),
    "2.5 ADU per photon": Fault(adu=2.5),
    "wrong sign of omega": Fault(keys=(("omega_sign", "-1"),)),
    "centre 2 px off": Fault(keys=(("detector_center", "[41.5,43.5]"),)),
}


def evenly(n: int) -> np.ndarray:
    """Points (n, 3) that fill the box: an additive sequence, whose sums scatter far less than chance."""
    root = 1.22074408460575947536  # of x^4 = x + 1
    steps = np.array([1 / root, 1 / root**2, 1 / root**3])
    return SIZE_UM * ((0.5 + np.arange(1, n + 1)[:, None] * steps) % 1.0 - 0.5)


def expected(fault: Fault) -> tuple[np.ndarray, np.ndarray]:
    """Light (7, 7, n_omega, *ROI), 1 in the brightest pixels, and the omegas in degrees."""
    points = evenly(_N_POINTS)
    points = points[phantoms.inside(points)]
    a, b = fault.crystal(points).T
    tilts = STEP * (np.arange(7) - 3.0)
    omega = fault.turn_deg / fault.n_omega * np.arange(fault.n_omega)
    light = np.zeros((7, 7, fault.n_omega, *ROI), dtype=np.float32)
    for k, w in enumerate(np.radians(omega)):
        moved = fault.drift_px * np.array([np.sin(2.3 * w), np.cos(3.1 * w)])  # slower is a grain elsewhere
        x, y = (M / phantoms.M * p for p in phantoms.image_of("horizontal", points, w))
        px, py = (
            np.rint(p + (size - 1) / 2 + off).astype(np.int64)
            for p, size, off in zip((x, y), ROI, moved, strict=True)
        )
        image = np.zeros((7, 7, *ROI), dtype=np.float32)
        widths, in_lab = STEP * np.array(fault.widths), fault.frame == "lab"
        shape = fault.box * STEP, fault.tails, fault.lean * STEP
        _project(image, px, py, a, b, tilts, w, in_lab, widths, *shape)
        light[:, :, k] = image
    return light / np.percentile(light.max(axis=(0, 1)), 99.5), omega


def spoiled(light: np.ndarray, omega: np.ndarray, fault: Fault) -> tuple[np.ndarray, np.ndarray]:
    """Counts as getdata.py leaves them, and which frames were measured; light as of `expected`."""
    rng = np.random.default_rng(9)
    light = light * np.float32(fault.counts)
    n = omega.size
    if fault.blur_px:
        light = gaussian_filter(light, (0, 0, 0, fault.blur_px, fault.blur_px))
    if fault.scatter:
        x, y = np.meshgrid(*(np.arange(size) - (size - 1) / 2 for size in ROI), indexing="ij")
        halo = np.exp(-(x**2 + y**2) / (2 * 35.0**2)).astype(np.float32)
        total = light.sum(axis=(3, 4), keepdims=True)
        light = light + fault.scatter * total / total.max() * halo
    if fault.vignetting:
        x, y = np.meshgrid(*((np.arange(size) - (size - 1) / 2) / (size / 2) for size in ROI), indexing="ij")
        light = light * (1.0 - fault.vignetting * (x**2 + y**2) / 2)
    scale = 1.0 + fault.gain * rng.normal(size=n)
    scale *= 1.0 - fault.absorption * (1.0 + np.cos(np.radians(omega))) / 2
    light = light * np.clip(scale, 0.3, None)[:, None, None]
    counts = fault.adu * rng.poisson(light / fault.adu).astype(np.float32)
    counts += rng.normal(DARK, NOISE, counts.shape).astype(np.float32)
    if fault.zingers:
        hit = rng.random(counts.shape, dtype=np.float32) < fault.zingers
        counts[hit] += rng.exponential(2000.0, int(hit.sum()))
    measured = rng.random((7, 7, n)) >= fault.missing
    counts[~measured] = 0.0
    return np.clip(np.rint(counts), 0, 65535).astype(np.uint16), measured


def write(folder: Path, fault: Fault, n: int = 56) -> Path:
    """Write the array, its axes and an init file with a volume of n voxels to a side; returns its path."""
    light, omega = expected(fault)
    counts, measured = spoiled(light, omega, fault)
    folder.mkdir(parents=True, exist_ok=True)
    np.save(folder / "dataarray.npy", counts)
    np.save(folder / "measured.npy", measured)
    tilts = STEP * (np.arange(7) - 3.0)
    for name, axis in zip(("tilt1", "tilt2", "omega"), (tilts, tilts, omega), strict=True):
        np.save(folder / f"{name}.npy", axis)
    keys = {**phantoms.INIT, "M": M, "tilt_frame": fault.frame, "path": folder, "grain_dim": [SIZE_UM] * 3}
    keys |= {"grain_pos": "[0,0,0]", "grain_steps": [n] * 3}
    if fault.drift_px:
        keys |= {"drift": "correct", "detector_center": "auto"}
    keys |= dict(fault.keys)
    (folder / "init.txt").write_text("\n".join(f"{key} {value}" for key, value in keys.items()) + "\n")
    return folder / "init.txt"


def centres(n: int) -> np.ndarray:
    """Centres (n, n, n, 3) of the voxels."""
    axis = SIZE_UM / n * (np.arange(n) - (n - 1) / 2)
    return np.stack(np.meshgrid(axis, axis, axis, indexing="ij"), axis=-1)


def volume_um3() -> float:
    """Of the grain, as the points that make its images fill it."""
    return SIZE_UM**3 * float(phantoms.inside(evenly(_N_POINTS)).mean())


def half_full(n: int) -> np.ndarray:
    """The voxels of which at least half lies in the grain."""
    inside = np.zeros((n, n, n), dtype=np.int64)
    for part in np.ndindex(4, 4, 4):
        inside += phantoms.inside(centres(n) + SIZE_UM / n * ((np.array(part) + 0.5) / 4 - 0.5))
    return np.asarray(inside >= 32)
