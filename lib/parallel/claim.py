"""One run at a time writes a result: a small file beside it says who does, and since when.

File locks do not work on every file system of a cluster, so the file itself is the claim: of several
processes that create it at once, the file system lets one succeed (O_EXCL). What a run left that was killed
is recognised. On the same machine that is certain: the process is gone, or its number belongs to another
one by now. Of a run on another machine, or in another container, only the file's time tells: a thread of
the run renews it.
"""

from __future__ import annotations

import json
import math
import os
import shlex
import socket
import sys
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import datetime
from pathlib import Path
from typing import Any

from ..errors import Recon3DError
from .communicator import Comm, together

_PROC = Path("/proc")
_RENEWED_EVERY_S = 20.0
_DEAD_AFTER_S = 300.0  # without renewal; a kernel may keep the thread from running for a while
_WRITTEN_WITHIN_S = 2.0  # of its creation
_PAUSE_S = 0.05
_START_TIME = 19  # among the fields of /proc/PID/stat that follow the name of the program
_ZOMBIE = "Z"

Holder = dict[str, Any]  # what the file says of the run


class Claim:
    """The right to write a result, held until `release`."""

    def __init__(self, result: Path, path: Path, holder: Holder) -> None:
        self._result, self._path, self._holder = result, path, holder
        self._released = threading.Event()
        self._thread = threading.Thread(target=self._renew, daemon=True)
        self._thread.start()

    def holds(self) -> bool:
        """Whether no other run has taken over, after this one was stopped for minutes."""
        holder = _read(self._path)
        return holder is not None and holder["id"] == self._holder["id"]

    def confirm(self) -> None:
        """Raise Recon3DError if another run has taken over: what appears now would be that of both."""
        if not self.holds():
            raise Recon3DError(self._result, "was taken over by another run while this one stood still")

    def release(self) -> None:
        """Let others write."""
        self._released.set()
        self._thread.join()
        with suppress(OSError):
            if self.holds():
                self._path.unlink()

    def _renew(self) -> None:
        while not self._released.wait(_RENEWED_EVERY_S):
            with suppress(OSError):
                os.utime(self._path)


@contextmanager
def claimed(result: Path, comm: Comm) -> Iterator[Claim | None]:
    """The claim to `result` while a block runs; on rank 0, None elsewhere. Collective.

    The folder of the result is made if need be. Raises Recon3DError if another run writes the result.
    """
    claim: Claim | None = None
    with together(comm):
        if comm.rank == 0:
            claim = take(result)
    try:
        yield claim
    finally:
        if claim is not None:
            claim.release()


def take(result: Path) -> Claim:
    """Claim a result, in the place of a run that is no more if need be. Raises Recon3DError."""
    path, holder = _path_of(result), _this_run()
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        while not _create(path, json.dumps(holder, indent=1)):
            found = refuse_if_claimed(result)
            if found is not None:
                _remove_dead(path, found)
    except OSError as error:
        raise Recon3DError(result, f"cannot be written ({error.strerror or error})") from None
    return Claim(result, path, holder)


def refuse_if_claimed(result: Path) -> Holder | None:
    """Raise Recon3DError if a run writes this result; returns what is left of one that has been killed."""
    path = _path_of(result)
    holder = _read(path)
    if holder is None:
        return None
    age_s = _age_s(path)
    if not _lives(holder, age_s):
        return holder
    what = f"is being written by another run: {_who(holder)}; wait for it, or choose another output"
    if not _is_here(holder):
        what += f" (last heard of {max(age_s, 0):.0f} s ago; if it was killed, rm {shlex.quote(str(path))})"
    raise Recon3DError(result, what)


def _path_of(result: Path) -> Path:
    return result.with_name(f".{result.name}.running")


def _create(path: Path, text: str) -> bool:
    """Create a file unless it is there; true if this process did."""
    try:
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644)
    except FileExistsError:
        return False
    try:
        with os.fdopen(handle, "w") as stream:
            stream.write(text)
    except OSError:  # a full disk
        path.unlink(missing_ok=True)
        raise
    return True


def _remove_dead(path: Path, dead: Holder) -> None:
    """Remove what a dead run left, and nothing else.

    Others may be about to do the same, and one of them may already be working: so only who creates a
    second file, named after the dead run, may remove the first, and only if it is still that run's.
    """
    right = path.with_name(f"{path.name}.{dead['id']}")
    end = time.monotonic() + _WRITTEN_WITHIN_S
    while not _create(right, ""):
        if time.monotonic() > end:
            raise Recon3DError(right, f"was left by a run that was killed; rm {shlex.quote(str(right))}")
        time.sleep(_PAUSE_S)
    try:
        if (holder := _read(path)) is not None and holder["id"] == dead["id"]:
            path.unlink()
    finally:
        right.unlink()


def _read(path: Path) -> Holder | None:
    """What the file says; None if there is none. It may be about to be written."""
    end = time.monotonic() + _WRITTEN_WITHIN_S
    while True:
        try:
            holder: Holder = json.loads(path.read_text())
            return {**_NOBODY, **holder}
        except FileNotFoundError:
            return None
        except (ValueError, TypeError):
            if time.monotonic() > end:
                return dict(_NOBODY)
        time.sleep(_PAUSE_S)


_NOBODY: Holder = dict.fromkeys(("id", "host", "machine", "pid", "started", "since", "command"), "unknown")


def _this_run() -> Holder:
    return {
        "id": uuid.uuid4().hex,
        "host": socket.gethostname(),
        "machine": _machine(),
        "pid": os.getpid(),
        "started": _state_and_start(os.getpid())[1],
        "since": datetime.now().astimezone().isoformat(sep=" ", timespec="seconds"),
        "command": shlex.join([Path(sys.argv[0]).name, *sys.argv[1:]]),
    }


def _machine() -> str:
    """What processes share that can see each other: a start of the machine, and its numbers of processes."""
    try:
        boot = (_PROC / "sys/kernel/random/boot_id").read_text().strip()
        return f"{boot} {(_PROC / 'self/ns/pid').readlink()}"
    except OSError:  # not Linux
        return socket.gethostname()


def _state_and_start(pid: int) -> tuple[str, str]:
    """State of a process, and when it started in ticks since the machine did; empty if there is none."""
    try:
        fields = (_PROC / str(pid) / "stat").read_text().rpartition(")")[2].split()
        return fields[0], fields[_START_TIME]
    except (OSError, IndexError):
        return "", ""


def _is_here(holder: Holder) -> bool:
    return holder["machine"] == _machine()


def _lives(holder: Holder, age_s: float) -> bool:
    """Whether the run goes on, as far as can be known."""
    if _is_here(holder):
        state, start = _state_and_start(holder["pid"])
        if start:
            return start == holder["started"] and state != _ZOMBIE
        if not _exists(holder["pid"]):
            return False
    return age_s < _DEAD_AFTER_S


def _exists(pid: int) -> bool:
    """Also of a process of another user, where the system hides those."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except (PermissionError, TypeError):
        return True
    return True


def _age_s(path: Path) -> float:
    """Seconds since the file was renewed, by the clocks of this machine and of the file system."""
    try:
        return time.time() - path.stat().st_mtime
    except FileNotFoundError:
        return math.inf


def _who(holder: Holder) -> str:
    return f"host {holder['host']}, process {holder['pid']}, since {holder['since']} ({holder['command']})"
