"""A small simulated scan, straight to dataarray.npy: no files of frames, no noise unless asked for."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from lib.initfile.parameters import Parameters
from lib.initfile.parse import format_initfile
from lib.scan import store
from lib.simulation import simulate


def parameters(folder: Path, **changes) -> Parameters:
    """A grain of 4 x 5 x 6 um, off the axis, on a detector of 64 x 72 pixels at 4 pixels per um."""
    keys = {
        "path": str(folder),
        "unit_cell": (4.0495, 4.0495, 4.0495, 90.0, 90.0, 90.0),
        "hkl": (2, 0, 0),
        "wavelength": 0.7293,
        "M": 4.0,
        "method": "backprojection",
        "rock_width": 0.08,
        "roll_width": 0.10,
        "grain_pos": (0.0, 0.0, 0.0),
        "grain_dim": (9.0, 9.0, 9.0),
        "grain_steps": (21, 21, 21),
        "completeness_cutoff": 0.9,
        "detx_size": 64,
        "detz_size": 72,
        "ang_steps": (3, 3, 40),
        "ang_min": (-0.08, -0.08, 0.0),
        "ang_max": (0.08, 0.08, 351.0),
        "ang_width": (0.04, 0.04),
        "sim_grain": (2.6, 3.2, 3.8),
        "sim_points": 20000,
        "sim_counts": 800.0,
        "sim_seed": 3,
    }
    return Parameters(**(keys | changes))


def write(params: Parameters, *, edit=None, noise: float = 0.0, counts: bool = False) -> simulate.Simulation:
    """Write the scan and its init file (init.txt beside it); edit(array) changes it before the noise.

    noise is the rms of a dark pixel; counts makes it Poisson and rounds to uint16, clipped at zero.
    """
    simulation = simulate.prepare(params)
    tilt1, tilt2, omega = simulation.axes_deg
    shape = (tilt1.size, tilt2.size, omega.size, params.detx_size, params.detz_size)
    array = np.empty(shape, dtype=np.float32)
    for i, j, k in np.ndindex(*shape[:3]):
        array[i, j, k] = simulate.expected_frame(simulation, tilt1[i], tilt2[j], omega[k])
    if edit is not None:
        edit(array)
    rng = np.random.default_rng(params.sim_seed)
    if counts:
        array = rng.poisson(array).astype(np.float32)
    if noise:
        array += rng.normal(0.0, noise, shape).astype(np.float32)
    if counts:
        array = np.clip(np.rint(array), 0, 65535).astype(np.uint16)
    folder = Path(params.path)
    folder.mkdir(parents=True, exist_ok=True)
    np.save(folder / store.ARRAY, array)
    store.write_axes(folder, [tilt1, tilt2, omega], np.ones(shape[:3], dtype=bool))
    (folder.parent / "init.txt").write_text(format_initfile(params))
    return simulation
