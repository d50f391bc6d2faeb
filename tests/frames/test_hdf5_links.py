"""Frames that the entry of a master file leads to: by links of every kind, found where HDF5 finds them."""

from __future__ import annotations

import resource
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import hdf5plugin
import numpy as np
import pytest

from lib.errors import Recon3DError
from lib.frames import bliss, edf
from lib.frames.entries import find_entries
from lib.frames.links import LINKS, VIRTUAL, find_file
from lib.frames.pixels import Roi
from lib.frames.sources import RoiReader

N, H, W = 6, 9, 11
ROI = Roi(2, 1, 5, 4)
INSIDE = "entry_0000/pco/data"
STORAGES: dict[str, dict[str, Any]] = {
    "contiguous": {},
    "bitshuffle": {"chunks": (1, H, W), **hdf5plugin.Bitshuffle()},
    "gzip": {"chunks": (4, 5, 6), "compression": "gzip", "shuffle": True},
    "big-endian": {"dtype": ">u2"},
}


def frames(seed: int, n: int = N) -> np.ndarray:
    return np.random.default_rng(seed).integers(1, 5000, (n, H, W), dtype=np.uint16)


def camera_file(path: Path, pixels: np.ndarray, storage: str = "bitshuffle", inside: str = INSIDE) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with h5py.File(path, "a") as root:
        root.create_dataset(inside, data=pixels, **STORAGES[storage])
    return path


def entry(root: h5py.File, name: str, omega: float, n: int = N) -> h5py.Group:
    group = root.create_group(name)
    group["instrument/positioners/omega"] = omega
    group["instrument/chi/value"] = 0.1 * np.arange(n)
    group["instrument/positioners/chi"] = 0.0
    return group.create_group("instrument/pco")


def padding(root: h5py.File) -> None:
    """Make the master longer than any offset in the files it leads to."""
    root["padding"] = np.full(30_000, 0xAB, np.uint8)


def virtual(group: h5py.Group, pieces: list[tuple[str, int]], n: int = N, inside: str = INSIDE) -> None:
    layout = h5py.VirtualLayout((n, H, W), np.uint16)
    start = 0
    for file, size in pieces:
        layout[start : start + size] = h5py.VirtualSource(file, inside, (size, H, W))
        start += size
    group.create_virtual_dataset("data", layout)


Kind = Callable[[Path, h5py.Group, int, str], None]


def inline(folder: Path, group: h5py.Group, k: int, storage: str) -> None:
    group.create_dataset("data", data=frames(k), **STORAGES[storage])


def linked(folder: Path, group: h5py.Group, k: int, storage: str) -> None:
    camera_file(folder / f"scan{k:04d}" / "pco.h5", frames(k), storage)
    group["data"] = h5py.ExternalLink(f"scan{k:04d}/pco.h5", INSIDE)


def linked_softly(folder: Path, group: h5py.Group, k: int, storage: str) -> None:
    """BLISS: `image` is a soft link to `data`, which is an external link to a soft link."""
    camera_file(folder / f"s{k}.h5", frames(k), storage)
    with h5py.File(folder / f"s{k}.h5", "a") as root:
        root["measurement/data"] = h5py.SoftLink("/" + INSIDE)
    group["data"] = h5py.ExternalLink(f"s{k}.h5", "measurement/data")
    group["image"] = h5py.SoftLink("data")


def whole_camera_linked(folder: Path, group: h5py.Group, k: int, storage: str) -> None:
    camera_file(folder / f"s{k}.h5", frames(k), storage, "entry/detector/image")
    parent = group.parent
    del parent["pco"]
    parent["pco"] = h5py.ExternalLink(f"s{k}.h5", "/entry/detector")


def virtual_in_two(folder: Path, group: h5py.Group, k: int, storage: str) -> None:
    camera_file(folder / f"scan{k}" / "a.h5", frames(k)[:4], storage)
    camera_file(folder / f"scan{k}" / "b.h5", frames(k)[4:], storage if storage != "gzip" else "contiguous")
    virtual(group, [(f"scan{k}/a.h5", 4), (f"scan{k}/b.h5", 2)])


def virtual_of_virtual(folder: Path, group: h5py.Group, k: int, storage: str) -> None:
    """The inner one looks for its sources beside itself."""
    camera_file(folder / "raw" / f"pco{k}.h5", frames(k), storage)
    with h5py.File(folder / "raw" / f"inner{k}.h5", "w") as root:
        virtual(root.create_group("g"), [(f"pco{k}.h5", N)])
    virtual(group, [(f"raw/inner{k}.h5", N)], inside="g/data")


