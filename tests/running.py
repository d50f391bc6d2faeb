"""Where the project lies, and how its scripts are run and judged."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
MPIRUN = Path(sys.executable).with_name("mpirun")

Run = Callable[..., "subprocess.CompletedProcess[str]"]


def error_line(result: subprocess.CompletedProcess[str], program: str) -> str:
    """The one line of a run that failed as it should: exit code 1, one message, no traceback."""
    assert result.returncode == 1, (result.returncode, result.stdout, result.stderr)
    assert "Traceback" not in result.stderr, result.stderr
    lines = [line for line in result.stderr.splitlines() if line.startswith(f"{program}: error: ")]
    assert len(lines) == 1, result.stderr
    assert result.stdout == "", result.stdout
    return lines[0]
