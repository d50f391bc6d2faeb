"""The init file: what its lines may look like, what is refused and how, and the example file."""

from __future__ import annotations

import builtins
import re
from dataclasses import MISSING
from itertools import product
from math import cos, pi, radians, sin

import numpy as np
import pytest
from conftest import ROOT, error_line
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from lib.errors import Recon3DError
from lib.initfile import format_initfile, format_value, parse, parse_value, read_initfile
from lib.parameters import KEYS, Parameters

REPEATABLE = settings(derandomize=True, deadline=None, max_examples=150)

NEEDED = {
    "unit_cell": "[4.0495,4.0495,4.0495,90.,90.,90.]",
    "hkl": "[2,0,0]",
    "wavelength": "0.7293",
    "M": "18.57",
    "path": "data",
}


def text_with(*lines, **changes):
    """An init file of the needed keys, some of them changed or (None) left out, and more lines."""
    keys = {**NEEDED, **changes}
    own = [f"{key} {value}" for key, value in keys.items() if value is not None]
    return "\n".join([*own, *lines]) + "\n"


def with_line(line):
    """The same with one line that takes the place of the needed key it gives, if it gives one."""
    key = line.split()[0] if line.split() else ""
    return text_with(line, **({key: None} if key in NEEDED else {}))


def accepted(text):
    """The parameters of a text that must parse without a warning."""
    params, warnings = parse(text, "init.txt")
    assert warnings == []
    return params


def refusal(text):
    """The message for a text that must be refused: one line that names the file first."""
    with pytest.raises(Recon3DError) as caught:
        parse(text, "init.txt")
    message = str(caught.value)
    assert message.startswith("init.txt: ")
    assert len(message.splitlines()) == 1
    return message


# ---- How values may be written ----

WAYS = [
    ("M 18.57   # comment", "M", 18.57),
    ("M\t18.57\t# tabs", "M", 18.57),
    ("   M   18.57   ", "M", 18.57),
    ("M 18.57# no blank before", "M", 18.57),
    ('M "18.57"', "M", 18.57),
    ("M 1.", "M", 1.0),
    ("M .01", "M", 0.01),
    ("M +1.5E-3", "M", 0.0015),
    ("M 7", "M", 7.0),
    ("hkl 2 0 0", "hkl", (2, 0, 0)),
    ("hkl 2,0,0", "hkl", (2, 0, 0)),
    ("hkl 2\t-1\t0  # blanks", "hkl", (2, -1, 0)),
    ("hkl [1, 2 ,3]", "hkl", (1, 2, 3)),
    ("hkl [ 1 ,2, 3 ]# close", "hkl", (1, 2, 3)),
    ("hkl [1 2 3]", "hkl", (1, 2, 3)),
    ("hkl [2., 0., -1.]", "hkl", (2, 0, -1)),
    ("hkl [\"2\", '0', 0]", "hkl", (2, 0, 0)),
    ("grain_pos [-1.,.5,1e1]", "grain_pos", (-1.0, 0.5, 10.0)),
    ("t_x None", "t_x", None),
    ('t_x  "None"', "t_x", None),
    ("t_x 'none'", "t_x", None),
    ("t_x 20.75", "t_x", 20.75),
    ("t_y 0", "t_y", 0.0),
    ("sg_no None", "sg_no", None),
    ("sg_no 225", "sg_no", 225),
    ("output None", "output", None),
    ("detector_center None", "detector_center", None),
    ("detector_center auto", "detector_center", "auto"),
    ("detector_center [255.5, 256]", "detector_center", (255.5, 256.0)),
    ("rock_width auto", "rock_width", None),
    ("roll_width 0", "roll_width", 0.0),
    ("method mlem", "method", "mlem"),
    ("iterations 12", "iterations", 12),
    ("subsets auto", "subsets", None),
    ("memory 0", "memory", 0.0),
    ("subsets 1", "subsets", 1),
    ("projection exact", "projection", "exact"),
    ("threshold auto", "threshold", None),
    ("threshold 0", "threshold", 0.0),
    ("tilt_frame auto", "tilt_frame", None),
    ("tilt_frame lab", "tilt_frame", "lab"),
    ("tilt_zero [0.1,-0.2]", "tilt_zero", (0.1, -0.2)),
    ("sim_grain auto", "sim_grain", None),
    ("binarize True", "binarize", True),
    ("binarize false", "binarize", False),
    ('mode "vertical"', "mode", "vertical"),
    ('format  "edf"', "format", "edf"),
    ("omega_sign -1", "omega_sign", -1),
    ("omega_exclude []", "omega_exclude", ()),
    ("omega_exclude [[10, 20]]", "omega_exclude", ((10.0, 20.0),)),
    ("omega_exclude [[10,20],[ 30 , 40.5 ]]", "omega_exclude", ((10.0, 20.0), (30.0, 40.5))),
    ('ang_types  ["phi_upper","phi_lower","Omega"]', "ang_types", ("phi_upper", "phi_lower", "Omega")),
    ("ang_types diffrz gamma diffry", "ang_types", ("diffrz", "gamma", "diffry")),
    ("path /data/id06", "path", "/data/id06"),
    ('path "/data/grain 1"', "path", "/data/grain 1"),
    ("path '/data/grain #1' # the first", "path", "/data/grain #1"),
    ('path "it\'s here"', "path", "it's here"),
    ("path 'say \"x\"'", "path", 'say "x"'),
    ("path C:\\data\\x", "path", "C:\\data\\x"),
    ("path /data/größe_µm", "path", "/data/größe_µm"),
    ("path a#b", "path", "a"),
]


