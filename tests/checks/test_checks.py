"""What recon3d.py asks of its own result: right runs stay silent, wrong ones are told what is wrong."""

from __future__ import annotations

from dataclasses import replace

import h5py
import numpy as np
import pytest

from lib import cli
from lib.checks import doubts, projections, trust
from lib.initfile.parse import parse
from lib.parallel.communicator import SerialComm
from lib.physics.misorientation import neighbour_misorientation
from lib.scan.gather import Result
from lib.scan.setting import Setting, prepare
from tests import phantoms

CASE = phantoms.make(n=20, n_tilts=5, n_omega=24, peak_counts=100.0)
DARK_OMEGA = 7


INSIDE = np.zeros((3, 3, 3), dtype=bool)  # a grain that touches nothing
INSIDE[1, 1, 1] = True


def setting_of(folder, case=CASE, **keys) -> Setting:
    init = case.write(folder, threshold=5, **keys)
    return prepare(parse(init.read_text(), "init.txt")[0])


@pytest.fixture(scope="module")
def right(tmp_path_factory) -> Setting:
    return setting_of(tmp_path_factory.mktemp("right"))


def moved(setting: Setting, dx: float, dy: float) -> Setting:
    """With the centre dx, dy pixels from where it is."""
    x, y = setting.projector.center_px
    still = np.zeros((setting.measurement.n_omega, 2))
    return replace(setting, projector=setting.projector.moved((x + dx, y + dy), still))


def compare(setting: Setting) -> projections.Comparison:
    """The projections of the true grain."""
    return projections.compare(setting, CASE.mask.astype(float), SerialComm(), quiet=True)


def test_the_true_grain_explains_its_images(right):
    found = compare(right)
    assert found.usual_residual < 0.15
    assert abs(found.shift_across_px) < 0.1
    assert not found.standing_out.any()
    np.testing.assert_allclose(found.measured, found.predicted, rtol=0.1)
    totals = CASE.counts.sum(axis=(0, 1))
    np.testing.assert_allclose(found.measured, totals.sum(axis=(1, 2)), rtol=0.02)
    assert len(found.shown) in (4, 5)
    for shown in found.shown:
        k = int(np.flatnonzero(CASE.omega == shown.omega_deg)[0])
        assert shown.bins == (1, 1)  # voxels of 1.04 pixels
        np.testing.assert_allclose(shown.measured, totals[k], atol=0.02 * totals[k].max())


def test_a_displaced_image_is_measured(right):
    """In the horizontal geometry the image of the rotation axis lies along x."""
    found = compare(moved(right, 1.0, 1.0))
    assert found.across == pytest.approx((0.0, 1.0))
    assert found.shift_across_px == pytest.approx(-1.0, abs=0.2)
    warnings = trust.Checks(compare(moved(right, 0.0, 3.0)), []).warnings(right, Result({}, INSIDE, {}))
    assert "detector_center is off" in warnings[0]


def test_residual_of_made_up_sums():
    """Half of the light of an image of 100 pixels of 10 counts is missing; then a perfect image."""
    half = [1000.0, 500.0, 100 * 10.0**2, 100 * 50.0, 100 * 25.0, 0.0, 0.0, 0.0]
    exact = [500.0, 500.0, 100 * 5.0**2, 100 * 25.0, 100 * 25.0, 0.0, 0.0, 0.0]
    dark = [0.0] * 8
    residual = projections._residual(np.array([half, exact, dark]), 1.0)
    np.testing.assert_allclose(residual, [0.5, 0.0, np.nan])


def test_an_omega_with_other_light_stands_out(tmp_path):
    counts = CASE.counts.copy()
    counts[:, :, DARK_OMEGA, 20:, 20:] += 60
    setting = setting_of(tmp_path, replace(CASE, counts=counts))
    found = compare(setting)
    assert np.flatnonzero(found.standing_out).tolist() == [DARK_OMEGA]
    assert any(shown.omega_deg == CASE.omega[DARK_OMEGA] for shown in found.shown)
    (warning,) = trust.Checks(found, []).warnings(setting, Result({}, INSIDE, {}))
    angle = f"{CASE.omega[DARK_OMEGA]:g}"
    assert "1 of 24 omegas stand out" in warning and f"omega_exclude [[{angle},{angle}]]" in warning


@pytest.mark.parametrize(
    ("keys", "words"),
    [
        ({}, None),
        ({"omega_sign": -1}, "better with omega_sign 1 "),
        ({"o22": -1}, "better with o22 1 "),
        ({"tilt_frame": "lab"}, "better with tilt_frame sample "),
    ],
)
def test_other_geometries(tmp_path, keys, words):
    setting, comm = setting_of(tmp_path, **keys), SerialComm()
    verdicts = doubts.try_others(setting, doubts.load(setting, comm), comm, quiet=True)
    assert len(verdicts) == 8
    warnings = doubts.warning(verdicts)
    if words is None:
        assert warnings == []
    else:
        assert words in warnings[0]


def test_few_omegas_do_not_judge(right):
    eleven = replace(right.measurement, omega_index=right.measurement.omega_index[:11])
    few = replace(right, measurement=eleven)
    assert doubts.load(few, SerialComm()) is None
    assert doubts.try_others(few, None, SerialComm(), quiet=True) == []
    assert doubts.warning([]) == []


def test_the_same_for_any_number_of_ranks(tmp_path, run):
    small = phantoms.make(n=6, n_tilts=3, n_omega=13)
    found = []
    for ranks in (None, 3):
        init = small.write(tmp_path / str(ranks), threshold=5, method="backprojection")
        if ranks is None:
            assert cli.recon3d([str(init), "--quiet"], SerialComm()) == 0
        else:
            assert run("recon3d.py", init, "--quiet", ranks=ranks).returncode == 0
        with h5py.File(tmp_path / str(ranks) / "grain.vtkhdf") as file:
            attributes = dict(file["entry/process"].attrs)
            found.append({k: v for k, v in attributes.items() if k.startswith("projection_")})
            assert "kam" in file["VTKHDF/CellData"]
    assert len(found[0]) == 5
    for name, values in found[0].items():
        np.testing.assert_array_equal(values, found[1][name])


def test_misorientation_of_a_block():
    """Two halves 0.5 degrees apart: only the two layers at the boundary know, one neighbour of five or so."""
    tilt1 = np.where(np.arange(4) < 2, 0.0, 0.3)[:, None, None] * np.ones((4, 3, 3))
    tilt2 = np.where(np.arange(4) < 2, 0.0, 0.4)[:, None, None] * np.ones((4, 3, 3))
    mask = np.ones((4, 3, 3), dtype=bool)
    mask[3, 0, 0] = False
    tilt1[0, 2, 2] = np.nan
    found = neighbour_misorientation(tilt1, tilt2, mask)
    assert np.isnan(found[3, 0, 0]) and np.isnan(found[0, 2, 2])
    assert found[1, 1, 1] == pytest.approx(0.5 / 6)
    assert found[2, 0, 0] == pytest.approx(0.5 / 3)
    assert found[0, 0, 0] == 0.0
    alone = np.zeros((1, 1, 1))
    assert np.isnan(neighbour_misorientation(alone, alone, alone == 0)).all()
