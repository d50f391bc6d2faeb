"""What the motors tell of the optics: magnification, energy, scattering angle."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from .motor_table import Values

_HC_KEV_ANGSTROM = 12.398419843
_SI_111_ANGSTROM = (
    3.135601  # at room temperature; the channel-cut monochromator of ID03 is taken to be Si 111
)
_EYEPIECES = {"10x": 10.0, "2x": 2.0}
_SMALLEST_SENSOR_PIXEL_UM = 5.0  # larger ones are those of the sensor, seen through an eyepiece
_SAME = 1e-3  # of the value; a motor that moves by more has no one value


def optics_of(motors: Mapping[str, Values], pixel_um: float | None, n_bin: int) -> dict[str, Any] | None:
    """What getdata.json says of the optics, None if the files say nothing.

    M is in pixels of the array per um of sample, n_bin x n_bin pixels of the camera being one. The lens
    stands obx along the beam from the sample and the camera mainx, both seen along the arm: d1 = obx /
    cos(obpitch), d2 = |mainx| / cos(obpitch) - d1, and the magnification is d2 / d1.
    """
    obx, mainx = _value(motors, "obx"), _value(motors, "mainx")
    found: dict[str, Any] = {}
    two_theta = next((v for v in (_value(motors, m) for m in ("obpitch", "obyaw")) if v and abs(v) > 1), None)
    if obx and mainx and 0 < obx < abs(mainx):
        cosine = math.cos(math.radians(two_theta or 0.0))
        d1 = obx / cosine
        d2 = abs(mainx) / cosine - d1
        found |= {"d1_mm": d1, "d2_mm": d2, "magnification": d2 / d1}
        if pixel_um is not None and pixel_um < _SMALLEST_SENSOR_PIXEL_UM:
            found["M"] = d2 / d1 / pixel_um / n_bin
        elif pixel_um is not None:
            found["M_by_eyepiece"] = {n: d2 / d1 * f / pixel_um / n_bin for n, f in _EYEPIECES.items()}
    if pixel_um is not None:
        found["pixel_um"] = pixel_um
    found |= _energy(motors)
    if two_theta is not None:
        found["two_theta_deg"] = abs(two_theta)
    return found or None


def _energy(motors: Mapping[str, Values]) -> dict[str, Any]:
    """Energy and wavelength: of ccmenergy (keV), else of the angle ccmth of the monochromator."""
    energy, theta, source = _value(motors, "ccmenergy"), _value(motors, "ccmth"), "ccmenergy"
    if not energy or not 1.0 < energy < 1000.0:
        if not theta or not 0.5 < theta < 89.0:
            return {}
        energy, source = (
            _HC_KEV_ANGSTROM / (2 * _SI_111_ANGSTROM * math.sin(math.radians(theta))),
            "ccmth, Si 111",
        )
    return {"energy_kev": energy, "wavelength_angstrom": _HC_KEV_ANGSTROM / energy, "energy_from": source}


def _value(motors: Mapping[str, Values], name: str) -> float | None:
    """Where a motor stood during the whole scan, None if it is unknown or moved."""
    values = motors.get(name, np.zeros(0))
    values = values[np.isfinite(values)]
    if not values.size:
        return None
    middle = float(np.median(values))
    return middle if np.ptp(values) <= max(_SAME * abs(middle), _SAME) else None
