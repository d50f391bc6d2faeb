"""Frames that are pixel by pixel the same as another: a frozen detector, a file written twice (pure).

Noise makes every frame of a detector unlike all others, so a number made of the pixels is enough to
tell; the frames need not be kept.
"""

from __future__ import annotations

import zlib
from typing import Any

import numpy as np
from numpy.typing import NDArray

_SAMPLED_ROWS = 12
UNKNOWN = 0  # no frame, or one without contrast where it was looked at


def signature(pixels: NDArray[Any]) -> int:
    """A number of 64 bits, made of some rows exactly and of all pixels in their sum.

    UNKNOWN where these rows are all of one value: frames without a count may well be alike.
    """
    rows = np.ascontiguousarray(pixels[:: max(1, pixels.shape[0] // _SAMPLED_ROWS)])
    if rows.min() == rows.max():
        return UNKNOWN
    flat = np.ascontiguousarray(pixels).reshape(-1).view(np.uint8)
    total = int(flat[: flat.size // 8 * 8].view(np.uint64).sum(dtype=np.uint64))
    return (zlib.crc32(rows.data) << 32 | (total ^ total >> 32) & 0xFFFFFFFF) or 1


def find_repeats(signatures: NDArray[np.uint64]) -> dict[int, int]:
    """Frames that are alike to an earlier one, each with the last of these before it.

    >>> find_repeats(np.array([5, 7, 7, 0, 0, 5], dtype=np.uint64))
    {2: 1, 5: 0}
    """
    order = np.argsort(signatures, kind="stable")
    ordered = signatures[order]
    alike = np.flatnonzero((ordered[1:] == ordered[:-1]) & (ordered[1:] != UNKNOWN))
    found = zip(order[alike + 1].tolist(), order[alike].tolist(), strict=True)
    return dict(sorted(found))