@pytest.mark.parametrize(("line", "key", "value"), WAYS, ids=[way[0] for way in WAYS])
def test_ways_to_write_a_value(line, key, value):
    found = getattr(accepted(with_line(line)), key)
    assert found == value
    assert type(found) is type(value)


def test_comments_and_blank_lines_do_not_count():
    text = "# a comment\n\n   \t \n  # another, with a key: M 3\n" + text_with() + "#M 4"
    assert accepted(text) == accepted(text_with())


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_line_ends_of_all_systems(end):
    assert accepted(text_with("sg_no 225").replace("\n", end)) == accepted(text_with("sg_no 225"))


def test_the_style_of_the_first_recon3d():
    text = """\
        # detector and sample
        path  "/data/id06/output"
        unit_cell  [4.0495,4.0495,4.0495,90.,90.,90.]
        sg_no\t225
        hkl  [2,0,0]
        wavelength  0.7293
        M 18.57   # comment
        t_x  "None"
        t_y  "None"
        t_z  "None"
        mode "horizontal"
        detx_size  300
        detz_size\t\t300
        format  "edf"
        xyz_up  [0,0,0]
        grain_pos  [0,0,0]
        grain_dim  [20,20,20]
        grain_steps  [100,100,100]
        completeness_cutoff\t0.5
        ang_types  ["phi_upper","phi_lower","Omega"]
        ang_steps  [7,7,60]
        ang_min  [-0.1,-0.1,0.]
        ang_max  [0.1,0.1,354.]
        ang_mean [0.,0.]
        ang_width [.01,1.]
        stem  "sim_"
    """
    params = accepted(text)
    assert params.unit_cell == (4.0495, 4.0495, 4.0495, 90.0, 90.0, 90.0)
    assert (params.sg_no, params.hkl, params.M, params.mode) == (225, (2, 0, 0), 18.57, "horizontal")
    assert (params.t_x, params.t_y, params.t_z) == (None, None, None)
    assert (params.detx_size, params.detz_size, params.format) == (300, 300, "edf")
    assert params.grain_pos == (0.0, 0.0, 0.0)
    assert params.ang_types == ("phi_upper", "phi_lower", "Omega")
    assert params.ang_width == (0.01, 1.0)
    assert (params.path, params.stem) == ("/data/id06/output", "sim_")


def test_a_tab_inside_quotes_stays_a_tab():
    assert accepted(text_with(path='"a\tb"')).path == "a\tb"


def test_defaults_stand_for_keys_left_out():
    params = accepted(text_with())
    for name, key in KEYS.items():
        if key.default is not MISSING:
            assert getattr(params, name) == key.default, name


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
    result = run("-m lib.simulate", init, ranks=3)
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


# ---- Never evaluated ----


