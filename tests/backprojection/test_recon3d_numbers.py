"""recon3d.py gives the numbers of the slow reconstruction in reference.py, whatever the keys and scan."""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache
from typing import Any

import h5py
import numpy as np
import pytest
import silx.io
import silx.io.nxdata
from vtkmodules.vtkIOHDF import vtkHDFReader

from lib.backprojection import sweep
from tests.backprojection import reference
from tests.backprojection.recon3d_command import (
    BASE,
    assert_as_in_reference,
    assert_same,
    every_frame,
    every_mode,
    run_in_process,
)
from tests.backprojection.reference import made_up_scan, write_scan


def assert_differ(one: dict[str, np.ndarray], other: dict[str, np.ndarray]) -> None:
    """A key that leaves the reference as it is would test nothing."""
    gaps = [np.abs(np.nan_to_num(one[n]) - np.nan_to_num(other[n])).max() for n in ("tilt1", "completeness")]
    assert max(gaps) > 1e-2


@lru_cache
def plain_reference(mode: str, frame: str) -> dict[str, np.ndarray]:
    return reference.reconstruct({**BASE, "mode": mode, "tilt_frame": frame}, made_up_scan())


KEYS: dict[str, dict[str, Any]] = {
    "flip-x": {"o11": -1},
    "flip-y": {"o22": -1},
    "flip-both": {"o11": -1, "o22": -1},
    "transpose": {"o11": 0, "o12": 1, "o21": 1, "o22": 0},
    "transpose-flip-x": {"o11": 0, "o12": -1, "o21": 1, "o22": 0},
    "transpose-flip-y": {"o11": 0, "o12": 1, "o21": -1, "o22": 0},
    "transpose-flip-both": {"o11": 0, "o12": -1, "o21": -1, "o22": 0},
    "detector_center": {"detector_center": [9.37, 10.81]},
    "detector_center-off-the-roi": {"detector_center": [-2.13, 8.29]},
    "xyz_th": {"xyz_th": [5.1, -7.3, 6.7]},
    "tilt_zero": {"tilt_zero": [-2.4, 3.1], "xyz_up": [-41.0, 5.3, 30.7], "xyz_lo": [-25.9, 3.1, -20.3]},
    "omega_sign": {"omega_sign": -1},
    "omega_exclude": {"omega_exclude": [[60, 125.5], [255, 255]]},
    "binarize": {"binarize": "true"},
    "threshold": {"threshold": 151.5},
    "grain_pos": {"grain_pos": [-2.117, 3.291, 1.873]},
    "voxels-off-the-detector": {"M": 3.1415926},
    "theta": {"unit_cell": [3.11, 4.2, 5.03, 90, 90, 90], "hkl": [0, 2, -1], "wavelength": 1.97},
}


IN_VERTICAL = ("transpose-flip-x", "detector_center", "xyz_th", "tilt_zero", "omega_sign", "theta")


@pytest.mark.parametrize(
    ("mode", "changed"), [("horizontal", key) for key in KEYS] + [("vertical", key) for key in IN_VERTICAL]
)
def test_keys(mode, changed, tmp_path):
    keys = {**BASE, "mode": mode, **KEYS[changed]}
    expected = assert_as_in_reference(tmp_path, keys, made_up_scan())
    assert_differ(expected, plain_reference(mode, "sample"))


@pytest.mark.parametrize(
    "changed", ["transpose-flip-x", "omega_sign", "omega_exclude", "binarize", "threshold"]
)
@every_mode
def test_keys_in_the_lab_frame(mode, changed, tmp_path):
    keys = {**BASE, "mode": mode, "tilt_frame": "lab", **KEYS[changed]}
    expected = assert_as_in_reference(tmp_path, keys, made_up_scan())
    assert_differ(expected, plain_reference(mode, "lab"))
    assert_differ(expected, reference.reconstruct({**keys, "tilt_frame": "sample"}, made_up_scan()))


@every_mode
def test_tilt_zero_in_the_lab_frame(mode, tmp_path):
    """It turns the map about another point, and the mean tilt moves the image about a far focus point."""
    keys = {**BASE, "mode": mode, "tilt_frame": "lab", "tilt_zero": [1.37, -0.66]}
    keys["xyz_th"] = [310.0, -250.0, 270.0]
    roi, origin = (23, 17), (0.0, 0.0, 0.0)
    zero = reference.project(keys, roi, origin, 0.3)
    keys["detector_center"] = [float(11.19 - (zero[0] - 11)), float(8.17 - (zero[1] - 8))]
    mean = reference.project(keys, roi, origin, 0.3, (np.radians(-0.06), np.radians(-0.06)))
    still = reference.project(keys, roi, origin, 0.3)
    assert np.hypot(mean[0] - still[0], mean[1] - still[1]) > 0.2
    expected = assert_as_in_reference(tmp_path, keys, made_up_scan())
    assert np.isfinite(expected["tilt1"]).mean() > 0.3


