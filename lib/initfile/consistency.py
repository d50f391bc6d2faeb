"""What no key of an init file can say alone: whether the keys agree with each other."""

from __future__ import annotations

from ..errors import Recon3DError
from .parameters import Parameters


def inconsistencies(params: Parameters) -> list[str]:
    """What is wrong between keys that are right one by one."""
    found = []
    try:
        params.geometry()
    except Recon3DError as error:
        found.append(str(error))
    if sorted((abs(params.o11) + abs(params.o12), abs(params.o21) + abs(params.o22))) != [1, 1] or (
        abs(params.o11) != abs(params.o22)
    ):
        matrix = [params.o11, params.o12, params.o21, params.o22]
        found.append(
            f"o11 o12 o21 o22: {matrix} is none of the eight flips, such as [1, 0, 0, -1] or [0, 1, 1, 0]"
        )
    if params.omega_sign not in (1, -1):
        found.append(f"omega_sign: {params.omega_sign} must be 1 or -1")
    if params.t_y not in (None, 0.0):
        found.append(f"t_y: {params.t_y:g} must be 0 or None; turn the image with o11 o12 o21 o22")
    for low, high in params.omega_exclude:
        if low > high:
            found.append(f"omega_exclude: [{low:g},{high:g}] must run upwards")
    for name, low, high, steps in zip(
        ("tilt1", "tilt2", "omega"), params.ang_min, params.ang_max, params.ang_steps, strict=True
    ):
        if (steps > 1 and not low < high) or (steps == 1 and low != high):
            found.append(
                f"ang_steps, ang_min, ang_max: {steps} positions of {name} cannot span {low:g}..{high:g}"
            )
    if len(set(params.ang_types)) < 3:
        found.append("ang_types: must be three different motors")
    return found
