"""grain.vtkhdf as VTK (ParaView), h5py and silx see it."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
import pytest
import silx.io
import silx.io.nxdata
from vtkmodules.util.numpy_support import vtk_to_numpy
from vtkmodules.vtkIOHDF import vtkHDFReader

from lib.initfile.parse import parse
from lib.physics.colours import colour_range, orientation_rgb
from lib.physics.geometry import voxel_axis
from lib.result import volume

SHAPE = (3, 4, 5)
POSITION, SIZE = np.array([10.0, -2.0, 0.5]), np.array([6.0, 4.0, 2.5])
ODD_ONE = (2, 1, 3)  # a voxel with no symmetry
FLOATS = ("tilt1", "tilt2", "tilt1_std", "tilt2_std", "completeness", "intensity")
EVERYTHING = (*FLOATS, "mask", "rgb")
UNITS = {"tilt1": "deg", "tilt2": "deg", "tilt1_std": "deg", "tilt2_std": "deg", "intensity": "counts"}
INIT = """
path "/data/grain 7"
unit_cell [4.0495,4.0495,4.0495,90,90,90]
hkl [2,0,0]
wavelength 0.7293
M 18.57
mode vertical
omega_exclude [[0,12.5],[90,91]]
binarize true
"""


@pytest.fixture(scope="module")
def grain() -> volume.Volume:
    """Every voxel of every field is different; some are NaN."""
    rng = np.random.default_rng(4)
    fields = {name: rng.normal(size=SHAPE) for name in FLOATS}
    mask = rng.random(SHAPE) < 0.6
    mask[ODD_ONE] = True
    for name in FLOATS[:4]:
        fields[name][~mask] = np.nan
    axes = tuple(voxel_axis(*a) for a in zip(POSITION, SIZE, SHAPE, strict=True))
    params, _ = parse(INIT, "init.txt")
    attributes = {"tilt_frame_of_scan": "lab", "tilt_zero_deg": (1.5, -2.5), "n_omega": 7}
    return volume.Volume(POSITION - SIZE / 2, SIZE / SHAPE, axes, fields, mask, params, attributes)


@pytest.fixture(scope="module")
def path(grain, tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("volume") / "grain.vtkhdf"
    volume.write(path, grain)
    return path


def expected(grain: volume.Volume, name: str) -> np.ndarray:
    """The field as it was given, axes x, y, z."""
    if name == "rgb":
        center, radius = colour_range(grain.fields["tilt1"], grain.fields["tilt2"], grain.mask)
        return orientation_rgb(grain.fields["tilt1"], grain.fields["tilt2"], center, radius)
    return grain.mask if name == "mask" else grain.fields[name]


# ---- ParaView ----


@pytest.fixture(scope="module")
def image(path):
    reader = vtkHDFReader()
    assert reader.CanReadFile(str(path))
    reader.SetFileName(str(path))
    reader.Update()
    return reader.GetOutput()


def test_vtk_places_the_volume(image):
    """Cells, not points: one more point than voxels along each axis; the origin is a corner."""
    assert image.GetClassName() == "vtkImageData"
    assert image.GetDimensions() == tuple(n + 1 for n in SHAPE)
    assert image.GetNumberOfCells() == np.prod(SHAPE)
    np.testing.assert_allclose(image.GetOrigin(), POSITION - SIZE / 2)
    np.testing.assert_allclose(image.GetSpacing(), SIZE / SHAPE)
    bounds = np.array(image.GetBounds()).reshape(3, 2)
    np.testing.assert_allclose(bounds.mean(axis=1), POSITION)
    np.testing.assert_allclose(np.diff(bounds, axis=1).ravel(), SIZE)


def test_vtk_reads_every_field(image, grain):
    cells = image.GetCellData()
    names = {cells.GetArrayName(i) for i in range(cells.GetNumberOfArrays())}
    assert names == set(EVERYTHING)
    assert image.GetPointData().GetNumberOfArrays() == 0
    for name in EVERYTHING:
        values = vtk_to_numpy(cells.GetArray(name))  # x runs fastest
        found = values.reshape(*SHAPE[::-1], *values.shape[1:]).swapaxes(0, 2)
        np.testing.assert_array_equal(found, expected(grain, name), err_msg=name)
        assert found.dtype == (np.uint8 if name in ("mask", "rgb") else np.float64)


def test_vtk_finds_a_voxel_at_its_place(image, grain):
    cell = ODD_ONE[0] + SHAPE[0] * (ODD_ONE[1] + SHAPE[1] * ODD_ONE[2])
    middle = np.array(image.GetCell(cell).GetBounds()).reshape(3, 2).mean(axis=1)
    np.testing.assert_allclose(middle, [axis[i] for axis, i in zip(grain.axes_um, ODD_ONE, strict=True)])
    for name in FLOATS:
        assert image.GetCellData().GetArray(name).GetValue(cell) == grain.fields[name][ODD_ONE]


# ---- silx ----


def test_silx_opens_it_on_the_orientation(path, grain):
    """The default plot is tilt1 over the voxel centres, axes z, y, x with units."""
    with silx.io.open(str(path)) as file:
        data = silx.io.nxdata.get_default(file)
        assert data.is_valid
        assert data.signal_dataset_name == "tilt1"
        assert data.signal_name == "tilt1 (deg)"
        assert data.signal.shape == SHAPE[::-1]
        assert data.axes_dataset_names == ["z", "y", "x"]
        for axis, centers in zip(data.axes, grain.axes_um[::-1], strict=True):
            np.testing.assert_array_equal(axis[()], centers)
            assert axis.attrs["units"] == "um"
        assert data.signal[ODD_ONE[::-1]] == grain.fields["tilt1"][ODD_ONE]


@pytest.mark.parametrize("name", EVERYTHING)
def test_silx_plots_every_field(name, path, grain):
    with silx.io.open(str(path)) as file:
        data = silx.io.nxdata.NXdata(file[f"entry/{name}"])
        assert data.is_valid, data.issues
        assert data.signal_dataset_name == name
        np.testing.assert_array_equal(np.swapaxes(data.signal[()], 0, 2), expected(grain, name))
        if name == "rgb":
            assert data.interpretation == "rgba-image"


# ---- HDF5 ----


@pytest.mark.parametrize("name", EVERYTHING)
def test_nexus_links_to_the_same_dataset(name, path):
    """Nothing is stored twice."""
    with h5py.File(path) as file:
        assert file.get(f"entry/{name}/{name}", getlink=True).__class__ is h5py.HardLink
        vtk, nexus = (file[f"{group}/{name}"] for group in ("VTKHDF/CellData", f"entry/{name}"))
        assert h5py.h5o.get_info(vtk.id).addr == h5py.h5o.get_info(nexus.id).addr
        assert h5py.h5o.get_info(vtk.id).rc == 2
        axes = {h5py.h5o.get_info(file[f"entry/{name}/z"].id).addr for name in EVERYTHING}
        assert len(axes) == 1


def test_one_voxel_with_h5py(path, grain):
    with h5py.File(path) as file:
        for name in FLOATS:
            assert file[f"VTKHDF/CellData/{name}"][ODD_ONE[::-1]] == grain.fields[name][ODD_ONE]
        assert file["VTKHDF/CellData/tilt1"].shape == SHAPE[::-1]


def test_unknown_orientations_stay_nan(path, grain):
    with h5py.File(path) as file:
        for name in FLOATS[:4]:
            stored = np.isnan(file[f"VTKHDF/CellData/{name}"][()])
            np.testing.assert_array_equal(np.swapaxes(stored, 0, 2), ~grain.mask)
        assert not np.isnan(file["VTKHDF/CellData/completeness"][()]).any()


def test_units(path):
    with h5py.File(path) as file:
        for name in EVERYTHING:
            attributes = file[f"VTKHDF/CellData/{name}"].attrs
            assert attributes.get("units") == UNITS.get(name)
            assert name in attributes["long_name"]


def test_parameters_are_attributes(path):
    """Those of the init file, the defaults among them, and what the run found."""
    with h5py.File(path) as file:
        keys = dict(file["entry/process/parameters"].attrs)
        process = dict(file["entry/process"].attrs)
        assert file["entry/process/program"].asstr()[()] == "Recon3D"
    assert (keys["path"], keys["mode"], keys["M"]) == ("/data/grain 7", "vertical", 18.57)
    np.testing.assert_array_equal(keys["unit_cell"], [4.0495] * 3 + [90] * 3)
    np.testing.assert_array_equal(keys["hkl"], [2, 0, 0])
    assert keys["completeness_cutoff"] == 0.5
    assert keys["omega_exclude"].replace(" ", "") == "[[0.0,12.5],[90.0,91.0]]"
    assert (keys["binarize"], keys["threshold"]) == ("true", "None")
    assert (process["tilt_frame_of_scan"], process["n_omega"]) == ("lab", 7)
    np.testing.assert_array_equal(process["tilt_zero_deg"], [1.5, -2.5])


def test_an_empty_volume_can_be_written_and_read(grain, tmp_path):
    """No voxel has an orientation."""
    nothing = {name: np.full(SHAPE, np.nan) for name in FLOATS}
    empty = volume.Volume(
        grain.origin_um,
        grain.spacing_um,
        grain.axes_um,
        nothing,
        np.zeros(SHAPE, bool),
        grain.parameters,
        {},
    )
    volume.write(tmp_path / "empty.vtkhdf", empty)
    with h5py.File(tmp_path / "empty.vtkhdf") as file:
        assert not file["VTKHDF/CellData/rgb"][()].any()
    with silx.io.open(str(tmp_path / "empty.vtkhdf")) as file:
        assert silx.io.nxdata.get_default(file).is_valid
