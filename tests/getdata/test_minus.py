"""A value that begins with a minus is a number that is wrong, and not an option."""

from __future__ import annotations

from pathlib import Path

import pytest

from lib import cli
from lib.parallel.communicator import SerialComm


@pytest.mark.parametrize(
    ("poi", "imgsize", "options", "words"),
    [
        ("1,2", "-4,20", [], "imgsize: -4,20: both sides must be at least 1 pixel"),
        ("1,2", "4,-20", [], "imgsize: 4,-20: both sides"),
        ("1,2", "-4", [], "argument imgsize: '-4' must be two whole numbers"),
        ("-.5,3", "4,4", [], "argument poi: '-.5,3' must be two whole numbers"),
        ("1,2", "4,4", ["--tolerance", "-1e-3"], "argument --tolerance: '-1e-3' must be a positive number"),
        ("1,2", "4,4", ["--bin", "-2"], "argument --bin: '-2' must be a whole number"),
        ("1,2", "4,4", ["--phi0", "-1e-3"], "no .edf"),  # a good value
    ],
)
def test_it_is_judged_and_named(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    poi: str,
    imgsize: str,
    options: list[str],
    words: str,
) -> None:
    arguments = [str(tmp_path), "a", "-", "-", poi, imgsize, str(tmp_path), "out", *options]
    assert cli.getdata(arguments, SerialComm()) in (1, 2)
    assert words in capsys.readouterr().err
