"""Cells of a result: grain.vtkhdf, cells.csv, from Python, by recon3d-cells; on any number of ranks."""

from __future__ import annotations

import csv
from pathlib import Path

import h5py
import numpy as np
import pytest
from vtkmodules.util.numpy_support import vtk_to_numpy
from vtkmodules.vtkIOXML import vtkXMLPolyDataReader

from lib import cli, load
from lib.parallel.communicator import SerialComm
from lib.result.labels import CELL_FILES
from tests import phantoms
from tests.running import error_line

KEYS = {"method": "mlem", "grain_steps": [20, 20, 20], "iterations": 6}


@pytest.fixture(scope="module")
def case() -> phantoms.Case:
    return phantoms.make(crystal=phantoms.four_subgrains)


@pytest.fixture(scope="module")
def result(case, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("cells")
    init = case.write(folder, **KEYS)
    assert cli.recon3d([str(init), "--quiet", "--no-report"], SerialComm()) == 0
    return folder


def rows_of(folder: Path) -> list[dict[str, str]]:
    with (folder / "cells.csv").open() as stream:
        return list(csv.DictReader(stream))


def test_four_subgrains_are_four_cells(result):
    grain = load(result / "grain.vtkhdf")
    rows = rows_of(result)
    assert len(rows) == len(grain.cells) == grain.cell.max() == 4
    np.testing.assert_array_equal(grain.cell > 0, grain.mask)
    found = np.array(sorted([float(row["tilt1_deg"]), float(row["tilt2_deg"])] for row in rows))
    expected = phantoms.SUBGRAINS + (1.5, -0.7)
    np.testing.assert_allclose(found, sorted(expected.tolist()), atol=0.1 * phantoms.STEP)
    total = sum(float(row["volume_um3"]) for row in rows)
    assert total == pytest.approx(grain.mask.sum() * np.prod(grain.spacing_um), rel=1e-4)
    with h5py.File(result / "grain.vtkhdf") as file:
        assert file["entry/cell/cell"].dtype == np.int32


def test_the_table_says_what_the_file_says(result):
    cells = load(result / "grain.vtkhdf").cells
    for row, cell in zip(rows_of(result), cells, strict=True):
        assert tuple(row) == cells.dtype.names
        for name in row:
            assert float(row[name]) == pytest.approx(float(cell[name]), rel=1e-5)


def test_vtk_reads_the_surfaces(result):
    """Polygons with their cells; all of it within the volume."""
    grain = load(result / "grain.vtkhdf")
    reader = vtkXMLPolyDataReader()
    assert reader.CanReadFile(str(result / "boundaries.vtp"))
    reader.SetFileName(str(result / "boundaries.vtp"))
    reader.Update()
    found, surface = reader.GetOutput(), grain.surface()
    np.testing.assert_allclose(vtk_to_numpy(found.GetPoints().GetData()), surface.points_um, atol=1e-5)
    data = {name: vtk_to_numpy(found.GetCellData().GetArray(name)) for name in ("cell_1", "cell_2")}
    np.testing.assert_array_equal(np.stack([*data.values()], axis=1), surface.between)
    polygon = vtk_to_numpy(found.GetPolys().GetConnectivityArray()).reshape(-1, 4)
    np.testing.assert_array_equal(polygon, surface.corners)
    turned = vtk_to_numpy(found.GetCellData().GetArray("misorientation_deg"))
    row = grain.boundaries[0]
    of_row = (data["cell_1"] == row["cell_1"]) & (data["cell_2"] == row["cell_2"])
    np.testing.assert_allclose(turned[of_row], row["misorientation_deg"], rtol=1e-6)
    assert np.isnan(turned[data["cell_2"] == 0]).all()


def test_walls_of_four_subgrains(result):
    """Each meets the two beside it in planes, and the angle is that between their orientations."""
    grain = load(result / "grain.vtkhdf")
    tilts = np.stack([grain.cells["tilt1_deg"], grain.cells["tilt2_deg"]], axis=1)
    large = grain.boundaries[grain.boundaries["area_um2"] > 4.0]
    assert len(large) == 4
    for row in large:
        apart = np.linalg.norm(tilts[row["cell_2"] - 1] - tilts[row["cell_1"] - 1])
        assert row["misorientation_deg"] == pytest.approx(apart)
        normal = np.array([row[f"normal_{axis}"] for axis in "xyz"])
        planes = np.array([[1, 0, -0.3], [0.2, 0, 1]]) / np.sqrt([[1.09], [1.04]])
        assert np.abs(planes @ normal).max() > np.cos(np.radians(6))
        assert row["normal_spread_deg"] < 25


@pytest.mark.parametrize("ranks", (2, 3))
def test_the_same_on_any_number_of_ranks(ranks, case, result, run, tmp_path):
    init = case.write(tmp_path, **KEYS)
    assert run("recon3d.py", init, "--quiet", "--no-report", ranks=ranks).returncode == 0
    alone, shared = (load(folder / "grain.vtkhdf") for folder in (result, tmp_path))
    assert (alone.cell != shared.cell).sum() <= 2
    np.testing.assert_allclose(alone.cells["tilt1_deg"], shared.cells["tilt1_deg"], atol=1e-5)


def test_none_and_later_by_the_command(case, result, tmp_path, capsys):
    init = case.write(tmp_path, **KEYS, cells="none")
    (tmp_path / "cells.csv").write_text("of another result")
    assert cli.recon3d([str(init), "--quiet", "--no-report"], SerialComm()) == 0
    assert not (tmp_path / "cells.csv").exists()
    grain = load(tmp_path / "grain.vtkhdf")
    assert "cell" not in grain.fields
    with pytest.raises(AttributeError, match="cells"):
        _ = grain.cells
    capsys.readouterr()
    for source in (init, tmp_path / "grain.vtkhdf"):
        assert cli.cells([str(source)], SerialComm()) == 0
        printed = capsys.readouterr().out.splitlines()
        assert printed[:-1] == [str(tmp_path / name) for name in ("grain.vtkhdf", *CELL_FILES)]
        assert printed[-1].startswith("cells        4, of ")
        again = load(tmp_path / "grain.vtkhdf")
        np.testing.assert_array_equal(again.cell, load(result / "grain.vtkhdf").cell)
        np.testing.assert_array_equal(again.tilt1, grain.tilt1)
        for name in CELL_FILES:
            assert (tmp_path / name).read_bytes() == (result / name).read_bytes()


def test_scans_of_strain_have_no_cells(run, tmp_path):
    scan = phantoms.make_line_scan("strain", n=12, n_omega=12)
    init = scan.write(tmp_path, iterations=1)
    assert cli.recon3d([str(init), "--quiet", "--no-report"], SerialComm()) == 0
    assert not (tmp_path / "cells.csv").exists()
    failed = run("-m lib cells", tmp_path / "grain.vtkhdf")
    assert "has no map of two tilts" in error_line(failed, "cells")


def test_errors_name_the_file(tmp_path, capsys):
    for name in ("grain.vtkhdf", "init.txt"):
        assert cli.cells([str(tmp_path / name)], SerialComm()) == 1
        assert f"cells: error: {tmp_path / name}: no such" in capsys.readouterr().err
