"""recon3d.py with its own measurements: python -m benchmarks.one_rank OUT INIT (under mpirun or not).

Each rank writes OUT.<rank>.json: peak resident memory, bytes read from files and received by MPI.
"""

from __future__ import annotations

import json
import os
import resource
import sys
from pathlib import Path

from lib.cli import recon3d
from lib.parallel.communicator import world

from .counting import CountingComm

if __name__ == "__main__":
    comm = CountingComm(world())
    code = recon3d([*sys.argv[2:]], comm)
    fields = dict(line.split(": ") for line in Path("/proc/self/io").read_text().splitlines())
    pss = [s for s in Path("/proc/self/smaps_rollup").read_text().splitlines() if s.startswith("Pss:")]
    facts = {
        "peak_rss": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
        "pss_at_end": int(pss[0].split()[1]) * 1024,
        "read": int(fields["rchar"]),
        "received": comm.traffic.received,
        "traffic": comm.traffic.table(),
        "cpu_s": sum(os.times()[:2]),
    }
    Path(f"{sys.argv[1]}.{comm.rank}.json").write_text(json.dumps(facts))
    raise SystemExit(code)
