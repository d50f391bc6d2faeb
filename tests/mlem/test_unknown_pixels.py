"""Pixels that are NaN in the array: not measured, and nothing that is reckoned with."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lib.mlem import map_kernels
from lib.scan import dark
from lib.scan.bands import Bands, filled_in
from lib.scan.store import scan_of_arrays
from tests import phantoms
from tests.phantoms import read_result

Change = Any


def three_pixels(values: np.ndarray) -> None:
    """Dead ones, amid the grain's image at many omegas."""
    for x, y in ((14, 13), (15, 9), (11, 17)):
        values[..., x, y] = np.nan


def here_and_there(values: np.ndarray) -> None:
    values[np.random.default_rng(1).random(values.shape) < 0.03] = np.inf


def a_gap(values: np.ndarray) -> None:
    values[..., 16, :] = np.nan


@pytest.mark.parametrize("change", [three_pixels, here_and_there, a_gap])
@pytest.mark.parametrize("method", ["mlem", "backprojection"])
def test_the_grain_is_found_all_the_same(tmp_path: Path, run: Any, method: str, change: Change) -> None:
    case = phantoms.make()
    results = []
    for name, do in (("whole", None), ("some", change)):
        values = case.counts.astype(np.float32)
        init = case.write(tmp_path / name, method=method)
        if do is not None:
            do(values)
        np.save(tmp_path / name / "dataarray.npy", values)
        done = run("recon3d.py", "--no-report", init)
        assert done.returncode == 0, done.stderr
        assert ("NaN or infinite" in done.stderr) == (do is not None)
        assert "RuntimeWarning" not in done.stderr
        mask, found, fields = read_result(tmp_path / name)
        assert np.isfinite(found[mask]).all()
        assert all(np.isfinite(values).any() for values in fields.values())
        results.append((*phantoms.judge(case, mask, found), mask))
    (dice, deviation, mask), (dice_some, deviation_some, mask_some) = results
    slack = 1 if method == "mlem" else 3  # to backprojection, unknown is dark: voxels look less complete
    assert dice_some > dice - 0.01 * slack
    assert (mask != mask_some).sum() < 0.02 * slack * mask.sum()
    errors = [np.median(np.linalg.norm(d, axis=1)) for d in (deviation, deviation_some)]
    assert errors[1] < 1.15 * errors[0]


def test_unknown_counts_are_taken_as_expected() -> None:
    """They change neither the maps nor chi-square, whatever stands beside them."""
    rng = np.random.default_rng(0)
    expected = rng.uniform(2, 50, (20, 7)).astype(np.float32)
    counts = rng.poisson(expected).astype(np.float32)
    unknown = rng.random(expected.shape) < 0.2
    measured, owned = np.ones(7, np.float32), np.ones(20, np.bool_)
    dark = tuple(np.float32(v) for v in (0.5, 0.0, 1.0, 1.0, np.inf))  # level, cut, noise, least light, most
    found = []
    for values in (counts, np.where(unknown, np.nan, counts).astype(np.float32)):
        ratio = expected.copy()
        found.append(
            (
                ratio,
                *map_kernels.compare(ratio, values, measured, owned, np.float32(1.0), dark, np.float32(1e-6)),
            )
        )
    (whole, chi_whole, n_whole), (ratio, chi, n) = found
    np.testing.assert_array_equal(ratio[unknown], 1.0)
    np.testing.assert_array_equal(ratio[~unknown], whole[~unknown])
    assert (n_whole, n) == (140, 140 - unknown.sum())
    e, c = expected + np.float32(1.5), counts + np.float32(1.0)
    assert chi == pytest.approx(float((((c - e) ** 2) / e)[~unknown].sum()), rel=1e-4)
    assert chi_whole > chi


@pytest.mark.parametrize("kind", ["<f4", ">f4", "<f8"])
def test_what_pixels_read_as(kind: str) -> None:
    values = np.random.default_rng(0).uniform(1, 9, (2, 3, 2, 5, 4)).astype(kind)
    values[0, 1, 0, 2, 3] = np.nan  # at one pair
    values[..., 4, 1] = -np.inf  # at all
    kept = values.copy()
    axes = {name: np.arange(n) for name, n in zip(("tilt1", "tilt2", "omega"), values.shape[:3], strict=True)}
    scan = scan_of_arrays(values, axes)
    whole = np.array([[0, 0, 5, 4]])
    for unknown in (0.0, np.nan):
        with Bands(scan, np.arange(2), unknown=unknown) as bands:
            flat = bands.load(slice(0, 1), whole).flat.reshape(5, 4, 6)
            truth = np.moveaxis(values[:, :, 0].reshape(6, 5, 4), 0, -1)
            np.testing.assert_array_equal(flat, np.where(np.isfinite(truth), truth, unknown))
            most, total, n_unknown = bands.over_tilts(0)
    known = np.delete(values[:, :, 0, 2, 3].ravel(), 1)
    assert total[2, 3] == pytest.approx(known.sum() * 6 / 5, rel=1e-5)
    assert most[2, 3] == known.max()
    assert (most[4, 1], n_unknown[4, 1], n_unknown.sum()) == (0.0, 6, 7)
    assert np.isnan(total[4, 1])
    total = filled_in(total)
    assert total[4, 1] in (total[3, 1], total[4, 0], total[4, 2])
    assert np.isfinite(total).all()
    np.testing.assert_array_equal(values, kept)


def test_the_noise_is_that_of_the_known_pixels() -> None:
    case = phantoms.make(read_noise=2.0)
    values = case.counts.astype(np.float32)
    axes = {"tilt1": case.tilt1, "tilt2": case.tilt2, "omega": case.omega}
    scan = scan_of_arrays(values, axes)
    whole = dark.known_values(scan, dark.sample_frames(scan, np.arange(24)))
    here_and_there(values)
    some = dark.known_values(scan, dark.sample_frames(scan, np.arange(24)))
    assert np.isfinite(some).all()
    assert some.size == pytest.approx(0.97 * whole.size, rel=0.01)


def test_noise_below_zero_makes_no_light() -> None:
    """What is counted over what is expected is 1 in the mean without light, however low values are."""
    rng = np.random.default_rng(0)
    counts = rng.normal(0.0, 3.0, (200, 400)).astype(np.float32)
    ratio = np.zeros_like(counts)
    dark = tuple(np.float32(v) for v in (0.0, 0.0, 9.0, 9.0, np.inf))  # level, cut, noise, least light, most
    measured, owned = np.ones(400, np.float32), np.ones(200, np.bool_)
    map_kernels.compare(ratio, counts, measured, owned, np.float32(1.0), dark, np.float32(1e-6))
    assert ratio.mean() == pytest.approx(1.0, abs=0.004)
