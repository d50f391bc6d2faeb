"""The chunks of a dataset, compressed as HDF5's own filters shuffle and gzip would read them.

Any rank can do it, without the file. It is faster than HDF5, with the same values read back: a chunk
that holds one value throughout is compressed once (most of a volume is empty), and bytes without a pattern,
the low ones of measured numbers, are stored as they are, which deflate allows and says in its stream.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from functools import lru_cache
from itertools import groupby, product
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..parallel.partition import blocks_of_at_most
from ..physics.colours import orientation_rgb

_LONGEST = 32  # voxels, the side of a chunk: 256 KB, which stay in a core's cache
_LEVEL = 1  # of zlib; 6 takes up to 1.7 times as long and gains 1 to 4 % on fields
_SAMPLE = 4096  # bytes of a plane that tell whether it has a pattern
_NO_PATTERN = 7.5  # bits of entropy in a byte
_ZLIB_HEADER = b"\x78\x01"  # deflate with a window of 32 KB, fastest


def chunk_sides(shape: tuple[int, ...]) -> tuple[int, ...]:
    """The side of the chunks along each axis of a volume: as even as can be."""
    return tuple(-(-n // -(-n // _LONGEST)) if n else 1 for n in shape)


def compress_slab(sides: tuple[int, int, int], dtype: str, values: NDArray[Any]) -> Iterator[bytes]:
    """The chunks of values (n_x, n_y, n_z, ...) that lie side by side in y and z, see `chunk_places`.

    sides are those of a chunk along x, y, z; n_x is at most that of one chunk. The chunks have the axes
    z, y, x, ...; those at the end are filled up with zeros.
    """
    values = values.astype(dtype, copy=False)
    n_x, n_y, n_z = values.shape[:3]
    for z, y in product(range(0, n_z, sides[2]), range(0, n_y, sides[1])):
        block = values[:, y : y + sides[1], z : z + sides[2]].swapaxes(0, 2)
        if block.shape[:3] != sides[::-1]:
            whole = np.zeros((*sides[::-1], *values.shape[3:]), dtype=dtype)
            whole[tuple(slice(n) for n in block.shape[:3])] = block
            block = whole
        yield compressed(np.ascontiguousarray(block))


def compress_colours(
    sides: tuple[int, int, int],
    center: tuple[float, float],
    radius: tuple[float, float],
    tilt1_alone: bool,
    tilt1: NDArray[Any],
    tilt2: NDArray[Any],
) -> Iterator[bytes]:
    """The chunks of the colours of orientations, see `orientation_rgb`."""
    colours = np.empty((*tilt1.shape, 3), dtype=np.uint8)
    for layer, a, b in zip(colours, tilt1, tilt2, strict=True):
        layer[:] = orientation_rgb(a, b, center, radius, tilt1_alone=tilt1_alone)
    return compress_slab(sides, "u1", colours)


def slabs(sides: tuple[int, ...], shape: tuple[int, ...], largest: int) -> Iterator[tuple[range, range]]:
    """The x and y of the slabs that a volume is cut into, of whole chunks and at most `largest` voxels.

    One chunk is thick along x, and may be larger than that if a row of chunks along z is.
    """
    n_x, n_y, n_z = shape
    rows = range(-(-n_y // sides[1]))
    for x in range(0, n_x, sides[0]):
        for part in blocks_of_at_most(rows, largest // (sides[0] * sides[1] * n_z)):
            y = range(part.start * sides[1], min(part.stop * sides[1], n_y))
            yield range(x, min(x + sides[0], n_x)), y


def chunk_places(sides: tuple[int, ...], slab: tuple[range, range], n_z: int) -> list[tuple[int, ...]]:
    """Where the chunks of a slab lie in the dataset, in the order of `compress_slab`."""
    x, y = slab
    return [(z, j, x.start) for z, j in product(range(0, n_z, sides[2]), y[:: sides[1]])]


def compressed(chunk: NDArray[Any]) -> bytes:
    """A C-contiguous chunk, shuffled and as a stream of zlib."""
    numbers = chunk.reshape(-1).view(f"u{chunk.itemsize}")
    if (numbers == numbers[0]).all():
        return _constant(numbers[:1].tobytes(), numbers.size)
    return _stream(np.ascontiguousarray(numbers.view(np.uint8).reshape(-1, chunk.itemsize).T))


@lru_cache(maxsize=256)
def _constant(item: bytes, n: int) -> bytes:
    return zlib.compress(np.repeat(np.frombuffer(item, dtype=np.uint8), n).data, _LEVEL)


def _stream(planes: NDArray[np.uint8]) -> bytes:
    """The planes (n_bytes, n_items): the first bytes of all items, the second ones, and so on."""
    parts, n = [_ZLIB_HEADER], 0
    for level, group in groupby([_LEVEL if _has_pattern(plane) else 0 for plane in planes]):
        rows = len(list(group))
        deflate = zlib.compressobj(level, zlib.DEFLATED, -zlib.MAX_WBITS)
        last = n + rows == len(planes)
        parts.append(deflate.compress(planes[n : n + rows].reshape(-1).data))
        parts.append(deflate.flush(zlib.Z_FINISH if last else zlib.Z_FULL_FLUSH))
        n += rows
    parts.append(zlib.adler32(planes.reshape(-1).data).to_bytes(4, "big"))
    return b"".join(parts)


def _has_pattern(plane: NDArray[np.uint8]) -> bool:
    """Whether a plane is worth compressing, from how often each byte comes in some of it."""
    some = plane[:: max(1, plane.size // _SAMPLE)]
    counts = np.bincount(some)
    share = counts[counts > 0] / some.size
    return float(-(share * np.log2(share)).sum()) < _NO_PATTERN
