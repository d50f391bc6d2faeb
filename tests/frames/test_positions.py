"""Where the positions of a BLISS entry lie: per frame before per row before the start, and what is none."""

from __future__ import annotations

from typing import Any

import h5py
import numpy as np
import pytest

from lib.frames.catalog import parameters_of, text_of
from lib.frames.positions import positions_of
from tests.frames.bliss_entries import CHI, MU, N1, N2, N, entry, parameters

START = {"instrument/positioners/mu": 6.6, "instrument/positioners/chi": CHI}


def stood(content: dict[str, Any], n_frames: int = N) -> Any:
    with entry(content) as group:
        return positions_of(group, n_frames, text_of(group.get("title")), parameters_of(group))


@pytest.mark.parametrize(
    "content",
    [
        {"instrument/mu/value": MU[::N2], "instrument/mu/data": MU},
        {"instrument/mu/value": 6.6, "instrument/mu/data": MU},
        {
            "instrument/mu/value": np.append(MU, 6.9),
            "instrument/positioners/mu": MU,
            "instrument/mu/data": np.repeat(MU, 2),
        },
        {"instrument/positioners/mu": MU[::N2], "instrument/mu/data": MU},
        {"instrument/positioners/mu": MU.reshape(N1, N2)},
        {"instrument/positioners/mu": MU[:, None]},
        {"instrument/positioners/mu": MU[None, :]},
        {"measurement/mu": MU},
        {"measurement/mu_center": MU},
        {"instrument/mu": MU},
        {"instrument/muenc/data": MU},
        {"instrument/mu/value": np.full(N, 6.6), "measurement/mu": MU},
        {"instrument/mu/value": np.full(N, np.nan), "measurement/mu": MU},
        {"instrument/mu/value": np.array([f"{v:.6f}".encode() for v in MU])},
        {"instrument/mu/value": MU.astype(">f8")},
    ],
)
def test_one_value_for_each_frame_counts_before_all_else(content: dict[str, Any]) -> None:
    np.testing.assert_allclose(stood({**START, **content}).motors["mu"], MU, atol=1e-6)


@pytest.mark.parametrize("place", ["instrument/chi/value", "instrument/positioners/chi", "measurement/chi"])
@pytest.mark.parametrize("n_frames", [N, N - 3])
def test_one_value_for_each_row(place: str, n_frames: int) -> None:
    """Also where the last row was not finished."""
    start = {"instrument/positioners/chi": -0.2} if "positioners" not in place else {}
    found = stood({"instrument/mu/data": MU[:n_frames], **start, place: CHI[::N2]}, n_frames)
    np.testing.assert_array_equal(found.motors["chi"], CHI[:n_frames])
    assert "chi" not in found.missing


def test_rows_of_a_zigzag_scan_and_of_rows() -> None:
    mu = MU.reshape(N1, N2).copy()
    mu[1::2] = mu[1::2, ::-1]
    found = stood({"instrument/mu/data": mu.ravel(), "instrument/chi/value": CHI[::N2]})
    np.testing.assert_array_equal(found.motors["chi"], CHI)
    both = {
        "instrument/mu/data": np.tile(MU, 3),
        "instrument/chi/value": np.tile(CHI[::N2], 3),
        "instrument/omega/value": [0.0, 10.0, 20.0],
    }
    found = stood(both, 3 * N)
    np.testing.assert_array_equal(found.motors["chi"], np.tile(CHI, 3))
    np.testing.assert_array_equal(found.motors["omega"], np.repeat([0.0, 10.0, 20.0], N))


