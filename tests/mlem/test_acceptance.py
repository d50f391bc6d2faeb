"""A motor that moves while a frame is taken, and an acceptance that leans over the field."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from lib import reconstruction
from lib.errors import Recon3DError
from lib.initfile.parse import parse, read_initfile
from lib.mlem import expectation, iterate
from lib.mlem.lean import UPRIGHT, Lean
from lib.mlem.maps import Maps, padded
from lib.mlem.resolution import find_resolution
from lib.parallel.communicator import SerialComm
from lib.physics.tilts import BLUR_STEPS, OrientationGrid, Resolution, response
from lib.projection.footprint import ONE_PIXEL
from lib.scan import setting
from lib.scan.bands import Bands
from tests import phantoms

AXIS = np.array([-0.05, 0.0, 0.05])


def gaussian(rock, roll, widths):
    return np.exp(-4 * np.log(2) * ((rock / widths[0]) ** 2 + (roll / widths[1]) ** 2))


@pytest.mark.parametrize("by_mu", [False, True])
@pytest.mark.parametrize("frame", ["sample", "lab"])
@pytest.mark.parametrize("mode", ["horizontal", "vertical"])
def test_a_motor_that_moves_blurs_along_its_way(mode, frame, by_mu):
    """The response is the mean of those at places on the way, at the accepted roll of the place."""
    grid = OrientationGrid.refine(AXIS, AXIS, 2)
    what = Resolution(0.03, 0.08, swept=0.05, by_mu=by_mu, roll=0.01)
    found = response(frame, mode, AXIS, AXIS, grid, what, 0.7)
    ab = np.stack(grid.pairs(), axis=1)
    expected = np.zeros((3, 3, len(ab)))
    on_the_way = 0.05 * ((np.arange(400) + 0.5) / 400 - 0.5)
    for i, j in np.ndindex(3, 3):
        for moved in on_the_way:
            t = np.array([AXIS[i], AXIS[j]])
            if by_mu or frame == "lab":
                rock, roll = phantoms.deviations(mode, frame, t, ab, 0.7)
                rock = rock + moved
            else:
                rock, roll = phantoms.deviations(mode, frame, t + [moved, 0.0], ab, 0.7)
            expected[i, j] += gaussian(rock, roll + 0.01, (0.03, 0.08)) / 400
    np.testing.assert_allclose(found, expected.reshape(9, -1), atol=2e-5)


@pytest.mark.parametrize("frame", ["sample", "lab"])
def test_projection_of_a_leaning_field(tmp_path, frame):
    """Every pixel sees with the roll that its strip accepts, and backprojection is the adjoint."""
    case = phantoms.make(frame=frame, n_omega=3, n_tilts=3)
    params, _ = read_initfile(case.write(tmp_path))
    whole = setting.prepare(params)
    here, views = whole.measurement, whole.projector.views
    rng = np.random.default_rng(0)
    xyz = rng.uniform(-6, 6, (200, 3))
    what = Resolution(0.05, 0.1, slope=(0.02, -0.03))
    lean = Lean.of(what, views, here.usual_step_deg)
    with Bands(here.scan, here.omega_index) as bands:
        seen_by = [iterate._view(here, whole.projector, ONE_PIXEL, bands, k, xyz) for k in range(3)]
    model = iterate._with_response(here, expectation.Model(xyz, seen_by, lean=lean), 2, what)
    grid = OrientationGrid.refine(*here.relative_axes_deg(), 2)
    maps = Maps.full(200, grid.n_pairs, 1.0)
    maps.values[:] = rng.random(maps.values.shape, dtype=np.float32)
    sharp = what.sharpened(BLUR_STEPS * here.usual_step_deg)
    um_per_px = 1.0 / np.linalg.norm(views.matrix[0], axis=1)
    zero = views.shift.mean(axis=0)
    for k, view in enumerate(model.views):
        assert len(view.response.seen) > 3, "the field leans over several strips"
        image = rng.random((view.pixels.size, 9), dtype=np.float32)
        seen, lit = model.project(view, maps)
        light = np.zeros((view.pixels.size, view.response.n_padded), dtype=np.float32)
        expectation.footprint.scatter(maps.dense(), view.place(xyz), light)
        for row in range(0, view.pixels.size, 7):
            place = np.array(np.divmod(view.pixels[row], view.shape[1])) - zero
            roll = np.rint(float(place * um_per_px @ what.slope) / lean.strip_deg) * lean.strip_deg
            sees = padded(here.response(here.relative_axes_deg(), grid, replace(sharp, roll=roll), k))
            np.testing.assert_allclose(seen[row], sees @ light[row], rtol=1e-4, atol=1e-4)
        back = replace(maps, values=np.zeros_like(maps.values))
        model.backproject(view, image, lit, back)
        assert np.vdot(seen, image) == pytest.approx(np.vdot(maps.values, back.values), rel=1e-5)


def test_a_field_that_does_not_lean_has_one_strip(tmp_path):
    case = phantoms.make(n_omega=3, n_tilts=3)
    params, _ = read_initfile(case.write(tmp_path))
    whole = setting.prepare(params)
    assert Lean.of(Resolution(0.05, 0.1), whole.projector.views, 0.05) is UPRIGHT


@pytest.mark.parametrize("frame", ["sample", "lab"])
@pytest.mark.parametrize("lean", [(0.0, 0.0), (0.09 * phantoms.STEP, 0.0), (0.0, -0.09 * phantoms.STEP)])
def test_a_leaning_field_is_found(tmp_path, frame, lean):
    """Its slope to a fifth of nearly two steps over the grain; a field that does not lean has none."""
    widths = (1.41 * phantoms.STEP, 2.83 * phantoms.STEP)
    case = phantoms.make(frame=frame, n=16, n_tilts=5, widths=widths, lean=lean)
    params, _ = read_initfile(case.write(tmp_path, method="mlem", errors="none", rock_box="false"))
    fields, mask, facts = reconstruction.solve(setting.prepare(params), SerialComm(), quiet=True)
    found = np.array(facts["roll_slope_deg_per_um"]) / phantoms.M
    np.testing.assert_allclose(found, lean, atol=0.018 * phantoms.STEP)
    orientation = np.stack([fields["tilt1"], fields["tilt2"]], axis=-1)
    error = np.linalg.norm(phantoms.judge(case, mask, orientation)[1], axis=1)
    assert np.median(error) < 0.12


def test_tails_are_a_share_of_a_lorentzian():
    grid = OrientationGrid.refine(AXIS, AXIS, 2)
    ab = np.stack(grid.pairs(), axis=1)
    found = response("sample", "horizontal", AXIS, AXIS, grid, Resolution(0.03, 0.08, tails=0.3), 0.7)
    for n, (i, j) in enumerate(np.ndindex(3, 3)):
        rock, roll = phantoms.deviations("horizontal", "sample", np.array([AXIS[i], AXIS[j]]), ab, 0.7)
        lorentz = 1.0 / (1.0 + 4.0 * ((rock / 0.03) ** 2 + (roll / 0.08) ** 2))
        expected = 0.7 * gaussian(rock, roll, (0.03, 0.08)) + 0.3 * lorentz
        np.testing.assert_allclose(found[n], expected, atol=1e-6)


@pytest.mark.parametrize("tails", [0.0, 0.3])
def test_tails_are_found(tmp_path, tails):
    """None where there are none; of a third, enough that it shows."""
    widths = (1.41 * phantoms.STEP, 2.83 * phantoms.STEP)
    case = phantoms.make(n=16, n_tilts=7, widths=widths, tails=tails)
    params, _ = read_initfile(case.write(tmp_path, method="mlem", errors="none"))
    _, _, facts = reconstruction.solve(setting.prepare(params), SerialComm(), quiet=True)
    if tails:
        assert 0.05 < facts["resolution_tails"] < 0.4
    else:
        assert facts["resolution_tails"] < 0.02


@pytest.mark.parametrize(
    ("key", "moving", "steps"),
    [
        ("auto", ["tilt1"], 1.0),
        ("auto", ["omega"], 0.0),
        ("auto", [], 0.0),
        ("false", ["tilt1"], 0.0),
        ("true", [], 1.0),
        ("true", None, 1.0),
        ("auto", None, 0.0),
    ],
)
def test_a_motor_moves_as_the_files_say_unless_the_key_does(tmp_path, key, moving, steps):
    case = phantoms.make(n_omega=3, n_tilts=3)
    init = case.write(tmp_path, method="mlem", rock_box=key, rock_width=0.04, roll_width=0.08)
    if moving is not None:
        (tmp_path / "getdata.json").write_text(json.dumps({"moving": moving}))
    whole = setting.prepare(read_initfile(init)[0])
    found, sure = find_resolution(whole, None, SerialComm())
    assert (found.swept, sure) == (pytest.approx(steps * phantoms.STEP), True)


@pytest.mark.parametrize(
    ("frame", "size", "widths", "moves"),
    [
        ("lab", {"n_tilts": 9, "n_omega": 36}, (0.4, 3.0), 1.0),
        ("sample", {"n_tilts": 7}, (0.4, 3.0), 1.0),
        ("lab", {"n_tilts": 7}, (0.8, 1.5), 0.0),
        ("sample", {"n_tilts": 7}, (0.8, 1.5), 0.0),
    ],
)
def test_a_motor_that_moves_is_found(tmp_path, frame, size, widths, moves):
    """By the scan alone; a Gaussian that is as broad is none."""
    rock, roll = (width * phantoms.STEP for width in widths)
    case = phantoms.make(
        frame=frame, peak_counts=300, widths=(rock, roll), moves=moves * phantoms.STEP, **size
    )
    params, _ = read_initfile(case.write(tmp_path, method="mlem", iterations=2, errors="none"))
    _, _, facts = reconstruction.solve(setting.prepare(params), SerialComm(), quiet=True)
    assert facts["rock_box_deg"] == pytest.approx(moves * phantoms.STEP)
    assert facts["rock_width_deg"] == pytest.approx(rock, rel=0.5 if moves else 0.2)  # the box is wider


def test_the_keys():
    lines = "unit_cell [4,4,4,90,90,90]\nhkl [2,0,0]\nwavelength 0.7\nM 10\npath /\n"

    def key(name, line=""):
        return getattr(parse(lines + line, "init.txt")[0], name)

    assert key("roll_slope", "roll_slope 0") == (0.0, 0.0)
    assert key("roll_slope", "roll_slope [0.002,0]") == (0.002, 0.0)
    assert key("roll_slope") is None
    assert key("rock_box") == "auto"
    assert key("tails") is None
    assert key("tails", "tails 0.2") == 0.2
    with pytest.raises(Recon3DError, match="roll_slope"):
        key("roll_slope", "roll_slope 0.1")
