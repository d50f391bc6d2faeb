"""getdata.py with bad input: one line, nothing left behind, the same on any number of ranks."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.frames.edf_scan import make_frames, motor_header, write_background, write_edf, write_frames
from tests.getdata.getdata_scan import AXES, SHAPE, arguments, failure, write_scan
from tests.running import MPIRUN, ROOT, error_line

# ---- Bad input, the same on any number of ranks ----

Spoil = Callable[[Path], "dict[str, Any] | None"]


def _argument(number: int, value: str) -> Spoil:
    """Replace one of the eight arguments; {} in it stands for the folder of the case."""
    return lambda folder: {"replace": {number: value.format(folder)}}


def _tear(pattern: str, number: int) -> Spoil:
    def spoil(folder: Path) -> None:
        path = sorted(folder.glob(pattern))[number]
        path.write_bytes(path.read_bytes()[:-100])

    return spoil


def _two_sizes(folder: Path) -> None:
    path = sorted((folder / "raw").iterdir())[40]
    write_edf(path, np.zeros((13, 16), np.uint16), motor_header({m: v[0] for m, v in AXES.items()}))


def _other_size_of_background(folder: Path) -> None:
    write_background(folder / "dark", (17, 13))


def _motor_lists(folder: Path) -> None:
    header = motor_header({m: v[0] for m, v in AXES.items()})
    header["motor_pos"] += " 1.0"
    write_edf(sorted((folder / "raw").iterdir())[59], np.zeros(SHAPE, np.uint16), header)


def _folder_as_file(folder: Path) -> None:
    (folder / "raw" / "scan_9999.edf").mkdir()


def _no_edf(content: bytes) -> Spoil:
    def spoil(folder: Path) -> None:
        (folder / "raw" / "scan_5000.edf").write_bytes(content)

    return spoil


def _options(*options: object) -> Spoil:
    return lambda folder: {"options": [str(o) for o in options]}


BAD_INPUT: dict[str, tuple[Spoil, list[str]]] = {
    "missing datadir": (_argument(0, "{}/nowhere"), ["/nowhere: no such folder"]),
    "datadir is a file": (_argument(0, "{}/raw/scan_0000.edf"), ["scan_0000.edf: is a file"]),
    "no file of dataname": (_argument(1, "topo_"), ["/raw: no .edf", "'topo_'", "60 others"]),
    "missing bgdir": (_argument(2, "{}/nowhere"), ["/nowhere: no such folder"]),
    "no file of bgname": (_argument(3, "flat_"), ["/dark: no .edf", "'flat_'"]),
    "ROI off the left": (_argument(4, "3,6"), ["x = -1..7", "0..16"]),
    "ROI off the right": (_argument(4, "13,6"), ["x = 9..17", "0..16"]),
    "ROI off the top": (_argument(4, "8,1"), ["y = -1..2", "0..12"]),
    "ROI off the bottom": (_argument(4, "8,12"), ["y = 10..13", "0..12"]),
    "ROI of no width": (_argument(5, "0,4"), ["imgsize: 0,4"]),
    "ROI larger than the detector": (_argument(5, "18,4"), ["0..16"]),
    "motor not in the header": (_options("--omega", "nosuch"), ["--omega nosuch", "diffrx"]),
    "set-up of another beamtime": (_options("--setup", "id06-2017"), ["--setup id06-2017", "diffrz"]),
    "tolerance too small": (_options("--tolerance", 1e-9), ["less than half", "--tolerance"]),
    "frames of two sizes": (_two_sizes, ["has 16 x 13 pixels", "17 x 13"]),
    "background of another size": (_other_size_of_background, ["has 13 x 17 pixels", "17 x 13"]),
    "first file torn": (_tear("raw/*", 0), ["scan_0000.edf: cut short"]),
    "last file torn": (_tear("raw/*", 59), ["scan_0059.edf: cut short"]),
    "background torn": (_tear("dark/*", 2), ["dark_2.edf: cut short"]),
    "empty file": (_no_edf(b""), ["scan_5000.edf: cannot be read as EDF (Empty file)"]),
    "text file": (_no_edf(b"a note\n" * 300), ["scan_5000.edf: cannot be read as EDF"]),
    "folder named like a file": (_folder_as_file, ["scan_9999.edf: cannot be read as EDF"]),
    "motor lists of unequal length": (
        _motor_lists,
        ["scan_0059.edf: motor_mne names 6 but"],
    ),
    "output exists as a file": (_argument(7, "a file"), ["a file: is a file"]),
    "no-clip with uint16": (_options("--no-clip"), ["--no-clip"]),
}

MANY_RUNS = r"""
import contextlib, io, json, os, sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from lib import cli
from lib.parallel.communicator import world

