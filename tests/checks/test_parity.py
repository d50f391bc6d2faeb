"""Views half a turn apart: a rotation of the lattice turns over, strain and a leaning acceptance do not."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from lib.checks import parity
from lib.checks.parity import Parity
from lib.initfile.parse import read_initfile
from lib.parallel.communicator import SerialComm
from lib.scan.setting import prepare
from tests import phantoms

FLIPS = {"none": {}, "turned": {"o11": 0, "o12": 1, "o21": -1, "o22": 0}}
N_OMEGA, ROI, POINTS = 12, (34, 32), 60_000


def scan(
    mode: str = "horizontal",
    frame: str = "sample",
    strain: float = 0.0,
    lean: float = 0.0,
    flip: str = "none",
    counts: float = 200.0,
    turn_deg: float = 360.0,
) -> phantoms.Case:
    """A bent grain, a flip of the camera of FLIPS.

    strain moves the rocking angle by so many degrees for a micrometre along x + y, lean the accepted rolling
    angle by so many for a pixel along the image of the axis.
    """
    rng = np.random.default_rng(2)
    points = rng.uniform(-5, 5, (POINTS, 3))
    points = points[phantoms.inside(points)]
    ab = np.stack([0.008 * points[:, 1] - 0.006 * points[:, 0], -0.009 * points[:, 2]], axis=-1)
    tilts = phantoms.STEP * (np.arange(5) - 2.0)
    omega = turn_deg / N_OMEGA * np.arange(N_OMEGA)
    light = np.zeros((5, 5, N_OMEGA, *ROI))
    for k, w in enumerate(np.radians(omega)):
        images = phantoms.image_of(mode, points, w)
        ix, iy = (np.rint(p + (n - 1) / 2).astype(int) for p, n in zip(images, ROI, strict=True))
        along = (ix - 16.5) if mode == "horizontal" else (iy - 15.5)
        for i, j in np.ndindex(5, 5):
            rock, roll = phantoms.deviations(mode, frame, np.array([tilts[i], tilts[j]]), ab, w)
            rock, roll = rock - strain * (points[:, 0] + points[:, 1]), roll - lean * along
            weight = np.exp(-4 * np.log(2) * ((rock / 0.05) ** 2 + (roll / 0.08) ** 2))
            light[i, j, k] = np.bincount(ix * ROI[1] + iy, weight, ROI[0] * ROI[1]).reshape(ROI)
    stored = rng.poisson(light * counts / light.max()).astype(np.uint16)
    keys: dict[str, object] = {
        "mode": mode,
        "tilt_frame": frame,
        "grain_dim": [10] * 3,
        "grain_steps": [20] * 3,
    }
    if flip == "turned":  # x_new = y, y_new = -x
        stored = np.ascontiguousarray(np.swapaxes(stored, 3, 4)[..., ::-1])
        keys |= FLIPS["turned"]
    empty = np.zeros(0)
    return phantoms.Case(stored, tilts, tilts, omega, empty, empty, phantoms.INIT | keys)


def judged(folder: Path, case: phantoms.Case, missing: float = 0.0) -> Parity | None:
    init = case.write(folder)
    measured = np.random.default_rng(5).random(case.counts.shape[:3]) >= missing
    np.save(folder / "measured.npy", measured)
    np.save(folder / "dataarray.npy", np.where(measured[..., None, None], case.counts, 0))
    return parity.judge(prepare(read_initfile(init)[0]), SerialComm())


def shares(folder: Path, case: phantoms.Case, missing: float = 0.0) -> np.ndarray:
    found = judged(folder, case, missing)
    assert found is not None
    return np.array(list(found.shares.values()))


@pytest.mark.parametrize("mode", ["horizontal", "vertical"])
@pytest.mark.parametrize("frame", ["sample", "lab"])
@pytest.mark.parametrize("flip", list(FLIPS))
def test_a_rotation_of_the_lattice_turns_over(tmp_path: Path, mode: str, frame: str, flip: str) -> None:
    """But for what the two lines of sight, 20 degrees apart, see of different depths."""
    assert (shares(tmp_path, scan(mode, frame, flip=flip)) < 0.08).all()


@pytest.mark.parametrize("left_out", [(1, 0), (1, 1), (2, 1)])
def test_tilts_about_a_zero_off_their_middle(tmp_path: Path, left_out: tuple[int, int]) -> None:
    """Below omega, views half a turn apart see the range on the other side of the zero: only both count."""
    case = scan(frame="lab")
    first, second = left_out
    case = replace(
        case,
        counts=np.ascontiguousarray(case.counts[first:, second:]),
        tilt1=case.tilt1[first:],
        tilt2=case.tilt2[second:],
        init=case.init | {"tilt_zero": [0, 0]},
    )
    assert not (shares(tmp_path, case) > 0.08).any()  # NaN where too little is left


@pytest.mark.parametrize("mode", ["horizontal", "vertical"])
def test_strain_stays_in_rocking_and_a_leaning_acceptance_in_rolling(tmp_path: Path, mode: str) -> None:
    rocking, rolling = shares(tmp_path, scan(mode, strain=0.008))
    assert rocking > 0.2 and rolling < 0.1
    rocking, rolling = shares(tmp_path, scan(mode, lean=0.003))
    assert rocking < 0.1 and rolling > 0.15


def test_noise_is_taken_off_and_missing_frames_left_out(tmp_path: Path) -> None:
    """At 5 counts noise makes more of the scatter than the grain does, half of it even."""
    assert (shares(tmp_path, scan(counts=5.0)) < 0.12).all()
    assert (shares(tmp_path, scan(), missing=0.1) < 0.1).all()


def test_no_word_of_scans_that_cannot_tell(tmp_path: Path) -> None:
    assert judged(tmp_path, scan(turn_deg=200.0)) is None
    dark = scan()
    dark = replace(dark, counts=np.random.default_rng(0).poisson(0.3, dark.counts.shape).astype(np.uint16))
    found = judged(tmp_path, dark)
    assert found is not None and np.isnan(list(found.shares.values())).all()
    assert "too faint to tell of rocking" in found.words()


def test_words_and_attributes() -> None:
    found = Parity({"rocking": 0.02, "rolling": 0.21}, 12)
    assert "2 % of rocking, 21 % of rolling" in found.words()
    assert found.facts() == {"even_share_rocking": 0.02, "even_share_rolling": 0.21}
