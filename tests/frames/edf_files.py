"""Single EDF files of a few pixels, as the tests of lib/frames/edf.py write and read them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from lib.frames import edf
from lib.frames.pixels import Roi
from tests.frames.edf_scan import motor_header, write_edf

SUFFIXES = (".edf", ".edf.gz", ".edf.bz2")
SHAPE = (11, 14)
ROI = Roi(3, 2, 6, 5)
every_suffix = pytest.mark.parametrize("suffix", SUFFIXES)


def random_pixels(kind: str, shape: tuple[int, int] = SHAPE, seed: int = 0) -> np.ndarray:
    """Values over the whole range of the type, so that a wrong type or byte order cannot go unseen."""
    rng = np.random.default_rng(seed)
    if kind[0] == "f":
        return rng.normal(0, 1e5, shape).astype(kind)
    limits = np.iinfo(kind)
    return rng.integers(limits.min, limits.max, shape, dtype=kind, endpoint=True)


def simple_file(path: Path, **header: str) -> Path:
    return write_edf(path, random_pixels("u2"), header or motor_header({"phi": 1.5}))


def only_frame(path: Path) -> tuple[edf.FrameInfo, dict[str, float]]:
    (frame,) = edf.read_headers(str(path))
    return frame
