"""recon3d.py is free of the mistakes of the 2017 programs, numbered as on the page about the beamline."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from tests.backprojection import reference
from tests.backprojection.recon3d_command import BASE, every_frame, every_mode, run_in_process
from tests.backprojection.reference import AL, Scan, made_up_scan, write_scan


def one_voxel(position: list[float], **keys: Any) -> dict[str, Any]:
    """An init file for a single voxel."""
    volume_keys = {"grain_pos": position, "grain_dim": [0.5, 0.5, 0.5], "grain_steps": [1, 1, 1]}
    rest = {"method": "backprojection", "M": 1.0, "threshold": 0.5, "completeness_cutoff": 0}
    return {**AL, **rest, **volume_keys, **keys}


def flat_scan(values: np.ndarray, n_omega: int = 4, roi: tuple[int, int] = (7, 5)) -> Scan:
    """Every pixel sees the same tilt map at every omega; the axes step by 0.1 and 0.2 deg from 1 and -3."""
    data = np.broadcast_to(values[:, :, None, None, None], (*values.shape, n_omega, *roi))
    axes = (1 + 0.1 * np.arange(values.shape[0]), -3 + 0.2 * np.arange(values.shape[1]))
    return Scan(data.astype(np.uint16), *axes, np.linspace(0, 270, n_omega))


@pytest.mark.parametrize(("i", "j"), [(0, 0), (6, 0), (0, 6), (6, 6), (3, 3), (2, 5)])
def test_mistake_1_angles_are_those_of_the_axes(i, j, tmp_path):
    """Index to angle by (max - min)/n has 6/7 of the true scale at n = 7, and an offset."""
    values = np.zeros((7, 7))
    values[i, j] = 100
    write_scan(tmp_path, flat_scan(values))
    found = run_in_process(tmp_path, one_voxel([0.1, 0.1, 0.1]))
    assert found["tilt1"].item() == pytest.approx(1 + 0.1 * i, abs=1e-12)
    assert found["tilt2"].item() == pytest.approx(-3 + 0.2 * j, abs=1e-12)
    assert found["tilt1_std"].item() == pytest.approx(0, abs=1e-12)


def test_mistake_7_means_are_over_the_pixels(tmp_path):
    """sum / len(np.where(...)) divides by the number of axes, whatever the number of pixels."""
    scan = flat_scan(np.full((3, 2), 12.0), n_omega=8)
    scan.data[:, :, [1, 4, 5]] = 0
    write_scan(tmp_path, scan)
    found = run_in_process(tmp_path, one_voxel([0.1, 0.1, 0.1]))
    assert found["intensity"].item() == pytest.approx(12 * 6 * 5 / 8)
    assert found["completeness"].item() == 5 / 8


@pytest.mark.parametrize(("hkl", "side"), [([0, 2, 0], 1), ([2, 0, 0], 0), ([0, 0, -2], 2)])
def test_mistake_9_theta_is_the_arcsine_and_d_that_of_any_hkl(hkl, side, tmp_path):
    """The voxel 40 um up the beam is seen 0.5 x 40 um aside at theta = 30 deg; as a sine it is 8 px off."""
    cell = [5.1, 6.3, 7.7, 90, 90, 90]
    scan = flat_scan(np.zeros((1, 1)), n_omega=1, roi=(403, 5))
    scan.data[..., 201 - 200, 2] = 7
    write_scan(tmp_path, scan)
    keys = one_voxel([0, 40, 0], M=10.0, unit_cell=cell, hkl=hkl, wavelength=cell[side] / 2)
    assert run_in_process(tmp_path, keys)["intensity"].item() == 7


def test_mistake_10_the_mean_tilt_is_the_middle_of_the_whole_range(tmp_path):
    """Half of the range, or its corner, moves the image of a voxel 100 um off the focus point."""
    scan = flat_scan(np.ones((3, 3)), n_omega=1, roi=(81, 81))
    scan = replace(scan, tilt1=np.array([2.0, 5.0, 10.0]), tilt2=np.array([-6.0, 0.0, 2.0]))
    keys = one_voxel([0, 0, 0], xyz_up=[-100, 0, 0], xyz_lo=[-100, 0, 0], tilt_zero=[1.0, 1.0])
    tilts = (np.radians(6.0 - 1.0), np.radians(-2.0 - 1.0))
    pixel = reference.nearest_pixel(reference.project(keys, (81, 81), (0, 0, 0), 0.0, tilts), (81, 81))
    scan.data[..., pixel[0], pixel[1]] = 50
    write_scan(tmp_path, scan)
    assert run_in_process(tmp_path, keys)["intensity"].item() == 9 * 50
    moved = replace(scan, data=np.ones_like(scan.data))
    moved.data[..., 40, 40] = 50
    write_scan(tmp_path, moved)
    assert run_in_process(tmp_path, {**keys, "tilt_zero": "auto"})["intensity"].item() == 9 * 50


@pytest.mark.parametrize(("height", "z_um", "row"), [(5, 0.3, 2), (5, -0.6, 3), (4, -0.3, 2), (4, 0.3, 1)])
def test_mistake_11_the_detector_centre_is_the_middle_pixel(height, z_um, row, tmp_path):
    """(n - 1)/2, not n/2, for odd and even sizes; z_d = -M z."""
    scan = flat_scan(np.zeros((1, 1)), n_omega=1, roi=(3, height))
    scan.data[..., 1, row] = 9
    write_scan(tmp_path, scan)
    assert run_in_process(tmp_path, one_voxel([0, 0, z_um]))["intensity"].item() == 9


@every_mode
def test_mistake_11_voxels_off_the_detector_do_not_see_the_edge_pixel(mode, tmp_path):
    scan = flat_scan(np.ones((2, 2)), n_omega=1, roi=(3, 5))
    write_scan(tmp_path, scan)
    keys = one_voxel([0.1, 0, 0.1], mode=mode, grain_dim=[9, 0.5, 9], grain_steps=[9, 1, 9])
    found = run_in_process(tmp_path, keys)
    on_roi = {i[::2]: reference.project(keys, (3, 5), r, 0.0) for i, r in reference.voxels(keys)}
    inside = np.zeros((9, 9), dtype=bool)
    for index, (x, y) in on_roi.items():
        inside[index] = -0.5 < x < 2.5 and -0.5 < y < 4.5
    assert 9 < inside.sum() < 30
    np.testing.assert_array_equal(np.isfinite(found["tilt1"][:, 0]), inside)
    np.testing.assert_array_equal(np.isfinite(found["intensity"][:, 0]), inside)
    np.testing.assert_array_equal(found["completeness"][:, 0], inside)


@pytest.mark.parametrize("dtype", ["<u2", "<f4"])
@every_frame
def test_mistake_12_empty_voxels_are_nan_without_a_warning(frame, dtype, tmp_path):
    """Neither where the detector saw nothing nor where it does not reach; warnings are errors here."""
    scan = made_up_scan().with_dtype(dtype)
    scan.data[..., :12, :] = 0
    write_scan(tmp_path, scan)
    keys = {**BASE, "M": 2.7182818, "tilt_frame": frame, "completeness_cutoff": 0}
    found = run_in_process(tmp_path, keys)
    dark = (found["intensity"] == 0).sum() + np.isnan(found["intensity"]).sum()
    assert np.isnan(found["tilt1"]).sum() == dark > 0
    write_scan(tmp_path, replace(scan, data=np.zeros_like(scan.data)))
    found = run_in_process(tmp_path, {**keys, "threshold": "auto"})
    assert np.isnan(found["tilt1"]).all()
    assert not found["mask"].any()
