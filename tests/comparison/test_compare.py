"""recon3d-compare with two results: numbers, files, page; what cannot be compared is refused by name."""

from __future__ import annotations

import csv
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from lib import cli, load
from lib.comparison.compare import compare, field_of_change, summary
from lib.comparison.write import COMPARISON_FILES
from lib.initfile.parse import from_keys
from lib.parallel.communicator import SerialComm
from lib.result import labels
from lib.result.volume import Volume
from tests.comparison.moved import Grain, see
from tests.page import browser
from tests.running import error_line

LOOK = """
const wait = (ms) => new Promise((done) => setTimeout(done, ms));
while (document.getElementById("viewer").dataset.ready !== "yes") await wait(20);
found.titles = [...document.querySelectorAll("h2")].map((h) => h.textContent);
found.wide = document.documentElement.scrollWidth;
found.moves = document.querySelector("#viewer").clientHeight > 100;
"""
KEYS = {
    "path": "nowhere",
    "unit_cell": [4.0495, 4.0495, 4.0495, 90, 90, 90],
    "hkl": [2, 0, 0],
    "wavelength": 0.7293,
    "M": 6.0,
    "method": "mlem",
}
GRAIN = Grain(n_cells=6, seed=3)
SMALL = {"shape": (34, 34, 34), "spacing": (0.7, 0.7, 0.7), "noise": 0.004}
MOVED = {"shift": (0.9, -0.4, 0.25), "turn": (0.8, -0.5, 0.6), "common": (0.21, -0.13), "seed": 1}
LOADED = 0.04 * np.random.default_rng(5).normal(size=(6, 2))


def loaded(r: np.ndarray) -> np.ndarray:
    return LOADED[GRAIN.cell(r)]


def result(cells: bool = True, keys=None, **how) -> Volume:
    """A result as recon3d.py writes it, of a made-up grain."""
    seen = see(GRAIN, **{**SMALL, **how})
    tilt1, tilt2 = seen.tilts
    error = np.where(seen.mask, 0.004, np.nan)
    fields = {"tilt1": tilt1, "tilt2": tilt2, "tilt1_std": error, "tilt2_std": error}
    if cells:
        fields |= labels.cell_field(fields, seen.mask, "mlem")
    axes = tuple(
        f + s * np.arange(n) for f, s, n in zip(seen.first_um, seen.spacing_um, seen.mask.shape, strict=True)
    )
    return Volume(
        origin_um=seen.first_um - seen.spacing_um / 2,
        spacing_um=seen.spacing_um,
        axes_um=axes,
        fields=fields,
        mask=seen.mask,
        parameters=from_keys({**KEYS, **(keys or {})}, "test"),
        attributes={"scan": "mosaicity"},
    )


@pytest.fixture(scope="module")
def pair() -> tuple[Volume, Volume]:
    return result(), result(**MOVED, strain=loaded)


@pytest.fixture(scope="module")
def files(pair, tmp_path_factory) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("compare")
    paths = folder / "a.vtkhdf", folder / "b.vtkhdf"
    for path, grain in zip(paths, pair, strict=True):
        grain.save(path)
    return paths


def test_what_was_done_to_the_grain_is_found(pair):
    found = compare(*pair)
    assert found.dice > 0.97
    assert np.linalg.norm(found.motion.turn_deg - MOVED["turn"]) < 0.3
    each = loaded(np.stack(np.meshgrid(*pair[0].axes_um, indexing="ij"), axis=-1))
    known = np.isfinite(found.change).all(axis=0)
    off = found.change[:, known].T - each[known]
    off -= np.median(off, axis=0)
    assert np.median(np.abs(off)) < 0.674 * 1.3 * 0.004 * np.sqrt(2)  # the noise of both, and walls
    assert known.sum() > 0.97 * pair[0].mask.sum()
    np.testing.assert_allclose(found.common_deg, MOVED["common"] + np.median(each[known], axis=0), atol=0.02)


def test_cells_are_matched_and_their_changes_found(pair):
    found = compare(*pair)
    rows = found.cells[found.cells["kind"] == "pair"]
    assert len(rows) >= 5
    places = np.stack(np.meshgrid(*pair[0].axes_um, indexing="ij"), axis=-1)
    cell = GRAIN.cell(places)
    which = [np.bincount(cell[pair[0].cell == row["cell_1"]]).argmax() for row in rows]
    changes = np.stack([rows["tilt1_change_deg"], rows["tilt2_change_deg"]], axis=1)
    off = (changes - LOADED[which])[rows["overlap_um3"] > 100]
    np.testing.assert_allclose(off - off.mean(axis=0), 0.0, atol=0.003)
    np.testing.assert_allclose(rows["change_deg"], np.hypot(*changes.T))


def test_the_same_twice(pair):
    found = compare(pair[0], pair[0])
    assert found.dice == 1.0
    np.testing.assert_allclose(found.change[:, pair[0].mask], 0.0, atol=1e-3)
    assert set(found.cells["kind"]) == {"pair"}
    assert (found.cells["cell_1"] == found.cells["cell_2"]).all()
    assert not found.doubts()


def test_other_voxels_and_another_box(pair):
    other = result(
        shape=(44, 30, 38), spacing=(0.55, 0.8, 0.62), centre=(0.2, 0.1, -0.3), **MOVED, strain=loaded
    )
    found = compare(pair[0], other)
    assert found.dice > 0.97
    assert found.change.shape == (2, *pair[0].mask.shape)
    assert (found.cells["kind"] == "pair").sum() >= 5


def test_a_box_that_cuts_the_grain_is_no_change_of_shape(pair):
    cut = result(shape=(34, 34, 16), seed=1)
    for a, b in ((pair[0], cut), (cut, pair[0])):
        found = compare(a, b)
        assert found.dice > 0.97
        assert np.abs(found.motion.shift_um).max() < 0.2


