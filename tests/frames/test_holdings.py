"""Frames that HDF5 makes up: what is said to be held is what HDF5 reads, and no more."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lib.frames.holdings import HELD, NEVER, Holdings

H, W = 3, 4
STORAGES: dict[str, dict[str, Any]] = {
    "contiguous": {},
    "frames": {"chunks": (1, H, W)},
    "tiles": {"chunks": (1, 2, 3)},
    "gzip": {"chunks": (1, H, W), "compression": "gzip"},
}


def frames(n: int) -> np.ndarray:
    """No pixel is zero, so that a zero is made up."""
    return (1 + np.arange(n * H * W) % 999).reshape(n, H, W).astype(np.uint16)


def reads(dataset: h5py.Dataset) -> list[bool]:
    """Which frames HDF5 itself gives whole."""

    def whole(i: int) -> bool:
        try:
            return bool(dataset[i].all())
        except OSError:
            return False

    return [whole(i) for i in range(dataset.shape[0])]


def found(path: Path) -> list[bool]:
    with h5py.File(path, "r", locking=False) as root:
        return (Holdings().of(root["data"]) == HELD).tolist()


def held(path: Path) -> list[bool]:
    """What is said to be held, which must be what HDF5 reads."""
    with h5py.File(path, "r", locking=False) as root:
        assert found(path) == reads(root["data"])
    return found(path)


def virtual(path: Path, n: int, mappings: list[tuple[Any, str, Any, int]]) -> None:
    """A virtual dataset of n frames: (its frames, file, frames of the source, how many the source has)."""
    layout = h5py.VirtualLayout((n, H, W), np.uint16)
    for mine, file, theirs, size in mappings:
        layout[mine] = h5py.VirtualSource(file, "data", (size, H, W))[theirs]
    with h5py.File(path, "a") as root:
        root.create_virtual_dataset("data", layout)


def source(path: Path, n: int, storage: str = "frames", skip: tuple[int, ...] = ()) -> None:
    with h5py.File(path, "w") as root:
        if storage == "contiguous":
            root["data"] = frames(n)
            return
        dataset = root.create_dataset("data", (n, H, W), np.uint16, **STORAGES[storage])
        for i in range(n):
            if i not in skip:
                dataset[i] = frames(n)[i]


@pytest.mark.parametrize("storage", ["frames", "tiles", "gzip"])
@pytest.mark.parametrize("skip", [(), (0,), (2, 3), (5, 6), tuple(range(7))])
def test_chunks_that_were_never_stored(tmp_path: Path, storage: str, skip: tuple[int, ...]) -> None:
    source(tmp_path / "m.h5", 7, storage, skip)
    assert held(tmp_path / "m.h5") == [i not in skip for i in range(7)]


def test_half_a_frame_is_none(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "m.h5", "w") as root:
        dataset = root.create_dataset("data", (3, H, W), np.uint16, chunks=(1, 1, W))
        dataset[0], dataset[1, :2], dataset[2] = frames(1)[0], 7, 5
    assert held(tmp_path / "m.h5") == [True, False, True]


def test_a_contiguous_dataset_into_which_nothing_was_written(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "m.h5", "w") as root:
        root.create_dataset("data", (3, H, W), np.uint16)
    assert held(tmp_path / "m.h5") == [False] * 3


@pytest.mark.parametrize("size", [(2, H, W), (3, 2, 3), (4, H, W), (9, H, W), (5, 1, 1)])
@pytest.mark.parametrize("n_written", [1, 4, 5, 9])
@pytest.mark.parametrize("way", ["itself", "virtual"])
def test_a_chunk_of_several_frames_that_got_some(
    tmp_path: Path, size: tuple[int, ...], n_written: int, way: str
) -> None:
    """Such a chunk is stored with its first frame; the others are zeros until they come."""
    name = "m.h5" if way == "itself" else "s.h5"
    with h5py.File(tmp_path / name, "w") as root:
        root.create_dataset("data", (9, H, W), np.uint16, chunks=size)[:n_written] = frames(n_written)
    if way == "virtual":
        virtual(tmp_path / "m.h5", 9, [(slice(0, 9), "s.h5", slice(0, 9), 9)])
    assert held(tmp_path / "m.h5") == [i < n_written for i in range(9)]


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_virtual_datasets_of_any_kind(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    """Sources of any storage, short, with holes or gone; strides, single frames, gaps between them; nested.

    HDF5 is no judge here: beyond the end of a short contiguous source it reads what follows in the file.
    """
    folder = tmp_path_factory.mktemp("virtual")
    n, start, mappings, truth = 12, 0, [], [False] * 12
    for k in range(data.draw(st.integers(1, 4))):
        start += data.draw(st.integers(0, 2))
        size = data.draw(st.integers(1, 4))
        if start + size > n:
            break
        has = data.draw(st.integers(1, size))
        skip = tuple(data.draw(st.lists(st.integers(0, has - 1), max_size=2)))
        storage = data.draw(st.sampled_from(list(STORAGES)))
        if data.draw(st.integers(0, 4)):
            source(folder / f"s{k}.h5", has, storage, skip)
            for i in range(has):
                truth[start + i] = storage == "contiguous" or i not in skip
        if data.draw(st.booleans()):
            mappings.append((slice(start, start + size), f"s{k}.h5", slice(0, size), size))
        else:
            mappings += [(start + i, f"s{k}.h5", i, size) for i in range(size)]
        start += size
    virtual(folder / "inner.h5", n, mappings)
    assert found(folder / "inner.h5") == truth
    step = data.draw(st.integers(1, 3))
    n_outer = -(-n // step)
    virtual(folder / "m.h5", n_outer, [(slice(0, n_outer), "inner.h5", slice(0, n, step), n)])
    assert found(folder / "m.h5") == truth[::step]
    virtual(folder / "m2.h5", 2 * n, [(slice(1, 2 * n, 2), "inner.h5", slice(0, n), n)])
    assert found(folder / "m2.h5") == [bool(i % 2) and truth[i // 2] for i in range(2 * n)]


def test_one_file_for_each_frame_and_modules_side_by_side(tmp_path: Path) -> None:
    layout = h5py.VirtualLayout((4, H, 2 * W), np.uint16)
    for i in range(4):
        for side in (0, 1):
            name = f"s{i}{side}.h5"
            if (i, side) != (2, 1):
                with h5py.File(tmp_path / name, "w") as root:
                    root["data"] = frames(1)[0]
            layout[i, :, side * W : (side + 1) * W] = h5py.VirtualSource(name, "data", (H, W))
    with h5py.File(tmp_path / "m.h5", "w") as root:
        root.create_virtual_dataset("data", layout)
    assert held(tmp_path / "m.h5") == [True, True, False, True]


def test_gaps_between_modules_are_no_lack(tmp_path: Path) -> None:
    source(tmp_path / "s.h5", 3)
    layout = h5py.VirtualLayout((5, H, W + 2), np.uint16)
    layout[0:3, :, :W] = h5py.VirtualSource("s.h5", "data", (3, H, W))
    with h5py.File(tmp_path / "m.h5", "w") as root:
        root.create_virtual_dataset("data", layout)
    with h5py.File(tmp_path / "m.h5", "r") as root:
        assert Holdings().of(root["data"]).tolist() == [HELD] * 3 + [NEVER] * 2


def test_names_with_the_number_of_a_block(tmp_path: Path) -> None:
    space = h5py.h5s.create_simple((2, H, W), (h5py.h5s.UNLIMITED, H, W))
    space.select_hyperslab((0, 0, 0), (h5py.h5s.UNLIMITED, 1, 1), (2, H, W), (2, H, W))
    made = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    made.set_virtual(space, b"s%b.h5", b"/data", h5py.h5s.create_simple((2, H, W)))
    with h5py.File(tmp_path / "m.h5", "w") as root:
        h5py.h5d.create(root.id, b"data", h5py.h5t.NATIVE_UINT16, space, dcpl=made)
    for k in range(3):
        source(tmp_path / f"s{k}.h5", 2, skip=(1,) if k == 1 else ())
    assert held(tmp_path / "m.h5") == [True, True, True, False, True, True]


def test_a_circle_of_virtual_datasets(tmp_path: Path) -> None:
    for mine, other in (("a.h5", "b.h5"), ("b.h5", "a.h5")):
        virtual(tmp_path / mine, 3, [(slice(0, 3), other, slice(0, 3), 3)])
    with h5py.File(tmp_path / "a.h5", "r") as root:
        holdings = Holdings()
        codes = holdings.of(root["data"])
    assert {holdings.reasons[c] for c in codes} == {"its virtual dataset leads in a circle"}


def test_sources_that_are_torn_or_hold_something_else(tmp_path: Path) -> None:
    source(tmp_path / "s1.h5", 3)
    with h5py.File(tmp_path / "s2.h5", "w") as root:
        root["other"] = 1
    (tmp_path / "s3.h5").write_bytes((tmp_path / "s1.h5").read_bytes()[:-100])
    with h5py.File(tmp_path / "s4.h5", "w") as root:
        root["data"] = frames(3)[:, :2]
    mappings = [(slice(3 * k, 3 * k + 3), f"s{k}.h5", slice(0, 3), 3) for k in range(5)]
    virtual(tmp_path / "m.h5", 15, mappings)
    with h5py.File(tmp_path / "m.h5", "r") as root:
        holdings = Holdings()
        reasons = [holdings.reasons[code] for code in holdings.of(root["data"])[::3]]
    assert reasons[0] == "s0.h5 is missing"
    assert reasons[1] == ""
    assert reasons[2].startswith("s2.h5 holds no /data")
    assert reasons[3].startswith("s3.h5 cannot be read as HDF5 (")
    assert reasons[4] == "s4.h5 holds images of 4 x 2 pixels, others than those that are mapped"
    assert holdings.missing == ["s0.h5"]


@pytest.mark.parametrize("cut", [0, 1, H * W * 2, 3 * H * W * 2 + 1])
def test_external_raw_storage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cut: int) -> None:
    """Two files, the first with a header; the second cut short."""
    whole = frames(6)
    (tmp_path / "a.raw").write_bytes(b"head" + whole[:2].tobytes())
    content = whole[2:].tobytes()
    (tmp_path / "b.raw").write_bytes(content[: len(content) - cut])
    with h5py.File(tmp_path / "m.h5", "w") as root:
        pieces = [("a.raw", 4, 2 * H * W * 2), ("b.raw", 0, h5py.h5f.UNLIMITED)]
        root.create_dataset("data", (6, H, W), np.uint16, external=pieces)
    monkeypatch.chdir(tmp_path)
    n_lost = -(-cut // (H * W * 2))
    with h5py.File(tmp_path / "m.h5", "r") as root:  # HDF5 fills up with zeros from the byte on that lacks
        assert (Holdings().of(root["data"]) == HELD).tolist() == [i < 6 - n_lost for i in range(6)]
        assert (root["data"][: 6 - n_lost] == whole[: 6 - n_lost]).all()
