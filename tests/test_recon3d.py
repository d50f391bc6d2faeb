"""recon3d.py from array and init file to the grain, beside the slow reconstruction of reference.py."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import reference
import silx.io
import silx.io.nxdata
from conftest import MPIRUN, ROOT, error_line
from reference import AL, Scan, made_up_scan, write_init, write_scan
from vtkmodules.vtkIOHDF import vtkHDFReader

from lib import cli, reconstruction, volume
from lib.parallel import SerialComm
from lib.store import ArrayFile

BASE: dict[str, Any] = {
    **AL,
    "method": "backprojection",
    "M": 1.2360679774997896,
    "grain_pos": [0.713, -0.492, 0.331],
    "grain_dim": [11.3, 12.1, 9.7],
    "grain_steps": [5, 3, 4],
    "completeness_cutoff": 0.2337,
    "threshold": 40.5,
}
ORIENTATION = ("tilt1", "tilt2", "tilt1_std", "tilt2_std")
MODES = ("horizontal", "vertical")
every_mode = pytest.mark.parametrize("mode", MODES)
every_frame = pytest.mark.parametrize("frame", ["sample", "lab"])


def run_in_process(folder: Path, keys: dict[str, Any]) -> dict[str, np.ndarray]:
    """Run the command without a process of its own on the scan in `folder`; the fields of both results."""
    init = write_init(folder / "init.txt", {**keys, "path": folder})
    assert cli.recon3d([str(init), "--quiet", "--no-report"], SerialComm()) == 0
    return read_result(Path(keys.get("output", folder)))


def read_result(folder: Path) -> dict[str, np.ndarray]:
    """The fields of grain.vtkhdf, after a look whether grain_ang.npy says the same."""
    with h5py.File(folder / "grain.vtkhdf") as file:
        fields = {name: np.swapaxes(d[()], 0, 2) for name, d in file["VTKHDF/CellData"].items()}
    ang = np.load(folder / "grain_ang.npy")
    assert ang.dtype == np.float64
    for i, name in enumerate(("tilt1", "tilt2", "completeness")):
        np.testing.assert_array_equal(fields[name], ang[..., i])
    return fields


def assert_same(found: dict[str, np.ndarray], expected: dict[str, np.ndarray]) -> None:
    for name, tolerance in zip(ORIENTATION, (2e-5, 2e-5, 1e-5, 1e-5), strict=True):
        np.testing.assert_allclose(found[name], expected[name], rtol=0, atol=tolerance, err_msg=name)
    np.testing.assert_allclose(found["completeness"], expected["completeness"], rtol=0, atol=1e-9)
    np.testing.assert_allclose(found["intensity"], expected["intensity"], rtol=1e-5)
    in_grain = np.isfinite(expected["tilt1"]) & (expected["completeness"] > 0)
    np.testing.assert_array_equal(found["mask"], in_grain)


def assert_as_in_reference(folder: Path, keys: dict[str, Any], scan: Scan) -> dict[str, np.ndarray]:
    """Reconstruct with the command and with the reference; returns the reference."""
    write_scan(folder, scan)
    expected = reference.reconstruct(keys, scan)
    assert_same(run_in_process(folder, keys), expected)
    return expected


def assert_differ(one: dict[str, np.ndarray], other: dict[str, np.ndarray]) -> None:
    """A key that leaves the reference as it is would test nothing."""
    gaps = [np.abs(np.nan_to_num(one[n]) - np.nan_to_num(other[n])).max() for n in ("tilt1", "completeness")]
    assert max(gaps) > 1e-2


@lru_cache
def plain_reference(mode: str, frame: str) -> dict[str, np.ndarray]:
    return reference.reconstruct({**BASE, "mode": mode, "tilt_frame": frame}, made_up_scan())


# ---- The same numbers as the reference ----

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
    n_lit = expected["completeness"] * 9  # of nine omegas, not ten
    np.testing.assert_allclose(n_lit, np.rint(n_lit), atol=1e-9)


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
    monkeypatch.setattr(reconstruction, "_SUMS_BYTES", pieces_bytes)
    run_in_process(tmp_path, keys)
    assert (tmp_path / "grain_ang.npy").read_bytes() == whole


# ---- The mistakes of the 2017 programs, numbered as on the page about the beamline ----


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


# ---- Any number of ranks ----

# Runs jobs one after the other on all ranks, as recon3d.py would: starting MPI takes longer than a job.
# argv: folder of jobs.json. A job has a name, an init file, and perhaps a fault: the number of frames
# that the last rank can read before its disk fails. Each rank leaves <name>.<rank>.json. A rank that is
# still at a job 15 s after another has left it would wait for ever, and ends them all.
JOBS = """
import contextlib, io, json, os, sys, threading, time
from pathlib import Path
from mpi4py import MPI
from lib import cli
from lib.store import ArrayFile

