"""Entries of BLISS files in memory, with whatever a test wants in them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import h5py
import numpy as np

N1, N2 = 5, 7
N = N1 * N2
ROW, PLACE = np.divmod(np.arange(N), N2)
CHI, MU = -0.2 + 0.1 * ROW, 6.6 + 0.02 * PLACE


@contextmanager
def entry(content: dict[str, Any], name: str = "1.1") -> Iterator[h5py.Group]:
    """An entry that holds these datasets and links, by their path in it; `../` leads beside it."""
    with h5py.File("memory.h5", "w", driver="core", backing_store=False) as root:
        group = root.create_group(name)
        for path, value in content.items():
            parent = root if path.startswith("../") else group
            if isinstance(value, str):
                parent[path.removeprefix("../")] = np.bytes_(value)
            else:
                parent[path.removeprefix("../")] = value
        yield group


def parameters(**values: Any) -> dict[str, Any]:
    """fscan_parameters of a scan of chi and mu in N1 rows of N2 frames, numbers and words as given."""
    usual = {
        "scan_name": "fscan2d",
        "slow_motor": "chi",
        "slow_start_pos": -0.2,
        "slow_step_size": 0.1,
        "slow_npoints": N1,
        "fast_motor": "mu",
        "fast_start_pos": 6.6,
        "fast_step_size": 0.02,
        "fast_npoints": N2,
        "fast_motor_mode": "REWIND",
    }
    return {f"instrument/fscan_parameters/{key}": value for key, value in (usual | values).items()}
