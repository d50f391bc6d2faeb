"""The one place where HDF5 files are opened, for reading and for writing: never with a lock.

Some file systems of clusters have no locks, and a file that another program writes, or has open in a viewer,
can be read all the same. Files are written under temporary names, where nobody else looks. The commands
also turn the locks off in the environment (`parallel.startup`), for whatever HDF5 opens itself.
"""

from __future__ import annotations

from pathlib import Path

import h5py

_MARKED = "already open for"  # in what HDF5 says of a file of its newest format that bears its writer's mark
_OPEN_HERE = "flag values don't match"  # where this process, a notebook perhaps, has it open already
_NO_LOCKS = (False, "best-effort", True)  # the last two where it is open so: a second opening locks nothing


class BeingWrittenError(OSError):
    """HDF5 does not read the file, because it bears the mark of its writer."""

    def __init__(self) -> None:
        super().__init__(
            "is being written, or was when its writer died: wait for its end, or remove the mark (h5clear -s)"
        )


def open_hdf5(path: str | Path, mode: str = "r", *, swmr: bool = False) -> h5py.File:
    """The file, for reading or ("w") new; swmr where its writer lets others read. Raises OSError."""
    for locking in _NO_LOCKS:
        try:
            return h5py.File(path, mode, locking=locking, swmr=swmr)
        except OSError as error:
            if _MARKED in str(error):
                raise BeingWrittenError from error
            if _OPEN_HERE not in str(error):
                raise
            mismatch = error
    raise mismatch
