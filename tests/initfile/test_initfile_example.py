"""The example of an init file: it parses, gives every key and tells its default and unit."""

from __future__ import annotations

import re
from dataclasses import MISSING

import pytest

from lib.initfile.parameters import KEYS
from lib.initfile.parse import format_key, parse_value, read_initfile
from tests.running import ROOT

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
        told, usual = bracket_at_the_end(comment), format_key(key, KEYS[key].default)
        if told != usual:
            read = KEYS[key].metadata["reader"]
            assert read(parse_value(told)) == KEYS[key].default, usual
    unit = KEYS[key].metadata["unit"]
    parts = [unit] if unit in SAME_UNIT else unit.split(", ")
    for part in filter(None, parts):
        words = SAME_UNIT.get(part, re.escape(part))
        assert re.search(rf"(?<!\w)({words})(?!\w)", comment), (part, comment)
