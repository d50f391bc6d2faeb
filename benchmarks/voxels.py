"""What the number of voxels costs and gives: python -m benchmarks.voxels [--bins].

One grain (formulas of tests/phantoms.py, filled with points), 7 x 7 tilts of 0.05 deg, 60 omegas, 200 counts,
88 x 88 pixels, in volumes of 20 to 112 voxels per side; recon3d is given the volume and nothing else. With
--bins other rules for the size of the bins are tried, too.
"""

from __future__ import annotations

import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from unittest import mock

import numpy as np

from benchmarks.common import table
from benchmarks.point_scan import SIZE_UM, STEP, WIDTHS, M, centres, make
from lib import reconstruction
from lib.initfile.parameters import Parameters
from lib.initfile.parse import read_initfile
from lib.parallel.communicator import SerialComm
from lib.projection import footprint
from lib.scan.setting import prepare
from tests import phantoms

SIDES = (20, 28, 40, 56, 80, 112)
RULES = {"filled to 0.875": 0.875, "to 1.0": 1.0, "to 0.75": 0.75, "to 0.6": 0.6, "none": 1e9}


def half_full(n: int) -> np.ndarray:
    """The voxels of which at least half lies in the grain."""
    inside = 0
    for part in np.ndindex(4, 4, 4):
        inside = inside + phantoms.inside(centres(n) + SIZE_UM / n * ((np.array(part) + 0.5) / 4 - 0.5))
    return np.asarray(inside >= 32)


def row(params: Parameters, n: int, keep: float | None = None) -> list[str]:
    """One reconstruction beside the truth; keep is the least width of a voxel in bins."""
    params = replace(params, grain_steps=(n, n, n))
    usual = footprint._FILLED if keep is None else keep
    with mock.patch.object(footprint, "_FILLED", usual):
        started = time.process_time()
        setting = prepare(params)
        fields, mask, facts = reconstruction.solve(setting, SerialComm(), quiet=True)
        seconds = time.process_time() - started
        bins = setting.fitted_to_voxels().projector.bins
    true = half_full(n)
    both = mask & true
    off = np.stack([fields["tilt1"], fields["tilt2"]], axis=-1)[both] - phantoms.orientation(centres(n)[both])
    dice = 2.0 * both.sum() / (mask.sum() + true.sum())
    error = np.median(np.hypot(*(off / STEP).T))
    widths = f"{facts['rock_width_deg'] / WIDTHS[0]:.2f}, {facts['roll_width_deg'] / WIDTHS[1]:.2f}"
    return [
        f"{n}", f"{M * SIZE_UM / n:.2f}", f"{bins[0]} x {bins[1]}", f"{dice:.4f}", f"{error:.4f}",
        f"{facts['misfit'][-1]:.2f}", f"{facts['n_iterations']}", widths, f"{seconds:.1f}",
    ]  # fmt: skip


def main(arguments: list[str]) -> str:
    """The tables."""
    head = ["voxels per side", "pixels", "bins", "Dice", "error (steps)", "misfit", "iterations"]
    head += ["widths / true ones", "CPU s"]
    parts = []
    with tempfile.TemporaryDirectory() as folder:
        make(Path(folder), phantoms.orientation)
        params, _ = read_initfile(Path(folder) / "init.txt")
        row(params, SIDES[0])  # compiles
        parts.append(table(head, [row(params, n) for n in SIDES]))
        given = replace(params, rock_width=WIDTHS[0], roll_width=WIDTHS[1])
        parts.append("True widths given:\n\n" + table(head, [row(given, n) for n in SIDES]))
        for name, keep in RULES.items() if "--bins" in arguments else ():
            sides = SIDES[:-1] if name != "none" else SIDES[:-2]
            parts.append(f"Bins {name}:\n\n" + table(head, [row(params, n, keep) for n in sides]))
    return "\n".join(parts)


if __name__ == "__main__":
    print(main(sys.argv[1:]))
