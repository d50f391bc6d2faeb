"""recon3d-convert: folders and init files of the 2017 programs, as those wrote and understood them."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from lib import cli, load, reconstruct
from lib.initfile.old import translate
from lib.initfile.parse import parse, read_initfile
from lib.parallel.communicator import SerialComm
from lib.physics import geometry
from lib.scan import store
from tests.running import error_line

OLD_INIT = """\
sg_no  225  # Space group
unit_cell  [4.0495,4.0495,4.0495,90.,90.,90.]
hkl  2 0 0
wavelength  0.7293  # 17 keV
grain_pos  [1.,2.,3.]
grain_dim  [18.,20.,22.]\t   # to zoom in, decrease this number
grain_steps  [9,10,11]
#image simulation
# ang_steps  [2,2,18]
detx_size  512
M 18.57/3\t# magnification
t_x  "None"
t_y  0
t_z  0
path  "/somewhere/on a disk/Rec_test"  # folder with npy files,
                                       # returned by getdata.py
format  "edf"
mode "horizontal"
xyz_up [0,0,0]
xyz_lo [0,0,0]
xyz_th [0,0,0]
theta  10.4
"""


def write_old(folder: Path, axes: dict[str, np.ndarray], **arrays: np.ndarray) -> np.ndarray:
    """A folder of the 2017 programs with the arrays (tilt, tilt, omega, row, column) by name."""
    folder.mkdir(parents=True)
    for name, values in (axes | arrays).items():
        np.save(folder / f"{name}.npy", values)
    return arrays["dataarray"]


def made_up(seed: int = 0) -> np.ndarray:
    """Counts of 2 x 3 tilts, 4 omegas, 5 rows, 6 columns; one position was never measured."""
    pixels = np.random.default_rng(seed).integers(1, 60000, (2, 3, 4, 5, 6), dtype=np.uint16)
    pixels[1, 0, 2] = 0
    return pixels


MU_GAMMA = {"mu": np.array([0.468, 0.5]), "gamma": np.array([-0.03, 0.0, 0.03])}
ALPHA_BETA = {"alpha": np.array([0.02, -0.02]), "beta": np.array([0.1, 0.3, 0.2])}
OMEGA = {"omega": np.array([0.0, 60.0, 90.0, 120.0])}
GENERAL = {"omega": np.array([0.0, 60.0, 85.0, 120.0])}


def convert(*arguments: object) -> int:
    return cli.convert([str(a) for a in arguments], SerialComm())


def test_rows_and_columns_become_x_and_y(tmp_path, capsys):
    old = write_old(tmp_path / "old", MU_GAMMA | GENERAL, dataarray=made_up())
    assert convert(tmp_path / "old", tmp_path / "new") == 0
    scan = store.read_scan(tmp_path / "new")
    array = np.load(tmp_path / "new" / "dataarray.npy")
    assert array.dtype == np.uint16
    assert array.flags.c_contiguous
    for i, j, k, row, column in [(0, 0, 0, 4, 1), (1, 2, 3, 0, 5), (1, 1, 2, 3, 3)]:
        assert array[i, j, k, column, row] == old[i, j, k, row, column]
    np.testing.assert_array_equal(array, np.swapaxes(old, 3, 4))
    np.testing.assert_array_equal(scan.tilt1_deg, MU_GAMMA["mu"])
    np.testing.assert_array_equal(scan.tilt2_deg, MU_GAMMA["gamma"])
    np.testing.assert_array_equal(scan.omega_deg, GENERAL["omega"])
    assert np.argwhere(~scan.measured).tolist() == [[1, 0, 2]]
    assert scan.info["tilt_frame"] == "lab"
    assert scan.info["motors"] == {"tilt1": "mu", "tilt2": "gamma", "omega": "omega"}
    out = capsys.readouterr().out.splitlines()
    assert "array       2 x 3 tilts x 4 omegas x 6 x 5 pixels, from dataarray.npy" in out
    assert "missing     1 of 24 positions" in out
    assert [p.name for p in tmp_path.iterdir() if p.name.startswith(".")] == []


def test_alpha_and_beta_are_sorted_and_taken_as_tilts_above_omega(tmp_path, capsys):
    old = write_old(tmp_path / "old", ALPHA_BETA | OMEGA, dataarray=made_up())
    assert convert(tmp_path / "old", tmp_path / "new") == 0
    scan = store.read_scan(tmp_path / "new")
    np.testing.assert_array_equal(scan.tilt1_deg, [-0.02, 0.02])
    np.testing.assert_array_equal(scan.tilt2_deg, [0.1, 0.2, 0.3])
    array = np.load(tmp_path / "new" / "dataarray.npy")
    np.testing.assert_array_equal(array[0, 1, 3].T, old[1, 2, 3])
    np.testing.assert_array_equal(array[1, 2, 0].T, old[0, 1, 0])
    assert np.argwhere(~scan.measured).tolist() == [[0, 0, 2]]  # 90 degrees is fine above omega
    assert scan.info["tilt_frame"] == "sample"
    assert "--tilt-frame lab" in capsys.readouterr().out
    assert convert(tmp_path / "old", tmp_path / "lab", "--tilt-frame", "lab") == 0
    assert store.read_scan(tmp_path / "lab").info["tilt_frame"] == "lab"
    assert "--tilt-frame" not in capsys.readouterr().out


def test_at_omega_90_gamma_was_lost(tmp_path, capsys):
    write_old(tmp_path / "old", MU_GAMMA | OMEGA, dataarray=made_up())
    assert convert(tmp_path / "old", tmp_path / "new") == 0
    measured = np.load(tmp_path / "new" / "measured.npy")
    assert not measured[:, :, 2].any()
    assert measured[:, :, [0, 1, 3]].all()
    assert "omega 90 and 270 count as not measured" in capsys.readouterr().out


def test_the_cleaned_array_is_the_one_that_recon3d_read(tmp_path):
    raw, final = made_up(), made_up(1)
    final[0, 1, 1] = 0  # dark after cleaning, but measured
    write_old(
        tmp_path / "old", MU_GAMMA | GENERAL, dataarray=raw, dataarray_final=final, dataarray_clean=raw // 2
    )
    assert convert(tmp_path / "old", tmp_path / "new") == 0
    measured = np.load(tmp_path / "new" / "measured.npy")
    assert np.argwhere(~measured).tolist() == [[1, 0, 2]]
    array = np.load(tmp_path / "new" / "dataarray.npy")
    np.testing.assert_array_equal(array[measured], np.swapaxes(final, 3, 4)[measured])
    assert convert(tmp_path / "old", tmp_path / "clean", "--array", "dataarray_clean.npy") == 0
    np.testing.assert_array_equal(np.load(tmp_path / "clean" / "dataarray.npy"), np.swapaxes(raw // 2, 3, 4))


# ---- Init files ----


def test_an_old_init_file_loads_with_a_line_for_all_that_changed(tmp_path):
    text, notes = translate(OLD_INIT, "old.ini", str(tmp_path / "a b"), "lab", (140.0, 149.5))
    params, warnings = parse(text, "new")
    assert warnings == []
    assert params.path == str(tmp_path / "a b")
    assert (params.hkl, params.sg_no, params.wavelength) == ((2, 0, 0), 225, 0.7293)
    np.testing.assert_allclose(params.M, 6.19)
    assert (params.t_x, params.t_y, params.t_z) == (None, None, None)
    assert params.grain_pos == (-2.0, 1.0, 3.0)
    assert params.grain_dim == (20.0, 18.0, 22.0)
    assert params.grain_steps == (10, 9, 11)
    assert params.detector_center == (140.0, 149.5)
    joined = "\n".join(notes)
    assert len(notes) == 4
    for word in ("t_y", "t_z", "line 22: theta", "grain_pos"):
        assert word in joined


@pytest.mark.parametrize(
    ("line", "frame", "key", "value"),
    [
        ("M 2*9.25+.07", "sample", "M", 18.57),
        ("grain_dim [18.,18.,20.]", "sample", "grain_dim", (18.0, 18.0, 20.0)),
        ("grain_dim [2*9,18.,-(-20)]", "sample", "grain_dim", (18.0, 18.0, 20.0)),
        ("xyz_up [-40,0,0]", "sample", "xyz_up", (-40.0, 0.0, 0.0)),
        ("xyz_up [-40,0,0]", "lab", "xyz_up", (0.0, 0.0, 0.0)),
        ('mode "vertical"', "sample", "mode", "vertical"),
        ('mode "vertical"', "lab", "mode", "horizontal"),
        ("completeness_cutoff  0.7", "lab", "completeness_cutoff", 0.7),
        ('stem  "../test/box"', "sample", "stem", "../test/box"),
        ("t_z  20.75 # deg", "sample", "t_z", None),
        ("anything {'a': open}", "sample", "M", 18.57 / 3),
        ("M", "sample", "M", 18.57 / 3),
    ],
)
def test_lines_that_the_old_programs_accepted(line, frame, key, value):
    params, _ = parse(translate(OLD_INIT + line, "old", "p", frame, None)[0], "new")
    assert getattr(params, key) == (pytest.approx(value) if isinstance(value, float) else value)
    assert (params.output, params.detector_center) == (None, ())


@pytest.mark.parametrize("line", ["M __import__('os')", "M 1/0", "M [1]*3", "M 2**9**9", "M 'big'"])
def test_nothing_else_is_evaluated(line, tmp_path, capsys):
    write_old(tmp_path / "old", MU_GAMMA | GENERAL, dataarray=made_up())
    (tmp_path / "old.ini").write_text(OLD_INIT + line)
    assert convert(tmp_path / "old", tmp_path / "new", "--initfile", tmp_path / "old.ini") == 1
    assert f"convert: error: {tmp_path / 'old.ini'}: line 23: M: " in capsys.readouterr().err
    assert not (tmp_path / "new").exists()


def old_projection(frame, point, omega, theta, size_px, magnification):
    """(row, column) of a point of the sample by the formulas of the 2017 recon3d.py, with the true theta."""
    c, s = np.cos(omega), np.sin(omega)
    ct, st = np.cos(-theta), np.sin(-theta)
    base = np.array([[ct, -st, 0], [st, ct, 0], [0, 0, 1]])
    if frame == "lab":  # x along the beam, y the rotation axis, z up
        turned = magnification * np.diag([1, -1, -1]) @ base @ np.array([[c, 0, s], [0, 1, 0], [-s, 0, c]])
        row, column = (turned @ point)[1:]
    else:
        turned = magnification * np.diag([-1, 0, -1]) @ base @ np.array([[1, 0, 0], [0, c, -s], [0, s, c]])
        row, _, column = turned @ point
    return row + (size_px[0] - 1) / 2, column + (size_px[1] - 1) / 2


@pytest.mark.parametrize("frame", ["lab", "sample"])
def test_voxels_fall_on_the_pixels_on_which_they_fell(frame):
    """The white paper's frame with the translated keys, beside the formulas of 2017."""
    params, _ = parse(translate(OLD_INIT, "old", "p", frame, None)[0], "new")
    size_px = (40, 50)
    today = params.geometry().with_center(geometry.roi_center((size_px[1], size_px[0])))
    rng = np.random.default_rng(2)
    for point, omega in zip(rng.uniform(-3, 3, (20, 3)), rng.uniform(0, 2 * np.pi, 20), strict=True):
        old = old_projection(frame, point, omega, today.theta_rad, size_px, params.M)
        here = np.array([-point[1], point[0], point[2]]) if frame == "lab" else point
        matrix, shift = today.sample_to_pixel(params.omega_sign * omega)
        np.testing.assert_allclose(matrix @ here + shift, old[::-1], atol=1e-9)


