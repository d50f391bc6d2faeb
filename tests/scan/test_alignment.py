"""detector_center auto and drift correct: is the axis found, is the drift, and when does it refuse?"""

from __future__ import annotations

from dataclasses import replace

import h5py
import numpy as np
import pytest

from lib import reconstruction
from lib.checks.geometry import FLIPS
from lib.errors import Recon3DError
from lib.parallel.communicator import SerialComm
from lib.physics.geometry import OMEGA_AXIS, Geometry
from lib.scan import alignment
from lib.scan.align import align
from lib.scan.setting import prepare
from lib.scan.spots import Spot, find_spots
from lib.simulation import simulate
from lib.simulation.compare import dice
from tests.aligned_scan import parameters, write
from tests.running import error_line

N_OMEGA = 60
OMEGA = np.radians(np.arange(N_OMEGA) * 6.0)


def aligned(params, **changes):
    return align(prepare(replace(params, **{"detector_center": "auto"} | changes)), SerialComm(), quiet=True)


def error_across(setting, simulation):
    """Distance in pixels of the centre found from the true one, normal to the rotation axis."""
    off = np.subtract(setting.projector.center_px, simulation.geometry.center_px)
    return float(abs(off @ np.array(setting.alignment.across)))


def fit_points(centroids, matrix, shift, axis, center=(0.0, 0.0), totals=None, edge=(), omega=OMEGA):
    totals = np.full(len(centroids), 1e5) if totals is None else totals
    spots = [
        [Spot(float(t), (float(x), float(y)), 10.0, k in edge)]
        for k, (t, (x, y)) in enumerate(zip(totals, centroids, strict=True))
    ]
    return alignment.fit(spots, matrix, shift, omega, axis, center, np.ones(len(spots)))


def geometry(mode="horizontal", flip=(1, 0, 0, 1)):
    return Geometry(mode, np.radians(10.4), 10.0, orientation=flip, center_px=(49.5, 39.5))


# ---- the fit alone ----


@pytest.mark.parametrize("mode", ["horizontal", "vertical"])
@pytest.mark.parametrize("flip", FLIPS)
@pytest.mark.parametrize("tilts", [{}, {"phi_up": 0.01, "phi_lo": -0.02}, {"mu": 0.02, "gamma": 0.01}])
def test_fit_is_exact_for_every_geometry(mode, flip, tilts):
    true = geometry(mode, flip).with_center((52.0, 36.0))
    matrix, shift = true.sample_to_pixel(OMEGA, **tilts)
    centroids = matrix @ np.array([1.0, -2.0, 3.0]) + shift
    matrix, shift = geometry(mode, flip).sample_to_pixel(OMEGA, **tilts)
    found = fit_points(centroids, matrix, shift, OMEGA_AXIS[mode], (49.5, 39.5))
    off = np.subtract(found.center_px, (52.0, 36.0))
    assert abs(off @ found.across) < 1e-9
    along = np.array([-found.across[1], found.across[0]])
    assert abs(np.subtract(found.center_px, (49.5, 39.5)) @ along) < 1e-9, "kept along the axis"
    assert np.abs(found.residual_px).max() < 1e-9
    in_plane = [i for i in range(3) if i != OMEGA_AXIS[mode]]
    assert np.allclose(np.array(found.grain_um)[in_plane], np.array([1.0, -2.0, 3.0])[in_plane], atol=0.1)


def test_jitter_of_a_pixel_leaves_the_error_of_a_mean():
    matrix, shift = geometry().sample_to_pixel(OMEGA)
    rng = np.random.default_rng(0)
    errors, spreads = [], []
    for _ in range(100):
        centroids = matrix @ np.array([0.0, 2.0, 1.0]) + shift + rng.normal(size=(N_OMEGA, 2))
        found = fit_points(centroids, matrix, shift, 0, (49.5, 39.5))
        errors.append(found.center_px[1] - 39.5)
        spreads.append(found.center_std_px)
    assert np.std(errors) < 1.2 / np.sqrt(N_OMEGA)
    assert np.mean(spreads) == pytest.approx(np.std(errors), rel=0.2)


def test_outliers_do_not_pull():
    matrix, shift = geometry().sample_to_pixel(OMEGA)
    centroids = matrix @ np.array([0.0, 2.0, 1.0]) + shift
    centroids += np.random.default_rng(1).normal(size=centroids.shape) * 0.05
    centroids[20:29] += (6.0, 15.0)
    found = fit_points(centroids, matrix, shift, 0, (49.5, 39.5))
    assert abs(found.center_px[1] - 39.5) < 0.03
    assert found.standing_out.nonzero()[0].tolist() == list(range(20, 29))
    assert np.allclose(found.residual_px[20:29], (6.0, 15.0), atol=0.3)


