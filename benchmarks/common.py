"""What the benchmarks share: init files, processes measured from outside, a table."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path

INIT = "init.txt"
ROOT = Path(__file__).resolve().parent.parent
MPIRUN = Path(sys.executable).with_name("mpirun")


def paper_keys() -> dict[str, object]:
    """Keys of a volume of 101^3 voxels that fills the ROI of the paper's scan."""
    return {
        "unit_cell": "[4.0495,4.0495,4.0495,90,90,90]",
        "hkl": "[2,0,0]",
        "wavelength": 0.7293,
        "M": 300 / 22.0,
        "mode": "horizontal",
        "tilt_frame": "sample",
        "grain_dim": "[20,20,20]",
        "grain_steps": "[101,101,101]",
        "completeness_cutoff": 0.7,
        "method": "backprojection",
    }


def write_init(path: Path, data: Path, keys: Mapping[str, object], **more: object) -> Path:
    """Write an init file for the array in `data`."""
    lines = [f"{key}  {value}" for key, value in {"path": data, **keys, **more}.items()]
    path.write_text("\n".join(lines) + "\n")
    return path


def table(head: list[str], rows: list[list[str]]) -> str:
    """A Markdown table."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def best(call: Callable[[], object], repeats: int = 5) -> float:
    """Shortest of some runs, in seconds of CPU (others may use the machine)."""
    times = []
    for _ in range(repeats):
        start = time.process_time()
        call()
        times.append(time.process_time() - start)
    return min(times)