rank, size = MPI.COMM_WORLD.rank, MPI.COMM_WORLD.size
folder = Path(sys.argv[1])
read = ArrayFile.read_columns
name = "nothing"

def watch():
    while True:
        time.sleep(0.5)
        here = name
        left = [time.time() - path.stat().st_mtime for path in folder.glob(f"{here}.*.json")]
        if left and max(left) > 15 and name == here:
            os._exit(99)

threading.Thread(target=watch, daemon=True).start()
for job in json.loads((folder / "jobs.json").read_text()):
    frames = job["fault"] if "fault" in job and rank == size - 1 else 10**9
    def read_while_it_works(*arguments):
        global frames
        frames -= 1
        if frames < 0:
            raise OSError(5, "Input/output error")
        return read(*arguments)
    ArrayFile.read_columns = read_while_it_works
    name = job["name"]
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = cli.recon3d([job["init"], "--quiet", "--no-report"])
    result = {"code": code, "out": out.getvalue(), "err": err.getvalue()}
    name = "nothing"
    (folder / f"{job['name']}.{rank}.part").write_text(json.dumps(result))
    (folder / f"{job['name']}.{rank}.part").rename(folder / f"{job['name']}.{rank}.json")
"""
Outcome = subprocess.CompletedProcess[str]


def run_jobs(folder: Path, n_ranks: int, jobs: list[dict[str, Any]]) -> dict[str, Outcome]:
    """What each job would leave behind as a process: the exit code and all that the ranks printed."""
    folder.mkdir()
    (folder / "jobs.json").write_text(json.dumps(jobs))
    command = [str(MPIRUN), "-n", str(n_ranks), sys.executable, "-W", "error", "-c", JOBS, str(folder)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300, check=False)
    outcomes = {}
    for name in (job["name"] for job in jobs):
        paths = [folder / f"{name}.{rank}.json" for rank in range(n_ranks)]
        ranks = [json.loads(path.read_text()) for path in paths if path.exists()]
        if len(ranks) == n_ranks:
            codes = {rank["code"] for rank in ranks}
            assert len(codes) == 1, f"{name}: the ranks do not agree"
            printed = ("".join(rank[stream] for rank in ranks) for stream in ("out", "err"))
            outcomes[name] = subprocess.CompletedProcess(command, codes.pop(), *printed)
        else:  # 99: some have left, the others would wait for ever
            outcomes[name] = subprocess.CompletedProcess(command, done.returncode, done.stdout, done.stderr)
    return outcomes


VOLUMES: dict[str, dict[str, Any]] = {  # five slabs along the rotation axis
    "horizontal": {"completeness_cutoff": 0},
    "vertical": {"mode": "vertical", "grain_steps": [4, 6, 5], "tilt_frame": "lab"},
}
N_SLABS = 5


def volume_scan(name: str) -> Scan:
    return made_up_scan(seed=11).with_dtype("<f4" if name == "vertical" else "<u2")


@lru_cache
def volume_reference(name: str) -> dict[str, np.ndarray]:
    return reference.reconstruct({**BASE, **VOLUMES[name]}, volume_scan(name))


@dataclass(frozen=True)
class Bad:
    """A mistake of the user: what it does to the folder and the init file, and what the error must say."""

    spoil: Callable[[Path, dict[str, Any]], object]
    says: tuple[str, ...]


def without(*names: str) -> Callable[[Path, dict[str, Any]], object]:
    return lambda folder, keys: [keys.pop(name) for name in names]


def setting(**values: Any) -> Callable[[Path, dict[str, Any]], object]:
    return lambda folder, keys: keys.update(values)


def saved(name: str, array: Any) -> Callable[[Path, dict[str, Any]], object]:
    def save(folder: Path, keys: dict[str, Any]) -> None:
        with (folder / name).open("wb") as stream:
            np.save(stream, array)

    return save


def rewritten(name: str, change: Callable[[bytes], bytes]) -> Callable[[Path, dict[str, Any]], object]:
    return lambda folder, keys: (folder / name).write_bytes(change((folder / name).read_bytes()))


def code_in(key: str, quote: str = "") -> Callable[[Path, dict[str, Any]], object]:
    """Python that would leave a file, as it stands or as a quoted text."""

    def put(folder: Path, keys: dict[str, Any]) -> None:
        keys[key] = f"{quote}__import__('os').system('touch {folder / 'marker'}'){quote}"

    return put


def header(shape: str) -> Callable[[bytes], bytes]:
    """The 128 bytes of header of an .npy file with another shape."""
    text = f"{{'descr': '<u2', 'fortran_order': False, 'shape': {shape}, }}".encode()
    return lambda content: content[:10] + text.ljust(117) + b"\n" + content[128:]


SCAN = made_up_scan()
BAD = {
    "init-file-missing": Bad(lambda folder, keys: keys.clear(), ("init.txt", "no such init file")),
    **{
        f"{key}-missing": Bad(without(key), (f"key {key} is missing",)) for key in ("M", "path", "wavelength")
    },
    "all-keys-missing": Bad(without("unit_cell", "hkl"), ("key unit_cell is missing", "key hkl is missing")),
    "misspelt-key": Bad(setting(completness_cutoff=0.5), ("completness_cutoff", "completeness_cutoff?")),
    "code-as-path": Bad(code_in("path", '"'), ("__import__", "no such folder")),
    "code-as-text": Bad(code_in("M", '"'), ("M: '__import__", "not a number")),
    "code-as-number": Bad(code_in("M"), ("M: must be one value",)),
    "code-in-list": Bad(setting(hkl="[2,0,().__class__]"), ("hkl", "not a number")),
    "path-is-no-folder": Bad(setting(path="/no/such/folder"), ("/no/such/folder", "path")),
    "path-is-a-file": Bad(lambda f, keys: keys.update(path=f / "omega.npy"), ("omega.npy", "path")),
    "no-array": Bad(lambda f, keys: (f / "dataarray.npy").unlink(), ("dataarray.npy", "getdata")),
    "no-axis": Bad(lambda f, keys: (f / "tilt2.npy").unlink(), ("tilt2.npy", "no such file")),
    "axis-too-short": Bad(saved("omega.npy", SCAN.omega[1:]), ("omega.npy", "(9,)", "10 positions")),
    "axis-descending": Bad(saved("tilt1.npy", SCAN.tilt1[::-1]), ("tilt1.npy", "ascending")),
    "axis-repeats": Bad(saved("tilt2.npy", [1.0, 1.0, 2.0, 3.0]), ("tilt2.npy", "ascending")),
    "axis-nan": Bad(saved("omega.npy", [np.nan, *SCAN.omega[1:]]), ("omega.npy", "finite")),
    "array-cut-short": Bad(rewritten("dataarray.npy", lambda b: b[:-1]), ("dataarray.npy", "cut short")),
    "array-empty": Bad(rewritten("dataarray.npy", lambda b: b""), ("dataarray.npy",)),
    "array-is-text": Bad(rewritten("dataarray.npy", lambda b: b"tilt1 tilt2"), ("dataarray.npy",)),
    "four-dimensions": Bad(
        saved("dataarray.npy", SCAN.data[0]), ("dataarray.npy", "(4, 10, 23, 17)", "five")
    ),
    "six-dimensions": Bad(saved("dataarray.npy", SCAN.data[None]), ("dataarray.npy", "five axes")),
    "no-pixels": Bad(saved("dataarray.npy", SCAN.data[..., :0]), ("dataarray.npy", "shape")),
    "fortran-order": Bad(saved("dataarray.npy", np.asfortranarray(SCAN.data)), ("dataarray.npy", "C order")),
    "complex-array": Bad(saved("dataarray.npy", SCAN.data + 1j), ("dataarray.npy", "complex128")),
    "measured-wrong-shape": Bad(saved("measured.npy", np.ones((5, 4), bool)), ("measured.npy", "(5, 4)")),
    "nothing-measured": Bad(saved("measured.npy", np.zeros((5, 4, 10), bool)), ("measured.npy", "nothing")),
    "all-omegas-excluded": Bad(setting(omega_exclude=[[0, 360]]), ("omega_exclude",)),
    "info-not-json": Bad(lambda f, keys: (f / "getdata.json").write_text("{"), ("getdata.json", "JSON")),
    "lab-with-one-tilt": Bad(
        lambda f, keys: (write_scan(f, made_up_scan(n_tilts=(1, 5))), keys.update(tilt_frame="lab")),
        ("scan", "both tilts", "1 x 5"),
    ),
    "output-below-a-file": Bad(lambda f, keys: keys.update(output=f / "omega.npy/out"), ("omega.npy/out",)),
    "output-is-a-file": Bad(lambda f, keys: keys.update(output=f / "omega.npy"), ("omega.npy", "output")),
    "new-output-and-cut-short": Bad(
        lambda f, keys: (
            rewritten("dataarray.npy", lambda b: b[:-9])(f, keys),
            keys.update(output=f / "new"),
        ),
        ("cut short",),
    ),
    "axis-of-text": Bad(saved("tilt1.npy", list("abcde")), ("tilt1.npy",)),
    "axis-of-complex-numbers": Bad(saved("tilt1.npy", SCAN.tilt1 + 1j), ("tilt1.npy",)),
    "array-float16": Bad(saved("dataarray.npy", SCAN.data.astype("f2")), ("dataarray.npy", "float16")),
    "array-header-broken": Bad(rewritten("dataarray.npy", header("((5,")), ("dataarray.npy",)),
    "array-header-absurd": Bad(
        rewritten("dataarray.npy", header(f"(5,4,10,23,{10**20})")), ("dataarray.npy",)
    ),
    "info-is-a-list": Bad(lambda f, keys: (f / "getdata.json").write_text("[1]"), ("getdata.json",)),
    "info-tilt-frame-unknown": Bad(
        lambda f, keys: (f / "getdata.json").write_text('{"tilt_frame": "labor"}'), ("labor",)
    ),
}
BAD_NAMES = list(BAD)
FAULTS = (0, 10, 100)  # frames read: at once, in the first look, when the sums are made
RESULTS = ("grain_ang.npy", "grain.vtkhdf", "report.html")


def listing(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


def make_bad_folder(folder: Path, bad: Bad) -> list[str]:
    """A folder whose init file or scan is spoilt; returns its files."""
    write_scan(folder, SCAN)
    keys = {**BASE, "path": folder}
    bad.spoil(folder, keys)
    if keys:
        write_init(folder / "init.txt", keys)
    return listing(folder)


class Runs:
    """What all tests of many ranks share: one start of MPI for each number of them, when first asked for."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        for name, keys in VOLUMES.items():
            write_scan(folder / name, volume_scan(name))
            run_in_process(folder / name, {**BASE, **keys})
        self.before = {name: make_bad_folder(folder / name, bad) for name, bad in BAD.items()}
        write_scan(folder / "faults", SCAN)
        write_init(folder / "faults/init.txt", {**BASE, "path": folder / "faults"})
        for name in RESULTS:
            (folder / "faults" / name).write_bytes(b"an older result")
        self._outcomes: dict[int, dict[str, Outcome]] = {}

    def outcome(self, n_ranks: int, name: str) -> Outcome:
        """Of a volume, a bad input or, on three ranks, a fault."""
        if n_ranks not in self._outcomes:
            jobs = self._jobs(n_ranks)
            self._outcomes[n_ranks] = run_jobs(self.folder / f"jobs-{n_ranks}", n_ranks, jobs)
        return self._outcomes[n_ranks][name]

    def _jobs(self, n_ranks: int) -> list[dict[str, Any]]:
        jobs: list[dict[str, Any]] = []
        if n_ranks in (1, 3):
            jobs += [{"name": name, "init": str(self.folder / name / "init.txt")} for name in BAD]
        if n_ranks == 3:
            init = str(self.folder / "faults/init.txt")
            jobs += [{"name": f"fault-{n}", "init": init, "fault": n} for n in FAULTS]
        for name, keys in VOLUMES.items():  # the last: failures before them leave nothing behind
            output = self.folder / f"{name}-{n_ranks}"
            init = self.folder / f"{name}-{n_ranks}.txt"
            write_init(init, {**BASE, **keys, "path": self.folder / name, "output": output})
            jobs.append({"name": name, "init": str(init)})
        return jobs


