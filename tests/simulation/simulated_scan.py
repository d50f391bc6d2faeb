"""A small scan of a small grain for the tests of the simulation, and the frames written from it."""

from __future__ import annotations

from lib.initfile.parameters import Parameters
from lib.parallel.communicator import SerialComm
from lib.simulation import simulate

SAMPLE_MOTORS = ("samrz", "samry", "diffrx")
GAMMA_MOTORS = ("diffrz", "gamma", "diffry")


def parameters(**changes):
    """A small scan of a small grain, kept well inside the detector."""
    values = {
        "path": "unused",
        "unit_cell": (4.0495, 4.0495, 4.0495, 90.0, 90.0, 90.0),
        "hkl": (2, 0, 0),
        "wavelength": 0.7293,
        "M": 3.0,
        "grain_dim": (12.0, 12.0, 12.0),
        "grain_steps": (10, 11, 12),
        "detx_size": 48,
        "detz_size": 44,
        "ang_types": SAMPLE_MOTORS,
        "ang_steps": (3, 4, 4),
        "ang_min": (-0.1, -0.15, 0.0),
        "ang_max": (0.1, 0.15, 270.0),
        "sim_grain": (4.6, 4.0, 4.4),
        "sim_points": 4000,
        "sim_seed": 1,
    }
    return Parameters(**{**values, **changes})


def one_orientation(**changes):
    """The same grain as a single crystal."""
    return parameters(**{"sim_subgrains": 1, "ang_width": (0.0, 0.0), **changes})


def write(folder, comm=None, **changes):
    """Simulate into a folder; returns parameters and the frames' files in the order of their names."""
    params = parameters(**{"stem": str(folder / "raw" / "g_"), **changes})
    simulate.run(params, comm or SerialComm(), quiet=True)
    return params, sorted((folder / "raw").glob("g_*.edf"))
