"""The part of report.html that moves: its data, and what a browser makes of them."""

from __future__ import annotations

import base64
import io
import json
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from lib.page import viewer
from lib.page.pictures import Body
from lib.page.skeleton import page
from lib.result import pictures
from lib.result.fields import FieldView, OrientationView
from tests.page import browser

SHAPE = (9, 7, 5)
AXES = tuple(0.5 * (np.arange(n) - 1.0) + 2.0 * i for i, n in enumerate(SHAPE))
PLACES = [(0, 0, 0), (8, 6, 4), (8, 0, 3), (3, 5, 1), (4, 3, 2)]


def made_up(shape: tuple[int, int, int] = SHAPE) -> tuple[Body, list]:
    """A volume in which every voxel differs; the first is empty."""
    rng = np.random.default_rng(0)
    axes = tuple(0.5 * (np.arange(n) - 1.0) + 2.0 * i for i, n in enumerate(shape))
    limits = np.array([[a[0] - 0.25, a[-1] + 0.25] for a in axes])
    mask = rng.random(shape) < 0.7
    mask[0, 0, 0] = False
    values = rng.random(shape)
    values[0, 0, 0] = np.nan
    body = Body(limits, axes, mask)
    fields = [
        FieldView("A <field>", "& its text", values, "a (deg)", "viridis", (0.0, 1.0)),
        OrientationView("Orientation", "", rng.normal(size=shape), rng.normal(size=shape)),
        FieldView("Grain", "", values, "b", "magma", (0.2, 0.4), only_grain=True),
    ]
    return body, [field.painted(body) for field in fields]


def test_a_tilt_known_in_voxels_that_are_not_shown_still_counts(monkeypatch):
    """Colours of the voxels shown are those of the whole field, at rest and in the viewer."""
    body, _ = made_up()
    monkeypatch.setattr(viewer, "_MOST_VOXELS", 4)
    thin = viewer.thinned(SHAPE)
    tilt1, tilt2 = np.ones(SHAPE), np.full(SHAPE, np.nan)
    view = OrientationView("Orientation", "", tilt1, tilt2)
    inside = body.mask[thin]
    assert (view.painted(body).colours[inside] > 0).any()  # tilt1 alone
    tilt2[0, 0, 0] = 0.5
    assert np.isnan(tilt2[thin]).all() and 0 not in body.middle
    assert (view.painted(body).colours[inside] == 0).all()
    for plot in view.still(body)().axes[:4]:
        for image in plot.images[:1]:
            if plot.get_title() != "key":
                assert set(np.unique(image.get_array())) <= {0, pictures.OUTSIDE}


def write(path: Path, body: Body, painted: list) -> dict:
    """A page with the viewer alone; returns its data."""
    path.write_text(
        page("recon3d", "made up", "", [viewer.section(viewer.data(body, painted))]), encoding="utf-8"
    )
    text = path.read_text(encoding="utf-8")
    return json.loads(re.search(r'id="volume">(.*?)</script>', text)[1])


def colour_in_sheet(data: dict, url: str, voxel: tuple[int, int, int]) -> list[int]:
    """Colour of a voxel, found in the sheet as the head of viewer.js describes it."""
    sheet = np.asarray(Image.open(io.BytesIO(base64.b64decode(url.split(",")[1]))).convert("RGB"))
    x, y, z = voxel
    row, column = divmod(z, data["columns"])
    return sheet[row * data["n"][1] + y, column * data["n"][0] + x].tolist()


def colour(painted: viewer.Painted, voxel: tuple[int, int, int]) -> list[int]:
    found = painted.colours[voxel]
    return (found if painted.palette is None else painted.palette[found]).tolist()


def test_the_sheets_hold_every_voxel(tmp_path):
    body, painted = made_up()
    data = write(tmp_path / "page.html", body, painted)
    assert data["n"] == list(SHAPE)
    assert data["start"] == body.middle
    np.testing.assert_allclose(data["first"], [axis[0] for axis in AXES])
    np.testing.assert_allclose(data["pitch"], 0.5)
    for voxel in PLACES:
        assert colour_in_sheet(data, data["mask"], voxel) == [255 * bool(body.mask[voxel])] * 3
        for field, colours in zip(data["fields"], painted, strict=True):
            assert colour_in_sheet(data, field["sheet"], voxel) == colour(colours, voxel)
    assert [field["title"] for field in data["fields"]] == [field.title for field in painted]


def test_empty_is_grey_and_the_limits_are_the_ends_of_the_map():
    body, (field, _, grain) = made_up()
    assert field.colours[0, 0, 0] == 0
    assert field.palette[0].tolist() == [0xE4, 0xE8, 0xEC]
    assert (field.colours > 0).sum() == np.prod(SHAPE) - 1
    assert (grain.colours[~body.mask] == 0).all()
    assert (grain.colours[body.mask] > 0).all()
    assert {1, 255} <= set(grain.colours.ravel().tolist())