@pytest.fixture(scope="module")
def runs(tmp_path_factory) -> Runs:
    return Runs(tmp_path_factory.mktemp("runs"))


ON_RANKS = [(name, n_ranks) for name in VOLUMES for n_ranks in (1, 2, 3, 10)]


@pytest.mark.parametrize("name", VOLUMES)
def test_serial_volume_is_right(name, runs):
    """What the runs on many ranks are compared with is what the reference says."""
    assert_same(read_result(runs.folder / name), volume_reference(name))


@pytest.mark.parametrize(("name", "n_ranks"), ON_RANKS)
def test_same_bytes_on_any_number_of_ranks(name, n_ranks, runs):
    outcome = runs.outcome(n_ranks, name)
    assert (outcome.returncode, outcome.stderr) == (0, "")
    output = runs.folder / f"{name}-{n_ranks}"
    serial, parallel = runs.folder / name, output
    assert (parallel / "grain_ang.npy").read_bytes() == (serial / "grain_ang.npy").read_bytes()
    assert {str(output / name) for name in RESULTS[:2]} <= set(outcome.stdout.splitlines())
    assert set(RESULTS[:2]) <= set(listing(output))
    assert not list(output.glob(".*"))
    one, other = read_result(serial), read_result(parallel)
    for field, values in one.items():
        np.testing.assert_array_equal(values, other[field], err_msg=field)