def test_brightness_that_varies_slowly_is_nothing_special():
    matrix, shift = geometry().sample_to_pixel(OMEGA)
    centroids = matrix @ np.array([0.0, 2.0, 1.0]) + shift
    totals = 1e5 * (1.0 + 0.3 * np.cos(2 * OMEGA) + 0.1 * np.sin(OMEGA))
    totals[30:33] *= 1.3
    found = fit_points(centroids, matrix, shift, 0, totals=totals)
    assert found.standing_out.nonzero()[0].tolist() == [30, 31, 32]
    assert (found.drift_px[30:33] == 0).all()


@pytest.mark.parametrize("degrees", [60, 90])
def test_a_small_range_of_omega_is_refused(degrees):
    omega = np.radians(np.linspace(0, degrees, 40))
    matrix, shift = geometry().sample_to_pixel(omega)
    with pytest.raises(Recon3DError, match=r"detector_center: .*too few or too close together"):
        fit_points(matrix @ np.array([0.0, 2.0, 1.0]) + shift, matrix, shift, 0, omega=omega)


def test_a_few_omegas_at_the_edge_are_left_out_and_more_are_refused():
    matrix, shift = geometry().sample_to_pixel(OMEGA)
    centroids = matrix @ np.array([0.0, 2.0, 1.0]) + shift
    centroids[:3] += (0.0, 2.0)
    found = fit_points(centroids, matrix, shift, 0, (49.5, 39.5), edge={0, 1, 2})
    assert abs(found.center_px[1] - 39.5) < 1e-6
    assert not found.trusted[:3].any()
    with pytest.raises(Recon3DError, match=r"edge of the image at 4 of 60 omegas; make the ROI larger"):
        fit_points(centroids, matrix, shift, 0, edge={0, 1, 2, 3})


def test_the_spot_on_the_path_is_the_grain():
    matrix, shift = geometry().sample_to_pixel(OMEGA)
    centroids = matrix @ np.array([0.0, 2.0, 1.0]) + shift
    grain = [Spot(1e5, (x, y), 10.0, False) for x, y in centroids]
    other = Spot(3e5, (5.0, 5.0), 8.0, True)
    spots = [[other, spot] if k in range(8, 17) else [spot] for k, spot in enumerate(grain)]
    found = alignment.fit(spots, matrix, shift, OMEGA, 0, (49.5, 39.5), np.ones(N_OMEGA))
    assert np.abs(found.residual_px).max() < 1e-6
    assert found.trusted.all()


def test_spots_of_an_image():
    x, y = np.meshgrid(np.arange(60.0), np.arange(50.0), indexing="ij")
    image = 900.0 * (np.hypot(x - 20.3, y - 24.6) < 9) + 400.0 * (np.hypot(x - 50, y - 0) < 7)
    image[5, 45] = 1e6
    image += 12.0 + np.random.default_rng(0).normal(size=image.shape)
    grain, other = find_spots(image, 0.0, 1.0)
    assert grain.centroid_px == pytest.approx((20.3, 24.6), abs=0.1)
    assert grain.total == pytest.approx(900.0 * np.pi * 81, rel=0.02)
    assert 8.5 < grain.reach_px < 11.5
    assert (grain.at_edge, other.at_edge) == (False, True)
    assert find_spots(np.zeros((20, 20)), 0.0, 0.0) == []


def test_ranges_for_omega_exclude():
    flags = np.array([True, False, True, True])
    assert alignment.ranges(flags, np.arange(4.0)) == [(0.0, 0.0), (2.0, 3.0)]


# ---- simulated scans ----


@pytest.fixture(scope="module")
def offset_scan(tmp_path_factory):
    params = parameters(tmp_path_factory.mktemp("offset") / "scan", sim_center_offset=(0.0, 3.0))
    return params, write(params)


def test_offset_is_found_to_a_few_thousandths_of_a_pixel(offset_scan):
    params, simulation = offset_scan
    setting = aligned(params)
    assert error_across(setting, simulation) < 0.002
    assert setting.warnings == []
    assert setting.projector.center_px[0] == 31.5


def dice_of(params, simulation):
    reconstruction.run(params, SerialComm(), quiet=True)
    found = np.load(params.folder / "grain_ang.npy")
    return dice(np.isfinite(found[..., 0]), simulate.truth(simulation)[1])


def test_the_shape_recovers(offset_scan, tmp_path):
    params, simulation = offset_scan
    params = replace(params, output=str(tmp_path), threshold=30.0)
    without = dice_of(replace(params, detector_center=None), simulation)
    found = dice_of(replace(params, detector_center="auto"), simulation)
    assert dice_of(params, simulation) == found
    true = dice_of(replace(params, detector_center=simulation.geometry.center_px), simulation)
    assert without < found - 0.1
    assert found == pytest.approx(true, abs=0.005)


def test_facts_and_summary(offset_scan, tmp_path):
    params, _ = offset_scan
    params = replace(params, output=str(tmp_path), detector_center="auto", drift="correct")
    lines = reconstruction.run(params, SerialComm(), quiet=True)
    assert any(line.startswith("axis         at pixel (31.50, 38.50), found to 0.0") for line in lines), lines
    with h5py.File(tmp_path / "grain.vtkhdf") as file:
        facts = dict(file["entry/process"].attrs)
    assert facts["center_px"] == pytest.approx((31.5, 38.5), abs=0.01)
    assert facts["alignment_residual_px"].shape == (40, 2)
    assert facts["alignment_trusted"].all()
    assert facts["alignment_omega_deg"][1] == 9.0


