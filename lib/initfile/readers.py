"""Readers of the values of an init file: from what `initfile` parsed to the type of a key.

A reader takes a word, or a list of values, and gives the key's value, or raises `Mistake` that says what
would be right.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from typing import Any

Value = Any  # a word (str), or a list of values
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?$", re.ASCII)


class Mistake(ValueError):
    """What is wrong with one value."""


def shorten(text: str, longest: int = 40) -> str:
    """Text fit for one line of an error message."""
    text = "".join(letter if letter.isprintable() else "?" for letter in text)
    return text if len(text) <= longest else text[: longest - 3] + "..."


def word(value: Value) -> str:
    """One word or quoted text."""
    if not isinstance(value, str):
        raise Mistake("must be one value; text with blanks needs quotes")
    return value


def real(value: Value) -> float:
    """A finite decimal number."""
    text = word(value)
    number = float(text) if _NUMBER.match(text) else math.nan
    if not math.isfinite(number):
        raise Mistake(f"'{shorten(text)}' is not a number")
    return number


def integer(value: Value) -> int:
    """A whole number, also written 2.0."""
    number = real(value)
    if number != int(number) or abs(number) > 2**53:
        raise Mistake(f"'{shorten(word(value))}' is not a whole number")
    return int(number)


def ranged(
    reader: Callable[[Value], Any], low: float | None, high: float | None = None, *, open_low: bool = False
) -> Callable[[Value], Any]:
    """A number within limits; with open_low the lower one is excluded."""

    def read(value: Value) -> Any:
        number = reader(value)
        if low is not None and (number < low or (open_low and number == low)):
            raise Mistake(f"{number} must be {'above' if open_low else 'at least'} {low:g}")
        if high is not None and number > high:
            raise Mistake(f"{number} must be at most {high:g}")
        return number

    return read


positive = ranged(real, 0, open_low=True)
not_negative = ranged(real, 0)
count = ranged(integer, 1)


def list_of(reader: Callable[[Value], Any], length: int | None = None) -> Callable[[Value], tuple[Any, ...]]:
    """A list, each item by the reader; a single item counts as a list of one."""

    def read(value: Value) -> tuple[Any, ...]:
        items = value if isinstance(value, list) else [value]
        if length is not None and len(items) != length:
            raise Mistake(f"must be a list of {length} values, not {len(items)}")
        return tuple(reader(item) for item in items)

    return read


def slope(value: Value) -> tuple[float, float]:
    """Two numbers, along x and y; a single one may be 0, for none at all."""
    if not isinstance(value, list) and real(value) == 0.0:
        return 0.0, 0.0
    along_x, along_y = list_of(real, 2)(value)
    return along_x, along_y


def choice(*allowed: str) -> Callable[[Value], str]:
    """One of the words."""

    def read(value: Value) -> str:
        chosen = word(value)
        if chosen not in allowed:
            raise Mistake(f"'{shorten(chosen)}' must be {' or '.join(allowed)}")
        return chosen

    return read


def either(word: str, meaning: Any, reader: Callable[[Value], Any]) -> Callable[[Value], Any]:
    """A reader that takes one word (in any case) for `meaning` and gives everything else to another."""

    def read(value: Value) -> Any:
        if isinstance(value, str) and value.lower() == word.lower():
            return meaning
        try:
            return reader(value)
        except Mistake as mistake:
            raise Mistake(f"{mistake} (nor {word})") from None

    return read


def maybe(reader: Callable[[Value], Any]) -> Callable[[Value], Any]:
    """A reader that takes an empty list for what is not given, as the empty tuple."""
    return lambda value: () if value == [] else reader(value)


def boolean(value: Value) -> bool:
    """Truth value, the words true or false in any case."""
    return choice("true", "false")(word(value).lower()) == "true"


def text(value: Value) -> str:
    """Text that is not empty."""
    if not word(value):
        raise Mistake("must not be empty")
    return word(value)
