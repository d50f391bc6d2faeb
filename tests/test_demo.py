"""From simulated files to a grain, as in `make demo` but small: does it come out as it went in?

The figures of merit of these tests are computed here from truth.npy and grain_ang.npy.
"""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import matplotlib.image
import numpy as np
import pytest

from lib import cli, reconstruction
from lib.errors import Recon3DError
from lib.initfile.parameters import Parameters
from lib.initfile.parse import format_initfile
from lib.page import pictures
from lib.parallel.communicator import SerialComm
from lib.simulation import compare, simulate
from tests.running import error_line

MOTORS = {"id06-2016": ("samrz", "samry", "diffrx"), "id06-2017": ("diffrz", "gamma", "diffry")}
FRAME = {"id06-2016": "sample", "id06-2017": "lab"}
STEP_DEG = 0.05


def parameters(folder, **changes):
    """A scan of 5 x 5 tilts and 12 omegas of a grain that fills a third of the volume."""
    values = {
        "path": str(folder / "array"),
        "stem": str(folder / "raw" / "grain_"),
        "sim_background": str(folder / "raw" / "dark_"),
        "unit_cell": (4.0495, 4.0495, 4.0495, 90.0, 90.0, 90.0),
        "hkl": (2, 0, 0),
        "wavelength": 0.7293,
        "M": 3.0,
        "grain_dim": (12.0, 12.0, 12.0),
        "grain_steps": (18, 18, 18),
        "method": "backprojection",
        "completeness_cutoff": 0.7,
        "detx_size": 40,
        "detz_size": 36,
        "ang_types": MOTORS["id06-2016"],
        "ang_steps": (5, 5, 12),
        "ang_min": (-0.1, -0.1, 0.0),
        "ang_max": (0.1, 0.1, 330.0),
        "ang_mean": (0.01, -0.005),
        "ang_width": (0.08, 0.08),
        "sim_grain": (4.6, 4.0, 4.4),
        "sim_points": 4000,
        "sim_background_frames": 4,
        "sim_seed": 1,
    }
    return Parameters(**{**values, **changes})


def getdata_arguments(params):
    raw, array = Path(params.stem).parent, Path(params.path)
    width, height = params.detx_size, params.detz_size
    return [
        raw,
        "grain_",
        raw,
        "dark_",
        f"{width // 2},{height // 2}",
        f"{width},{height}",
        array.parent,
        array.name,
    ]


def merit(params):
    """Dice of the shape; median error of orientation and of a constant guess, in tilt steps."""
    truth = np.load(Path(params.stem).with_name("truth.npy"))
    result = np.load(params.folder / "grain_ang.npy")
    inside, found = truth[..., 2] > 0.5, np.isfinite(result[..., 0])
    both = inside & found
    dice = 2 * both.sum() / (inside.sum() + found.sum())
    guess = truth[inside][:, :2].mean(axis=0)
    errors = [
        float(np.median(np.hypot(*(orientations[:, :2] - truth[both][:, :2]).T))) / STEP_DEG
        for orientations in (result[both], np.tile(guess, (both.sum(), 1)))
    ]
    return float(dice), errors[0], errors[1]


def dice_of_all(params):
    """Dice of calling every voxel grain."""
    inside = np.load(Path(params.stem).with_name("truth.npy"))[..., 2] > 0.5
    return 2 * inside.sum() / (inside.sum() + inside.size)


def assert_good(params):
    dice, error, constant = merit(params)
    assert dice > 0.85 > dice_of_all(params) + 0.3
    assert error < 0.7 * constant


def chain(params):
    """simulate, getdata and recon3d in this process, serially."""
    simulate.run(params, SerialComm(), quiet=True)
    arguments = [*map(str, getdata_arguments(params)), "--no-report", "--quiet"]
    assert cli.getdata(arguments, SerialComm()) == 0
    return reconstruction.run(params, SerialComm(), quiet=True)


