"""What three ranks under mpirun agree on: errors, arrays of any size, an end when one of them dies."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from tests.running import MPIRUN, ROOT

# The scenarios run in one script under mpirun, so that each also starts from what the one before it
# left behind: a message that nobody received would spoil the next.
SCENARIOS = r'''
import json, sys, threading, time
sys.path.insert(0, sys.argv[1])
import numpy as np
from lib.parallel import messages
from lib.errors import Recon3DError
from lib.parallel.communicator import check_alarm, together, world
from lib.parallel.messages import receive_array, send_array

comm = world()
assert comm.Get_size() == comm.size == 3


class NoPickle(Exception):
    """Holds what cannot travel."""

    def __init__(self, text):
        super().__init__(text)
        self.lock = threading.Lock()


class NoCopy(Exception):
    """Can be pickled but not made again: its arguments are not those of __init__."""

    def __init__(self, where, what):
        super().__init__(f"{where}: {what}")


def fail_on(*ranks, error):
    with together(comm):
        if comm.rank in ranks:
            raise error(comm.rank)
    return "went on"


def recon_error(rank):
    return Recon3DError(f"file{rank}.edf", "cut short")


def nobody():
    return fail_on(error=recon_error)


def one_rank():
    return fail_on(1, error=recon_error)


def two_ranks():
    return fail_on(1, 2, error=recon_error)


def every_rank():
    return fail_on(0, 1, 2, error=recon_error)


def last_rank():
    return fail_on(2, error=lambda rank: OSError(28, "No space left on device", "/data/x.npy"))


def no_pickle():
    return fail_on(1, error=lambda rank: NoPickle("has a lock in it"))


def no_copy():
    return fail_on(1, error=lambda rank: NoCopy("here", "it cannot be made again"))


def nested():
    """The inner block's error is everybody's, so it passes through the outer block as it is."""
    with together(comm):
        with together(comm):
            if comm.rank == 2:
                raise recon_error(2)
    return "went on"


def long_loop():
    """Rank 1 fails after a moment; the others would need a minute."""
    with together(comm):
        for step in range(6000):
            if comm.rank == 1 and step == 5:
                raise recon_error(1)
            time.sleep(0.01)
            check_alarm(comm)
    return "went on"


def two_fail_in_a_long_loop():
    """Ranks 2 and then 0 fail of themselves, before they look at the alarm; rank 1 works on."""
    with together(comm):
        for step in range(6000):
            if comm.rank == 2 and step == 2:
                raise recon_error(2)
            time.sleep(0.01)
            if comm.rank == 0 and step == 20:
                raise recon_error(0)
            if comm.rank == 1:
                check_alarm(comm)
    return "went on"


def early_finisher():
    """Rank 0 is through and waits for the others when rank 2 fails."""
    with together(comm):
        for step in range(0 if comm.rank == 0 else 6000):
            if comm.rank == 2 and step == 10:
                raise recon_error(2)
            time.sleep(0.01)
            check_alarm(comm)
    return "went on"


def many_failures_in_a_row():
    texts = []
    for turn in range(50):
        try:
            fail_on(turn % 3, (turn + 1) % 3, error=recon_error)
        except Recon3DError as error:
            texts.append(error.where)
    return texts


def arrays():
    """Every dtype and shape of interest around a ring, in many pieces, as for arrays of gigabytes."""
    messages.LARGEST, before = 1000, messages.LARGEST
    found = []
    for dtype in ("uint16", "float32", "float64", "bool"):
        for shape in ((0,), (1,), (999,), (1000,), (1001,), (17, 13, 29), (3, 0, 2)):
            mine = (np.arange(np.prod(shape)).reshape(shape) % 251 + comm.rank).astype(dtype)
            other = np.zeros(shape, dtype)
            for sender in range(3):
                if comm.rank == sender:
                    send_array(comm, mine, (sender + 1) % 3)
                if comm.rank == (sender + 1) % 3:
                    receive_array(comm, other, sender)
            before_me = (comm.rank - 1) % 3
            wanted = (np.arange(np.prod(shape)).reshape(shape) % 251 + before_me).astype(dtype)
            found.append(bool(np.array_equal(other, wanted)))
    messages.LARGEST = before
    return found


def large_array():
    """64 MB, far beyond what MPI buffers, from rank 2 to rank 0."""
    n = 1 << 23
    if comm.rank == 2:
        send_array(comm, np.arange(n, dtype=np.float64).reshape(8, -1), 0)
    if comm.rank == 0:
        array = np.empty((8, n // 8))
        receive_array(comm, array, 2)
        return bool((array.reshape(-1) == np.arange(n)).all())
    return None


def no_alarm_is_left():
    comm.barrier()
    return bool(comm.iprobe())


results = {}
for scenario in (
    nobody, one_rank, two_ranks, every_rank, last_rank, no_pickle, no_copy, nested, long_loop,
    two_fail_in_a_long_loop, early_finisher, many_failures_in_a_row, arrays, large_array, no_alarm_is_left,
):
    comm.barrier()
    start = time.monotonic()
    try:
        outcome = ["returned", scenario()]
    except Exception as error:
        outcome = [type(error).__name__, str(error)]
    results[scenario.__name__] = [*outcome, time.monotonic() - start]
every = comm.gather(results)
if comm.rank == 0:
    print(json.dumps(every))
'''


def mpirun(ranks: int, *command: object, timeout: float = 120) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(MPIRUN), "-n", str(ranks), sys.executable, *(str(c) for c in command)],
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
    )


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, list[Any]]]:
    """Of each of 3 ranks, for each scenario: how it ended, with what, and after how many seconds."""
    script = tmp_path_factory.mktemp("scenarios") / "scenarios.py"
    script.write_text(SCENARIOS)
    result = mpirun(3, script, ROOT)
    assert result.returncode == 0, result.stderr
    every = json.loads(result.stdout)
    assert len(every) == 3
    return every


def same_on_all(outcomes: list[dict[str, list[Any]]], scenario: str) -> list[Any]:
    first, *others = (rank[scenario][:2] for rank in outcomes)
    assert all(other == first for other in others), [first, *others]
    return first


@pytest.mark.parametrize(
    ("scenario", "outcome"),
    [
        ("nobody", ["returned", "went on"]),
        ("one_rank", ["Recon3DError", "file1.edf: cut short"]),
        ("two_ranks", ["Recon3DError", "file1.edf: cut short"]),
        ("every_rank", ["Recon3DError", "file0.edf: cut short"]),
        ("last_rank", ["OSError", "[Errno 28] No space left on device: '/data/x.npy'"]),
        ("nested", ["Recon3DError", "file2.edf: cut short"]),
    ],
)
def test_all_ranks_raise_the_error_of_the_lowest(
    outcomes: list[dict[str, list[Any]]], scenario: str, outcome: list[str]
) -> None:
    assert same_on_all(outcomes, scenario) == outcome


@pytest.mark.parametrize(
    ("scenario", "words"),
    [("no_pickle", "NoPickle: has a lock in it"), ("no_copy", "NoCopy: here: it cannot be made again")],
)
def test_an_error_that_cannot_travel_arrives_as_text(
    outcomes: list[dict[str, list[Any]]], scenario: str, words: str
) -> None:
    kind, text = same_on_all(outcomes, scenario)
    assert kind == "RuntimeError"
    assert words in text


@pytest.mark.parametrize(("scenario", "name"), [("long_loop", "file1.edf"), ("early_finisher", "file2.edf")])
def test_a_failure_ends_the_long_loops_of_the_others(
    outcomes: list[dict[str, list[Any]]], scenario: str, name: str
) -> None:
    assert same_on_all(outcomes, scenario) == ["Recon3DError", f"{name}: cut short"]
    assert max(rank[scenario][2] for rank in outcomes) < 20  # of the 60 s that the loop takes


def test_two_ranks_that_fail_in_a_long_loop(outcomes: list[dict[str, list[Any]]]) -> None:
    assert same_on_all(outcomes, "two_fail_in_a_long_loop") == ["Recon3DError", "file0.edf: cut short"]
    assert max(rank["two_fail_in_a_long_loop"][2] for rank in outcomes) < 20


def test_failures_leave_no_message_behind(outcomes: list[dict[str, list[Any]]]) -> None:
    kind, where = same_on_all(outcomes, "many_failures_in_a_row")
    assert kind == "returned"
    assert where == [f"file{min(turn % 3, (turn + 1) % 3)}.edf" for turn in range(50)]
    assert same_on_all(outcomes, "no_alarm_is_left") == ["returned", False]


def test_arrays_of_any_size(outcomes: list[dict[str, list[Any]]]) -> None:
    assert same_on_all(outcomes, "arrays") == ["returned", [True] * 28]
    assert outcomes[0]["large_array"][:2] == ["returned", True]


# ---- A rank that dies ----

LONELY_DEATH = r"""
import os, signal, sys, time
sys.path.insert(0, sys.argv[1])
from lib.parallel.communicator import check_alarm, together, world

comm = world()
with together(comm):
    for step in range(6000):
        if comm.rank == 1 and step == 5:
            os.kill(os.getpid(), signal.SIGKILL)
        time.sleep(0.01)
        check_alarm(comm)
print("went on")
"""


def test_a_killed_rank_ends_the_run(tmp_path: Path) -> None:
    """SIGKILL, as of the kernel when memory runs out: nobody can say goodbye."""
    script = tmp_path / "death.py"
    script.write_text(LONELY_DEATH)
    start = time.monotonic()
    result = mpirun(3, script, ROOT)
    assert result.returncode != 0
    assert "went on" not in result.stdout
    assert time.monotonic() - start < 30  # of the 60 s that the loop takes
