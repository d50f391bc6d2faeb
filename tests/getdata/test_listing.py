"""getdata.py --list: what a file or a folder holds, without doing anything else."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
import pytest

from lib import cli
from lib.getdata.listing import count_positions, group_by_stem
from lib.parallel.communicator import SerialComm
from tests.frames.edf_scan import make_frames, write_background, write_frames
from tests.getdata.beamtime import TITLE, beamtime, darks, frames, mosaicity, write_master


def listing(capsys: pytest.CaptureFixture[str], *arguments: object) -> list[str]:
    capsys.readouterr()
    assert cli.getdata([*map(str, arguments), "--list", "--quiet"], SerialComm()) == 0
    out, err = capsys.readouterr()
    assert err == ""
    return out.splitlines()


def test_every_entry_is_a_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    entries = beamtime(2)
    entries["6.1"]["end_reason"] = "USER_ABORT"
    path = write_master(tmp_path / "m.h5", entries)
    where, head, *lines = listing(capsys, path)
    assert where == str(path)
    assert head.split() == ["entry", "frames", "size", "moves", "ended", "title"]
    assert [line.split()[0] for line in lines] == ["1.1", "2.1", "3.1", "3.2", "4.1", "5.1", "6.1", "6.2"]
    assert lines[0].endswith("loopscan 10 0.1")
    assert " 10 " in lines[0]
    assert " 8 x 6 " in lines[0]
    assert "nothing" in lines[0]
    assert "mu -0.9..0.3 (31)" in lines[1]
    assert "chi -0.58..-0.42 (3), diffry 7.12..7.3 (4) at omega 0 " in lines[2]
    assert "at omega 10 " in lines[6]
    assert "USER_ABORT" in lines[6]
    assert lines[2].endswith(TITLE)
    assert list(tmp_path.iterdir()) == [path]


def test_with_all_arguments_only_those_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = write_master(tmp_path / "m.h5", beamtime(2))
    rest = ["-", "-", "4,3", "8,6", tmp_path, "out", "--tilt1", "chi", "--omega", "omega"]
    assert len(listing(capsys, path, "title:fscan2d*", *rest)) == 2 + 2
    assert len(listing(capsys, path, "*.1", *rest)) == 2 + 6
    assert len(listing(capsys, path, "3.1")) == 2 + 1
    assert list(tmp_path.iterdir()) == [path]


def test_options_may_stand_anywhere(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = write_master(tmp_path / "m.h5", beamtime(1))
    for order in (["--list", path, "3.1"], [path, "--list", "3.1"], [path, "3.1", "--list"]):
        assert cli.getdata([*map(str, order), "--quiet"], SerialComm()) == 0
        assert len(capsys.readouterr().out.splitlines()) == 3


def test_a_folder_of_masters(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("a.h5", "b.h5"):
        write_master(tmp_path / name, {"1.1": darks(0.0, 1), "2.1": mosaicity(0.0, 2)})
    lines = listing(capsys, tmp_path)
    assert [line.split()[0] for line in lines[2:]] == ["a.h5::1.1", "a.h5::2.1", "b.h5::1.1", "b.h5::2.1"]


def test_what_is_broken_is_said_and_the_rest_listed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    entries = beamtime(1)
    entries["2.1"]["image"] = h5py.ExternalLink("gone.h5", "/data")
    path = write_master(tmp_path / "m.h5", entries)
    with h5py.File(path, "a") as root:
        root["9.1"] = h5py.ExternalLink("gone.h5", "/1.1")
        root["10.1"] = h5py.SoftLink("/nowhere")
    lines = {line.split()[0]: line for line in listing(capsys, path)}
    for name in ("2.1", "9.1", "10.1"):
        assert "! " in lines[name]
    assert "chi -0.58..-0.42 (3)" in lines["3.1"]


def test_two_cameras_are_two_lines(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = write_master(tmp_path / "m.h5", {"1.1": mosaicity(0.0, 0)})
    with h5py.File(path, "a") as root:
        root["1.1/instrument/basler/data"] = frames(1, 12, (20, 10))
    lines = listing(capsys, path)[2:]
    assert len(lines) == 2
    assert "20 x 10 basler" in lines[0]
    assert "8 x 6 pco_ff" in lines[1]


def test_edf_files_are_listed_by_scan(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    axes = {"samrz": [0.1, 0.132, 0.164], "samry": [-1.0, -0.968], "diffrx": [0.0, 0.8, 1.6, 2.4]}
    write_frames(tmp_path, make_frames(axes, (13, 17), jitter=0.05), stem="topo_0018_")
    write_background(tmp_path, (13, 17))
    where, head, *lines = listing(capsys, tmp_path)
    assert where == str(tmp_path)
    assert head.split()[:2] == ["files", "frames"]
    found = {line.split()[0]: line for line in lines}
    assert set(found) == {"topo_0018_", "dark_"}
    assert " 24 " in found["topo_0018_"]
    assert "17 x 13" in found["topo_0018_"]
    for motion in ("(3)", "(2)", "(4)"):
        assert motion in found["topo_0018_"]
    assert listing(capsys, tmp_path, "dark_")[2].split() == found["dark_"].split()


def test_a_torn_edf_file_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_background(tmp_path, (13, 17))
    (tmp_path / "dark_1.edf").write_bytes((tmp_path / "dark_1.edf").read_bytes()[:-50])
    (line,) = listing(capsys, tmp_path)[2:]
    assert "! dark_1.edf cut short" in line
    assert "2 in 3" in line


@pytest.mark.parametrize("name", ["nowhere", "nowhere.h5", "torn.h5", "empty.h5", "folder"])
def test_what_cannot_be_listed_is_one_line(
    tmp_path: Path, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "torn.h5").write_bytes(b"torn")
    h5py.File(tmp_path / "empty.h5", "w").close()
    (tmp_path / "folder").mkdir()
    assert cli.getdata([str(tmp_path / name), "--list"], SerialComm()) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"getdata: error: {tmp_path / name}: ")


def test_rank_0_alone_prints(run, tmp_path: Path) -> None:
    path = write_master(tmp_path / "m.h5", beamtime(1))
    result = run("getdata.py", path, "--list", "--quiet", ranks=2)
    assert result.returncode == 0
    assert len(result.stdout.splitlines()) == 2 + 4


def test_positions_are_counted_through_jitter() -> None:
    rng = np.random.default_rng(0)
    for n, repeats, jitter in ((37, 26, 1e-3), (7, 7, 0.0), (226, 1, 0.0), (2, 50, 2e-3)):
        values = np.tile(7.12 + 0.06 * np.arange(n), repeats)
        values = values + rng.uniform(-jitter, jitter, values.size)
        assert count_positions(values) == n
    assert count_positions(np.array([np.nan, 1.0, 1.0])) == 1


def test_stems_of_file_names() -> None:
    zap = [f"/d/far_{s:04d}_{i:04d}_0000.edf" for s in (18, 19) for i in range(30)]
    assert {k: len(v) for k, v in group_by_stem(zap).items()} == {"far_0018_": 30, "far_0019_": 30}
    grid = [f"/d/file_{i:03d}_{j:03d}.edf.gz" for i in range(40) for j in range(7)]
    assert {k: len(v) for k, v in group_by_stem(grid).items()} == {"file_": 280}