def link_to_virtual(folder: Path, group: h5py.Group, k: int, storage: str) -> None:
    camera_file(folder / "raw" / f"pco{k}.h5", frames(k), storage)
    with h5py.File(folder / "raw" / f"inner{k}.h5", "w") as root:
        virtual(root.create_group("g"), [(f"pco{k}.h5", N)])
    group["data"] = h5py.ExternalLink(f"raw/inner{k}.h5", "g/data")


def virtual_in_itself(folder: Path, group: h5py.Group, k: int, storage: str) -> None:
    group.file.create_dataset(f"frames{k}", data=frames(k), **STORAGES[storage])
    virtual(group, [(".", N)], inside=f"/frames{k}")


def raw(folder: Path, group: h5py.Group, k: int, storage: str) -> None:
    """One file for each frame, as EDF files are."""
    pieces = []
    for i, frame in enumerate(frames(k)):
        path = folder / f"f{k}_{i}.edf"
        path.write_bytes(b"{ header }".ljust(512) + frame.tobytes())
        pieces.append((str(path), 512, frame.nbytes))
    group.create_dataset("data", (N, H, W), np.uint16, external=pieces)


KINDS: list[Kind] = [
    inline, linked, linked_softly, whole_camera_linked, virtual_in_two, virtual_of_virtual,
    link_to_virtual, virtual_in_itself, raw,
]  # fmt: skip


def check(master: Path, names: str, seeds: list[int]) -> None:
    """The region of every frame, read entry by entry and then in turns."""
    units = find_entries(str(master), names)
    found = [bliss.read_entry(unit) for unit in units]
    assert [info.unit for entry in found for info, _ in entry] == [u for u in units for _ in range(N)]
    reader = RoiReader(ROI)
    for order in (range(N * len(seeds)), np.random.default_rng(0).permutation(N * len(seeds))):
        for place in order:
            k, i = divmod(int(place), N)
            info, motors = found[k][i]
            np.testing.assert_array_equal(reader.read(info), frames(seeds[k])[i, 1:5, 2:7])
            assert (motors["omega"], info.fault, info.n_cut) == (10.0 * seeds[k], "", 0)


@pytest.mark.parametrize("storage", list(STORAGES))
@pytest.mark.parametrize("kind", KINDS)
def test_frames_are_those_that_the_master_gives(tmp_path: Path, kind: Kind, storage: str) -> None:
    with h5py.File(tmp_path / "m.h5", "w") as root:
        padding(root)
        for k in range(3):
            kind(tmp_path, entry(root, f"{k + 1}.1", 10.0 * k), k, storage)
    check(tmp_path / "m.h5", "1.1-3.1", [0, 1, 2])


@pytest.mark.parametrize("storage", ["contiguous", "bitshuffle"])
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    "names", [("sample_0001_1.1", "sample_0002_1.1", "sample_0003_1.1"), ("2.1", "3.1", "1.1")]
)
def test_collections_of_entries_of_other_files(
    tmp_path: Path, kind: Kind, storage: str, names: tuple[str, ...]
) -> None:
    """Each dataset has its folder and its entry 1.1; the collection names them anew, in another order."""
    seeds = {}
    for k, name in enumerate(names):
        folder = tmp_path / f"sample_{k + 1:04d}"
        folder.mkdir()
        with h5py.File(folder / "dataset.h5", "w") as root:
            kind(folder, entry(root, "1.1", 10.0 * k), k, storage)
        seeds[name] = k
    with h5py.File(tmp_path / "all.h5", "w") as root:
        padding(root)
        for k, name in enumerate(names):
            root[name] = h5py.ExternalLink(f"sample_{k + 1:04d}/dataset.h5", "/1.1")
    (tmp_path / "sample_0001" / "mine.h5").symlink_to(tmp_path / "all.h5")
    for master in (tmp_path / "all.h5", tmp_path / "sample_0001" / "mine.h5"):
        check(master, "*.1", [seeds[name] for name in sorted(names)])


def test_pixels_that_lie_plain_are_read_in_their_own_file(tmp_path: Path) -> None:
    for kind, name in ((inline, "m0.h5"), (linked, "scan0000/pco.h5"), (raw, "f0_3.edf")):
        path = tmp_path / f"m{KINDS.index(kind)}.h5"
        with h5py.File(path, "w", userblock_size=512) as root:
            kind(tmp_path, entry(root, "1.1", 0.0), 0, "contiguous")
        info = bliss.read_entry(f"{path}::1.1")[3][0]
        assert (Path(info.path), info.name) == (tmp_path / name, f"{path}::1.1[3]")
        np.testing.assert_array_equal(edf.read_roi(info, ROI), frames(0)[3, 1:5, 2:7])


