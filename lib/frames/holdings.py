"""Which frames of an HDF5 dataset were written: HDF5 gives zeros for the others, without a word.

A virtual dataset is looked into down to the files that hold its pixels, chunks are counted, files of
external raw storage measured.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import h5py
import numpy as np
from numpy.typing import NDArray

from .hdf5 import get
from .hdf5_file import open_hdf5
from .links import VIRTUAL, explain, find_file, find_raw_file

HELD, NEVER = 0, 1  # codes of a frame; higher ones number what is wrong
_ENDLESS = h5py.h5s.UNLIMITED
_IN_A_CIRCLE = "its virtual dataset leads in a circle"

Codes = NDArray[np.int64]


class Part(NamedTuple):
    """Frames of a virtual dataset (n,), and those of a source (n,) that they are; None for all it has."""

    frames: Codes
    file: str
    name: str
    source: Codes | None
    pixels: int  # of each frame
    bounds: tuple[int, ...]  # beyond the last row and column of the source


class Holdings:
    """Looks which frames are held; one for each entry, so that every source is opened once.

    missing are the names of source files that were not found, reasons what a code of `of` means.
    """

    def __init__(self) -> None:
        self.reasons = ["", "never written"]
        self.missing: list[str] = []
        self._known: dict[tuple[str, str], tuple[Codes, tuple[int, ...]] | None] = {}

    def code(self, reason: str) -> int:
        """The code of a reason."""
        if reason not in self.reasons:
            self.reasons.append(reason)
        return self.reasons.index(reason)

    def of(self, dataset: h5py.Dataset) -> Codes:
        """The code of every frame, along the first axis (n,): HELD, NEVER or that of a reason."""
        if dataset.ndim == 0 or 0 in dataset.shape:
            return np.zeros(0, dtype=np.int64)
        if dataset.is_virtual:
            return self._virtual(dataset)
        if dataset.external:
            return self._raw(dataset)
        if dataset.chunks:
            return _chunked(dataset)
        written = dataset.id.get_storage_size() > 0
        return np.full(dataset.shape[0], HELD if written else NEVER)

    def _virtual(self, dataset: h5py.Dataset) -> Codes:
        """A frame is held where the sources of all its pixels are; all frames have the same pixels."""
        self._known[dataset.file.filename, dataset.name] = None  # a source that leads here leads in a circle
        codes = np.full(dataset.shape[0], HELD)
        covered = np.zeros(dataset.shape[0], dtype=np.int64)
        for source in dataset.virtual_sources():
            for part in _parts(source, dataset.shape):
                found = self._source(dataset, part)
                covered[part.frames] += part.pixels
                codes[part.frames] = np.maximum(codes[part.frames], found)
        covered = np.minimum(covered, int(np.prod(dataset.shape[1:])))  # some may be mapped twice
        codes[(covered < covered.max()) & (codes == HELD)] = NEVER
        codes[covered == 0] = NEVER
        return codes

    def _source(self, owner: h5py.Dataset, part: Part) -> Codes | int:
        """The codes of the frames of one part."""
        path = Path(owner.file.filename)
        if part.file != ".":
            found = find_file(part.file, owner.file.filename, VIRTUAL)
            if found is None:
                if part.file not in self.missing:
                    self.missing.append(part.file)
                return self.code(f"{part.file} is missing")
            path = found
        key = (str(path), part.name)
        if key not in self._known:
            code = self._look(path, part)
            if code:
                return code
        known = self._known[key]
        if known is None:
            return self.code(_IN_A_CIRCLE)
        codes, shape = known
        return self._match(part, codes, shape)

    def _look(self, path: Path, part: Part) -> int:
        """Get to know a source; 0, or the code of what is wrong with it."""
        key = (str(path), part.name)
        self._known[key] = None
        try:
            with open_hdf5(path) as file:
                dataset = get(file, part.name)
                if not isinstance(dataset, h5py.Dataset):
                    del self._known[key]
                    return self.code(f"{part.file} holds no {part.name} ({explain(file['/'], part.name)})")
                self._known[key] = (self.of(dataset), dataset.shape)
        except OSError as error:
            del self._known[key]
            reason = " ".join(str(error).split())
            return self.code(f"{part.file} cannot be read as HDF5 ({reason})")
        return 0

    def _match(self, part: Part, codes: Codes, shape: tuple[int, ...]) -> Codes | int:
        """The codes of the frames of a part, from those of its source of that shape."""
        wanted, n_wanted = part.source, part.frames.size
        pixels = int(np.prod(shape[1:]))
        if wanted is None and pixels == part.pixels and (len(shape) > 2 or n_wanted == codes.size):
            wanted = np.arange(n_wanted)
        too_small = any(have < need for have, need in zip(shape[1:], part.bounds, strict=False))
        if too_small or (wanted is None and pixels * shape[0] != part.pixels * n_wanted):
            size = " x ".join(map(str, shape[:0:-1]))
            return self.code(f"{part.file} holds images of {size} pixels, others than those that are mapped")
        if wanted is None:  # an image of its own, or frames along two axes: whole, or not at all
            return int(codes.max(initial=HELD))
        there = np.where(wanted < codes.size, np.append(codes, NEVER)[np.minimum(wanted, codes.size)], NEVER)
        return there if wanted.size == n_wanted else int(there.max(initial=HELD))

    def _raw(self, dataset: h5py.Dataset) -> Codes:
        """Frames of external raw storage are held where its files are there and long enough."""
        codes = np.full(dataset.shape[0], HELD)
        step = int(np.prod(dataset.shape[1:])) * dataset.dtype.itemsize
        for name, start, stop, offset in raw_segments(dataset):
            path = find_raw_file(name, dataset.file.filename)
            frames = slice(start // step, -(-stop // step))
            if not path.is_file():
                if name not in self.missing:
                    self.missing.append(name)
                codes[frames] = self.code(f"{name} is missing")
                continue
            held = path.stat().st_size - offset
            if held < stop - start:
                first = (start + max(0, held)) // step
                codes[first : frames.stop] = self.code(f"{name} is cut short")
        return codes


def raw_segments(dataset: h5py.Dataset) -> Iterator[tuple[str, int, int, int]]:
    """The files of external raw storage: name, first and last byte of the dataset in it, and where."""
    total, start = int(np.prod(dataset.shape)) * dataset.dtype.itemsize, 0
    for name, offset, size in dataset.external:
        stop = min(total, start + int(size))
        if stop > start:
            yield name, start, stop, int(offset)
        start = stop


def _chunked(dataset: h5py.Dataset) -> Codes:
    """A frame is held where all its chunks were stored, but for the end of the last of several frames."""
    n_along = [-(-size // chunk) for size, chunk in zip(dataset.shape, dataset.chunks, strict=True)]
    codes = np.full(dataset.shape[0], HELD)
    together = dataset.chunks[0]
    if dataset.id.get_num_chunks() < int(np.prod(n_along)):
        stored = np.zeros(n_along[0], dtype=np.int64)

        def count(chunk: Any) -> None:
            stored[chunk.chunk_offset[0] // together] += 1

        dataset.id.chunk_iter(count)
        whole = int(np.prod(n_along[1:]))
        codes[np.repeat(stored < whole, together)[: codes.size]] = NEVER
    if together > 1 and dataset.ndim > 2 and (codes == HELD).any():
        last = int(np.flatnonzero(codes == HELD)[-1])
        codes[_last_written(dataset, last) + 1 : last + 1] = NEVER
    return codes


def _last_written(dataset: h5py.Dataset, last: int) -> int:
    """The last frame of the chunk of `last` that is not empty throughout: it is stored with its first."""
    first = last // dataset.chunks[0] * dataset.chunks[0]
    with contextlib.suppress(OSError):  # a chunk that is damaged is named when it is read
        for number in range(last, first - 1, -1):
            if (dataset[number] != dataset.fillvalue).any():
                return number
    return last


def _parts(source: Any, shape: tuple[int, ...]) -> Iterator[Part]:
    """What one mapping of a virtual dataset joins; of a name with %b, one part for each block."""
    space = source.vspace
    frames, pixels = _frames_of(space, shape)
    block = _block_of(space)
    if "%b" not in source.file_name and "%b" not in source.dset_name:
        wanted, bounds = _selected(source.src_space, frames.size)
        yield Part(frames, _plain(source.file_name), _path(source.dset_name), wanted, pixels, bounds)
        return
    for number in range(-(-frames.size // block)):
        part = frames[number * block : (number + 1) * block]
        file, name = (text.replace("%b", str(number)) for text in (source.file_name, source.dset_name))
        wanted, bounds = _selected(source.src_space, part.size)
        wanted = None if wanted is None else wanted[: part.size]
        yield Part(part, _plain(file), _path(name), wanted, pixels, bounds)


def _plain(name: str) -> str:
    return name.replace("%%", "%")


def _path(name: str) -> str:
    return "/" + _plain(name).lstrip("/")


def _block_of(space: Any) -> int:
    """How many frames lie together in a selection."""
    regular = space.get_select_type() == h5py.h5s.SEL_HYPERSLABS and space.is_regular_hyperslab()
    return int(space.get_regular_hyperslab()[3][0]) if regular else 1


def _frames_of(space: Any, shape: tuple[int, ...]) -> tuple[Codes, int]:
    """Which frames of a dataset of that shape a selection has, and how many pixels of each."""
    if space.get_select_type() != h5py.h5s.SEL_HYPERSLABS:
        return np.arange(shape[0]), int(np.prod(shape[1:]))
    if not space.is_regular_hyperslab():
        return _frames_of_blocks(space)
    slabs = list(zip(*space.get_regular_hyperslab(), shape, strict=True))
    axes = [_along(*(int(v) for v in slab)) for slab in slabs]
    return axes[0], int(np.prod([axis.size for axis in axes[1:]]))


def _along(start: int, stride: int, count: int, block: int, length: int) -> Codes:
    """The places that a regular selection has along an axis of that length."""
    if block == _ENDLESS:
        return np.arange(start, length)
    if count == _ENDLESS:
        count = -(-max(0, length - start) // stride)
    places = (start + stride * np.arange(count))[:, None] + np.arange(block)
    return places.ravel()[places.ravel() < length]


def _frames_of_blocks(space: Any) -> tuple[Codes, int]:
    frames: list[Codes] = []
    pixels = 0
    for first, last in space.get_select_hyper_blocklist():
        frames.append(np.arange(first[0], last[0] + 1))
        pixels += int(np.prod([b - a + 1 for a, b in zip(first, last, strict=True)]))
    chosen = np.unique(np.concatenate(frames))
    return chosen, pixels // chosen.size


def _selected(space: Any, n_frames: int) -> tuple[Codes | None, tuple[int, ...]]:
    """The frames of a source that are selected, None for all, and where its rows and columns end."""
    if space.get_select_type() != h5py.h5s.SEL_HYPERSLABS:
        return None, ()
    if not space.is_regular_hyperslab():
        frames, _ = _frames_of_blocks(space)
        return frames, tuple(int(v) + 1 for v in space.get_select_bounds()[1][1:])
    slabs = [tuple(int(v) for v in slab) for slab in zip(*space.get_regular_hyperslab(), strict=True)]
    start, stride, count, block = slabs[0]
    endless = _ENDLESS in slabs[0]
    length = start + n_frames if endless else start + stride * count + block
    bounds = tuple(s + d * (c - 1) + b for s, d, c, b in slabs[1:])
    return _along(start, stride, count, block, length), bounds
