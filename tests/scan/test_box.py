"""The volume that finds itself: does the box hold the grain, and no more than it must?"""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lib import reconstruction
from lib.errors import Recon3DError
from lib.initfile.parameters import QUALITIES
from lib.initfile.parse import parse, read_initfile
from lib.parallel.communicator import SerialComm
from lib.scan.align import align
from lib.scan.bands import Bands
from lib.scan.box import choose
from lib.scan.setting import Setting, prepare
from lib.scan.store import scan_of_arrays
from tests import phantoms
from tests.running import Run

OPEN = {"grain_dim": "auto", "grain_steps": "auto"}
LONGEST = 1.5  # times the grain


def grain_um() -> np.ndarray:
    """Lowest and highest x, y, z (2, 3) of the phantom."""
    points = np.random.default_rng(0).uniform(-5, 5, (400_000, 3))
    points = points[phantoms.inside(points)]
    return np.stack([points.min(axis=0), points.max(axis=0)])


GRAIN = grain_um()


def found(folder: Path, case: phantoms.Case, measured: np.ndarray | None = None, **keys: Any) -> Setting:
    """The setting with the volume of a scan of which the init file says nothing."""
    init = case.write(folder, **OPEN | keys)
    if measured is not None:
        np.save(folder / "measured.npy", measured)
    return align(prepare(read_initfile(init)[0]), SerialComm(), quiet=True)


def box_of(setting: Setting) -> np.ndarray:
    """Lowest and highest x, y, z (2, 3)."""
    middle, half = np.array(setting.params.grain_pos), np.array(setting.params.grain_dim) / 2
    return np.stack([middle - half, middle + half])


def some_omegas(case: phantoms.Case, chosen: slice) -> phantoms.Case:
    return dataclasses.replace(case, counts=case.counts[:, :, chosen], omega=case.omega[chosen])


def assert_fits(setting: Setting, longest: float = LONGEST) -> None:
    box = box_of(setting)
    assert (box[0] < GRAIN[0]).all() and (box[1] > GRAIN[1]).all(), box
    assert (np.ptp(box, axis=0) < longest * np.ptp(GRAIN, axis=0)).all(), box


WIDE = (1.41 * phantoms.STEP, 2.83 * phantoms.STEP)
SCANS: dict[str, dict[str, Any]] = {
    "horizontal, sample": {},
    "horizontal, lab": {"frame": "lab"},
    "vertical, sample": {"mode": "vertical"},
    "vertical, lab": {"mode": "vertical", "frame": "lab"},
    "20 counts, noise": {"peak_counts": 20, "read_noise": 2.0, "n_omega": 48},
    "5 counts, noise": {"peak_counts": 5, "read_noise": 2.0, "n_tilts": 7, "n_omega": 60, "widths": WIDE},
}


@pytest.mark.parametrize("name", SCANS)
def test_the_box_holds_the_grain_and_little_more(tmp_path: Path, name: str) -> None:
    setting = found(tmp_path, phantoms.make(**SCANS[name]))
    assert_fits(setting)
    voxel_px = phantoms.M * setting.params.voxel_um
    np.testing.assert_allclose(voxel_px, 1.0, atol=0.01)
    assert setting.projector.volume.shape == setting.params.grain_steps
    assert setting.found == ("detector_center", "grain_pos", "grain_dim", "grain_steps")


@pytest.mark.parametrize(("part", "longest"), [(slice(0, 24), 1.5), (slice(0, 13), 1.6), (slice(6, 19), 1.7)])
def test_half_and_quarter_turns(tmp_path: Path, part: slice, longest: float) -> None:
    """Over a quarter the hull alone would be 1.4 times the grain across the middle of the views, or more."""
    setting = found(tmp_path, some_omegas(phantoms.make(n_omega=48), part))
    assert_fits(setting, longest)


def test_missing_frames_and_an_omega_with_another_grain(tmp_path: Path) -> None:
    case = phantoms.make()
    measured = np.random.default_rng(3).random((5, 5, 24)) > 0.2
    measured[:, :, 5] = False
    case.counts[~measured] = 0
    case.counts[:, :, 7, 20:, 20:] += 200
    assert_fits(found(tmp_path, case, measured))


@pytest.mark.parametrize("kind", ["10 left", "halo", "pattern", "change with omega"])
def test_light_that_is_not_of_the_grain(tmp_path: Path, kind: str) -> None:
    case = phantoms.make()
    assert_fits(found(tmp_path, phantoms.on_level(case, phantoms.level_of(kind, case))))