# ---- Where sources are looked for ----


@pytest.mark.parametrize("kind", ["virtual", "link"])
@pytest.mark.parametrize("place", ["beside", "prefix", "second prefix", "working folder", "symlink"])
@pytest.mark.parametrize("absolute", [True, False])
def test_sources_are_found_where_hdf5_finds_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str, place: str, absolute: bool
) -> None:
    folder, elsewhere = tmp_path / "data", tmp_path / "elsewhere"
    folder.mkdir()
    name = "/gone/visitor/pco.h5" if absolute else "scan0001/pco.h5"
    there = folder if place in ("beside", "symlink") else elsewhere
    camera_file(there / (Path(name).name if absolute else name), frames(0))
    with h5py.File(folder / "m.h5", "w") as root:
        group = entry(root, "1.1", 0.0)
        if kind == "virtual":
            virtual(group, [(name, N)])
        else:
            group["data"] = h5py.ExternalLink(name, INSIDE)
    prefixes = {"prefix": str(elsewhere), "second prefix": f"/nowhere:{elsewhere}"}
    if place in prefixes:
        monkeypatch.setenv("HDF5_VDS_PREFIX" if kind == "virtual" else "HDF5_EXT_PREFIX", prefixes[place])
    if place == "working folder":
        monkeypatch.chdir(elsewhere)
    master = folder / "m.h5"
    if place == "symlink":
        master = tmp_path / "work.h5"
        master.symlink_to(folder / "m.h5")
    with h5py.File(master, "r", locking=False) as root:
        assert (root["1.1/instrument/pco/data"][()] == frames(0)).all(), "HDF5 itself does not find it"
    check(master, "1.1", [0])


def test_the_folder_of_the_file_in_a_prefix(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """${ORIGIN}, which HDF5 knows for virtual datasets, and reads when it starts."""
    there = camera_file(tmp_path / "sub" / "pco.h5", frames(0))
    for variable, found in ((VIRTUAL, there), (LINKS, None)):
        monkeypatch.setenv(variable, "${ORIGIN}/sub")
        assert find_file("/gone/pco.h5", str(tmp_path / "m.h5"), variable) == found


@pytest.mark.parametrize("prefix", [None, "folder", "origin"])
def test_raw_storage_is_found_where_hdf5_finds_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, prefix: str | None
) -> None:
    """Relative names count from the working folder, unless HDF5_EXTFILE_PREFIX names another one."""
    (tmp_path / "work").mkdir()
    frames(0).tofile(tmp_path / "f.raw")
    with h5py.File(tmp_path / "m.h5", "w") as root:
        external = [("f.raw", 0, h5py.h5f.UNLIMITED)]
        entry(root, "1.1", 0.0).create_dataset("data", (N, H, W), np.uint16, external=external)
    monkeypatch.chdir(tmp_path / "work")
    if prefix is None:
        with pytest.raises(Recon3DError, match=r"f\.raw; copy them, or set HDF5_EXTFILE_PREFIX"):
            bliss.read_entry(f"{tmp_path / 'm.h5'}::1.1")
        return
    monkeypatch.setenv("HDF5_EXTFILE_PREFIX", str(tmp_path) if prefix == "folder" else "${ORIGIN}")
    check(tmp_path / "m.h5", "1.1", [0])


# ---- What is missing is named ----


@pytest.mark.parametrize("kind", [linked, linked_softly, whole_camera_linked])
@pytest.mark.parametrize("names", ["1.1,2.1", "1.1-2.1", "*"])
def test_a_link_to_a_missing_file(tmp_path: Path, kind: Kind, names: str) -> None:
    with h5py.File(tmp_path / "m.h5", "w") as root:
        for k in range(2):
            kind(tmp_path, entry(root, f"{k + 1}.1", 10.0 * k), k, "contiguous")
    lost = "scan0001/pco.h5" if kind is linked else "s1.h5"
    (tmp_path / lost).unlink()
    units = find_entries(str(tmp_path / "m.h5"), names)
    assert [unit.rpartition("::")[2] for unit in units] == ["1.1", "2.1"]
    with pytest.raises(
        Recon3DError, match=rf"m\.h5::2\.1: instrument/pco.* leads to {lost}, which is missing"
    ):
        bliss.read_entry(units[1])
    (tmp_path / lost).write_bytes(b"torn")
    with pytest.raises(Recon3DError, match=rf"{lost}, which cannot be read as HDF5"):
        bliss.read_entry(units[1])
    (tmp_path / lost).unlink()
    with h5py.File(tmp_path / lost, "w") as root:
        root["other"] = 1
    with pytest.raises(Recon3DError, match=rf"leads into {lost}, which has no "):
        bliss.read_entry(units[1])


