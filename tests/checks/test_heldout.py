"""Omegas that were left out are told better by the result than by what it should beat."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
import pytest

from lib.checks import doubts, heldout
from lib.checks.heldout import CONSTANT, DILATED, NAMES, RUN_ITSELF, SHUFFLED, HeldOut
from lib.initfile.parse import read_initfile
from lib.parallel.communicator import SerialComm
from lib.scan.setting import prepare
from tests import phantoms
from tests.running import Run

WIDTHS = {"rock_width_deg": phantoms.ROCK, "roll_width_deg": phantoms.ROLL}


def judged(
    folder: Path, case: phantoms.Case, mask: np.ndarray | None = None, missing: float = 0.0
) -> HeldOut | None:
    init = case.write(folder)
    measured = np.random.default_rng(5).random(case.counts.shape[:3]) >= missing
    np.save(folder / "measured.npy", measured)
    np.save(folder / "dataarray.npy", np.where(measured[..., None, None], case.counts, 0))
    setting, comm = prepare(read_initfile(init)[0]), SerialComm()
    scan = doubts.load(setting, comm)
    assert scan is not None
    return heldout.judge(setting, case.mask if mask is None else mask, WIDTHS, scan, comm)


def across_the_axis(r: np.ndarray) -> np.ndarray:
    """Two subgrains on either side of the rotation axis."""
    left = r[..., 1] < 0.4
    return np.stack([np.where(left, -0.045, 0.04), np.where(left, 0.03, -0.035)], axis=-1)


@pytest.mark.parametrize("frame", ["sample", "lab"])
@pytest.mark.parametrize("missing", [0.0, 0.1])
def test_the_true_grain_beats_what_it_should(tmp_path: Path, frame: str, missing: float) -> None:
    found = judged(tmp_path, phantoms.make(frame=frame, crystal=across_the_axis), missing=missing)
    assert found is not None
    scores = found.scores
    assert scores[RUN_ITSELF] > 0.85
    assert scores[RUN_ITSELF] > max(scores[name] for name in (SHUFFLED, CONSTANT, DILATED)) + 0.02
    assert "better than all of these" in found.words()
    assert list(found.facts()) == [f"{name}_score" for name in NAMES]


def test_one_orientation_is_not_told_from_itself(tmp_path: Path) -> None:
    """A grain of one orientation is as well told with the same orientations everywhere."""
    found = judged(tmp_path, phantoms.make(crystal=lambda r: np.zeros((*r.shape[:-1], 2))))
    assert found is not None
    assert found.scores[CONSTANT] > found.scores[RUN_ITSELF] - 0.01


def test_a_grain_that_is_too_small_is_seen(tmp_path: Path) -> None:
    """What is larger all round is then the better one."""
    case = phantoms.make(crystal=across_the_axis)
    small = phantoms.inside(1.35 * phantoms.voxels(case))
    found = judged(tmp_path, case, small)
    assert found is not None
    assert found.scores[DILATED] > found.scores[RUN_ITSELF]
    assert "do not tell the shape to two voxels" in found.words()


def test_too_few_omegas_and_no_width(tmp_path: Path) -> None:
    case = phantoms.make(n_omega=11)
    setting = prepare(read_initfile(case.write(tmp_path))[0])
    assert doubts.load(setting, SerialComm()) is None
    case = phantoms.make(n_omega=12)
    setting = prepare(read_initfile(case.write(tmp_path))[0])
    scan = doubts.load(setting, SerialComm())
    assert scan is not None
    assert heldout.judge(setting, case.mask, {}, scan, SerialComm()) is None


def test_scores_and_parity_are_those_of_one_rank_on_more(tmp_path: Path, run: Run) -> None:
    """As attributes, and in the report."""
    found = []
    for ranks in (None, 2, 3):
        folder = tmp_path / str(ranks)
        init = phantoms.make(n=10, n_tilts=3, n_omega=14).write(folder, method="mlem", errors="none")
        assert run("recon3d.py", init, "--quiet", ranks=ranks).returncode == 0
        with h5py.File(folder / "grain.vtkhdf") as file:
            attributes = dict(file["entry/process"].attrs)
        found.append(
            [attributes[key] for key in (*(f"{name}_score" for name in NAMES), "even_share_rocking")]
        )
        page = (folder / "report.html").read_text()
        assert "Omegas that were left out" in page and "Half a turn apart" in page
    np.testing.assert_allclose(found[1:], [found[0]] * 2, atol=2e-3)
