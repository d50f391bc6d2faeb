"""The part of report.html that turns: its data, and what a browser makes of them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.figure import Figure

from lib.page import colour_keys, scene, viewer
from lib.page.cutaway import cutaway
from lib.page.pictures import Body
from lib.page.scene import Numbers, Paint, section
from lib.page.skeleton import page, picture_url, section_with
from lib.page.solid import solid
from lib.physics.colours import cell_rgb, colour_range, orientation_rgb
from lib.result.fields import FieldView, OrientationView
from lib.result.scene import data, paints
from tests.page import browser

RADIUS, N, PITCH = 8.0, 24, 0.8
CENTRE = np.array([3.0, -2.0, 1.0])

READY = """
const wait = (ms) => new Promise((done) => setTimeout(done, ms));
const part = document.getElementById("scene");
for (let i = 0; part.dataset.ready !== "yes" && i < 400; i++) await wait(20);
found.ready = part.dataset.ready;
const view = part.querySelector(".view");
const drawn = async (act) => {
  const end = new Promise((done) => view.once("plotly_afterplot", done));
  act();
  await end;
  await wait(50);
};
const row = (axis) => part.querySelector(`.cuts [data-axis="${axis}"]`);
const flip = (axis) => drawn(() => row(axis).querySelector("button").click());
const toggle = (axis) => drawn(() => row(axis).querySelector("input[type=checkbox]").click());
const slide = (axis, layer) => drawn(() => {
  const slider = row(axis).querySelector("input[type=range]");
  slider.value = layer;
  slider.dispatchEvent(new Event("input"));
});
const choose = (i) => drawn(() => part.querySelectorAll(".paints button")[i].click());
const picture = () => window.Plotly.toImage(view, { format: "png", width: 200, height: 200 });
const mesh = (k) => {
  const { x, y, z, i, j, k: last, facecolor } = view._fullData[k];
  const points = x.map((_, n) => [x[n], y[n], z[n]]);
  return { points, faces: i.map((_, n) => [i[n], j[n], last[n]]), facecolor };
};
"""


def ball(n: int = N) -> tuple[Body, dict[str, Any]]:
    """Two cells that meet at x = 3, with a bend; box with a margin, lopsided."""
    pitch = PITCH * N / n
    axes = tuple(c + pitch * (np.arange(n + 2 * i) - (n - 1) / 2 - i) for i, c in enumerate(CENTRE))
    x, y, z = np.meshgrid(*axes, indexing="ij")
    mask = (x - 3) ** 2 + (y + 2) ** 2 + (z - 1) ** 2 < RADIUS**2
    cell = np.where(mask, 1 + (x > 3), 0).astype(np.int32)
    fields = {
        "tilt1": np.where(mask, 5.0 + 0.1 * cell + 0.002 * y, np.nan),
        "tilt2": np.where(mask, -3.0 + 0.01 * z, np.nan),
        "kam": np.where(mask, 0.01 * np.abs(z - 1), np.nan),
        "cell": cell,
    }
    return Body(np.array([[a[0] - pitch / 2, a[-1] + pitch / 2] for a in axes]), axes, mask), fields


def views_of(fields: dict[str, Any]) -> list[OrientationView | FieldView]:
    kam = FieldView("Misorientation", "", fields["kam"], "kam (deg)", "inferno", (0.0, 0.08), only_grain=True)
    shape = FieldView("Shape", "", fields["kam"], "of all", "viridis", (0.0, 1.0))
    return [shape, kam, OrientationView("Orientation", "", fields["tilt1"], fields["tilt2"])]


def whole_page(folder: Path, n: int = N) -> Path:
    body, fields = ball(n)
    views = views_of(fields)
    still = section_with("Still", "", picture_url(cutaway(body, paints(body, views, fields)[0])()), "still3d")
    path = folder / "page.html"
    keys = colour_keys.section({view.title: view.key(body) for view in views})
    turning = section(data(body, views, fields))
    path.write_text(page("recon3d", "ball", "", [keys, turning, still]), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def ball_page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return whole_page(tmp_path_factory.mktemp("scene"))


# ---- What goes into the page ----


def test_the_surface_knows_its_voxels():
    """Each face the voxel behind it; seen from outside the corners run against the clock."""
    body, _ = ball()
    what = solid(body, 100)
    net = what.net()
    faces = net.points_um[net.corners]
    normals = np.cross(faces[:, 2] - faces[:, 0], faces[:, 3] - faces[:, 1]) / 2
    middle, voxel = faces.mean(axis=1), what.centres_um[net.owner]
    assert np.linalg.norm(normals, axis=1).sum() == pytest.approx(4 * np.pi * RADIUS**2, rel=0.02)
    assert (np.einsum("ij,ij->i", normals, middle - CENTRE) > 0).all()
    assert np.linalg.norm(middle - voxel, axis=1).max() < 1.2 * PITCH
    assert (np.linalg.norm(voxel - CENTRE, axis=1) < np.linalg.norm(middle - CENTRE, axis=1)).all()


def test_of_a_large_grain_every_nth_voxel_is_shown():
    body, fields = ball()
    what = solid(body, 9)
    assert what.mask.shape == (7, 7, 7)
    np.testing.assert_allclose(what.pitch_um, 3 * PITCH)
    assert what.of(fields["tilt1"]).shape == what.centres_um.shape[:1] == (what.mask.sum(),)
    inside = [np.abs(body.axes_um[i][:, None] - what.centres_um[:, i]).min(axis=0) for i in range(3)]
    assert np.max(inside) < 1e-9
    assert np.linalg.norm(what.net().points_um - CENTRE, axis=1).max() < RADIUS + 2 * PITCH


def test_colours_are_those_of_the_other_pictures():
    body, fields = ball()
    what = solid(body, 100)
    orientation, cells, kam = paints(body, views_of(fields), fields)
    assert [p.title for p in (orientation, cells, kam)] == ["Orientation", "Cells", "Misorientation"]
    key = colour_range(fields["tilt1"], fields["tilt2"], body.mask)
    true = orientation_rgb(what.of(fields["tilt1"]), what.of(fields["tilt2"]), *key)
    assert np.abs(orientation.colours(what).astype(int) - true).max() <= 6
    assert (cells.colours(what) == cell_rgb(2)[what.of(fields["cell"])]).all()
    shown = views_of(fields)[1].painted(body)
    assert shown.palette is not None
    true = shown.palette[shown.colours[body.mask]].astype(int)
    assert np.abs(kam.colours(what) - true).max() <= 4


def test_what_is_unknown_is_grey():
    body, fields = ball()
    field = np.full(body.mask.shape, np.nan)
    paint = Paint("", "", [Numbers("a", "", field)], [(0.0, 1.0)], np.zeros((256, 3), np.uint8), None)
    assert (paint.colours(solid(body, 100)) == scene._UNKNOWN).all()


def test_cells_beside_each_other_differ_in_colour():
    colours = cell_rgb(60).astype(int)
    assert (np.abs(np.diff(colours, axis=0)).sum(axis=1) > 60).all()
    assert len(np.unique(colours, axis=0)) == 61


def test_the_page_of_a_large_grain_can_be_mailed():
    """All pictures of a grain of 101 voxels across; they differ by noise, which hardly shrinks."""
    body, fields = ball(121)
    assert np.ptp(np.argwhere(body.mask), axis=0).max() == 100
    rng = np.random.default_rng(1)
    noisy = {k: v if k == "cell" else v + rng.normal(0, 0.003, v.shape) for k, v in fields.items()}
    views = views_of(noisy)
    for name in ("tilt1_std", "tilt2_std", "gnd"):
        values = np.where(body.mask, 0.5 + rng.normal(0, 0.1, body.mask.shape), np.nan)
        views.append(FieldView(name, "", values, f"{name} (deg)", "magma", (0.0, 1.0), only_grain=True))
    in_3d = section(data(body, views, noisy))
    slices = viewer.section(viewer.data(body, [view.painted(body) for view in views]))
    stills = [picture_url(view.still(body)(), 130) for view in views]
    assert len(in_3d) < 10e6
    assert len(in_3d) + len(slices) + sum(map(len, stills)) < 15e6


def test_the_still_picture_is_cut_open():
    body, fields = ball()
    figure = cutaway(body, paints(body, views_of(fields), fields)[1])()
    assert isinstance(figure, Figure)
    faces = figure.axes[0].collections[0]
    figure.draw_without_rendering()
    points = np.concatenate([path.vertices for path in faces.get_paths()])
    assert len(points) > 1000 and len(figure.axes) == 1  # cells have no key


# ---- What a browser makes of it ----


def test_it_turns_and_is_cut(ball_page: Path, tmp_path: Path) -> None:
    """The faces of three cuts, the numbers of voxels, colours, and pictures that differ."""
    script = f"""{READY}
    found.seen = [await picture()];
    found.cut = [mesh(0), mesh(1)];
    await choose(1);
    found.seen.push(await picture());
    await slide(2, 4);
    found.seen.push(await picture());
    await flip(0);
    found.seen.push(await picture());
    for (const axis of [0, 1, 2]) await toggle(axis);
    found.seen.push(await picture());
    found.whole = [mesh(0), mesh(1)];
    view.emit("plotly_hover", {{ points: [{{ curveNumber: 0, pointNumber: 10 }}] }});
    found.told = [part.querySelector(".told").textContent, part.querySelector(".tip").innerText];
    """
    found = browser.visit(ball_page, script, tmp_path)
    assert found["errors"] == []
    assert found["ready"] == "yes"
    assert len(set(found["seen"])) == 5

    body, fields = ball()
    what = solid(body, 100)
    net = what.net()
    outside, inside = (np.array(m["points"])[np.array(m["faces"], int)] for m in found["cut"])
    start, size = what.start_um, what.pitch_um * what.mask.shape
    at = start + what.pitch_um * np.round(np.array(what.mask.shape) / 2)
    side = np.array([1, -1, 1])
    assert not (((outside.mean(axis=1) - at) * side > 1e-4).all(axis=1)).any()
    areas = np.linalg.norm(np.cross(inside[:, 1] - inside[:, 0], inside[:, 2] - inside[:, 0]), axis=1) / 2
    for axis in range(3):
        on = np.ptp(inside[:, :, axis], axis=1) + np.abs(inside[:, 0, axis] - at[axis]) < 1e-4
        assert areas[on].sum() == pytest.approx(np.pi * RADIUS**2 / 4, rel=0.12)  # the box has whole layers
    assert (size > 15).all()

    whole = found["whole"]
    assert whole[1]["faces"] == []
    faces = np.array(whole[0]["points"])[np.array(whole[0]["faces"], int)]
    np.testing.assert_allclose(faces[::2, 0], net.points_um[net.corners[:, 0]], atol=1e-4)
    colours = np.array([f[:3] for f in whole[0]["facecolor"]])[::2]
    cells = paints(body, views_of(fields), fields)[1]
    np.testing.assert_allclose(255 * colours, cells.colours(what)[net.owner], atol=0.01)

    voxel = net.owner[5]
    place = what.centres_um[voxel]
    told = {name: what.of(fields[name])[voxel] for name in ("tilt1", "tilt2", "cell")}
    for text in found["told"]:
        assert "x {:.1f}, y {:.1f}, z {:.1f} µm".format(*place) in text
        for name in ("tilt1", "tilt2"):
            said = text.split(f"{name} ")[1].split("°")[0]
            assert len(said.split(".")[1]) == 4
            assert float(said) == pytest.approx(told[name], abs=0.7e-4)
        assert f"cell {told['cell']}" in text


def test_the_pointer_reads_off_the_numbers(ball_page: Path, tmp_path: Path) -> None:
    """Frames come by the clock here: a browser without a window draws none while its time runs ahead."""
    clock = "<script>requestAnimationFrame = (f) => setTimeout(() => f(performance.now()), 16);</script>"
    copy = tmp_path / "page.html"
    text = ball_page.read_text(encoding="utf-8")
    copy.write_text(text.replace("<head>", f"<head>{clock}", 1), encoding="utf-8")
    script = f"""{READY}
    const canvas = view.querySelector("canvas");
    const box = canvas.getBoundingClientRect();
    for (let i = 0; i < 60 && part.querySelector(".tip").hidden; i++) {{
      const place = {{ clientX: box.left + box.width / 2 + (i % 3), clientY: box.top + box.height * 0.6 }};
      canvas.dispatchEvent(new PointerEvent("pointermove", {{ ...place, bubbles: true }}));
      canvas.dispatchEvent(new MouseEvent("mousemove", {{ ...place, bubbles: true }}));
      await wait(50);
    }}
    found.tip = part.querySelector(".tip").innerText;
    """
    found = browser.visit(copy, script, tmp_path)
    assert found["errors"] == []
    assert all(word in found["tip"] for word in ("µm", "tilt1 5.", "tilt2 -", "cell "))


@pytest.mark.parametrize("shape", [(1, 1, 1), (9, 7, 1), (1, 6, 8), (6, 5, 7)])
def test_grains_of_any_shape(shape: tuple[int, int, int], tmp_path: Path) -> None:
    """One voxel, one layer, holes and parts that do not touch; tilts that are known nowhere."""
    axes = tuple(np.arange(n) - 1.0 for n in shape)
    limits = np.array([[a[0] - 0.5, a[-1] + 0.5] for a in axes])
    mask = np.random.default_rng(0).random(shape) < (0.5 if min(shape) > 1 else 2.0)
    body = Body(limits, axes, mask)
    field = np.where(mask, 0.25, np.nan)
    view = FieldView("Strain", "", field, "gnd (1e12 m^-2)", "RdBu_r", (-1.0, 1.0), only_grain=True)
    fields = {"tilt1": np.full(shape, np.nan), "tilt2": field}
    path = tmp_path / "page.html"
    path.write_text(page("recon3d", "odd", "", [section(data(body, [view], fields))]), encoding="utf-8")
    script = f"""{READY}
    await toggle(0);
    await flip(1);
    await slide(2, 0);
    await toggle(1);
    await toggle(2);
    found.whole = [mesh(0).faces.length, mesh(1).faces.length];
    view.emit("plotly_hover", {{ points: [{{ curveNumber: 0, pointNumber: 0 }}] }});
    found.told = part.querySelector(".told").textContent;
    """
    found = browser.visit(path, script, tmp_path)
    assert found["errors"] == []
    assert found["whole"] == [2 * len(solid(body, 100).net().corners), 0]
    assert "tilt1" not in found["told"] and "tilt2 0.2500°" in found["told"]
    assert "gnd 0.2500·10¹² m⁻²" in found["told"]


def test_without_webgl_the_still_picture_stands_in(ball_page: Path, tmp_path: Path) -> None:
    script = """
    await new Promise((done) => setTimeout(done, 1000));
    found.heights = [...document.querySelectorAll("#scene, .still3d")].map((part) => part.clientHeight);
    """
    found = browser.visit(ball_page, script, tmp_path, (1000, 900), "--disable-3d-apis")
    assert found["errors"] == []
    assert found["heights"][0] == 0 and found["heights"][1] > 300


@pytest.mark.parametrize("width", [1200, 390])
def test_it_fits_the_screen(ball_page: Path, tmp_path: Path, width: int) -> None:
    script = f"""{READY}
    found.wide = document.documentElement.scrollWidth;
    found.heights = [...document.querySelectorAll("#scene .view, .still3d")].map((part) => part.clientHeight);
    found.key = part.querySelector(".key").clientWidth;
    """
    found = browser.visit(ball_page, script, tmp_path, (width, 900))
    assert found["errors"] == []
    assert found["wide"] <= max(width, 500)  # the narrowest window that Chromium makes
    assert found["heights"][0] > 300 and found["heights"][1] == 0
    assert found["key"] > 150


def test_it_prints_the_still_picture(ball_page: Path, tmp_path: Path) -> None:
    paper = browser.printed(ball_page, tmp_path)
    assert paper.count(b"/Subtype /Image") >= 1


def test_the_page_says_what_each_array_is(ball_page: Path) -> None:
    text = ball_page.read_text(encoding="utf-8")
    data = json.loads(text.split('id="scene-data">')[1].split("</script>")[0])
    assert [f["name"] for f in data["fields"]] == ["tilt1", "tilt2", "cell", "kam"]
    assert [p["fields"] for p in data["paints"]] == [[0, 1], [2], [3]]
    assert data["told"] == [0, 1, 2]
