"""Two runs on one result: one of them writes, the other is told; what killed runs left is recognised."""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from lib.errors import Recon3DError
from lib.parallel import claim
from lib.parallel.claim import claimed, refuse_if_claimed, take
from lib.parallel.communicator import SerialComm
from tests.running import MPIRUN, ROOT

FORK = multiprocessing.get_context("fork")


def file_of(result: Path) -> Path:
    return result.with_name(f".{result.name}.running")


def nothing_left(folder: Path) -> None:
    assert not list(folder.glob(".*"))


@pytest.fixture
def result(tmp_path: Path) -> Path:
    return tmp_path / "array"


def someone(result: Path, **what: Any) -> dict[str, Any]:
    """The claim of another run: a process that lives, on this machine, unless `what` says otherwise."""
    start = claim._state_and_start(os.getppid())[1]
    holder = claim._this_run() | {"pid": os.getppid(), "started": start, "command": "getdata.py x"} | what
    file_of(result).write_text(json.dumps(holder))
    return holder


def old(result: Path, seconds: float) -> None:
    """As if the run had not renewed its claim for so long."""
    then = time.time() - seconds
    os.utime(file_of(result), (then, then))


def test_a_claim_says_who_holds_it_and_goes_with_the_block(result: Path) -> None:
    with claimed(result, SerialComm()):
        holder = json.loads(file_of(result).read_text())
        assert (holder["host"], holder["pid"]) == (socket.gethostname(), os.getpid())
        with pytest.raises(Recon3DError) as caught:
            take(result)
        line = str(caught.value)
        assert line.startswith(f"{result}: is being written by another run: host {holder['host']}, process ")
        assert f"process {os.getpid()}, since {holder['since']} ({holder['command']}); wait for it" in line
        assert "rm " not in line
    nothing_left(result.parent)
    with claimed(result, SerialComm()):
        pass


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, Recon3DError("key", "wrong")])
def test_a_run_that_fails_gives_its_claim_back(result: Path, error: Any) -> None:
    with pytest.raises(BaseException), claimed(result, SerialComm()):  # noqa: B017, PT011
        raise error
    nothing_left(result.parent)


def test_the_folder_is_made(tmp_path: Path) -> None:
    with claimed(tmp_path / "a" / "b" / "array", SerialComm()):
        assert (tmp_path / "a" / "b").is_dir()


def test_no_folder_can_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(Recon3DError, match=r"file/out/array: cannot be written \(Not a directory\)"):
        take(tmp_path / "file" / "out" / "array")


# ---- Who lives ----


def test_a_process_that_lives_keeps_its_claim(result: Path) -> None:
    someone(result)
    old(result, 1e6)  # its time does not matter where the process can be looked at
    with pytest.raises(Recon3DError, match="is being written by another run"):
        take(result)
    with pytest.raises(Recon3DError, match="is being written by another run"):
        refuse_if_claimed(result)


def gone() -> int:
    """The number of a process that has ended."""
    with subprocess.Popen([sys.executable, "-c", ""]) as process:
        return process.pid


@pytest.mark.parametrize(
    "what",
    [{"pid": gone()}, {"started": "1"}, {"started": ""}],
    ids=["ended", "another program with its number", "not known when started"],
)
def test_a_process_that_is_no_more_does_not(result: Path, what: dict[str, Any]) -> None:
    dead = someone(result, **what)
    assert refuse_if_claimed(result) == dead
    take(result).release()
    nothing_left(result.parent)


def test_a_process_that_ended_and_was_not_waited_for(result: Path) -> None:
    process = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    someone(result, pid=process.pid, started=claim._state_and_start(process.pid)[1])
    with pytest.raises(Recon3DError):
        take(result)
    process.kill()
    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
    assert claim._state_and_start(process.pid)[0] == "Z"
    take(result).release()
    process.communicate()


@pytest.mark.parametrize("machine", ["another start pid:[1]", "unknown"])
def test_on_another_machine_time_tells(result: Path, machine: str) -> None:
    someone(result, host="node12", machine=machine, pid=gone())
    old(result, 100)
    with pytest.raises(Recon3DError) as caught:
        take(result)
    assert "host node12" in str(caught.value)
    assert f"(last heard of 100 s ago; if it was killed, rm {file_of(result)})" in str(caught.value)
    old(result, claim._DEAD_AFTER_S + 10)
    take(result).release()
    nothing_left(result.parent)


