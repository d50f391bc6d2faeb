"""Frames above a dark level: what is a number is reduced by it, what is none stays none."""

from __future__ import annotations

from itertools import permutations
from typing import Any

import numpy as np
import pytest

from lib.physics.dark import DarkLevel
from lib.scan.above import FramesAbove
from lib.scan.store import scan_of_arrays

LEVEL = 3.0
NO_NUMBERS = (np.nan, np.inf, -np.inf)


def above(values: np.ndarray, *, signed: bool, columns: slice = slice(None)) -> np.ndarray:
    """The frame (n_x, n_y) as it is read above the level."""
    axes = dict(zip(("tilt1", "tilt2", "omega"), np.zeros((3, 1)), strict=True))
    frames = scan_of_arrays(values[None, None, None], axes).open()
    pattern = np.full(values.shape, LEVEL - 1, np.float32)
    level = DarkLevel(pattern, np.ones(1, np.float32), 1.0, signed)
    out = np.empty_like(values[columns])
    with FramesAbove(frames, level) as opened:
        opened.read_columns((0, 0, 0), columns.start or 0, out)
    return out


@pytest.mark.parametrize("signed", [True, False])
@pytest.mark.parametrize("kind", ["u2", "i2", "f4", "f8", ">f4"])
def test_numbers_are_reduced_by_the_level(kind: str, signed: bool) -> None:
    values = np.arange(24).reshape(4, 6).astype(kind)
    if kind == "u2" and signed:
        values += 4
    expected = values.astype(float) - LEVEL
    expected = expected if signed else np.maximum(expected, 0)
    np.testing.assert_array_equal(above(values, signed=signed), expected)
    np.testing.assert_array_equal(above(values, signed=signed, columns=slice(1, 3)), expected[1:3])


@pytest.mark.parametrize("signed", [True, False])
@pytest.mark.parametrize("some", [p for n in (1, 2, 3) for p in permutations(NO_NUMBERS, n)], ids=str)
def test_what_is_no_number_stays_none(some: tuple[float, ...], signed: bool) -> None:
    """Alone and beside each other, in whatever order."""
    values = np.arange(24, dtype=np.float32).reshape(4, 6)
    values.flat[5 : 5 + 3 * len(some) : 3] = some
    found = above(values, signed=signed)
    known = np.isfinite(values)
    np.testing.assert_array_equal(np.isfinite(found), known)
    expected = values[known] - LEVEL
    np.testing.assert_array_equal(found[known], expected if signed else np.maximum(expected, 0))


@pytest.mark.parametrize("gap", [0, np.nan, np.inf])
def test_frames_are_searched_pixel_by_pixel_only_where_there_is_something(
    gap: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every frame of a reconstruction is read so, several times."""

    def search(values: Any) -> Any:
        raise AssertionError("searched")

    monkeypatch.setattr(np, "isneginf", search)
    values = np.arange(24, dtype=np.float32).reshape(4, 6)
    values[1] = gap
    above(values, signed=False)
    values[2, 3] = -np.inf
    with pytest.raises(AssertionError, match="searched"):
        above(values, signed=False)