# ---- All of it ----


def test_from_the_old_folder_to_a_grain(run, tmp_path):
    """A ball off the axis, drawn by the old formulas, comes out where it was put in the old frame."""
    size, n_omega, place = 32, 24, np.array([0.8, -1.1, 0.5])
    omega = np.arange(n_omega) * 15.0
    theta = geometry.bragg_angle((4.0495, 4.0495, 4.0495, 90, 90, 90), (2, 0, 0), 0.7293)
    rows, columns = np.indices((size, size))
    pixels = np.zeros((3, 3, n_omega, size, size), dtype=np.uint16)
    for k, angle in enumerate(np.radians(omega)):
        row, column = old_projection("lab", place, angle, theta, (size, size), 4.0)
        pixels[1, 1, k] = 500 * (np.hypot(rows - row, columns - column) < 8)
        pixels[:, :, k] += 3
    axes = {"mu": np.array([9.9, 10.0, 10.1]), "gamma": np.array([-0.1, 0.0, 0.1]), "omega": omega}
    write_old(tmp_path / "old", axes, dataarray=pixels)
    init = (
        OLD_INIT.replace("[1.,2.,3.]", "[0,0,0]")
        .replace("[18.,20.,22.]", "[6.,7.5,9.]")
        .replace("18.57/3", "4")
    )
    init = init.replace("[9,10,11]", "[12,15,18]")
    (tmp_path / "old.ini").write_text(init + "threshold 50\ncompleteness_cutoff .9\n")
    done = run("-m lib convert", tmp_path / "old", tmp_path / "new", "--initfile", tmp_path / "old.ini")
    assert (done.returncode, done.stderr) == (0, "")
    assert str(tmp_path / "new" / "init.txt") in done.stdout
    grain = reconstruct(tmp_path / "new" / "init.txt")
    assert grain.mask.shape == (15, 12, 18)
    where = [axis[grain.mask.any(axis=tuple({0, 1, 2} - {i}))].mean() for i, axis in enumerate(grain.axes_um)]
    np.testing.assert_allclose(where, [-place[1], place[0], place[2]], atol=0.3)
    assert read_initfile(tmp_path / "new" / "init.txt")[1] == []
    grain.save(tmp_path / "g.vtkhdf")
    assert load(tmp_path / "g.vtkhdf").attributes["tilt_frame_of_scan"] == "lab"


