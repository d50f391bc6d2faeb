"""Run a command on the file systems of clusters: `python -m tests.file_systems KIND ERRNO COMMAND ...`.

locks: flock(2) and the locks of fcntl(2) fail with ERRNO. writing: whatever opens a file for writing does. A
seccomp filter, which needs no compiler and no rights and which all processes below inherit, has the kernel
answer so, whoever asks: Python, HDF5 or MPI.
"""

from __future__ import annotations

import ctypes
import os
import platform
import struct
import sys
from pathlib import Path

# AUDIT_ARCH and the numbers of flock, fcntl and openat
_NUMBERS = {"x86_64": (0xC000003E, 73, 72, 257), "aarch64": (0xC00000B7, 32, 25, 56)}
SUPPORTED = sys.platform == "linux" and platform.machine() in _NUMBERS

_LOCKS = (5, 6, 7, 36, 37, 38)  # F_GETLK, F_SETLK, F_SETLKW and the F_OFD_ ones
_PR_SET_NO_NEW_PRIVS, _PR_SET_SECCOMP, _MODE_FILTER = 38, 22, 2
_LOAD, _EQUALS, _ANY_BIT, _RETURN = 0x20, 0x15, 0x45, 0x06  # instructions of BPF
_ALLOW, _ERRNO = 0x7FFF0000, 0x00050000
_NUMBER, _ARCHITECTURE, _ARGUMENTS = 0, 4, 16  # places in struct seccomp_data


def _instruction(code: int, value: int, if_true: int = 0, if_false: int = 0) -> bytes:
    return struct.pack("=HBBI", code, if_true, if_false, value)


def _fail(number: int, argument: int, test: int, values: tuple[int, ...], error: int) -> list[bytes]:
    """Let a call fail where one of the values fits to an argument; goes on behind where it does not."""
    n = len(values)
    return [
        _instruction(_LOAD, _NUMBER),
        _instruction(_EQUALS, number, if_false=n + 3),
        _instruction(_LOAD, _ARGUMENTS + 8 * argument),
        *(_instruction(test, value, if_true=n - i) for i, value in enumerate(values)),
        _instruction(_RETURN, _ALLOW),
        _instruction(_RETURN, _ERRNO | error),
    ]


def _install(rules: list[bytes]) -> None:
    architecture = _NUMBERS[platform.machine()][0]
    program = [
        _instruction(_LOAD, _ARCHITECTURE),
        _instruction(_EQUALS, architecture, if_true=1),
        _instruction(_RETURN, _ALLOW),
        *rules,
        _instruction(_RETURN, _ALLOW),
    ]
    code = ctypes.create_string_buffer(b"".join(program))
    address = ctypes.create_string_buffer(struct.pack("@HP", len(program), ctypes.addressof(code)))
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) or libc.prctl(_PR_SET_SECCOMP, _MODE_FILTER, address):
        raise OSError(ctypes.get_errno(), "the kernel does not take the filter")


def without_locks(error: int) -> None:
    """From now on every file lock of this process and its children fails with this errno."""
    _, flock, fcntl, _ = _NUMBERS[platform.machine()]
    _install(
        _fail(flock, 1, _ANY_BIT, (0xFFFF,), error) + _fail(fcntl, 1, _EQUALS, _LOCKS, error),
    )


def without_writing(error: int) -> None:
    """From now on every opening of a file for writing fails with this errno."""
    writing = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC
    _install(_fail(_NUMBERS[platform.machine()][3], 2, _ANY_BIT, (writing,), error))


def on(kind: str, error: int, *command: object) -> list[str]:
    """The command line that runs a command so."""
    return [sys.executable, str(Path(__file__)), kind, str(error), *map(str, command)]


if __name__ == "__main__":
    {"locks": without_locks, "writing": without_writing}[sys.argv[1]](int(sys.argv[2]))
    os.execvp(sys.argv[3], sys.argv[3:])