@pytest.mark.parametrize(("mode", "key"), [("horizontal", "t_z"), ("vertical", "t_x")])
def test_detector_tilt(mode, key, tmp_path):
    expected = assert_as_in_reference(tmp_path, {**BASE, "mode": mode, key: 51.3}, made_up_scan())
    assert_differ(expected, plain_reference(mode, "sample"))


@pytest.mark.parametrize("binarize", ["false", "true"])
@pytest.mark.parametrize(
    ("mode", "frame"), [("horizontal", "sample"), ("vertical", "sample"), ("vertical", "lab")]
)
def test_projection_exact(mode, frame, binarize, tmp_path):
    """Tilts of several degrees about focus points 40 um off: the pairs see different pixels."""
    scan = made_up_scan(seed=13, omega=(0, 33, 71, 161, 255))
    scan = replace(scan, tilt1=scan.tilt1 * 12, tilt2=scan.tilt2 * 9)
    keys = {**BASE, "mode": mode, "tilt_frame": frame, "binarize": binarize, "grain_steps": [3, 2, 3]}
    keys |= {"xyz_up": [-11, 5, 10], "xyz_lo": [-15, 3, -10], "xyz_th": [3, -5, 2], "completeness_cutoff": 0}
    exact = assert_as_in_reference(tmp_path, {**keys, "projection": "exact"}, scan)
    assert_differ(exact, reference.reconstruct(keys, scan))
    cut = run_in_process(tmp_path, {**keys, "projection": "exact", "completeness_cutoff": 0.45})
    kept = exact["completeness"] >= 0.45
    np.testing.assert_array_equal(np.isfinite(cut["tilt1"]), kept)
    np.testing.assert_array_equal(cut["completeness"][kept], exact["completeness"][kept])
    assert (cut["completeness"] >= exact["completeness"] - 1e-9).all()  # an upper bound where ruled out
    assert 0 < kept.sum() < kept.size


@pytest.mark.parametrize("steps", [[6, 5, 4], [1, 1, 1], [1, 7, 2], [9, 1, 3]])
@every_mode
def test_odd_even_and_single_steps(mode, steps, tmp_path):
    keys = {**BASE, "mode": mode, "grain_steps": steps, "completeness_cutoff": 0}
    expected = assert_as_in_reference(tmp_path, keys, made_up_scan())
    assert expected["tilt1"].shape == tuple(steps)


@pytest.mark.parametrize(
    ("mode", "n_tilts"), [("horizontal", (5, 4)), ("vertical", (2, 7)), ("vertical", (9, 3))]
)
@every_frame
def test_unequal_tilt_steps(mode, frame, n_tilts, tmp_path):
    scan = made_up_scan(seed=3, n_tilts=n_tilts, uneven=True)
    assert_as_in_reference(tmp_path, {**BASE, "mode": mode, "tilt_frame": frame}, scan)


@pytest.mark.parametrize("n_tilts", [(5, 1), (1, 4), (1, 1)])
def test_single_tilt_position(n_tilts, tmp_path):
    expected = assert_as_in_reference(tmp_path, {**BASE, "threshold": 9.5}, made_up_scan(n_tilts=n_tilts))
    assert np.isfinite(expected["tilt1"]).any()


@every_frame
@every_mode
def test_frames_not_measured(mode, frame, tmp_path):
    """What the array holds at positions that were not measured is of no account, be it NaN."""
    scan = made_up_scan(seed=5).with_dtype("<f4")
    measured = np.random.default_rng(5).random(scan.data.shape[:3]) < 0.8
    measured[:, :, 4] = False
    scan.data[~measured] = np.where(np.arange(17) % 2, np.nan, 60000)
    expected = assert_as_in_reference(
        tmp_path, {**BASE, "mode": mode, "tilt_frame": frame}, replace(scan, measured=measured)
    )
    unaware = reference.reconstruct({**BASE, "mode": mode, "tilt_frame": frame}, scan)
    assert_differ(expected, unaware)


@pytest.mark.parametrize("dtype", ["<f4", "<f8", ">u2", ">f4", ">f8", "u1"])
@every_frame
def test_types_of_the_array(frame, dtype, tmp_path):
    scan = made_up_scan(seed=7)
    if dtype == "u1":
        scan = replace(scan, data=np.minimum(scan.data, 255))
    if dtype[-2:] in ("f4", "f8"):
        scan = replace(scan, data=scan.data * 1.0173 - 2.7)  # negative where it is dark
    assert_as_in_reference(tmp_path, {**BASE, "tilt_frame": frame}, scan.with_dtype(dtype))