def test_unknown_pixels(tmp_path: Path) -> None:
    case = phantoms.make()
    values = case.counts.astype(np.float32)
    for k in range(24):
        values[:, :, k, 3 * k % 24 : 3 * k % 24 + 4] = np.nan
    assert_fits(found(tmp_path, dataclasses.replace(case, counts=values)))


@pytest.mark.parametrize("kind", ["rocking", "strain"])
def test_scans_of_one_angle(tmp_path: Path, kind: str) -> None:
    more: dict[str, Any] = {"n_positions": 15, "step": 0.0021} if kind == "strain" else {}
    setting = found(tmp_path, phantoms.make_line_scan(kind, **more))
    assert_fits(setting)


def test_a_grain_off_the_axis_where_the_centre_is_not_the_middle(tmp_path: Path) -> None:
    """The image rolled by 3 pixels across the axis, which is the centre's, and 2 along it, the grain's."""
    case = phantoms.make(roi=(40, 40))
    rolled = dataclasses.replace(case, counts=np.roll(case.counts, (2, 3), axis=(3, 4)))
    setting = found(tmp_path, rolled)
    center = setting.params.detector_center
    assert center == (19.5, pytest.approx(22.5, abs=0.1))
    moved = 2 / (phantoms.M * np.cos(phantoms.THETA))  # x_d = -M cos(theta) x
    box = box_of(setting)
    grain = GRAIN - [moved, 0, 0]
    assert (box[0] < grain[0]).all() and (box[1] > grain[1]).all()


# ---- What is given ----

NEEDED = "path .\nunit_cell [4,4,4,90,90,90]\nhkl [2,0,0]\nwavelength 0.7\nM 5\n"
BOUNDS = np.array([-2.0, -1.0, 0.0]), np.array([2.0, 3.0, 10.0])


def chosen(text: str) -> Any:
    return choose(parse(NEEDED + text, "init.txt")[0], BOUNDS)


def test_nothing_given_leaves_a_pixel_and_a_voxel_about_the_grain() -> None:
    params = chosen("")
    np.testing.assert_allclose(params.grain_pos, [0, 1, 5])
    np.testing.assert_allclose(params.grain_dim, [4.8, 4.8, 10.8])
    assert params.grain_steps == (24, 24, 54)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("grain_pos [1,1,1]", {"grain_pos": (1, 1, 1), "grain_dim": (6.8, 4.8, 18.8)}),
        ("grain_dim [10,10,20]", {"grain_pos": (0, 0, 0), "grain_steps": (50, 50, 100)}),
        ("grain_pos auto\ngrain_dim [10,10,20]", {"grain_pos": (0, 1, 5), "grain_steps": (50, 50, 100)}),
        ("grain_steps [20,20,40]", {"grain_steps": (20, 20, 40), "grain_dim": (4.8, 4.8, 10.9)}),
        ("quality fine", {"grain_steps": (34, 34, 77)}),
        ("quality quick", {"grain_steps": (24, 24, 54), "n_voxels": (8, 8, 18)}),
    ],
)
def test_what_is_given_counts(text: str, expected: dict[str, Any]) -> None:
    params = chosen(text)
    for name, value in expected.items():
        np.testing.assert_allclose(getattr(params, name), value, err_msg=name)


def test_a_large_grain_has_wider_voxels() -> None:
    params = choose(parse(NEEDED, "init.txt")[0], (np.full(3, -50.0), np.full(3, 50.0)))
    assert 1.8e6 < np.prod(params.grain_steps) < 2.1e6
    assert np.ptp(params.voxel_um) < 0.01


def test_quick_keeps_the_box_and_voxels_that_are_wide_enough() -> None:
    text = NEEDED + "grain_pos [0,0,0]\ngrain_dim [12,12,12]\ngrain_steps [60,20,15]\nquality quick\n"
    params, _ = parse(text, "init.txt")
    assert params.n_voxels == (20, 20, 15)
    np.testing.assert_allclose([axis.size for axis in params.axes_um], params.n_voxels)
    np.testing.assert_allclose(params.voxel_um, [0.6, 0.6, 0.8])
    text = NEEDED + "grain_pos [0,0,0]\ngrain_dim [90,45,60]\ngrain_steps [900,450,600]\nquality quick\n"
    params, _ = parse(text, "init.txt")
    assert 100_000 < np.prod(params.n_voxels) < 150_000  # however large the grain
    np.testing.assert_allclose(params.voxel_um, params.voxel_um.mean(), rtol=0.05)


