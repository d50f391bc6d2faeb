"""The text of an init file: how values may be written, and that any other text is refused, never run."""

from __future__ import annotations

import builtins
import re
from dataclasses import MISSING

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from lib.errors import Recon3DError
from lib.initfile.parameters import KEYS, Parameters
from lib.initfile.parse import parse, read_initfile
from tests.initfile.initfile_text import NEEDED, REPEATABLE, accepted, text_with, with_line

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
