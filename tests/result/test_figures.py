"""Figures for a paper: what is drawn where, in which colours and lengths."""

from __future__ import annotations

from collections.abc import Iterator

import matplotlib
import numpy as np
import pytest
from matplotlib import pyplot
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from lib.cells.surfaces import surface
from lib.errors import Recon3DError
from lib.initfile.parse import from_keys
from lib.physics.colours import cell_rgb
from lib.result.figures import crossings, round_length
from lib.result.volume import Volume

SHAPE, PITCH, ORIGIN = (20, 16, 12), 0.5, np.array([-3.0, 1.0, 2.0])
WALL_UM = ORIGIN[0] + 9 * PITCH  # the cells are x below and above it


@pytest.fixture
def grain() -> Volume:
    """A block of two cells, with a margin of two voxels, tilts that tell where a voxel is."""
    axes = tuple(o + PITCH * (np.arange(n) + 0.5) for o, n in zip(ORIGIN, SHAPE, strict=True))
    x, y, z = np.meshgrid(*axes, indexing="ij")
    mask = np.zeros(SHAPE, dtype=bool)
    mask[2:-2, 2:-2, 2:-2] = True
    fields = {
        "tilt1": np.where(mask, 0.1 * x, np.nan),
        "tilt2": np.where(mask, 0.1 * y, np.nan),
        "kam": np.where(mask, 0.01 * z, np.nan),
        "strain": np.where(mask, 1e-4 * (x + 1), np.nan),
        "cell": np.where(mask, 1 + (x > WALL_UM), 0).astype(np.int32),
    }
    keys = {"path": ".", "unit_cell": [4.0] * 3 + [90.0] * 3, "hkl": [2, 0, 0], "wavelength": 0.7, "M": 6.0}
    spacing = np.full(3, PITCH)
    return Volume(ORIGIN, spacing, axes, fields, mask, from_keys(keys, "test"), {})


@pytest.fixture
def axes() -> Axes:
    return Figure().subplots()


@pytest.fixture(autouse=True)
def no_window_stays_open() -> Iterator[None]:
    yield
    pyplot.close("all")


def test_a_slice_shows_the_voxels_where_they_are(grain: Volume, axes: Axes) -> None:
    assert grain.plot_slice("orientation", "z", 4.3, axes, scale_bar=False) is axes
    (image,) = axes.get_images()
    assert image.get_extent() == [-3.0, 7.0, 1.0, 9.0]
    inside = grain.mask[:, :, 4].T
    assert (image.get_array()[inside] == grain.rgb[:, :, 4].swapaxes(0, 1)[inside]).all()
    assert (image.get_array()[~inside] == 255).all()
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("x (µm)", "y (µm)")


@pytest.mark.parametrize(("normal", "names"), [("x", "yz"), ("y", "xz"), ("z", "xy")])
def test_a_field_has_a_colour_bar_with_its_unit(grain: Volume, normal: str, names: str) -> None:
    axes = grain.plot_slice("kam", normal, scale_bar=False)
    (image,) = axes.get_images()
    axis = "xyz".index(normal)
    middle = grain.kam.take(SHAPE[axis] // 2, axis=axis)
    shown = image.get_array()
    assert shown.shape == middle.T.shape and (shown.mask == np.isnan(middle.T)).all()
    difference = np.abs(shown - middle.T).max()
    assert difference < 0.01 * PITCH  # a middle between two layers is either
    assert axes.figure.axes[1].get_ylabel() == "kam (deg)"
    assert (axes.get_xlabel(), axes.get_ylabel()) == tuple(f"{name} (µm)" for name in names)


def test_signed_fields_are_symmetric_about_zero(grain: Volume, axes: Axes) -> None:
    grain.plot_slice("strain", ax=axes)
    low, high = axes.get_images()[0].get_clim()
    assert low == -high < 0


def test_the_scale_bar_is_as_long_as_it_says(grain: Volume, axes: Axes) -> None:
    grain.plot_slice("kam", "z", ax=axes)
    (line,) = axes.get_lines()
    length = np.ptp(line.get_xdata())
    assert length == 2.0 and [t.get_text() for t in axes.texts] == ["2 µm"]
    assert "z = " in axes.get_title() and not axes.axison


@pytest.mark.parametrize(("at_most", "length"), [(3.4, 2), (0.19, 0.1), (5.0, 5), (99, 50), (1e-3, 1e-3)])
def test_lengths_are_round(at_most: float, length: float) -> None:
    assert round_length(at_most) == pytest.approx(length)


def test_cells_have_their_colours_numbers_and_walls(grain: Volume, axes: Axes) -> None:
    grain.plot_cells("z", ax=axes, scale_bar=False)
    image = axes.get_images()[0].get_array()
    labels = grain.cell[:, :, 6].T
    assert (image[labels > 0] == cell_rgb(2)[labels[labels > 0]]).all()
    assert (image[labels == 0] == 255).all()
    places = {text.get_text(): text.get_position() for text in axes.texts}
    assert places["1"][0] < WALL_UM < places["2"][0]
    outline, walls = (np.array(lines.get_segments()) for lines in axes.collections)
    assert np.abs(walls[5:-5, :, 0] - WALL_UM).max() < 0.3 * PITCH
    lengths = np.linalg.norm(np.diff(walls, axis=1)[:, 0], axis=1)
    assert lengths.sum() == pytest.approx(12 * PITCH, rel=0.1)
    assert np.linalg.norm(np.diff(outline, axis=1)[:, 0], axis=1).sum() == pytest.approx(28, rel=0.1)


def test_walls_may_be_drawn_over_a_slice(grain: Volume, axes: Axes) -> None:
    grain.plot_slice("orientation", ax=axes, walls=True)
    assert len(axes.collections) == 2


def test_the_key_spans_the_orientations(grain: Volume) -> None:
    axes = grain.plot_key()
    low1, high1, low2, high2 = axes.get_images()[0].get_extent()
    for low, high, field in ((low1, high1, grain.tilt1), (low2, high2, grain.tilt2)):
        assert [low, high] == pytest.approx(np.nanpercentile(field, [1, 99]))
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("tilt1 (deg)", "tilt2 (deg)")


def test_a_plane_cuts_a_ball_along_a_circle() -> None:
    a = np.arange(30) - 14.5
    ball = (a[:, None, None] ** 2 + a[:, None] ** 2 + a**2 < 12**2).astype(np.int32)
    ends, inner = crossings(surface(ball, np.full(3, -15.0), np.ones(3)), 1, 5.0)
    radius = np.sqrt(144 - 25)
    assert not inner.any()
    assert np.ptp(ends[..., 1]) < 1e-9
    assert np.hypot(ends[..., 0], ends[..., 2]) == pytest.approx(radius, rel=0.06)
    length = np.linalg.norm(ends[:, 0] - ends[:, 1], axis=1).sum()
    assert length == pytest.approx(2 * np.pi * radius, rel=0.03)


def test_mistakes_are_said(grain: Volume) -> None:
    with pytest.raises(Recon3DError, match="no 'kma', but orientation, cell, kam"):
        grain.plot_slice("kma")
    with pytest.raises(Recon3DError, match="'x', 'y' or 'z', not 'w'"):
        grain.plot_slice("kam", "w")
    with pytest.raises(Recon3DError, match="outside of the volume, whose z is 2.25 .. 7.75 um"):
        grain.plot_cells("z", 12.0)


def test_the_backend_is_left_as_it_is(grain: Volume) -> None:
    before = matplotlib.get_backend()
    grain.plot_slice("kam")
    assert matplotlib.get_backend() == before
