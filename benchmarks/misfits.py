"""What the misfit says of faults of scan and model: python -m benchmarks.misfits [--keep FOLDER] [name ...].

One grain (formulas of tests/phantoms.py, filled evenly with points), 7 x 7 tilts of 0.05 deg, 60 omegas, 200
counts in the brightest pixels, 1.5 counts of read noise cut at zero, 56 x 56 pixels, 40 voxels per side.
recon3d is given the volume and nothing else.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numba
import numpy as np

from benchmarks.common import ROOT, table
from lib import reconstruction
from lib.initfile.parse import read_initfile
from lib.parallel.communicator import SerialComm
from lib.scan.align import align
from lib.scan.setting import prepare

sys.path.insert(0, str(ROOT / "tests"))
from tests import phantoms  # noqa: E402 - after its folder

M, SIZE_UM, ROI, STEP = 5.0, 10.0, (56, 56), 0.05
N_TILTS, N_OMEGA, N_POINTS = 7, 60, 2_000_000
ROCK, ROLL = 1.41, 2.83  # FWHM of the resolution in steps
READ_NOISE = 1.5
_FINE = 200  # places of a profile per step of the scan

Array = np.ndarray
Profile = Callable[[Array], Array]


def gauss(width: float) -> Profile:
    return lambda d: np.exp(-4 * np.log(2) * (d / width) ** 2)


def lorentz(width: float) -> Profile:
    return lambda d: 1.0 / (1.0 + (2 * d / width) ** 2)


SHARP, BROAD = gauss(ROCK), gauss(ROLL)


def moved(profile: Profile, path: float = 1.0) -> Profile:
    """Of a motor that moves by `path` steps while the frame is taken."""
    places = path * ((np.arange(21) + 0.5) / 21 - 0.5)
    return lambda d: np.mean([profile(d - place) for place in places], axis=0)


def cells(r: Array, n: int = 40) -> Array:
    """Orientations of n cells."""
    rng = np.random.default_rng(7)
    seeds, orientations = rng.uniform(-4.0, 4.0, (n, 3)), rng.uniform(-0.1, 0.1, (n, 2))
    nearest = np.argmin([((r - seed) ** 2).sum(axis=-1) for seed in seeds], axis=0)
    return orientations[nearest]


def points() -> Array:
    """Points (n, 3) that fill the grain evenly: an additive sequence, whose sums scatter less than chance."""
    root = 1.22074408460575947536
    steps = np.array([1 / root, 1 / root**2, 1 / root**3])
    r = SIZE_UM * ((0.5 + np.arange(1, N_POINTS + 1)[:, None] * steps) % 1.0 - 0.5)
    return r[phantoms.inside(r)]


@numba.njit
def _add(pixel, rock, roll, rock_table, roll_table, fine, counts):  # type: ignore[no-untyped-def]
    """Add points (n,) to images (n_tilts, n_tilts, n_pixels); rock and roll (n_tilts, n_tilts) move them."""
    middle = rock_table.size // 2
    for i in range(counts.shape[0]):
        for j in range(counts.shape[1]):
            for p in range(pixel.size):
                a = int(np.rint(fine * rock[i, j, p])) + middle
                b = int(np.rint(fine * roll[i, j, p])) + middle
                counts[i, j, pixel[p]] += rock_table[a] * roll_table[b]


def expected(
    crystal: Callable[[Array], Array] = phantoms.orientation,
    rock: Profile = SHARP,
    roll: Profile = BROAD,
    frame: str = "sample",
    drift_px: float = 0.0,
) -> Array:
    """The images (7, 7, 60, n_x, n_y) without noise, 1 in the brightest pixels."""
    r = points()
    ab = crystal(r)
    tilts = STEP * (np.arange(N_TILTS) - N_TILTS // 2)
    places = np.arange(-16 * _FINE, 16 * _FINE + 1) / _FINE
    tables = rock(places).astype(np.float32), roll(places).astype(np.float32)
    images = np.zeros((N_TILTS, N_TILTS, N_OMEGA, *ROI), dtype=np.float32)
    for k, w in enumerate(2 * np.pi / N_OMEGA * np.arange(N_OMEGA)):
        shift = drift_px * np.array([np.sin(2.3 * w), np.cos(1.7 * w)])
        place = M / phantoms.M * np.array(phantoms.image_of("horizontal", r, w)) + shift[:, None]
        ix, iy = (np.rint(p + (n - 1) / 2).astype(int) for p, n in zip(place, ROI, strict=True))
        part = np.zeros((N_TILTS, N_TILTS, ROI[0] * ROI[1]))
        for i, j in np.ndindex(N_TILTS, N_TILTS):
            off = phantoms.deviations("horizontal", frame, np.array([tilts[i], tilts[j]]), ab, w)
            off = [(o / STEP).astype(np.float32)[None, None] for o in off]
            _add(ix * ROI[1] + iy, *off, *tables, _FINE, part[i : i + 1, j : j + 1])
        images[:, :, k] = part.reshape(N_TILTS, N_TILTS, *ROI)
    return images / np.percentile(images.max(axis=(0, 1)), 99.5)


@dataclass(frozen=True)
class Scan:
    """A scan: how its expected images are made, what is done to them, and what recon3d is told."""

    made: dict[str, Any] = field(default_factory=dict)
    change: Callable[[Array], Array] = lambda light: light
    adu: float = 1.0  # per photon
    counts: float = 200.0
    missing: float = 0.0
    keys: dict[str, object] = field(default_factory=dict)


def _per_omega(factors: Callable[[Array], Array]) -> Callable[[Array], Array]:
    w = 2 * np.pi / N_OMEGA * np.arange(N_OMEGA)
    return lambda light: light * factors(w)[:, None, None].astype(np.float32)


def _scatter(light: Array) -> Array:
    """Light that the grain scatters around itself: 5 counts at 200."""
    from scipy.ndimage import gaussian_filter

    halo = gaussian_filter(light.mean(axis=(0, 1)), (0, 6, 6))
    return light + 0.025 * halo / halo.max()


SCANS = {
    "clean": Scan(),
    "40 counts": Scan(counts=40.0),
    "1000 counts": Scan(counts=1000.0),
    "10 % of the frames missing": Scan(missing=0.1),
    "drift of 0.5 px": Scan({"drift_px": 0.5}, keys={"drift": "correct"}),
    "forty cells": Scan({"crystal": cells}),
    "2.5 ADU per photon": Scan(adu=2.5),
    "0.4 ADU per photon": Scan(adu=0.4),
    "beam changes by 15 % (rms) from omega to omega": Scan(
        change=_per_omega(lambda w: np.random.default_rng(3).normal(1.0, 0.15, w.size))
    ),
    "absorption of 30 %": Scan(change=_per_omega(lambda w: 0.85 + 0.15 * np.cos(w - 0.4))),
    "5 counts of scatter": Scan(change=_scatter),
    "Lorentzian tails": Scan({"rock": lorentz(ROCK), "roll": lorentz(ROLL)}),
    "motor moves by a step during a frame": Scan({"rock": moved(gauss(0.7)), "roll": gauss(3.0)}),
    "wrong sign of omega": Scan(keys={"omega_sign": -1}),
    "centre 2 px off": Scan(keys={"detector_center": [27.5, 29.5]}),
}


def write(scan: Scan, folder: Path, cache: Path | None = None) -> Path:
    """Write the array and its axes; returns the path of the init file."""
    name = next((name for name, other in SCANS.items() if other is scan and scan.made), "clean")
    kept = cache and cache / f"{name.replace(' ', '_')}.npy"
    if kept and kept.exists():
        light = np.load(kept)
    else:
        light = expected(**scan.made)
        if kept:
            kept.parent.mkdir(exist_ok=True)
            np.save(kept, light)
    rng = np.random.default_rng(4)
    photons = rng.poisson(scan.counts / scan.adu * scan.change(light))
    array = scan.adu * photons + rng.normal(0.0, READ_NOISE, photons.shape)
    measured = rng.random(array.shape[:3]) >= scan.missing
    array[~measured] = 0
    np.save(folder / "dataarray.npy", np.clip(np.rint(array), 0, 65535).astype(np.uint16))
    np.save(folder / "measured.npy", measured)
    tilts = STEP * (np.arange(N_TILTS) - N_TILTS // 2)
    for name, axis in (("tilt1", tilts), ("tilt2", tilts), ("omega", 360.0 / N_OMEGA * np.arange(N_OMEGA))):
        np.save(folder / f"{name}.npy", axis)
    keys = {**phantoms.INIT, "M": M, "tilt_frame": scan.made.get("frame", "sample"), "path": folder}
    keys |= {"grain_pos": [0, 0, 0], "grain_dim": [SIZE_UM] * 3, "grain_steps": [40, 40, 40], **scan.keys}
    path = folder / "init.txt"
    path.write_text("\n".join(f"{key} {value}" for key, value in keys.items()) + "\n")
    return path


def row(scan: Scan, cache: Path | None = None) -> list[str]:
    """One reconstruction beside the truth."""
    with tempfile.TemporaryDirectory() as name:
        params, _ = read_initfile(write(scan, Path(name), cache))
        started = time.process_time()
        setting = align(prepare(params), SerialComm(), quiet=True)
        fields, mask, facts = reconstruction.solve(setting, SerialComm(), quiet=True)
        seconds = time.process_time() - started
    axis = SIZE_UM / 40 * (np.arange(40) - 19.5)
    grid = np.stack(np.meshgrid(axis, axis, axis, indexing="ij"), axis=-1)
    true, crystal = phantoms.inside(grid), scan.made.get("crystal", phantoms.orientation)
    both = mask & true
    off = np.stack([fields["tilt1"], fields["tilt2"]], axis=-1)[both] - crystal(grid[both])
    dice = 2.0 * both.sum() / (mask.sum() + true.sum())
    error = np.median(np.hypot(*(off / STEP).T))
    return [
        f"{facts['misfit'][-1]:.2f}",
        f"{facts.get('gain', np.nan):.2f}",
        f"{dice:.3f}",
        f"{error:.3f}",
        f"{facts['n_iterations']}",
        f"{seconds:.1f}",
    ]


def main(arguments: list[str]) -> str:
    """The table, of all scans or of those whose names begin so; the images are kept with --keep FOLDER."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", default=[""])
    parser.add_argument("--keep", type=Path)
    options = parser.parse_args(arguments)
    rows = []
    for name, scan in SCANS.items():
        if name.startswith(tuple(options.names)):
            rows.append([name, *row(scan, options.keep)])
            print(*rows[-1], sep=" | ", file=sys.stderr, flush=True)
    return table(["scan", "misfit", "gain", "Dice", "error (steps)", "iterations", "CPU s"], rows)


if __name__ == "__main__":
    main(sys.argv[1:])
