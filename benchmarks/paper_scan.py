"""A scan of the size of the paper, made fast: 11 x 11 tilts, 226 omegas, 300 x 300 pixels, 4.9 GB.

A grain of a few hundred subgrains is projected coarsely: what the benchmarks need is the pattern of a
real scan (most tilts dark in most pixels, noise clipped at zero by the background), not its physics. Two
points to a voxel are no grain that explains its own frames; with --points 2000000 it is one.
    python -m benchmarks.paper_scan FOLDER [--omegas N] [--points N]
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

from benchmarks.common import INIT, paper_keys, write_init
from lib.initfile.parse import read_initfile
from lib.physics.geometry import roi_center
from lib.scan.store import ARRAY, ArrayFile, write_axes
from lib.simulation.phantom import Phantom

SHAPE = (11, 11, 226, 300, 300)
NOISE = 2.0  # rms counts
PEAK = 300.0  # counts of the longest ray where all of it diffracts
N_POINTS = 200_000


def make(folder: Path, shape: tuple[int, ...] = SHAPE, seed: int = 0, n_points: int = N_POINTS) -> Path:
    """Write the scan and init.txt into `folder`; returns the init file."""
    folder.mkdir(parents=True, exist_ok=True)
    init = write_init(folder / INIT, folder, paper_keys())
    params, _ = read_initfile(init)
    tilts = [np.linspace(-0.1, 0.1, n) if n > 1 else np.zeros(1) for n in shape[:2]]
    omega = np.arange(shape[2]) * (360.0 / shape[2])
    grain = Phantom.random((0.0, 0.0, 0.0), (6.3, 5.7, 6.0), 30, (0.07, 0.07), seed)
    points = grain.sample(n_points, seed)
    orientation = grain.orientation_deg(points)
    geometry = params.geometry().with_center(roi_center(shape[3:]))
    matrix, shift = geometry.sample_to_pixel(np.radians(omega))
    ArrayFile.create(folder / ARRAY, shape, np.dtype("<u2"))
    rng = np.random.default_rng(seed)
    pool = np.maximum(np.rint(rng.normal(0, NOISE, (8, *shape[3:]))), 0)
    width = 0.6 * 0.2 / (shape[0] - 1)
    brightness = [
        np.exp(-((axis[:, None] - o) ** 2) / (2 * width**2))
        for axis, o in zip(tilts, orientation.T, strict=True)
    ]
    counts = PEAK * params.M**2 * 1400.0 / (12.0 * points.shape[0])
    with ArrayFile(folder / ARRAY, writable=True) as array:
        for k in range(shape[2]):
            pixel = np.rint(points @ matrix[k].T + shift[k]).astype(np.int64)
            place = pixel[:, 0] * shape[4] + pixel[:, 1]
            for i in range(shape[0]):
                for j in range(shape[1]):
                    weight = brightness[0][i] * brightness[1][j]
                    near = np.flatnonzero(weight > 0.01)
                    image = np.bincount(place[near], weight[near] * counts, minlength=shape[3] * shape[4])
                    frame = image.reshape(shape[3:]) + np.roll(pool[rng.integers(8)], rng.integers(9000))
                    array.write_frame((i, j, k), np.minimum(frame, 65535).astype("<u2"))
    write_axes(folder, [tilts[0], tilts[1], omega], np.ones(shape[:3], dtype=bool))
    return init


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--omegas", type=int, default=SHAPE[2])
    parser.add_argument("--points", type=int, default=N_POINTS)
    options = parser.parse_args()
    print(make(options.folder, (*SHAPE[:2], options.omegas, *SHAPE[3:]), n_points=options.points))
