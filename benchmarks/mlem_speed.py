"""Where method mlem spends its time, beside what the machine allows: python -m benchmarks.mlem_speed.

The paper's scan on one rank. A stage's bound is the larger of two times: for the bytes that must be read and
written at least once, at 15 GB/s, and for the multiply-adds that must be done, at those of one core.

    [--folder F] where the scan is, or is to be made   [--omegas N] of it
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np

from benchmarks import paper_scan
from benchmarks.common import INIT, table
from lib import reconstruction
from lib.initfile.parse import read_initfile
from lib.mlem import expectation, iterate, map_kernels, search
from lib.mlem.map_kernels import RUN
from lib.parallel.communicator import SerialComm
from lib.projection import footprint
from lib.scan.align import align
from lib.scan.setting import prepare
from lib.scan.store import ARRAY

BYTES_PER_S = 15e9
FMA_PER_S = 40e9  # of one core: two vectors of 8 floats at 2.5 GHz

Need = tuple[float, float]  # bytes and multiply-adds


def _scatter(first: Any, run: Any, values: Any, place: Any, image: Any) -> Need:
    """Maps once, image read and written where it is hit; a multiply-add for each value and pixel."""
    return values.nbytes + 2.0 * image.nbytes, _pixels_of(place) * values.size


def _gather(image: Any, place: Any, first: Any, run: Any, values: Any) -> Need:
    return 2.0 * values.nbytes + image.nbytes, _pixels_of(place) * values.size


def _pixels_of(place: Any) -> float:
    """How many pixels a voxel falls on, in the mean over some."""
    room = footprint.room_for(place[3])
    n = min(footprint.AT_ONCE, len(place[0]))
    footprint.fall(place, 0, n, room)
    return float(room[2][:n].mean())


def _respond(image: Any, strip: Any, first: Any, column: Any, blocks: Any, out: Any, lit: Any) -> Need:
    """The runs that hold something, each times its blocks of K."""
    n_blocks = float(lit.sum(axis=0) @ np.diff(first)[: lit.shape[1]])
    return lit.sum() * RUN * 4.0 + out.nbytes, n_blocks * RUN * RUN


def _respond_back(image: Any, strip: Any, first: Any, column: Any, turned: Any, lit: Any, out: Any) -> Need:
    n_blocks = float(lit.sum(axis=0) @ np.diff(first)[: lit.shape[1]])
    return image.nbytes + out.nbytes, n_blocks * RUN * RUN


def _compare(expected: Any, counts: Any, *others: Any) -> Need:
    return 2.0 * expected.nbytes + counts.nbytes, 6.0 * expected.size


def _multiply(first: Any, run: Any, values: Any, corrections: Any, cover: Any, seen: Any, which: Any) -> Need:
    return 3.0 * values.nbytes + cover.nbytes, float(values.size * (cover.shape[0] + 2))


KERNELS: dict[str, tuple[str, Callable[..., Need]]] = {
    "scatter_maps": ("voxels to pixels", _scatter),
    "gather_maps": ("pixels to voxels", _gather),
    "respond_pixels": ("orientations to tilts", _respond),
    "respond_pixels_back": ("tilts to orientations", _respond_back),
    "compare": ("prediction beside counts", _compare),
    "multiply": ("correction", _multiply),
}


class Stages:
    """Seconds, bytes and multiply-adds by stage."""

    def __init__(self) -> None:
        self.spent: dict[str, list[float]] = defaultdict(lambda: [0.0, 0.0, 0.0])

    def timed(self, name: str, call: Callable[..., Any], need: Callable[..., Need] | None = None) -> Any:
        """The call, counted."""

        def counted(*arguments: Any, **options: Any) -> Any:
            started = time.process_time()
            result = call(*arguments, **options)
            spent = self.spent[name]
            spent[0] += time.process_time() - started
            if need is not None:
                n_bytes, n_fma = need(*arguments)
                spent[1] += n_bytes
                spent[2] += n_fma
            return result

        return counted


def measure(folder: Path) -> str:
    """The table of one run."""
    params, _ = read_initfile(folder / INIT)
    params = replace(params, method="mlem")
    setting = align(prepare(params), SerialComm(), quiet=True)
    reconstruction.solve(setting, SerialComm(), quiet=True)  # compiles, and warms the cache of the file
    stages = Stages()
    with ExitStack() as patched:
        for name, (title, need) in KERNELS.items():
            call = stages.timed(title, getattr(map_kernels, name), need)
            patched.enter_context(mock.patch.object(map_kernels, name, call))
        for where, name, title in (
            (iterate, "find_hull", "first look"),
            (iterate, "find_resolution", "widths of the resolution"),
            (iterate, "_views", "reading the pixels"),
            (iterate, "_with_response", "K of every omega"),
            (iterate, "readings_of", "reading off the maps"),
            (expectation, "pruned", "giving up what is next to nothing"),
        ):
            patched.enter_context(mock.patch.object(where, name, stages.timed(title, getattr(where, name))))
        aside = mock.patch.object(search, "_deviance", _apart(stages, search._deviance))
        patched.enter_context(aside)
        started = time.process_time()
        _, _, facts = reconstruction.solve(setting, SerialComm(), quiet=True)
        total = time.process_time() - started
    array = float((folder / ARRAY).stat().st_size)
    stages.spent["first look"][1] = stages.spent["reading the pixels"][1] = array
    rows = [_row(title, spent, total) for title, spent in stages.spent.items() if spent[0] > 0.005 * total]
    rows.append(["whole reconstruction", f"{total:.1f}", "", "100 %", "", ""])
    head = ["stage", "CPU s", "bound (s)", "of the run", "bound / time", "bound by"]
    found = f"{facts['n_iterations']} iterations to a misfit of {facts['misfit'][-1]:.2f}."
    return table(head, rows) + f"\n\n{found}\n"


def _apart(stages: Stages, call: Callable[..., Any]) -> Callable[..., Any]:
    """Trials use the same kernels: what they add is not that of the iterations."""

    def apart(*arguments: Any) -> Any:
        before = {name: list(spent) for name, spent in stages.spent.items()}
        result = call(*arguments)
        for name in list(stages.spent):
            if name in (title for title, _ in KERNELS.values()):
                stages.spent[name] = before.get(name, [0.0, 0.0, 0.0])
        return result

    return apart


def _row(title: str, spent: list[float], total: float) -> list[str]:
    seconds, n_bytes, n_fma = spent
    share = f"{100 * seconds / total:.0f} %"
    by_bytes, by_fma = n_bytes / BYTES_PER_S, n_fma / FMA_PER_S
    bound = max(by_bytes, by_fma)
    if not bound:
        return [title, f"{seconds:.2f}", "", share, "", ""]
    what = "bytes" if by_bytes >= by_fma else "multiply-adds"
    return [title, f"{seconds:.2f}", f"{bound:.2f}", share, f"{100 * bound / seconds:.0f} %", what]


def main(arguments: list[str] | None = None) -> str:
    """The table of the paper's scan."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--omegas", type=int, default=paper_scan.SHAPE[2])
    options, _ = parser.parse_known_args(arguments)
    with tempfile.TemporaryDirectory() as temporary:
        folder = options.folder or Path(temporary)
        if not (folder / INIT).exists():
            paper_scan.make(folder, (*paper_scan.SHAPE[:2], options.omegas, *paper_scan.SHAPE[3:]))
        return measure(folder)


if __name__ == "__main__":
    import sys

    print(main(sys.argv[1:]))
