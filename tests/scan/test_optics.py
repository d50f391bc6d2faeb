"""M, wavelength and Bragg angle of the init file beside what the files of the detector say."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from lib.initfile.parameters import Parameters
from lib.physics.noise import Dark
from lib.scan.optics import differences
from lib.scan.setting import work_out
from lib.scan.store import scan_of_arrays

# Aluminium 200 at 17 keV: a Bragg angle of 10.3754 degrees
OPTICS = {"M": 27.7, "wavelength_angstrom": 0.7293, "two_theta_deg": 20.75, "energy_from": "ccmenergy"}
KEYS: dict[str, Any] = {
    "unit_cell": (4.0495, 4.0495, 4.0495, 90.0, 90.0, 90.0),
    "hkl": (2, 0, 0),
    "wavelength": 0.7293,
    "M": 27.7,
    "path": ".",
    "grain_pos": (0.0, 0.0, 0.0),
    "grain_dim": (1.0, 1.0, 1.0),
    "grain_steps": (4, 4, 4),
    "detector_center": (3.5, 3.5),
}


def said(info: dict[str, Any], **changes: Any) -> list[str]:
    return differences(Parameters(**(KEYS | changes)), info)


def test_nothing_is_said_of_what_agrees_or_is_unknown() -> None:
    assert said({"optics": OPTICS}) == []
    assert said({"optics": OPTICS}, M=27.7 * 1.029, wavelength=0.7293 * 1.0009) == []
    for info in ({}, {"optics": None}, {"optics": {}}, {"optics": "x"}, {"optics": {"M": None}}):
        assert said(info, M=1.0) == []


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"M": 13.85}, ["M 13.85 of the init file", "27.7"]),
        ({"M": 27.7 * 1.031}, ["M 28.56", "27.7"]),
        ({"wavelength": 0.7293 * 1.0011}, ["wavelength 0.730102 A", "ccmenergy gives 0.7293 A"]),
        ({"hkl": (1, 1, 1)}, ["Bragg angle 8.973 deg", "2theta 20.750, a Bragg angle of 10.375 deg"]),
    ],
)
def test_both_numbers_are_said(changes: dict[str, Any], words: list[str]) -> None:
    lines = said({"optics": OPTICS}, **changes)
    assert len(lines) == 1
    assert all(word in lines[0] for word in words)


def test_binned_pixels_are_counted_in() -> None:
    info = {"bin": 2, "optics": OPTICS | {"M": 13.85}}
    assert said(info, M=13.85) == []
    assert "27.7 of the init file" in said(info)[0]
    assert "13.85 (getdata.json, its --bin 2 counted in)" in said(info)[0]


def test_either_eyepiece_may_be_in() -> None:
    info = {"optics": {"M_by_eyepiece": {"10x": 27.7, "2x": 5.54}}}
    assert said(info) == said(info, M=5.5) == []
    assert "27.7 or 5.54" in said(info, M=2.77)[0]


def test_the_setting_warns() -> None:
    scan = scan_of_arrays(
        np.ones((2, 2, 3, 8, 8), np.uint16),
        {"tilt1": [0, 0.1], "tilt2": [0, 0.1], "omega": [0, 10, 20]},
        info={"optics": OPTICS},
    )
    setting = work_out(Parameters(**(KEYS | {"M": 10.0})), scan, 1.0, Dark(0.0, 0.0, 0.0))
    assert any("M 10 of the init file" in warning for warning in setting.warnings)
