"""Run a command where file locks fail: `python -m tests.no_locks ERRNO COMMAND ...`, as on many clusters.

A seccomp filter, which needs no compiler and no rights and which every process below inherits, has the
kernel answer flock(2) and the locks of fcntl(2) with ERRNO, whoever asks: Python, HDF5 or MPI.
"""

from __future__ import annotations

import ctypes
import os
import platform
import struct
import sys

CALLS = {"x86_64": (0xC000003E, 73, 72), "aarch64": (0xC00000B7, 32, 25)}  # AUDIT_ARCH, flock, fcntl
FCNTL_LOCKS = (5, 6, 7, 36, 37, 38)  # F_GETLK, F_SETLK, F_SETLKW and the F_OFD_ ones
SUPPORTED = sys.platform == "linux" and platform.machine() in CALLS

_PR_SET_NO_NEW_PRIVS, _PR_SET_SECCOMP, _MODE_FILTER = 38, 22, 2
_LOAD, _EQUALS, _RETURN = 0x20, 0x15, 0x06
_ALLOW, _ERRNO = 0x7FFF0000, 0x00050000
_NUMBER, _ARCHITECTURE, _SECOND_ARGUMENT = 0, 4, 24  # places in struct seccomp_data


def _instruction(code: int, value: int, if_true: int = 0, if_false: int = 0) -> bytes:
    return struct.pack("=HBBI", code, if_true, if_false, value)


def without_locks(error: int) -> None:
    """From now on every file lock of this process and its children fails with this errno."""
    architecture, flock, fcntl = CALLS[platform.machine()]
    n = len(FCNTL_LOCKS)
    program = [
        _instruction(_LOAD, _ARCHITECTURE),
        _instruction(_EQUALS, architecture, if_false=n + 4),
        _instruction(_LOAD, _NUMBER),
        _instruction(_EQUALS, flock, if_true=n + 3),
        _instruction(_EQUALS, fcntl, if_false=n + 1),
        _instruction(_LOAD, _SECOND_ARGUMENT),
        *(_instruction(_EQUALS, command, if_true=n - i) for i, command in enumerate(FCNTL_LOCKS)),
        _instruction(_RETURN, _ALLOW),
        _instruction(_RETURN, _ERRNO | error),
    ]
    code = ctypes.create_string_buffer(b"".join(program))
    address = ctypes.create_string_buffer(struct.pack("@HP", len(program), ctypes.addressof(code)))
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) or libc.prctl(_PR_SET_SECCOMP, _MODE_FILTER, address):
        raise OSError(ctypes.get_errno(), "the kernel does not take the filter")


if __name__ == "__main__":
    without_locks(int(sys.argv[1]))
    os.execvp(sys.argv[2], sys.argv[2:])
