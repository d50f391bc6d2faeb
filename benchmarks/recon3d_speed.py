"""The reconstruction at the paper's size: kernel, whole process, ranks, memory.

python -m benchmarks.recon3d_speed [--folder F] [--omegas N] [--ranks 1,2,4,10] [--mlem-ranks 1,2,4,10]
"""

from __future__ import annotations

import argparse
import json
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import scipy.sparse

from benchmarks import paper_scan
from benchmarks.common import INIT, MPIRUN, ROOT, best, table
from lib.backprojection.sums import Backprojection
from lib.initfile.parse import read_initfile
from lib.projection.views import PixelSet, pixel_boxes, project
from lib.scan.setting import Setting, prepare
from lib.scan.store import ARRAY


def kernel_section(setting: Setting) -> str:
    """Eight omegas of random maps, one layer-ordered block of voxels in the grain."""
    rng = np.random.default_rng(0)
    n = min(8, len(setting.projector.views))
    views, block = setting.projector.views[:n], setting.projector.volume
    grid = np.arange(block.n_voxels).reshape(block.shape)
    low, high = (np.array(block.shape) * s // 10 for s in (3, 7))
    chosen = grid[tuple(slice(a, b) for a, b in zip(low, high, strict=True))].ravel()
    boxes = pixel_boxes(views, block, chosen)
    n_pixels = boxes[:, 2] * boxes[:, 3]
    flat = rng.integers(0, 300, (n_pixels.sum(), setting.measurement.n_pairs)).astype(np.uint16)
    first = np.concatenate([[0], np.cumsum(n_pixels)[:-1]])
    points = np.stack(
        [setting.projector.volume.axes_um[i][j] for i, j in enumerate(np.unravel_index(chosen, block.shape))],
        1,
    )
    px = np.rint(project(views, points)).astype(np.int64)
    rows = (
        first[:, None] + (px[..., 0] - boxes[:, None, 0]) * boxes[:, None, 3] + px[..., 1] - boxes[:, None, 1]
    )
    sums = Backprojection(block, setting.measurement.n_pairs, flat.dtype, 8.0, chosen)
    pixels = PixelSet(flat, boxes, first)
    total = np.zeros((chosen.size, setting.measurement.n_pairs), dtype=np.float32)
    values = flat.astype(np.float32)
    matrix = scipy.sparse.csr_matrix(
        (np.ones(rows.size, np.float32), (np.tile(np.arange(chosen.size), n), rows.ravel())),
        shape=(chosen.size, flat.shape[0]),
    )

    def take_add() -> None:
        for k in range(n):
            total.__iadd__(np.take(values, rows[k], axis=0))

    def loop() -> None:
        for v in range(200):
            for k in range(n):
                total[v] += values[rows[k, v]]

    sums.add(views, pixels)
    stream = np.ones(1 << 27, dtype=np.uint8)
    bandwidth = stream.nbytes / best(lambda: stream.view(np.uint64).max())
    updates = rows.size * setting.measurement.n_pairs
    found = {
        "recon3d (sums and lit counts)": (updates / best(lambda: sums.add(views, pixels)), 2),
        "numpy take + add (float32, sums only)": (updates / best(take_add), 4),
        "scipy.sparse CSR x dense (float32, sums only)": (updates / best(lambda: matrix @ values), 4),
        "plain loop over voxels and omegas": (200 * n * setting.measurement.n_pairs / best(loop), 4),
    }
    lines = [
        [name, f"{rate / 1e9:.3f}", f"{rate * size / bandwidth:.0%}"] for name, (rate, size) in found.items()
    ]
    head = ["one core", "G updates/s", f"of the read bandwidth ({bandwidth / 1e9:.1f} GB/s)"]
    return table(head, lines)


def plain_loop(setting: Setting, folder: Path, n_sample: int = 60) -> list[tuple[float, float]]:
    """(wall, CPU) seconds of the per-voxel numpy loop for the volume on two ideal ranks.

    First with a loop over omegas, then with all omegas of a voxel in one index. Reading is not counted.
    """
    array = np.load(folder / ARRAY)
    rng = np.random.default_rng(1)
    middle = [g[np.abs(g) < 0.7 * np.abs(g).max()] for g in setting.projector.volume.axes_um]
    points = np.stack([rng.choice(g, n_sample) for g in middle], axis=1)
    matrix, shift, n = (
        setting.projector.views.matrix,
        setting.projector.views.shift,
        len(setting.projector.views),
    )
    marks = [(time.perf_counter(), time.process_time())]
    for point in points:
        total = np.zeros(array.shape[:2])
        for k in range(n):
            x, y = np.rint(matrix[k] @ point + shift[k]).astype(int)
            total += array[:, :, k, x, y]
    marks.append((time.perf_counter(), time.process_time()))
    for point in points:
        x, y = np.rint(matrix @ point + shift).astype(int).T
        array[:, :, np.arange(n), x, y].sum(axis=-1)
    marks.append((time.perf_counter(), time.process_time()))
    scale = setting.projector.volume.n_voxels / n_sample / 2
    return [((c[0] - a[0]) * scale, (c[1] - a[1]) * scale) for a, c in zip(marks, marks[1:], strict=False)]


def run_ranks(init: Path, ranks: int, *options: str) -> tuple[float, list[dict[str, Any]]]:
    """Wall time of the whole process, and what each rank measured; with the time that it states itself."""
    out = init.with_name("measured")
    launch = [str(MPIRUN), "-n", str(ranks)]
    command = [*launch, sys.executable, "-m", "benchmarks.one_rank", str(out), str(init)]
    start = time.perf_counter()
    done = subprocess.run(
        [*command, "--quiet", *options], check=True, cwd=ROOT, stdout=subprocess.PIPE, text=True
    )
    wall = time.perf_counter() - start
    stated = re.search(r"reconstruction ([\d.]+) s", done.stdout)
    facts = [json.loads(Path(f"{out}.{rank}.json").read_text()) for rank in range(ranks)]
    return wall, [{**fact, "stated_s": float(stated[1]) if stated else np.nan} for fact in facts]


def read_once(path: Path) -> float:
    """Seconds to read a file once, on one core."""
    buffer = bytearray(16 << 20)
    start = time.perf_counter()
    with path.open("rb", buffering=0) as stream:
        while stream.readinto(buffer):
            pass
    return time.perf_counter() - start


def process_section(init: Path, ranks: list[int], mlem_ranks: list[int], n_repeats: int) -> str:
    """The whole process against the loop, and its memory and traffic against the number of ranks."""
    setting = prepare(read_initfile(init)[0])
    array = init.with_name(ARRAY)
    size = array.stat().st_size
    read_once(array)
    reading = read_once(array)
    runs = {("recon3d.py", n): [run_ranks(init, n, "--no-report") for _ in range(n_repeats)] for n in ranks}
    with_report = run_ranks(init, 2)
    mlem = init.with_name("mlem.txt")
    mlem.write_text(init.read_text() + f"method  mlem\noutput  {init.parent / 'mlem'}\n")
    runs |= {("method mlem", n): [run_ranks(mlem, n, "--no-report")] for n in mlem_ranks}
    by_omega, at_once = plain_loop(setting, init.parent)
    first = [["reading the array once, 1 core", f"{reading:.1f}", "", "", ""]]
    for name, (wall, cpu) in (("by voxel and omega", by_omega), ("by voxel", at_once)):
        ratios = [f"{by_omega[0] / wall:.1f}", f"{by_omega[1] / cpu:.1f}"]
        first.append(
            [f"plain loop {name}, 2 ideal ranks (sampled)", f"{wall:.0f}", ratios[0], f"{cpu:.0f}", ratios[1]]
        )
    second, third = [], []
    for (name, n), repeats in runs.items():
        wall, facts = min(repeats, key=lambda run: run[0])
        walls = ", ".join(f"{run[0]:.1f}" for run in repeats)
        totals = {key: sum(fact[key] for fact in facts) for key in facts[0] if key != "traffic"}
        cpu = totals["cpu_s"] / n
        first.append(
            [
                f"{name} --no-report, {n} rank(s), whole process",
                f"{wall:.1f} ({walls})",
                f"{by_omega[0] / wall:.0f}",
                f"{cpu:.1f}",
                f"{by_omega[1] / cpu:.0f}",
            ]
        )
        second.append(
            [
                f"{name}, {n}",
                f"{totals['peak_rss'] / 1e9:.2f}",
                f"{max(f['peak_rss'] for f in facts) / 1e9:.2f}",
                f"{totals['pss_at_end'] / 1e9:.2f}",
                f"{totals['read'] / size:.2f}",
                f"{totals['received'] / 1e6:.1f}",
                f"{totals['cpu_s']:.1f}",
                f"{min(found[0]['stated_s'] for _, found in repeats):.1f}",
            ]
        )
        third += [[f"{name}, {n}", place, f"{sent / 1e6:.1f}"] for place, sent in sent_by_place(facts)]
    wall, facts = with_report
    cpu = sum(fact["cpu_s"] for fact in facts) / len(facts)
    ratios = [f"{by_omega[0] / wall:.0f}", f"{by_omega[1] / cpu:.0f}"]
    first.append(["recon3d.py, 2 ranks, with report.html", f"{wall:.1f}", ratios[0], f"{cpu:.1f}", ratios[1]])
    head = [
        "ranks",
        "peak RSS, all (GB)",
        "largest rank (GB)",
        "PSS at end (GB)",
        "read / array",
        "received (MB)",
        "CPU (s)",
        "reconstruction alone (s)",
    ]
    return "\n".join(
        [
            f"The array has {size / 1e9:.2f} GB.\n",
            table(["", "seconds", "x faster", "CPU seconds per rank", "x faster"], first),
            "",
            table(head, second),
            "",
            table(["ranks", "function", "sent by all (MB)"], third),
        ]
    )


def sent_by_place(facts: list[dict[str, Any]]) -> list[tuple[str, int]]:
    """The bytes that all ranks sent, pickled or not, by the function that sent them, the most first."""
    sent: Counter[str] = Counter()
    for fact in facts:
        for counts in fact["traffic"].values():
            sent.update({place: n_bytes for place, (n_bytes, _) in counts.items()})
    return [(place, n_bytes) for place, n_bytes in sent.most_common() if n_bytes > 1e5]


def main(arguments: list[str] | None = None) -> str:
    """Make the scan, measure, delete the scan; returns the report."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", type=Path, help="where the scan goes, or lies already (then it stays)")
    parser.add_argument("--omegas", type=int, default=paper_scan.SHAPE[2])
    parser.add_argument("--ranks", default="1,2,4,10")
    parser.add_argument("--mlem-ranks", default="2")
    parser.add_argument("--repeats", type=int, default=3, help="the fastest run counts")
    options, _ = parser.parse_known_args(arguments)  # other sections have options of their own
    folder = options.folder or Path(tempfile.mkdtemp(prefix="recon3d-bench-"))
    had = (folder / INIT).exists()
    try:
        if not had:
            paper_scan.make(folder, (*paper_scan.SHAPE[:2], options.omegas, *paper_scan.SHAPE[3:]))
        init = folder / INIT
        kernel = kernel_section(prepare(read_initfile(init)[0]))
        ranks, mlem_ranks = (
            [int(n) for n in given.split(",") if n] for given in (options.ranks, options.mlem_ranks)
        )
        process = process_section(init, ranks, mlem_ranks, options.repeats)
    finally:
        if not had:
            shutil.rmtree(folder)
    return f"### Kernel of the backprojection\n\n{kernel}\n\n### Whole process\n\n{process}\n"


if __name__ == "__main__":
    print(main())