def test_no_outside_in_the_change(pair):
    """Values beyond the grain of either must not come in, wild as they are."""
    wild = replace(
        pair[1],
        fields={name: np.where(pair[1].mask, f, 1e6) for name, f in pair[1].fields.items() if name != "cell"},
    )
    tame = {name: f for name, f in pair[1].fields.items() if name != "cell"}
    np.testing.assert_allclose(
        compare(pair[0], wild).change, compare(pair[0], replace(pair[1], fields=tame)).change, atol=1e-6
    )


def test_without_cells_or_orientation(pair):
    bare = result(cells=False, seed=1)
    lines = summary(compare(pair[0], bare))
    assert lines["cells"].startswith("not compared")
    line = {**bare.fields, "tilt2": np.full(bare.mask.shape, np.nan)}
    found = compare(pair[0], replace(bare, fields=line, attributes={"scan": "strain"}))
    assert found.change is None and found.cells is None
    assert summary(found)["orientation"].startswith("not compared")
    assert field_of_change(found).warnings == found.doubts()


def test_strain_is_compared(pair):
    def strained(grain: Volume, by: float) -> Volume:
        return replace(grain, fields={**grain.fields, "strain": np.where(grain.mask, by, np.nan)})

    found = compare(strained(pair[0], 1e-4), strained(pair[1], 4e-4))
    assert "+3.00e-04" in summary(found)["strain"]


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"mode": "vertical"}, "key mode: is horizontal and vertical"),
        ({"hkl": [2, 2, 0]}, r"key hkl: is \[2,0,0\] and \[2,2,0\], planes 2.025 and 1.432 Angstrom"),
    ],
)
def test_what_cannot_be_compared(pair, keys, message):
    with pytest.raises(Exception, match=message):
        compare(pair[0], result(cells=False, keys=keys))


def test_nothing_and_another_grain(pair):
    nothing = replace(pair[1], mask=np.zeros_like(pair[1].mask))
    with pytest.raises(Exception, match="the second result: has no grain"):
        compare(pair[0], nothing)
    x, y, z = np.indices(pair[0].mask.shape)
    rod = replace(pair[0], mask=(np.abs(x - 16) < 3) & (np.abs(y - 17) < 3))
    assert "overlap by a Dice" in compare(pair[0], rod).doubts()[0]


def test_from_python(files):
    import lib

    found = lib.compare(lib.load(files[0]), lib.load(files[1]))
    assert found.cells.dtype.names[0] == "kind"


# ---- The command ----


def test_the_command(files, capsys):
    assert cli.compare([str(path) for path in files], SerialComm()) == 0
    printed = capsys.readouterr().out.splitlines()
    folder = files[1].parent
    assert printed[:3] == [str(folder / name) for name in COMPARISON_FILES]
    labels_ = [line[:12].strip() for line in printed[3:]]
    assert labels_ == ["first", "second", "shape", "shift", "turn", "orientation", "change", "cells"]
    assert re.search(r"^shape        Dice 0\.9[789]\d, volume", "\n".join(printed), re.MULTILINE)
    with (folder / "comparison.csv").open() as stream:
        rows = list(csv.DictReader(stream))
    expected = compare(*(load(path) for path in files))
    assert [row["kind"] for row in rows] == expected.cells["kind"].tolist()
    grain = load(folder / "comparison.vtkhdf")
    np.testing.assert_allclose(grain.change, np.hypot(*expected.change))
    np.testing.assert_array_equal(grain.cell_second, expected.cell)
    np.testing.assert_allclose(grain.common_rotation_deg, expected.common_deg)
    page = (folder / "comparison.html").read_text()
    assert page.count("<h2>Change</h2>") == 1 and "viewer" in page and ">pair</td>" in page
    assert not list(folder.glob(".*"))


def test_another_folder_and_no_cells(files, tmp_path, capsys):
    result(cells=False, seed=2).save(tmp_path / "c.vtkhdf")
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "comparison.csv").write_text("of another comparison")
    arguments = [str(files[0]), str(tmp_path / "c.vtkhdf"), "--output", str(tmp_path / "out")]
    assert cli.compare(arguments, SerialComm()) == 0
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == ["comparison.html", "comparison.vtkhdf"]
    assert "recon3d-cells finds them" in capsys.readouterr().out


def test_mistakes_on_the_command_line(files, run, tmp_path):
    for arguments, message in (
        ([files[0]], "a.vtkhdf: is one result; give the other one too"),
        ([tmp_path / "init.txt", files[0]], "init.txt: is an init file; give it alone"),
        ([files[0], tmp_path / "no.vtkhdf"], "no.vtkhdf: no such file"),
        ([files[0], files[0].parent / "text.vtkhdf"], "text.vtkhdf: is not a grain.vtkhdf"),
    ):
        (files[0].parent / "text.vtkhdf").write_text("text")
        assert message in error_line(run("-m lib compare", *arguments), "compare")


@pytest.mark.parametrize("width", [1280, 390])
def test_the_page_in_a_browser(files, tmp_path, width):
    assert cli.compare([*map(str, files), "--output", str(tmp_path)], SerialComm()) == 0
    seen = browser.visit(tmp_path / "comparison.html", LOOK, tmp_path, (width, 900))
    assert seen["errors"] == []
    assert seen["moves"]
    assert seen["wide"] <= max(width, 500)  # the narrowest window that Chromium makes
    assert {"Result", "Through the volume", "Cells"} <= set(seen["titles"])


def test_it_speaks_once_under_mpirun(files, run, tmp_path):
    done = run("-m lib compare", *files, "--output", tmp_path, ranks=2)
    assert done.returncode == 0
    assert done.stdout.count("Dice") == 1
