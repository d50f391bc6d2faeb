"""recon3d.py killed or interrupted at any moment: the old result stays, nothing hangs, the next run works."""

from __future__ import annotations

import itertools
import os
import signal
import subprocess
import time
from pathlib import Path

import numpy as np
import pytest

from lib.result.files import RESULT_FILES
from lib.result.labels import CELL_FILES
from lib.result.volume import read
from tests import phantoms
from tests.running import processes_with, start

METHODS, RANKS = ("backprojection", "mlem"), (None, 2, 3)
MOMENTS = (0.1, 0.35, 0.6, 0.85)  # of the time that the run takes
WAYS = (signal.SIGKILL, signal.SIGTERM, signal.SIGINT)
# No file above 60 kB from here on; MPI has its own by then.
SMALL_FILES = """
import resource, signal
from mpi4py import MPI
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (60_000, 60_000))
"""
LONGEST_S = 30.0  # from the end of a rank to that of all


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def finish(init: Path, ranks: int | None) -> float:
    """Run to the end; returns how long that took."""
    began = time.monotonic()
    process = start("recon3d.py", init, "--no-report", ranks=ranks)
    error = process.communicate(timeout=300)[1]
    assert process.returncode == 0, error
    return time.monotonic() - began


@pytest.fixture(scope="module", params=list(itertools.product(METHODS, RANKS)), ids=str)
def run_before(request, tmp_path_factory):
    """An init file with a result, the ranks that made it, and how long they took with all compiled."""
    method, ranks = request.param
    folder = tmp_path_factory.mktemp("killed")
    case = phantoms.make(n_omega=24, n_tilts=5)
    init = case.write(folder, method=method, output=folder / "out", rock_width=0.03, roll_width=0.05)
    finish(init, ranks)
    return init, ranks, finish(init, ranks)


@pytest.mark.parametrize("moment", MOMENTS)
def test_the_old_result_stays_and_the_next_run_works(run_before, moment: float) -> None:
    init, ranks, takes_s = run_before
    out = init.parent / "out"
    before = contents(out)
    way = WAYS[MOMENTS.index(moment) % len(WAYS)]
    process, running = met_after(init, ranks, moment * takes_s)
    if way == signal.SIGKILL:
        os.kill(running[-1], way)
    else:
        process.send_signal(way)
    ended = time.monotonic()
    process.communicate(timeout=LONGEST_S)
    assert time.monotonic() - ended < LONGEST_S
    left = processes_with(init)
    while left and time.monotonic() - ended < LONGEST_S:
        time.sleep(0.1)
        left = processes_with(init)
    assert not left
    if process.returncode != 0:
        after = contents(out)
        assert all(name.startswith(".") for name in after.keys() - before.keys())
        for name in before:  # as it was, or whole, if the run was met at its very end
            assert after[name] == before[name] or is_whole(out / name)
    finish(init, ranks)
    assert sorted(contents(out)) == sorted(before)
    without_cells = set() if "cells.csv" in before else set(CELL_FILES)  # which only mlem has
    assert sorted(before) == sorted(set(RESULT_FILES) - {"report.html"} - without_cells)
    np.testing.assert_allclose(
        np.load(out / "grain_ang.npy"), _array(before["grain_ang.npy"], init.parent), rtol=1e-4
    )


def met_after(init: Path, ranks: int | None, delay_s: float) -> tuple[subprocess.Popen[str], list[int]]:
    """A run and its ranks, met after a delay; after half of it where the run was faster, and so on."""
    for _ in range(6):
        process = start("recon3d.py", init, "--no-report", ranks=ranks)
        time.sleep(delay_s)
        while process.poll() is None:
            if running := processes_with(init):
                return process, running
        assert process.returncode == 0, process.communicate()
        process.communicate()
        delay_s /= 2.0
    raise AssertionError("no run was met")


def is_whole(path: Path) -> bool:
    if path.suffix == ".npy":
        return bool(np.isfinite(np.load(path)).any())
    if path.suffix != ".vtkhdf":
        return path.read_text(encoding="utf-8").endswith("\n")
    return bool(read(path).mask.any())


def _array(content: bytes, folder: Path) -> np.ndarray:
    (folder / "before.npy").write_bytes(content)
    return np.load(folder / "before.npy")


@pytest.mark.parametrize("ranks", RANKS)
@pytest.mark.parametrize("method", METHODS)
def test_a_full_disk_leaves_the_old_result(tmp_path: Path, method, ranks) -> None:
    """The size of a file is limited in place of the disk: writing the result fails."""
    init = phantoms.make(n_omega=8, n=20).write(
        tmp_path, method=method, output=tmp_path / "out", rock_width=0.03, roll_width=0.05
    )
    finish(init, ranks)
    before = contents(tmp_path / "out")
    process = start("recon3d.py", init, ranks=ranks, first=SMALL_FILES)
    error = process.communicate(timeout=120)[1]
    assert process.returncode == 1, error
    assert "cannot be written (File too large)" in error
    assert "Traceback" not in error
    assert contents(tmp_path / "out") == before
