"""Parameters written as an init file and read back, and the geometry they stand for."""

from __future__ import annotations

from math import cos, pi, radians, sin

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lib.errors import Recon3DError
from lib.initfile.parameters import KEYS, Parameters
from lib.initfile.parse import format_initfile, format_value
from tests.initfile.initfile_text import REPEATABLE, accepted, text_with

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
