"""What no background frame shows: pedestal, halo and pattern of the simulation, found again by recon3d.py."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from lib import cli
from lib.initfile.parse import read_initfile
from lib.parallel.communicator import SerialComm
from lib.scan.setting import prepare
from lib.simulation.detector import left_over
from tests.running import Run
from tests.test_install import INIT

MORE = """\
ang_steps  [5,5,14]
ang_min  [-0.2,-0.2,0.]
ang_max  [0.2,0.2,335.]
sim_pedestal  [6,4]
sim_halo  12
sim_pattern  3
"""


def test_the_level_is_what_the_keys_say(tmp_path: Path) -> None:
    (tmp_path / "init.txt").write_text(INIT + MORE)
    params, _ = read_initfile(tmp_path / "init.txt")
    levels = np.array([left_over(params, k) for k in range(14)])
    assert levels.shape == (14, 36, 40)
    change = levels - levels[0]
    np.testing.assert_allclose(change, change[:, :1, :1] + np.zeros_like(change), atol=1e-9)
    assert np.ptp(change) == pytest.approx(8.0, abs=0.5)
    assert levels[0].mean() > 6 + 3
    assert levels[0][14:22, 16:24].mean() > levels[0][:4, :4].mean() + 6
    (tmp_path / "init.txt").write_text(INIT)
    assert left_over(read_initfile(tmp_path / "init.txt")[0], 3) == 0.0


def test_frames_stand_on_it_and_recon3d_finds_it(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "init.txt").write_text(INIT + MORE)
    assert cli.simulate(["init.txt", "--quiet"], SerialComm()) == 0
    arguments = ["raw", "grain_", "raw", "dark_", "20,18", "40,36", ".", "array", "--quiet", "--no-report"]
    assert cli.getdata(arguments, SerialComm()) == 0
    params, _ = read_initfile(tmp_path / "init.txt")
    setting = prepare(params)
    assert any("stand on a dark level of" in text for text in setting.warnings)
    level = setting.measurement.scan.dark
    found = level.pattern[None] + level.of_omega[:, None, None]
    expected = np.array([left_over(params, k).T for k in range(14)])
    assert np.abs(np.median(found - expected)) < 0.6
    assert np.percentile(np.abs(found - expected), 90) < 3.0
