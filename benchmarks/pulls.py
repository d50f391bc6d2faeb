"""Whether the stated errors agree with the actual ones, and what the misfit says: python -m benchmarks.pulls.

Phantoms that share no code with lib/, reconstructed with nothing given but the method: the scans of
benchmarks/phantoms.py with the faults of real ones, and those of tests/phantoms.py. Pull is error over stated
error, its width taken from the median, so 1 where they agree; all of them for tilt1, tilt2.
    [--keep FOLDER] for the scans with faults   [name ...] how the names of the rows begin that are wanted
"""

from __future__ import annotations

import argparse
import re
import resource
import subprocess
import sys
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np

from benchmarks import phantoms as scans
from benchmarks.common import ROOT, table
from lib.api import load
from lib.result.volume import Volume

sys.path.insert(0, str(ROOT / "tests"))
from tests import phantoms  # noqa: E402 - after its folder

_N = 56  # voxels to a side of the scans with faults


def flat(r: np.ndarray) -> np.ndarray:
    """One orientation."""
    return np.broadcast_to([0.013, -0.021], (*r.shape[:-1], 2))


def bent(r: np.ndarray) -> np.ndarray:
    """Bent all over, up to 0.02 degrees per micrometre."""
    x, y, z = np.moveaxis(r, -1, 0)
    return np.stack([0.012 * y + 0.004 * x - 0.003 * z, 0.01 * x - 0.006 * z + 0.015 * np.sin(y)], axis=-1)


Scan = tuple[list[str], Callable[[], phantoms.Case]]  # what it is, and how it is made
CRYSTALS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "four subgrains": phantoms.four_subgrains,
    "two, one bent": phantoms.orientation,
    "bent": bent,
    "one orientation": flat,
}


def mosaicity(
    crystal: str,
    counts: float = 200.0,
    n: int = 40,
    steps: tuple[float, float] = (phantoms.ROCK / phantoms.STEP, phantoms.ROLL / phantoms.STEP),
    **more: str,
) -> Scan:
    """7 x 7 tilts, 60 omegas; steps are the widths of the resolution in steps of the scan."""
    place = "".join(f", {value}" for value in more.values())
    widths = (steps[0] * phantoms.STEP, steps[1] * phantoms.STEP)
    case = partial(
        phantoms.make,
        peak_counts=counts,
        n=n,
        n_tilts=7,
        n_omega=60,
        crystal=CRYSTALS[crystal],
        widths=widths,
        **more,
    )
    return [
        f"mosaicity, {steps[0]:g} x {steps[1]:g}{place}",
        crystal,
        f"{counts:.0f}",
        str(n),
        f"{phantoms.STEP}",
    ], case


def rocking(
    crystal: str,
    counts: float = 200.0,
    n: int = 40,
    step: float = 0.035,
    turn: float = 360.0,
    mode: str = "horizontal",
) -> Scan:
    """11 positions, 120 omegas."""
    case = partial(
        phantoms.make_line_scan,
        "rocking",
        mode,
        counts,
        n,
        11,
        120,
        turn,
        step=step,
        crystal=CRYSTALS[crystal],
    )
    return [f"rocking, {turn:.0f} deg, {mode}", crystal, f"{counts:.0f}", str(n), f"{step}"], case


def strain(counts: float = 200.0, step: float = 0.0042, mode: str = "horizontal") -> Scan:
    """13 positions of 2theta or more, 60 omegas; steps of 2theta."""
    n_positions = max(13, 2 * round(0.015 / step) + 1)
    case = partial(phantoms.make_line_scan, "strain", mode, counts, 40, n_positions, 60, step=step)
    return [f"strain, {mode}", "gradient of strain", f"{counts:.0f}", "40", f"{step}"], case


SCANS: list[Callable[[], Scan]] = [
    lambda: mosaicity("four subgrains", 40),
    lambda: mosaicity("four subgrains"),
    lambda: mosaicity("four subgrains", 1000),
    lambda: mosaicity("four subgrains", n=56),
    lambda: mosaicity("two, one bent", 40),
    lambda: mosaicity("two, one bent"),
    lambda: mosaicity("two, one bent", 1000),
    lambda: mosaicity("two, one bent", n=24),
    lambda: mosaicity("two, one bent", frame="lab"),
    lambda: mosaicity("two, one bent", mode="vertical"),
    lambda: mosaicity("bent"),
    lambda: mosaicity("one orientation"),
    lambda: mosaicity("four subgrains", steps=(0.5, 1.5)),
    lambda: mosaicity("two, one bent", steps=(0.5, 1.5)),
    lambda: mosaicity("one orientation", steps=(0.5, 1.5)),
    lambda: mosaicity("four subgrains", steps=(0.5, 1.5), frame="lab"),
    lambda: mosaicity("four subgrains", steps=(0.7, 1.1)),
    lambda: mosaicity("four subgrains", steps=(1.4, 2.2)),
    lambda: mosaicity("four subgrains", steps=(0.9, 0.9)),
    lambda: mosaicity("two, one bent", steps=(0.9, 0.9)),
    lambda: mosaicity("two, one bent", steps=(0.5, 0.5)),
    lambda: rocking("four subgrains", 40),
    lambda: rocking("four subgrains"),
    lambda: rocking("four subgrains", 1000),
    lambda: rocking("four subgrains", n=24),
    lambda: rocking("four subgrains", n=56),
    lambda: rocking("four subgrains", step=0.02),
    lambda: rocking("four subgrains", mode="vertical"),
    lambda: rocking("four subgrains", turn=180.0),
    lambda: rocking("two, one bent"),
    lambda: rocking("bent"),
    lambda: rocking("one orientation"),
    lambda: strain(40),
    lambda: strain(),
    lambda: strain(1000),
    lambda: strain(step=0.0021),
    lambda: strain(mode="vertical"),
]


