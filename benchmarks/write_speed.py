"""Writing a large result: time, and peak memory of rank 0, on one rank and on more.

python -m benchmarks.write_speed [--voxels 300] [--ranks 1,2] [--results grain,full] [--write-in DIR] [--page]

The result is synthetic. `grain`: fields as of mlem, an ellipsoid that fills a sixth of the volume in a hull
that fills a quarter. `full`: every voxel has a value, as of backprojection with cutoff 0. Values are smooth
and noisy, so that the low bytes of the numbers are as random as measured ones.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from lib.checks.trust import Checks
from lib.initfile.parse import from_keys
from lib.parallel.communicator import world
from lib.parallel.crew import Crew, help_out
from lib.result import files
from lib.scan.gather import Result
from lib.scan.setting import Setting, prepare
from lib.scan.store import scan_of_arrays

from .common import MPIRUN, ROOT, paper_keys, table

_SEMI_AXES = {"mask": 0.68, "hull": 0.78}  # of half the volume; the cube times pi / 6 is the share


def make_setting(n: int, folder: Path, method: str) -> Setting:
    """Of a volume of n^3 voxels and a scan that is as small as can be."""
    keys = paper_keys() | {"grain_steps": [n, n, n], "method": method, "path": str(folder)}
    keys |= {key: json.loads(str(keys[key])) for key in ("unit_cell", "hkl", "grain_dim")}
    images = np.random.default_rng(1).poisson(20.0, (3, 3, 8, 16, 16)).astype(np.uint16)
    axes = {"tilt1": [-0.1, 0, 0.1], "tilt2": [-0.1, 0, 0.1], "omega": np.arange(8) * 45.0}
    return prepare(from_keys(keys, "benchmark"), scan_of_arrays(images, axes, None))


def make_result(n: int, full: bool) -> Result:
    """The result of n^3 voxels, see above."""
    rng = np.random.default_rng(2)
    line = np.linspace(-1.0, 1.0, n)
    radius = np.sqrt(line[:, None, None] ** 2 + line[:, None] ** 2 + line**2)
    mask = radius < (2.0 if full else _SEMI_AXES["mask"])
    hull = radius < (2.0 if full else _SEMI_AXES["hull"])
    del radius
    wave = np.sin(3.0 * line)[:, None, None] * np.cos(2.0 * line)[:, None] + 0.3 * line

    def field(low: float, size: float, inside: np.ndarray, outside: float) -> np.ndarray:
        values = np.full(mask.shape, outside)
        values[inside] = low + size * (wave[inside] + 0.02 * rng.standard_normal(int(inside.sum())))
        return values

    names = ("tilt1", "tilt2", "tilt1_std", "tilt2_std") + (() if full else ("tilt_correlation",))
    fields = {name: field(0.5, 0.05, mask, np.nan) for name in names}
    fields["intensity"] = field(1e3, 50.0, hull, 0.0)
    fields["completeness"] = np.rint(field(113, 20.0, hull, 0.0)) / 226
    if not full:
        fields["peaks"] = np.where(mask, 1.0, np.nan)
    found = {"misfit": [1.1], "n_iterations": 1, "hull_share": 0.25, "gain": 1.0, "dark_noise_counts": 2.0}
    facts = {} if full else found
    return Result(fields, mask, facts)


def one(n: int, kind: str, folder: Path, page: bool) -> str:
    """Write once, on the ranks that there are; returns what it took as JSON on rank 0."""
    comm = world()
    setting = make_setting(n, folder, "backprojection" if kind == "full" else "mlem")
    if comm.rank != 0:
        cpu = time.process_time()
        help_out(comm)
        comm.gather(time.process_time() - cpu)
        return ""
    result = files.with_cells(setting, make_result(n, kind == "full"))
    values = sum(v.nbytes for v in result.fields.values()) + result.mask.nbytes + 8 * n**3  # and kam
    _forget_peak()
    start, cpu = time.monotonic(), time.process_time()
    with Crew(comm) as crew:
        files.write(setting, result, Checks(), {"volume": "synthetic"}, crew, report=page)
    took = time.monotonic() - start
    facts = {"seconds": took, "cpu": comm.gather(time.process_time() - cpu), "result": values}
    sizes = {p.name: p.stat().st_size for p in folder.iterdir()}
    return json.dumps(facts | {"peak": _peak(), "sizes": sizes})


def _forget_peak() -> None:
    """Let the peak be that of what comes, not of making the result."""
    Path("/proc/self/clear_refs").write_text("5")


def _peak() -> int:
    """Peak resident memory in bytes."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return 1024 * next(int(line.split()[1]) for line in lines if line.startswith("VmHWM"))


def main(arguments: list[str] | None = None) -> str:
    """Measure; returns the table."""
    parser = argparse.ArgumentParser(description="Time and memory of writing a large result.")
    parser.add_argument("--voxels", type=int, default=300, help="along each axis")
    parser.add_argument("--ranks", default="1,2")
    parser.add_argument("--results", default="grain,full")
    parser.add_argument("--page", action="store_true", help="with report.html")
    parser.add_argument(
        "--write-in", help="on the file system to measure (default: the system's temporary one)"
    )
    parser.add_argument("--one", metavar="KIND", help=argparse.SUPPRESS)
    options, _ = parser.parse_known_args(arguments)  # other sections have options of their own
    if options.one:
        return one(options.voxels, options.one, Path(options.write_in), options.page)
    rows = []
    for kind in options.results.split(","):
        for ranks in options.ranks.split(","):
            with tempfile.TemporaryDirectory(dir=options.write_in) as folder:
                command = [sys.executable, "-m", "benchmarks.write_speed", "--voxels", str(options.voxels)]
                command += ["--one", kind, "--write-in", folder] + ["--page"] * options.page
                launch = [str(MPIRUN), "-n", ranks] if ranks != "1" else []
                ran = subprocess.run([*launch, *command], cwd=ROOT, capture_output=True, text=True)
                if ran.returncode:
                    raise SystemExit(ran.stderr)
                facts = json.loads(ran.stdout)
            size = sum(facts["sizes"].values())
            rows.append([kind, ranks, f"{facts['seconds']:.1f}"])
            rows[-1].append(", ".join(f"{cpu:.1f}" for cpu in facts["cpu"]))
            rows[-1] += [f"{facts[key] / 1e9:.2f}" for key in ("result", "peak")] + [f"{size / 1e9:.2f}"]
    return table(["result", "ranks", "s", "CPU s of each", "result GB", "peak GB", "files GB"], rows) + "\n"


if __name__ == "__main__":
    print(main())
