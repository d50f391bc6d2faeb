"""recon3d.py with its own measurements: python -m benchmarks.one_rank OUT INIT (under mpirun or not).

Each rank writes OUT.<rank>.json: peak resident memory, bytes read from files and received by MPI.
"""

from __future__ import annotations

import json
import os
import pickle
import resource
import sys
from collections import Counter
from pathlib import Path
from typing import Any

from lib.cli import recon3d
from lib.parallel.communicator import world

WAYS = ("bcast", "allgather", "gather", "recv", "Allgatherv", "Recv", "Irecv", "Allreduce")


class CountingComm:
    """A communicator that counts the bytes that its rank receives, by what they come through."""

    def __init__(self, comm: Any) -> None:
        self._comm = comm
        self.received: Counter[str] = Counter()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._comm, name)

    def _pickled(self, way: str, values: list[Any]) -> None:
        self.received[way] += sum(len(pickle.dumps(value)) for value in values)

    def bcast(self, value: Any, root: int = 0) -> Any:
        """Count the pickle."""
        value = self._comm.bcast(value, root)
        self._pickled("bcast", [value] if self._comm.rank != root else [])
        return value

    def allgather(self, value: Any) -> list[Any]:
        """Count the pickles of the others."""
        values: list[Any] = self._comm.allgather(value)
        self._pickled("allgather", [v for rank, v in enumerate(values) if rank != self._comm.rank])
        return values

    def gather(self, value: Any, root: int = 0) -> list[Any] | None:
        """Count the pickles of the others."""
        values: list[Any] | None = self._comm.gather(value, root)
        self._pickled("gather", [v for rank, v in enumerate(values or []) if rank != root])
        return values

    def recv(self, **where: int) -> Any:
        """Count the pickle."""
        value = self._comm.recv(**where)
        self._pickled("recv", [value])
        return value

    def Allgatherv(self, mine: Any, whole: Any) -> None:  # noqa: N802 - mpi4py's name
        """Count what comes from the others."""
        self.received["Allgatherv"] += whole[0].nbytes - mine.nbytes
        self._comm.Allgatherv(mine, whole)

    def Recv(self, array: Any, **where: int) -> None:  # noqa: N802
        """Count the array."""
        self.received["Recv"] += array.nbytes
        self._comm.Recv(array, **where)

    def Irecv(self, array: Any, **where: int) -> Any:  # noqa: N802
        """Count the array."""
        self.received["Irecv"] += array.nbytes
        return self._comm.Irecv(array, **where)

    def Allreduce(self, mine: Any, total: Any) -> None:  # noqa: N802
        """Count the sum, once."""
        self.received["Allreduce"] += total.nbytes
        self._comm.Allreduce(mine, total)


if __name__ == "__main__":
    comm = CountingComm(world())
    code = recon3d([*sys.argv[2:]], comm)
    fields = dict(line.split(": ") for line in Path("/proc/self/io").read_text().splitlines())
    pss = [s for s in Path("/proc/self/smaps_rollup").read_text().splitlines() if s.startswith("Pss:")]
    facts = {
        "peak_rss": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
        "pss_at_end": int(pss[0].split()[1]) * 1024,
        "read": int(fields["rchar"]),
        "received": comm.received.total(),
        **{f"received_{way}": comm.received[way] for way in WAYS},
        "cpu_s": sum(os.times()[:2]),
    }
    Path(f"{sys.argv[1]}.{comm.rank}.json").write_text(json.dumps(facts))
    raise SystemExit(code)