def redo(params, name, **changes):
    """The same array reconstructed with other keys."""
    other = replace(params, output=str(params.folder.with_name(name)), **changes)
    reconstruction.run(other, SerialComm(), quiet=True)
    return other


# ---- The four commands under mpirun ----


@pytest.mark.parametrize(
    ("setup", "mode", "jitter"),
    [("id06-2016", "horizontal", 0.0), ("id06-2017", "horizontal", 0.0), ("id06-2017", "vertical", 0.08)],
)
def test_simulate_getdata_recon3d_compare(run, tmp_path, capsys, setup, mode, jitter):
    params = parameters(tmp_path, mode=mode, ang_types=MOTORS[setup], sim_jitter=jitter)
    init = tmp_path / "init.txt"
    init.write_text(format_initfile(params))
    pages = () if setup == "id06-2016" else ("--no-report",)  # its pictures take two seconds
    outputs = []
    for command in (
        ("-m lib simulate", init),
        ("getdata.py", *getdata_arguments(params), *pages),
        ("recon3d.py", init),
    ):
        result = run(*command, ranks=2)
        assert result.returncode == 0, result.stderr
        assert "Traceback" not in result.stderr
        outputs.append(result.stdout)
    capsys.readouterr()
    assert cli.compare([str(init)]) == 0
    compared = capsys.readouterr()
    assert compared.err == ""
    assert "300 frames of 40 x 36 pixels" in outputs[0]
    assert str(tmp_path / "array" / "dataarray.npy") in outputs[1]
    assert str(tmp_path / "array" / "grain_ang.npy") in outputs[2]

    info = json.loads((tmp_path / "array" / "getdata.json").read_text())
    assert (info["setup"], info["tilt_frame"], info["missing_positions"]) == (setup, FRAME[setup], [])
    array = np.load(tmp_path / "array" / "dataarray.npy", mmap_mode="r")
    assert array.shape == (5, 5, 12, 40, 36)
    for name, low, high, n in zip(
        ("tilt1", "tilt2", "omega"), params.ang_min, params.ang_max, params.ang_steps, strict=True
    ):
        axis = np.load(tmp_path / "array" / f"{name}.npy")
        step = (high - low) / (n - 1)
        np.testing.assert_allclose(axis, np.linspace(low, high, n), atol=max(jitter * step, 1e-5))

    assert_good(params)
    dice, error, constant = merit(params)
    lines = compared.out.splitlines()
    assert lines[0] == str(tmp_path / "array" / "slices.png")
    assert lines[1].split() == ["shape", "Dice", f"{dice:.3f}"]
    assert f"error {error:.3f} tilt steps (median)" in lines[2]
    assert lines[2].endswith(f"a constant guess has {constant:.3f}")
    assert_a_picture(tmp_path / "array" / "slices.png")

    if FRAME[setup] == "lab":  # taken for tilts above omega, the same data make no sense
        wrong = redo(params, "wrong", tilt_frame="sample")
        wrong_dice, wrong_error, _ = merit(wrong)
        assert wrong_dice < dice - 0.3
        assert wrong_error > 1.4 * error


def assert_a_picture(path):
    """Not blank: white paper, text, and slices in colour in all four columns of plots."""
    pixels = matplotlib.image.imread(path)[..., :3]
    assert pixels.shape[0] > 500 < pixels.shape[1]
    assert (pixels == 1.0).all(axis=-1).mean() > 0.2
    coloured = np.ptp(pixels, axis=-1) > 0.2
    edges = np.linspace(0, pixels.shape[1], 5).astype(int)
    for left, right in pairwise(edges):
        assert coloured[:, left:right].mean() > 0.01
    assert len(np.unique((pixels[::3, ::3] * 255).astype(np.uint8).reshape(-1, 3), axis=0)) > 200


# ---- What the chain must get right ----


