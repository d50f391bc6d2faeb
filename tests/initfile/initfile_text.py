"""Texts of init files for the tests, and what reading them must give."""

from __future__ import annotations

import pytest
from hypothesis import settings

from lib.errors import Recon3DError
from lib.initfile.parse import parse

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
