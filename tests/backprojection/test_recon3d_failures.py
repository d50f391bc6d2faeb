"""recon3d.py alone, with bad input or a failing disk: one line of error, and an older result survives."""

from __future__ import annotations

import subprocess
from typing import Any

import numpy as np
import pytest

from lib import cli
from lib.parallel.communicator import SerialComm
from lib.result import volume
from lib.scan.store import ArrayFile
from tests.backprojection.recon3d_bad_input import (
    BAD,
    BAD_NAMES,
    SCAN,
    check_failure,
    listing,
    make_bad_folder,
)
from tests.backprojection.recon3d_command import BASE, RESULTS
from tests.backprojection.reference import write_init, write_scan


@pytest.mark.parametrize("name", BAD_NAMES)
def test_bad_input_serial(name, tmp_path, capsys):
    before = make_bad_folder(tmp_path, BAD[name])
    code = cli.recon3d([str(tmp_path / "init.txt"), "--quiet"], SerialComm())
    printed = capsys.readouterr()
    outcome = subprocess.CompletedProcess([], code, printed.out, printed.err)
    check_failure(name, outcome, tmp_path, before)


@pytest.mark.parametrize("ranks", [None, 3])
def test_bad_input_as_a_user_sees_it(ranks, tmp_path, run):
    """The exit code of the script itself."""
    before = make_bad_folder(tmp_path, BAD["array-cut-short"])
    outcome = run("recon3d.py", tmp_path / "init.txt", ranks=ranks)
    check_failure("array-cut-short", outcome, tmp_path, before)


def test_no_init_file_is_a_mistake_of_usage(capsys):
    assert cli.recon3d([], SerialComm()) == 2
    assert "initfile" in capsys.readouterr().err


@pytest.mark.parametrize(
    "fails",
    [(ArrayFile, "read_columns"), (volume, "write"), (np.lib.format, "write_array_header_1_0")],
)
def test_older_result_survives_a_failure(fails, tmp_path, monkeypatch, capsys):
    write_scan(tmp_path, SCAN)
    init = write_init(tmp_path / "init.txt", {**BASE, "path": tmp_path})
    for name in RESULTS:
        (tmp_path / name).write_bytes(b"an older result")
    before = listing(tmp_path)

    def fail(*_: Any, **__: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(*fails, fail)
    assert cli.recon3d([str(init), "--quiet"], SerialComm()) == 1
    line = f"{tmp_path}: cannot be written (No space left on device); nothing was kept"
    if fails[1] == "read_columns":
        line = "[Errno 28] No space left on device"
    assert capsys.readouterr().err == f"recon3d: error: {line}\n"
    assert listing(tmp_path) == before
    for name in RESULTS:
        assert (tmp_path / name).read_bytes() == b"an older result"


def test_older_result_survives_when_the_second_file_cannot_be_renamed(tmp_path):
    write_scan(tmp_path, SCAN)
    init = write_init(tmp_path / "init.txt", {**BASE, "path": tmp_path})
    (tmp_path / "grain_ang.npy").write_bytes(b"an older result")
    (tmp_path / "grain.vtkhdf").mkdir()
    assert cli.recon3d([str(init), "--quiet"], SerialComm()) == 1
    assert (tmp_path / "grain_ang.npy").read_bytes() == b"an older result"