@pytest.mark.parametrize(("n_omega", "n_read"), [(30, 30), (95, 95), (97, 48), (226, 57)])
def test_quick_reads_every_nth_omega_of_a_long_scan(n_omega: int, n_read: int) -> None:
    axes = {"tilt1": np.arange(3.0), "tilt2": np.arange(2.0), "omega": np.arange(float(n_omega))}
    scan = scan_of_arrays(np.ones((3, 2, n_omega, 2, 2), dtype=np.uint16), axes)
    text = NEEDED + "threshold 0.5\nbackground 0\nomega_exclude [[0,0]]\nquality "
    omegas = {q: prepare(parse(text + q, "init.txt")[0], scan).measurement.omega_index for q in QUALITIES}
    assert omegas["normal"].size == omegas["fine"].size == n_omega - 1
    assert abs(omegas["quick"].size - n_read) <= 1
    assert np.ptp(np.diff(omegas["quick"])) == 0


# ---- Reading ----


@pytest.mark.parametrize("method", ["backprojection", "mlem"])
def test_every_omega_is_summed_once_for_all_looks(tmp_path: Path, monkeypatch: Any, method: str) -> None:
    """Axis, volume, hull and the check of the result share what is read."""
    summed: list[int] = []
    over_tilts = Bands.over_tilts

    def counted(self: Bands, number: int, **what: bool) -> Any:
        summed.append(number)
        return over_tilts(self, number, **what)

    monkeypatch.setattr(Bands, "over_tilts", counted)
    case = phantoms.make(n_omega=12, n_tilts=3)
    init = case.write(tmp_path, method=method, iterations=1, **OPEN)
    reconstruction.run(read_initfile(init)[0], SerialComm(), quiet=True)
    assert sorted(summed) == list(range(12))


# ---- What is said ----


def test_the_lines_for_the_init_file_give_the_same_again(tmp_path: Path, run: Run) -> None:
    """Those that a run prints, on one rank and on three."""
    case, keys = phantoms.make(n_omega=12), ("grain_pos", "grain_dim", "grain_steps", "detector_center")
    given: dict[str, Any] = OPEN
    results = []
    for ranks in (None, 3, None):
        init = case.write(tmp_path, method="backprojection", **given)
        done = run("recon3d.py", init, "--quiet", "--no-report", ranks=ranks)
        assert done.returncode == 0, done.stderr
        results.append((tmp_path / "grain_ang.npy").read_bytes())
        found = dict(line.split() for line in done.stdout.splitlines() if line.startswith(keys))
        assert set(found) == (set(keys) if len(results) < 3 else set())
        given = found if len(results) == 2 else OPEN
    assert results[0] == results[1] == results[2]


def test_a_centre_that_cannot_be_found_is_the_middle_unless_it_must_be_found(tmp_path: Path) -> None:
    case = some_omegas(phantoms.make(), slice(0, 4))
    setting = found(tmp_path / "open", case)
    assert setting.projector.center_px == (14.5, 13.5)
    assert setting.found == ("grain_pos", "grain_dim", "grain_steps")
    (warning,) = setting.warnings
    assert "detector_center" in warning and "taken to be the middle of the image" in warning
    assert (box_of(setting)[0] < GRAIN[0]).all() and (box_of(setting)[1] > GRAIN[1]).all()
    with pytest.raises(Recon3DError, match="detector_center: cannot be found"):
        found(tmp_path / "must", case, detector_center="auto")


def test_a_quarter_of_a_turn_tells_the_centre_well_enough_where_it_need_not(tmp_path: Path) -> None:
    case = some_omegas(phantoms.make(n_omega=48, roi=(40, 40)), slice(0, 13))
    rolled = dataclasses.replace(case, counts=np.roll(case.counts, 3, axis=4))
    setting = found(tmp_path / "open", rolled)
    assert setting.params.detector_center == (19.5, pytest.approx(22.5, abs=0.4))
    with pytest.raises(Recon3DError, match="too close together"):
        found(tmp_path / "must", rolled, detector_center="auto")


def test_a_grain_that_leaves_the_image_is_told(tmp_path: Path) -> None:
    case = phantoms.make(roi=(30, 16))
    (warning,) = found(tmp_path, case, detector_center="None").warnings
    assert "touches the edge of the image at 24 of 24 omegas" in warning


def test_nothing_to_see_is_told(tmp_path: Path) -> None:
    case = phantoms.make(n_omega=8)
    dark = np.rint(np.random.default_rng(0).normal(0, 2, case.counts.shape)).astype(np.int16)
    setting = found(tmp_path, dataclasses.replace(case, counts=dark))
    assert any("does not stand out from the noise" in warning for warning in setting.warnings)
    assert setting.params.has_volume
