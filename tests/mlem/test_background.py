"""A dark level that was left in the array: the same grain as without it, by every method, and a word."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
import pytest

from lib import reconstruction
from lib.errors import Recon3DError
from lib.initfile.parse import read_initfile
from lib.parallel.communicator import SerialComm
from lib.scan.setting import prepare
from tests import phantoms
from tests.running import Run


@pytest.fixture(scope="module")
def clean() -> phantoms.Case:
    return phantoms.make(
        peak_counts=200.0,
        n=24,
        n_tilts=7,
        n_omega=36,
        crystal=phantoms.four_subgrains,
        widths=(1.4 * phantoms.STEP, 2.8 * phantoms.STEP),
    )


def solve(case: phantoms.Case, folder: Path, **keys: object):
    """Setting, fields and mask."""
    setting = prepare(read_initfile(case.write(folder, **keys))[0])
    return setting, *reconstruction.solve(setting, SerialComm(), quiet=True)[:2]


def orientation(fields: dict[str, np.ndarray]) -> np.ndarray:
    return np.stack([fields["tilt1"], fields["tilt2"]], axis=-1)


def judged(case: phantoms.Case, folder: Path) -> tuple[list[str], float, float]:
    """Warnings, Dice and the median error in steps of mlem."""
    setting, fields, mask = solve(case, folder, method="mlem")
    dice, deviation = phantoms.judge(case, mask, orientation(fields))
    return setting.warnings, dice, float(np.median(np.linalg.norm(deviation, axis=1)))


@pytest.fixture(scope="module")
def exact(clean: phantoms.Case, tmp_path_factory: pytest.TempPathFactory) -> dict[bool, tuple[float, float]]:
    """Dice and error without a level, by whether the counts are signed."""
    found = {}
    for signed in (False, True):
        case = phantoms.on_level(clean, phantoms.level_of("exact", clean), signed=signed)
        warnings, *found[signed] = judged(case, tmp_path_factory.mktemp("exact"))
        assert warnings == []
    return found


@pytest.mark.parametrize(
    ("kind", "signed"),
    [*((kind, False) for kind in phantoms.LEVELS if kind != "exact"), ("all of them", True)],
)
def test_mlem_finds_the_same_grain(
    tmp_path: Path, clean: phantoms.Case, exact: dict[bool, tuple[float, float]], kind: str, signed: bool
) -> None:
    case = phantoms.on_level(clean, phantoms.level_of(kind, clean), signed=signed)
    warnings, dice, error = judged(case, tmp_path)
    assert len([text for text in warnings if "dark level" in text]) == 1
    assert dice > exact[signed][0] - 0.005
    assert error < exact[signed][1] + 0.01


@pytest.mark.parametrize("kind", [kind for kind in phantoms.LEVELS if kind != "exact"])
def test_backprojection_finds_the_same_orientation(tmp_path: Path, clean: phantoms.Case, kind: str) -> None:
    results = []
    for name in ("exact", kind):
        case = phantoms.on_level(clean, phantoms.level_of(name, clean))
        _, fields, mask = solve(case, tmp_path / name.replace(" ", "_"), method="backprojection", threshold=8)
        results.append((orientation(fields), mask))
    (expected, mask), (found, mask_left) = results
    both = mask & mask_left
    assert both.sum() > 0.98 * max(mask.sum(), mask_left.sum())
    apart = np.linalg.norm(found - expected, axis=-1)[both] / phantoms.STEP
    assert np.median(apart) < 0.03
    assert np.percentile(apart, 99) < 0.08


def test_what_is_missing_is_known(tmp_path: Path, clean: phantoms.Case) -> None:
    """Two counts too much were taken off and cut: the model knows, and says so."""
    case = phantoms.on_level(clean, phantoms.level_of("exact", clean) - 2.0)
    setting, fields, mask = solve(case, tmp_path / "auto", method="mlem")
    assert any("too much" in text for text in setting.warnings)
    _, ignored, mask_ignored = solve(case, tmp_path / "ignored", method="mlem", background=0)
    dice, deviation = phantoms.judge(case, mask, orientation(fields))
    dice_ignored, _ = phantoms.judge(case, mask_ignored, orientation(ignored))
    assert dice >= dice_ignored
    assert np.median(np.linalg.norm(deviation, axis=1)) < 0.06


def test_a_given_level_counts(tmp_path: Path, clean: phantoms.Case) -> None:
    level = 5.0 + np.arange(36.0)[:, None, None] + np.zeros(clean.counts.shape[3:])
    case = phantoms.on_level(clean, level)
    numbers = "[" + ",".join(f"{5.0 + k}" for k in range(36)) + "]"
    setting, fields, mask = solve(case, tmp_path, method="mlem", background=numbers)
    assert setting.warnings == []
    np.testing.assert_allclose(setting.measurement.scan.dark.of_omega, level[:, 0, 0])
    dice, _ = phantoms.judge(case, mask, orientation(fields))
    assert dice > 0.95
    with pytest.raises(Recon3DError, match="has 2 numbers; give one, or 36, one per omega"):
        prepare(read_initfile(case.write(tmp_path, background="[1,2]"))[0])


def test_rocking_scans_too(tmp_path: Path) -> None:
    clean = phantoms.make_line_scan("rocking", n_positions=9)
    found = []
    for name in ("exact", "10 left", "halo"):
        case = phantoms.on_level(clean, phantoms.level_of(name, clean))
        _, fields, mask = solve(case, tmp_path / name.replace(" ", "_"))
        dice, deviation = phantoms.judge(case, mask, orientation(fields))
        found.append((dice, np.median(np.linalg.norm(deviation, axis=1))))
    for dice, error in found[1:]:
        assert dice > found[0][0] - 0.01
        assert error < found[0][1] + 0.02


def test_the_same_on_any_number_of_ranks_and_in_the_file(
    run: Run, tmp_path: Path, clean: phantoms.Case
) -> None:
    case = phantoms.on_level(clean, phantoms.level_of("all of them", clean))
    init = case.write(tmp_path, method="backprojection")
    written = []
    for ranks in (None, 3):
        done = run("recon3d.py", init, "--quiet", ranks=ranks)
        assert done.returncode == 0, done.stderr
        assert done.stderr.count("stand on a dark level of") == 1
        written.append((tmp_path / "grain_ang.npy").read_bytes())
    assert written[0] == written[1]
    with h5py.File(tmp_path / "grain.vtkhdf") as file:
        assert file["entry/process"].attrs["dark_level_counts"].shape == (36,)
    assert "Dark level left in the images" in (tmp_path / "report.html").read_text()
