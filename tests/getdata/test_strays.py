"""Values that are no position: named with their entry, left out with --skip-bad, and no others."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from tests.getdata.bliss_scans import ROLES, Taken, failure, pixels, run, scan, write
from tests.getdata.getdata_scan import run_script

TITLE = "fscan2d chi 0 0.1 3 diffry 6.97 0.06 4 0.1 0.1"


def spoiled(motor: str, values: Any, title: str) -> Any:
    """Change the second entry: the end of what was read of a motor is something else."""

    def change(content: dict[str, Any], k: int) -> None:
        content["title"] = title
        if k == 1:
            place = f"instrument/{motor}/{'value' if motor == 'chi' else 'data'}"
            good = content[place].copy()
            good[good.size - len(values) :] = values
            content[place] = good[: good.size - len(values)] if np.isnan(values).all() else good

    return change


@pytest.mark.parametrize("title", ["", TITLE], ids=["no title", "title"])
@pytest.mark.parametrize(
    ("motor", "values"),
    [
        ("diffry", [0.0] * 4),
        ("diffry", [0.0]),
        ("diffry", [1e9, -1e9]),
        ("diffry", [np.nan] * 5),
        ("diffry", [np.nan] * 6),
        ("chi", [-1e300] * 2),
        ("chi", [220.0]),
        ("diffry", [311.0, -4.5, 77.3]),
    ],
)
def test_an_encoder_that_breaks_off_or_goes_to_rubbish(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], motor: str, values: list[float], title: str
) -> None:
    taken = scan(tmp_path / "scan.h5", spoiled(motor, values, title))
    line = failure(capsys, tmp_path / "scan.h5", tmp_path / "out")
    assert "2.1" in line
    assert motor in line
    assert "1.1/" not in line
    assert run(tmp_path / "scan.h5", tmp_path / "out", "--skip-bad") == 0
    taken.left_out = range(24 - len(values), 24)
    taken.check(tmp_path / "out", atol=0.031)


@pytest.mark.parametrize("ranks", [2, 5])
def test_ranks_agree_on_what_is_left_out(tmp_path: Path, ranks: int) -> None:
    """Each entry is read by one rank; what it says of its motors reaches the one that decides."""
    taken = scan(tmp_path / "scan.h5", spoiled("diffry", [0.0] * 4, TITLE))
    files = (tmp_path / "scan.h5", "*.1", "-", "-", "2,1", "4,3", tmp_path)
    found = run_script(*files, "out", *ROLES, "--no-report", ranks=ranks, cwd=tmp_path)
    assert found.returncode == 1
    assert found.stderr.count("getdata: error: ") == 1
    assert "diffry: it reads 0 at frame 8 where the title says" in found.stderr
    found = run_script(*files, "out", *ROLES, "--no-report", "--skip-bad", ranks=ranks, cwd=tmp_path)
    assert found.returncode == 0, found.stderr
    taken.left_out = range(20, 24)
    taken.check(tmp_path / "out", atol=0.031)
    assert run(tmp_path / "scan.h5", tmp_path / "alone", "--skip-bad") == 0
    for name in ("dataarray.npy", "measured.npy", "tilt2.npy"):
        assert (tmp_path / "out" / name).read_bytes() == (tmp_path / "alone" / name).read_bytes()


def test_an_encoder_that_sticks_is_known_by_the_command(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    taken = scan(tmp_path / "scan.h5", spoiled("diffry", [7.0] * 3, TITLE))
    assert "2.1" in failure(capsys, tmp_path / "scan.h5", tmp_path / "out")
    assert run(tmp_path / "scan.h5", tmp_path / "out", "--skip-bad") == 0
    taken.left_out = range(21, 24)
    taken.check(tmp_path / "out", atol=0.031)


def thousands(path: Path, value: float) -> Taken:
    """One scan of 4 x 5 x 60 frames, of which one has another omega."""
    a, b, c = np.indices((4, 5, 60)).reshape(3, -1)
    omega = 0.8 * c + np.random.default_rng(0).normal(0, 1e-3, c.size)
    omega[777] = value
    frames = pixels(c.size)
    motors = {"chi": 0.05 * a, "diffry": 0.06 * b, "omega": omega}
    write(path, [{"frames": frames, **{f"instrument/{name}/data": v for name, v in motors.items()}}])
    return Taken(frames, 0.05 * a, 0.06 * b, 0.8 * c, [777])


@pytest.mark.parametrize("value", [220.0, -1e7, 24.4, 100.0])
def test_one_value_among_thousands_makes_no_position_of_its_own(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], value: float
) -> None:
    taken = thousands(tmp_path / "scan.h5", value)
    line = failure(capsys, tmp_path / "scan.h5", tmp_path / "out")
    assert "[777]" in line
    assert f"omega {value:.6g}" in line
    assert run(tmp_path / "scan.h5", tmp_path / "out", "--skip-bad") == 0
    taken.check(tmp_path / "out")


def test_an_aborted_row_is_a_position(tmp_path: Path) -> None:
    """Its only frame stands one step beyond the others."""
    a, b = np.divmod(np.arange(10 * 40 + 1), 40)
    frames = pixels(a.size)
    motors = {"chi": 0.05 * a, "diffry": 0.06 * b, "omega": np.zeros(a.size)}
    write(
        tmp_path / "scan.h5",
        [{"frames": frames, **{f"instrument/{name}/data": v for name, v in motors.items()}}],
    )
    assert run(tmp_path / "scan.h5", tmp_path / "out") == 0
    Taken(frames, 0.05 * a, 0.06 * b, np.zeros(a.size)).check(tmp_path / "out")


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ("ERR", "'ERR'"),
        (np.nan, "NaN"),
        (h5py.SoftLink("/2.1/instrument/positioners/omega"), "circle of links"),
        (h5py.SoftLink("/gone"), "leads nowhere"),
    ],
)
@pytest.mark.parametrize("everywhere", [False, True])
def test_a_motor_that_is_asked_for_and_holds_no_number(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], value: Any, words: str, everywhere: bool
) -> None:
    def change(content: dict[str, Any], k: int) -> None:
        if k == 1 or everywhere:
            content["instrument/positioners/omega"] = value

    taken = scan(tmp_path / "scan.h5", change)
    line = failure(capsys, tmp_path / "scan.h5", tmp_path / "out")
    assert words in line or (everywhere and "leads nowhere" in line)
    assert "omega" in line
    if not everywhere:
        assert "2.1" in line
        assert run(tmp_path / "scan.h5", tmp_path / "out", "--skip-bad") == 0
        first = Taken(*(v[:12] for v in (taken.frames, taken.tilt1, taken.tilt2, taken.omega)))
        first.check(tmp_path / "out")


def test_the_region_of_the_camera_that_moved(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def change(content: dict[str, Any], k: int) -> None:
        content["instrument/pco_ff/ctrl_parameters/image_roi"] = [100 if k == 2 else 0, 0, 4, 3]

    scan(tmp_path / "scan.h5", change, n=3)
    line = failure(capsys, tmp_path / "scan.h5", tmp_path / "out")
    assert "3.1" in line
    assert "another region of the detector (image_roi 100 0 4 3)" in line


def test_a_camera_that_is_in_measurement_only(tmp_path: Path) -> None:
    def change(content: dict[str, Any], k: int) -> None:
        content["measurement/eiger"] = content["frames"]

    taken = scan(tmp_path / "scan.h5", change)
    with h5py.File(tmp_path / "scan.h5", "a") as root:
        for entry in root.values():
            del entry["instrument/pco_ff"]
    assert run(tmp_path / "scan.h5", tmp_path / "out") == 0
    taken.check(tmp_path / "out")


@pytest.mark.parametrize("shape", [(3, 4), (3, 4, 3, 4)])
def test_frames_of_another_shape_are_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], shape: tuple[int, ...]
) -> None:
    write(tmp_path / "scan.h5", [{"frames": np.ones(shape, np.uint16), "instrument/chi/value": [1.0]}])
    line = failure(capsys, tmp_path / "scan.h5", tmp_path / "out", names="1.1")
    assert f"is {' x '.join(map(str, shape))}; frames must be (n, y, x)" in line
