"""Pixels and frames that were not measured: the grain is found as if they had been, nothing reads as dark.

Every kind of gap on the same scans, both frames, all methods, floats and integers.
"""

from __future__ import annotations

import dataclasses
import json
from functools import lru_cache
from itertools import product
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest

from lib import reconstruction
from lib.checks import projections
from lib.initfile.parse import parse, read_initfile
from lib.mlem import coarse
from lib.parallel.communicator import SerialComm
from lib.physics.noise import Dark
from lib.scan import dark
from lib.scan.setting import Setting, prepare
from lib.scan.store import scan_of_arrays
from tests import phantoms
from tests.running import Run

GAP = slice(8, 11)  # columns along the rotation axis, off the middle of the grain's image


def dead_pixels(values: np.ndarray) -> None:
    values[..., 14, 13] = np.inf
    values[..., 15, 9] = -np.inf


def a_gap(values: np.ndarray) -> None:
    values[..., GAP] = np.nan


def here_and_there(values: np.ndarray) -> None:
    values[np.random.default_rng(1).random(values.shape) < 0.03] = np.nan


def a_gap_that_moves(values: np.ndarray) -> None:
    for k in range(values.shape[2]):
        first = 3 * k % 24
        values[:, :, k, first : first + 6] = np.nan


def single_frames(values: np.ndarray) -> None:
    values[np.random.default_rng(2).random(values.shape[:3]) < 0.1] = np.nan


KINDS = (dead_pixels, a_gap, here_and_there, a_gap_that_moves, single_frames)


class Found(NamedTuple):
    """What comes of a scan: Dice, median error in steps, completeness and light in the core of the grain."""

    dice: float
    error: float
    core: np.ndarray
    light: float
    ang: np.ndarray
    setting: Setting


@lru_cache
def case_of(method: str, frame: str) -> phantoms.Case:
    if method == "rocking":
        return phantoms.make_line_scan("rocking")
    return phantoms.make(frame=frame)


def values_of(method: str, frame: str, change: Any) -> np.ndarray:
    values = case_of(method, frame).counts.astype(np.float32)
    if change is not None:
        change(values)
    return values


def solve(folder: Path, method: str, frame: str, values: np.ndarray, **keys: object) -> Found:
    """Reconstruct an array; frames without a number are not measured, whatever is in the array."""
    case = case_of(method, frame)
    if method == "rocking":
        keys["scan"] = "rocking"
    init = case.write(folder, method=method, **keys)
    measured = np.isfinite(values).any(axis=(3, 4))
    np.save(folder / "measured.npy", measured)
    values[~measured] = 0
    np.save(folder / "dataarray.npy", values)
    setting = prepare(read_initfile(init)[0])
    result = reconstruction.solve(setting, SerialComm(), quiet=True)
    ang = np.stack([result.fields[name] for name in ("tilt1", "tilt2", "completeness")], axis=-1)
    dice, deviation = phantoms.judge(case, result.mask, ang[..., :2])
    core = phantoms.inside(1.25 * phantoms.voxels(case))
    light = float(np.median(result.fields["intensity"][core]))
    return Found(
        dice, float(np.median(np.linalg.norm(deviation, axis=1))), ang[core][:, 2], light, ang, setting
    )


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Any:
    @lru_cache
    def of(method: str, frame: str) -> Found:
        return solve(tmp_path_factory.mktemp("whole"), method, frame, values_of(method, frame, None))

    return of


@pytest.mark.parametrize(
    ("method", "frame", "change"),
    [
        *product(["backprojection"], ["sample", "lab"], KINDS),
        *product(["rocking"], ["lab"], KINDS),
        *product(["mlem"], ["sample", "lab"], [a_gap_that_moves, single_frames]),  # more: test_unknown_pixels
    ],
)
def test_the_grain_is_that_of_the_whole_scan(
    tmp_path: Path, whole: Any, method: str, frame: str, change: Any
) -> None:
    there = whole(method, frame)
    found = solve(tmp_path, method, frame, values_of(method, frame, change))
    assert found.dice > there.dice - 0.01
    assert found.error < 1.25 * there.error
    assert found.light == pytest.approx(there.light, rel=0.05)
    assert found.core.mean() > 0.998
    assert (found.core < 1).mean() < (there.core < 1).mean() + 0.005
    assert found.core.min() > 0.7


@pytest.mark.parametrize("frame", ["sample", "lab"])
def test_the_rotation_axis_in_a_gap(tmp_path: Path, whole: Any, frame: str) -> None:
    """Columns across the axis hide a slice of the grain for good; the rest is as it was."""
    values = values_of("backprojection", frame, None)
    values[..., 14:16, :] = np.nan
    found, there = solve(tmp_path, "backprojection", frame, values), whole("backprojection", frame)
    never = found.ang[..., 2] == 0
    assert 20 < never.sum() < 1500
    assert np.isnan(found.ang[never]).any(axis=1).all()
    seen = np.isfinite(found.ang[..., 0]) & np.isfinite(there.ang[..., 0])
    assert seen.sum() > 0.75 * np.isfinite(there.ang[..., 0]).sum()
    off = np.linalg.norm(found.ang[seen][:, :2] - there.ang[seen][:, :2], axis=1) / phantoms.STEP
    assert np.median(off) < 0.05


