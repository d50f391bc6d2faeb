"""Magnification, energy and scattering angle, as far as the motors tell them."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lib.getdata.optics import optics_of
from tests.getdata.bliss_scans import info, run, scan

LENS = {"obx": 263.13, "mainx": -5000.0, "obpitch": 17.9941}
MAGNIFICATION = 5000 / 263.13 - 1


def optics(pixel_um: float | None = 0.65, n_bin: int = 1, **motors: Any) -> dict[str, Any]:
    values = {name: np.broadcast_to(np.asarray(v, dtype=float), (4,)) for name, v in motors.items()}
    return optics_of(values, pixel_um, n_bin) or {}


@pytest.mark.parametrize(("pixel_um", "n_bin"), [(0.65, 1), (3.25, 1), (0.65, 2)])
def test_pixels_for_each_um_of_sample(pixel_um: float, n_bin: int) -> None:
    found = optics(pixel_um, n_bin, **LENS)
    assert found["M"] == pytest.approx(MAGNIFICATION / pixel_um / n_bin)
    assert found["d1_mm"] == pytest.approx(263.13 / math.cos(math.radians(17.9941)))
    assert found["d2_mm"] / found["d1_mm"] == pytest.approx(found["magnification"]) == MAGNIFICATION
    assert found["two_theta_deg"] == 17.9941


def test_the_pixel_of_the_sensor_leaves_the_eyepiece_open() -> None:
    found = optics(6.5, **LENS)
    assert "M" not in found
    assert found["M_by_eyepiece"] == pytest.approx({"10x": MAGNIFICATION / 0.65, "2x": MAGNIFICATION / 3.25})


@pytest.mark.parametrize(
    "motors",
    [
        {"obx": 50.0},
        {"obx": 0.0, "mainx": -5000.0},
        {"obx": np.nan, "mainx": -5000.0},
        {"obx": [1.0, 2, 3, 4], "mainx": -5000.0},
        {"obx": 300.0, "mainx": -200.0},
    ],
)
def test_what_is_no_lens_gives_no_magnification(motors: dict[str, Any]) -> None:
    assert "magnification" not in optics(**motors)


def test_energy() -> None:
    """The angle of a Si 111 crystal, as it was read at 17 keV."""
    known = optics(ccmenergy=16.9999997, ccmth=6.679671220242654)
    assert (known["energy_from"], known["energy_kev"]) == ("ccmenergy", 16.9999997)
    assert known["wavelength_angstrom"] == pytest.approx(0.7293188, abs=1e-6)
    by_angle = optics(ccmth=6.679671220242654)
    assert by_angle["energy_from"] == "ccmth, Si 111"
    assert by_angle["energy_kev"] == pytest.approx(17.0, rel=5e-4)
    assert "energy_kev" not in optics(ccmenergy=0.0)
    assert "energy_kev" not in optics(ccmenergy=[16.9, 17.0, 17.1, 17.2])


def test_the_arm_of_horizontal_scattering_and_one_that_moves() -> None:
    assert optics(obpitch=0.0, obyaw=20.75)["two_theta_deg"] == 20.75
    assert "two_theta_deg" not in optics(obpitch=[20.7, 20.72, 20.74, 20.76])
    assert optics_of({}, None, 1) is None


@pytest.mark.parametrize(
    ("size", "unit"), [(0.65, None), (0.65, "um"), (6.5e-7, None), (6.5e-7, "m"), (6.5e-4, "mm")]
)
def test_they_are_written_down(tmp_path: Path, size: float, unit: str | None) -> None:
    import h5py

    def change(content: dict[str, Any], k: int) -> None:
        content |= {f"instrument/positioners/{name}": value for name, value in LENS.items()}
        content["instrument/pco_ff/x_pixel_size"] = size

    scan(tmp_path / "scan.h5", change)
    if unit:
        with h5py.File(tmp_path / "scan.h5", "a") as root:
            for entry in root.values():
                entry["instrument/pco_ff/x_pixel_size"].attrs["units"] = unit
    assert run(tmp_path / "scan.h5", tmp_path / "out") == 0
    assert info(tmp_path / "out")["optics"]["M"] == pytest.approx(MAGNIFICATION / 0.65)