@pytest.mark.parametrize("setup", MOTORS)
@pytest.mark.parametrize("mode", ["horizontal", "vertical"])
def test_a_motor_that_turns_left_handed(tmp_path, setup, mode):
    """The grain lies beside the axis, so that the wrong sign looks for it at the wrong side."""
    params = parameters(
        tmp_path, mode=mode, ang_types=MOTORS[setup], omega_sign=-1, grain_pos=(0.5, 1.2, -0.8), M=2.8
    )
    chain(params)
    assert_good(params)
    right_dice, right_error, _ = merit(params)
    wrong_dice, wrong_error, _ = merit(redo(params, "wrong", omega_sign=1))
    assert wrong_dice < right_dice - 0.1
    assert wrong_error > 1.15 * right_error


@pytest.mark.parametrize("setup", MOTORS)
def test_motors_that_jitter(tmp_path, setup):
    """Read-back values 0.08 steps off still make a whole grid, and the grain comes out."""
    params = parameters(tmp_path, ang_types=MOTORS[setup], sim_jitter=0.08, sim_seed=4)
    chain(params)
    info = json.loads((tmp_path / "array" / "getdata.json").read_text())
    assert info["array"]["shape"][:3] == [5, 5, 12]
    assert info["missing_positions"] == []
    assert_good(params)


def test_flips_of_the_image_are_undone(tmp_path):
    """With the flips of the simulation the grain comes out, without them it does not."""
    params = parameters(tmp_path, o11=0, o12=-1, o21=1, o22=0, detx_size=38, detz_size=38, sim_seed=3)
    chain(params)
    assert_good(params)
    plain = redo(params, "wrong", o11=1, o12=0, o21=0, o22=1)
    assert merit(plain)[0] < merit(params)[0] - 0.05


def test_tilt_zero_away_from_the_middle_of_the_scan(tmp_path):
    """Motor zeros are arbitrary: orientations are reported as motor positions."""
    params = parameters(
        tmp_path,
        ang_types=MOTORS["id06-2017"],
        ang_min=(2.9, -1.1, 0.0),
        ang_max=(3.1, -0.9, 330.0),
        ang_mean=(3.01, -1.005),
        tilt_zero=(3.01, -1.005),
    )
    chain(params)
    assert_good(params)
    result = np.load(params.folder / "grain_ang.npy")
    np.testing.assert_allclose(np.nanmedian(result[..., :2], axis=(0, 1, 2)), [3.01, -1.005], atol=0.02)


# ---- recon3d-compare on its own ----


def pretend(folder, **changes):
    """The truth of a simulation and a result that equals it, without the way between."""
    params = parameters(folder, **{"ang_steps": (2, 2, 2), "sim_background": None, **changes})
    simulate.run(params, SerialComm(), quiet=True)
    params.folder.mkdir()
    shutil.copy(folder / "raw" / "truth.npy", params.folder / "grain_ang.npy")
    return params


@pytest.fixture
def no_picture(monkeypatch):
    """Drawing takes a second or two."""
    monkeypatch.setattr(pictures, "draw_slices", lambda *_: None)


def test_a_perfect_result(tmp_path, no_picture):
    params = pretend(tmp_path)
    lines = compare.run(params)
    assert lines[1] == "shape        Dice 1.000"
    assert lines[2].startswith("orientation  error 0.000 tilt steps (median), 0.000 (95 %)")


def test_an_empty_result_is_still_drawn(tmp_path):
    params = pretend(tmp_path)
    result = np.load(params.folder / "grain_ang.npy")
    result[..., :2] = np.nan
    np.save(params.folder / "grain_ang.npy", result)
    lines = compare.run(params)
    assert lines[1:] == ["shape        Dice 0.000"]
    assert (params.folder / "slices.png").exists()


