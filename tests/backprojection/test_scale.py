"""What must not depend on how the work is split, what may be skipped, and the exact projection."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from lib.backprojection import sweep
from lib.initfile.parameters import Parameters
from lib.initfile.parse import read_initfile
from lib.parallel.communicator import SerialComm
from lib.physics import tilts
from lib.physics.geometry import Geometry, bragg_angle, voxel_axis
from lib.projection.views import mean_views, project
from lib.scan.hull import Hull, any_pair, find_hull
from lib.scan.setting import prepare
from tests.running import Run

KEYS = {
    "unit_cell": "[4.0495,4.0495,4.0495,90,90,90]",
    "hkl": "[2,0,0]",
    "wavelength": 0.7293,
    "M": 1.0,
    "mode": "horizontal",
    "method": "backprojection",
    "tilt_frame": "sample",
    "grain_pos": "[0.5,-0.4,0.3]",
    "grain_dim": "[41,14,12]",
    "grain_steps": "[41,14,12]",
    "threshold": 8,
    "completeness_cutoff": 0.3,
}
TILT1, TILT2 = np.linspace(-0.4, 0.4, 3), np.linspace(-0.3, 0.5, 4)


def make_scan(
    folder: Path, dtype: type = np.uint16, n_omega: int = 19, *, gaps: bool = False, **keys: object
) -> Path:
    """A scan of smooth blobs on a detector of 44 x 37 pixels, some positions unmeasured; the init file.

    With gaps, so are some pixels, too: columns at all omegas or at some, and others here and there.
    """
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(3)
    x, y = np.meshgrid(np.arange(44.0), np.arange(37.0), indexing="ij")
    shape = (TILT1.size, TILT2.size, n_omega)
    array = np.zeros((*shape, 44, 37), dtype=dtype)
    for index in np.ndindex(*shape):
        cx, cy, width = rng.uniform(12, 32), rng.uniform(12, 25), rng.uniform(3, 9)
        image = 60 * np.exp(-((x - cx) ** 2 + (y - cy) ** 2) / (2 * width**2)) + rng.normal(0, 2, x.shape)
        array[index] = np.maximum(np.rint(image), 0) if dtype == np.uint16 else image
    measured = rng.random(shape) > 0.05
    array[~measured] = 0
    if gaps:
        array[..., 17:19, :] = np.nan
        array[:, :, 3:9, 24:28] = np.inf
        array[rng.random(array.shape) < 0.01] = -np.inf
    np.save(folder / "dataarray.npy", array)
    np.save(folder / "measured.npy", measured)
    for name, axis in (("tilt1", TILT1), ("tilt2", TILT2), ("omega", np.arange(n_omega) * (360.0 / n_omega))):
        np.save(folder / f"{name}.npy", axis)
    init = folder / "init.txt"
    init.write_text("\n".join(f"{k}  {v}" for k, v in {"path": folder, **KEYS, **keys}.items()) + "\n")
    return init


def fields_of(init: Path, **changes: object) -> dict[str, np.ndarray]:
    params = dataclasses.replace(read_initfile(init)[0], **changes)
    return sweep.sum_maps(prepare(params), SerialComm(), quiet=True)


VERTICAL = {"mode": "vertical", "hkl": "[0,0,2]", "grain_dim": "[14,12,41]", "grain_steps": "[14,12,41]"}
TURNED = {"o11": 0, "o12": 1, "o21": -1, "o22": 0}


@pytest.mark.parametrize(
    ("ranks", "dtype", "keys"),
    [
        ((50,), np.uint16, {}),
        ((2, 10), np.float32, {**VERTICAL, **TURNED, "tilt_frame": "lab"}),
        ((5,), np.float32, {"projection": "exact", "tilt_frame": "lab", "binarize": "true"}),
        ((3,), np.uint16, {"completeness_cutoff": 0, "binarize": "true", **VERTICAL}),
        ((2, 10), np.float32, {"gaps": True}),
        ((3,), np.float32, {"gaps": True, "tilt_frame": "lab", "binarize": "true", **VERTICAL}),
        ((3,), np.float32, {"gaps": True, "tilt_frame": "lab", "projection": "exact"}),
    ],
)
def test_same_bytes_on_any_number_of_ranks(
    run: Run, tmp_path: Path, ranks: tuple[int, ...], dtype: type, keys: dict[str, object]
) -> None:
    init = make_scan(tmp_path, dtype, **keys)
    alone = run("recon3d.py", "--no-report", init, "--quiet")
    assert alone.returncode == 0, alone.stderr
    expected = (tmp_path / "grain_ang.npy").read_bytes()
    values = np.load(tmp_path / "grain_ang.npy")
    assert np.isfinite(values[..., 0]).any()
    for n in ranks:
        (tmp_path / "grain_ang.npy").unlink()
        result = run("recon3d.py", "--no-report", init, "--quiet", ranks=n)
        assert result.returncode == 0, result.stderr
        assert (tmp_path / "grain_ang.npy").read_bytes() == expected, n


def test_ranks_fail_together_on_a_file_cut_short(run: Run, tmp_path: Path) -> None:
    init = make_scan(tmp_path)
    with (tmp_path / "dataarray.npy").open("r+b") as stream:
        stream.truncate(20000)
    result = run("recon3d.py", "--no-report", init, ranks=3)
    assert result.returncode == 1
    assert "cut short" in result.stderr


@pytest.mark.parametrize("mode", [{}, VERTICAL, {"tilt_frame": "lab"}, {"projection": "exact", **VERTICAL}])
@pytest.mark.parametrize("gaps", [False, True])
def test_pruning_changes_nothing_that_counts(tmp_path: Path, gaps: bool, mode: dict[str, object]) -> None:
    init = make_scan(tmp_path, np.float32 if gaps else np.uint16, gaps=gaps, **mode)
    everything = fields_of(init, completeness_cutoff=0.0)
    n_pruned = []
    for cutoff in (0.2, 0.55, 1.0):
        pruned = fields_of(init, completeness_cutoff=cutoff)
        complete = everything["completeness"] >= cutoff
        for name, values in pruned.items():
            np.testing.assert_array_equal(values[complete], everything[name][complete], err_msg=name)
        assert (pruned["completeness"] >= everything["completeness"]).all()
        gone = pruned["completeness"][~complete]
        assert (gone < cutoff).all()
        n_pruned.append(int(np.isnan(pruned["intensity"]).sum()))
    assert n_pruned[-1] > 0
    assert n_pruned == sorted(n_pruned)


def test_bound_of_a_ruled_out_voxel_is_the_share_of_lit_omegas(tmp_path: Path) -> None:
    init = make_scan(tmp_path)
    found = fields_of(init, completeness_cutoff=1.0)["completeness"]
    setting = prepare(read_initfile(init)[0])
    array = np.load(tmp_path / "dataarray.npy")
    grid = np.stack(np.meshgrid(*setting.projector.volume.axes_um, indexing="ij"), axis=-1)
    bound = np.zeros(found.shape)
    for k, omega in enumerate(setting.measurement.omega_index):
        lit = (array[:, :, omega] > 8).any(axis=(0, 1))
        u = np.rint(grid @ setting.projector.views.matrix[k].T + setting.projector.views.shift[k]).astype(int)
        on = ((u >= 0) & (u < lit.shape)).all(axis=-1)
        bound[on] += lit[u[on][:, 0], u[on][:, 1]]
    most_missing = (~np.load(tmp_path / "measured.npy")).sum(axis=2).max()
    bound = bound / (setting.measurement.n_omega - most_missing)
    ruled_out = bound < 1
    assert 0 < most_missing < 5
    assert 0 < ruled_out.sum() < ruled_out.size
    np.testing.assert_array_equal(found[ruled_out], bound[ruled_out])


def test_hull_numbers_what_is_left() -> None:
    rng = np.random.default_rng(0)
    kept = rng.random((9, 13)) < 0.3
    kept[[0, 4, 8]] = False
    hull = Hull(13, np.packbits(kept, axis=1), kept.sum(axis=1), np.empty((0, 13), np.int32))
    expected = np.flatnonzero(kept)
    assert hull.total == expected.size
    for start in range(hull.total + 1):
        for stop in range(start, hull.total + 1):
            np.testing.assert_array_equal(hull.voxels(range(start, stop)), expected[start:stop])


def test_an_empty_hull_gives_an_empty_grain(tmp_path: Path) -> None:
    fields = fields_of(make_scan(tmp_path), threshold=1e4)
    assert np.isnan(fields["tilt1"]).all()
    assert (fields["completeness"] == 0).all()


def test_transposed_detector_gives_the_same(tmp_path: Path) -> None:
    upright = fields_of(make_scan(tmp_path / "a"))
    init = make_scan(tmp_path / "b", o11=0, o12=1, o21=1, o22=0)
    turned = np.load(tmp_path / "b" / "dataarray.npy").swapaxes(3, 4)
    np.save(tmp_path / "b" / "dataarray.npy", np.ascontiguousarray(turned))
    other = fields_of(init)
    for name, values in upright.items():
        np.testing.assert_array_equal(values, other[name], err_msg=name)


# ---- projection exact

FOCUS = {"xyz_up": "[-400,120,60]", "xyz_lo": "[-300,0,90]", "xyz_th": "[5,1,0]"}


def loop(params: Parameters, folder: Path, lab: bool) -> tuple[np.ndarray, np.ndarray]:
    """Sums (n_voxels, n_pairs) and orientations, one voxel, omega and pair at a time."""
    array = np.load(folder / "dataarray.npy").astype(float)
    measured = np.load(folder / "measured.npy").reshape(len(TILT1) * len(TILT2), -1)
    omegas = np.radians(np.load(folder / "omega.npy"))
    pairs = [(a, b) for a in TILT1 for b in TILT2 - 0.1]
    geometry = Geometry(
        params.mode,
        bragg_angle(params.unit_cell, params.hkl, params.wavelength),
        params.M,
        params.xyz_up,
        params.xyz_lo,
        params.xyz_th,
        center_px=(21.5, 18.0),
    )
    names = ("mu", "gamma") if lab else ("phi_up", "phi_lo")
    axes = [voxel_axis(*a) for a in zip(params.grain_pos, params.grain_dim, params.grain_steps, strict=True)]
    points = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, 3)
    sums = np.zeros((len(points), len(pairs)))
    n_known = np.zeros(len(pairs))
    for k, w in enumerate(omegas):
        known = measured[:, k]
        maps = np.zeros_like(sums)
        for s, pair in enumerate(pairs):
            tilt = dict(zip(names, np.radians(pair), strict=True))
            matrix, shift = geometry.sample_to_pixel(w, **tilt)
            image = array[s // TILT2.size, s % TILT2.size, k]
            for v, point in enumerate(points):
                i, j = np.rint(matrix @ point + shift).astype(int)
                if 0 <= i < 44 and 0 <= j < 37:
                    maps[v, s] = image[i, j]
        if lab:
            turn = tilts.turn_back(params.mode, TILT1, TILT2 - 0.1, w).dense(len(pairs))
            maps, known = maps @ turn.T, ~(((turn > 1e-3) @ ~known) > 0)
        sums += np.where(known, maps, 0.0)
        n_known += known
    sums /= n_known  # no frame is the mean of those that were measured
    t1, t2 = (g.ravel() for g in np.meshgrid(TILT1, TILT2, indexing="ij"))
    return sums, np.stack([sums @ t1, sums @ t2]) / sums.sum(axis=1)


@pytest.mark.parametrize("lab", [False, True])
def test_exact_projection_against_a_loop(tmp_path: Path, lab: bool) -> None:
    keys = {"grain_steps": "[5,4,3]", "completeness_cutoff": 0, "projection": "exact", **FOCUS}
    init = make_scan(tmp_path, n_omega=5, tilt_frame="lab" if lab else "sample", **keys)
    params = read_initfile(init)[0]
    setting = prepare(params)
    assert setting.projector.pair_views is not None
    apart = project(setting.projector.pair_views, setting.projector.volume.corners_um)
    apart = (
        apart
        - project(mean_views(setting.projector.pair_views), setting.projector.volume.corners_um)[:, None]
    )
    assert np.abs(apart).max() > 0.5 or lab
    exact = fields_of(init)
    _, expected = loop(params, tmp_path, lab)
    np.testing.assert_allclose(exact["tilt1"].ravel(), expected[0], rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(exact["tilt2"].ravel(), expected[1], rtol=1e-5, atol=1e-6)
    mean = fields_of(init, projection="mean")
    assert lab or np.abs(mean["tilt1"] - exact["tilt1"]).max() > 1e-3


def test_exact_equals_mean_where_tilts_do_not_move_the_image(tmp_path: Path) -> None:
    init = make_scan(tmp_path)
    for name, axis in (("tilt1", TILT1), ("tilt2", TILT2)):
        np.save(tmp_path / f"{name}.npy", axis * 1e-9)
    mean, exact = fields_of(init, completeness_cutoff=0.0), fields_of(init, projection="exact")
    kept = np.isfinite(exact["tilt1"])
    assert kept.any()
    for name in mean:
        np.testing.assert_array_equal(mean[name][kept], exact[name][kept], err_msg=name)


def test_hull_of_exact_is_an_upper_bound(tmp_path: Path) -> None:
    init = make_scan(tmp_path, projection="exact", **FOCUS)
    everything = fields_of(init, completeness_cutoff=0.0)
    setting = prepare(read_initfile(init)[0])
    bound = (
        find_hull(setting.measurement, setting.projector, SerialComm(), any_pair(setting), quiet=True).counts
        / setting.measurement.n_omega
    )
    assert (bound.reshape(everything["completeness"].shape) >= everything["completeness"]).all()
