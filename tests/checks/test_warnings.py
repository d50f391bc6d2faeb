"""Warnings of whole runs: none of a right scan, whatever the beam does; one of what is wrong."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import lru_cache
from itertools import product
from pathlib import Path

import numpy as np
import pytest

from lib import reconstruction
from lib.checks import projections, trust
from lib.checks.seen import Seen
from lib.initfile.parse import read_initfile
from lib.parallel.communicator import SerialComm
from lib.scan.align import align
from lib.scan.gather import Result
from lib.scan.setting import Setting, prepare
from tests import phantoms

ODD = 7  # the omega where something is wrong
METHODS = ("mlem", "backprojection")


@lru_cache
def case_of(frame: str = "sample", n_omega: int = 24, peak_counts: float = 100.0) -> phantoms.Case:
    return phantoms.make(frame=frame, n=20, n_omega=n_omega, peak_counts=peak_counts, roi=(34, 32))


def read(case: phantoms.Case) -> phantoms.Case:
    """With the noise of reading, cut at zero."""
    sigma = 1.0 if case.counts.max() > 50 else 0.3
    noisy = case.counts + np.random.default_rng(4).normal(0.0, sigma, case.counts.shape)
    return replace(case, counts=np.clip(np.rint(noisy), 0, 65535).astype(np.uint16))


def brighter(case: phantoms.Case, factor: np.ndarray) -> phantoms.Case:
    """Each omega so many times as bright, with the noise of its counts."""
    light = case.counts * factor[:, None, None]
    return replace(case, counts=np.random.default_rng(3).poisson(light).astype(np.uint16))


def clean() -> phantoms.Case:
    return case_of()


def gain() -> phantoms.Case:
    return brighter(case_of(), 1.0 + 0.15 * np.random.default_rng(1).normal(size=24))


def absorption() -> phantoms.Case:
    return brighter(case_of(), 1.0 - 0.3 * (1.0 + np.cos(np.radians(case_of().omega))) / 2)


def few_omegas() -> phantoms.Case:
    return case_of(n_omega=12)


def five_counts() -> phantoms.Case:
    return case_of(peak_counts=5.0)


def zingers() -> phantoms.Case:
    rng = np.random.default_rng(6)
    counts = case_of().counts.astype(np.float64)
    hit = rng.random(counts.shape) < 1e-5
    counts[hit] += rng.exponential(2000.0, int(hit.sum()))
    return replace(case_of(), counts=counts)


def prepared(folder: Path, case: phantoms.Case, missing: float = 0.0, **keys: object) -> Setting:
    case = read(case)
    if keys.get("method") == "backprojection":
        keys = {"completeness_cutoff": 0.8, **keys}
    init = case.write(folder, **keys)
    measured = np.random.default_rng(5).random(case.counts.shape[:3]) >= missing
    np.save(folder / "measured.npy", measured)
    np.save(folder / "dataarray.npy", np.where(measured[..., None, None], case.counts, 0))
    return align(prepare(read_initfile(init)[0]).remembering(), SerialComm(), quiet=True)


def run(folder: Path, case: phantoms.Case, **keys: object) -> tuple[Setting, Result, trust.Checks]:
    setting = prepared(folder, case, **keys)  # type: ignore[arg-type]
    result = reconstruction.solve(setting, SerialComm(), quiet=True)
    return setting, result, trust.check(setting, result, SerialComm(), quiet=True)


def warnings_of(folder: Path, case: phantoms.Case, **keys: object) -> list[str]:
    setting, result, checks = run(folder, case, **keys)
    return checks.warnings(setting, result)


@pytest.mark.parametrize(
    ("scan", "method"),
    [*product([clean, gain, absorption, few_omegas, zingers], METHODS), (five_counts, "mlem")],
)
def test_a_right_scan_has_no_warning(tmp_path: Path, scan: Callable[[], phantoms.Case], method: str) -> None:
    assert warnings_of(tmp_path, scan(), method=method, errors="none") == []


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("frame", ["sample", "lab"])
def test_missing_frames_are_no_warning(tmp_path: Path, frame: str, method: str) -> None:
    case = case_of(frame)
    assert warnings_of(tmp_path, case, missing=0.1, method=method, errors="none") == []


def neighbour(case: phantoms.Case) -> phantoms.Case:
    """Another grain that passes at five omegas."""
    counts = case.counts.copy()
    x, y = np.meshgrid(np.arange(34), np.arange(32), indexing="ij")
    for n, k in enumerate(range(ODD, ODD + 5)):
        spot = 60.0 * np.exp(-((x - 6 - 5 * n) ** 2 + (y - 20) ** 2) / 18.0)
        counts[1:4, 1:4, k] += spot.astype(np.uint16)
    return replace(case, counts=counts)


def shifted(case: phantoms.Case) -> phantoms.Case:
    """The images of one omega three pixels to the side."""
    counts = case.counts.copy()
    counts[:, :, ODD] = np.roll(counts[:, :, ODD], 3, axis=3)
    return replace(case, counts=counts)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("missing", [0.0, 0.1])
@pytest.mark.parametrize(
    ("fault", "keys", "word"),
    [
        (neighbour, {}, "omegas stand out"),
        (shifted, {}, "1 of 24 omegas stand out"),
        (None, {"omega_sign": -1}, "omega_sign 1"),
        (None, {"detector_center": "[16.5,18.5]"}, "detector_center"),
    ],
)
def test_what_is_wrong_is_said(
    tmp_path: Path,
    fault: Callable[[phantoms.Case], phantoms.Case] | None,
    keys: dict[str, object],
    word: str,
    missing: float,
    method: str,
) -> None:
    case = case_of() if fault is None else fault(case_of())
    found = warnings_of(tmp_path, case, missing=missing, method=method, errors="none", **keys)
    assert any(word in warning for warning in found), found


def test_projections_hold_what_the_measured_frames_show(tmp_path: Path) -> None:
    """Of the true grain, with the true resolution; scaled by the number of frames they are far off."""
    case = case_of()
    setting = prepared(tmp_path, case, missing=0.2, detector_center="[16.5,15.5]")
    fields = dict(zip(("tilt1", "tilt2"), np.moveaxis(case.orientation, -1, 0), strict=True))
    facts = {"rock_width_deg": phantoms.ROCK, "roll_width_deg": phantoms.ROLL}
    density = case.mask.astype(np.float64)
    known = projections.compare(setting, density, SerialComm(), fields, facts, quiet=True)
    plain = projections.compare(setting, density, SerialComm(), quiet=True)
    assert known.usual_residual < 0.5 * plain.usual_residual
    off, off_plain = (np.abs(found.measured / found.predicted - 1.0) for found in (known, plain))
    assert np.median(off) < 0.5 * np.median(off_plain)


def test_what_a_voxel_shows_of_itself(tmp_path: Path) -> None:
    """Nothing where its frames are missing, all where others are."""
    case = case_of()
    setting = prepared(tmp_path, case)
    measured = np.ones(case.counts.shape[:3], dtype=bool)
    measured[:2, :, 0] = False
    np.save(tmp_path / "measured.npy", measured)
    measurement = prepare(read_initfile(tmp_path / "init.txt")[0]).measurement
    seen = Seen.of(measurement, setting.params, {"rock_width_deg": 0.03, "roll_width_deg": 0.03})
    table = seen.table(0)
    assert seen.table(1) is None
    assert table is not None
    unknown = np.array([[-0.08, 0.0], [0.08, 0.0], [np.nan, np.nan]], dtype=np.float32)
    lost, kept, usual = seen.share(table, unknown)
    assert lost < 0.1 and kept > 0.95 and 0.4 < usual < 0.8