# ---- Mistakes ----


def test_recon3d_says_what_to_do_with_an_old_folder(tmp_path, capsys):
    write_old(tmp_path / "old", MU_GAMMA | GENERAL, dataarray=made_up())
    (tmp_path / "init.txt").write_text(
        f"path {tmp_path / 'old'}\nunit_cell 4 4 4 90 90 90\nhkl 2 0 0\nwavelength 1\nM 1\n"
    )
    assert cli.recon3d([str(tmp_path / "init.txt")], SerialComm()) == 1
    assert (
        "tilt1.npy: no such file; the folder is of the 2017 programs: see recon3d-convert"
        in capsys.readouterr().err
    )


def test_an_error_on_three_ranks_is_one_line(run, tmp_path):
    done = run("-m lib convert", tmp_path / "absent", tmp_path / "new", ranks=3)
    assert "absent: has neither mu.npy, gamma.npy nor alpha.npy" in error_line(done, "convert")


@pytest.mark.parametrize(
    ("spoil", "arguments", "says"),
    [
        (lambda old: (old / "gamma.npy").unlink(), (), "has neither mu.npy, gamma.npy"),
        (lambda old: np.save(old / "mu.npy", [1.0, 1.0]), (), "mu.npy: must hold finite angles, each once"),
        (lambda old: np.save(old / "mu.npy", [1.0, 2.0, 3.0]), (), "mu.npy: has shape (3,)"),
        (
            lambda old: np.save(old / "dataarray.npy", np.ones((2, 3))),
            (),
            "it must be tilts, tilts, omegas, rows",
        ),
        (lambda old: (old / "dataarray.npy").write_text("x"), (), "dataarray.npy: cannot be read"),
        (lambda old: None, ("--array", "other.npy"), "other.npy: no such file"),
        (lambda old: None, ("--initfile", "absent.ini"), "absent.ini: cannot be read"),
        (lambda old: (old.parent / "new").write_text(""), (), "new"),
    ],
)
def test_mistakes_leave_nothing_behind(tmp_path, capsys, spoil, arguments, says):
    write_old(tmp_path / "old", MU_GAMMA | GENERAL, dataarray=made_up())
    spoil(tmp_path / "old")
    assert convert(tmp_path / "old", tmp_path / "new", *arguments) == 1
    captured = capsys.readouterr()
    assert says in captured.err
    assert captured.out == ""
    assert not (tmp_path / "new").is_dir()
    assert not list(tmp_path.glob(".*"))


def test_an_existing_result_is_only_replaced_when_asked_for(tmp_path, capsys):
    write_old(tmp_path / "old", MU_GAMMA | GENERAL, dataarray=made_up())
    assert convert(tmp_path / "old", tmp_path / "old") == 1
    assert "is the folder to be converted" in capsys.readouterr().err
    assert convert(tmp_path / "old", tmp_path / "new") == 0
    assert convert(tmp_path / "old", tmp_path / "new") == 1
    assert "exists; choose another folder, or --overwrite" in capsys.readouterr().err
    np.save(tmp_path / "old" / "dataarray.npy", made_up(3))
    assert convert(tmp_path / "old", tmp_path / "new", "--overwrite") == 0
    np.testing.assert_array_equal(np.load(tmp_path / "new" / "dataarray.npy")[0, 0, 0].T, made_up(3)[0, 0, 0])
    info = json.loads((tmp_path / "new" / "getdata.json").read_text())
    assert info["array"] == {
        "shape": [2, 3, 4, 6, 5],
        "dtype": "uint16",
        "axes": ["tilt1", "tilt2", "omega", "x", "y"],
    }