comm = world()
results = []
for argv in json.loads(Path(sys.argv[2]).read_text()):
    sys.stdout, sys.stderr = io.StringIO(), io.StringIO()
    code = cli.getdata(argv, comm)
    every = comm.allgather((code, sys.stdout.getvalue(), sys.stderr.getvalue()))
    results.append(every)
sys.stdout, sys.stderr = sys.__stdout__, sys.__stderr__
if comm.rank == 0:
    print(json.dumps(results))
"""


@dataclass
class BadRuns:
    """Of each case on each number of ranks: exit codes and what all ranks wrote; what is left behind."""

    results: dict[tuple[str, str], list[tuple[int, str, str]]]
    left: dict[tuple[str, str], list[str]]


@pytest.fixture(scope="module")
def bad_runs(tmp_path_factory: pytest.TempPathFactory) -> BadRuns:
    """Each bad input serially and on 1 and 3 ranks, one after the other in one process per rank."""
    top = tmp_path_factory.mktemp("bad")
    good = top / "good"
    write_scan(good, make_frames(AXES, SHAPE, jitter=0.08))
    script = top / "many_runs.py"
    script.write_text(MANY_RUNS)
    runs = BadRuns({}, {})
    commands = {}
    for case, (spoil, _) in BAD_INPUT.items():
        folder = top / case
        shutil.copytree(good, folder, copy_function=shutil.copyfile)
        (folder / "out").mkdir()
        (folder / "out" / "a file").write_text("precious")
        change = spoil(folder) or {}
        argv = arguments(folder)
        for number, value in change.get("replace", {}).items():
            argv[number] = value
        commands[case] = [*argv, *change.get("options", [])]
    (top / "commands.json").write_text(json.dumps(list(commands.values())))
    for name, launch in {"serial": [], "1 rank": ["-n", "1"], "3 ranks": ["-n", "3"]}.items():
        mpirun = [str(MPIRUN), *launch] if launch else []
        result = subprocess.run(
            [*mpirun, sys.executable, str(script), str(ROOT), str(top / "commands.json")],
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert result.returncode == 0, result.stderr
        for case, every in zip(commands, json.loads(result.stdout), strict=True):
            runs.results[case, name] = [tuple(rank) for rank in every]
            runs.left[case, name] = sorted(p.name for p in (top / case / "out").iterdir())
            assert (top / case / "out" / "a file").read_text() == "precious"
    return runs


@pytest.mark.parametrize("name", ["serial", "1 rank", "3 ranks"])
@pytest.mark.parametrize("case", BAD_INPUT)
def test_bad_input_gives_one_line_and_nothing_else(bad_runs: BadRuns, case: str, name: str) -> None:
    ranks = bad_runs.results[case, name]
    assert len(ranks) == (3 if name == "3 ranks" else 1)
    assert {code for code, _, _ in ranks} == {1}
    out, err = ("".join(texts) for texts in list(zip(*ranks, strict=True))[1:])
    line = error_line(subprocess.CompletedProcess([], 1, out, err), "getdata")
    assert err == line + "\n"
    for words in BAD_INPUT[case][1]:
        assert words in line
    assert bad_runs.left[case, name] == ["a file"]


@pytest.mark.parametrize("case", BAD_INPUT)
def test_bad_input_is_described_alike_on_any_number_of_ranks(bad_runs: BadRuns, case: str) -> None:
    lines = {
        "".join(err for _, _, err in bad_runs.results[case, name]) for name in ("serial", "1 rank", "3 ranks")
    }
    assert len(lines) == 1


@pytest.mark.parametrize("role", ["tilt1", "tilt2", "omega"])
def test_the_wrong_motor_for_a_role_is_an_error(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], role: str
) -> None:
    """A motor that drifts all the time in place of the one that was scanned: no grid of 1 x 1 x 60."""
    frames = make_frames(AXES, SHAPE, jitter=0.08)
    for number, frame in enumerate(frames):
        frame.motors["drift"] = 0.01 * number
    write_frames(tmp_path / "raw", frames)
    line = failure(tmp_path, capsys, f"--{role}", "drift", background=False)
    assert "less than half" in line or "same position" in line
