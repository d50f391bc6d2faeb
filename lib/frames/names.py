"""Names of files and entries: several in one text, and their order."""

from __future__ import annotations

import re
from typing import Any

_DIGITS = re.compile(r"(\d+)")


def natural(name: str) -> tuple[list[Any], str]:
    """Key that sorts names with their numbers as numbers: text and numbers take turns in it."""
    parts: list[Any] = _DIGITS.split(name)
    parts[1::2] = map(int, parts[1::2])
    return parts, name  # the name decides between 1 and 01


def split_names(names: str) -> list[str]:
    r"""The parts of `dataname` between commas; a comma with a backslash before it belongs to a title.

    >>> split_names(r"1.1, title:fscan(mu\, -0.15*")
    ['1.1', 'title:fscan(mu, -0.15*']
    """
    return [part.strip().replace(r"\,", ",") for part in re.split(r"(?<!\\),", names)]
