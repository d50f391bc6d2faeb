"""Which scan answers which question: errors of simulated scans at equal dose, for docs/scans.md.

One grain is scanned in five ways with the same number of photons in all; each is reconstructed with
nothing but the scan and the method given. Prints a table in Markdown.

    python -m benchmarks.scans [folder]
"""

from __future__ import annotations

import dataclasses
import sys
import tempfile
from pathlib import Path

import h5py
import numpy as np

from lib import reconstruction
from lib.initfile.parse import read_initfile
from lib.parallel.communicator import SerialComm
from lib.simulation import simulate
from lib.simulation.compare import dice

PHOTONS = 6e6  # of a whole scan
N = 30  # voxels along each side
ROI = (48, 40)
BASE = f"""
unit_cell [4.0495,4.0495,4.0495,90,90,90]
hkl [2,0,0]
wavelength 0.7293
M 3.0
grain_dim [12,12,12]
grain_steps [{N},{N},{N}]
detx_size {ROI[0]}
detz_size {ROI[1]}
sim_grain [4.6,4.0,4.4]
sim_points 60000
sim_seed 3
ang_width [0.05,0.05]
stem unused
"""
TILTS = "rock_width 0.02\nroll_width 0.03\n"
SCANS = {
    "mosaicity, 7 x 7, 60 omegas": (
        "mlem",
        "scan mosaicity\ntilt_frame lab\nang_steps [7,7,60]\n"
        "ang_min [-0.069,-0.069,0]\nang_max [0.069,0.069,354]\n",
    ),
    "rocking, 11, 120 omegas over 360 deg": (
        "mlem",
        "scan rocking\nang_steps [11,1,120]\nang_min [-0.075,0,0]\nang_max [0.075,0,357]\n",
    ),
    "rocking, 11, 120 omegas over 180 deg": (
        "mlem",
        "scan rocking\nang_steps [11,1,120]\nang_min [-0.075,0,0]\nang_max [0.075,0,178.5]\n",
    ),
    "rocking, as above over 360 deg": (
        "rocking",
        "scan rocking\nang_steps [11,1,120]\nang_min [-0.075,0,0]\nang_max [0.075,0,357]\n",
    ),
    "strain, 13, 60 omegas": (
        "mlem",
        "scan strain\nang_steps [13,1,60]\nang_min [20.72573,0,0]\nang_max [20.77587,0,354]\n"
        "sim_strain 5e-4\nsim_subgrains 1\n",
    ),
}


def run_one(folder: Path, method: str, keys: str) -> str:
    """Simulate, reconstruct and compare; a row of the table."""
    folder.mkdir(parents=True, exist_ok=True)
    init = folder / "init.txt"
    given = keys if "strain" in keys or "rocking" in keys else TILTS + keys
    given = given.replace("scan rocking\n", "scan rocking\ntilt_frame lab\nrock_width 0.02\n")
    init.write_text(f"path {folder}\nmethod {method}\ncompleteness_cutoff 0.9\n{BASE}{given}")
    params, _ = read_initfile(init)
    made = simulate.prepare(params)
    axes = made.axes_deg
    expected = np.empty([a.size for a in axes] + list(ROI))
    for i, j, k in np.ndindex(*expected.shape[:3]):
        expected[i, j, k] = simulate.expected_frame(made, axes[0][i], axes[1][j], axes[2][k])
    counts = np.random.default_rng(0).poisson(expected * (PHOTONS / expected.sum()))
    np.save(folder / "dataarray.npy", counts.astype(np.uint16))
    for name, axis in zip(("tilt1", "tilt2", "omega"), axes, strict=True):
        np.save(folder / f"{name}.npy", axis)
    blind = dataclasses.replace(params, rock_width=None, roll_width=None)
    reconstruction.run(blind, SerialComm(), quiet=True, report=False)
    true, true_mask = simulate.truth(made)
    with h5py.File(folder / "grain.vtkhdf") as file:
        found = {name: values[()].T for name, values in file["VTKHDF/CellData"].items() if values.ndim == 3}
    mask = found["mask"] > 0
    both = mask & true_mask
    row = f"{expected[:, :, :, 0, 0].size} | {dice(mask, true_mask):.3f}"
    if "strain" in found:
        error = found["strain"][both] - true["strain"][both]
        error -= error.mean()
        pull = error / found["strain_std"][both]
        errors = np.abs(error)
        row += f" | - | {np.median(errors):.1e} ({np.percentile(errors, 95):.1e})"
    else:
        error = np.stack([found[name][both] - true[name][both] for name in ("tilt1", "tilt2")], axis=1)
        pull = error / np.stack([found[f"{name}_std"][both] for name in ("tilt1", "tilt2")], axis=1)
        errors = np.linalg.norm(error, axis=1)
        row += f" | {1e3 * np.median(errors):.2f} ({1e3 * np.percentile(errors, 95):.1f}) | -"
    return f"{row} | {1.4826 * np.median(np.abs(pull)):.2f}"


def main() -> None:
    """Print the table, row by row."""
    print("| scan | method | frames | Dice | orientation, 0.001 deg: median (95 %) | strain | pull |")
    print("|---|---|---|---|---|---|---|", flush=True)
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(sys.argv[1] if len(sys.argv) > 1 else temporary)
        for number, (name, (method, keys)) in enumerate(SCANS.items()):
            print(f"| {name} | {method} | {run_one(folder / str(number), method, keys)} |", flush=True)


if __name__ == "__main__":
    main()