@pytest.mark.parametrize(("name", "n_ranks"), [case for case in ON_RANKS if case[1] > 1])
def test_mistake_5_left_over_slabs_and_idle_ranks(name, n_ranks, runs):
    """Five slabs on two and three ranks leave some over; on ten, half of the ranks have none."""
    assert N_SLABS % n_ranks != 0
    assert runs.outcome(n_ranks, name).returncode == 0
    ang = np.load(runs.folder / f"{name}-{n_ranks}" / "grain_ang.npy")
    slabs = np.moveaxis(ang, 0 if name == "horizontal" else 2, 0)
    assert len(slabs) == N_SLABS
    assert all(np.isfinite(slab[..., 0]).any() and (slab[..., 2] > 0).any() for slab in slabs)


@pytest.mark.parametrize("n_ranks", [1, 2, 3, 10])
def test_mistake_6_the_first_element_is_a_voxel_like_any_other(n_ranks, runs):
    """Neither voxel [0, 0, 0] nor the first of a slab depends on the ranks, and the array is only read."""
    assert runs.outcome(n_ranks, "horizontal").returncode == 0
    expected = volume_reference("horizontal")
    ang = np.load(runs.folder / f"horizontal-{n_ranks}" / "grain_ang.npy")
    np.testing.assert_allclose(ang[:, 0, 0, 0], expected["tilt1"][:, 0, 0], rtol=0, atol=2e-5)
    np.testing.assert_allclose(ang[:, 0, 0, 1], expected["tilt2"][:, 0, 0], rtol=0, atol=2e-5)
    data = np.load(runs.folder / "horizontal" / "dataarray.npy")
    np.testing.assert_array_equal(data, volume_scan("horizontal").data)


