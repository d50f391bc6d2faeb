"""What the files of a simulated scan say of the motors, whatever their format."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from ..getdata.motors import GAMMA, NONE

PHI0_DEG, CHI0_DEG = 0.35, -0.8  # zeros of the motors that make gamma
RING_CURRENT_MA = 200.0
AT_REST = {"mono": 5.67781, "ffz": 2257.86, "obx": 50.0}
_DIGITS = 9  # that headers give


def motor_positions(names: tuple[str, ...], position: NDArray[np.float64]) -> dict[str, float]:
    """Read-back values by name; gamma is made of phi and chi as at ID06 in 2017."""
    motors = dict(zip(names, (float(v) for v in position), strict=True))
    if GAMMA in motors:
        gamma, w = motors.pop(GAMMA), math.radians(position[2])
        motors["phi"] = PHI0_DEG + gamma * math.cos(w)
        motors["chi"] = CHI0_DEG + gamma * math.sin(w) / math.cos(math.radians(CHI0_DEG))
    motors.pop(NONE, None)
    return {name: float(f"{value:.{_DIGITS}g}") for name, value in motors.items()}
