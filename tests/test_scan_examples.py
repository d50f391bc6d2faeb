"""The examples of scans of one angle, run as their first lines say."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest

from tests.running import ROOT, Run


def commands(name: str) -> list[list[str]]:
    """The commands in the head of an example, each as its words."""
    lines = (ROOT / "examples" / name).read_text().splitlines()
    found = [c.strip() for line in lines if line.startswith("#   ") for c in line[4:].split(";")]
    return [command.split() for command in found]


@pytest.mark.parametrize("name", ["rocking", "strain"])
def test_example(tmp_path: Path, run: Run, name: str) -> None:
    example = ROOT / "examples" / f"init_{name}.txt"
    text = example.read_text()
    init = tmp_path / example.name
    init.write_text(text.replace("demo/", f"{tmp_path}/demo/"))
    said = {}
    for program, *arguments in commands(example.name):
        script = {
            "recon3d-getdata": "getdata.py",
            "recon3d": "recon3d.py",
            "recon3d-simulate": "-m lib simulate",
            "recon3d-compare": "-m lib compare",
        }[program]
        there = [
            str(init) if a == example.name else a.replace("demo/", f"{tmp_path}/demo/") for a in arguments
        ]
        result = run(script, *there)
        assert result.returncode == 0, (program, result.stderr)
        said[program] = result.stdout
    info = json.loads((tmp_path / "demo" / name / "array/getdata.json").read_text())
    assert (info["scan"], info["tilt_frame"]) == (name, "lab")
    assert info["roles"] == {
        "tilt1": {"rocking": "mu", "strain": "2theta"}[name],
        "tilt2": "none",
        "omega": "omega",
    }
    assert np.load(tmp_path / "demo" / name / "array/tilt2.npy").tolist() == [0.0]
    dice = float(re.search(r"Dice ([0-9.]+)", said["recon3d-compare"])[1])
    error = float(re.search(r"error ([0-9.e-]+)", said["recon3d-compare"])[1])
    assert dice > 0.95
    assert error < {"rocking": 0.15, "strain": 1e-5}[name]
