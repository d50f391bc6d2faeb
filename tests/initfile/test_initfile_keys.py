"""The keys of an init file: twice, unknown or missing, and which values of each are refused and how."""

from __future__ import annotations

from dataclasses import MISSING
from itertools import product

import numpy as np
import pytest

from lib.errors import Recon3DError
from lib.initfile.parameters import KEYS
from lib.initfile.parse import parse, read_initfile
from tests.initfile.initfile_text import NEEDED, accepted, refusal, text_with, with_line
from tests.running import error_line

# ---- Keys given twice, unknown, missing ----


def test_the_last_of_two_lines_counts_and_a_warning_names_both():
    params, warnings = parse(text_with("sg_no 1", "", "sg_no 2"), "init.txt")
    assert params.sg_no == 2
    assert warnings == ["init.txt: sg_no is given on lines 6 and 8; line 8 counts"]


def test_a_key_given_three_times_warns_twice():
    params, warnings = parse("M 1\nM 2\n" + text_with(M="3"), "init.txt")
    assert params.M == 3.0
    assert [warning.partition(";")[0] for warning in warnings] == [
        "init.txt: M is given on lines 1 and 2",
        "init.txt: M is given on lines 2 and 6",
    ]


def test_the_warning_is_printed_once_on_three_ranks(run, tmp_path):
    init = tmp_path / "init.txt"
    init.write_text(text_with("M 3"))
    result = run("-m lib simulate", init, ranks=3)
    assert "key stem: is missing" in error_line(result, "simulate")
    warnings = [line for line in result.stderr.splitlines() if "warning" in line]
    assert warnings == [f"warning: {init}: M is given on lines 4 and 6; line 6 counts"]


@pytest.mark.parametrize(
    ("wrong", "near"),
    [
        ("grain_step", "grain_steps"),
        ("wavelenght", "wavelength"),
        ("completness_cutoff", "completeness_cutoff"),
        ("hk1", "hkl"),
        ("Mode", "mode"),
        ("M:", "M"),
        ("sim_count", "sim_counts"),
    ],
)
def test_an_unknown_key_suggests_the_nearest(wrong, near):
    message = refusal(text_with(f"{wrong} 1"))
    assert f"line 6: unknown key '{wrong}', did you mean {near}?" in message


def test_an_unknown_key_like_none_points_to_the_example():
    assert "line 6: unknown key 'qqqqq', see examples/init_example.txt" in refusal(text_with("qqqqq 1"))


@pytest.mark.parametrize("key", NEEDED)
def test_needed_keys(key):
    assert f"key {key} is missing" in refusal(text_with(**{key: None}))


def test_needed_keys_are_those_without_a_default():
    assert {name for name, key in KEYS.items() if key.default is MISSING} == set(NEEDED)


def test_an_empty_file_names_every_needed_key():
    message = refusal("# nothing\n")
    assert all(f"key {key} is missing" in message for key in NEEDED)


def test_all_mistakes_of_a_file_come_in_one_line():
    lines = ("grain_step 3", "sg_no 231", "threshold -2", "mode oblique", "binarize maybe")
    message = refusal(text_with(*lines, M="big", wavelength=None))
    for line in (3, 5, 6, 7, 8, 9):
        assert f"line {line}: " in message
    assert "key wavelength is missing" in message
    assert message.count("; ") >= 6


def test_mistakes_between_keys_also_come_together():
    message = refusal(text_with("t_y 5", "omega_sign 0", "o11 0", "omega_exclude [[20,10]]"))
    assert all(f"{key}: " in message for key in ("t_y", "omega_sign", "o11 o12 o21 o22", "omega_exclude"))


def test_the_message_for_a_file_of_another_kind_stays_readable(tmp_path):
    wrong_file = tmp_path / "dataarray.npy"
    wrong_file.write_bytes(np.random.default_rng(0).bytes(50_000))
    with pytest.raises(Recon3DError) as caught:
        read_initfile(wrong_file)
    assert len(str(caught.value)) < 10_000


# ---- Values out of range ----