def test_the_script_prints_the_paths_and_five_lines(runs, run):
    """As a user starts it, on three ranks."""
    init = write_init(
        runs.folder / "script.txt",
        {
            **BASE,
            **VOLUMES["horizontal"],
            "path": runs.folder / "horizontal",
            "output": runs.folder / "script",
        },
    )
    done = run("recon3d.py", init, ranks=3)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    paths = [line for line in lines if line.startswith(str(runs.folder / "script"))]
    assert {Path(path).name for path in paths} >= set(RESULTS)
    assert all(Path(path).is_file() for path in paths)
    assert lines[: len(paths)] == paths
    assert len(lines) == len(paths) + 5
    assert "voxels" in done.stderr
    assert "arning" not in done.stderr
    whole = (runs.folder / "horizontal" / "grain_ang.npy").read_bytes()
    assert (runs.folder / "script" / "grain_ang.npy").read_bytes() == whole


# ---- Bad input ----


def check_failure(name: str, outcome: Outcome, folder: Path, before: list[str]) -> None:
    """One line that says what it must, and nothing left behind."""
    line = error_line(outcome, "recon3d")
    assert outcome.stderr.splitlines() == [line]
    for words in BAD[name].says:
        assert words in line
    assert listing(folder) == before
    assert not any("grain" in path or path.endswith(".part") for path in before)


