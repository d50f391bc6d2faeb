"""What a dark level does that was left in the array, or taken off too much.

Phantoms of tests/phantoms.py, which share no code with lib/, with read noise and a level of every kind, cut
at zero as uint16 arrays are. Each is reconstructed with the level found (`background auto`) and with none
taken off (`background 0`). python -m benchmarks.backgrounds
"""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from benchmarks.common import table  # noqa: E402
from lib import reconstruction  # noqa: E402
from lib.initfile.parse import read_initfile  # noqa: E402
from lib.parallel.communicator import SerialComm  # noqa: E402
from lib.scan.setting import prepare  # noqa: E402
from tests import phantoms  # noqa: E402

WIDTHS = (1.41 * phantoms.STEP, 2.83 * phantoms.STEP)  # FWHM of rocking and rolling
MORE = {"50 left": 50.0, "1 too much": -1.0, "2 too much": -2.0, "5 too much": -5.0}


def measure(case: phantoms.Case, **keys: object) -> tuple[list[str], bool]:
    """Dice, median error in steps and seconds; and whether the program warned of the level."""
    with tempfile.TemporaryDirectory() as folder:
        params, _ = read_initfile(case.write(Path(folder), **keys))
        started = time.monotonic()
        setting = prepare(params)
        found, mask, _ = reconstruction.solve(setting, SerialComm(), quiet=True)
        seconds = time.monotonic() - started
    dice, deviation = phantoms.judge(case, mask, np.stack([found["tilt1"], found["tilt2"]], axis=-1))
    error = np.median(np.linalg.norm(deviation, axis=1))
    said = any("dark level" in text or "too much" in text for text in setting.warnings)
    return [f"{dice:.3f}", f"{error:.3f}", f"{seconds:.1f}"], said


def main() -> None:
    """Print the table."""
    clean = phantoms.make(
        peak_counts=200.0,
        n=40,
        n_tilts=7,
        n_omega=60,
        crystal=phantoms.four_subgrains,
        widths=WIDTHS,
        roi=(36, 34),
    )
    levels = {kind: phantoms.level_of(kind, clean) for kind in phantoms.LEVELS}
    levels |= {kind: np.full_like(levels["exact"], counts) for kind, counts in MORE.items()}
    rows = []
    for kind, level in levels.items():
        case = phantoms.on_level(clean, level)
        auto, said = measure(case, method="mlem")
        left, _ = measure(case, method="mlem", background=0)
        rows.append([kind, *auto, "yes" if said else "no", *left])
        print(*rows[-1], sep="  ", file=sys.stderr, flush=True)
    head = ["level", "Dice", "error (steps)", "s", "warned", "none taken off: Dice", "error", "s"]
    print(table(head, rows))


if __name__ == "__main__":
    main()