def reconstructed(init: Path) -> tuple[Volume, float, int]:
    """What recon3d.py makes of it on one rank, its CPU seconds, and of how many things it warned."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    command = [sys.executable, str(ROOT / "recon3d.py"), "--quiet", "--no-report", str(init)]
    subprocess.run(command, check=True, capture_output=True, text=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    grain = load(init.parent / "grain.vtkhdf")
    return grain, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, len(grain.warnings)


def judged(error: np.ndarray, std: np.ndarray, step: float) -> list[str]:
    """Median error in steps, widths of the errors, of what is stated, pulls and the share of them below 2.

    error and std (n, 2) in degrees; a tilt without a stated error does not count.
    """
    known = np.isfinite(std).any(axis=0)
    error, std = error[:, known], std[:, known]
    pull = np.abs(error / std)
    width, widths = 1.4826 * np.median(np.abs(error), axis=0) / step, 1.4826 * np.median(pull, axis=0)
    return [
        f"{np.median(np.linalg.norm(error, axis=1)) / step:.3f}",
        ", ".join(f"{v:.3f}" for v in width),
        ", ".join(f"{v:.3f}" for v in np.median(std, axis=0) / step),
        ", ".join(f"{v:.2f}" for v in widths),
        ", ".join(f"{v:.0%}" for v in np.mean(pull < 2, axis=0)),
    ]


def fault_row(fault: scans.Fault, folder: Path) -> list[str]:
    """One of the scans with faults, kept in the folder if it is not there yet."""
    init = folder / "init.txt"
    if not init.exists():
        scans.write(folder, fault, _N)
    grain, seconds, n_warnings = reconstructed(init)
    true = scans.half_full(_N)
    both = grain.mask & true
    found, std = (
        np.stack([grain.fields[f"{name}{kind}"][both] for name in ("tilt1", "tilt2")], axis=-1)
        for kind in ("", "_std")
    )
    facts = grain.attributes
    off = grain.mask.sum() * (scans.SIZE_UM / _N) ** 3 / scans.volume_um3() - 1.0
    return [
        f"{2.0 * both.sum() / (grain.mask.sum() + true.sum()):.3f}",
        *judged(found - fault.crystal(scans.centres(_N)[both]), std, scans.STEP),
        f"{off:+.2%}, {facts.get('volume_error', np.nan):.2%}",
        f"{facts['misfit'][-1]:.2f}",
        f"{facts.get('gain', np.nan):.2f}",
        ", ".join(f"{facts[key] / scans.STEP:.2f}" for key in ("rock_width_deg", "roll_width_deg")),
        f"{n_warnings}",
        f"{seconds:.0f}",
    ]


def case_row(case: phantoms.Case) -> list[str]:
    """One of the scans of tests/phantoms.py."""
    with tempfile.TemporaryDirectory() as folder:
        grain, _, _ = reconstructed(case.write(Path(folder), method="mlem"))
    orientation, std = (
        np.stack([grain.fields[f"{name}{kind}"] for name in ("tilt1", "tilt2")], axis=-1)
        for kind in ("", "_std")
    )
    dice, deviation = phantoms.judge(case, grain.mask, orientation)
    step, both = float(np.diff(case.tilt1[:2])[0]), grain.mask & case.mask
    return [f"{dice:.3f}", *judged(deviation * phantoms.STEP, std[both], step)]


_JUDGED = ["Dice", "error (steps)", "errors", "stated", "pull", "below 2"]


def main(arguments: list[str] | None = None) -> str:
    """Both tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", default=[""])
    parser.add_argument("--keep", type=Path)
    options = parser.parse_args(arguments)
    faults, plain = [], []
    with tempfile.TemporaryDirectory() as folder:
        keep = options.keep or Path(folder)
        for name, fault in scans.FAULTS.items():
            if name.startswith(tuple(options.names)):
                faults.append([name, *fault_row(fault, keep / re.sub(r"\W+", "_", name))])
                print(*faults[-1], sep=" | ", file=sys.stderr, flush=True)
    for make in SCANS:
        words, case = make()
        if words[0].startswith(tuple(options.names)):
            plain.append(words + case_row(case()))
            print(*plain[-1], sep=" | ", file=sys.stderr, flush=True)
    more = ["volume: error, stated", "misfit", "gain", "widths (steps)", "warnings", "CPU s"]
    return "\n\n".join(
        [
            table(["scan", *_JUDGED, *more], faults),
            table(["scan", "crystal", "counts", "voxels", "step (deg)", *_JUDGED], plain),
        ]
    )


if __name__ == "__main__":
    print(main())