@pytest.mark.parametrize("name", BAD_NAMES)
def test_bad_input_serial(name, tmp_path, capsys):
    before = make_bad_folder(tmp_path, BAD[name])
    code = cli.recon3d([str(tmp_path / "init.txt"), "--quiet"], SerialComm())
    printed = capsys.readouterr()
    outcome = subprocess.CompletedProcess([], code, printed.out, printed.err)
    check_failure(name, outcome, tmp_path, before)


@pytest.mark.parametrize("n_ranks", [1, 3])
@pytest.mark.parametrize("name", BAD_NAMES)
def test_bad_input_on_ranks(name, n_ranks, runs):
    check_failure(name, runs.outcome(n_ranks, name), runs.folder / name, runs.before[name])


@pytest.mark.parametrize("ranks", [None, 3])
def test_bad_input_as_a_user_sees_it(ranks, tmp_path, run):
    """The exit code of the script itself."""
    before = make_bad_folder(tmp_path, BAD["array-cut-short"])
    outcome = run("recon3d.py", tmp_path / "init.txt", ranks=ranks)
    check_failure("array-cut-short", outcome, tmp_path, before)


def test_no_init_file_is_a_mistake_of_usage(capsys):
    assert cli.recon3d([], SerialComm()) == 2
    assert "initfile" in capsys.readouterr().err


# ---- A failure leaves an older result as it was ----


@pytest.mark.parametrize("fault", FAULTS)
def test_a_rank_that_fails_in_the_middle_ends_all(fault, runs):
    """Rank 2 of 3 fails; all stop with its error, and the result of an earlier run is still there."""
    line = error_line(runs.outcome(3, f"fault-{fault}"), "recon3d")
    assert "Input/output error" in line
    for name in RESULTS:
        assert (runs.folder / "faults" / name).read_bytes() == b"an older result"
    assert not list((runs.folder / "faults").glob(".*"))


@pytest.mark.parametrize("fails", [(ArrayFile, "read_columns"), (volume, "write"), (np, "save")])
def test_older_result_survives_a_failure(fails, tmp_path, monkeypatch, capsys):
    write_scan(tmp_path, SCAN)
    init = write_init(tmp_path / "init.txt", {**BASE, "path": tmp_path})
    for name in RESULTS:
        (tmp_path / name).write_bytes(b"an older result")
    before = listing(tmp_path)

    def fail(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(*fails, fail)
    assert cli.recon3d([str(init), "--quiet"], SerialComm()) == 1
    assert capsys.readouterr().err == "recon3d: error: [Errno 28] No space left on device\n"
    assert listing(tmp_path) == before
    for name in RESULTS:
        assert (tmp_path / name).read_bytes() == b"an older result"


def test_older_result_survives_when_the_second_file_cannot_be_renamed(tmp_path):
    write_scan(tmp_path, SCAN)
    init = write_init(tmp_path / "init.txt", {**BASE, "path": tmp_path})
    (tmp_path / "grain_ang.npy").write_bytes(b"an older result")
    (tmp_path / "grain.vtkhdf").mkdir()
    assert cli.recon3d([str(init), "--quiet"], SerialComm()) == 1
    assert (tmp_path / "grain_ang.npy").read_bytes() == b"an older result"


HANG = """
import os, sys, threading
from mpi4py import MPI
from lib import cli

class Comm:
    def __getattr__(self, name):
        return getattr(MPI.COMM_WORLD, name)
    def Send(self, *_, **__):
        raise MemoryError("not enough memory")
comm = Comm() if MPI.COMM_WORLD.rank == 1 else MPI.COMM_WORLD
threading.Timer(40.0, os._exit, [99]).start()
code = cli.recon3d([sys.argv[1], "--quiet"], comm)
MPI.Finalize()
os._exit(code)
"""


def test_a_rank_that_fails_while_the_slabs_are_gathered_ends_all(tmp_path):
    write_scan(tmp_path, SCAN)
    init = write_init(tmp_path / "init.txt", {**BASE, "path": tmp_path})
    command = [str(MPIRUN), "-n", "2", sys.executable, "-c", HANG, str(init)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=90, check=False)
    assert done.returncode == 1, "99 is the watchdog that ends ranks which wait for ever"
    assert done.stderr.count("recon3d: error: ") == 1
