"""Whether the stated errors agree with the actual ones: python -m benchmarks.pulls.

Phantoms of tests/phantoms.py, which share no code with lib/, reconstructed with nothing given but the
method. Pull is error over stated error, its width taken from the median, so 1 where they agree.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np

from benchmarks.common import ROOT, table
from lib import reconstruction
from lib.initfile.parse import read_initfile
from lib.parallel.communicator import SerialComm
from lib.scan.setting import prepare

sys.path.insert(0, str(ROOT / "tests"))
from tests import phantoms  # noqa: E402 - after its folder


def flat(r: np.ndarray) -> np.ndarray:
    """One orientation."""
    return np.broadcast_to([0.013, -0.021], (*r.shape[:-1], 2))


def bent(r: np.ndarray) -> np.ndarray:
    """Bent all over, up to 0.02 degrees per micrometre."""
    x, y, z = np.moveaxis(r, -1, 0)
    return np.stack([0.012 * y + 0.004 * x - 0.003 * z, 0.01 * x - 0.006 * z + 0.015 * np.sin(y)], axis=-1)


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
) -> tuple[list[str], phantoms.Case]:
    """7 x 7 tilts, 60 omegas; steps are the widths of the resolution in steps of the scan."""
    place = "".join(f", {value}" for value in more.values())
    widths = (steps[0] * phantoms.STEP, steps[1] * phantoms.STEP)
    case = phantoms.make(
        peak_counts=counts, n=n, n_tilts=7, n_omega=60, crystal=CRYSTALS[crystal], widths=widths, **more
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
) -> tuple[list[str], phantoms.Case]:
    """11 positions, 120 omegas."""
    case = phantoms.make_line_scan(
        "rocking", mode, counts, n, 11, 120, turn, step=step, crystal=CRYSTALS[crystal]
    )
    return [f"rocking, {turn:.0f} deg, {mode}", crystal, f"{counts:.0f}", str(n), f"{step}"], case


SCANS: list[Callable[[], tuple[list[str], phantoms.Case]]] = [
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
]


def measure(case: phantoms.Case) -> list[str]:
    """Dice, median error in steps, width of the pull of both tilts, share of pulls below 2."""
    with tempfile.TemporaryDirectory() as folder:
        params, _ = read_initfile(case.write(Path(folder), method="mlem"))
        found, mask, _ = reconstruction.solve(prepare(params), SerialComm(), quiet=True)
    orientation, std = (
        np.stack([found[f"{name}{kind}"] for name in ("tilt1", "tilt2")], axis=-1) for kind in ("", "_std")
    )
    dice, deviation = phantoms.judge(case, mask, orientation)
    error, step = deviation * phantoms.STEP, float(np.diff(case.tilt1[:2])[0])
    pull = np.abs(phantoms.pulls(case, mask, orientation, std))
    widths = 1.4826 * np.median(pull, axis=0)
    return [
        f"{dice:.3f}",
        f"{np.median(np.linalg.norm(error, axis=1)) / step:.3f}",
        f"{widths[0]:.2f}, {widths[1]:.2f}",
        f"{np.mean(pull < 2):.0%}",
    ]


def main() -> None:
    rows = []
    for make in SCANS:
        name, case = make()
        rows.append(name + measure(case))
        print(*rows[-1], sep="  ", file=sys.stderr, flush=True)
    head = ["scan", "crystal", "counts", "voxels", "step (deg)", "Dice", "error (steps)", "pull", "below 2"]
    print(table(head, rows))


if __name__ == "__main__":
    main()
