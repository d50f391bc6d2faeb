"""The ring current of a BLISS entry: per frame, from the slow counters beside it, or one for the entry."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from lib.frames.current import ring_current_of
from tests.frames.bliss_entries import N, entry

FRAMES = {"instrument/epoch_trig/data": 1000.0 + np.arange(N)}
SLOW = np.array([100.0, 110.0, 120.0, 130.0])
CLOCK = {"../1.2/instrument/epoch/value": 1000.0 + np.array([0.0, 10.0, 20.0, 30.0])}


def current(content: dict[str, Any]) -> np.ndarray:
    with entry(content) as group:
        return ring_current_of(group, N)


@pytest.mark.parametrize("key", ["data", "signal", "value"])
def test_slow_counters_by_time(key: str) -> None:
    found = current({**FRAMES, **CLOCK, f"../1.2/instrument/current/{key}": SLOW})
    np.testing.assert_allclose(found, np.minimum(100.0 + np.arange(N), 130.0))


def test_slow_counters_without_a_time_give_their_mean() -> None:
    for content in (
        {**FRAMES, "../1.2/instrument/current/data": SLOW},
        {**CLOCK, "../1.2/instrument/current/data": SLOW},
        {"../1.2/measurement/current": SLOW},
    ):
        np.testing.assert_array_equal(current(content), np.full(N, 115.0))


@pytest.mark.parametrize("bad", [np.nan, 0.0, -1.0])
def test_what_is_no_current_is_left_out(bad: float) -> None:
    slow = {"../1.2/instrument/current/data": [100.0, bad, 120.0, bad]}
    np.testing.assert_array_equal(current(slow), np.full(N, 110.0))
    np.testing.assert_allclose(current({**FRAMES, **CLOCK, **slow})[:21], 100.0 + np.arange(21))
    assert np.isnan(current({"instrument/machine/current": bad})).all()
    np.testing.assert_array_equal(current({"instrument/machine/current": bad, **slow}), np.full(N, 110.0))
    per_frame = np.where(np.arange(N) == 3, bad, 195.0)
    assert np.flatnonzero(np.isnan(current({"measurement/current": per_frame}))).tolist() == [3]


def test_per_frame_before_slow_counters_before_the_entry() -> None:
    per_frame = {"measurement/current": np.linspace(190, 195, N)}
    slow, one = {"../1.2/instrument/current/data": SLOW}, {"instrument/machine/current": 42.0}
    np.testing.assert_array_equal(current({**per_frame, **slow, **one}), np.linspace(190, 195, N))
    np.testing.assert_array_equal(current({**slow, **one}), np.full(N, 115.0))
    np.testing.assert_array_equal(current(one), np.full(N, 42.0))
    assert np.isnan(current({})).all()
