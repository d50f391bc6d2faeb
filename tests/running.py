"""Where the project lies, and how its scripts are run and judged."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
MPIRUN = Path(sys.executable).with_name("mpirun")

Run = Callable[..., "subprocess.CompletedProcess[str]"]


def launcher(ranks: int | None) -> list[str]:
    """What a command begins with to run on so many ranks; nothing for a run without mpirun."""
    return [] if ranks is None else [str(MPIRUN), "-n", str(ranks)]


def processes_with(*words: object) -> list[int]:
    """Numbers of the Python processes that have all of these words in their command."""
    wanted, found = {str(word).encode() for word in words}, []
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            try:
                command = (folder / "cmdline").read_bytes().split(b"\0")
            except OSError:
                continue
            if command[0] == sys.executable.encode() and wanted <= set(command):
                found.append(int(folder.name))
    return sorted(found)


# A shell that starts the tests in the background has them, and all that they start, ignore Ctrl-C.
HEED_CTRL_C = """
import runpy, signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)
sys.argv = sys.argv[1:]
sys.path[0] = sys.argv[0].rpartition("/")[0]
runpy.run_path(sys.argv[0], run_name="__main__")
"""


def start(
    script: str, *arguments: object, ranks: int | None = None, first: str = ""
) -> subprocess.Popen[str]:
    """A script of the top folder that heeds Ctrl-C, not waited for; `first` is run before it."""
    command = [sys.executable, "-c", first + HEED_CTRL_C, str(ROOT / script), *(str(a) for a in arguments)]
    return subprocess.Popen(
        [*launcher(ranks), *command], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def error_line(result: subprocess.CompletedProcess[str], program: str) -> str:
    """The one line of a run that failed as it should: exit code 1, one message, no traceback."""
    assert result.returncode == 1, (result.returncode, result.stdout, result.stderr)
    assert "Traceback" not in result.stderr, result.stderr
    lines = [line for line in result.stderr.splitlines() if line.startswith(f"{program}: error: ")]
    assert len(lines) == 1, result.stderr
    assert result.stdout == "", result.stdout
    return lines[0]
