"""Which entries of a master are the scan, what is said of the others, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from tests.getdata.beamtime import (
    N1,
    N2,
    TITLE,
    Entries,
    alignment,
    beamtime,
    darks,
    expected,
    frames,
    getdata,
    mosaicity,
    write_master,
)


def left_out(path: Path) -> dict[str, str]:
    info = json.loads((path.parent / "out" / "getdata.json").read_text())
    return {e["entry"].rpartition("::")[2]: e["left_out"] for e in info["entries"] if e["left_out"]}


def check(path: Path, n_omega: int = 3) -> None:
    out = path.parent / "out"
    np.testing.assert_array_equal(np.load(out / "dataarray.npy"), expected(n_omega))
    assert np.load(out / "measured.npy").all()
    np.testing.assert_allclose(np.load(out / "omega.npy"), 10.0 * np.arange(n_omega))


@pytest.mark.parametrize("policy", ["error", "first", "last", "mean"])
@pytest.mark.parametrize("names", ["*.1", "1.1-9.1", "title:fscan2d*", "fscan2d*", "3.1,6.1,9.1", "*"])
def test_the_scan_is_found_among_the_rest(
    tmp_path: Path, names: str, policy: str, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write_master(tmp_path / "m.h5", beamtime())
    assert getdata(path, names, "--duplicates", policy) == 0
    check(path)
    warned = [line for line in capsys.readouterr().err.splitlines() if "left out" in line]
    taken_in = names in ("*.1", "1.1-9.1", "*")
    assert sorted(left_out(path)) == (["1.1", "2.1", "4.1", "5.1", "7.1", "8.1"] if taken_in else [])
    assert len(warned) == (6 if taken_in else 0)
    if taken_in:
        assert f"left out {path}::1.1 (loopscan 10 0.1), which does not belong to the scan" in warned[0]
        assert "it moves mu, the scan moves chi, diffry" in warned[1]


STRANGERS: dict[str, dict[str, Any]] = {
    "darks": darks(0.0, 50),
    "count": {**darks(0.0, 51), "title": "ct 0.1", "image": frames(51, 1)},
    "one of its motors": alignment("chi", 0.0, 52),
    "another motor": alignment("mu", 20.0, 53),
    "another frame size": mosaicity(30.0, 54, image=frames(54, N1 * N2, (9, 6))),
    "another camera": mosaicity(30.0, 55, camera="basler"),
    "other steps": mosaicity(
        30.0, 56, title=TITLE.replace("0.08", "0.3").replace("0.06", "0.2"),
        scanned={"chi": np.repeat([-1.0, -0.7, -0.4], 4), "diffry": np.tile([7.0, 7.2, 7.4, 7.6], 3)},
    ),
    "another command": {**mosaicity(30.0, 57), "title": "amesh chi -0.58 -0.42 2 diffry 7.12 7.3 3 0.5"},
}  # fmt: skip


@pytest.mark.parametrize("what", STRANGERS)
def test_each_kind_of_stranger_is_left_out_of_a_pattern(tmp_path: Path, what: str) -> None:
    entries = {f"{k + 1}.1": mosaicity(10.0 * k, k) for k in range(3)}
    path = write_master(tmp_path / "m.h5", {**entries, "4.1": STRANGERS[what]})
    assert getdata(path, "*") == 0
    check(path)
    assert list(left_out(path)) == ["4.1"]


@pytest.mark.parametrize("what", [w for w in STRANGERS if w not in ("other steps", "another command")])
def test_one_that_was_named_is_refused(tmp_path: Path, what: str, capsys: pytest.CaptureFixture[str]) -> None:
    entries = {f"{k + 1}.1": mosaicity(10.0 * k, k) for k in range(3)}
    path = write_master(tmp_path / "m.h5", {**entries, "4.1": STRANGERS[what]})
    assert getdata(path, "1.1-3.1,4.1") == 1
    line = capsys.readouterr().err.splitlines()[-1]
    title = STRANGERS[what]["title"]
    assert line.startswith(
        f"getdata: error: {path}::4.1 ({title}): does not belong to the scan (1.1 and 2 more"
    )
    assert "take it out of dataname" in line
    assert not (tmp_path / "out").exists()
    assert getdata(path, "1.1-3.1,4.1", "--skip-bad") == 0
    check(path)
    assert list(left_out(path)) == ["4.1"]


def test_all_that_were_named_wrongly_are_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = write_master(tmp_path / "m.h5", beamtime())
    assert getdata(path, "1.1,2.1,3.1,6.1,9.1") == 1
    line = capsys.readouterr().err.splitlines()[-1]
    assert line.startswith(f"getdata: error: {path}::1.1 (loopscan 10 0.1): does not belong to the scan (3.1")
    assert f"; nor does {path}::2.1 (fscan mu" in line
    assert line.endswith("take them out of dataname (--skip-bad does)")


def test_read_back_scatters_without_commands(tmp_path: Path) -> None:
    """Lists of positions for each frame, of motors that stand still but for their encoders."""
    rng = np.random.default_rng(0)
    entries: Entries = {}
    for k in range(3):
        entry = mosaicity(10.0 * k, k, title=None)
        entry["fixed"] = {"omega": 10.0 * k, "mu": rng.normal(0.0, (1e-5, 1e-3, 1e-4)[k], N1 * N2)}
        entries[f"{k + 1}.1"] = entry
    path = write_master(tmp_path / "m.h5", entries)
    assert getdata(path, "*") == 0
    check(path)


def test_named_entries_of_other_steps_are_the_users_business(tmp_path: Path) -> None:
    fine = mosaicity(10.0, 1, title=TITLE.replace("0.08", "0.0799").replace("fscan2d", "fscan2d"))
    path = write_master(tmp_path / "m.h5", {"1.1": mosaicity(0.0, 0), "2.1": fine})
    assert getdata(path, "1.1,2.1") == 0
    check(path, 2)


def test_a_draw_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    other = {**alignment("diffry", 0.0, 9), "title": "fscan diffry 0 0.1 31 0.1"}
    path = write_master(tmp_path / "m.h5", {"1.1": alignment("chi", 0.0, 8), "2.1": other})
    assert getdata(path, "*") == 1
    line = capsys.readouterr().err.splitlines()[-1]
    assert "is as likely the scan as" in line
    assert "fscan chi" in line
    assert "fscan diffry" in line


def test_many_alignment_scans_do_not_outvote_the_scan(tmp_path: Path) -> None:
    """They have more entries and more frames, and move from omega to omega as the scan does."""
    entries = {f"{k + 1}.1": mosaicity(10.0 * k, k) for k in range(3)}
    more = {f"{k + 4}.1": alignment("chi", 10.0 * k, 60 + k) for k in range(6)}
    for k, entry in enumerate(more.values()):
        entry["fixed"] = {**entry["fixed"], "diffry": 7.1 + 0.02 * k}
    path = write_master(tmp_path / "m.h5", {**entries, **more})
    assert getdata(path, "*", "--duplicates", "first") == 0
    check(path)


def test_an_aborted_entry_stays(tmp_path: Path) -> None:
    entries = {f"{k + 1}.1": mosaicity(10.0 * k, k) for k in range(3)}
    entries["3.1"] = {**mosaicity(20.0, 1, n=3), "end_reason": "USER_ABORT"}  # within its first row
    path = write_master(tmp_path / "m.h5", entries)
    assert getdata(path, "*") == 0
    assert left_out(path) == {}
    assert np.load(tmp_path / "out" / "measured.npy").sum() == 2 * N1 * N2 + 3


@pytest.mark.parametrize("title", [None, "grain 3, second try"])
def test_without_commands_what_moved_decides(tmp_path: Path, title: str | None) -> None:
    """An entry that was aborted in its first row has moved one motor only, and stays."""
    entries = {name: {**entry, "title": title} for name, entry in beamtime().items()}
    entries["9.1"] = {**mosaicity(20.0, 2, n=3), "title": title}
    path = write_master(tmp_path / "m.h5", entries)
    assert getdata(path, "*.1") == 0
    assert sorted(left_out(path)) == ["1.1", "2.1", "4.1", "5.1", "7.1", "8.1"]
    assert np.load(tmp_path / "out" / "measured.npy").sum() == 2 * N1 * N2 + 3


def test_one_entry_for_each_pair_of_tilts(tmp_path: Path) -> None:
    """omega is scanned within an entry, the tilts from entry to entry; darks in between."""
    entries: Entries = {}
    for n, (i, j) in enumerate(np.ndindex(N1, N2)):
        entries[f"{2 * n + 1}.1"] = {
            "title": "fscan omega -0.5 10 3 0.5 0.6",
            "image": np.stack([frames(k, N1 * N2)[n] for k in range(3)]),
            "scanned": {"omega": 10.0 * np.arange(3)},
            "fixed": {"chi": -0.58 + 0.08 * i, "diffry": 7.12 + 0.06 * j},
        }
        entries[f"{2 * n + 2}.1"] = darks(0.0, 70 + n)
    path = write_master(tmp_path / "m.h5", entries)
    assert getdata(path, "*.1") == 0
    check(path)


def test_one_count_for_each_position_is_a_scan(tmp_path: Path) -> None:
    entries: Entries = {}
    for n, (i, j) in enumerate(np.ndindex(N1, N2)):
        fixed = {"chi": -0.58 + 0.08 * i, "diffry": 7.12 + 0.06 * j, "omega": 0.0}
        entries[f"{n + 1}.1"] = {"title": "ct 0.5", "image": frames(0, N1 * N2)[n : n + 1], "fixed": fixed}
    path = write_master(tmp_path / "m.h5", entries)
    assert getdata(path, "*.1") == 0
    np.testing.assert_array_equal(np.load(tmp_path / "out" / "dataarray.npy"), expected(1))


def test_a_retake_is_named_with_the_entry_that_it_repeats(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    entries = beamtime()
    entries["10.1"] = mosaicity(10.0, 77)
    path = write_master(tmp_path / "m.h5", entries)
    assert getdata(path, "*.1") == 1
    line = capsys.readouterr().err.splitlines()[-1]
    assert f"{path}::10.1 ({TITLE}): repeats {path}::6.1 ({TITLE}) at 12 positions" in line
    assert "--duplicates first, last or mean" in line
    for policy, used in (("first", frames(1, 12)), ("last", frames(77, 12))):
        assert getdata(path, "*.1", "--duplicates", policy) == 0
        assert "10.1 (fscan2d" in (err := capsys.readouterr().err)
        assert f"--duplicates {policy} decides" in err
        array = np.load(tmp_path / "out" / "dataarray.npy")[:, :, 1].swapaxes(-1, -2)
        np.testing.assert_array_equal(array.reshape(12, 6, 8), used)


def test_the_retake_of_an_aborted_entry_fills_it(tmp_path: Path) -> None:
    entries = {"1.1": mosaicity(0.0, 0), "2.1": mosaicity(10.0, 9, n=5), "3.1": mosaicity(10.0, 1)}
    path = write_master(tmp_path / "m.h5", entries)
    assert getdata(path, "*", "--duplicates", "last") == 0
    check(path, 2)


def test_darks_of_the_same_file_as_background(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = write_master(tmp_path / "m.h5", beamtime())
    level = np.concatenate([frames(100 + k, 10) for k in range(3)]).mean(axis=0)
    want = np.clip(np.rint(expected().astype(float) - level.T), 0, 65535)
    for names in ("1.1,4.1,7.1", "loopscan*", "*.1"):
        assert getdata(path, "title:fscan2d*", background=names) == 0
        np.testing.assert_array_equal(np.load(tmp_path / "out" / "dataarray.npy"), want)
    capsys.readouterr()
    assert getdata(path, "title:fscan2d*", background="3.1") == 1
    assert "3.1 (fscan2d" in (err := capsys.readouterr().err)
    assert "is no background" in err


def test_a_broken_link_under_a_title_that_names_no_motors(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    link = h5py.ExternalLink("gone.h5", "/entry_0000/data")
    entries = {**beamtime(), "10.1": {"title": "fscan2d", "image": link}}
    path = write_master(tmp_path / "m.h5", entries)
    assert getdata(path, "*.1") == 1
    assert f"{path}::10.1" in capsys.readouterr().err.splitlines()[-1]


@pytest.mark.parametrize("stranger", [True, False])
def test_a_broken_link_is_never_passed_over(
    tmp_path: Path, stranger: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    """Of the scan it is an error; of an entry that is not of the scan, a warning with its title."""
    entries = beamtime()
    name, title = ("4.1", "loopscan 10 0.1") if stranger else ("6.1", TITLE)
    entries[name]["image"] = h5py.ExternalLink("gone.h5", "/entry_0000/data")
    path = write_master(tmp_path / "m.h5", entries)
    assert getdata(path, "*.1") == (0 if stranger else 1)
    err = capsys.readouterr().err
    if stranger:
        check(path)
        assert f"left out {path}::{name} ({title})" in err
    else:
        assert f"{path}::{name}" in err.splitlines()[-1]
        assert getdata(path, "*.1", "--skip-bad") == 0
        assert f"skipped {path}::{name}" in capsys.readouterr().err


def test_an_untitled_entry_that_cannot_be_read_is_an_error(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    entries = {f"{k + 1}.1": mosaicity(10.0 * k, k, title=None) for k in range(3)}
    entries["2.1"]["image"] = h5py.ExternalLink("gone.h5", "/entry_0000/data")
    path = write_master(tmp_path / "m.h5", entries)
    assert getdata(path, "*") == 1
    assert f"{path}::2.1" in capsys.readouterr().err.splitlines()[-1]


def test_a_scan_that_cannot_be_read_is_not_outvoted(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    entries = beamtime()
    for name in ("3.1", "6.1", "9.1"):
        entries[name]["image"] = h5py.ExternalLink("gone.h5", "/entry_0000/data")
    path = write_master(tmp_path / "m.h5", entries)
    assert getdata(path, "*.1") == 1
    assert f"{path}::3.1" in capsys.readouterr().err.splitlines()[-1]


def test_entries_without_the_camera_that_was_chosen(tmp_path: Path) -> None:
    entries = {f"{k + 1}.1": mosaicity(10.0 * k, k) for k in range(3)}
    entries["4.1"] = mosaicity(30.0, 9, camera="basler")
    path = write_master(tmp_path / "m.h5", entries)
    with h5py.File(path, "a") as root:
        root["2.1/instrument/basler/data"] = frames(1, N1 * N2, (20, 10))
    assert getdata(path, "*", "--camera", "pco_ff") == 0
    check(path)
    assert left_out(path) == {"4.1": "its frames are those of basler, not of pco_ff"}


def test_an_alignment_scan_with_two_cameras_is_no_trouble(tmp_path: Path) -> None:
    path = write_master(tmp_path / "m.h5", beamtime())
    with h5py.File(path, "a") as root:
        root["2.1/instrument/basler/data"] = frames(1, 31, (20, 10))
    assert getdata(path, "*.1") == 0
    check(path)
    assert "2.1" in left_out(path)


def test_a_scan_with_two_cameras_asks_which(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = write_master(tmp_path / "m.h5", beamtime())
    with h5py.File(path, "a") as root:
        for name in ("3.1", "6.1", "9.1"):
            root[f"{name}/instrument/basler/data"] = frames(1, N1 * N2, (20, 10))
    assert getdata(path, "*.1") == 1
    assert "choose one with --camera" in capsys.readouterr().err.splitlines()[-1]
    assert getdata(path, "*.1", "--camera", "pco_ff") == 0
    check(path)


def test_a_scan_whose_camera_did_not_record(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    entries = beamtime()
    del entries["6.1"]["image"]
    entries["10.1"] = {"title": "ascan samx 0 1 10 0.1", "scanned": {"samx": np.arange(11.0)}}  # diodes only
    path = write_master(tmp_path / "m.h5", entries)
    assert getdata(path, "*.1") == 0
    err = capsys.readouterr().err
    assert f"left out {path}::6.1 ({TITLE})" in err
    assert "was the camera recording?" in err
    assert "samx" not in err