REFUSED = [
    ("unit_cell [4,4,4,90,90]", "must be a list of 6 values, not 5"),
    ("unit_cell 4", "must be a list of 6 values, not 1"),
    ("unit_cell [0,4,4,90,90,90]", "0.0 must be above 0"),
    ("unit_cell [4,4,4,90,-90,90]", "-90.0 must be above 0"),
    ("unit_cell [4,4,4,90,90,180]", "angles within 0..180"),
    ("unit_cell [4,4,4,150,150,150]", "no volume"),
    ("unit_cell [4,4,4,90,90,[90]]", "must be one value"),
    ("hkl [2,0]", "must be a list of 3 values, not 2"),
    ("hkl [2,0,0,0]", "must be a list of 3 values, not 4"),
    ("hkl [2,0,.5]", "'.5' is not a whole number"),
    ("hkl [2,0,a]", "'a' is not a number"),
    ("hkl [0,0,0]", "no plane spacing"),
    ("hkl [[2,0,0]]", "must be a list of 3 values, not 1"),
    ("wavelength 0", "0.0 must be above 0"),
    ("wavelength -0.7", "must be above 0"),
    ("wavelength 4.1", "cannot be diffracted"),
    ("wavelength nan", "'nan' is not a number"),
    ("wavelength inf", "'inf' is not a number"),
    ("wavelength 1e999", "'1e999' is not a number"),
    ("wavelength 0.7 A", "must be one value"),
    ("wavelength 0,7293", "must be one value"),
    ("wavelength 1_0", "'1_0' is not a number"),
    ("wavelength 0x1", "'0x1' is not a number"),
    ("wavelength 1e", "'1e' is not a number"),
    ("wavelength .", "'.' is not a number"),
    ("wavelength ١", "is not a number"),
    ("wavelength ２", "is not a number"),
    ("M 0", "0.0 must be above 0"),
    ("M -3", "must be above 0"),
    ("M None", "'None' is not a number"),
    ("M", "has no value"),
    ("M  # nothing", "has no value"),
    ('M ""', "'' is not a number"),
    ('path ""', "must not be empty"),
    ("path a b", "text with blanks needs quotes"),
    ("path [a]", "must be one value"),
    ("output ''", "must not be empty"),
    ("sg_no 0", "0 must be at least 1 (nor None)"),
    ("sg_no 231", "231 must be at most 230"),
    ("sg_no 1.5", "not a whole number"),
    ("mode diagonal", "'diagonal' must be horizontal or vertical"),
    ("t_x flat", "'flat' is not a number (nor None)"),
    ("t_y 1", "t_y: 1 must be 0 or None"),
    ("xyz_up [0,0]", "must be a list of 3 values, not 2"),
    ("xyz_lo 0", "must be a list of 3 values, not 1"),
    ("xyz_th [0,0,inf]", "'inf' is not a number"),
    ("detector_center [1,2,3]", "must be a list of 2 values, not 3"),
    ("o11 2", "2 must be at most 1"),
    ("o12 -2", "-2 must be at least -1"),
    ("o21 0.5", "not a whole number"),
    ("o22 x", "'x' is not a number"),
    ("rock_width -0.01", "must be at least 0"),
    ("roll_width -0.01", "must be at least 0"),
    ("grain_pos [0,0]", "must be a list of 3 values"),
    ("grain_dim [1,0,1]", "must be above 0"),
    ("grain_dim [1,1]", "must be a list of 3 values"),
    ("grain_steps [10,0,10]", "0 must be at least 1"),
    ("grain_steps [10,10.5,10]", "not a whole number"),
    ("grain_steps [10,10,1e300]", "not a whole number"),
    ("method guess", "'guess' must be"),
    ("iterations 0", "0 must be at least 1"),
    ("iterations auto", "'auto' is not a number"),
    ("subsets 0", "0 must be at least 1 (nor auto)"),
    ("subsets 2.5", "not a whole number"),
    ("memory -1", "must be at least 0"),
    ("completeness_cutoff -0.01", "must be at least 0"),
    ("completeness_cutoff 1.01", "must be at most 1"),
    ("completeness_cutoff 50%", "'50%' is not a number"),
    ("threshold -1", "must be at least 0 (nor auto)"),
    ("threshold None", "(nor auto)"),
    ("binarize maybe", "'maybe' must be true or false"),
    ("binarize 1", "'1' must be true or false"),
    ("tilt_frame gonio", "'gonio' must be sample or lab (nor auto)"),
    ("tilt_zero 0", "must be a list of 2 values, not 1"),
    ("projection nearest", "'nearest' must be"),
    ("omega_sign 0", "omega_sign: 0 must be 1 or -1"),
    ("omega_sign 2", "omega_sign: 2 must be 1 or -1"),
    ("omega_sign 0.5", "not a whole number"),
    ("omega_exclude [10,20]", "must be a list of 2 values"),
    ("omega_exclude [[10]]", "must be a list of 2 values, not 1"),
    ("omega_exclude [[20,10]]", "[20,10] must run upwards"),
    ('stem ""', "must not be empty"),
    ("format tif", "'tif' must be edf"),
    ("detx_size 0", "0 must be at least 1"),
    ("detz_size 0", "0 must be at least 1"),
    ("ang_types [a,b]", "must be a list of 3 values, not 2"),
    ("ang_types [a,b,a]", "must be three different motors"),
    ("ang_steps [0,7,60]", "0 must be at least 1"),
    ("ang_min [0.2,-0.1,0]", "7 positions of tilt1 cannot span 0.2..0.105"),
    ("ang_max [0.1,-0.105,360]", "7 positions of tilt2 cannot span -0.105..-0.105"),
    ("ang_steps [7,7,1]", "1 positions of omega cannot span 0..354"),
    ("ang_mean [0,0,0]", "must be a list of 2 values"),
    ("ang_width [-0.1,0]", "must be at least 0"),
    ("sim_grain [1,0,1]", "must be above 0"),
    ("sim_grain [1,1]", "must be a list of 3 values, not 2 (nor auto)"),
    ("sim_subgrains 0", "must be at least 1"),
    ("sim_points 999", "must be at least 1000"),
    ("sim_counts 0", "must be above 0"),
    ("sim_offset -1", "must be at least 0"),
    ("sim_read_noise -1", "must be at least 0"),
    ("sim_background ''", "must not be empty"),
    ("sim_background_frames 0", "must be at least 1"),
    ("sim_jitter -0.01", "must be at least 0"),
    ("sim_jitter 0.26", "must be at most 0.25"),
    ("sim_seed -1", "must be at least 0"),
    ("sim_drift -1", "must be at least 0"),
    ("sim_center_offset 1", "must be a list of 2 values, not 1"),
    ("drift maybe", "'maybe' must be"),
    ("hkl [2,0,0", "has a [ that is not closed"),
    ("hkl 2,0,0]", "has a ] too many"),
    ("hkl [2,0,0]]", "has a ] too many"),
    ("hkl [2,0,0] 1", "has something outside its brackets"),
    ("hkl 2 [0,0]", "has something outside its brackets"),
    ("hkl [[[[2]]]]", "has too many brackets"),
    ('path "never closed', "cannot be read at"),
    ("path it's", "cannot be read at"),
]


