"""The low-level questions to HDF5 have the answers of h5py."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import h5py
import numpy as np
import pytest

from lib.frames.quick import DATASET, GROUP, NOTHING, OTHER, is_stack, kind_of, numbers, shape_and_kind

NUMBERS = {
    "float": 1.5,
    "single": np.float32(0.1),
    "half": np.float16(0.5),
    "big": np.array([1.0, np.nan, -np.inf], ">f8"),
    "integer": np.int64(-(2**53) - 1),
    "byte": np.array([0, 255], np.uint8),
    "one": np.array([7.0]),
}
NONE = {
    "text": "1.5",
    "texts": np.array([b"1", b"2"]),
    "truth": True,
    "truths": np.array([True, False]),
    "table": np.zeros((3, 2)),
    "pair": np.zeros(2, [("a", "f8"), ("b", "i4")]),
    "complex": 1j,
    "nothing": h5py.Empty("f8"),
    "no length": np.zeros(0),
    "too many": np.zeros(11),
}


@pytest.fixture
def group(tmp_path: Path) -> Iterator[h5py.Group]:
    with h5py.File(tmp_path / "other.h5", "w") as other:
        other["g/x"] = 3.0
    with h5py.File(tmp_path / "m.h5", "w") as root:
        found = root.create_group("entry")
        for name, value in {**NUMBERS, **NONE}.items():
            found[name] = value
        found["frames"] = np.zeros((2, 3, 4), np.uint16)
        found["texts of frames"] = np.full((2, 3, 4), b"x")
        found["a/b/c"] = 2.0
        found["motor \N{GREEK SMALL LETTER OMEGA}"] = 4.0
        found["type"] = np.dtype("f8")
        found["soft"] = h5py.SoftLink("/entry/a/b/c")
        found["external"] = h5py.ExternalLink("other.h5", "/g")
        found["gone"] = h5py.ExternalLink("gone.h5", "/g")
        found["dead"] = h5py.SoftLink("nowhere")
        found["circle"] = h5py.SoftLink("ring")
        found["ring"] = h5py.SoftLink("circle")
        yield found


@pytest.mark.parametrize("name", NUMBERS)
def test_numbers_are_those_of_h5py(group: h5py.Group, name: str) -> None:
    np.testing.assert_array_equal(
        numbers(group, name, 10), np.atleast_1d(np.asarray(group[name][()], dtype=np.float64))
    )


@pytest.mark.parametrize(
    "name", [*NONE, "a", "frames", "type", "gone", "gone/x", "dead", "circle", "no", "a/no"]
)
def test_what_is_no_number(group: h5py.Group, name: str) -> None:
    assert numbers(group, name, 10) is None


def test_links_are_followed(group: h5py.Group) -> None:
    for path, value in {"soft": 2.0, "external/x": 3.0, "motor \N{GREEK SMALL LETTER OMEGA}": 4.0}.items():
        assert numbers(group, path, 1) == [value]
        assert kind_of(group, path) == DATASET
        assert shape_and_kind(group, path) == ((), "f")


def test_kinds(group: h5py.Group) -> None:
    kinds = {"a": GROUP, "a/b": GROUP, "external": GROUP, "a/b/c": DATASET, "text": DATASET, "type": OTHER}
    nowhere = ("no", "no/way", "a/no", "a/no/way", "float/x", "gone", "gone/x", "dead", "circle", "circle/x")
    for path, kind in {**kinds, **dict.fromkeys(nowhere, NOTHING)}.items():
        assert kind_of(group, path) == kind, path


def test_stacks_of_frames(group: h5py.Group) -> None:
    assert [name for name in group if is_stack(group, name)] == ["frames"]
