"""Method mlem: exact adjoints, right on phantoms that share no code with it, the same on any ranks."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from lib import reconstruction
from lib.errors import Recon3DError
from lib.initfile.parse import parse, read_initfile
from lib.mlem import expectation, iterate, shape
from lib.mlem.map_kernels import RUN
from lib.mlem.maps import Maps, padded
from lib.mlem.search import Found, Search
from lib.mlem.standstill import Watch
from lib.parallel.communicator import SerialComm
from lib.physics.tilts import BLUR_STEPS, OrientationGrid, Resolution, response
from lib.projection.footprint import ONE_PIXEL
from lib.scan import setting
from lib.scan.bands import Bands
from tests import phantoms
from tests.phantoms import read_result
from tests.running import Run

CASES = {
    "horizontal, sample": {},
    "horizontal, lab": {"frame": "lab"},
    "vertical, sample": {"mode": "vertical"},
    "vertical, lab": {"mode": "vertical", "frame": "lab"},
}


@pytest.mark.parametrize("refinement", [2, 6])  # with 6, K goes before P
@pytest.mark.parametrize("name", CASES)
def test_projection_and_backprojection(tmp_path, name, refinement):
    """A f and A' y as two matrices say, and <A f, y> = <f, A' y>, in both frames and both modes."""
    case = phantoms.make(**CASES[name], n_omega=3, n_tilts=3)
    params, _ = read_initfile(case.write(tmp_path))
    whole = setting.prepare(params)
    here = whole.measurement
    rng = np.random.default_rng(0)
    xyz = rng.uniform(-6, 6, (300, 3))  # some of them leave the detector
    with Bands(here.scan, here.omega_index) as bands:
        model = expectation.Model(
            xyz, [iterate._view(here, whole.projector, ONE_PIXEL, bands, k, xyz) for k in range(3)]
        )
    model = iterate._with_response(here, model, refinement, Resolution(0.03, 0.06))
    grid = OrientationGrid.refine(*here.relative_axes_deg(), refinement)
    maps = some_runs(Maps.full(300, grid.n_pairs, 1.0), rng)
    for k, view in enumerate(model.views):
        assert view.sees_few == (refinement == 6)
        onto = bilinear(view, xyz)
        image = rng.random((view.pixels.size, 9), dtype=np.float32)
        seen, lit = model.project(view, maps)
        sharp = Resolution(0.03, 0.06).sharpened(BLUR_STEPS * here.usual_step_deg)
        response = padded(here.response(here.relative_axes_deg(), grid, sharp, k))
        np.testing.assert_allclose(seen, onto @ maps.dense() @ response.T, rtol=1e-4, atol=1e-5)
        back = replace(maps, values=np.zeros_like(maps.values))
        model.backproject(view, image, lit, back)
        dense = (onto.T @ image @ response).reshape(300, -1, RUN)
        np.testing.assert_allclose(back.values, dense[maps.voxel_of_run(), maps.run], rtol=1e-4, atol=1e-5)
        forward = np.vdot(seen.astype(float), image.astype(float))
        assert np.vdot(maps.values.astype(float), back.values.astype(float)) == pytest.approx(
            forward, rel=1e-5
        )


def bilinear(view: expectation.View, xyz: np.ndarray) -> np.ndarray:
    """P (n_rows, n_voxels) of one view: the product of two hats."""
    place = xyz @ view.matrix.T + view.shift
    pixel = np.stack(np.divmod(view.pixels, view.shape[1]), axis=1)
    return np.maximum(1.0 - np.abs(pixel[:, None] - place), 0.0).prod(axis=2).astype(np.float32)


def some_runs(maps: Maps, rng: np.random.Generator) -> Maps:
    """Random values in some of the runs, none in some voxels."""
    maps.values[:] *= rng.random(maps.values.shape)
    maps.values[rng.random(maps.run.size) < 0.6] = 0.0
    return maps.above(np.zeros(maps.n_voxels, dtype=np.float32))


def test_maps_keep_what_they_hold():
    """Parts, joined again; runs given up; a finer grid with the same total and centre of mass."""
    rng = np.random.default_rng(1)
    axis = np.array([-0.1, 0.0, 0.1, 0.2])
    grid, finer = (OrientationGrid.refine(axis, axis, n) for n in (1, 2))
    maps = some_runs(Maps.full(40, grid.n_pairs, 1.0), rng)
    joined = Maps.joined([maps.part(0, 7), maps.part(7, 7), maps.part(7, 40)])
    np.testing.assert_array_equal(joined.dense(), maps.dense())
    np.testing.assert_array_equal(maps.highest(), maps.dense().max(axis=1))
    limit = np.full(40, 0.7, dtype=np.float32)
    kept, before = (m.dense().reshape(-1, RUN) for m in (maps.above(limit), maps))
    highest = before.max(axis=1)
    full, gone = highest >= 1.2 * 0.7, highest <= 0.7
    assert full.any() and gone.any() and not (full | gone).all()
    np.testing.assert_array_equal(kept[full], before[full])
    assert not kept[gone].any()
    fade = (highest - 0.7) / (0.2 * 0.7)  # from nothing at the limit to all
    np.testing.assert_allclose(kept, before * np.clip(fade, 0, 1)[:, None], rtol=1e-4, atol=1e-6)
    fine = maps.refined(grid, finer, 0.0).dense()[:, : finer.n_pairs]
    coarse = maps.dense()[:, : grid.n_pairs]
    np.testing.assert_allclose(fine.sum(axis=1), coarse.sum(axis=1), rtol=1e-5)
    single = Maps.full(1, grid.n_pairs, 0.0)
    single.values.reshape(-1)[5] = 3.0  # (1, 1): inside of the grid
    spread = single.refined(grid, finer, 0.0).dense()[0, : finer.n_pairs]
    for values, at in zip(finer.pairs(), (0.0, 0.0), strict=True):
        assert (spread @ values) / 3.0 == pytest.approx(at, abs=1e-6)


@pytest.mark.parametrize("ranks", [None, 3])
def test_counts_that_do_not_fit_into_memory_are_read_anew(tmp_path, run: Run, ranks):
    """The same numbers, with nothing held."""
    case = phantoms.make(n_omega=8, n=16)
    fields = []
    for held in ("auto", 0):
        folder = tmp_path / str(held)
        init = case.write(folder, method="mlem", iterations=2, rock_width=0.03, roll_width=0.05, memory=held)
        result = run("recon3d.py", "--no-report", init, ranks=ranks)
        assert result.returncode == 0, result.stderr
        assert ("pixels:" in result.stderr) == (held == "auto")
        fields.append(read_result(folder)[2])
    for name, values in fields[0].items():
        np.testing.assert_array_equal(values, fields[1][name], err_msg=name)


@pytest.mark.parametrize("name", CASES)
def test_phantom(tmp_path, run: Run, name):
    """Shape and orientation with nothing but the method given: no threshold, no resolution."""
    case = phantoms.make(**CASES[name])
    result = run("recon3d.py", "--no-report", case.write(tmp_path, method="mlem"))
    assert result.returncode == 0, result.stderr
    mask, found, fields = read_result(tmp_path)
    dice, deviation = phantoms.judge(case, mask, found)
    assert dice > 0.97
    assert np.median(np.linalg.norm(deviation, axis=1)) < 0.1
    pull = phantoms.pulls(case, mask, found, np.stack([fields["tilt1_std"], fields["tilt2_std"]], -1))
    assert 0.6 < 1.4826 * np.median(np.abs(pull)) < 1.6
    assert np.isnan(found[~mask]).all()


def test_clipped_noise_does_not_spoil_the_shape(tmp_path, run: Run):
    """Read noise of the size of the faint counts, clipped at zero as uint16 does."""
    case = phantoms.make(peak_counts=60, read_noise=2.0)
    assert run("recon3d.py", "--no-report", case.write(tmp_path, method="mlem")).returncode == 0
    mask, found, _ = read_result(tmp_path)
    dice, deviation = phantoms.judge(case, mask, found)
    assert dice > 0.95
    assert np.median(np.linalg.norm(deviation, axis=1)) < 0.15


def test_better_than_backprojection(tmp_path, run: Run):
    case = phantoms.make(frame="lab")
    scores = {}
    for method in ("mlem", "backprojection"):
        folder = tmp_path / method
        assert run("recon3d.py", "--no-report", case.write(folder, method=method)).returncode == 0
        mask, found, _ = read_result(folder)
        dice, deviation = phantoms.judge(case, mask, found)
        scores[method] = dice, np.median(np.linalg.norm(deviation, axis=1))
    assert scores["mlem"][0] > scores["backprojection"][0] + 0.02
    assert scores["mlem"][1] < scores["backprojection"][1] / 2


def test_same_numbers_on_any_ranks(tmp_path, run: Run):
    case = phantoms.make(n_omega=12, n=16)
    serial = None
    for ranks in (None, 1, 2, 3, 10):
        folder = tmp_path / str(ranks)
        result = run(
            "recon3d.py", "--no-report", case.write(folder, method="mlem", iterations=3), ranks=ranks
        )
        assert result.returncode == 0, result.stderr
        mask, _, fields = read_result(folder)
        serial = fields if serial is None else serial
        np.testing.assert_array_equal(mask, serial["mask"] > 0)
        for name, values in fields.items():
            np.testing.assert_allclose(values, serial[name], rtol=1e-4, atol=1e-4, err_msg=name)


def test_missing_frames_and_excluded_omegas_are_left_out(tmp_path, run: Run):
    """Frames that were not measured hold zeros; they must not count as dark."""
    case = phantoms.make()
    measured = np.random.default_rng(3).random((5, 5, 24)) > 0.2
    case.counts[~measured] = 0
    case.counts[:, :, 7] = 5000  # another grain passes
    init = case.write(tmp_path, method="mlem", omega_exclude=[[100, 110]])
    np.save(tmp_path / "measured.npy", measured)
    assert run("recon3d.py", "--no-report", init).returncode == 0
    mask, found, _ = read_result(tmp_path)
    dice, deviation = phantoms.judge(case, mask, found)
    assert dice > 0.96
    assert np.median(np.linalg.norm(deviation, axis=1)) < 0.12


@pytest.mark.parametrize("quality", ["normal", "quick", "quick, not told by a few pixels"])
def test_resolution_is_found(tmp_path, monkeypatch, quality):
    """The widths of the instrument, from the scan, to a third."""
    case, looks = phantoms.make(), []
    params, _ = read_initfile(
        case.write(tmp_path, method="mlem", iterations=2, quality=quality.split(",")[0])
    )
    first = Search.first

    def counted(self: Search) -> Found:
        found = first(self)
        looks.append(found)
        return found._replace(sure=found.sure and (len(looks) > 1 or "not told" not in quality))

    monkeypatch.setattr(Search, "first", counted)
    _, _, facts = reconstruction.solve(setting.prepare(params), SerialComm(), quiet=True)
    assert len(looks) == (2 if "not told" in quality else 1)
    assert facts["resolution_found"]
    assert facts["rock_width_deg"] == pytest.approx(phantoms.ROCK, rel=0.35)
    assert facts["roll_width_deg"] == pytest.approx(phantoms.ROLL, rel=0.35)


def solved(folder, case: phantoms.Case) -> tuple[np.ndarray, np.ndarray, dict[str, np.ndarray]]:
    """Deviations (n, 2) in steps where the masks agree, errors over stated errors, and the facts."""
    params, _ = read_initfile(case.write(folder, method="mlem"))
    found, mask, facts = reconstruction.solve(setting.prepare(params), SerialComm(), quiet=True)
    orientation, std = (
        np.stack([found[f"{name}{kind}"] for name in ("tilt1", "tilt2")], -1) for kind in ("", "_std")
    )
    _, deviation = phantoms.judge(case, mask, orientation)
    return deviation, phantoms.pulls(case, mask, orientation, std), facts


@pytest.mark.parametrize("frame", ["sample", "lab"])
def test_resolution_narrower_than_a_step(tmp_path, frame):
    """What diffracts amid two positions is seen faintly by both, and still found there."""
    case = phantoms.make(frame=frame, n_tilts=7, widths=(0.5 * phantoms.STEP, 1.5 * phantoms.STEP))
    deviation, pull, facts = solved(tmp_path, case)
    assert np.median(np.linalg.norm(deviation, axis=1)) < 0.04
    assert 0.6 < 1.4826 * np.median(np.abs(pull)) < 1.6
    assert 0.4 < facts["rock_width_deg"] / phantoms.STEP < 0.85
    assert 1.4 < facts["roll_width_deg"] / phantoms.STEP < 1.8


@pytest.mark.parametrize("n_omega", [1, 4])
def test_a_narrow_resolution_from_a_few_omegas(tmp_path, n_omega):
    """Too few to leave any out for judging the widths."""
    case = phantoms.make(n_omega=n_omega, widths=(0.5 * phantoms.STEP, 1.5 * phantoms.STEP))
    _, _, facts = solved(tmp_path, case)
    assert 0.2 * phantoms.STEP < facts["rock_width_deg"] < 3 * phantoms.STEP


def test_narrow_resolution_that_does_not_turn_is_stated_as_an_error(tmp_path):
    """Equal widths in the sample frame: within a step, the data do not say where a voxel diffracts."""
    width = 0.9 * phantoms.STEP
    _, pull, _ = solved(tmp_path, phantoms.make(n_tilts=7, widths=(width, width)))
    assert 0.6 < 1.4826 * np.median(np.abs(pull)) < 1.6


def test_response_is_a_gaussian_that_turns():
    """At omega 0 tilt1 is the narrow direction in the sample frame, at 90 degrees tilt2."""
    axis = np.array([-0.1, 0.0, 0.1])
    grid = OrientationGrid.refine(axis, axis, 1)
    widths = Resolution(0.1, 0.4)
    for omega, narrow in ((0.0, 0), (np.pi / 2, 1)):
        sees = response("sample", "horizontal", axis, axis, grid, widths, omega).reshape(3, 3, 3, 3)
        off_narrow = sees[2, 1, 1, 1] if narrow == 0 else sees[1, 2, 1, 1]
        off_wide = sees[1, 2, 1, 1] if narrow == 0 else sees[2, 1, 1, 1]
        assert off_narrow == pytest.approx(2.0**-4, rel=1e-5)
        assert off_wide == pytest.approx(2.0 ** (-4 / 16), rel=1e-5)
        assert sees[1, 1, 1, 1] == 1.0


def test_no_resolution_shares_between_positions():
    """Width 0: an orientation between two positions is seen by both, by linear interpolation."""
    axis = np.array([-0.1, 0.0, 0.1])
    grid = OrientationGrid.refine(axis, axis, 2)
    sees = response("sample", "horizontal", axis, axis, grid, Resolution(0.0, 0.0), 0.3)
    np.testing.assert_allclose(sees.sum(axis=0), 1.0, rtol=1e-6)
    assert sees.reshape(3, 3, 5, 5)[1, 1, 1, 2] == pytest.approx(0.5)


def test_subsets_hold_every_view_once():
    for n_views, n_subsets in ((60, 8), (7, 3), (5, 9), (1, 1)):
        subsets = expectation.ordered_subsets(n_views, n_subsets)
        assert sorted(k for subset in subsets for k in subset) == list(range(n_views))
        assert max(map(len, subsets)) - min(map(len, subsets)) <= 1


def test_mask_is_half_the_density_whatever_the_scale():
    density = np.zeros((9, 9, 9))
    density[2:7, 2:7, 2:7] = 1.0
    density[1, 2:7, 2:7] = 0.4
    density[7, 2:7, 2:7] = 0.6
    for scale in (1e-3, 1.0, 1e6):
        mask = shape.grain_mask(density * scale)
        assert mask.sum() == 150
        assert mask[7, 4, 4] and not mask[1, 4, 4]
    assert not shape.grain_mask(np.zeros((3, 3, 3))).any()


def test_specks_are_no_part_of_the_grain():
    density = np.zeros((20, 20, 20))
    density[4:14, 4:14, 4:14] = 1.0
    grain = density > 0
    density[0, 10, 10] = density[1, 10, 10] = 1.2
    np.testing.assert_array_equal(shape.grain_mask(density), grain)
    density[16:19, 16:19, 16:19] = 1.0  # a part of its own
    assert shape.grain_mask(density).sum() == grain.sum() + 27


def read_one(whole, step, refinement):
    """What is read off the only voxel, whose map is (n, n), of orientations a step apart from 0 on."""
    axis = step * np.arange(len(whole))
    maps = Maps.full(1, whole.size, 0.0)
    maps.values.reshape(-1)[: whole.size] = whole.ravel()
    index, ijk = np.zeros((1, 1, 1), dtype=np.int64), np.zeros((1, 3), dtype=np.int64)
    return shape.read_maps(maps, index, ijk, OrientationGrid(axis, axis, refinement))


def test_reading_of_one_map():
    """Worked numbers: a peak between two orientations, and a second one far from it."""
    whole = np.zeros((6, 6))
    whole[1, 1], whole[1, 2], whole[5, 0] = 3.0, 1.0, 1.5
    readings = read_one(whole, 0.1, 2)
    weight = shape.neighbour_weights()[2, 2, 2]
    assert readings.density[0] == pytest.approx(5.5 * weight)
    assert (readings.tilt1[0], readings.tilt2[0]) == pytest.approx((0.1, 0.125))
    assert readings.var2[0] == pytest.approx(0.1**2 * 0.25 * 0.75)
    assert readings.second_peak[0] == pytest.approx(0.5)
    assert (readings.apart1[0], readings.apart2[0]) == pytest.approx((0.4, 0.1))
    assert readings.peak_mass[0] == pytest.approx(4.0 * weight)


def test_a_peak_wider_than_a_step_is_not_pulled_to_the_grid():
    """Where the scan is finer than the resolution: the window about its brightest orientation cuts it."""
    x, y = np.arange(17)[:, None] - 8.45, np.arange(17) - 7.6
    readings = read_one(np.exp(-(x**2 + y**2) / (2 * 1.7**2)), 1.0, 2)
    assert (readings.tilt1[0], readings.tilt2[0]) == pytest.approx((8.45, 7.6), abs=0.03)


GRID = OrientationGrid.refine(0.1 * np.arange(-3, 4), 0.1 * np.arange(-3, 4), 1)


def test_noise_alone_does_not_keep_the_iterations_going():
    """What moves the two halves of cells alike does; what moves them apart is noise, however far."""
    rng = np.random.default_rng(0)
    mass, noise = np.ones(4000), rng.normal(0.0, 0.01, (2, 4000))
    still, moving = [mass, *noise, mass, 0 * mass], [mass, *(noise + 0.01), mass, 0 * mass]
    swelling, nothing = [mass, *noise, mass, 0.02 * mass], np.zeros((5, 4000))
    watch = Watch(GRID, np.arange(4000), 4000)
    assert watch.stands(np.array([still]))
    assert not any(watch.stands(np.array([sums])) for sums in (moving, swelling, nothing))
    in_turn = Watch(GRID, np.arange(4000), 4000, period=3)  # to and fro, but not from turn to turn
    assert in_turn.stands(np.array([moving, still]))
    assert in_turn.stands(np.array([swelling, swelling]))  # two thirds of a percent in an iteration
    assert not in_turn.stands(np.array([moving, nothing]))


def test_what_moves_is_compared_with_one_iteration_and_one_turn_before():
    n = GRID.n_pairs
    watch = Watch(GRID, np.zeros(1, dtype=np.int64), 2, period=3)
    for iteration, density in enumerate((1.0, 1.5, 3.0, 1.25)):
        since = watch.moved(Maps.full(1, n, density))[:, 4, 0] / n
        expected = [(0.0, 0.0), (0.5, 0.0), (1.5, 0.0), (-1.75, 0.25)][iteration]
        assert since == pytest.approx(expected)


def test_init_file_takes_the_method():
    text = "path x\nunit_cell [4,4,4,90,90,90]\nhkl [2,0,0]\nwavelength 0.7\nM 5\nmethod mlem\nsubsets auto\n"
    params, _ = parse(text, "init")
    assert (params.method, params.subsets, params.rock_width) == ("mlem", None, None)


@pytest.mark.parametrize("steps", [[13, 13, 13], [13, 20, 26]])
def test_voxels_wider_than_pixels_are_right(tmp_path, steps):
    """Their images are summed to bins, along each axis of the image; nothing is left to warn of."""
    case = phantoms.make(n=40)
    params, _ = read_initfile(case.write(tmp_path, method="mlem", grain_steps=steps))
    wide = setting.prepare(params)
    assert not wide.warnings
    bins = wide.fitted_to_voxels().projector.bins
    assert bins == ((2, 2) if steps[1] == 13 else (2, 1))
    fields, mask, facts = reconstruction.solve(wide, SerialComm(), quiet=True)
    axes = [10.0 / n * (np.arange(n) - (n - 1) / 2) for n in steps]
    r = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1)
    true = mask & phantoms.inside(r)
    assert true.sum() > 0.9 * max(mask.sum(), phantoms.inside(r).sum())
    off = np.stack([fields["tilt1"] - 1.5, fields["tilt2"] + 0.7], axis=-1) - phantoms.orientation(r)
    assert np.median(np.linalg.norm(off[true], axis=1)) < 0.1 * phantoms.STEP
    assert facts["misfit"][-1] < 2.0


def test_a_scan_without_a_grain_is_refused(tmp_path):
    """Dark frames, and a volume beside the grain: one line, whatever the volume is."""
    case = phantoms.make(n=8, n_omega=12, n_tilts=3)
    noise = np.random.default_rng(0).normal(0, 2, case.counts.shape)
    dark = replace(case, counts=np.maximum(np.rint(noise), 0).astype(np.uint16))
    for scan, keys in ((dark, {}), (case, {"grain_pos": [30, 30, 30], "detector_center": [14.5, 13.5]})):
        params, _ = read_initfile(scan.write(tmp_path / str(len(keys)), **keys))
        with pytest.raises(Recon3DError, match="no voxel of the volume is lit"):
            reconstruction.run(params, SerialComm(), quiet=True)
