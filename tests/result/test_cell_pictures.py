"""Distributions of cells in the page, from Python, and the line that recon3d.py prints."""

from __future__ import annotations

import h5py
import numpy as np
import pytest

from lib import cli, load
from lib.cells.boundaries import COLUMNS as OF_BOUNDARIES
from lib.cells.table import COLUMNS as OF_CELLS
from lib.parallel.communicator import SerialComm
from lib.result import cell_pictures, labels
from tests import phantoms


def tables(n: int, n_inner: int = 0):
    """n cells of log-normal sizes and spreads, and as many pairs whose angles have a chi distribution."""
    rng = np.random.default_rng(3)
    cells, boundaries = np.zeros(n, OF_CELLS), np.zeros(n, OF_BOUNDARIES)
    cells["diameter_um"] = rng.lognormal(np.log(4.5), 0.3, n)
    cells["at_surface"] = np.arange(n) >= n_inner
    cells["spread_deg"] = rng.lognormal(np.log(0.01), 0.4, n)
    boundaries["misorientation_deg"] = 0.2 * np.linalg.norm(rng.normal(size=(n, 2)), axis=1)
    return cells, boundaries


def test_fits_of_known_distributions():
    fits = labels.fits(*tables(2000))
    assert fits.diameter_um.median == pytest.approx(4.5, rel=0.05)
    assert fits.misorientation_deg == pytest.approx((2.0, 0.2), rel=0.1)
    assert fits.spread_deg.sigma == pytest.approx(0.4, rel=0.1)
    words = cell_pictures.words(*tables(2000))
    assert "2000 cells" in words and "chi, k 2" in words and "of all cells" in words


def test_sizes_of_cells_that_are_cut_do_not_count():
    cells, boundaries = tables(40, n_inner=20)
    assert labels.sizes(cells).size == 20
    assert labels.fits(cells, boundaries).diameter_um.median == np.exp(
        np.log(cells["diameter_um"][:20]).mean()
    )
    assert "of those inside" in cell_pictures.words(cells, boundaries)
    assert labels.sizes(tables(40, n_inner=5)[0]).size == 40


@pytest.mark.parametrize("n", (0, 1, 2, 60))
def test_a_picture_of_any_number(n):
    """Each histogram counts all; with enough of them there is a curve of the same area."""
    figure = cell_pictures.draw(*tables(n))
    figure.canvas.draw()
    for plot in figure.axes:
        assert sum(bar.get_height() for bar in plot.patches) == n
        assert len(plot.lines) == (n > 2)
        if n > 2:
            at, curve = plot.lines[0].get_data()
            area = float(np.sum((curve[1:] + curve[:-1]) / 2 * np.diff(at)))
            assert area == pytest.approx(n * plot.patches[0].get_width(), rel=0.1)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    case = phantoms.make(crystal=phantoms.four_subgrains)
    folder = tmp_path_factory.mktemp("pictures")
    keys = {"method": "mlem", "grain_steps": [16, 16, 16], "iterations": 4, "errors": "none"}
    init = case.write(folder, **keys, kernel=1.5, burgers=2.86)
    assert cli.recon3d([str(init), "--quiet"], SerialComm()) == 0
    return folder


def test_the_page_and_the_file(folder):
    page = (folder / "report.html").read_text()
    assert "<h2>Cells</h2>" in page and "equivalent diameters" in page
    assert "<h2>Dislocation density</h2>" in page and "<dt>cells</dt>" in page
    grain = load(folder / "grain.vtkhdf")
    assert grain.kernel_um == 1.5
    assert grain.burgers_angstrom == 2.86
    np.testing.assert_allclose(grain.kam, grain.kam_within(1.5), rtol=1e-9)
    np.testing.assert_allclose(grain.gnd, grain.gnd_within(1.5, 2.86), rtol=1e-9)
    np.testing.assert_allclose(2 * grain.gnd_within(1.5, 5.72), grain.gnd, rtol=1e-9)
    assert grain.fits == labels.fits(grain.cells, grain.boundaries)
    with h5py.File(folder / "grain.vtkhdf") as file:
        assert file["entry/gnd/gnd"].attrs["units"] == "m^-2"
