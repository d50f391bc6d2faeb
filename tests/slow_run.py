"""A run of getdata that takes long enough to be killed, interrupted, or met by another one."""

from __future__ import annotations

import subprocess
import time
from pathlib import Path

import numpy as np

from tests.running import processes_with, start
from tests.scans import NAMES, arguments


def slow_scan(folder: Path) -> None:
    """A scan whose cleaning takes seconds, in one file."""
    folder.mkdir()
    rng = np.random.default_rng(0)
    content = b""
    for n in range(90):
        frame = rng.poisson(100.0, (400, 400)).astype("<u2")
        head = "{\nByteOrder = LowByteFirst ;\nDataType = UnsignedShort ;\nDim_1 = 400 ;\nDim_2 = 400 ;\n"
        head += f"Size = {frame.nbytes} ;\nImage = {n} ;\nmotor_mne = {' '.join(NAMES)} ;\n"
        head += f"motor_pos = {n % 3 * 0.03} {n // 3 % 3 * 0.03} {n // 9 * 0.8} ;\n"
        content += (head.ljust(510) + "}\n").encode() + frame.tobytes()
    (folder / "scan_0.edf").write_bytes(content)


def launch(folder: Path, out: Path, ranks: int | None) -> subprocess.Popen[str]:
    """Start getdata on that scan; returns once it is among its frames."""
    options = arguments(folder, out, "--hot-pixels", "6", "--no-report", poi="200,200", size="400,400")
    process = start("getdata.py", *options, ranks=ranks)
    array = out.with_name(f".{out.name}.part") / "dataarray.npy"
    end = time.monotonic() + 60.0
    while not (array.exists() and array.read_bytes()[128:].strip(b"\0")):  # more than a header and zeros
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < end
        time.sleep(0.01)
    return process


def ranks_of(out: Path) -> list[int]:
    """Process numbers of the ranks that write `out`."""
    return processes_with(out.name, out.parent)
