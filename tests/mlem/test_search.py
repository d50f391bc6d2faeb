"""The widths of the resolution as the search finds them: few counts and many, in both frames, equal ones."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from lib.initfile.parse import read_initfile
from lib.mlem.resolution import find_resolution
from lib.parallel.communicator import SerialComm
from lib.scan.hull import find_hull
from lib.scan.look import lit_sums
from lib.scan.setting import prepare
from tests import phantoms


def found_over_true(folder: Path, widths: tuple[float, float], **how) -> np.ndarray:
    """Both widths found on a scan of 7 x 7 tilts and 60 omegas, whose widths are given in steps."""
    true = phantoms.STEP * np.array(widths)
    case = phantoms.make(n=40, n_tilts=7, n_omega=60, widths=tuple(true), **how)
    setting = prepare(read_initfile(case.write(folder, method="mlem"))[0]).fitted_to_voxels()
    comm = SerialComm()
    hull = find_hull(setting.measurement, setting.projector, comm, lit_sums(setting), quiet=True)
    found = find_resolution(setting, hull, comm)
    assert found.sure
    return np.array([found.resolution.rocking, found.resolution.rolling]) / true


@pytest.mark.parametrize("frame", ["sample", "lab"])
@pytest.mark.parametrize(("counts", "within"), [(5, 0.2), (1000, 0.15)])
def test_widths_are_found_whatever_the_counts(tmp_path, frame, counts, within):
    """Dark noise of few counts slows a trial: stopped early, it finds narrow widths."""
    found = found_over_true(tmp_path, (1.41, 2.83), frame=frame, peak_counts=counts, read_noise=1.5)
    np.testing.assert_allclose(found, 1.0, atol=within)


def test_equal_widths_are_found_equal(tmp_path):
    """What the scan does not tell apart is a ridge: beside it, one is too narrow and the other too broad."""
    found = found_over_true(tmp_path, (1.41, 1.41), peak_counts=1000)
    np.testing.assert_allclose(found, 1.0, atol=0.15)
    assert found[0] == pytest.approx(found[1], rel=0.05)