def test_errors_are_counted_in_steps_where_both_are_grain(tmp_path, no_picture):
    params = pretend(tmp_path)  # steps of 0.2 in both tilts
    result = np.load(params.folder / "grain_ang.npy")
    result[..., 0] += 0.06
    result[..., 1] -= 0.08
    result[:9, ..., :2] = np.nan
    np.save(params.folder / "grain_ang.npy", result)
    lines = compare.run(params)
    assert lines[2].startswith("orientation  error 0.500 tilt steps (median), 0.500 (95 %)")
    truth = np.load(tmp_path / "raw" / "truth.npy")[..., 2] > 0.5
    kept = truth[9:].sum()
    assert lines[1] == f"shape        Dice {2 * kept / (kept + truth.sum()):.3f}"


def test_dice_of_two_masks():
    a = np.array([True, True, False, False])
    assert compare.dice(a, a) == 1.0
    assert compare.dice(a, ~a) == 0.0
    assert compare.dice(a, np.array([True, False, False, False])) == pytest.approx(2 / 3)
    assert compare.dice(a & ~a, a & ~a) == 1.0


def test_orientation_error_leaves_out_what_is_unknown():
    found = np.array([[0.0, 0.0], [3.0, 4.0], [np.nan, 0.0], [1.0, 1.0]])
    true = np.array([[0.0, 0.0], [0.0, 0.0], [0.0, 0.0], [0.0, np.nan]])
    inside = np.array([True, True, True, True])
    np.testing.assert_allclose(compare.orientation_error(found, true, inside), [0.0, 5.0])
    np.testing.assert_allclose(compare.orientation_error(found, true, ~inside), [])


def test_a_single_layer_of_voxels_is_compared(tmp_path):
    params = pretend(tmp_path, grain_steps=(18, 18, 1), grain_dim=(12.0, 12.0, 0.7))
    assert compare.run(params)[1] == "shape        Dice 1.000"


def test_compare_says_what_is_missing(run, tmp_path):
    params = pretend(tmp_path)
    init = tmp_path / "init.txt"

    def message(changed):
        with pytest.raises(Recon3DError) as caught:
            compare.run(changed)
        return str(caught.value)

    assert message(replace(params, stem=None)).startswith("key stem: is missing")
    assert "truth.npy: no such file; run recon3d-simulate" in message(
        replace(params, stem=str(tmp_path / "no" / "x"))
    )
    assert "grain_ang.npy: no such file" in message(replace(params, path=str(tmp_path / "no")))
    np.save(params.folder / "grain_ang.npy", np.zeros((2, 3, 4, 3)))
    init.write_text(format_initfile(params))
    line = error_line(run("-m lib compare", init), "compare")
    assert line.endswith("truth.npy: has shape (18, 18, 18, 3), the result (2, 3, 4, 3); simulate it again")


def test_compare_speaks_once_under_mpirun(run, tmp_path):
    (tmp_path / "init.txt").write_text(format_initfile(parameters(tmp_path)))
    assert "truth.npy: no such file" in error_line(
        run("-m lib compare", tmp_path / "init.txt", ranks=2), "compare"
    )


def test_what_getdata_writes_is_photons_without_background(tmp_path):
    """The array against the frames the simulation expects, in the order of tilt1, tilt2, omega, x, y."""
    params = parameters(tmp_path, ang_steps=(2, 3, 4), sim_counts=2000.0, ang_types=MOTORS["id06-2017"])
    simulate.run(params, SerialComm(), quiet=True)
    arguments = [
        *map(str, getdata_arguments(params)),
        "--dtype",
        "float32",
        "--no-clip",
        "--no-report",
        "--quiet",
    ]
    assert cli.getdata(arguments, SerialComm()) == 0
    array = np.load(tmp_path / "array" / "dataarray.npy")
    simulation = simulate.prepare(params)
    misfits = []
    for place in np.ndindex(2, 3, 4):
        position = [axis[i] for axis, i in zip(simulation.axes_deg, place, strict=True)]
        expected = simulate.expected_frame(simulation, *position)
        variance = expected + 2.0**2 * (1 + 1 / 4) + 1 / 12
        misfits.append(((array[place] - expected) ** 2 / variance).mean())
    np.testing.assert_allclose(misfits, 1.0, atol=0.25)
