"""Draw the pictures of docs/wrong.md: one simulated scan, reconstructed right and with one mistake each."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")
import numpy as np
from matplotlib.figure import Figure

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))

from lib import reconstruct  # noqa: E402
from lib.initfile.parameters import Parameters  # noqa: E402
from lib.initfile.parse import from_keys  # noqa: E402
from lib.result.volume import Volume  # noqa: E402
from lib.simulation import simulate  # noqa: E402

KEYS: dict[str, Any] = {
    "unit_cell": [4.0495, 4.0495, 4.0495, 90, 90, 90],
    "hkl": [2, 0, 0],
    "wavelength": 0.7293,
    "M": 5.0,
    "grain_dim": [13, 13, 13],
    "grain_steps": [39, 39, 39],
    "method": "mlem",
    "rock_width": 0.035,
    "roll_width": 0.035,
}
SCAN: dict[str, Any] = {
    "path": "simulated",
    "detx_size": 84,
    "detz_size": 80,
    "ang_steps": [7, 7, 40],
    "ang_max": [0.105, 0.105, 351],
    "ang_width": [0.07, 0.07],
    "grain_pos": [0.4, 0.9, -0.7],
    "sim_grain": [4.2, 4.6, 3.9],
    "sim_points": 60000,
    "sim_counts": 300,
    "sim_subgrains": 4,
    "sim_seed": 5,
}
LAB = {"ang_types": ["diffrz", "gamma", "diffry"]}
PASSING_DEG = (60, 100)
CASES: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {  # name: changes of the scan, the mistake
    "centre": ({}, {"detector_center": [41.5, 42.5]}),
    "omega_sign": ({}, {"omega_sign": -1}),
    "tilt_frame": (LAB, {"tilt_frame": "sample"}),
    "few_omegas": ({}, {"omega_exclude": [[50, 355]]}),
    "background": ({"pedestal": 10.0}, {"background": 0}),  # no dark level is looked for
    "neighbour": ({"neighbour": True}, {"detector_center": "auto"}),  # so that warnings tell
}
RIGHT: dict[str, dict[str, Any]] = {
    "tilt_frame": {"tilt_frame": "lab"},
    "neighbour": {"omega_exclude": [list(PASSING_DEG)]},
}


def scan(neighbour: bool = False, pedestal: float = 0.0, **changes: Any) -> dict[str, Any]:
    """The array and the axes of a simulated scan, with the noise of the photons and of the detector."""
    params = from_keys({**KEYS, **SCAN, **changes}, "docs/draw_wrong.py")
    pixels = photons(params)
    if neighbour:  # lies beside the volume, and diffracts while omega passes PASSING_DEG
        other = replace(params, grain_pos=(1.0, 6.2, 3.0), sim_grain=(3.0, 2.2, 2.6), sim_seed=8)
        omega = np.linspace(params.ang_min[2], params.ang_max[2], params.ang_steps[2])
        passes = (omega >= PASSING_DEG[0]) & (omega <= PASSING_DEG[1])
        pixels[:, :, passes] += 2.0 * photons(other)[:, :, passes]
    rng = np.random.default_rng(1)
    noisy = rng.poisson(pixels) + rng.normal(pedestal, 1.5, pixels.shape)
    axes = [np.linspace(*ends) for ends in zip(params.ang_min, params.ang_max, params.ang_steps, strict=True)]
    return {
        "scan": noisy.astype(np.float32),
        **dict(zip(("tilt1", "tilt2", "omega"), axes, strict=True)),
    }


def photons(params: Parameters) -> np.ndarray:
    """Mean number of photons (tilt1, tilt2, omega, x, y)."""
    simulation = simulate.prepare(params)
    tilt1, tilt2, omega = simulation.axes_deg
    frames = [simulate.expected_frame(simulation, a, b, w) for a in tilt1 for b in tilt2 for w in omega]
    return np.reshape(frames, (tilt1.size, tilt2.size, omega.size, params.detx_size, params.detz_size))


def draw(name: str, right: Volume, wrong: Volume) -> None:
    """Slices normal to the rotation axis: orientation and completeness, right and wrong."""
    figure = Figure(figsize=(11.5, 3.1), layout="constrained")
    plots = figure.subplots(1, 4)
    y, z = right.axes_um[1], right.axes_um[2]
    half = (y[1] - y[0]) / 2
    extent = (y[0] - half, y[-1] + half, z[0] - half, z[-1] + half)
    middle = right.mask.shape[0] // 2
    for column, (title, grain) in enumerate((("right", right), ("wrong", wrong))):
        rgb = grain.rgb.copy()
        rgb[~grain.mask] = 238
        image = np.swapaxes(rgb[middle], 0, 1)
        plots[column].imshow(image, origin="lower", extent=extent)
        plots[column].set_title(f"{title}: orientation")
        shown = plots[2 + column].imshow(
            grain.completeness[middle].T, origin="lower", extent=extent, vmin=0, vmax=1, cmap="cividis"
        )
        plots[2 + column].set_title(f"{title}: completeness")
    figure.colorbar(shown, ax=plots[3], shrink=0.9)
    for plot in plots:
        plot.set(xlabel="y (um)", ylabel="z (um)")
    figure.savefig(HERE / f"wrong_{name}.png", dpi=80)


def main(names: list[str]) -> None:
    """The pictures, and what the program says to each."""
    for name in names:
        changes, mistake = CASES[name]
        arrays = scan(**changes)
        right = reconstruct(**arrays, **KEYS, **RIGHT.get(name, {}))
        wrong = reconstruct(**arrays, **{**KEYS, **mistake})
        draw(name, right, wrong)
        for what, grain in (("right", right), ("wrong", wrong)):
            print(
                f"{name}, {what}: {grain.mask.sum()} voxels, misfit {grain.misfit[-1]:.2f}", *grain.warnings
            )


if __name__ == "__main__":
    main(sys.argv[1:] or list(CASES))
