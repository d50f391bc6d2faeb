"""What the tests share: run the two scripts as a user does, serially and under mpirun."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parent.parent
MPIRUN = Path(sys.executable).with_name("mpirun")

Run = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def scan(tmp_path: Path) -> Any:
    """The scan that most tests of getdata.py start from: `getdata_scan.small_scan`."""
    from getdata_scan import small_scan

    return small_scan(tmp_path)


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """run(script, *arguments, ranks=None, cwd=...): a script of the top folder, or "-m module".

    ranks=None runs it serially, without mpirun. The result has returncode, stdout and stderr. A run
    that takes longer than the timeout is a hang, and fails the test.
    """

    def run_script(
        script: str,
        *arguments: object,
        ranks: int | None = None,
        cwd: Path | None = None,
        timeout: float = 120,
    ) -> subprocess.CompletedProcess[str]:
        start = script.split() if script.startswith("-m ") else [str(ROOT / script)]
        command = [sys.executable, *start, *(str(a) for a in arguments)]
        if ranks is not None:
            command = [str(MPIRUN), "-n", str(ranks), *command]
        where = cwd or (ROOT if script.startswith("-m ") else tmp_path)
        return subprocess.run(
            command, capture_output=True, text=True, timeout=timeout, cwd=where, check=False
        )

    return run_script


def error_line(result: subprocess.CompletedProcess[str], program: str) -> str:
    """The one line of a run that failed as it should: exit code 1, one message, no traceback."""
    assert result.returncode == 1, (result.returncode, result.stdout, result.stderr)
    assert "Traceback" not in result.stderr, result.stderr
    lines = [line for line in result.stderr.splitlines() if line.startswith(f"{program}: error: ")]
    assert len(lines) == 1, result.stderr
    assert result.stdout == "", result.stdout
    return lines[0]