def test_a_given_centre_is_kept_and_doubted(offset_scan):
    setting = aligned(offset_scan[0], detector_center=(31.5, 35.5), drift="correct")
    assert setting.projector.center_px == (31.5, 35.5)
    assert setting.warnings == ["detector_center is 3 px from where the scan has it, [31.50,38.50]"]


def test_nothing_is_done_unasked(offset_scan):
    setting = aligned(offset_scan[0], detector_center=None)
    assert setting.alignment is None


def test_any_number_of_ranks_gives_the_same(run, offset_scan, tmp_path):
    init = offset_scan[0].folder.parent / "init.txt"
    text = init.read_text() + "detector_center auto\ndrift correct\nthreshold 30\ngrain_steps [9,9,9]\n"
    results = []
    for ranks in (None, 2, 3):
        out = tmp_path / str(ranks)
        (tmp_path / "init.txt").write_text(f"{text}output {out}\n")
        done = run("recon3d.py", "--no-report", tmp_path / "init.txt", ranks=ranks)
        assert done.returncode == 0, done.stderr
        with h5py.File(out / "grain.vtkhdf") as file:
            facts = {k: np.array(v).tolist() for k, v in file["entry/process"].attrs.items() if "align" in k}
        results.append(((out / "grain_ang.npy").read_bytes(), facts))
    assert results[0] == results[1] == results[2]
    assert "alignment_center_px" in results[0][1]


def test_the_drift_is_taken_out(tmp_path):
    params = parameters(tmp_path / "scan", sim_center_offset=(0.0, 3.0), sim_drift=1.5, threshold=30.0)
    simulation = write(params)
    setting = aligned(params)
    assert error_across(setting, simulation) < 3.5 * 1.5 / np.sqrt(40)
    drift = setting.alignment.residual_px
    left = drift - simulation.drift_px
    assert np.sqrt((left[:, 1] ** 2).mean()) < 0.5, "what looks like a rotation cannot be seen"
    without = dice_of(replace(params, detector_center="auto"), simulation)
    corrected = dice_of(replace(params, detector_center="auto", drift="correct"), simulation)
    assert corrected > without + 0.02


def passing(array):
    """Another grain that crosses the image at omegas 90 to 126 degrees."""
    x, y = np.meshgrid(np.arange(array.shape[3]), np.arange(array.shape[4]), indexing="ij")
    for k, place in zip(range(10, 15), (20, 26, 32, 38, 44), strict=True):
        array[:, :, k] += 600.0 * np.exp(-((x - place) ** 2 + (y - 24) ** 2) / 20.0)


def test_another_grain_that_passes_is_named_and_does_not_pull(tmp_path):
    params = parameters(tmp_path / "scan", sim_center_offset=(0.0, 3.0))
    simulation = write(params, edit=passing, noise=2.0, counts=True)
    setting = aligned(params, drift="correct")
    assert error_across(setting, simulation) < 0.03
    assert len(setting.warnings) == 1
    assert "5 of 40 omegas stand out" in setting.warnings[0]
    assert "omega_exclude [[90,126]]" in setting.warnings[0]


@pytest.mark.parametrize(
    "changes",
    [
        {"mode": "vertical", "sim_center_offset": (3.0, 0.0)},
        {"o11": 0, "o12": 1, "o21": -1, "o22": 0, "sim_center_offset": (-3.0, 0.0)},
        {"tilt_frame": "lab", "omega_sign": -1, "sim_center_offset": (0.0, -3.0), "o11": -1},
    ],
    ids=["vertical", "transposed", "lab"],
)
def test_other_geometries(tmp_path, changes):
    params = parameters(tmp_path / "scan", **changes)
    simulation = write(params)
    assert error_across(aligned(params), simulation) < 0.005


def test_a_grain_that_leaves_the_image_is_refused(run, tmp_path):
    params = parameters(tmp_path / "scan", sim_center_offset=(0.0, 24.0), sim_points=5000)
    write(params, noise=2.0, counts=True)
    with (tmp_path / "init.txt").open("a") as stream:
        stream.write("detector_center auto\n")
    line = error_line(run("recon3d.py", "--no-report", tmp_path / "init.txt", ranks=2), "recon3d")
    assert line.startswith("recon3d: error: detector_center: cannot be found: the grain touches the edge")
    with pytest.raises(Recon3DError, match="drift: cannot be found: the grain touches the edge"):
        aligned(params, detector_center=None, drift="correct")


def test_a_dark_scan_is_refused(tmp_path):
    params = parameters(tmp_path / "scan", sim_points=1000, ang_steps=(3, 3, 12))
    write(params, edit=lambda array: array.fill(0.0), noise=2.0, counts=True)
    with pytest.raises(Recon3DError, match=r"detector_center: .*is seen at 0 of 12 omegas"):
        aligned(params)
