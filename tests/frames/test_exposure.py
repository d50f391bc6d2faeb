"""Continuous scans: positions in the middle of the exposure, and the commands that say how they went."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from lib.frames.catalog import parameters_of, text_of
from lib.frames.command import of_parameters, of_title
from lib.frames.positions import positions_of
from tests.frames.bliss_entries import CHI, MU, N1, N2, PLACE, ROW, N, entry, parameters

BACK = ROW % 2 == 1
STEP = 0.02
# A zigzag scan, its frames in the order of time: where each exposure began, and its middle.
BEGAN = np.where(BACK, 6.6 + (N2 - PLACE) * STEP, 6.6 + PLACE * STEP)
MIDDLE = 6.6 + (np.where(BACK, N2 - 1 - PLACE, PLACE) + 0.5) * STEP
TITLE = {"title": "fscan2d chi -0.2 0.1 5 mu 6.6 0.02 7 0.5 0.500417"}
FIXED = {"instrument/positioners/chi": CHI, "instrument/positioners/mu": 6.6}


def stood(content: dict[str, Any], n_frames: int = N) -> Any:
    with entry({**FIXED, **content}) as group:
        return positions_of(group, n_frames, text_of(group.get("title")), parameters_of(group))


def jitter() -> np.ndarray:
    return np.random.default_rng(0).normal(0, 2e-4, N)


@pytest.mark.parametrize("zigzag", [False, True])
@pytest.mark.parametrize("as_text", [False, True])
def test_read_back_of_the_start_moves_by_half_a_step(zigzag: bool, as_text: bool) -> None:
    """In the direction of its row; numbers in fscan_parameters may be byte strings."""
    noise = jitter()
    given = parameters(fast_motor_mode="ZIGZAG" if zigzag else "REWIND")
    if as_text:
        given = {key: str(value) for key, value in given.items()}
    found = stood({**given, "instrument/mu/data": (BEGAN if zigzag else MU) + noise})
    np.testing.assert_allclose(found.motors["mu"], (MIDDLE if zigzag else MU + STEP / 2) + noise, atol=1e-12)
    assert "half a step (0.01, by fscan_parameters)" in found.remarks["mu"]
    assert ("zigzag" in found.remarks["mu"]) == zigzag
    np.testing.assert_array_equal(found.motors["chi"], CHI)  # it stands still in each row
    assert found.doubts == []


def test_rows_go_as_they_were_read_whatever_the_mode_says() -> None:
    found = stood({**parameters(fast_motor_mode="REWIND"), "instrument/mu/data": BEGAN})
    np.testing.assert_allclose(found.motors["mu"], MIDDLE, atol=1e-12)


def test_a_scan_downwards() -> None:
    down = 6.6 - STEP * PLACE
    found = stood({**parameters(fast_step_size=-STEP), "instrument/mu/data": down})
    np.testing.assert_allclose(found.motors["mu"], down - STEP / 2, atol=1e-12)


def test_read_back_of_the_middle_stays() -> None:
    noise = jitter()
    for values in (MIDDLE + noise, MU + STEP / 2 + noise):
        found = stood({**parameters(), "instrument/mu/data": values})
        np.testing.assert_array_equal(found.motors["mu"], values)
        assert found.remarks == {}


@pytest.mark.parametrize("place", ["instrument/mu_center/data", "measurement/mu_center"])
def test_the_middle_that_is_written_down_counts(place: str) -> None:
    found = stood({**parameters(), "instrument/mu/data": BEGAN, place: MIDDLE})
    np.testing.assert_array_equal(found.motors["mu"], MIDDLE)
    assert "mu_center, the middle of the exposure" in found.remarks["mu"]
    np.testing.assert_array_equal(found.motors["mu_center"], MIDDLE)


def test_a_middle_modulo_360() -> None:
    began = -15.0 + np.arange(N)
    content = {"instrument/omega/data": began, "instrument/omega_cen360/data": np.mod(began + 0.5, 360)}
    np.testing.assert_allclose(stood(content).motors["omega"], began + 0.5)


def test_a_step_scan_is_left_alone() -> None:
    title = {"title": "amesh mu 6.6 6.72 6 chi -0.2 0.2 4 0.1"}
    found = stood({**title, "instrument/mu/data": MU})
    np.testing.assert_array_equal(found.motors["mu"], MU)
    assert (found.remarks, found.doubts) == ({}, [])


def test_the_title_alone_says_that_positions_may_be_those_of_the_start() -> None:
    found = stood({**TITLE, "instrument/mu/data": MU})
    np.testing.assert_array_equal(found.motors["mu"], MU)
    assert "half a step (0.01) further" in found.doubts[0]


def test_zigzag_rows_that_would_not_meet_are_proof_enough() -> None:
    found = stood({**TITLE, "instrument/mu/data": BEGAN + jitter()})
    np.testing.assert_allclose(found.motors["mu"], MIDDLE + jitter(), atol=1e-12)
    assert "by title" in found.remarks["mu"]


def test_a_trigger_position_is_named_as_what_it_is() -> None:
    assert "began" in stood({"instrument/mu_trig/data": BEGAN}).remarks["mu_trig"]


# ---- Where there is no more than the start ----


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (parameters(), MU + STEP / 2),
        (parameters(fast_motor_mode="ZIGZAG"), MIDDLE),
        (TITLE, MU + STEP / 2),
        ({"title": "amesh mu 6.6 6.72 6 chi -0.2 0.2 4 0.1"}, MU),
        ({"title": "dmesh mu 0 0.12 6 chi 0 0.4 4 0.1"}, MU),
    ],
)
@pytest.mark.parametrize("n_frames", [N, N - 5])
def test_the_command_says_how_a_motor_went_on(
    content: dict[str, Any], expected: np.ndarray, n_frames: int
) -> None:
    start = {"instrument/positioners/chi": CHI[:n_frames]}
    found = stood({**content, **start}, n_frames)
    np.testing.assert_allclose(found.motors["mu"], expected[:n_frames], atol=1e-12)
    assert "the entry has only where it stood at the start" in found.remarks["mu"]


def test_a_command_of_fewer_frames_is_not_used() -> None:
    found = stood({"title": "ascan mu 6.6 6.7 5 0.1"})
    np.testing.assert_array_equal(found.motors["mu"], np.full(N, 6.6))
    assert found.doubts == [f"title says 6 frames, there are {N}; it is not used"]


def test_commands_that_contradict_each_other_are_both_named() -> None:
    found = stood({**parameters(fast_motor="eta"), **TITLE, "instrument/mu/data": MU})
    assert "eta 6.6 0.02 7" in found.doubts[0]
    assert "mu 6.6 0.02 7" in found.doubts[0]


# ---- Commands ----


@pytest.mark.parametrize(
    ("title", "sweeps", "continuous"),
    [
        ("fscan omega 0 0.8 226 0.1 0.11", ["omega 0 0.8 226"], True),
        (
            "fscan2d chi -0.5 0.08 26 diffry 7 0.06 37 0.5 0.500417",
            ["chi -0.5 0.08 26", "diffry 7 0.06 37"],
            True,
        ),
        ("ascan mu 0 1 10 0.1", ["mu 0 0.1 11"], False),
        ("ascan  diffry -23.176 -23.146  30 5", ["diffry -23.176 0.001 31"], False),
        ("a2scan mu 0 1 chi 0 2 4 0.1", ["mu 0 0.25 5", "chi 0 0.5 5"], False),
        ("amesh mu 0 1 4 chi 0 2 2 0.1", ["chi 0 1 3", "mu 0 0.25 5"], False),
    ],
)
def test_titles(title: str, sweeps: list[str], continuous: bool) -> None:
    command = of_title(title)
    assert command is not None
    assert [str(sweep) for sweep in command.sweeps.values()] == sweeps
    assert command.continuous == continuous


@pytest.mark.parametrize(
    "title",
    ["", "loopscan 10 0.1", "ct 1", "fscan", "ascan mu", "ascan mu 0 x 3 1", "CCD Image", "fscan 1 2 3 4"],
)
def test_titles_that_scan_nothing(title: str) -> None:
    assert of_title(title) is None


def test_motors_that_step_together() -> None:
    command = of_title("d2scan phi -1 1 chi 0 2 4 0.1")
    assert command is not None
    assert (command.n_frames, command.relative) == (5, True)
    found = command.positions("chi", 5, 10.0)
    np.testing.assert_allclose(found, [10, 10.5, 11, 11.5, 12])  # type: ignore[arg-type]
    assert command.positions("chi", 5) is None


def test_parameters_that_are_no_command() -> None:
    assert of_parameters({}) is None
    assert of_parameters({"motor": "mu", "start_pos": "x", "step_size": "1", "npoints": "3"}) is None
    assert of_parameters({"motor": "mu", "start_pos": "0", "step_size": "1", "npoints": "0"}) is None
    one = of_parameters({"motor": "mu", "start_pos": "0", "step_size": "1", "npoints": "3.0"})
    assert one is not None
    np.testing.assert_array_equal(one.steps("mu", 3), [0, 1, 2])
    assert N1 * N2 == N


@pytest.mark.parametrize(
    "title",
    ["zapimage mu 0 0.7 7 1000 chi 0 2 2", "zapimage mu 0 0.7 7 chi 0 2 2 1000"],
    ids=["time of a pixel", "time at the end"],
)
def test_zap_scans_give_the_middle_of_each_pixel(title: str) -> None:
    command = of_title(title)
    assert command is not None
    assert command.n_frames == 21
    np.testing.assert_allclose(command.positions("mu", 21), np.tile(0.05 + 0.1 * np.arange(7), 3))  # type: ignore[arg-type]
    np.testing.assert_allclose(command.positions("chi", 21), np.repeat([0.0, 1, 2], 7))  # type: ignore[arg-type]
    assert of_title("zapline mu 0 0.7 0 1000") is None
    assert of_title("zapimage mu 0 0.7 7 1000") is None
