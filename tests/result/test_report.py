"""report.html, beside the result of recon3d.py."""

from __future__ import annotations

import pickle
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from lib import cli, reconstruction
from lib.checks import trust
from lib.page.pictures import Body
from lib.parallel.communicator import SerialComm
from lib.physics.colours import colour_range
from lib.result import files, pictures, report, stills
from lib.scan.gather import Result
from tests import aligned_scan, phantoms

CASE = phantoms.make(n=10, n_tilts=3, n_omega=12)
STILLS = ["Orientation", "Shape", "Misorientation", "Dislocation density", "Completeness", "Width of tilt1"]
COMPARED = ["Projections of the result", "Intensity and residual per omega"]
IN_3D = "The grain in 3D"
SLICES = ["The grain, cut open", "Through the volume", *STILLS, *COMPARED, "Orientations of the grain"]
LIMITS = "What this scan cannot say"
TRIED = ["Other geometries", "Half a turn apart"]
AT_THE_END = ["Parameters", "Versions"]


class Page(HTMLParser):
    """Headings, sources and open tags of a page."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.headings: list[str] = []
        self.sources: list[str] = []
        self.open: list[str] = []
        self.text = text
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attrs):
        if tag not in ("meta", "img", "input"):
            self.open.append(tag)
        self.sources += [value for name, value in attrs if name in ("src", "href", "srcset", "data")]

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open and self.open[-1] == "h2":
            self.headings.append(data)


def page_of(folder: Path) -> Page:
    """The page after a look whether it is whole and needs nothing else."""
    page = Page((folder / "report.html").read_text(encoding="utf-8"))
    assert page.open == []
    assert all(source.startswith("data:image/png;base64,") for source in page.sources)
    shell = re.sub(r"base64,[^\"]*", "", page.text)
    assert not re.search(r"https?://|@import|url\(|<script [^>]*src|<link", shell)
    assert "could not be drawn" not in shell
    assert not re.search(r"&lt;/?[a-z]+&gt;", shell)  # HTML that would be read as text
    assert not list(folder.glob(".*"))
    assert not list(folder.glob("*.part"))
    return page


def reconstructed(folder: Path, **keys: object) -> Page:
    init = CASE.write(folder, **{"threshold": 5, **keys})
    assert cli.recon3d([str(init), "--quiet"], SerialComm()) == 0
    return page_of(folder)


def test_backprojection(tmp_path, capsys):
    page = reconstructed(tmp_path, method="backprojection", completeness_cutoff=0.8, detector_center="None")
    assert page.headings[1:] == ["Result", IN_3D, *SLICES, LIMITS, *TRIED, *AT_THE_END]
    assert len(page.sources) == len(SLICES)
    printed = capsys.readouterr().out.splitlines()
    assert str(tmp_path / "report.html") in printed
    (grain,) = (line.split(maxsplit=1)[1] for line in printed if line.startswith("grain "))
    assert grain.replace(">", "&gt;") in page.text


def test_mlem(tmp_path):
    of_mlem = [title.replace("Width", "Error") for title in SLICES]
    at = of_mlem.index(COMPARED[0])
    of_mlem[at:at] = ["Cells", "The largest cells"]  # backprojection has none
    page = reconstructed(tmp_path, method="mlem", iterations=2)
    assert page.headings[1:] == [
        "Result",
        IN_3D,
        *of_mlem,
        "Misfit",
        "Brightness of each omega",
        "Resolution of the map",
        LIMITS,
        "Rotation axis and drift",
        TRIED[0],
        "Omegas that were left out",
        TRIED[1],
        *AT_THE_END,
    ]
    assert len(page.sources) == len(SLICES) + 5
    assert "<dt>iterations</dt><dd>2 " in page.text
    assert "sim_grain" not in page.text


def test_a_quick_look_says_what_it_is(tmp_path, capsys):
    """With the voxels that were used; the lines for the init file are those of the whole quality."""
    keys = {"method": "backprojection", "grain_dim": "auto", "grain_steps": "auto"}
    page = reconstructed(tmp_path, quality="quick", **keys)
    assert page.headings[1] == "A quick look"
    lines = capsys.readouterr().out.splitlines()
    printed = dict(line.split(maxsplit=1) for line in lines if " " in line)
    steps = [int(n) for n in printed["grain_steps"].strip("[]").split(",")]
    voxels = [int(n) for n in re.findall(r"\d+", printed["volume"])[:3]]
    assert all(2.5 < n / m < 3.5 for n, m in zip(steps, voxels, strict=True))
    assert "x".join(map(str, voxels)) in page.text.replace(" x ", "x")


def test_an_empty_grain_is_said(tmp_path):
    page = reconstructed(tmp_path, method="backprojection", threshold=60000)
    assert page.headings[0] == "1 warning"
    assert "the grain is empty" in page.text


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_one_layer(axis, tmp_path):
    steps, size = [10, 10, 10], [10.0, 10.0, 10.0]
    steps[axis], size[axis] = 1, 1.0
    page = reconstructed(tmp_path, method="backprojection", grain_steps=steps, grain_dim=size)
    assert f"smallest {'xyz'[axis]}" not in page.text


def test_one_voxel(tmp_path):
    page = reconstructed(tmp_path, method="backprojection", grain_steps=[1, 1, 1], grain_dim=[1, 1, 1])
    assert "Shape" in page.headings


def test_alignment(tmp_path):
    params = aligned_scan.parameters(
        tmp_path / "scan", ang_steps=(2, 2, 18), ang_max=(0.08, 0.08, 340.0), grain_steps=(5, 5, 5)
    )
    aligned_scan.write(params)
    params = replace(
        params, output=str(tmp_path / "out"), threshold=30.0, detector_center="auto", drift="correct"
    )
    reconstruction.run(params, SerialComm(), quiet=True)
    page = page_of(tmp_path / "out")
    start = page.headings.index("Rotation axis and drift")
    assert page.headings[start + 1] == TRIED[0] and page.headings[-2:] == AT_THE_END
    assert "taken out" in page.text


class FakeSetting:
    warnings = ["tilt_frame <lab> & more"]
    params = SimpleNamespace(quality="normal")


def test_warnings_in_plain_words():
    mask = np.zeros((4, 4, 1), dtype=bool)
    mask[1:3, 1:, 0] = True
    found = trust.plain_warnings(FakeSetting(), Result({}, mask, {"misfit": [9.0, 7.04]}))
    assert found[0] == FakeSetting.warnings[0]
    assert "at the largest y:" in found[1]
    assert "7.0, far above 1" in found[2]
    assert len(found) == 3
    mask[:, -1] = False
    assert len(trust.plain_warnings(FakeSetting(), Result({}, mask, {"misfit": [1.1]}))) == 1
    quick = SimpleNamespace(warnings=[], params=SimpleNamespace(quality="quick"))
    assert trust.plain_warnings(quick, Result({}, mask, {"misfit": [9.0, 7.04]})) == []


def draw(figure, folder):
    figure.savefig(folder / "picture.png", dpi=40)


@pytest.mark.parametrize("inside", [0.0, 1.0])
def test_fields_of_nothing_but_nan(inside, tmp_path):
    shape = (5, 4, 3)
    limits = np.array([[-2.5, 2.5], [-2.0, 2.0], [-1.5, 1.5]])
    axes = tuple(np.arange(n) - (n - 1) / 2 for n in shape)
    body = Body(limits, axes, np.full(shape, bool(inside)))
    nothing = np.full(shape, np.nan)
    span = colour_range(nothing, nothing, body.mask)
    draw(stills.of_orientation(body, nothing, nothing, span)(), tmp_path)
    draw(stills.of_field(body, nothing, "nothing", cmap="viridis", limits=(0, 1))(), tmp_path)
    limits = pictures.usual_limits(nothing)
    draw(stills.of_field(body, nothing, "", cmap="magma", limits=limits, only_grain=True)(), tmp_path)
    inside_it = nothing[body.mask]
    draw(pictures.orientations(inside_it, inside_it, inside_it, None)(), tmp_path)


def test_one_orientation_and_one_iteration(tmp_path):
    draw(pictures.orientations(np.full(3, 1.5), np.zeros(3), np.ones(3), None)(), tmp_path)
    draw(pictures.draw_misfit([1.2]), tmp_path)


def test_orientations_count_as_much_as_there_is_of_them():
    tilt1, tilt2 = np.array([1.0, 1.0, 2.0]), np.array([0.0, 0.0, 1.0])
    figure = pictures.orientations(tilt1, tilt2, np.array([1.0, 2.0, 6.0]), None)()
    values = np.ma.compressed(figure.axes[0].collections[0].get_array())
    assert sorted(values) == pytest.approx([0.5, 1.0])


def test_the_histogram_of_a_large_volume_is_thinned_out(monkeypatch, tmp_path):
    monkeypatch.setattr(pictures, "_MOST_VALUES", 100)
    assert pictures.thin_out(np.arange(1001.0)).size <= 100
    axes = (np.arange(10.0),) * 3
    body = Body(np.array([[-0.5, 9.5]] * 3), axes, np.ones((10, 10, 10), dtype=bool))
    figure = stills.of_field(body, np.ones((10, 10, 10)), "ones", cmap="viridis", limits=(0, 2))()
    (bars,) = (p for p in figure.axes[1].patches if p.get_label() == "grain")
    assert bars.get_data().values.sum() == pytest.approx(1000)


def test_orientations_of_a_large_grain_are_thinned_out_together(monkeypatch):
    """Each tilt keeps its weight, and no view keeps the whole fields."""
    monkeypatch.setattr(pictures, "_MOST_VALUES", 100)
    given = []
    monkeypatch.setattr(pictures, "orientations", lambda *them: given.extend(them))
    rng = np.random.default_rng(0)
    fields = {name: rng.random((10, 10, 10)) for name in ("tilt1", "tilt2", "intensity")}
    mask = rng.random((10, 10, 10)) < 0.7
    (part,) = report._orientations(SimpleNamespace(tilt_frame="lab"), fields, mask)
    part.prepare()
    *values, scanned_deg = given
    assert scanned_deg is None
    for found, name in zip(values, fields, strict=True):
        assert found.base is None and 50 < found.size <= 100
        np.testing.assert_array_equal(found, pictures.thin_out(fields[name][mask]))


def test_what_is_left_to_draw_travels_light(tmp_path, monkeypatch):
    """Rank 0 sends what a picture shows to the rank that draws it, not the volume."""
    sent = {}
    job = report._Part.job

    def counted(part):
        made = job(part)
        sent[part.title] = len(pickle.dumps(made.arguments))
        return made

    monkeypatch.setattr(report._Part, "job", counted)
    n = 48
    init = CASE.write(tmp_path, threshold=5, method="backprojection", grain_steps=[n, n, n])
    assert cli.recon3d([str(init), "--quiet"], SerialComm()) == 0
    page_of(tmp_path)
    assert set(STILLS) < set(sent)
    one_field = 8 * n**3
    assert all(
        n_bytes < 0.5 * one_field for title, n_bytes in sent.items() if title not in (IN_3D, SLICES[1])
    )


def test_a_picture_that_fails_does_not_cost_the_result(tmp_path, monkeypatch):
    def fail(*_, **__):
        raise ValueError("a <bug>")

    monkeypatch.setattr(pictures, "orientations", fail)
    init = CASE.write(tmp_path, threshold=5, method="backprojection", grain_steps=[4, 4, 4])
    assert cli.recon3d([str(init), "--quiet"], SerialComm()) == 0
    text = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert "This picture could not be drawn (ValueError: a &lt;bug&gt;)." in text


def test_the_page_is_written_before_any_file_is_renamed(tmp_path, monkeypatch):
    """A full disk at the last of the files leaves the older result whole."""
    for name in files.RESULT_FILES:
        (tmp_path / name).write_bytes(b"an older result")

    def fail(path, *_):
        assert path.name == ".report.html.part"
        path.write_text("half a pa")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(report, "write", fail)
    init = CASE.write(tmp_path, threshold=5, method="backprojection", grain_steps=[4, 4, 4])
    assert cli.recon3d([str(init), "--quiet"], SerialComm()) == 1
    assert {(tmp_path / name).read_bytes() for name in files.RESULT_FILES} == {b"an older result"}
    assert not list(tmp_path.glob(".*"))
