"""getdata.html: one page with all in it, true to the scan, with warnings that are deserved."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

from lib import cli
from lib.frames.pixels import FrameInfo, Roi
from lib.getdata import overview, plan
from lib.getdata import warnings as scan_warnings
from lib.getdata.grid import Axis, Grid
from lib.getdata.motors import Roles, Setup
from lib.parallel.communicator import SerialComm
from tests.scans import arguments, write_edf, write_scan

SHAPE = (4, 3, 12)


def grain(place: tuple[int, int, int], shape: tuple[int, int] = (40, 48)) -> np.ndarray:
    """A spot that goes round as omega turns, brightest in the middle of the tilts."""
    i, j, k = place
    y, x = np.indices(shape)
    at_y, at_x = 20 + 5 * np.sin(np.pi * k / 6), 24 + 5 * np.cos(np.pi * k / 6)
    weight = np.exp(-((i - 1.5) ** 2) - (j - 1) ** 2)
    return 400 * weight * ((y - at_y) ** 2 + (x - at_x) ** 2 < 36)


def scan(folder: Path, beam: np.ndarray, extra: float = 0.0) -> dict[tuple[int, int, int], Path]:
    rng = np.random.default_rng(0)

    def pixels(place: tuple[int, int, int]) -> np.ndarray:
        other = np.zeros((40, 48))
        other[:6, 30:40] = extra if place[2] == 4 else 0.0
        return np.rint(rng.normal(20.0, 1.0, (40, 48)) + beam[place[2]] * grain(place) + other).astype(
            np.uint16
        )

    return write_scan(folder, SHAPE, pixels=pixels, current=lambda place: 200 * beam[place[2]])


def page(tmp_path: Path, *options: object, ok: int = 0, **keys: str) -> str:
    keys = {"poi": "24,20", "size": "48,40"} | keys
    code = cli.getdata(
        arguments(tmp_path / "scan", tmp_path / "out", "--overwrite", *options, **keys), SerialComm()
    )
    assert code == ok
    return (tmp_path / "out" / "getdata.html").read_text(encoding="utf-8")


def warnings(tmp_path: Path) -> str:
    return " / ".join(json.loads((tmp_path / "out" / "getdata.json").read_text())["warnings"])


def test_a_sound_scan_has_no_warnings_and_a_page_that_needs_nothing_else(tmp_path: Path) -> None:
    scan(tmp_path / "scan", np.ones(12))
    text = page(tmp_path, "--background", "scan")
    assert warnings(tmp_path) == ""
    assert "No warnings" in text
    assert text.count("data:image/png;base64,") == 7
    sources = re.findall(r"(?:src|href)=\"([^\"]*)", text)
    assert all(source.startswith("data:") for source in sources)
    assert not re.search(r"https?://|@import|url\(", text.split("</style>")[0])
    HTMLParser(convert_charrefs=True).feed(text)


def test_no_report(tmp_path: Path) -> None:
    scan(tmp_path / "scan", np.ones(12))
    page(tmp_path)
    arguments_ = arguments(
        tmp_path / "scan", tmp_path / "out", "--overwrite", "--no-report", poi="24,20", size="48,40"
    )
    assert cli.getdata(arguments_, SerialComm()) == 0
    assert not (tmp_path / "out" / "getdata.html").exists()  # nor one that belongs to another array


def test_warnings_of_a_bad_scan(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    beam = np.ones(12)
    beam[8] = 0.1
    files = scan(tmp_path / "scan", beam, extra=900.0)
    files[0, 0, 0].unlink()
    saturated = np.full((40, 48), 20, np.uint16)
    saturated[3, 4:7] = 65535
    write_edf(files[3, 2, 11], saturated, {"samrz": 0.09, "samry": 0.1, "diffrx": 8.8})
    text = page(tmp_path)
    found = warnings(tmp_path)
    assert "1 of 144 positions were not measured" in found
    assert "touches the edge of the region of interest (first rows) at omega 3.2" in found
    assert "3 pixels are saturated, at omega 8.8" in found
    assert "the intensity drops at omega 6.4" in found
    assert "the intensity rises at omega 3.2" in found
    assert "12 frames have less than half the usual ring current of 200 mA" in found
    assert "143 positions measured, 1 missing" in text
    assert f"getdata: warning: {found.split(' / ')[1]}" in capsys.readouterr().err


def test_a_scan_without_a_single_count(tmp_path: Path) -> None:
    """Shutter closed: the page appears all the same, and nothing warns about logarithms."""
    write_scan(tmp_path / "scan", SHAPE, pixels=lambda _: np.zeros((40, 48), np.uint16))
    assert page(tmp_path).count("data:image/png;base64,") == 6


def test_names_from_files_are_escaped(tmp_path: Path) -> None:
    scan(tmp_path / "scan", np.ones(12))
    (tmp_path / "scan").rename(tmp_path / "<b>&amp;")
    (tmp_path / "scan").symlink_to(tmp_path / "<b>&amp;")
    text = page(tmp_path)
    assert "<b>" not in text
    assert "&lt;b&gt;&amp;amp;" in text


def test_scans_of_one_position_on_an_axis(tmp_path: Path) -> None:
    write_scan(tmp_path / "scan", (1, 1, 2))
    roles = ("--tilt1", "samrz", "--tilt2", "samry", "--omega", "diffrx")
    text = page(tmp_path, *roles, "--dtype", "float32", poi="12,10", size="3,2")
    assert text.count("data:image/png;base64,") == 6


def test_single_dark_frames() -> None:
    table = np.outer([1.0, 10.0, 4.0], np.ones(9))
    table[1, 4] = 1.0
    table[2, 2] = np.nan
    assert np.argwhere(scan_warnings.dark_frames(table)).tolist() == [[1, 4]]


def make_plan(shape: tuple[int, int, int], width: int, height: int) -> plan.Plan:
    cells = np.arange(np.prod(shape))
    index = np.unravel_index(cells, shape)
    axes = [Axis(np.arange(n, dtype=float), i) for n, i in zip(shape, index, strict=True)]
    values = [axis.positions[axis.index] for axis in axes]
    roles = Roles(Setup("custom", "a", "b", "c", "sample"), *values, None, None, "")
    frames = [FrameInfo("f.edf", int(i), 0, "<u2", (height, width)) for i in cells]
    lists = [[int(i)] for i in cells]
    grid = Grid((axes[0], axes[1], axes[2]), dict(enumerate(lists)))
    return plan.Plan(frames, [], roles, grid, Roi(0, 0, width, height), cells, lists, None, [], [])


@pytest.mark.parametrize(("width", "height"), [(7, 5), (200, 130)])
def test_sums_are_those_of_the_frames_in_any_order(width: int, height: int) -> None:
    shape = (2, 3, 4)
    seen = overview.Overview.of(make_plan(shape, width, height), None, 1, "uint16")
    rng = np.random.default_rng(0)
    frames = rng.integers(0, 65535, (24, height, width), dtype=np.uint16)
    for number in rng.permutation(24):
        seen.add(int(number), frames[number].T)
    seen.collect(SerialComm())
    sums = frames.reshape(6, 4, height, width).sum(axis=0, dtype=np.int64)
    np.testing.assert_array_equal(seen.profile_x, sums.sum(axis=1))
    np.testing.assert_array_equal(seen.profile_y, sums.sum(axis=2))
    n = seen.shrink
    assert seen.tilt_sums[2, 0, 1] == sums[2, :n, n : 2 * n].sum()
    np.testing.assert_array_equal(seen.tilt_sums.sum(axis=(1, 2)), sums.sum(axis=(1, 2)))


def strict_clip(values: np.ndarray, low: int, high: int) -> np.ndarray:
    """As in NumPy 2.0: a limit that does not fit into the type of the values is an error."""
    if values.dtype.kind in "ui":
        low, high = (int(values.dtype.type(limit)) for limit in (low, high))
    return np.minimum(np.maximum(values, low), high)


@pytest.mark.parametrize("kind", ["u1", "i1", "u2", "<i2", ">i2", "u4", "i4", "i8", "f4", "f8"])
def test_histogram_of_counts_of_any_type(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(overview.OUTPUT_DTYPES, kind, np.dtype(kind))
    seen = overview.Overview.of(make_plan((2, 1, 1), 4, 3), None, 1, kind)
    if kind[-2] == "f":
        lowest, largest = -1e9, 1e9
    else:
        lowest, largest = np.iinfo(kind).min, np.iinfo(kind).max
    frame = np.array([[lowest, 0, 1, 2], [2, 100, largest, largest], [3, 4, 5, 6]], kind)
    edges = overview.HISTOGRAM_EDGES
    bins = np.searchsorted(edges, np.clip(frame.astype(float), 0, 65535), side="right")
    monkeypatch.setattr(np, "clip", strict_clip)
    for number in range(2):
        seen.add(number, frame.T)
    seen.collect(SerialComm())
    np.testing.assert_array_equal(seen.histogram, 2 * np.bincount(bins.ravel(), minlength=edges.size + 1))


def test_memory_of_a_large_scan_is_bounded() -> None:
    seen = overview.Overview.of(make_plan((11, 11, 60), 500, 500), None, 1, "float32")
    arrays = [v for v in vars(seen).values() if isinstance(v, np.ndarray)]
    assert sum(a.nbytes for a in arrays) < 30e6