@pytest.mark.parametrize("names", ["a_1.1,b_1.1", "*_1.1"])
def test_an_entry_of_a_collection_whose_file_is_missing(tmp_path: Path, names: str) -> None:
    with h5py.File(tmp_path / "a.h5", "w") as root:
        inline(tmp_path, entry(root, "1.1", 0.0), 0, "contiguous")
    with h5py.File(tmp_path / "all.h5", "w") as root:
        for name in "ab":
            root[f"{name}_1.1"] = h5py.ExternalLink(f"{name}.h5", "/1.1")
    units = find_entries(str(tmp_path / "all.h5"), names)
    assert len(units) == 2
    with pytest.raises(Recon3DError, match=r"all\.h5::b_1\.1: leads to b\.h5, which is missing"):
        bliss.read_entry(units[1])


def test_links_that_lead_in_a_circle(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "m.h5", "w") as root:
        entry(root, "1.1", 0.0)["data"] = h5py.SoftLink("/1.1/instrument/pco/data")
        root["1.1/instrument/loop"] = root["1.1"]
        root["2.1"] = h5py.ExternalLink("m.h5", "/2.1")
    for name in ("1.1", "2.1"):
        with pytest.raises(Recon3DError, match=rf"m\.h5::{name}: "):
            bliss.read_entry(f"{tmp_path / 'm.h5'}::{name}")


@pytest.mark.parametrize("kind", ["data", "image"])
def test_a_list_of_file_names_is_no_frames(tmp_path: Path, kind: str) -> None:
    with h5py.File(tmp_path / "m.h5", "w") as root:
        names = [f"/data/raw/pco_{i:04d}.tif::0" for i in range(N)]
        entry(root, "1.1", 0.0).create_dataset(kind, data=names, dtype=h5py.string_dtype())
    for unit in find_entries(str(tmp_path / "m.h5"), "*"):
        with pytest.raises(
            Recon3DError, match=r"is a list of file names \(/data/raw/pco_0000\.tif::0, .*EDF"
        ):
            bliss.read_entry(unit)


def test_one_camera_of_two_is_missing(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "m.h5", "w") as root:
        group = entry(root, "1.1", 0.0)
        inline(tmp_path, group, 0, "contiguous")
        group.parent.create_group("basler")["image"] = h5py.ExternalLink("gone.h5", "/x")
    unit = f"{tmp_path / 'm.h5'}::1.1"
    with pytest.raises(Recon3DError, match=r"frames of pco, basler \(leads to gone\.h5, which is missing"):
        bliss.read_entry(unit)
    assert len(bliss.read_entry(unit, "pco")) == N
    with pytest.raises(Recon3DError, match=r"instrument/basler/image leads to gone\.h5"):
        bliss.read_entry(unit, "basler")


def test_more_sources_than_may_be_open(tmp_path: Path) -> None:
    """HDF5 keeps every source of a virtual dataset open, and beyond the limit gives zeros without a word."""
    n, size = 150, (2, 2)
    layout = h5py.VirtualLayout((n, *size), np.uint16)
    for i in range(n):
        with h5py.File(tmp_path / f"s{i}.h5", "w") as root:
            root["data"] = np.full((1, *size), i + 1, np.uint16)
        layout[i : i + 1] = h5py.VirtualSource(f"s{i}.h5", "data", (1, *size))
    with h5py.File(tmp_path / "m.h5", "w") as root:
        entry(root, "1.1", 0.0, n).create_virtual_dataset("data", layout)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    highest = max(int(path.name) for path in Path("/proc/self/fd").iterdir())
    resource.setrlimit(resource.RLIMIT_NOFILE, (highest + 60, hard))
    try:
        reader = RoiReader(Roi(0, 0, 1, 1))
        values = [int(reader.read(info)[0, 0]) for info, _ in bliss.read_entry(f"{tmp_path / 'm.h5'}::1.1")]
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert values == list(range(1, n + 1))
