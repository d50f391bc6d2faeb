"""What the tests share: run the two scripts as a user does, serially and under mpirun."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.running import ROOT, Run, launcher


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
        command = [*launcher(ranks), sys.executable, *start, *(str(a) for a in arguments)]
        where = cwd or (ROOT if script.startswith("-m ") else tmp_path)
        return subprocess.run(
            command, capture_output=True, text=True, timeout=timeout, cwd=where, check=False
        )

    return run_script
