"""Cells found in grains of many cells and in bent ones: python -m benchmarks.cells.

Scans of made-up grains, sampled by points (formulas of tests/phantoms.py): 7 x 7 tilts of 0.05 deg, 60
omegas, 88 x 88 pixels, 56^3 voxels; from the array through mlem to cells. Grains of cells (Voronoi, with
gradients inside), and bent grains without any.
    [--keep FOLDER] for the results, whose cells are looked for anew
    [name ...] how those begin that are wanted
"""

from __future__ import annotations

import argparse
import re
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy.spatial import cKDTree

from benchmarks.common import table
from benchmarks.point_scan import Field, centres, make
from lib import load, reconstruct
from lib.result.labels import cell_field
from tests import phantoms


def voronoi(n: int, seed: int = 0, spread: float = 0.1, gradient: float = 0.004) -> tuple[Field, Field]:
    """Labels (n,) of points (n, 3) and their orientations (n, 2) in degrees, of n cells."""
    rng = np.random.default_rng(seed)
    seeds = rng.uniform(-4.2, 4.2, (200 * n, 3))
    tree = cKDTree(seeds[phantoms.inside(seeds)][:n])
    mean = rng.uniform(-spread, spread, (n, 2))
    slope = rng.normal(size=(n, 2, 3))
    slope *= gradient / np.linalg.norm(slope, axis=2, keepdims=True)

    def label(r: np.ndarray) -> np.ndarray:
        return tree.query(r)[1]

    def orientation(r: np.ndarray) -> np.ndarray:
        which = label(r)
        return mean[which] + np.einsum("...ij,...j->...i", slope[which], r - tree.data[which])

    return label, orientation


def bent(kind: str) -> tuple[Field, Field]:
    """A grain of one cell: turned evenly, like a bow, or in waves."""

    def orientation(r: np.ndarray) -> np.ndarray:
        x, y, z = np.moveaxis(r, -1, 0)
        if kind == "evenly":
            return np.stack([0.025 * x + 0.006 * z, 0.02 * y - 0.01 * x], axis=-1)
        if kind == "bow":
            return np.stack([0.008 * x**2 + 0.01 * z - 0.05, 0.02 * y + 0.003 * x * z], axis=-1)
        return np.stack([0.08 * np.sin(0.8 * x + 0.2 * z), 0.06 * np.cos(0.7 * y)], axis=-1)

    return lambda r: np.zeros(r.shape[:-1], int), orientation


def adjusted_rand_index(a: np.ndarray, b: np.ndarray) -> float:
    """Agreement of two labellings (n,): 1 the same, 0 by chance (Hubert and Arabie 1985)."""
    counts = np.zeros((a.max() + 1, b.max() + 1))
    np.add.at(counts, (a, b), 1)
    pairs, rows, columns = ((t * (t - 1) / 2).sum() for t in (counts, counts.sum(1), counts.sum(0)))
    by_chance, most = rows * columns / (a.size * (a.size - 1) / 2), (rows + columns) / 2
    return 1.0 if most == by_chance else float((pairs - by_chance) / (most - by_chance))


@dataclass(frozen=True)
class Grain:
    """Labels and orientations of points, the set-up, and the counts in the brightest pixels."""

    crystal: tuple[Field, Field]
    frame: str = "sample"
    counts: float = 200.0


GRAINS: dict[str, Grain] = {
    "forty cells, tilts above omega": Grain(voronoi(40)),
    "forty cells, tilts in the lab": Grain(voronoi(40), "lab"),
    "forty cells, 40 counts": Grain(voronoi(40), counts=40.0),
    "forty cells, 1000 counts": Grain(voronoi(40), counts=1000.0),
    "forty cells, 5000 counts": Grain(voronoi(40), counts=5000.0),
    "others": Grain(voronoi(40, seed=1)),
    "others, bent more": Grain(voronoi(40, seed=2, spread=0.09, gradient=0.007), "lab"),
    "flat ones": Grain(voronoi(40, seed=3, gradient=0.0)),
    "flat ones, tilts in the lab": Grain(voronoi(40, seed=4, gradient=0.0), "lab"),
    "twenty cells": Grain(voronoi(20, seed=5)),
    "eight cells, bent": Grain(voronoi(8, seed=6, spread=0.08, gradient=0.01)),
    "twelve cells, bent strongly": Grain(voronoi(12, seed=7, spread=0.08, gradient=0.015)),
    "bent evenly": Grain(bent("evenly")),
    "bent evenly, 1000 counts": Grain(bent("evenly"), counts=1000.0),
    "bent like a bow": Grain(bent("bow"), "lab"),
    "bent like a bow, 5000 counts": Grain(bent("bow"), "lab", 5000.0),
    "bent in waves": Grain(bent("waves")),
    "bent in waves, 5000 counts": Grain(bent("waves"), counts=5000.0),
}


def row(name: str, folder: Path) -> list[str]:
    """One grain; its result is kept in the folder."""
    label, crystal = GRAINS[name].crystal
    kept = folder / (re.sub(r"\W+", "_", name) + ".vtkhdf")
    if not kept.exists():
        with tempfile.TemporaryDirectory() as scan:
            made = make(Path(scan), crystal, GRAINS[name].frame, counts=GRAINS[name].counts)
            reconstruct(str(made)).save(kept)
    grain = load(kept)
    places = centres(len(grain.mask))
    inside = phantoms.inside(places)
    true = np.where(inside, label(places) + 1, 0)
    both = inside & grain.mask
    started = time.process_time()
    cell = cell_field(grain.fields, grain.mask, "mlem")["cell"]
    seconds = time.process_time() - started
    index = adjusted_rand_index(true[both], cell[both])
    return [name, str(np.unique(true[both]).size), str(cell.max()), f"{index:.3f}", f"{seconds:.2f}"]


def main(arguments: list[str]) -> str:
    """The table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", default=[""])
    parser.add_argument("--keep", type=Path)
    options = parser.parse_args(arguments)
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        keep = options.keep or Path(folder)
        keep.mkdir(parents=True, exist_ok=True)
        for name in GRAINS:
            if name.startswith(tuple(options.names)):
                rows.append(row(name, keep))
                print(*rows[-1], sep=" | ", file=sys.stderr, flush=True)
    return table(["grain", "cells", "found", "adjusted Rand index", "CPU s"], rows)


if __name__ == "__main__":
    print(main(sys.argv[1:]))
