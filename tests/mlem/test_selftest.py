"""Stated errors: what the self-test simulates, what differences say, on any number of ranks."""

from __future__ import annotations

import subprocess
import sys

import h5py
import numpy as np
import pytest
from scipy.ndimage import correlate, gaussian_filter

from lib import reconstruction
from lib.initfile.parse import read_initfile
from lib.mlem import halves, selftest, simulated
from lib.mlem.errors import Difference, Errors, Grain, local_error, sureness
from lib.mlem.shape import grain_mask, neighbour_weights
from lib.parallel.communicator import SerialComm
from lib.physics.noise import Dark
from lib.physics.tilts import OrientationGrid
from lib.scan.setting import prepare
from tests import phantoms
from tests.running import ROOT, launcher


def ball(n: int = 24) -> np.ndarray:
    return ((np.indices((n, n, n)) - (n - 1) / 2) ** 2).sum(axis=0) < (0.42 * n) ** 2


def test_maps_of_a_made_up_grain_have_its_orientations_and_densities():
    rng = np.random.default_rng(0)
    axis = 0.04 * np.arange(-3, 4.0)
    for other in (axis, np.zeros(1)):
        grid = OrientationGrid.refine(axis, other, simulated.FINER)
        tilts = rng.uniform(-0.11, 0.11, (40, 2)) * (1.0, float(other.size > 1))
        density = rng.uniform(1.0, 2.0, 40)
        maps = simulated.as_maps(simulated.Truth(np.zeros((40, 3)), tilts, density), grid)
        dense = maps.dense()[:, : grid.n_pairs]
        np.testing.assert_allclose(dense.sum(axis=1), density, rtol=1e-5)
        means = np.stack([(dense * at).sum(axis=1) / density for at in grid.pairs()], axis=1)
        np.testing.assert_allclose(means, tilts, atol=1e-6)


@pytest.mark.parametrize("dark", [Dark(), Dark(0.0, 0.6, 2.25), Dark(0.0, 0.0, 4.0)])
def test_simulated_noise_has_the_mean_and_variance_of_counts(dark):
    for light in (0.6, 1.0, 20.0):
        values = np.full((4000, 49), light, dtype=np.float32)
        simulated.add_noise(values, np.arange(4000), 3, dark, simulated.normal_numbers(49))
        bright = light > 5.0 * abs(dark.level) + 5.0 * dark.floor
        if bright or not dark.floor:
            assert values.mean() == pytest.approx(light + dark.level, abs=0.05 + 0.01 * light)
        if bright:
            assert values.var() == pytest.approx(light + dark.variance, rel=0.1)
    values = np.zeros((4000, 49), dtype=np.float32)
    simulated.add_noise(values, np.arange(4000), 3, dark, simulated.normal_numbers(49))
    assert values.mean() == pytest.approx(dark.mean, abs=0.03)
    assert values.var() == pytest.approx(dark.stored_variance, rel=0.05, abs=1e-9)
    assert (values.min() < 0.0) == (dark.variance > 0.0 and not dark.floor)  # cut where the scan's was


def test_noise_follows_from_pixel_and_omega_and_is_a_smooth_function_of_light():
    pool, pixels = simulated.normal_numbers(5), np.array([7, 3, 900])
    light = np.full((3, 5), 10.0, dtype=np.float32)
    one, swapped, moved, other = light.copy(), light.copy(), light * np.float32(1.0 + 1e-6), light.copy()
    simulated.add_noise(one, pixels, 4, Dark(), pool)
    simulated.add_noise(swapped, pixels[::-1].copy(), 4, Dark(), pool)
    simulated.add_noise(moved, pixels, 4, Dark(), pool)
    simulated.add_noise(other, pixels, 5, Dark(), pool)
    np.testing.assert_array_equal(one, swapped[::-1])
    np.testing.assert_allclose(moved, one, rtol=1e-5)
    assert (other != one).mean() > 0.9