def test_the_same_bytes_of_rocking_on_any_number_of_ranks(tmp_path: Path, run: Run) -> None:
    values = values_of("rocking", "lab", a_gap_that_moves)
    values[np.random.default_rng(4).random(values.shape[:3]) < 0.1] = np.nan
    case = case_of("rocking", "lab")
    init = case.write(tmp_path, method="rocking", scan="rocking")
    np.save(tmp_path / "measured.npy", np.isfinite(values).any(axis=(3, 4)))
    np.save(tmp_path / "dataarray.npy", values)
    results = []
    for ranks in (1, 3):
        done = run("recon3d.py", "--no-report", init, "--quiet", **({"ranks": ranks} if ranks > 1 else {}))
        assert done.returncode == 0, done.stderr
        results.append((tmp_path / "grain_ang.npy").read_bytes())
    assert results[0] == results[1]


# ---- Integers ----


@pytest.mark.parametrize("method", ["backprojection", "mlem"])
def test_gaps_of_integers_are_told_from_dark_pixels(tmp_path: Path, method: str) -> None:
    """getdata.py gives their number; they are 0 in every frame, which hardly any other pixel is."""
    rng = np.random.default_rng(3)
    counts = case_of(method, "sample").counts + rng.poisson(1.0, case_of(method, "sample").counts.shape)
    floats = counts.astype(np.float32)
    floats[..., GAP] = np.nan
    expected = solve(tmp_path / "f", method, "sample", floats, threshold=8)
    whole = counts.astype(np.uint16)
    whole[..., GAP] = 0
    dark_instead = solve(tmp_path / "d", method, "sample", whole.copy(), threshold=8)
    (tmp_path / "i").mkdir()
    info = {"unmeasured_pixels": int(np.isnan(floats).sum())}
    (tmp_path / "i" / "getdata.json").write_text(json.dumps(info))
    found = solve(tmp_path / "i", method, "sample", whole, threshold=8)
    np.testing.assert_array_equal(found.ang, expected.ang)
    assert found.setting.warnings == expected.setting.warnings
    if method == "mlem":
        assert found.dice > 0.98
        assert 1.0 - found.dice < (1.0 - dark_instead.dice) / 3.0
    else:
        assert found.core.mean() > dark_instead.core.mean() + 0.1
        assert found.core.mean() > 0.995


def test_integers_that_cannot_be_told_from_dark_ones() -> None:
    """Scattered ones are named, and nothing is taken for a gap that may be dark."""
    counts = case_of("mlem", "sample").counts  # without noise: many pixels are 0 throughout
    axes = dict(zip(("tilt1", "tilt2", "omega"), map(np.arange, counts.shape[:3]), strict=True))
    scan, warnings = dark.with_gaps(scan_of_arrays(counts, axes, info={"unmeasured_pixels": 1234}))
    assert scan.gaps is None
    assert scan.dtype == np.uint16
    assert "1234 pixels were not measured" in warnings[0]
    assert "--dtype float32" in warnings[0]
    for info in ({}, {"unmeasured_pixels": 0}):
        scan, warnings = dark.with_gaps(scan_of_arrays(counts, axes, info=info))
        assert (scan.gaps, warnings) == (None, [])


def test_less_than_nothing_stays_no_number_above_a_dark_level(tmp_path: Path) -> None:
    """An infinite pixel must not be cut at zero with the level that is taken off."""
    case = phantoms.on_level(
        case_of("mlem", "sample"), phantoms.level_of("10 left", case_of("mlem", "sample"))
    )
    init = case.write(tmp_path)
    values = case.counts.astype(np.float32)
    values[..., 15, 9] = -np.inf
    values[..., 3, 4] = np.inf
    np.save(tmp_path / "dataarray.npy", values)
    scan = prepare(read_initfile(init)[0]).measurement.scan
    assert scan.dark is not None
    frame = np.empty(values.shape[3:], np.float32)
    with scan.open() as array:
        array.read_columns((1, 2, 3), 0, frame)
    assert not np.isfinite(frame[[15, 3], [9, 4]]).any()
    assert np.isfinite(frame).sum() == frame.size - 2
    assert scan.dark.mean == pytest.approx(10, abs=1)