@every_frame
def test_cutoff_zero_gives_a_value_wherever_there_is_intensity(frame, tmp_path):
    keys = {**BASE, "M": 2.7182818, "tilt_frame": frame, "completeness_cutoff": 0, "threshold": 1e6}
    expected = assert_as_in_reference(tmp_path, keys, made_up_scan())
    seen = expected["seen"] > 0
    assert 0 < seen.sum() < seen.size
    np.testing.assert_array_equal(np.isfinite(expected["tilt1"]), seen)


def test_completeness_equal_to_the_cutoff_is_kept(tmp_path):
    scan = made_up_scan(omega=np.linspace(0, 324, 10))
    expected = assert_as_in_reference(tmp_path, {**BASE, "completeness_cutoff": 0.3}, scan)
    assert np.isfinite(expected["tilt1"][expected["completeness"] == 0.3]).all()
    assert (expected["completeness"] == 0.3).any()


def test_automatic_threshold_is_four_sigma_of_the_noise(tmp_path):
    scan = made_up_scan(seed=9)
    signal = np.where(scan.data > 50, scan.data * 5.0, 0.0)
    noise = np.random.default_rng(9).normal(0, 12, scan.data.shape)
    scan = replace(scan, data=np.maximum(np.rint(signal + noise), 0)).with_dtype("<u2")
    write_scan(tmp_path, scan)
    found = run_in_process(tmp_path, {**BASE, "threshold": "auto"})
    with h5py.File(tmp_path / "grain.vtkhdf") as file:
        threshold = file["entry/process"].attrs["threshold_counts"]
    assert threshold == pytest.approx(48, rel=0.1)
    assert_same(found, reference.reconstruct({**BASE, "threshold": threshold}, scan))


def test_tilt_frame_is_that_of_getdata_unless_the_init_file_says_otherwise(tmp_path, capsys):
    scan = replace(made_up_scan(), info={"tilt_frame": "lab", "motors": {"tilt1": "diffrz"}})
    write_scan(tmp_path, scan)
    assert_same(run_in_process(tmp_path, BASE), plain_reference("horizontal", "lab"))
    assert capsys.readouterr().err == ""
    found = run_in_process(tmp_path, {**BASE, "tilt_frame": "sample"})
    assert_same(found, plain_reference("horizontal", "sample"))
    assert "tilt_frame sample of the init file overrides lab" in capsys.readouterr().err


def test_voxels_are_where_the_init_file_puts_them(tmp_path):
    """One voxel of a volume that is symmetric in nothing: in numpy, HDF5, silx and VTK, at its place."""
    keys = {**BASE, "completeness_cutoff": 0}
    expected = assert_as_in_reference(tmp_path, keys, made_up_scan())
    index, position = next(v for v in reference.voxels(keys) if v[0] == (3, 0, 2))
    value = np.load(tmp_path / "grain_ang.npy")[index][0]
    assert value == pytest.approx(expected["tilt1"][index], abs=2e-5)
    path = str(tmp_path / "grain.vtkhdf")
    with h5py.File(path) as file:
        assert file["VTKHDF/CellData/tilt1"][index[::-1]] == value
    with silx.io.open(path) as file:
        data = silx.io.nxdata.get_default(file)
        assert data.signal[index[::-1]] == value
        found = [axis[i] for axis, i in zip(data.axes, index[::-1], strict=True)][::-1]
        np.testing.assert_allclose(found, position)
    reader = vtkHDFReader()
    reader.SetFileName(path)
    reader.Update()
    image = reader.GetOutput()
    cell = index[0] + 5 * (index[1] + 3 * index[2])
    assert image.GetCellData().GetArray("tilt1").GetValue(cell) == value
    limits = np.array(image.GetCell(cell).GetBounds()).reshape(3, 2)
    np.testing.assert_allclose(limits.mean(axis=1), position)
    np.testing.assert_allclose(np.ptp(limits, axis=1), np.divide(keys["grain_dim"], keys["grain_steps"]))


@pytest.mark.parametrize("pieces_bytes", [1, 17 * 6 * 20])
@pytest.mark.parametrize(("mode", "frame"), [("horizontal", "sample"), ("vertical", "lab")])
def test_pieces_that_fit_into_memory_give_the_same_bytes(mode, frame, pieces_bytes, tmp_path, monkeypatch):
    """Voxel by voxel, or in pieces that divide neither the volume nor a layer, it is the same volume."""
    write_scan(tmp_path, made_up_scan().with_dtype("<f4"))
    keys = {**BASE, "mode": mode, "tilt_frame": frame}
    run_in_process(tmp_path, keys)
    whole = (tmp_path / "grain_ang.npy").read_bytes()
    monkeypatch.setattr(sweep, "_SUMS_BYTES", pieces_bytes)
    run_in_process(tmp_path, keys)
    assert (tmp_path / "grain_ang.npy").read_bytes() == whole