@pytest.mark.parametrize(
    "value",
    [
        "__import__('pathlib').Path('evaluated').touch()",
        "[__import__('os').system('touch evaluated')]",
        "open('evaluated','w')",
        "1+1",
        "2**3",
        "(1,2,3)",
        "[0]*3",
        "np.pi",
    ],
)
@pytest.mark.parametrize("key", ["M", "hkl", "grain_pos", "omega_exclude"])
def test_code_is_not_a_value(key, value, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    def forbidden(*_):
        raise AssertionError("evaluated")

    with monkeypatch.context() as context:
        for name in ("eval", "exec", "compile"):
            context.setattr(builtins, name, forbidden)
        message = None
        try:
            parse(with_line(f"{key} {value}"), "init.txt")
        except Recon3DError as error:
            message = str(error)
    assert message is not None
    assert list(tmp_path.iterdir()) == []


def test_text_that_looks_like_code_stays_text():
    value = "__import__('os').getcwd()"
    assert accepted(text_with(path=f'"{value}"')).path == value


# ---- Reading the file ----


def test_a_file_that_is_not_there(tmp_path):
    with pytest.raises(
        Recon3DError, match="no such init file; start from examples/init_example.txt"
    ) as caught:
        read_initfile(tmp_path / "absent.txt")
    assert "absent.txt" in str(caught.value)


def test_a_folder_instead_of_a_file(tmp_path):
    with pytest.raises(Recon3DError, match="cannot be read"):
        read_initfile(tmp_path)


def test_latin1_in_a_comment_does_no_harm(tmp_path):
    path = tmp_path / "init.txt"
    path.write_bytes(text_with("sg_no 225 # Ångström, µm").encode("latin-1"))
    params, warnings = read_initfile(path)
    assert (params.sg_no, warnings) == (225, [])


def test_utf16_is_refused(tmp_path):
    path = tmp_path / "init.txt"
    path.write_bytes(text_with().encode("utf-16"))
    with pytest.raises(Recon3DError, match="unknown key"):
        read_initfile(path)


def test_a_byte_order_mark_does_no_harm(tmp_path):
    path = tmp_path / "init.txt"
    path.write_text(text_with(), encoding="utf-8-sig")
    assert read_initfile(path)[0] == accepted(text_with())


@REPEATABLE
@given(st.binary(max_size=300))
@example(b"\xff\xfe\x00")
@example(b"M \xe9\n")
@example(text_with().encode() + b"path \xff\xfe\n")
def test_any_bytes_are_read_or_refused(tmp_path_factory, content):
    path = tmp_path_factory.getbasetemp() / "bytes.txt"
    path.write_bytes(content)
    try:
        params, _ = read_initfile(path)
    except Recon3DError as error:
        assert str(error).startswith(str(path))
    else:
        assert isinstance(params, Parameters)


# ---- Any text ----

ODD = st.text(
    alphabet=st.one_of(
        st.characters(),
        st.sampled_from("[],#'\"\t \x00\x0b\x0c\x1b\x1c\x85\u2028\ufeff\u0661\uff12\u00bd\u2212"),
    ),
    max_size=12,
)
NUMBERS = st.one_of(
    st.floats().map(repr),
    st.integers().map(str),
    st.sampled_from(
        ["1e308", "-1e308", "1e999", "1e-320", "9" * 400, "0", "-0.", "1.", ".5", "١٢", "²", "½", "−1"]
    ),
)


def listed(items):
    return st.lists(items, max_size=7).flatmap(
        lambda parts: st.sampled_from([", ", ",", " "]).map(lambda mark: f"[{mark.join(parts)}]")
    )


VALUES = st.recursive(
    st.one_of(NUMBERS, ODD, st.sampled_from(["None", "auto", "true", "lab"])), listed, max_leaves=12
)
LINES = st.one_of(
    st.builds("{} {}{}".format, st.sampled_from(list(KEYS)), VALUES, ODD),
    st.builds("{}{}{}".format, ODD, st.sampled_from(list(KEYS)), VALUES),
    ODD,
)


def parses_or_refuses(text):
    try:
        params, warnings = parse(text, "init.txt")
    except Recon3DError as error:
        assert len(str(error).splitlines()) == 1
    else:
        assert isinstance(params, Parameters)
        assert all(isinstance(warning, str) for warning in warnings)


@REPEATABLE
@given(st.text(max_size=200))
@example("[" * 10_000)
@example("M " + "[" * 10_000)
@example("M " + "[" * 3 + "]" * 3)
@example("M '" + "\"'" * 5000)
@example("M " + "9" * 10_000)
@example("x" * 100_000)
@example("\x00")
@example("\ud800 \udfff")
def test_any_text_is_parsed_or_refused(text):
    parses_or_refuses(text)


@REPEATABLE
@given(st.lists(LINES, min_size=1, max_size=6), st.booleans())
def test_any_value_of_any_key_is_parsed_or_refused(lines, complete):
    text = "\n".join([*(f"{key} {value}" for key, value in NEEDED.items() if complete), *lines])
    for line in lines:  # cells beyond all measure have a test of their own
        assume("unit_cell" not in line or not re.search(r"\d{30}|e[+-]?\d{2}", line))
    parses_or_refuses(text)


@pytest.mark.parametrize(
    "lines",
    [
        ("unit_cell [1e308,1e308,1e308,90,90,90]",),
        ("unit_cell [1e100,1e100,1e100,90,90,90]",),
        ("unit_cell [1e-154,1e77,1e77,90,90,90]", "hkl [20,0,0]"),
    ],
)
def test_a_unit_cell_beyond_all_measure_is_refused(lines):
    parses_or_refuses(text_with(*lines, unit_cell=None))


# ---- There and back ----

NUMBER = st.floats(allow_nan=False, allow_infinity=False)
POSITIVE = st.floats(min_value=0, exclude_min=True, allow_infinity=False)
NOT_NEGATIVE = st.floats(min_value=0, allow_infinity=False)
COUNT = st.integers(1, 2**53)
TEXT = st.text(max_size=20).filter(
    lambda text: (
        len(text.splitlines()) <= 1
        and text.splitlines() in ([text], [])
        and not ("'" in text and '"' in text)
        and "\t" not in text
        and text.lower() != "none"
    )
)
NAME = TEXT.filter(bool)


def triple(items):
    return st.tuples(items, items, items)


def maybe(items):
    return st.one_of(st.none(), items)


@st.composite
def spans(draw):
    """ang_steps, ang_min and ang_max that fit together."""
    rows = []
    for _ in range(3):
        low, high = sorted((draw(NUMBER), draw(NUMBER)))
        rows.append((draw(st.integers(2, 1000)), low, high) if low < high else (1, low, low))
    return dict(zip(("ang_steps", "ang_min", "ang_max"), zip(*rows, strict=True), strict=True))


FLIPS = [(a, 0, 0, b) for a in (-1, 1) for b in (-1, 1)] + [(0, a, b, 0) for a in (-1, 1) for b in (-1, 1)]
LENGTH, ANGLE = st.floats(3, 30), st.floats(80, 100)

PARAMETERS = st.fixed_dictionaries(
    {
        "path": NAME,
        "output": maybe(NAME),
        "unit_cell": st.tuples(LENGTH, LENGTH, LENGTH, ANGLE, ANGLE, ANGLE),
        "hkl": triple(st.integers(-2, 2)).filter(any),
        "wavelength": st.floats(0.01, 0.5),
        "sg_no": maybe(st.integers(1, 230)),
        "M": POSITIVE,
        "mode": st.sampled_from(["horizontal", "vertical"]),
        "t_x": maybe(NUMBER),
        "t_y": st.sampled_from([None, 0.0]),
        "t_z": maybe(NUMBER),
        "xyz_up": triple(NUMBER),
        "xyz_lo": triple(NUMBER),
        "xyz_th": triple(NUMBER),
        "detector_center": st.one_of(st.none(), st.just("auto"), st.tuples(NUMBER, NUMBER)),
        "rock_width": maybe(NOT_NEGATIVE),
        "roll_width": maybe(NOT_NEGATIVE),
        "grain_pos": triple(NUMBER),
        "grain_dim": triple(POSITIVE),
        "grain_steps": triple(COUNT),
        "method": st.sampled_from(["mlem", "backprojection"]),
        "iterations": COUNT,
        "subsets": maybe(COUNT),
        "memory": maybe(st.floats(0, 1e3)),
        "projection": st.sampled_from(["mean", "exact"]),
        "completeness_cutoff": st.floats(0, 1),
        "threshold": maybe(NOT_NEGATIVE),
        "binarize": st.booleans(),
        "tilt_frame": st.sampled_from([None, "sample", "lab"]),
        "tilt_zero": maybe(st.tuples(NUMBER, NUMBER)),
        "omega_sign": st.sampled_from([1, -1]),
        "omega_exclude": st.lists(st.tuples(NUMBER, NUMBER).map(sorted).map(tuple), max_size=3).map(tuple),
        "stem": maybe(NAME),
        "detx_size": COUNT,
        "detz_size": COUNT,
        "ang_types": st.lists(TEXT, min_size=3, max_size=3, unique=True).map(tuple),
        "ang_mean": st.tuples(NUMBER, NUMBER),
        "ang_width": st.tuples(NOT_NEGATIVE, NOT_NEGATIVE),
        "sim_grain": maybe(triple(POSITIVE)),
        "sim_subgrains": COUNT,
        "sim_points": st.integers(1000, 2**53),
        "sim_counts": POSITIVE,
        "sim_offset": NOT_NEGATIVE,
        "sim_read_noise": NOT_NEGATIVE,
        "sim_background": maybe(NAME),
        "sim_background_frames": COUNT,
        "sim_jitter": st.floats(0, 0.25),
        "sim_center_offset": st.tuples(NUMBER, NUMBER),
        "sim_drift": NOT_NEGATIVE,
        "drift": st.sampled_from(["none", "correct"]),
        "sim_seed": st.integers(0, 2**53),
    }
)


@REPEATABLE
@given(PARAMETERS, spans(), st.sampled_from(FLIPS))
def test_parameters_survive_the_file(values, span, flip):
    flips = dict(zip(("o11", "o12", "o21", "o22"), flip, strict=True))
    params = Parameters(**values, **span, **flips)
    assert accepted(format_initfile(params)) == params


def test_the_text_of_the_defaults():
    params = accepted(text_with())
    text = format_initfile(params)
    assert accepted(text) == params
    assert [line.split()[0] for line in text.splitlines()] == list(KEYS)


@pytest.mark.parametrize("text", ["a\nb", "both ' and \"", "line\u2028separator", "end\r"])
def test_text_that_no_quotes_can_hold_is_refused(text):
    with pytest.raises(Recon3DError, match="cannot stand in an init file"):
        format_value(text)


def test_a_parsed_geometry_means_what_the_keys_say():
    geometry = accepted(
        text_with("mode vertical", "t_x 20", "t_z 30", "o11 0", "o12 -1", "o21 1", "o22 0")
    ).geometry()
    assert geometry.mode == "vertical"
    assert geometry.detector_tilt_rad == pytest.approx(radians(20))
    assert geometry.orientation == (0, -1, 1, 0)
    assert sin(geometry.theta_rad) == pytest.approx(0.7293 / 4.0495, rel=1e-12)
    assert accepted(text_with("t_x 20", "t_z 30")).geometry().detector_tilt_rad == pytest.approx(pi / 6)


def test_the_bragg_angle_takes_a_cell_that_is_not_cubic():
    # hexagonal: 1/d^2 = 4/3 (h^2 + hk + k^2)/a^2 + l^2/c^2
    params = accepted(text_with(unit_cell="[2.95,2.95,4.68,90,90,120]", hkl="[1,0,2]"))
    inverse_d = (4 / 3 / 2.95**2 + 4 / 4.68**2) ** 0.5
    theta = params.geometry().theta_rad
    assert sin(theta) == pytest.approx(0.7293 * inverse_d / 2, rel=1e-9)
    assert cos(theta) > 0


# ---- examples/init_example.txt ----

EXAMPLE = ROOT / "examples" / "init_example.txt"
SAME_UNIT = {"px/um": r"pixels per um", "counts": r"counts|photons", "px": r"px|pixels"}


def example_lines():
    """key -> comment of the lines of the example that give a key."""
    found = {}
    for line in EXAMPLE.read_text(encoding="utf-8").splitlines():
        if line.strip() and not line.startswith("#"):
            before, _, comment = line.partition("#")
            found[before.split()[0]] = comment.strip()
    return found


def bracket_at_the_end(comment):
    """What stands in the brackets that end a comment, which may hold brackets themselves."""
    assert comment.endswith("]"), comment
    depth = 0
    for place in range(len(comment) - 1, -1, -1):
        depth += {"]": 1, "[": -1}.get(comment[place], 0)
        if depth == 0:
            return comment[place + 1 : -1]
    raise AssertionError(comment)


def test_the_example_parses_without_a_warning():
    params, warnings = read_initfile(EXAMPLE)
    assert warnings == []
    assert params.stem is not None


def test_the_example_gives_every_key_once():
    lines = EXAMPLE.read_text(encoding="utf-8").splitlines()
    keys = [line.split()[0] for line in lines if line.strip() and not line.startswith("#")]
    assert sorted(keys) == sorted(KEYS)


@pytest.mark.parametrize("key", KEYS)
def test_the_example_tells_default_and_unit(key):
    comment = example_lines()[key]
    if KEYS[key].default is MISSING:
        assert "(needed)" in comment
    else:
        default = KEYS[key].metadata["reader"](parse_value(bracket_at_the_end(comment)))
        assert default == KEYS[key].default
    unit = KEYS[key].metadata["unit"]
    parts = [unit] if unit in SAME_UNIT else unit.split(", ")
    for part in filter(None, parts):
        words = SAME_UNIT.get(part, re.escape(part))
        assert re.search(rf"(?<!\w)({words})(?!\w)", comment), (part, comment)
