"""What ranks send each other, counted: what is pickled stays small, whatever the pixels and voxels."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from benchmarks.buffers import largest_buffers
from benchmarks.traffic import PAPER
from lib.initfile.parse import format_initfile
from lib.parallel import messages
from tests.aligned_scan import parameters, write
from tests.running import MPIRUN, ROOT

RANKS = 10
SMALL, LARGE = {}, {"M": 8.0, "detx_size": 128, "detz_size": 144, "grain_steps": (42, 42, 42)}
N_OMEGA, N_PAIRS = 16, 9
_SCRIPT = """
import json, sys
from pathlib import Path
from lib import cli
from lib.parallel.communicator import world
from benchmarks.counting import CountingComm

for init in sys.argv[1:]:
    comm = CountingComm(world())
    assert cli.recon3d([init, "--quiet"], comm) == 0
    Path(f"{init}.{comm.rank}.json").write_text(json.dumps(comm.traffic.table()))
"""

Largest = dict[str, dict[str, int]]


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Largest]:
    """The largest message by kind and function of any rank, of two methods on two sizes of a scan."""
    folder = tmp_path_factory.mktemp("traffic")
    inits = {}
    for size, keys in (("small", SMALL), ("large", LARGE)):
        params = parameters(folder / size, ang_steps=(2, 2, N_OMEGA - 1), **keys)
        write(params, noise=1.0)
        for method in ("backprojection", "mlem"):
            output = folder / f"{size}_{method}"
            init = folder / f"{size}_{method}.txt"
            mine = replace(params, method=method, iterations=2, subsets=2, output=str(output))
            init.write_text(format_initfile(mine))
            inits[f"{size} {method}"] = init
    command = [str(MPIRUN), "-n", str(RANKS), sys.executable, "-c", _SCRIPT, *map(str, inits.values())]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    return {name: largest(Path(init)) for name, init in inits.items()}


def largest(init: Path) -> Largest:
    found: Largest = {"pickled": {}, "buffers": {}}
    for rank in range(RANKS):
        for kind, places in json.loads(Path(f"{init}.{rank}.json").read_text()).items():
            for place, (_, n_bytes) in places.items():
                found[kind][place] = max(found[kind].get(place, 0), n_bytes)
    return found


@pytest.mark.parametrize("method", ("backprojection", "mlem"))
def test_no_pickle_grows_with_pixels_or_voxels(runs, method) -> None:
    """Four times the pixels and eight times the voxels: the same pickles, but for digits of numbers."""
    small, large = runs[f"small {method}"]["pickled"], runs[f"large {method}"]["pickled"]
    assert set(small) == set(large)
    for place, n_bytes in large.items():
        assert n_bytes < 1.1 * small[place] + 300, (place, small[place], n_bytes)
        assert n_bytes < 20_000 or place == "kernel_cache.hand_over", place  # compiled code


@pytest.mark.parametrize("size", ("small", "large"))
@pytest.mark.parametrize("method", ("backprojection", "mlem"))
def test_no_message_is_larger_than_calculated(runs, size, method) -> None:
    keys = LARGE if size == "large" else SMALL
    image = (keys.get("detx_size", 64), keys.get("detz_size", 72))
    voxels = keys.get("grain_steps", (21, 21, 21))
    n_kept = voxels[0] * voxels[1] * voxels[2]
    limits = largest_buffers(N_OMEGA, N_PAIRS, image, voxels, n_kept, RANKS)
    found = runs[f"{size} {method}"]["buffers"]
    fixed = {"doubts.try_others", "resolution.find_resolution", "geometry.judge_all", "overlaps.fetch_halo"}
    for place, n_bytes in found.items():
        assert place in limits or place in fixed | {"coarse.load"}, (place, n_bytes)
        if place in limits:
            assert n_bytes <= limits[place], (place, n_bytes, limits[place])
    assert found["volume._fill"] > 0.5 * limits["volume._fill"]
    assert found["gather._gather_layers"] > 0.5 * limits["gather._gather_layers"]


def test_the_largest_scan_needs_no_message_that_mpi_cannot_count() -> None:
    """226 omegas, 121 pairs, 2048 x 2048 pixels, 690^3 voxels, 64 ranks: all but predictions below 1 GiB.

    Those and whatever else is larger are cut up.
    """
    sizes = largest_buffers(226, 121, (2048, 2048), (690, 690, 690), 690**3 // 6, 64)
    large = {place for place, n_bytes in sizes.items() if n_bytes >= messages.LARGEST}
    assert large == {"overlaps.add_overlaps"}
    assert messages.LARGEST < 1 << 30


@pytest.mark.parametrize("ranks", (1, 2, 3, 10))
def test_the_boxes_that_meet_are_those_around_the_bands(ranks) -> None:
    """The model's pixels in two boxes, drawn one by one."""
    first, last = PAPER.bands(ranks)
    columns = np.arange(-150.0, 150.0, 0.25)[:, None]
    boxes = []
    for low, high in zip(first, last, strict=True):
        hit = (columns >= low) & (columns < high)
        boxes.append(hit.any(axis=1)[:, None] & hit.any(axis=0))
    pixel = 0.25 * PAPER.width_px / first.shape[1]
    drawn = pixel * sum((boxes[a] & boxes[b]).sum() for a in range(ranks) for b in range(ranks) if a != b)
    assert PAPER.meeting(ranks) == pytest.approx(drawn, rel=0.01)
    assert PAPER.meeting(ranks) >= PAPER.pixels(ranks)[1]
