"""What happens to the pixels: region of interest, background, rounding and clipping."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from lib.errors import Recon3DError
from lib.frames.pixels import (
    OUTPUT_DTYPES,
    PixelCounts,
    Roi,
    background_level,
    saturated_pixels,
    subtract_background,
    to_output,
)

U2, F4 = OUTPUT_DTYPES["uint16"], OUTPUT_DTYPES["float32"]
DETECTOR = (9, 12)  # rows, columns


# ---- Region of interest ----


@pytest.mark.parametrize(
    ("poi", "size", "columns", "rows"),
    [
        ((5, 4), (4, 4), [3, 4, 5, 6], [2, 3, 4, 5]),
        ((5, 4), (5, 3), [3, 4, 5, 6, 7], [3, 4, 5]),
        ((5, 4), (1, 1), [5], [4]),
        ((6, 4), (12, 9), list(range(12)), list(range(9))),
        ((0, 8), (1, 1), [0], [8]),
    ],
)
def test_roi_counted_by_hand(
    poi: tuple[int, int], size: tuple[int, int], columns: list[int], rows: list[int]
) -> None:
    """An odd ROI has the point of interest in its middle, an even one right of and below it."""
    roi = Roi.around(poi, size)
    roi.check_inside(DETECTOR)
    assert list(range(roi.x0, roi.x0 + roi.width)) == columns
    assert list(range(roi.y0, roi.y0 + roi.height)) == rows
    assert roi.shape_yx == (len(rows), len(columns))


@settings(deadline=None)
@given(
    poi=st.tuples(st.integers(-3, 15), st.integers(-3, 15)),
    size=st.tuples(st.integers(-1, 14), st.integers(-1, 14)),
)
def test_roi_is_inside_when_each_of_its_pixels_is(poi: tuple[int, int], size: tuple[int, int]) -> None:
    roi = Roi.around(poi, size)
    columns = range(poi[0] - size[0] // 2, poi[0] - size[0] // 2 + size[0])
    rows = range(poi[1] - size[1] // 2, poi[1] - size[1] // 2 + size[1])
    fits = bool(columns) and bool(rows)
    fits = fits and all(0 <= x < DETECTOR[1] for x in columns) and all(0 <= y < DETECTOR[0] for y in rows)
    if fits:
        roi.check_inside(DETECTOR)
    else:
        with pytest.raises(Recon3DError, match=r"^(imgsize|poi, imgsize): "):
            roi.check_inside(DETECTOR)


@pytest.mark.parametrize(
    ("poi", "message"),
    [
        ((1, 4), r"x = -1\.\.2, .* 0\.\.11"),
        ((11, 4), r"x = 9\.\.12, .* 0\.\.11"),
        ((5, 1), r"y = -1\.\.2, .* 0\.\.8"),
        ((5, 8), r"y = 6\.\.9, .* 0\.\.8"),
    ],
)
def test_roi_off_the_detector_names_the_axis_and_the_pixels(poi: tuple[int, int], message: str) -> None:
    with pytest.raises(Recon3DError, match=message):
        Roi.around(poi, (4, 4)).check_inside(DETECTOR)


# ---- Background ----


def test_mean_and_median_of_the_background() -> None:
    stack = np.array([[[1, 10]], [[2, 20]], [[9, 90]]], dtype=np.uint16)
    np.testing.assert_array_equal(background_level(stack, "mean"), [[4, 40]])
    np.testing.assert_array_equal(background_level(stack, "median"), [[2, 20]])
    np.testing.assert_array_equal(background_level(stack[:2], "median"), [[1.5, 15]])


@pytest.mark.parametrize("kind", ["u1", "u2", "i2", "u4", "i4", "f4", "f8"])
@pytest.mark.parametrize("statistic", ["mean", "median"])
def test_background_does_not_overflow(kind: str, statistic: str) -> None:
    top = np.finfo(kind).max / 1e10 if kind[0] == "f" else np.iinfo(kind).max
    level = background_level(np.full((100, 2, 3), top, dtype=kind), statistic)
    assert level.shape == (2, 3)
    np.testing.assert_allclose(level, float(np.array(top, dtype=kind)), rtol=1e-6)


def test_mean_of_float32_backgrounds_is_exact_in_float64() -> None:
    stack = np.full((3000, 1, 1), 0.1, dtype=np.float32)
    assert background_level(stack, "mean")[0, 0] == pytest.approx(float(np.float32(0.1)), rel=1e-14)


@pytest.mark.parametrize("kind", ["u1", "i1", "u2", "i2", "u4", "i4", "f4", "f8"])
def test_subtraction_never_wraps_around(kind: str) -> None:
    frame = np.array([[0, 5, 100]], dtype=kind)
    found = subtract_background(frame, np.array([[10.25, 5.0, 0.5]]))
    assert found.dtype == np.float64
    np.testing.assert_array_equal(found, [[-10.25, 0, 99.5]])
    np.testing.assert_array_equal(subtract_background(frame, None), frame)
    assert subtract_background(frame, None).dtype == np.float64


# ---- As stored ----


def test_uint16_is_rounded_to_nearest_and_clipped() -> None:
    pixels = np.array([[-3.0, -0.5, -0.51, 0.49, 0.5, 0.51, 1.5, 65535.4, 65535.6, 1e9]])
    stored, counts = to_output(pixels, U2, clip=True)
    assert stored.dtype == np.uint16
    np.testing.assert_array_equal(stored, [[0, 0, 0, 0, 0, 1, 2, 65535, 65535, 65535]])
    assert (counts.clipped_low, counts.clipped_high) == (2, 2)


def test_float32_is_clipped_at_zero_unless_told_not_to() -> None:
    pixels = np.array([[-3.25, 0.0, 0.75, 1e6]])
    stored, counts = to_output(pixels, F4, clip=True)
    assert stored.dtype == np.float32
    np.testing.assert_array_equal(stored, np.array([[0, 0, 0.75, 1e6]], dtype=np.float32))
    assert (counts.clipped_low, counts.clipped_high) == (1, 0)
    stored, counts = to_output(pixels, F4, clip=False)
    np.testing.assert_array_equal(stored, pixels.astype(np.float32))
    assert counts == PixelCounts()


@settings(deadline=None)
@given(hnp.arrays(np.float64, (3, 4), elements=st.floats(-1e6, 1e6)))
def test_every_pixel_that_is_clipped_is_counted(pixels: np.ndarray) -> None:
    stored, counts = to_output(pixels, U2, clip=True)
    np.testing.assert_array_equal(stored, np.clip(np.rint(pixels), 0, 65535))
    assert counts.clipped_low + counts.clipped_high == np.count_nonzero(stored != np.rint(pixels))


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_pixels_that_are_no_number(value: float) -> None:
    """Detectors of type float mark dead pixels with nan; what becomes of them must not be left to chance."""
    stored, _ = to_output(np.array([[value, 7.0]]), U2, clip=True)
    assert stored[0, 0] == (65535 if value == np.inf else 0)
    assert stored[0, 1] == 7


@pytest.mark.parametrize(
    ("kind", "n_saturated"), [("u1", 2), ("u2", 2), ("i2", 2), ("i4", 2), ("f4", 0), ("f8", 0)]
)
def test_saturated_pixels_stand_at_the_top_of_their_type(kind: str, n_saturated: int) -> None:
    top = 1e30 if kind[0] == "f" else np.iinfo(kind).max
    assert saturated_pixels(np.array([[top, 3], [top, top - 1]], dtype=kind)) == n_saturated


def test_counts_add_up() -> None:
    total = sum([PixelCounts(1, 2, 3), PixelCounts(10, 20, 30)], PixelCounts())
    assert total == PixelCounts(11, 22, 33)