def test_what_the_self_test_turns_alike_is_taken_off():
    """All of it where all turn alike, little of what scatters; unknown differences count for none."""
    mask = np.ones((12, 12, 12), dtype=bool)
    alike, chance = np.full(mask.sum(), 0.02), np.random.default_rng(0).normal(0.0, 0.02, mask.sum())
    alike[5] = np.nan
    grain = Grain.of(mask.astype(float), mask, np.zeros((mask.sum(), 2)), smooth=False)
    better = grain.less_bias(Difference(np.stack([alike, chance], axis=1), np.zeros(mask.shape), 0.0))
    np.testing.assert_allclose(better.tilts[:, 0], -0.02, rtol=1e-6)
    assert np.abs(better.tilts[:, 1]).max() < 0.01
    walls = np.where(np.arange(mask.size) % 2, 0.02, -0.02)  # alike in few places of many
    walls[: mask.size // 4] = 0.02
    kept = grain.less_bias(Difference(np.stack([walls, walls], axis=1), np.zeros(mask.shape), 0.0))
    np.testing.assert_array_equal(kept.tilts, grain.tilts)
    nothing = Difference(np.full((mask.sum(), 2), np.nan), np.zeros(mask.shape), 0.0)
    np.testing.assert_array_equal(grain.less_bias(nothing).tilts, grain.tilts)


def test_local_error_is_the_width_of_the_differences_around_a_voxel():
    rng, mask = np.random.default_rng(1), ball()
    sigma = np.where(np.arange(24) < 12, 0.01, 0.03)[:, None, None] * np.ones(mask.shape)
    difference = (sigma * rng.normal(size=mask.shape))[mask]
    difference[::50] = np.nan
    found = np.full(mask.shape, np.nan)
    found[mask] = local_error(difference, mask)
    assert np.nanmedian(found[:9]) == pytest.approx(0.01, rel=0.1)
    assert np.nanmedian(found[15:]) == pytest.approx(0.03, rel=0.1)
    assert local_error(np.empty(0), np.zeros((3, 3, 3), dtype=bool)).shape == (0,)


def test_a_voxel_is_surely_inside_where_density_is_far_above_half():
    density = np.linspace(0.0, 1.0, 41)[:, None, None] * np.ones((41, 9, 9))
    noise = 0.1 * np.random.default_rng(2).normal(size=density.shape)
    sure = sureness(density, 0.5, noise)
    assert sure[-1].min() > 0.999
    assert sure[:4].max() < 0.01
    assert np.abs(sure[20] - 0.5).max() < 0.05


@pytest.mark.parametrize("n", [40, 56])
def test_the_volume_is_off_by_what_is_stated(n):
    """The average over neighbours takes some off a convex grain; a mask of whole voxels would hide that."""
    axis = 10.0 / n * (np.arange(4 * n) / 4.0 + 0.125 - n / 2)
    points = np.stack(np.meshgrid(axis, axis, axis, indexing="ij"), axis=-1)
    full = phantoms.inside(points).reshape(n, 4, n, 4, n, 4).mean(axis=(1, 3, 5))

    def averaged(field):
        return correlate(field, neighbour_weights().astype(float), mode="constant")

    density = averaged(full)
    mask = grain_mask(density)
    off = mask.sum() / full.sum() - 1.0
    grain = Grain.of(density, mask, np.zeros((mask.sum(), 2)), smooth=False)
    assert grain.fullness().sum() == pytest.approx(full.sum(), rel=0.01)
    again = averaged(grain.columns()[0])
    tested = grain.less(again, (np.where(mask, 0.0, np.nan),) * 2, smooth=False)
    stated = Errors.of(grain, tested, None).volume
    assert off < -0.003
    assert 0.5 * abs(off) < stated < 2.0 * abs(off)


def test_beside_the_mask_voxels_are_full_in_part_and_oriented_like_their_neighbours():
    mask = ball()
    tilts = np.stack([np.full(mask.sum(), 0.01), np.full(mask.sum(), -0.02)], axis=1)
    grain = Grain.of(gaussian_filter(mask.astype(float), 0.8), mask, tilts, smooth=False)
    density, tilt1, tilt2 = grain.columns()
    beside = (density > 0.0) & ~mask
    assert beside.any()
    np.testing.assert_allclose(tilt1[density > 0.0], 0.01)
    np.testing.assert_allclose(tilt2[density > 0.0], -0.02)
    assert (density[mask] >= 0.5 * grain.full).all()


def test_without_tests_no_error_is_stated():
    mask = ball()
    grain = Grain.of(mask.astype(float), mask, np.zeros((mask.sum(), 2)), smooth=False)
    assert np.isnan(Errors.of(grain, None, None).tilts).all()
    assert Errors.of(grain, None, None).facts() == {}


def test_resolution_is_the_length_of_the_details_that_halves_share():
    """Noise alone beyond the cutoff of a filter; below it the map."""
    rng, mask = np.random.default_rng(3), ball(32)
    lengths = []
    for sigma in (1.5, 3.0):
        field = gaussian_filter(rng.normal(size=mask.shape), sigma)
        tilts = np.stack([field[mask] / field[mask].std(), np.zeros(mask.sum())], axis=1)
        grain = Grain.of(mask.astype(float), mask, tilts, smooth=False)
        noise = 0.5 * rng.normal(size=tilts.shape)
        half = Difference(noise, 0.01 * rng.normal(size=mask.shape), 0.0)
        lengths.append(halves.MapResolution.of(grain, None, half, (0.5, 0.5, 0.5)))
    assert 1.0 <= lengths[0].orientation_um < lengths[1].orientation_um < 8.0
    assert lengths[0].orientation_deg == pytest.approx(0.5, rel=0.1)
    assert (lengths[0].orientation[1:4] > 0.9).all()  # the innermost shell holds the mean and few waves


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """One scan with missing frames, reconstructed by 1, 2 and 3 ranks."""
    folder = tmp_path_factory.mktemp("selftest")
    case = phantoms.make(n=20, frame="lab")
    init = case.write(folder, errors="both")
    measured = np.random.default_rng(5).random(case.counts.shape[:3]) > 0.1
    np.save(folder / "measured.npy", measured)
    found = []
    for n_ranks in (1, 2, 3):
        command = [*launcher(n_ranks), sys.executable, str(ROOT / "recon3d.py"), str(init), "--quiet"]
        subprocess.run(command, check=True, capture_output=True, timeout=300)
        with h5py.File(folder / "grain.vtkhdf") as file:
            attributes = dict(file["entry/process"].attrs)
        found.append((*phantoms.read_result(folder), attributes))
    return case, found


def test_errors_are_those_of_one_rank(runs):
    _, found = runs
    for mask, _, fields, attributes in found[1:]:
        np.testing.assert_array_equal(mask, found[0][0])
        for name in ("tilt1_std", "tilt2_std", "sure"):
            np.testing.assert_allclose(
                fields[name][mask], found[0][2][name][mask], rtol=2e-3, atol=1e-4 * phantoms.STEP
            )
        for name in ("volume_error", "map_resolution_um", "map_resolution_deg"):
            assert attributes[name] == pytest.approx(found[0][3][name], rel=1e-2, abs=1e-6)


def test_errors_are_about_right(runs):
    case, ((mask, orientation, fields, _), *_) = runs
    std = np.stack([fields["tilt1_std"], fields["tilt2_std"]], axis=-1)
    pull = np.abs(phantoms.pulls(case, mask, orientation, std))
    assert (1.4826 * np.median(pull, axis=0) > 0.5).all()
    assert (1.4826 * np.median(pull, axis=0) < 1.6).all()
    assert np.mean(pull < 2) > 0.85


@pytest.mark.parametrize("frame", ["sample", "lab"])
def test_omegas_made_as_one_state_the_errors_of_all(tmp_path, monkeypatch, frame):
    """120 omegas, three made as one and tested as they are."""
    case = phantoms.make(n=20, n_tilts=5, n_omega=120, frame=frame)
    setting = prepare(read_initfile(case.write(tmp_path, cells="none"))[0])
    stated = []
    for n_iterations in (2, 1):
        monkeypatch.setattr(selftest, "iterations_for_all", lambda n, n_iterations=n_iterations: n_iterations)
        result = reconstruction.solve(setting, SerialComm(), quiet=True)
        assert result.facts["n_iterations"] < setting.params.iterations  # though each has half of the omegas
        inside = [result.fields[name][result.mask] for name in ("tilt1_std", "tilt2_std")]
        stated.append([*np.median(inside, axis=1), result.facts["volume_error"]])
    np.testing.assert_allclose(stated[0][:2], stated[1][:2], rtol=0.2)
    assert stated[0][2] == pytest.approx(stated[1][2], abs=0.01)


@pytest.mark.parametrize("outside", [0.0, 0.1, 0.3])
def test_the_surface_lies_amid_the_densities_inside_and_outside(outside):
    """A ball of one density, averaged over neighbours, in a hull where light of something else is left."""
    place = np.indices((40, 40, 40)) - 19.5
    radius = np.sqrt((place**2).sum(axis=0))
    full, hull = (radius < 11.0).astype(float), radius < 18.0
    noise = 0.02 * np.random.default_rng(0).normal(size=full.shape)
    density = gaussian_filter(full * (1.0 - outside) + outside, 0.8) + noise
    mask = grain_mask(np.where(hull, np.maximum(density, 0.0), 0.0))
    assert mask.sum() == pytest.approx(full.sum(), rel=0.02)