@pytest.mark.parametrize(("line", "reason"), REFUSED, ids=[line for line, _ in REFUSED])
def test_what_is_refused(line, reason):
    message = refusal(with_line(line))
    assert reason in message
    assert line.split()[0] in message or "ang_min, ang_max: " in message


LIMITS = (
    "sg_no 1",
    "sg_no 230",
    "completeness_cutoff 0",
    "completeness_cutoff 1",
    "rock_width 0",
    "roll_width 0",
    "grain_steps [1,1,1]",
    "detx_size 1",
    "ang_width [0,0]",
    "sim_points 1000",
    "sim_jitter 0.25",
    "sim_offset 0",
    "sim_read_noise 0",
    "sim_seed 0",
    "omega_exclude [[10,10]]",
    "wavelength 4.0494",
)


@pytest.mark.parametrize("line", LIMITS)
def test_what_is_just_allowed(line):
    accepted(with_line(line))


def test_one_position_may_stand_still():
    lines = ("ang_steps [1,7,60]", "ang_min [0.1,-0.1,0]", "ang_max [0.1,0.1,354]")
    assert accepted(text_with(*lines)).ang_steps == (1, 7, 60)


def test_the_eight_flips_and_no_others():
    allowed = set()
    for o11, o12, o21, o22 in product((-1, 0, 1), repeat=4):
        text = text_with(f"o11 {o11}", f"o12 {o12}", f"o21 {o21}", f"o22 {o22}")
        try:
            accepted(text)
        except Recon3DError as error:
            assert "none of the eight flips" in str(error)
        else:
            allowed.add((o11, o12, o21, o22))
    signs = list(product((-1, 1), repeat=2))
    assert allowed == {(a, 0, 0, b) for a, b in signs} | {(0, a, b, 0) for a, b in signs}


def test_a_long_value_is_shortened_in_the_message():
    message = refusal(text_with("mode " + "x" * 5000))
    assert len(message) < 200
    assert "xxx..." in message


def test_control_characters_do_not_reach_the_terminal():
    message = refusal(text_with("mode \x1b[31mred\x07", "\x1b[2Jkey 1"))
    assert message.isprintable()
