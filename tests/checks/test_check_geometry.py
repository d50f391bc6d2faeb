"""recon3d-check: does it find the geometry that a scan was simulated with, and say what it cannot know?"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from lib.checks import geometry as check_geometry
from lib.checks.geometry import FLIPS, Candidate, Verdict, equal, relation, report
from lib.initfile.parse import format_initfile
from lib.parallel.communicator import SerialComm
from lib.physics.geometry import Geometry
from tests import aligned_scan
from tests.aligned_scan import write
from tests.running import error_line

SMALL = {"ang_steps": (3, 3, 24), "ang_max": (0.08, 0.08, 345.0), "sim_points": 8000}
WRONG = {"omega_sign": 1, "o11": 1, "o12": 0, "o21": 0, "o22": 1, "tilt_frame": "sample"}


def found_lines(lines):
    """The lines for the init file: key -> value."""
    return dict(line.split() for line in lines[lines.index("") :] if len(line.split()) == 2)


def best_rows(lines):
    """(omega_sign, flip, frame) of the rows of the table that fit best."""
    rows = [line.split() for line in lines if "fits best" in line]
    return [(int(r[1]), tuple(int(o) for o in r[2:6]), r[6]) for r in rows]


def parameters(folder, **changes):
    return aligned_scan.parameters(folder, **(SMALL | changes))


@pytest.fixture(scope="module")
def reversed_scan(tmp_path_factory):
    """omega_sign -1, a flip and the lab frame, with the axis off the middle."""
    truth = {"omega_sign": -1, "o11": -1, "tilt_frame": "lab"}
    folder = tmp_path_factory.mktemp("reversed") / "scan"
    params = parameters(folder, sim_center_offset=(0.0, 3.0), **truth)
    write(replace(params, sim_subgrains=4), noise=1.0, counts=True)
    return replace(params, **WRONG)


def test_sign_flip_and_frame_are_found(reversed_scan):
    lines = check_geometry.run(reversed_scan, SerialComm(), quiet=True)
    best = best_rows(lines)
    assert sorted(best) == [(-1, (-1, 0, 0, 1), "lab"), (-1, (1, 0, 0, -1), "lab")]
    assert found_lines(lines) | {"o11": "", "o22": ""} == {
        "omega_sign": "-1",
        "o11": "",
        "o12": "0",
        "o21": "0",
        "o22": "",
        "tilt_frame": "lab",
    }
    assert any(line.endswith("the mirror image of the same grain") for line in lines)
    assert sum("as in the init file" in line for line in lines) == 1


def test_a_turned_camera_and_vertical_mode(tmp_path):
    params = parameters(tmp_path / "scan", mode="vertical", o11=0, o12=-1, o21=1, o22=0)
    write(params, noise=1.0, counts=True)
    lines = check_geometry.run(replace(params, **WRONG), SerialComm(), quiet=True)
    assert sorted(best_rows(lines)) == [(1, (0, -1, 1, 0), "sample"), (1, (0, 1, -1, 0), "sample")]


def test_without_resolution_a_reversed_omega_is_a_turned_grain(tmp_path):
    params = parameters(tmp_path / "scan", ang_width=(0.0, 0.0), rock_width=0.1, roll_width=0.1)
    write(params, noise=1.0, counts=True)
    lines = check_geometry.run(replace(params, rock_width=0.0, roll_width=0.0), SerialComm(), quiet=True)
    best = {row[:2] for row in best_rows(lines) if row[2] == "sample"}
    assert best == {
        (1, (1, 0, 0, 1)),
        (1, (-1, 0, 0, -1)),
        (-1, (-1, 0, 0, 1)),
        (-1, (1, 0, 0, -1)),
    }
    assert found_lines(lines)["omega_sign"] == "1", "what the init file says is kept if it fits as well"
    assert any(line.endswith("the same grain, turned") for line in lines)


def test_any_number_of_ranks_prints_the_same(run, reversed_scan):
    init = reversed_scan.folder.parent / "init.txt"
    serial = "\n".join(check_geometry.run(replace(reversed_scan), SerialComm(), quiet=True))
    changed = reversed_scan.folder.parent / "wrong.txt"
    wrong = "".join(f"{key} {value}\n" for key, value in WRONG.items())
    changed.write_text(init.read_text() + wrong)
    done = run("-m lib check", changed, ranks=3)
    assert done.returncode == 0, done.stderr
    assert done.stdout == serial + "\n"


def test_error_line(run, tmp_path):
    params = parameters(tmp_path / "nowhere")
    (tmp_path / "init.txt").write_text(format_initfile(params))
    line = error_line(run("-m lib check", tmp_path / "init.txt"), "check")
    assert "no such folder (key 'path')" in line


def verdict(misfits, sign=1, flip=(1, 0, 0, 1), frame="sample", mode="horizontal"):
    omega = sign * np.radians(np.arange(12) * 30.0)
    geometry = Geometry(mode, np.radians(10.4), 4.0, orientation=flip)
    matrix, _ = geometry.sample_to_pixel(omega)
    return Verdict(Candidate(sign, flip, frame), np.array(misfits, dtype=float), matrix)


def test_equal_means_within_the_noise_of_the_comparison():
    misfits = np.random.default_rng(0).normal(5.0, 1.0, 12)
    assert equal(verdict(misfits), verdict(misfits + 0.03))
    assert not equal(verdict(misfits), verdict(misfits + 0.2)), "the same omegas are hard for both"
    assert equal(verdict(misfits), verdict(misfits[::-1] + 0.2))


@pytest.mark.parametrize("mode", ["horizontal", "vertical"])
@pytest.mark.parametrize("flip", FLIPS)
def test_relations(mode, flip):
    base = verdict([1.0], 1, flip, mode=mode)
    negative = tuple(-o for o in flip)
    assert relation(base, verdict([1.0], 1, negative, mode=mode)) == "the mirror image of the same grain"
    across = "another shape that this scan does not rule out"
    one_row = (-flip[0], -flip[1], flip[2], flip[3])
    assert relation(base, verdict([1.0], 1, one_row, mode=mode)) == across
    kinds = {relation(base, verdict([1.0], -1, f, mode=mode)) for f in (one_row, tuple(-o for o in one_row))}
    assert kinds == {"the same grain, turned", "the mirror image of the same grain"}
    assert (
        relation(base, verdict([1.0], 1, flip, "lab", mode=mode)) == "the same shape, with other orientations"
    )


def test_report_of_one_and_of_all():
    one = report([verdict([1.0, 1.1, 0.9]), verdict([5.0, 5.1, 4.9], -1)], Candidate(1, FLIPS[0], "sample"))
    assert "One geometry fits better than all others. Lines for the init file:" in one
    everyone = report([verdict([1.0] * 3), verdict([1.0] * 3, -1)], Candidate(-1, FLIPS[0], "sample"))
    assert "The scan does not tell the geometries apart at all. Lines as they are:" in everyone
    assert found_lines(everyone)["omega_sign"] == "-1"
