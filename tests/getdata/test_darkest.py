"""--background darkest takes frames that had beam."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lib.getdata.cleaning import with_beam
from tests.getdata.bliss_scans import failure, info, run, scan

LIT = 100 + 50 * np.arange(12)  # counts of the frames of each omega; the first four are the dark ones


def grey(currents: Any = None, **counts: Any) -> Any:
    """Frames of one brightness each, with what happened to some of them at each omega."""

    def change(content: dict[str, Any], k: int) -> None:
        levels = LIT.copy()
        levels[1] = 104
        levels[2], levels[3] = 108, 112
        for name, level in counts.items():
            levels[int(name[1:])] = level
        content["frames"] = np.broadcast_to(levels[:, None, None], (12, 3, 4)).astype(np.uint16)
        if currents is not None:
            content["measurement/current"] = currents

    return change


@pytest.mark.parametrize(
    ("change", "n_gone"),
    [
        (grey(), 0),
        (grey(f7=0), 2),
        (grey(f7=0, f9=3), 4),
        (grey(f7=9), 2),
        (grey(np.where(np.arange(12) == 7, 0.0, 190.0), f7=99), 2),
        (grey(np.where(np.arange(12) == 7, np.nan, 190.0), f7=99), 2),
        (grey(f2=900, f3=900), 0),  # two dark frames among many that are lit
        (grey(f2=900, f3=900, f7=0), 2),
        (grey(np.zeros(12)), 0),  # nobody knows the current
    ],
)
def test_frames_without_beam_are_no_background(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], change: Any, n_gone: int
) -> None:
    scan(tmp_path / "scan.h5", change)
    options = ("--background", "darkest", "--dtype", "float32", "--no-clip")
    assert run(tmp_path / "scan.h5", tmp_path / "out", *options) == 0
    assert info(tmp_path / "out")["background"]["level"] == 102.0
    said = capsys.readouterr().err
    assert (f"{n_gone} frames had no beam" in said) == bool(n_gone)
    assert any("had no beam" in w for w in info(tmp_path / "out")["warnings"]) == bool(n_gone)


@pytest.mark.parametrize(("how", "n_lit"), [("darkest", 1), ("darkest", 0), ("scan", 0)])
def test_an_omega_without_beam_is_an_error(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], how: str, n_lit: int
) -> None:
    def change(content: dict[str, Any], k: int) -> None:
        grey(np.where(np.arange(12) < 12 - n_lit, 0.0, 190.0) if k == 1 else np.full(12, 190.0))(content, k)

    scan(tmp_path / "scan.h5", change)
    line = failure(capsys, tmp_path / "scan.h5", tmp_path / "out", "--background", how)
    assert f"--background {how}: omega 10 has {n_lit} frames with beam; it needs" in line


def test_frames_that_get_darker_little_by_little_all_have_beam() -> None:
    """A detector that counts photons sees next to nothing at the outer tilts."""
    sums = np.array([3.0, 5, 9, 14, 40, 90, 200, 500, 1000, 900, 300, 70])
    assert with_beam(sums, np.zeros(12, int), np.ones(12, bool)).all()