@pytest.mark.parametrize("n_known", [1 + N // 2, N - 1, N2 + 2])
def test_an_encoder_that_breaks_off_is_no_motor_of_rows(n_known: int) -> None:
    found = stood({**START, "instrument/mu/data": MU[:n_known]})
    np.testing.assert_array_equal(found.motors["mu"][:n_known], MU[:n_known])
    assert np.isnan(found.motors["mu"][n_known:]).all()
    assert f"breaks off after {n_known} of {N} values" in found.missing["mu"]


def test_two_motors_that_break_off_together_are_no_rows() -> None:
    """Nothing says that half as many values as frames belong to rows of two."""
    found = stood({"instrument/mu/data": MU[:7], "instrument/chi/value": CHI[:7]}, 14)
    assert np.isnan(found.motors["mu"][7:]).all()
    assert np.isnan(found.motors["chi"][7:]).all()


@pytest.mark.parametrize(
    "place",
    [
        "positioners_start",
        "start_positioners",
        "instrument/positioners_start",
        "instrument/start_positioners",
    ],
)
def test_the_start_where_there_is_nothing_else(place: str) -> None:
    found = stood({f"{place}/omega": 12.5, "instrument/mu/data": MU})
    np.testing.assert_array_equal(found.motors["omega"], np.full(N, 12.5))
    assert "omega" not in found.missing


def test_a_word_among_positioners_gives_way_to_the_number_at_the_start() -> None:
    found = stood({"instrument/positioners/omega": "ERR", "positioners_start/omega": 12.5})
    np.testing.assert_array_equal(found.motors["omega"], np.full(N, 12.5))


def test_a_motor_that_stood_elsewhere_at_the_end() -> None:
    found = stood({"instrument/positioners/mu": 6.6, "instrument/positioners_end/mu": 6.72})
    assert np.isnan(found.motors["mu"]).all()
    assert "6.6 at the start and at 6.72 at the end" in found.missing["mu"]
    still = stood({"instrument/positioners/mu": 359.9999, "instrument/positioners_end/mu": 0.0001})
    assert "mu" not in still.missing


def circle() -> h5py.SoftLink:
    return h5py.SoftLink("/1.1/instrument/positioners/omega")


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ("ERR", "'ERR'"),
        ("*DIS*", "'*DIS*'"),
        (np.nan, "NaN"),
        (circle(), "circle of links"),
        (h5py.SoftLink("/gone"), "leads nowhere"),
        (h5py.ExternalLink("gone.h5", "/x"), "leads nowhere"),
        (h5py.Empty("f8"), ""),
        (True, ""),
        (1 + 2j, ""),
        (np.zeros(0), ""),
        (np.zeros(3, dtype=[("a", "f4")]), ""),
    ],
)
def test_what_is_no_number_is_ignored_and_named(value: Any, words: str) -> None:
    """It hurts nobody who does not ask for this motor; the others are read as ever."""
    found = stood({**START, "instrument/mu/data": MU, "instrument/positioners/omega": value})
    np.testing.assert_array_equal(found.motors["mu"], MU)
    assert "omega" not in found.motors
    assert words in found.missing.get("omega", "")


def test_one_word_among_numbers_is_one_frame_without_position() -> None:
    texts = np.array([f"{v:.4f}".encode() for v in MU])
    texts[11] = b"ERR"
    found = stood({**START, "instrument/mu/value": texts})
    assert np.flatnonzero(np.isnan(found.motors["mu"])).tolist() == [11]
    assert "'ERR' at frame 11" in found.missing["mu"]


@pytest.mark.parametrize("rubbish", [0.0, 1e9, -1e300, 6.6 + 0.02 * 3.5, np.linspace(-300, 300, 4)])
@pytest.mark.parametrize("by", ["parameters", "title"])
def test_values_far_from_the_command_are_no_positions(rubbish: Any, by: str) -> None:
    command = (
        parameters() if by == "parameters" else {"title": "fscan2d chi -0.2 0.1 5 mu 6.6 0.02 7 0.1 0.1"}
    )
    mu = MU + 0.01
    mu[-4:] = rubbish
    found = stood({**START, **command, "instrument/mu/data": mu})
    np.testing.assert_array_equal(found.motors["mu"][:-4], mu[:-4])
    assert np.isnan(found.motors["mu"][-4:]).sum() >= 3  # one of the four may be right by chance
    assert "where the" in found.missing["mu"]


def test_where_most_values_differ_it_is_the_command_that_is_wrong() -> None:
    found = stood({**START, **parameters(fast_start_pos=16.6), "instrument/mu/data": MU})
    assert np.isfinite(found.motors["mu"]).all()
    assert any("mu was read at 6.6" in doubt and "16.6" in doubt for doubt in found.doubts)
