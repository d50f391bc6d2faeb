"""From Python: the numbers of the script, from a folder, an init file or arrays; saved and loaded again."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from lib import cli, load, reconstruct
from lib.errors import Recon3DError
from lib.initfile.parameters import KEYS, Parameters
from lib.initfile.parse import format_initfile, from_keys
from lib.parallel.communicator import SerialComm
from tests import aligned_scan
from tests.running import ROOT

METHODS = ("backprojection", "mlem")


@pytest.fixture(scope="module")
def scan(tmp_path_factory) -> Parameters:
    """A scan of 3 x 3 tilts and 16 omegas with a position that was not measured, in a folder."""
    folder = tmp_path_factory.mktemp("api") / "array"
    params = aligned_scan.parameters(
        folder, ang_steps=(3, 3, 16), ang_max=(0.08, 0.08, 337.5), grain_steps=(15, 15, 15), sim_points=4000
    )
    aligned_scan.write(params, noise=1.0)
    measured = np.ones((3, 3, 16), dtype=bool)
    measured[1, 2, 5] = False
    np.save(folder / "measured.npy", measured)
    return params


def keys_of(params: Parameters) -> dict:
    """What differs from the defaults, without the files."""
    given = {name: getattr(params, name) for name in KEYS}
    return {
        n: v for n, v in given.items() if v != KEYS[n].default and n != "path" and not n.startswith("sim")
    }


def arrays_of(params: Parameters) -> dict:
    names = ("tilt1", "tilt2", "omega", "measured")
    return {name: np.load(Path(params.path) / f"{name}.npy") for name in names}


@pytest.fixture(scope="module", params=METHODS)
def both(request, scan, tmp_path_factory):
    """The parameters, what the script wrote, and what the function gives for the folder."""
    params = replace(scan, method=request.param, output=str(tmp_path_factory.mktemp("script")))
    init = params.folder / "init.txt"
    init.write_text(format_initfile(params))
    assert cli.recon3d([str(init), "--quiet"], SerialComm()) == 0
    return params, load(params.folder / "grain.vtkhdf"), reconstruct(scan.path, **keys_of(params))


def assert_same(one, other):
    assert set(one.fields) == set(other.fields)
    for name in one.fields:
        np.testing.assert_array_equal(one[name], other[name], err_msg=name)
        np.testing.assert_array_equal(getattr(one, name), other.fields[name])
    np.testing.assert_array_equal(one.mask, other.mask)
    np.testing.assert_array_equal(one.rgb, other.rgb)
    assert set(one.attributes) == set(other.attributes)
    for name, value in one.attributes.items():
        np.testing.assert_array_equal(value, other.attributes[name], err_msg=name)
    for name in ("origin_um", "spacing_um"):
        np.testing.assert_array_equal(getattr(one, name), getattr(other, name))
    for mine, theirs in zip(one.axes_um, other.axes_um, strict=True):
        np.testing.assert_array_equal(mine, theirs)
    assert list(one.warnings) == list(other.warnings)


def test_the_numbers_of_the_script(both):
    params, script, found = both
    assert_same(found, script)
    assert found.mask.any() and np.isfinite(found.tilt1[found.mask]).all()
    written = np.load(params.folder / "grain_ang.npy")
    for i, name in enumerate(("tilt1", "tilt2", "completeness")):
        np.testing.assert_array_equal(found[name], written[..., i])
    assert ("misfit" in found.attributes) == (params.method == "mlem")
    np.testing.assert_allclose(found.tilt_zero_deg, (0.0, 0.0), atol=1e-12)


def test_arrays_in_memory_give_the_same(both):
    params, script, _ = both
    pixels = np.load(Path(params.path) / "dataarray.npy")
    assert_same(reconstruct(pixels, **arrays_of(params), **keys_of(params)), script)


def test_an_init_file_and_keys_on_top_of_it(both):
    params, script, _ = both
    assert_same(reconstruct(params.folder / "init.txt"), script)
    other = reconstruct(str(params.folder / "init.txt"), grain_steps=np.array([5, 6, 7]))
    assert other.mask.shape == (5, 6, 7)
    center = other.parameters.detector_center
    assert center == pytest.approx((31.5, 35.5), abs=0.05)
    assert other.parameters == replace(params, grain_steps=(5, 6, 7), detector_center=center)


def test_a_mapped_array_in_the_other_byte_order_gives_the_same(scan, tmp_path):
    np.save(tmp_path / "swapped.npy", np.load(Path(scan.path) / "dataarray.npy").astype(">f4"))
    mapped = np.load(tmp_path / "swapped.npy", mmap_mode="r")
    found = reconstruct(mapped, **arrays_of(scan), **keys_of(scan))
    np.testing.assert_array_equal(found.tilt1, reconstruct(scan.path, **keys_of(scan)).tilt1)


def test_measured_matters(scan):
    pixels = np.load(Path(scan.path) / "dataarray.npy")
    arrays = arrays_of(scan)
    known = reconstruct(pixels, **arrays, **keys_of(scan))
    without = reconstruct(pixels, **(arrays | {"measured": None}), **keys_of(scan))
    assert not np.array_equal(known.intensity, without.intensity)


def test_saved_and_loaded_it_is_the_same(both, tmp_path):
    _, _, found = both
    found = replace(found, warnings=("the first, with ä", "the second"))
    found.save(tmp_path / "mine.vtkhdf")
    again = load(str(tmp_path / "mine.vtkhdf"))
    assert_same(again, found)
    assert again.parameters == found.parameters
    assert [p.name for p in tmp_path.iterdir()] == ["mine.vtkhdf"]


def test_parameters_survive_the_file(both, tmp_path):
    """Text, lists of text, ranges, None and auto come back as they were."""
    _, _, found = both
    odd = replace(
        found.parameters,
        path="a folder [1]",
        stem=None,
        omega_exclude=((1.0, 2.0), (30.0, 40.5)),
        detector_center="auto",
        threshold=None,
        binarize=True,
        ang_types=("samrz", "samry", "diffrx"),
    )
    replace(found, parameters=odd).save(tmp_path / "odd.vtkhdf")
    assert load(tmp_path / "odd.vtkhdf").parameters == odd


def test_unknown_fields_are_named(both):
    with pytest.raises(AttributeError, match="no 'tilt3', but .*tilt1"):
        _ = both[2].tilt3


NEEDED = {"unit_cell": [4.05] * 3 + [90] * 3, "hkl": (2, 0, 0), "wavelength": 0.7, "M": np.float32(4)}
PIXELS = np.zeros((2, 3, 4, 8, 8), dtype=np.uint16)
AXES = {"tilt1": [0, 1], "tilt2": [0, 1, 2], "omega": [0, 90, 180, 270]}


@pytest.mark.parametrize(
    ("scan", "arguments", "says"),
    [
        (PIXELS, AXES | NEEDED | {"wavelenght": 1}, "unknown key 'wavelenght', did you mean wavelength?"),
        (PIXELS, AXES | {"M": 4}, "key wavelength is missing"),
        (PIXELS, AXES | NEEDED | {"M": "four"}, "M: 'four' is not a number"),
        (PIXELS, AXES | NEEDED | {"mode": "sideways"}, "mode: 'sideways' must be horizontal or vertical"),
        (PIXELS, AXES | NEEDED | {"grain_steps": [3, 3]}, "grain_steps: must be a list of 3 values, not 2"),
        (PIXELS, AXES | NEEDED | {"omega": None}, "omega: is missing"),
        (PIXELS, AXES | NEEDED | {"tilt1": [1, 0]}, "tilt1: must hold finite, ascending angles"),
        (PIXELS, AXES | NEEDED | {"tilt1": [0, 1, 2]}, "tilt1: has shape (3,); the array has 2"),
        (PIXELS, AXES | NEEDED | {"measured": np.ones(3)}, "measured: has shape (3,)"),
        (PIXELS[0], AXES | NEEDED, "the array: has shape (3, 4, 8, 8); it must have five axes"),
        (PIXELS.astype(complex), AXES | NEEDED, "the array: holds complex128"),
        ("nowhere", NEEDED, "nowhere: no such init file"),
    ],
)
def test_mistakes_are_one_line(scan, arguments, says):
    with pytest.raises(Recon3DError) as caught:
        reconstruct(scan, **arguments)
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)


def test_every_mistake_of_the_keys_is_named_at_once():
    with pytest.raises(Recon3DError, match=r"unknown key 'x'.*M: .*key hkl is missing"):
        from_keys({"x": 1, "M": -1}, "here")


def test_loading_what_is_no_grain(tmp_path):
    with pytest.raises(Recon3DError, match=r"absent.vtkhdf: no such file"):
        load(tmp_path / "absent.vtkhdf")
    (tmp_path / "text.vtkhdf").write_text("no HDF5")
    with pytest.raises(Recon3DError, match=r"text.vtkhdf: is not a grain.vtkhdf"):
        load(tmp_path / "text.vtkhdf")


def test_importing_the_package_stays_light_and_needs_no_mpi(scan, tmp_path):
    """Under its installed name; MPI is not even looked for."""
    (tmp_path / "recon3d_lib").symlink_to(ROOT / "lib")
    code = """
import sys
import recon3d_lib
assert not {"numpy", "h5py", "matplotlib", "numba"} & set(sys.modules), sys.modules
sys.modules["mpi4py"] = None
from recon3d_lib import load, reconstruct
print(load.__module__, reconstruct.__module__, sorted(set(recon3d_lib.__all__)))
try:
    recon3d_lib.nothing
except AttributeError as error:
    print(error)
"""
    environment = {**os.environ, "PYTHONPATH": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=environment,
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stderr == ""
    assert done.stdout.splitlines() == [
        "recon3d_lib.api recon3d_lib.api ['compare', 'load', 'reconstruct']",
        "module 'recon3d_lib' has no attribute 'nothing'",
    ]
