"""omega goes round: what lies a turn apart is one position, and all else stays as it was."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lib.getdata.omega import unwrapped
from tests.getdata.bliss_scans import Taken, failure, pixels, run, write


def full_turn(step: float) -> np.ndarray:
    return np.arange(round(360 / step)) * step


@pytest.mark.parametrize(
    ("omega", "step"),
    [
        (full_turn(10.0), 10.0),
        (full_turn(0.8), 0.8),
        (-full_turn(10.0), 10.0),
        (full_turn(10.0) - 180, 10.0),
        (np.arange(19) * 10.0, 10.0),
        (np.arange(-9, 10) * 10.0, 10.0),
        (np.array([0.0, 180.0]), 180.0),
        (np.array([0.0, 20, 40, 180, 200, 220]), 20.0),
        (np.array([5.0]), 0.0),
        (np.delete(full_turn(10.0), [10, 11, 20]), 10.0),
    ],
)
def test_angles_within_one_turn_stay_to_the_last_bit(omega: np.ndarray, step: float) -> None:
    assert unwrapped(omega, step) is omega


@settings(deadline=None, max_examples=60)
@given(
    n=st.integers(5, 400),
    jitter=st.floats(1e-6, 0.2),
    first=st.floats(-400, 400),
    down=st.booleans(),
    seed=st.integers(0, 99),
)
def test_a_full_turn_is_the_same_wherever_it_begins(
    n: int, jitter: float, first: float, down: bool, seed: int
) -> None:
    """Read modulo 360 from encoders with jitter, in any direction: n positions, each in one place."""
    step = 360.0 / n
    rng = np.random.default_rng(seed)
    nominal = first + np.repeat(np.arange(n), 3) * (-step if down else step)
    read = np.mod(nominal + rng.uniform(-jitter, jitter, nominal.size) * step, 360.0)
    turned = unwrapped(read, step).reshape(n, 3)
    assert np.ptp(turned, axis=1).max() <= 2 * jitter * step + 1e-9
    off = turned - (nominal.reshape(n, 3))
    np.testing.assert_allclose(off - 360 * np.round(off / 360), 0, atol=jitter * step + 1e-6)
    assert np.ptp(turned) < 360 - 0.5 * step


@pytest.mark.parametrize("shift", [-90.0, -10.0, -179.0])
def test_a_part_of_the_circle_across_the_zero_becomes_one_piece(shift: float) -> None:
    omega = shift + np.arange(19) * 10.0
    turned = unwrapped(np.mod(omega, 360.0), 10.0)
    np.testing.assert_allclose(np.mod(turned, 360), np.mod(omega, 360))
    assert (np.diff(turned) > 0).all()


def test_beyond_one_turn() -> None:
    turned = unwrapped(np.arange(5, 42) * 10.0 + 0.0, 10.0)
    assert (turned[0], turned[-1], np.unique(turned).size) == (50.0, 50.0, 36)


# ---- Through getdata.py ----

MU = ("--tilt1", "mu", "--tilt2", "none", "--omega", "omega")


def turned_scan(path: Path, omega: np.ndarray, n_mu: int = 3) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """An entry that goes through omega at each mu; frames, mu, and number of the omega."""
    mu, k = np.divmod(np.arange(n_mu * omega.shape[-1]), omega.shape[-1])
    frames = pixels(mu.size)
    values = np.ravel(omega) if omega.ndim > 1 else omega[k]
    write(path, [{"frames": frames, "instrument/mu/value": 0.05 * mu, "instrument/omega/data": values}])
    return frames, 0.05 * mu, k


@pytest.mark.parametrize("direction", [1, -1])
def test_jitter_about_zero(tmp_path: Path, direction: int) -> None:
    """359.9998 and 0.0001 are one position, and the array is that of a scan without jitter."""
    nominal = full_turn(12.0)[::direction]
    noise = np.random.default_rng(1).uniform(-2e-4, 2e-4, (3, 30))
    frames, mu, k = turned_scan(tmp_path / "scan.h5", np.mod(nominal + noise, 360.0))
    assert run(tmp_path / "scan.h5", tmp_path / "out", roles=MU) == 0
    Taken(frames, mu, np.zeros(mu.size), nominal[k]).check(tmp_path / "out")


def test_one_omega_for_each_entry(tmp_path: Path) -> None:
    entries = []
    for number, omega in enumerate((359.9998, 9.9999, 20.0001, 0.0001, 10.0001, 19.9999)):
        mu = 0.05 * np.arange(4) + 0.2 * (number > 2)
        entries.append(
            {"frames": pixels(4, number), "instrument/mu/value": mu, "instrument/positioners/omega": omega}
        )
    write(tmp_path / "scan.h5", entries)
    assert run(tmp_path / "scan.h5", tmp_path / "out", roles=MU) == 0
    np.testing.assert_allclose(np.load(tmp_path / "out" / "omega.npy"), [0, 10, 20], atol=1e-3)
    assert np.load(tmp_path / "out" / "measured.npy").all()


def test_both_ends_of_a_turn_are_one_position(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    frames, _, _ = turned_scan(tmp_path / "scan.h5", np.arange(37) * 10.0)
    line = failure(capsys, tmp_path / "scan.h5", tmp_path / "out", roles=MU)
    assert "omega 0 and 360 are one position, whole turns apart" in line
    assert run(tmp_path / "scan.h5", tmp_path / "out", "--duplicates", "first", roles=MU) == 0
    array = np.load(tmp_path / "out" / "dataarray.npy")
    assert array.shape[:3] == (3, 1, 36)
    np.testing.assert_array_equal(array[:, 0, 0].swapaxes(-1, -2), frames[::37])


def test_modulo_360_and_not_are_the_same_scan(tmp_path: Path) -> None:
    omega = np.arange(-9, 10) * 10.0
    for name, values in (("plain", omega), ("modulo", np.mod(omega, 360.0))):
        turned_scan(tmp_path / f"{name}.h5", values)
        assert run(tmp_path / f"{name}.h5", tmp_path / name, roles=MU) == 0
    for file in ("dataarray.npy", "omega.npy", "measured.npy"):
        assert (tmp_path / "plain" / file).read_bytes() == (tmp_path / "modulo" / file).read_bytes()
