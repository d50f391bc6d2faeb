"""Images summed to bins on reading: the sums, what is unknown, and where the bins lie."""

from __future__ import annotations

import numpy as np
import pytest

from lib.initfile.parse import read_initfile
from lib.projection.views import project
from lib.scan.bands import Bands
from lib.scan.binned import binned, whole_bins
from lib.scan.setting import prepare
from lib.scan.store import scan_of_arrays
from tests import phantoms

AXES = {"tilt1": [0.0, 1.0], "tilt2": [0.0], "omega": [0.0, 10.0, 20.0]}


def scan_of(dtype: str, shape: tuple[int, int] = (11, 14)) -> tuple[np.ndarray, object]:
    counts = np.random.default_rng(0).integers(0, 60000, (2, 1, 3, *shape)).astype(dtype)
    return counts, scan_of_arrays(counts, AXES)


@pytest.mark.parametrize("dtype", ["u1", "<u2", ">u2", "i4", "f4", ">f8"])
@pytest.mark.parametrize("bins", [(1, 1), (2, 3), (4, 1), (5, 7), (11, 14)])
def test_pixels_are_summed_over_whole_bins(dtype: str, bins: tuple[int, int]) -> None:
    counts, scan = scan_of(dtype)
    small = scan.binned(bins)
    (n_x, n_y), (x0, y0) = whole_bins((11, 14), bins)
    assert small.shape[3:] == (n_x, n_y)
    with small.open() as frames:
        out = np.empty((n_x, n_y), dtype=small.dtype)
        frames.read_columns((1, 0, 2), 0, out)
        part = np.empty((1, n_y), dtype=small.dtype)
        frames.read_columns((1, 0, 2), n_x - 1, part)
    cut = counts[1, 0, 2, x0 : x0 + n_x * bins[0], y0 : y0 + n_y * bins[1]].astype(float)
    np.testing.assert_allclose(out, cut.reshape(n_x, bins[0], n_y, bins[1]).sum(axis=(1, 3)), rtol=1e-6)
    np.testing.assert_array_equal(part, out[-1:])


def test_what_is_unknown_counts_as_the_rest_of_its_bin() -> None:
    image = np.arange(24, dtype=np.float32).reshape(4, 6)
    image[0, 0] = np.nan  # one of four
    image[2:, 2:4] = np.nan, np.inf  # all four
    image[0, 4], image[1, 4:6] = np.inf, -np.inf  # three of four
    found = binned(image, (2, 2))
    assert found[0, 0] == pytest.approx((1 + 6 + 7) * 4 / 3)
    assert found[0, 1] == 2 + 3 + 8 + 9
    assert np.isnan([found[1, 1], found[0, 2]]).all()
    assert np.isfinite(found).sum() == 4


@pytest.mark.parametrize("voxels", [6, 11])
def test_projections_go_to_the_bins(tmp_path, voxels: int) -> None:
    """A voxel's bin is the one that holds its pixel; tilt maps of bins are the sums of those of pixels."""
    case = phantoms.make(n=voxels, n_omega=5, n_tilts=3, roi=(31, 28))
    setting = prepare(read_initfile(case.write(tmp_path))[0])
    small = setting.fitted_to_voxels()
    bins = small.projector.bins
    assert bins == {6: (4, 4), 11: (2, 2)}[voxels]
    (n_x, n_y), first = whole_bins((31, 28), bins)
    assert small.projector.detector_shape == (n_x, n_y)
    points = np.random.default_rng(1).uniform(-3, 3, (50, 3))
    pixels = np.rint(project(setting.projector.views, points))
    expected = np.floor((pixels - first) / bins)
    exact = project(small.projector.views, points)
    assert np.abs(exact - expected).max() < 0.5 + 0.5 / min(bins) + 1e-9
    centre = (np.array(setting.projector.center_px) - first - (np.array(bins) - 1) / 2) / bins
    np.testing.assert_allclose(small.projector.center_px, centre)
    with Bands(small.measurement.scan, small.measurement.omega_index) as bands:
        maps = bands.load(slice(2, 3), np.array([[0, 0, n_x, n_y]])).flat.reshape(n_x, n_y, 3, 3)
    cut = case.counts[:, :, 2, first[0] : first[0] + n_x * bins[0], first[1] : first[1] + n_y * bins[1]]
    sums = cut.reshape(3, 3, n_x, bins[0], n_y, bins[1]).sum(axis=(3, 5), dtype=float)
    np.testing.assert_array_equal(np.moveaxis(maps, (0, 1), (2, 3)), sums)
    for one, other in ((setting, small), (small, small.fitted_to_voxels())):
        dark, summed = one.dark, other.dark
        n = np.prod(other.projector.bins) / np.prod(one.projector.bins)
        assert summed.variance == pytest.approx(n * dark.variance)


def test_voxels_of_a_pixel_leave_the_scan_as_it_is(tmp_path) -> None:
    setting = prepare(read_initfile(phantoms.make(n=24, n_omega=4, n_tilts=3).write(tmp_path))[0])
    assert setting.fitted_to_voxels() is setting