@pytest.mark.parametrize(("dtype", "signed"), [("i2", True), ("u2", False)])
def test_a_given_level_of_integers_with_gaps_is_cut_as_theirs_is(dtype: str, signed: bool) -> None:
    counts = np.ones((3, 2, 4, 6, 5), dtype=dtype)
    counts[..., 2, :] = 0
    axes = dict(zip(("tilt1", "tilt2", "omega"), map(np.arange, counts.shape[:3]), strict=True))
    scan, _ = dark.with_gaps(scan_of_arrays(counts, axes, info={"unmeasured_pixels": 24 * 5}))
    scan = dataclasses.replace(scan, dark=dark.given_level(scan, (3.0,)))
    frame = np.empty((6, 5), dtype=scan.dtype)
    with scan.open() as array:
        array.read_columns((0, 0, 0), 0, frame)
    assert np.isnan(frame[2]).all()
    np.testing.assert_array_equal(np.delete(frame, 2, axis=0), -2.0 if signed else 0.0)


# ---- Coarse trials ----


def test_coarse_pixels_are_like_the_part_of_them_that_is_known() -> None:
    """An even light stays even whatever is missing; too few of its pixels, or then tilts, is nothing."""
    values = np.full((4, 4, 3, 8, 6), 10.0)
    values[..., 0, 0] = np.nan  # one of four
    values[..., 2:4, 2] = np.inf  # two of four
    values[..., 4:6, 4:6] = np.nan  # all
    values[..., 7, 0] = values[..., 6, 0] = values[..., 6, 1] = np.nan  # three of four
    measured = np.ones(values.shape[:3], dtype=bool)
    measured[0, 0, 1] = False  # one of four tilts put together
    measured[2:, 2:, 1] = False
    case = case_of("mlem", "sample")
    axes = {"tilt1": case.tilt1[:4], "tilt2": case.tilt2[:4], "omega": np.arange(3.0)}
    keys = "".join(f"{key} {value}\n" for key, value in case.init.items())
    params = parse(f"{keys}path .\nthreshold 5\nbackground 0\n", "init.txt")[0]
    measurement = prepare(params, scan_of_arrays(values, axes, measured)).measurement
    scan = coarse.load(measurement, Dark(), SerialComm(), n_omega=3, n_pixels=4, n_tilts=2)
    expected = np.full((4, 3), 160.0)
    expected[2, 2] = expected[3, 0] = np.nan
    for k, image in enumerate(scan.images):
        np.testing.assert_array_equal(scan.measured[k], [True, True, True, k != 1])
        image = image.reshape(4, 3, 4)[..., scan.measured[k]]
        there = np.repeat(expected[..., None], image.shape[2], axis=2)
        np.testing.assert_allclose(image, there)


# ---- Frames ----


def test_the_hull_of_mlem_waits_for_all_tilts(tmp_path: Path, whole: Any) -> None:
    """A fifth of the omegas lacks the tilts at which one of the subgrains diffracts."""
    values = values_of("mlem", "sample", None)
    values[:3, :, [0, 5, 11, 13, 20]] = np.nan
    found, there = solve(tmp_path, "mlem", "sample", values), whole("mlem", "sample")
    assert found.dice > there.dice - 0.005
    assert found.error < 1.25 * there.error
    assert (found.core == 1).all()
    assert found.light == pytest.approx(there.light, rel=0.05)


# ---- Checks ----


def compared(found: Found, folder: Path) -> projections.Comparison:
    case = case_of("mlem", "sample")
    setting = dataclasses.replace(found.setting, totals={})
    return projections.compare(setting, case.mask.astype(float), SerialComm(), quiet=True)


def test_a_gap_is_no_difference_from_the_projections(tmp_path: Path, whole: Any) -> None:
    there = compared(whole("mlem", "sample"), tmp_path)
    values = values_of("mlem", "sample", None)
    for k in range(0, 24, 3):
        values[:, :, k, 8:20, 10:17] = np.nan
    found = compared(solve(tmp_path, "mlem", "sample", values), tmp_path)
    assert found.usual_residual < 1.2 * there.usual_residual
    assert not found.standing_out.any()
    np.testing.assert_allclose(found.measured, found.predicted, rtol=0.1)
    assert (found.measured[::3] < 0.7 * there.measured[::3]).all()
    np.testing.assert_allclose(found.measured[1::3], there.measured[1::3], rtol=0.01)
    assert np.nanmax(np.abs(found.shift_px)) < 0.5
    gap = next(image for image in found.shown if image.omega_deg % 45 == 0)
    assert np.isnan(gap.measured).any()
    assert np.isfinite(gap.predicted).all()


def test_omegas_without_some_of_their_frames_are_not_judged_by_them(tmp_path: Path, whole: Any) -> None:
    values = values_of("mlem", "sample", None)
    values[:3, :, ::4] = np.nan
    values[0, 0, 1] = np.nan
    found = compared(solve(tmp_path, "mlem", "sample", values), tmp_path)
    np.testing.assert_array_equal(found.whole, np.arange(24) % 4 != 0)
    assert np.isnan(found.residual[::4]).all()
    assert np.isfinite(found.residual[found.whole]).all()
    assert found.usual_residual < 1.1 * compared(whole("mlem", "sample"), tmp_path).usual_residual
    assert not found.standing_out.any()
