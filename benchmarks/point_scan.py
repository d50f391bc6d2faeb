"""Scans of made-up grains, sampled by points, for the benchmarks (formulas of tests/phantoms.py).

7 x 7 tilts of 0.05 deg, 88 x 88 pixels, a box of 10 um.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np

from benchmarks.common import ROOT

sys.path.insert(0, str(ROOT / "tests"))
from tests import phantoms  # noqa: E402 - after its folder

M, SIZE_UM, ROI, STEP = 8.0, 10.0, (88, 88), 0.05
WIDTHS = (1.41 * STEP, 2.83 * STEP)
Field = Callable[[np.ndarray], np.ndarray]


def make(
    folder: Path, crystal: Field, frame: str = "sample", n_omega: int = 60, counts: float = 200.0, n: int = 56
) -> Path:
    """Write the array, its axes and the init file; returns the path of the latter."""
    rng = np.random.default_rng(4)
    points = rng.uniform(-SIZE_UM / 2, SIZE_UM / 2, (1_500_000, 3))
    points = points[phantoms.inside(points)]
    ab = crystal(points)
    tilts, omega = STEP * (np.arange(7) - 3.0), 360.0 / n_omega * np.arange(n_omega)
    expected = np.zeros((7, 7, n_omega, *ROI), dtype=np.float32)
    for k, w in enumerate(np.radians(omega)):
        place = (M / phantoms.M * p for p in phantoms.image_of("horizontal", points, w))
        ix, iy = (np.rint(p + (size - 1) / 2).astype(int) for p, size in zip(place, ROI, strict=True))
        for i, j in np.ndindex(7, 7):
            off = phantoms.deviations("horizontal", frame, np.array([tilts[i], tilts[j]]), ab, w)
            exponent = sum((d / width) ** 2 for d, width in zip(off, WIDTHS, strict=True))
            weight = np.exp(-4 * np.log(2) * exponent)
            expected[i, j, k] = np.bincount(ix * ROI[1] + iy, weight, ROI[0] * ROI[1]).reshape(ROI)
    array = rng.poisson(expected * (counts / np.percentile(expected.max(axis=(0, 1)), 99.5)))
    array = array + rng.normal(0.0, 1.5, array.shape)
    folder.mkdir(parents=True, exist_ok=True)
    np.save(folder / "dataarray.npy", np.clip(np.rint(array), 0, 65535).astype(np.uint16))
    for name, axis in zip(("tilt1", "tilt2", "omega"), (tilts, tilts, omega), strict=True):
        np.save(folder / f"{name}.npy", axis)
    keys = {**phantoms.INIT, "M": M, "tilt_frame": frame, "path": folder, "grain_dim": [SIZE_UM] * 3}
    lines = [f"{key} {value}" for key, value in keys.items()]
    lines += ["grain_pos [0,0,0]", f"grain_steps [{n},{n},{n}]"]
    (folder / "init.txt").write_text("\n".join(lines) + "\n")
    return folder / "init.txt"


def centres(n: int) -> np.ndarray:
    """Centres (n, n, n, 3) of the voxels."""
    axis = SIZE_UM / n * (np.arange(n) - (n - 1) / 2)
    return np.stack(np.meshgrid(axis, axis, axis, indexing="ij"), axis=-1)
