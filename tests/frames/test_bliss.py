"""BLISS HDF5 files: entries, cameras, motors of every kind, aborted scans, missing parts."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import h5py
import hdf5plugin
import numpy as np
import pytest

from lib import cli
from lib.errors import Recon3DError
from lib.frames import bliss
from lib.frames.entries import find_entries
from lib.frames.pixels import Roi
from lib.parallel.communicator import SerialComm
from tests.scans import write_bliss

ROI = Roi(2, 1, 5, 4)
N1, N2 = 3, 4


def image(seed: int, n: int = N1 * N2) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 5000, (n, 9, 11), dtype=np.uint16)


def mosaicity(omega: float, seed: int, n: int = N1 * N2) -> dict[str, Any]:
    """A scan of chi and diffry at one omega, read back from encoders with jitter."""
    rng = np.random.default_rng(seed)
    chi, diffry = np.divmod(np.arange(N1 * N2), N2)
    jitter = rng.normal(0.0, 1e-3, (2, N1 * N2))
    scanned = {"diffry": 7.12 + 0.06 * diffry + jitter[0], "chi": -0.58 + 0.08 * chi + jitter[1]}
    return {"image": image(seed, n), "scanned": scanned, "fixed": {"omega": omega, "obx": 50.0}}


def run(path: Path, names: str, out: Path, *options: str, roles: bool = True) -> int:
    motors = ["--tilt1", "chi", "--tilt2", "diffry", "--omega", "omega"] if roles else []
    arguments = [path, names, "-", "-", "4,3", "5,4", out.parent, out.name, "--quiet", *motors, *options]
    return cli.getdata([str(a) for a in arguments], SerialComm())


def write_three(path: Path, **storage: Any) -> None:
    entries = {f"{k + 1}.1": mosaicity(10.0 * k, k) for k in range(3)}
    write_bliss(
        path,
        {**entries, "1.2": {"scanned": {"epoch": np.arange(40.0)}}, "10.1": mosaicity(99.0, 9)},
        **storage,
    )


STORAGES: list[dict[str, Any]] = [
    {},
    {"chunks": (1, 9, 11)},
    {"chunks": (5, 3, 4), "compression": "gzip"},
    {"chunks": (1, 9, 11), **hdf5plugin.Bitshuffle()},
]


@pytest.mark.parametrize("storage", STORAGES, ids=["contiguous", "frames", "gzip", "bitshuffle"])
def test_pixels_are_those_of_the_file(tmp_path: Path, storage: dict[str, Any]) -> None:
    write_three(tmp_path / "scan.h5", **storage)
    assert run(tmp_path / "scan.h5", "1.1-3.1", tmp_path / "out", "--no-report") == 0
    array = np.load(tmp_path / "out" / "dataarray.npy")
    assert array.shape == (N1, N2, 3, 5, 4)
    for k in range(3):
        expected = image(k).reshape(N1, N2, 9, 11)[:, :, 1:5, 2:7]
        np.testing.assert_array_equal(array[:, :, k], expected.swapaxes(-1, -2))
    np.testing.assert_allclose(np.load(tmp_path / "out" / "omega.npy"), [0.0, 10.0, 20.0])
    np.testing.assert_allclose(
        np.load(tmp_path / "out" / "tilt1.npy"), -0.58 + 0.08 * np.arange(N1), atol=2e-3
    )
    info = json.loads((tmp_path / "out" / "getdata.json").read_text())
    assert info["ring_current_ma"] == [195.2, 195.2]
    assert info["n_files"] == 3


@pytest.mark.parametrize("ranks", [2, 5])
def test_ranks_agree(tmp_path: Path, run: Any, ranks: int) -> None:
    """More ranks than entries, and frames in chunks of five."""
    write_three(tmp_path / "scan.h5", chunks=(5, 3, 4), compression="gzip")
    motors = ["--tilt1", "chi", "--tilt2", "diffry", "--omega", "omega"]
    files = [tmp_path / "scan.h5", "1.1-3.1", "-", "-", "4,3", "5,4", tmp_path]
    result = run("getdata.py", *files, f"out{ranks}", *motors, "--no-report", ranks=ranks)
    assert result.returncode == 0, result.stderr
    array = np.load(tmp_path / f"out{ranks}" / "dataarray.npy")
    expected = np.stack([image(k).reshape(N1, N2, 9, 11)[:, :, 1:5, 2:7] for k in range(3)], axis=2)
    np.testing.assert_array_equal(array, expected.swapaxes(-1, -2))


def test_names_of_entries(tmp_path: Path) -> None:
    write_three(tmp_path / "scan.h5")

    def entries(names: str, path: Path = tmp_path) -> list[str]:
        return [unit.rpartition("::")[2] for unit in find_entries(str(path), names)]

    assert entries("1.1", tmp_path / "scan.h5") == ["1.1"]  # not 10.1, not 1.2
    assert entries("1.1,3.1") == ["1.1", "3.1"]
    assert entries("2.1-10.1") == ["2.1", "3.1", "10.1"]
    assert entries("*") == ["1.1", "2.1", "3.1", "10.1"]  # 1.2 has no frames
    with pytest.raises(Recon3DError, match=r"no entry '7.1' with frames; the file holds 1.1, 1.2, 2.1"):
        entries("7.1")


def test_two_cameras_need_a_choice(tmp_path: Path) -> None:
    path = tmp_path / "scan.h5"
    write_bliss(path, {"1.1": mosaicity(0.0, 0)})
    with h5py.File(path, "a") as root:
        root["1.1/instrument/basler/image"] = image(3)
        root["1.1/measurement/pco_ff"] = h5py.SoftLink("/1.1/instrument/pco_ff/image")
    with pytest.raises(Recon3DError, match="holds frames of basler, pco_ff; choose one with --camera"):
        bliss.read_entry(f"{path}::1.1")
    assert bliss.read_entry(f"{path}::1.1", "basler")[0][0].dataset == "/1.1/instrument/basler/image"
    with pytest.raises(Recon3DError, match="has no camera 'eiger'"):
        bliss.read_entry(f"{path}::1.1", "eiger")


def test_frames_in_the_measurement_group(tmp_path: Path) -> None:
    path = tmp_path / "scan.h5"
    entry = mosaicity(0.0, 0)
    frames = entry.pop("image")
    write_bliss(path, {"1.1": entry})
    with h5py.File(path, "a") as root:
        root["1.1/measurement/eiger"] = frames
    found = bliss.read_entry(f"{path}::1.1")
    assert len(found) == N1 * N2
    reader = bliss.RoiReader(ROI)
    np.testing.assert_array_equal(reader.read(found[7][0]), frames[7, 1:5, 2:7])


def test_aborted_scan(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """More frames than positions is an error that says so; --skip-bad does without those frames."""
    entries = {f"{k + 1}.1": mosaicity(10.0 * k, k) for k in range(2)}
    for motor in entries["2.1"]["scanned"]:
        entries["2.1"]["scanned"][motor] = entries["2.1"]["scanned"][motor][:-2]
    write_bliss(tmp_path / "scan.h5", entries)
    assert run(tmp_path / "scan.h5", "*", tmp_path / "out") == 1
    message = capsys.readouterr().err
    assert "has no number for one of the motors chi, diffry, omega" in message
    assert "2 bad files" in message
    assert run(tmp_path / "scan.h5", "*", tmp_path / "out", "--skip-bad", "--no-report") == 0
    assert np.load(tmp_path / "out" / "measured.npy").sum() == 2 * N1 * N2 - 2


def test_fewer_frames_than_positions(tmp_path: Path) -> None:
    write_bliss(tmp_path / "scan.h5", {"1.1": mosaicity(0.0, 0, n=10)})
    frames = bliss.read_entry(f"{tmp_path / 'scan.h5'}::1.1")
    assert len(frames) == 10
    assert np.isfinite([motors["chi"] for _, motors in frames]).all()


def test_missing_part_of_a_virtual_dataset_is_an_error_not_zeros(tmp_path: Path) -> None:
    path, part = tmp_path / "scan.h5", tmp_path / "pco_0000.h5"
    entry = mosaicity(0.0, 0)
    frames = entry.pop("image")
    write_bliss(path, {"1.1": entry})
    with h5py.File(part, "w") as root:
        root["frames"] = frames
    layout = h5py.VirtualLayout(frames.shape, frames.dtype)
    layout[:] = h5py.VirtualSource(part.name, "frames", frames.shape)
    with h5py.File(path, "a") as root:
        root["1.1/instrument"].create_group("pco_ff").create_virtual_dataset("image", layout)
    unit = f"{path}::1.1"
    info = bliss.read_entry(unit)[3][0]
    np.testing.assert_array_equal(bliss.RoiReader(ROI).read(info), frames[3, 1:5, 2:7])
    part.unlink()
    with pytest.raises(Recon3DError, match=r"1 of the files with its frames are missing: pco_0000.h5"):
        bliss.read_entry(unit)


def test_what_is_no_hdf5_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "scan.h5").write_bytes(b"torn")
    assert run(tmp_path / "scan.h5", "1.1", tmp_path / "out") == 1
    assert "scan.h5: cannot be read as HDF5" in capsys.readouterr().err
    assert run(tmp_path / "gone.h5", "1.1", tmp_path / "out") == 1
    assert "gone.h5: no such file" in capsys.readouterr().err


def test_auto_lists_the_motors_that_move(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_three(tmp_path / "scan.h5")
    assert run(tmp_path / "scan.h5", "1.1-3.1", tmp_path / "out", roles=False) == 1
    assert "diffry 7.1193..7.30095, omega 0..20; name them with --tilt1" in capsys.readouterr().err
