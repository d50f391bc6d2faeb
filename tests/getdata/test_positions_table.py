"""--positions FILE: where each frame was taken, for files whose headers do not know."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.getdata.bliss_scans import Taken, failure, info, pixels, run, write
from tests.scans import write_edf

TILT1, TILT2, OMEGA = (
    v.ravel() for v in np.meshgrid([0.0, 0.1], [1.0, 1.05, 1.1], [0, 30.0, 60], indexing="ij")
)


@pytest.fixture
def snapshot(tmp_path: Path) -> Taken:
    """18 EDF files whose headers all hold the positions of the start."""
    frames = pixels(TILT1.size)
    (tmp_path / "raw").mkdir()
    for number, frame in enumerate(frames):
        positions = {"chi": 0.0, "diffry": 1.0, "omega": 0.0}
        write_edf(tmp_path / "raw" / f"s_{number:04d}.edf", frame, positions)
    return Taken(frames, TILT1, TILT2, OMEGA)


def gather(folder: Path, *options: str, roles: tuple[str, ...] = ()) -> int:
    return run(folder / "raw", folder / "out", *options, names="s_", roles=roles)


def table(folder: Path, lines: list[str], encoding: str = "utf-8") -> str:
    path = folder / "positions.csv"
    path.write_bytes("\n".join(lines).encode(encoding))
    return str(path)


def rows(key: Any, separator: str) -> list[str]:
    places = zip(TILT1, TILT2, OMEGA, strict=True)
    return [separator.join([key(n), *(f"{v:g}" for v in place)]) for n, place in enumerate(places)]


KEYS = {
    "numbers": str,
    "names": lambda n: f"s_{n:04d}.edf",
    "names without ending": lambda n: f"s_{n:04d}",
    "names with numbers": lambda n: f"s_{n:04d}.edf[0]",
}


@pytest.mark.parametrize("separator", [",", "; ", "\t", "  "])
@pytest.mark.parametrize("key", KEYS.values(), ids=KEYS)
def test_tables_of_all_kinds(tmp_path: Path, snapshot: Taken, separator: str, key: Any) -> None:
    lines = ["# where the frames were taken", "", *rows(key, separator)[::-1]]
    assert gather(tmp_path, "--positions", table(tmp_path, lines)) == 0
    snapshot.check(tmp_path / "out")
    assert info(tmp_path / "out")["motors"] == {"tilt1": "tilt1", "tilt2": "tilt2", "omega": "omega"}


def test_columns_by_name_with_a_byte_order_mark_and_dos_lines(tmp_path: Path, snapshot: Taken) -> None:
    lines = ["Omega;tilt2;File;tilt1\r"]
    lines += [f"{OMEGA[n]};{TILT2[n]};s_{n:04d}.edf;{TILT1[n]}\r" for n in range(18)]
    assert gather(tmp_path, "--positions", table(tmp_path, lines, "utf-8-sig")) == 0
    snapshot.check(tmp_path / "out")


def test_frames_counted_from_one(tmp_path: Path, snapshot: Taken, capsys: pytest.CaptureFixture[str]) -> None:
    path = table(tmp_path, rows(lambda n: str(n + 1), ","))
    assert gather(tmp_path, "--positions", path) == 0
    snapshot.check(tmp_path / "out")
    assert "counted from 1" in capsys.readouterr().err


def test_roles_keep_the_names_and_frame_of_their_motors(tmp_path: Path, snapshot: Taken) -> None:
    path = table(tmp_path, rows(str, ","))
    roles = ("--tilt1", "mu", "--tilt2", "gamma", "--omega", "omega")
    assert gather(tmp_path, "--positions", path, roles=roles) == 0
    snapshot.check(tmp_path / "out")
    found = info(tmp_path / "out")
    assert (found["tilt_frame"], found["motors"]["tilt1"]) == ("lab", "mu")


def test_a_table_of_omega_alone(tmp_path: Path) -> None:
    """The tilts are those of the headers."""
    frames = pixels(18)
    (tmp_path / "raw").mkdir()
    for n in range(18):
        positions = {"chi": TILT1[n], "diffry": TILT2[n], "omega": 0.0}
        write_edf(tmp_path / "raw" / f"s_{n:04d}.edf", frames[n], positions)
    lines = ["frame omega", *(f"{n} {OMEGA[n]}" for n in range(18))]
    roles = ("--tilt1", "chi", "--tilt2", "diffry", "--omega", "omega")
    assert gather(tmp_path, "--positions", table(tmp_path, lines), roles=roles) == 0
    Taken(frames, TILT1, TILT2, OMEGA).check(tmp_path / "out")


def test_frames_of_entries_by_name(tmp_path: Path) -> None:
    frames = pixels(18)
    write(tmp_path / "scan.h5", [{"frames": frames[:9]}, {"frames": frames[9:]}])
    lines = rows(lambda n: f"{n // 9 + 1}.1[{n % 9}]", ",")
    lines[3] = lines[3].replace("1.1[3]", "scan.h5::1.1[3]")
    path = table(tmp_path, lines)
    assert run(tmp_path / "scan.h5", tmp_path / "out", "--positions", path, roles=()) == 0
    Taken(frames, TILT1, TILT2, OMEGA).check(tmp_path / "out")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({4: "4,0.1,1.05,abc"}, "line 5: omega 'abc' is no number of degrees"),
        ({4: "4,0.1,nan,0"}, "line 5: tilt2 'nan' is no number"),
        ({4: "4,0.1,1.05"}, "line 5: has 3 values instead of 4 (frame, tilt1, tilt2, omega)"),
        ({4: "3,0.1,1.05,0"}, "line 5: frame '3' was given in line 4 already"),
        ({4: "s_0003.edf,0.1,1.05,0"}, "line 5: 's_0003.edf' is the frame of line 4"),
        ({4: "18,0.1,1.05,0"}, "line 5: there is no frame 18; they are numbered 0 to 17"),
        ({4: "other.edf,0.1,1.05,0"}, "line 5: no frame 'other.edf' in the scan"),
        ({0: "frame,tilt1,tilt2,phi"}, "line 1: names a column 'phi'"),
        ({0: "frame,tilt1,tilt1,omega"}, "line 1: names the column 'tilt1' twice"),
        ({0: "tilt1,tilt2,omega"}, "line 1: needs one column 'frame' or 'file'"),
        ({4: None}, "has no number for one of the motors"),
        (
            {4: "4;0,1;1,05;0"},
            "line 5: tilt1 '0,1' is no number of degrees; decimals are written with a point",
        ),
    ],
)
def test_what_is_wrong_is_named_with_its_line(
    tmp_path: Path,
    snapshot: Taken,
    capsys: pytest.CaptureFixture[str],
    change: dict[int, str | None],
    words: str,
) -> None:
    lines = [line for n, given in enumerate(rows(str, ",")) if (line := change.get(n, given)) is not None]
    path = table(tmp_path, lines)
    line = failure(capsys, tmp_path / "raw", tmp_path / "out", "--positions", path, names="s_", roles=())
    assert words in line
    assert "positions.csv" in line or "s_0004.edf" in line


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (None, "no such file"),
        (b"", "holds no positions"),
        (b"\0\1\xff\xfe", "is no text file"),
        (b"frame omega\n", "no positions below"),
    ],
)
def test_files_that_are_no_table(
    tmp_path: Path,
    snapshot: Taken,
    capsys: pytest.CaptureFixture[str],
    content: bytes | None,
    words: str,
) -> None:
    path = tmp_path / "positions.csv"
    if content is not None:
        path.write_bytes(content)
    line = failure(capsys, tmp_path / "raw", tmp_path / "out", "--positions", path, names="s_", roles=())
    assert words in line
    assert "positions.csv" in line


def test_numbers_do_not_count_where_files_are_missing(
    tmp_path: Path, snapshot: Taken, capsys: pytest.CaptureFixture[str]
) -> None:
    torn = tmp_path / "raw" / "s_0002.edf"
    torn.write_bytes(torn.read_bytes()[:-5])
    options = ("--positions", table(tmp_path, rows(str, ",")), "--skip-bad")
    line = failure(capsys, tmp_path / "raw", tmp_path / "out", *options, names="s_", roles=())
    assert "give the names of the files" in line


def test_headers_that_are_a_snapshot_say_so(
    tmp_path: Path, snapshot: Taken, capsys: pytest.CaptureFixture[str]
) -> None:
    roles = ("--tilt1", "chi", "--tilt2", "diffry", "--omega", "omega")
    line = failure(capsys, tmp_path / "raw", tmp_path / "out", names="s_", roles=roles)
    assert "stood still in all headers" in line
    assert "--positions FILE" in line
    assert gather(tmp_path, "--duplicates", "mean", roles=roles) == 0
    assert "stood still in all headers" in capsys.readouterr().err


def test_the_scan_command_of_the_headers(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    frames = pixels(6)
    (tmp_path / "raw").mkdir()
    from fabio.edfimage import EdfImage

    for n, frame in enumerate(frames):
        header = {"motor_mne": "mu omega", "motor_pos": "0.1 0", "scan": "ascan  omega 0 50  5 1"}
        EdfImage(data=frame, header=header).write(str(tmp_path / "raw" / f"s_{n}.edf"))
    roles = ("--tilt1", "mu", "--tilt2", "none", "--omega", "omega")
    assert gather(tmp_path, roles=roles) == 0
    Taken(frames, np.full(6, 0.1), np.zeros(6), 10.0 * np.arange(6)).check(tmp_path / "out")
    assert "those of the scan command" in capsys.readouterr().err


def zap_lines(folder: Path, **change: str) -> np.ndarray:
    """Two tilts chi x three omegas, each a zap line of diffrz whose headers hold its start: 7 frames."""
    from fabio.edfimage import EdfImage

    folder.mkdir()
    frames = pixels(42)
    for n, frame in enumerate(frames):
        line = n // 7
        header = {
            "motor_mne": "diffrz chi diffry",
            "motor_pos": f"-0.1 {0.5 * (line % 2)} {10 * (line // 2)}",
            "scan": "zapline diffrz -0.1 0.18 7 1000",
            "point_no": f"{n % 7}",
            "obpitch": "25.0",
            **(change if n == 21 else {}),
        }
        EdfImage(data=frame, header=header).write(str(folder / f"s_{line:04d}_{n % 7:04d}.edf"))
    return frames


ZAP = ("--tilt1", "diffrz", "--tilt2", "chi", "--omega", "diffry", "--tilt-frame", "sample")


def test_zap_lines_one_after_the_other(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    frames, line = zap_lines(tmp_path / "raw"), np.arange(42) // 7
    assert gather(tmp_path, roles=ZAP) == 0
    middles = -0.1 + 0.04 * (np.arange(42) % 7 + 0.5)
    Taken(frames, middles, 0.5 * (line % 2), 10.0 * (line // 2)).check(tmp_path / "out")
    assert "those of the scan command of each 7 files" in capsys.readouterr().err
    assert info(tmp_path / "out")["moving"] == ["tilt1"]


@pytest.mark.parametrize(
    "change",
    [
        {"scan": "zapline chi 0 1 7 1000"},
        {"scan": ""},
        {"motor_pos": "-0.1 0.5 20"},
        {"obpitch": "25.1"},
        {"point_no": "5"},
    ],
    ids=["another motor", "no command", "another line", "another angle", "not counted"],
)
def test_zap_lines_that_are_not_whole_say_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], change: dict[str, str]
) -> None:
    zap_lines(tmp_path / "raw", **change)
    line = failure(capsys, tmp_path / "raw", tmp_path / "out", names="s_", roles=ZAP)
    assert "at the same position" in line
