"""The optics of the init file beside what the files of the detector say of them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from ..initfile.parameters import Parameters
from ..physics.geometry import bragg_angle
from . import store

_M, _WAVELENGTH, _BRAGG_DEG = 0.03, 1e-3, 0.1  # differences that are told, the first two of the value


def differences(params: Parameters, info: Mapping[str, Any]) -> list[str]:
    """A warning for each of M, wavelength and Bragg angle that differs from `optics` of getdata.json."""
    optics = info.get("optics")
    if not isinstance(optics, Mapping):
        return []
    found = []
    by_eyepiece = optics.get("M_by_eyepiece")
    known = [optics.get("M"), *(by_eyepiece.values() if isinstance(by_eyepiece, Mapping) else ())]
    sizes = [size for m in known if (size := _number(m))]
    if sizes and all(abs(params.M / m - 1) > _M for m in sizes):
        binned = f", its --bin {info['bin']} counted in" if info.get("bin", 1) != 1 else ""
        given = " or ".join(f"{m:.4g}" for m in sizes)
        found.append(
            f"M {params.M:.4g} of the init file, but obx, mainx and the camera's pixel give {given} "
            f"({store.INFO}{binned})"
        )
    wavelength = _number(optics.get("wavelength_angstrom"))
    if wavelength and abs(params.wavelength / wavelength - 1) > _WAVELENGTH:
        found.append(
            f"wavelength {params.wavelength:.6g} A of the init file, but {optics.get('energy_from')} gives "
            f"{wavelength:.6g} A ({store.INFO})"
        )
    two_theta = _number(optics.get("two_theta_deg"))
    if two_theta:
        theta = math.degrees(bragg_angle(params.unit_cell, params.hkl, params.wavelength))
        if abs(theta - two_theta / 2) > _BRAGG_DEG:
            found.append(
                f"Bragg angle {theta:.3f} deg by unit_cell, hkl and wavelength of the init file, but the arm "
                f"stood at 2theta {two_theta:.3f}, a Bragg angle of {two_theta / 2:.3f} deg ({store.INFO})"
            )
    return found


def _number(value: object) -> float:
    """A positive number; 0 for anything else that may stand in the file."""
    if isinstance(value, int | float) and math.isfinite(value) and value > 0:
        return float(value)
    return 0.0