def test_a_process_that_the_system_hides_is_judged_by_time(
    result: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """/proc of some clusters shows a user only his own processes."""

    def not_permitted(pid: int, number: int) -> None:
        raise PermissionError

    someone(result, pid=gone())
    monkeypatch.setattr(os, "kill", not_permitted)
    with pytest.raises(Recon3DError, match="is being written"):
        take(result)
    old(result, claim._DEAD_AFTER_S + 10)
    take(result).release()


@pytest.mark.parametrize("text", ["", "{", '{"host": "node12"', "[1]", "7"])
def test_a_claim_that_is_not_whole_yet(result: Path, text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(claim, "_WRITTEN_WITHIN_S", 0.1)
    file_of(result).write_text(text)
    with pytest.raises(Recon3DError, match=r"host unknown, .* if it was killed, rm"):
        take(result)
    old(result, claim._DEAD_AFTER_S + 10)
    take(result).release()
    nothing_left(result.parent)


def test_a_claim_is_renewed(result: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(claim, "_RENEWED_EVERY_S", 0.02)
    with claimed(result, SerialComm()):
        old(result, 1000)
        end = time.monotonic() + 10
        while claim._age_s(file_of(result)) > 100:
            assert time.monotonic() < end
            time.sleep(0.01)
    nothing_left(result.parent)


# ---- Two that meet ----


def test_who_was_taken_over_writes_nothing_and_removes_nothing(result: Path) -> None:
    mine = take(result)
    mine.confirm()
    file_of(result).unlink()
    theirs = take(result)
    with pytest.raises(Recon3DError, match="was taken over by another run"):
        mine.confirm()
    mine.release()
    theirs.confirm()
    theirs.release()
    nothing_left(result.parent)


def compete(result: Path, start: Any, won: Any, held: Any) -> None:
    start.wait()
    try:
        mine = take(result)
    except Recon3DError:
        return
    won.put(os.getpid())
    held.wait()
    mine.release()
    os._exit(0)


@pytest.mark.parametrize("dead", [False, True], ids=["free", "left by a killed run"])
def test_of_several_that_start_at_once_one_wins(result: Path, dead: bool) -> None:
    for _ in range(10):
        if dead:
            someone(result, pid=gone())
        start, held, won = FORK.Barrier(6), FORK.Event(), FORK.SimpleQueue()
        processes = [FORK.Process(target=compete, args=(result, start, won, held)) for _ in range(6)]
        for process in processes:
            process.start()
        winner = won.get()
        for process in processes:
            if process.pid != winner:
                process.join(30)
        assert won.empty()
        assert json.loads(file_of(result).read_text())["pid"] == winner
        held.set()
        for process in processes:
            process.join(30)
        nothing_left(result.parent)


def test_who_comes_late_to_a_dead_claim_spares_the_next(result: Path) -> None:
    """It has seen the dead claim, and meanwhile another run has taken its place."""
    dead = someone(result, pid=gone())
    theirs = take(result)
    claim._remove_dead(file_of(result), dead)
    theirs.confirm()
    theirs.release()
    nothing_left(result.parent)


def test_killed_while_it_removed_a_dead_claim(result: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(claim, "_WRITTEN_WITHIN_S", 0.1)
    dead = someone(result, pid=gone())
    right = file_of(result).with_name(f".array.running.{dead['id']}")
    right.write_text("")
    with pytest.raises(Recon3DError, match=f"rm {right}"):
        take(result)
    right.unlink()
    take(result).release()


# ---- Runs ----

HOLD = """
import sys, time
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from lib.errors import Recon3DError
from lib.parallel.claim import claimed
from lib.parallel.communicator import world
comm = world()
try:
    with claimed(Path(sys.argv[2]), comm) as claim:
        assert (claim is not None) == (comm.rank == 0)
        if comm.rank == 0:
            print("working", flush=True)
        time.sleep(float(sys.argv[3]))
except Recon3DError as error:
    sys.stdout.write(f"{comm.rank}: {error}\\n")
"""


def hold(result: Path, ranks: int, seconds: float) -> subprocess.Popen[str]:
    command = [MPIRUN, "-n", str(ranks), sys.executable, "-c", HOLD, ROOT, result, str(seconds)]
    return subprocess.Popen(command[3 * (ranks == 1) :], stdout=subprocess.PIPE, text=True)


@pytest.fixture(params=[1, 2, 3])
def working(result: Path, request: pytest.FixtureRequest) -> Iterator[subprocess.Popen[str]]:
    process = hold(result, request.param, 60)
    assert process.stdout is not None
    assert process.stdout.readline() == "working\n"
    yield process
    process.kill()
    process.communicate()


def test_all_ranks_of_the_second_run_are_told(result: Path, working: subprocess.Popen[str]) -> None:
    holder = json.loads(file_of(result).read_text())
    for ranks in (1, 3):
        stdout, _ = hold(result, ranks, 0).communicate(timeout=30)
        lines = sorted(stdout.splitlines())
        assert [line[:2] for line in lines] == [f"{rank}:" for rank in range(ranks)], stdout
        assert all(f"process {holder['pid']}" in line for line in lines)


def test_a_killed_run_is_followed_at_once(result: Path, working: subprocess.Popen[str]) -> None:
    os.kill(json.loads(file_of(result).read_text())["pid"], signal.SIGKILL)
    working.communicate(timeout=30)
    assert file_of(result).exists()
    stdout, _ = hold(result, 2, 0).communicate(timeout=30)
    assert stdout == "working\n"
    nothing_left(result.parent)
