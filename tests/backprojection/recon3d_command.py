"""recon3d.py run on a scan in a folder, the fields of its result, and a comparison with reference.py."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from lib import cli
from lib.parallel.communicator import SerialComm
from tests.backprojection import reference
from tests.backprojection.reference import AL, Scan, write_init, write_scan

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
RESULTS = ("grain_ang.npy", "grain.vtkhdf", "report.html")
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
