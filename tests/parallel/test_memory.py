"""How much memory there is, and work that cannot fit into it: refused before it is begun."""

from __future__ import annotations

from pathlib import Path

import pytest

from lib.errors import Recon3DError
from lib.parallel import memory
from lib.parallel.communicator import SerialComm
from tests import phantoms
from tests.running import Run, error_line

KB = 1024


def machine(root: Path, cgroup: str = "") -> None:
    (root / "proc/self").mkdir(parents=True)
    (root / "proc/meminfo").write_text("MemTotal: 9000 kB\nMemAvailable:    5000 kB\n")
    (root / "proc/self/cgroup").write_text(cgroup)


def group(folder: Path, version: int, limit: object, used: int, cached: int = 0) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    names = ("memory.max", "memory.current")
    stat = f"anon 5\nactive_file {cached}\n"
    if version == 1:
        names = ("memory.limit_in_bytes", "memory.usage_in_bytes")
        stat = f"cache 5\ntotal_inactive_file {cached}\n"
    for name, value in zip(names, (limit, used), strict=True):
        (folder / name).write_text(f"{value}\n")
    (folder / "memory.stat").write_text(stat)


def test_of_the_machine(tmp_path: Path) -> None:
    machine(tmp_path)
    assert memory.free_bytes(tmp_path) == 5000 * KB
    assert memory.free_bytes(tmp_path / "none") > 1 << 20
    assert memory.free_bytes() > 1 << 20


@pytest.mark.parametrize(("limit", "free"), [("max", 5000 * KB), (3000, 2000), (9_000_000_000, 5000 * KB)])
def test_of_the_machine_or_the_job_whatever_is_less(tmp_path: Path, limit: object, free: int) -> None:
    machine(tmp_path, "0::/job/step\n")
    group(tmp_path / "sys/fs/cgroup/job/step", 2, "max", 10)
    group(tmp_path / "sys/fs/cgroup/job", 2, limit, 1000)
    assert memory.free_bytes(tmp_path) == free


@pytest.mark.parametrize("version", [1, 2])
def test_files_that_are_held_in_memory_give_way(tmp_path: Path, version: int) -> None:
    """After an array was read once, its pages fill the job's memory: they are no reason to refuse a run."""
    machine(tmp_path, "0::/job\n" if version == 2 else "4:cpu,cpuacct:/x\n5:memory:/job\n")
    top = tmp_path / "sys/fs/cgroup"
    group((top if version == 2 else top / "memory") / "job", version, 3000, 2990, cached=2500)
    assert memory.free_bytes(tmp_path) == 2510


def test_work_that_fits_is_not_refused() -> None:
    memory.check_memory(SerialComm(), 1 << 20, "key", "work", "less")


def test_work_that_cannot_fit_says_what_it_needs_and_what_helps(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "free_bytes", lambda: 2 * 10**9)
    with pytest.raises(Recon3DError, match="key: work needs at least 5 GB .* 2 GB are free .*: take less"):
        memory.check_memory(SerialComm(), 5 * 10**9, "key", "work", "take less")


@pytest.mark.parametrize("ranks", [None, 1, 3])
@pytest.mark.parametrize("method", ["backprojection", "mlem"])
def test_a_volume_that_cannot_fit_is_refused_before_the_work(
    tmp_path: Path, run: Run, method, ranks, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before the first kernel is compiled, too, which takes half a minute where none are kept."""
    init = phantoms.make(n=8, n_omega=8).write(tmp_path, method=method, grain_steps=[30_000] * 3)
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(tmp_path / "kernels"))
    done = run("recon3d.py", init, ranks=ranks)
    line = error_line(done, "recon3d")
    assert line.startswith(
        "recon3d: error: grain_steps: the result of 30000 x 30000 x 30000 voxels needs at least"
    )
    assert "take fewer voxels" in line
    assert done.stderr == f"{line}\n"
    assert not (tmp_path / "kernels").exists()
    assert not list(tmp_path.glob("*grain*"))