def test_a_large_volume_is_thinned_out(tmp_path, monkeypatch):
    whole = made_up()[1]
    monkeypatch.setattr(viewer, "_MOST_VOXELS", 4)
    body, painted = made_up()
    data = write(tmp_path / "page.html", body, painted)
    assert data["n"] == [3, 3, 2]  # every third, second and second voxel
    np.testing.assert_allclose(data["pitch"], [1.5, 1.0, 1.0])
    np.testing.assert_allclose(data["first"], [AXES[0][1], AXES[1][1], AXES[2][1]])
    assert colour_in_sheet(data, data["fields"][1]["sheet"], (2, 1, 1)) == colour(whole[1], (7, 3, 3))


LOOK = """
const wait = (ms) => new Promise((done) => setTimeout(done, ms));
while (document.getElementById("viewer").dataset.ready !== "yes") await wait(20);
const canvas = (axis) => document.querySelector(`canvas[data-axis="${axis}"]`);
const words = (axis) => document.querySelector(`output[data-axis="${axis}"]`).textContent;
const slide = (axis, i) => {
  const input = document.querySelector(`input[data-axis="${axis}"]`);
  input.value = i;
  input.dispatchEvent(new Event("input"));
};
// the colour of a voxel on the canvas of an axis, a quarter of a voxel from its middle
const colour = (axis, u, v, nu, nv) => {
  const c = canvas(axis), ratio = window.devicePixelRatio;
  const width = c.clientWidth - 46 - 10, height = c.clientHeight - 6 - 34;
  const x = 46 + (u + 0.75) / nu * width, y = 6 + (1 - (v + 0.75) / nv) * height;
  return [...c.getContext("2d").getImageData(x * ratio, y * ratio, 1, 1).data].slice(0, 3);
};
const buttons = [...document.querySelectorAll("nav button")];
found.titles = buttons.map((b) => b.textContent);
found.before = [0, 1, 2].map((axis) => canvas(axis).toDataURL());
found.words = [0, 1, 2].map(words);
slide(2, 4);
found.after = canvas(2).toDataURL();
found.word = words(2);
found.top = colour(2, 8, 6, 9, 7);
slide(1, 5);
found.side = colour(1, 3, 1, 9, 5);
buttons[2].click(); // has to be unpacked
buttons[0].click(); // is there, and the last that was asked for
await wait(500);
found.last = buttons.map((b) => b.getAttribute("aria-pressed"));
const old = canvas(2).toDataURL();
buttons[1].click();
for (let n = 0; n < 500 && canvas(2).toDataURL() === old; n += 1) await wait(20);
found.orientation = colour(2, 8, 6, 9, 7);
found.pressed = buttons.map((b) => b.getAttribute("aria-pressed"));
canvas(2).dispatchEvent(new MouseEvent("click", { clientX: canvas(2).getBoundingClientRect().x + 47,
  clientY: canvas(2).getBoundingClientRect().y + 7, bubbles: true }));
found.clicked = [0, 1].map(words);
found.wide = document.documentElement.scrollWidth;
"""


def test_script_and_page_name_the_same_elements(tmp_path):
    body, painted = made_up()
    write(tmp_path / "page.html", body, painted)
    text = (tmp_path / "page.html").read_text(encoding="utf-8")
    for axis in range(3):
        for tag in ("canvas", "output"):
            assert f'<{tag} data-axis="{axis}">' in text
        assert re.search(f'<input type="range"[^>]* data-axis="{axis}">', text)
    assert all(f'class="{name}"' in text for name in ("about", "key", "slices"))


@pytest.mark.parametrize("width", [1000, 390])
def test_the_sliders_change_the_picture(tmp_path, width):
    body, painted = made_up()
    write(tmp_path / "page.html", body, painted)
    found = browser.visit(tmp_path / "page.html", LOOK, tmp_path, (width, 900))
    assert found["errors"] == []
    assert found["titles"] == [field.title for field in painted]
    assert len(set(found["before"])) == 3
    assert found["after"] != found["before"][2]
    assert found["words"] == [
        f"{n} = {a[i]:.4g} µm" for n, a, i in zip("xyz", AXES, body.middle, strict=True)
    ]
    assert found["word"] == f"z = {AXES[2][4]:.4g} µm"
    assert found["top"] == colour(painted[0], (8, 6, 4))
    assert found["side"] == colour(painted[0], (3, 5, 1))
    assert found["orientation"] == colour(painted[1], (8, 6, 4))
    assert found["last"] == ["true", "false", "false"]
    assert found["pressed"] == ["false", "true", "false"]
    assert found["clicked"] == [f"x = {AXES[0][0]:.4g} µm", f"y = {AXES[1][6]:.4g} µm"]
    assert found["wide"] <= max(width, 500)  # the narrowest window that Chromium makes


def test_one_voxel(tmp_path):
    body, painted = made_up((1, 1, 1))
    data = write(tmp_path / "page.html", body, painted)
    assert data["n"] == [1, 1, 1]
    assert data["pitch"] == [0.5, 0.5, 0.5]
