"""Each cleaning step on pixels whose answer is plain to see, and in the array that getdata makes."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from lib import cli
from lib.errors import Recon3DError
from lib.frames.pixels import RoundedBackground, to_output
from lib.getdata import cleaning
from lib.parallel.communicator import SerialComm
from tests.scans import arguments, write_scan


def getdata(tmp_path: Path, *options: object, **keys: str) -> tuple[np.ndarray, dict]:
    """Run getdata on tmp_path/scan; the array and getdata.json."""
    out = tmp_path / "out"
    code = cli.getdata(
        arguments(tmp_path / "scan", out, "--overwrite", "--no-report", *options, **keys), SerialComm()
    )
    assert code == 0
    return np.load(out / "dataarray.npy"), json.loads((out / "getdata.json").read_text())


def test_hot_pixel_takes_the_local_median_and_nothing_else_changes() -> None:
    frame = np.add.outer(np.arange(7.0), 10.0 * np.arange(7.0))
    hot = frame.copy()
    hot[3, 4] = 5000.0
    cleaned, count = cleaning.remove_hot_pixels(hot, 5.0)
    assert count == 1
    assert cleaned[3, 4] == np.median([*hot[2:5, 3:6].ravel()])
    hot[3, 4] = cleaned[3, 4]
    np.testing.assert_array_equal(cleaned, hot)


def test_hot_pixels_leave_photon_noise_alone() -> None:
    frame = np.random.default_rng(0).poisson(400.0, (100, 100)).astype(float)
    assert cleaning.remove_hot_pixels(frame, 6.0)[1] == 0


def test_current_factors_name_the_number_of_frames_without_current() -> None:
    np.testing.assert_allclose(cleaning.current_factors([100.0, 150.0, 200.0]), [1.5, 1.0, 0.75])
    with pytest.raises(Recon3DError, match="2 of 3 frames have no ring current"):
        cleaning.current_factors([100.0, None, 0.0])


def test_integral_factors_do_not_mistake_a_missing_frame_for_less_beam() -> None:
    tilts, beam = np.array([1.0, 10.0, 4.0]), np.array([1.0, 0.5, 1.0, 2.0])
    sums, measured = np.outer(tilts, beam), np.ones((3, 4), dtype=bool)
    np.testing.assert_allclose(cleaning.integral_factors(sums, measured) * beam, 1.125)
    beam[:] = 1.0
    sums = np.outer(tilts, beam)
    sums[1, 2], measured[1, 2] = 0.0, False
    np.testing.assert_allclose(cleaning.integral_factors(sums, measured), 1.0)


def test_an_omega_without_beam_is_an_error_rather_than_a_factor_of_a_thousand() -> None:
    sums = np.ones((2, 3))
    sums[:, 1] = 1e-3
    with pytest.raises(Recon3DError, match="at 1 omegas, first number 1, .*no beam"):
        cleaning.integral_factors(sums, np.ones((2, 3), dtype=bool))


def test_spot_mask_fills_holes_closes_gaps_and_drops_small_regions() -> None:
    frame = np.zeros((12, 12))
    frame[1:6, 1:6] = 9.0
    frame[3, 3] = 0.0  # a hole
    frame[3, 6] = 0.0
    frame[3, 7] = 9.0  # a gap of one pixel, closed with what lies beyond
    frame[9:11, 9:11] = 9.0  # four pixels: too few
    mask, n_dropped = cleaning.spot_mask(frame, 5.0, 5)
    assert n_dropped == 1
    assert mask[3, 3]
    assert mask[3, 7]
    assert mask[3, 6]
    assert not mask[9:, 9:].any()
    assert mask.sum() == 25 + 3 + 1
    kept, n_zeroed, _ = cleaning.apply_spot_mask(frame + 1.0, 5.0, 5)
    assert n_zeroed == 12 * 12 - 29
    assert kept[3, 3] == 1.0  # the hole keeps its own counts


def test_a_spot_at_the_edge_of_the_frame_is_not_eaten_by_the_closing() -> None:
    frame = np.zeros((8, 8))
    frame[:3, :3] = 9.0
    mask, _ = cleaning.spot_mask(frame, 5.0, 1)
    np.testing.assert_array_equal(mask, frame > 0)


def test_threshold_keeps_what_reaches_it() -> None:
    kept, n_zeroed = cleaning.apply_threshold(np.array([[4.0, 5.0], [-1.0, 0.0]]), 5.0)
    assert kept.tolist() == [[0.0, 5.0], [0.0, 0.0]]
    assert n_zeroed == 2


def test_rebin_is_a_mean() -> None:
    frame = np.arange(24.0).reshape(4, 6)
    np.testing.assert_array_equal(cleaning.rebin(frame, 2), [[3.5, 5.5, 7.5], [15.5, 17.5, 19.5]])
    assert cleaning.rebin(frame, 1).shape == (4, 6)


@given(
    hnp.arrays(np.uint16, (3, 4)),
    hnp.arrays(np.float64, (3, 4), elements=st.integers(0, 4 * 65535).map(lambda n: n / 4)),
)
def test_integer_subtraction_is_the_rounded_float_subtraction(
    frame: np.ndarray, background: np.ndarray
) -> None:
    """Quarters include the halves, where rounding is to even."""
    rounded = RoundedBackground(background)
    expected, counts = to_output(frame - background, np.dtype("<u2"), clip=True)
    out = np.empty(frame.T.shape, np.uint16)
    if rounded.fits:
        assert rounded.subtract_turned(frame, out) == counts.clipped_low
        np.testing.assert_array_equal(out, expected.T)


def test_darkest_background_is_the_mean_of_two_frames_of_the_same_omega(tmp_path: Path) -> None:
    def pixels(place: tuple[int, int, int]) -> np.ndarray:
        i, j, k = place
        return np.full((20, 24), 100 * (k + 1) + {(0, 0): 0, (2, 1): 3}.get((i, j), 50), np.uint16)

    write_scan(tmp_path / "scan", pixels=pixels)
    array, info = getdata(tmp_path, "--background", "darkest", "--dtype", "float32", "--no-clip")
    assert (array[1, 1] == 48.5).all()
    assert (array[0, 0] == -1.5).all()
    assert info["background"]["level"] == pytest.approx(250 + 1.5)


def test_normalization_by_current_and_by_integral(tmp_path: Path) -> None:
    beam = (1.0, 0.5, 0.8, 1.1)

    def pixels(place: tuple[int, int, int]) -> np.ndarray:
        return np.full((20, 24), round(1000 * beam[place[2]]) * (place[0] + 1), np.uint16)

    write_scan(tmp_path / "scan", pixels=pixels, current=lambda place: 200.0 * beam[place[2]])
    for by in ("current", "integral"):
        array, info = getdata(tmp_path, "--normalize", by)
        np.testing.assert_array_equal(array[1], 2 * 850)
        assert info["cleaning"]["normalize"]["by"] == by
        np.testing.assert_allclose(info["cleaning"]["normalize"]["factor_per_omega"], 0.85 / np.array(beam))


def test_steps_are_recorded_with_what_they_changed(tmp_path: Path) -> None:
    def pixels(place: tuple[int, int, int]) -> np.ndarray:
        frame = np.full((20, 24), 10, np.uint16)
        frame[5:9, 4:10] = 300
        frame[15, 20] = 60000  # hot
        frame[17, 2] = 290 if place[2] == 0 else 10  # bright enough to be hot as well
        return frame

    write_scan(tmp_path / "scan", pixels=pixels)
    options = ("--hot-pixels", "8", "--threshold", "50", "--min-area", "6", "--bin", "2")
    array, info = getdata(tmp_path, *options)
    assert array.shape == (3, 2, 4, 12, 10)
    assert info["bin"] == 2
    assert info["cleaning"]["hot_pixels"] == {"sigma": 8.0, "pixels_replaced": 24 + 6}
    assert info["cleaning"]["min_area"] == {"pixels": 6, "regions_dropped": 0}
    assert info["cleaning"]["threshold"]["pixels_zeroed"] == 24 * (120 - np.count_nonzero(array[0, 0, 0]))
    assert array[0, 0, 0].max() == 300
    plain, info = getdata(tmp_path)
    assert set(info["cleaning"].values()) == {None}
    assert plain[0, 0, 0, 20, 15] == 60000


def test_options_that_do_not_fit_each_other(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_scan(tmp_path / "scan", (1, 1, 2))
    for options, message in (
        (("--min-area", 5), "--min-area: needs --threshold"),
        (("--bin", 5), "--bin: imgsize 24,20 is no multiple of 5"),
        (
            ("--background", "darkest", "--omega", "diffrx", "--tilt1", "samrz", "--tilt2", "samry"),
            "it needs 3",
        ),
    ):
        assert cli.getdata(arguments(tmp_path / "scan", tmp_path / "out", *options), SerialComm()) == 1
        assert message in capsys.readouterr().err
        assert not (tmp_path / "out").exists()
