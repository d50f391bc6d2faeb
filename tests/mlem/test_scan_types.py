"""Scan types: one forward model, right for scans of one angle; wrong roles give one clear line."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from typing import Any
from unittest import mock

import numpy as np
import pytest

from lib import reconstruction
from lib.api import load
from lib.errors import Recon3DError
from lib.initfile.parse import read_initfile
from lib.mlem import expectation, iterate
from lib.mlem.maps import Maps
from lib.mlem.search import REFINEMENT
from lib.mlem.shape import surface_shift
from lib.parallel.communicator import SerialComm
from lib.physics.scan_types import SCANS, check_scan, guess_scan, scan_types
from lib.physics.strain import strain_fields, strain_per_degree
from lib.physics.tilts import Resolution
from lib.projection.footprint import ONE_PIXEL
from lib.result.derived import take_out_strain
from lib.scan import setting
from lib.scan.bands import Bands
from tests import phantoms
from tests.phantoms import read_result
from tests.running import Run, error_line

AXES = {"mosaicity": (5, 4), "rocking": (6, 1), "strain": (1, 5), "rocking_strain": (4, 5)}
ROWS = [(name, frame) for name in SCANS for frame in ("lab", "sample")]


def axis(n: int, step: float = 0.03) -> np.ndarray:
    return step * (np.arange(n) - (n - 1) / 2)


def scanned_axes(name: str, part: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """The axes of a scan, of `rocking_strain` those of one part."""
    first, second = (axis(n) for n in AXES[name])
    if name == "rocking_strain":
        return (first, np.zeros(1)) if part == 0 else (np.zeros(1), second)
    return first, second


@pytest.mark.parametrize(("name", "frame"), ROWS)
@pytest.mark.parametrize("width", [0.0, 0.04])
def test_response_sees_every_orientation_where_it_diffracts(name, frame, width):
    """A worked formula for each row: K_w is 1 where a position is just that of the orientation."""
    for part, kind in enumerate(scan_types(name, frame)):
        scanned = scanned_axes(name, part)
        grid = kind.grid(scanned, 2)
        resolution = Resolution(width, width if name == "mosaicity" else np.inf)
        a, b = grid.pairs()
        omega = np.radians(33.0)
        sees = kind.response("vertical", scanned, grid, resolution, omega)
        assert sees.shape == (scanned[0].size * scanned[1].size, grid.n_pairs)
        t1, t2 = (t.ravel()[:, None] for t in np.meshgrid(*scanned, indexing="ij"))
        if kind.of_strain:
            distance = np.abs((t1 if scanned[0].size > 1 else t2) - a)
        elif kind.name == "mosaicity":
            at = (a, b)
            if frame == "lab":
                c, s = np.cos(omega), np.sin(omega)
                at = a * c - b * s, a * s + b * c
            distance = np.hypot(t1 - at[0], t2 - at[1])
        else:
            at = a * np.cos(omega) - b * np.sin(omega) if frame == "lab" else a
            distance = np.abs(t1 - at)
        if width:
            np.testing.assert_allclose(sees, 2.0 ** (-4 * (distance / width) ** 2), rtol=1e-4, atol=1e-6)
        else:
            assert (sees[distance < 1e-9] > 0.999).all() and (sees[distance > 0.0425] == 0).all()


def test_rolling_width_dims_what_rolls_away():
    """Half at half the width, where it is given."""
    (kind,) = scan_types("rocking", "lab")
    scanned = axis(5), np.zeros(1)
    grid = kind.grid(scanned, 1)
    everything, some = (
        kind.response("horizontal", scanned, grid, Resolution(0.03, w), 0.0) for w in (np.inf, 0.12)
    )
    b = grid.pairs()[1]
    np.testing.assert_allclose(some, everything * 2.0 ** (-4 * (b / 0.12) ** 2), rtol=1e-5)


@pytest.mark.parametrize(("name", "frame"), ROWS)
@pytest.mark.parametrize("mode", ["horizontal", "vertical"])
def test_projection_and_backprojection_are_adjoint(tmp_path, name, frame, mode):
    """<A f, y> = <f, A' y> for P and K together, in whichever order they go; the sums of A' are right."""
    rng = np.random.default_rng(0)
    n_1, n_2 = AXES[name]
    case = phantoms.Case(
        counts=rng.integers(0, 9, (n_1, n_2, 3, 20, 18)).astype(np.uint16),
        tilt1=axis(n_1),
        tilt2=axis(n_2),
        omega=np.array([0.0, 50.0, 130.0]),
        mask=np.ones(1),
        orientation=np.ones(1),
        init=phantoms.INIT | {"mode": mode, "scan": name, "tilt_frame": frame, "method": "mlem"},
    )
    params, _ = read_initfile(case.write(tmp_path))
    xyz = rng.uniform(-5, 5, (300, 3))  # some of them leave the detector
    whole = setting.prepare(params)
    for here in whole.measurement.parts():
        with Bands(here.scan, here.omega_index) as bands:
            views = [iterate._view(here, whole.projector, ONE_PIXEL, bands, k, xyz) for k in range(3)]
            shapes = [view.counts().shape for view in views]
        n_scanned = max(here.scanned_shape) if name != "mosaicity" else n_1 * n_2
        assert shapes == [(view.pixels.size, n_scanned) for view in views]
        model = iterate._with_response(
            here, expectation.Model(xyz, views), REFINEMENT, Resolution(0.03, 0.06)
        )
        n_pairs = here.scan_type.grid(here.relative_axes_deg(), REFINEMENT).n_pairs
        maps = Maps.full(300, n_pairs, 1.0)
        maps.values[:] *= rng.random(maps.values.shape)
        for view, shape in zip(model.views, shapes, strict=True):
            image = rng.random(shape, dtype=np.float32)
            back = replace(maps, values=np.zeros_like(maps.values))
            seen, lit = model.project(view, maps)
            model.backproject(view, image, lit, back)
            forward = np.vdot(seen.astype(float), image.astype(float))
            assert forward > 0
            assert np.vdot(maps.values.astype(float), back.values.astype(float)) == pytest.approx(
                forward, rel=1e-5
            )


@pytest.mark.parametrize(("mode", "turn"), [("horizontal", 360.0), ("vertical", 180.0)])
def test_rocking_phantom(tmp_path, run: Run, mode, turn):
    """Both tilts from one, with nothing but the method and the scan given."""
    case = phantoms.make_line_scan("rocking", mode, turn=turn)
    result = run("recon3d.py", "--no-report", case.write(tmp_path))
    assert result.returncode == 0, result.stderr
    mask, found, fields = read_result(tmp_path)
    dice, deviation = phantoms.judge(case, mask, found)
    assert dice > 0.97
    assert np.median(np.linalg.norm(deviation, axis=1)) < 0.06
    pull = phantoms.pulls(case, mask, found, np.stack([fields["tilt1_std"], fields["tilt2_std"]], -1))
    assert 0.6 < 1.4826 * np.median(np.abs(pull)) < 1.5
    assert np.isnan(found[~mask]).all()


@pytest.mark.parametrize("as_tilt", [1, 2])
def test_strain_phantom(tmp_path, run: Run, as_tilt):
    """A gradient of +-5e-4 in steps of 1e-4, whichever axis of the array the arm is on."""
    case = phantoms.make_line_scan("strain", n_positions=15, step=0.0021, peak_counts=200)
    init = case.write(tmp_path)
    if as_tilt == 2:
        np.save(tmp_path / "dataarray.npy", np.ascontiguousarray(case.counts.transpose(1, 0, 2, 3, 4)))
        np.save(tmp_path / "tilt1.npy", case.tilt2)
        np.save(tmp_path / "tilt2.npy", case.tilt1)
    result = run("recon3d.py", "--no-report", init)
    assert result.returncode == 0, result.stderr
    mask, found, fields = read_result(tmp_path)
    both = mask & case.mask
    assert 2 * both.sum() / (mask.sum() + case.mask.sum()) > 0.97
    true = phantoms.strain(phantoms.voxels(case))
    error = fields["strain"][both] - (true[both] - true[both].mean())
    assert np.median(np.abs(error)) < 4e-6
    width = load(tmp_path / "grain.vtkhdf").attributes["strain_width_deg"]
    assert width == pytest.approx(0.9 * 0.0021, rel=0.08)
    assert 0.7 < 1.4826 * np.median(np.abs(error / fields["strain_std"][both])) < 1.4
    np.testing.assert_allclose(found[both][:, as_tilt - 1], case.orientation[both][:, 0], atol=0.0021)
    assert (found[both][:, 2 - as_tilt] == 0.4).all()
    assert np.isnan(found[~mask]).all()


def test_rocking_and_strain_together(tmp_path, run: Run):
    """Orientation and strain of one grain from one scan of mu and 2theta."""
    case = phantoms.make_line_scan("rocking_strain", n=20, n_omega=24, peak_counts=40)
    result = run("recon3d.py", "--no-report", case.write(tmp_path))
    assert result.returncode == 0, result.stderr
    mask, found, fields = read_result(tmp_path)
    dice, deviation = phantoms.judge(case, mask, found)
    assert dice > 0.95
    assert np.median(np.linalg.norm(deviation, axis=1)) < 0.1
    both = mask & case.mask & np.isfinite(fields["strain"])
    assert both.sum() > 0.95 * mask.sum()
    true = phantoms.strain(phantoms.voxels(case))[both]
    assert np.median(np.abs(fields["strain"][both] - (true - true.mean()))) < 2.5e-5
    assert "strain " in result.stdout


@pytest.mark.parametrize("mode", ["horizontal", "vertical"])
def test_strain_is_taken_out_of_the_tilts(tmp_path, mode):
    """Strain moves mu at every omega alike, which half a turn of rocking curves takes for tilt."""
    moves = 8.0  # times as far as strain does
    case = phantoms.make_line_scan("rocking_strain", mode, n=16, n_omega=24, turn=220.0, moves=moves)
    params, _ = read_initfile(case.write(tmp_path, errors="none"))

    def so_far(*arguments: Any) -> None:
        take_out_strain(*arguments[:-1], math.atan(moves * math.tan(arguments[-1])))

    with mock.patch("lib.reconstruction.take_out_strain", so_far):
        fields, mask, _ = reconstruction.solve(setting.prepare(params), SerialComm(), quiet=True)
    with mock.patch("lib.reconstruction.take_out_strain"):
        plain, _, _ = reconstruction.solve(setting.prepare(params), SerialComm(), quiet=True)
    errors = []
    for found in (fields, plain):
        orientation = np.stack([found["tilt1"], found["tilt2"]], axis=-1)
        errors.append(np.median(np.linalg.norm(phantoms.judge(case, mask, orientation)[1], axis=1)))
    assert errors[0] < 0.6 * errors[1], errors


def test_method_rocking(tmp_path, run: Run):
    """The fit of the white paper: orientation, offset and errors, the same on any ranks."""
    case = phantoms.make_line_scan("rocking", n_omega=40, n=20)
    offset = 0.011
    found = []
    for ranks in (None, 3):
        folder = tmp_path / str(ranks)
        init = case.write(folder, method="rocking", completeness_cutoff=0.9, tilt_zero=[1.5 - offset, 0.4])
        result = run("recon3d.py", "--no-report", init, ranks=ranks)
        assert result.returncode == 0, result.stderr
        found.append(read_result(folder))
    mask, tilts, fields = found[0]
    np.testing.assert_array_equal(tilts, found[1][1])
    both = mask & case.mask
    assert 2 * both.sum() / (mask.sum() + case.mask.sum()) > 0.85
    deviation = tilts[both] - case.orientation[both] + (offset, 0.0)
    assert np.median(np.linalg.norm(deviation, axis=1)) < 0.3 * phantoms.STEP
    assert np.median(fields["rocking_offset"][both]) == pytest.approx(offset, abs=0.1 * phantoms.STEP)
    pull = deviation / np.stack([fields["tilt1_std"], fields["tilt2_std"]], -1)[both]
    assert 0.6 < 1.4826 * np.median(np.abs(pull)) < 1.6
    a, b = tilts[both].T - np.array([[1.5 - offset], [0.4]])
    w = np.radians(fields["rocking_omega0"][both])
    np.testing.assert_allclose(fields["rocking_amplitude"][both], a * np.cos(w) + b * np.sin(w))


def test_half_a_turn_is_warned_of(tmp_path, run: Run):
    case = phantoms.make_line_scan("rocking", n_omega=12, turn=180.0, n=10)
    result = run("recon3d.py", "--no-report", case.write(tmp_path, method="rocking"))
    assert result.returncode == 0, result.stderr
    assert "less than a full turn" in result.stderr


def test_strain_formula():
    """Al 200 at 17 keV: a thousandth of a degree of 2theta less is a strain of 0.476e-4."""
    theta = np.radians(10.3754)
    assert strain_per_degree(theta) * -1e-3 == pytest.approx(4.766e-5, rel=1e-3)
    angles = np.array([20.0, 20.001, np.nan, 25.0])
    mask = np.array([True, True, True, False])
    fields = strain_fields(angles, np.full(4, 1e-3), mask, theta, None)
    np.testing.assert_allclose(fields["strain"][:2], [2.383e-5, -2.383e-5], rtol=1e-3)
    np.testing.assert_allclose(fields["strain_std"], 4.766e-5, rtol=1e-3)
    assert strain_fields(angles, angles, mask, theta, 20.0)["strain"][0] == 0.0


def test_surface_shift_is_that_of_one_sided_neighbours():
    """On a ramp the voxels inside stay, those at the two ends move inwards."""
    mask = np.zeros((12, 7, 7), dtype=bool)
    mask[2:10] = True
    ramp = np.where(mask, np.arange(12.0)[:, None, None], np.nan)
    shift = surface_shift(ramp, mask)
    assert np.isnan(shift[~mask]).all()
    np.testing.assert_allclose(shift[4:8], 0.0, atol=1e-12)
    weights = np.exp(-0.5 * (np.arange(3) / 0.8) ** 2)
    np.testing.assert_allclose(shift[2], (weights @ [0, 1, 2]) / weights.sum())
    np.testing.assert_allclose(shift[9], -shift[2])


@pytest.mark.parametrize(
    ("shape", "suitable"),
    [
        ((7, 7), {"mosaicity", "rocking_strain"}),
        ((7, 1), {"rocking", "strain"}),
        ((1, 7), {"strain"}),
        ((1, 1), set()),
    ],
)
def test_which_scans_suit_the_sizes_of_the_axes(shape, suitable):
    for name in SCANS:
        if name in suitable:
            check_scan(name, "lab", *shape)
        else:
            with pytest.raises(Recon3DError, match=f"{shape[0]} x {shape[1]} positions"):
                check_scan(name, "lab", *shape)
    assert guess_scan(*shape) == ("rocking" if shape == (7, 1) else "mosaicity")


WRONG_ROLES = {
    "rocking of both": ({"scan": "mosaicity"}, {}, (6, 1), "both tilts"),
    "no rocking axis": ({"scan": "rocking"}, {}, (1, 6), "several positions of tilt1"),
    "strain of both": ({"scan": "strain"}, {}, (4, 4), "2theta as one of the tilts"),
    "not as recorded": (
        {"scan": "rocking"},
        {"scan": "strain", "roles": {"tilt1": "2theta"}},
        (6, 1),
        "tilt1 is 2theta",
    ),
    "unknown record": ({}, {"scan": "laue"}, (6, 1), "getdata.json"),
    "method for another": ({"method": "rocking", "scan": "strain"}, {}, (6, 1), "method"),
    "method too simple": ({"method": "backprojection", "scan": "rocking"}, {}, (6, 1), "use mlem or rocking"),
}


@pytest.mark.parametrize("name", WRONG_ROLES)
def test_wrong_roles_give_one_clear_line(tmp_path, run: Run, name):
    keys, info, (n_1, n_2), expected = WRONG_ROLES[name]
    case = phantoms.Case(
        np.zeros((n_1, n_2, 4, 9, 9), dtype=np.uint16), axis(n_1), axis(n_2), axis(4), np.ones(1), np.ones(1),
        phantoms.INIT | {"tilt_frame": "lab"},
    )  # fmt: skip
    init = case.write(tmp_path, **{"method": "mlem", **keys})
    (tmp_path / "getdata.json").write_text(json.dumps(info))
    assert expected in error_line(run("recon3d.py", "--no-report", init), "recon3d")


def test_rocking_above_omega_tells_one_tilt(tmp_path, run: Run):
    """tilt1 is right and tilt2 unknown; the report is written all the same."""
    case = phantoms.make_line_scan("strain", n=16, n_omega=24)
    result = run("recon3d.py", case.write(tmp_path, scan="rocking", tilt_frame="sample"))
    assert result.returncode == 0, result.stderr
    mask, found, fields = read_result(tmp_path)
    both = mask & case.mask
    assert np.median(np.abs(found[both] - case.orientation[both])[:, 0]) < 0.1 * phantoms.STEP
    assert np.isnan(found[..., 1]).all() and np.isnan(fields["tilt2_std"]).all()
    page = (tmp_path / "report.html").read_text()
    assert "could not be drawn" not in page
    assert "Orientations of the grain" not in page
