"""Writing with several ranks under mpirun: the bytes of one, and an end when one of them fails."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tests.running import MPIRUN, ROOT

SCRIPT = r'''
import json, sys, time
sys.path.insert(0, sys.argv[1])
import numpy as np
from lib.checks.trust import Checks
from lib.errors import Recon3DError
from lib.parallel.communicator import together, world
from lib.parallel import crew as crew_module
from lib.parallel.crew import Crew, Job, help_out
from lib.result import files
from benchmarks.write_speed import make_result, make_setting
from pathlib import Path

comm = world()
FOLDER = Path(sys.argv[2])


def on_all(what):
    """What rank 0 gets from a crew, or the error that every rank raises."""
    try:
        found = None
        with together(comm):
            if comm.rank != 0:
                help_out(comm)
            else:
                with Crew(comm) as crew:
                    found = what(crew)
        return found
    except Exception as error:
        return f"{type(error).__name__}: {error}"


def square(number, ranks_that_fail, values):
    if comm.rank in ranks_that_fail:
        raise ValueError(f"job on rank {comm.rank}")
    time.sleep(0.001 * (number % 7))  # they do not end in the order in which they began
    for part in np.array_split(values, 3):
        yield (part**2).tobytes()
    yield b""


def jobs(n, *ranks_that_fail):
    return (Job(square, (k, ranks_that_fail), (np.arange(k, k + 50.0),)) for k in range(n))


def in_order(crew):
    n = 100
    found = [np.frombuffer(b"".join(parts)) for parts in crew.results(jobs(n))]
    return len(found) == n and all((f == np.arange(k, k + 50.0) ** 2).all() for k, f in enumerate(found))


def empty(crew):
    return [list(crew.results(iter(()))), list(crew.results(jobs(1)))[0][3] == b"", in_order(crew)]


def failing(*ranks):
    def with_crew(crew):
        for _ in crew.results(jobs(60, *ranks)):
            pass
        return "went on"
    return with_crew


def disk_full(crew):
    for number, _ in enumerate(crew.results(jobs(60))):
        if number == 5:
            raise Recon3DError("grain.vtkhdf", "no space left on device")


def nothing_asked(crew):
    raise Recon3DError("output", "gone")


crew_module.MOST_AHEAD = 2000  # bytes: five jobs
said = {
    "in_order": on_all(in_order),
    "empty": on_all(empty),
    "on rank 0": on_all(failing(0)),
    "on the last": on_all(failing(comm.size - 1)),
    "on all": on_all(failing(*range(comm.size))),
    "disk_full": on_all(disk_full),
    "nothing_asked": on_all(nothing_asked),
    "again": on_all(in_order),
}
crew_module.MOST_AHEAD = 1 << 20
FOLDER.mkdir(exist_ok=True)
setting = make_setting(70, FOLDER, "mlem")
result = files.with_cells(setting, make_result(70, False))
on_all(lambda crew: files.write(setting, result, Checks(), {"volume": "70"}, crew))
said["left"] = [bool(comm.iprobe())] if comm.size > 1 else [False]
everyone = comm.gather(said)
if comm.rank == 0:
    print(json.dumps(everyone))
'''


def write(folder: Path, ranks: int) -> tuple[list[dict[str, object]], Path]:
    script = folder / "script.py"
    script.write_text(SCRIPT)
    out = folder / f"out{ranks}"
    command = [sys.executable, str(script), str(ROOT), str(out)]
    launch = [str(MPIRUN), "-n", str(ranks)] if ranks > 1 else []
    done = subprocess.run([*launch, *command], capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout), out


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> dict[int, tuple[list[dict[str, object]], Path]]:
    folder = tmp_path_factory.mktemp("ranks")
    return {ranks: write(folder, ranks) for ranks in (1, 2, 3)}


@pytest.mark.parametrize("ranks", (1, 2, 3))
def test_results_come_in_order_and_errors_end_all_ranks(written, ranks) -> None:
    """Nothing hangs, no message is left, and the crew works again after each failure."""
    said, _ = written[ranks]
    assert len(said) == ranks
    first, *others = said
    assert first["in_order"] is first["again"] is True
    assert first["empty"] == [[], True, True]
    for found in said:
        assert found["left"] == [False]
        assert found["on rank 0"] == found["on all"] == "ValueError: job on rank 0"
        assert found["on the last"] == f"ValueError: job on rank {ranks - 1}"
        assert found["disk_full"].endswith("no space left on device")
        assert found["nothing_asked"].endswith("gone")
    assert all(found["in_order"] is None for found in others)


def test_the_bytes_do_not_depend_on_the_number_of_ranks(written) -> None:
    """All but the time of writing, which has the same length."""
    contents = []
    for _, folder in written.values():
        names = [
            "boundaries.csv",
            "boundaries.vtp",
            "cells.csv",
            "grain.vtkhdf",
            "grain_ang.npy",
            "report.html",
        ]
        assert sorted(p.name for p in folder.iterdir()) == names
        grain = (folder / "grain.vtkhdf").read_bytes()
        bare = re.sub(rb"20\d\d-\d\d-\d\dT\d\d:\d\d:\d\d[+-]\d\d:\d\d", b"", grain)
        assert len(grain) - len(bare) == 25
        bare = bare.replace(str(folder).encode(), b"")
        contents.append((bare, (folder / "grain_ang.npy").read_bytes()))
    assert contents[0] == contents[1] == contents[2]


def test_the_array_is_as_numpy_writes_it(written, tmp_path) -> None:
    _, folder = written[2]
    array = np.load(folder / "grain_ang.npy")
    np.save(tmp_path / "same.npy", array)
    assert (folder / "grain_ang.npy").read_bytes() == (tmp_path / "same.npy").read_bytes()
    assert array.shape == (70, 70, 70, 3)
