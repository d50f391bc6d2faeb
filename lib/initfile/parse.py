"""The init file: lines `key value`, comments after #, lists in brackets, text with or without quotes.

Parsed here and never evaluated; `parameters` knows the keys. All mistakes of a file are reported
together.
"""

from __future__ import annotations

import difflib
import re
import sys
from collections.abc import Container, Mapping
from dataclasses import MISSING
from pathlib import Path
from typing import Any

from ..errors import Recon3DError
from ..parallel.communicator import Comm, together
from .consistency import inconsistencies
from .parameters import AUTO_KEYS, FOUND_KEYS, KEYS, Parameters
from .readers import Mistake, Value, shorten

_TOKEN = re.compile(
    r"""\s*(?:(?P<mark>[\[\],])|(?P<quote>["'])(?P<text>.*?)(?P=quote)|(?P<word>[^\s\[\],"']+))"""
)
_DEEPEST_LIST = 3
_MOST_MISTAKES = 25


def parse(text: str, where: str) -> tuple[Parameters, list[str]]:
    """Parameters from the text of an init file, and warnings. `where` names the file in errors.

    Raises Recon3DError that lists every mistake of the text, and nothing else for any text.
    """
    values: dict[str, Any] = {}
    lines: dict[str, int] = {}
    mistakes: list[str] = []
    warnings: list[str] = []
    for number, line in enumerate(re.split(r"\r\n|\r|\n", text), start=1):
        key, rest = _split(line)
        if not key:
            continue
        if key not in KEYS:
            mistakes.append(f"line {number}: {_unknown(key)}")
            continue
        if key in lines:
            warnings.append(
                f"{where}: {key} is given on lines {lines[key]} and {number}; line {number} counts"
            )
        lines[key] = number
        try:
            values[key] = KEYS[key].metadata["reader"](parse_value(rest))
        except Mistake as mistake:
            mistakes.append(f"line {number}: {key}: {mistake}")
    return _checked(values, lines, mistakes, where), warnings


def from_keys(keys: Mapping[str, Any], where: str) -> Parameters:
    """Parameters from values of Python: numbers, text, None, sequences and arrays, as an init file has them.

    Raises Recon3DError that lists every mistake.
    """
    values: dict[str, Any] = {}
    mistakes = [_unknown(name) for name in keys if name not in KEYS]
    for name in KEYS.keys() & keys.keys():
        try:
            values[name] = read_value(name, keys[name])
        except Mistake as mistake:
            mistakes.append(f"{name}: {mistake}")
    return _checked(values, keys, mistakes, where)


def read_value(name: str, value: Any) -> Any:
    """The value of a key from one of Python, or from its text. Raises Mistake."""
    read = KEYS[name].metadata["reader"]
    try:
        return read(_as_words(value, none="auto" if name in AUTO_KEYS else "None"))
    except Mistake:
        if not isinstance(value, str) or not value.startswith("["):
            raise
        return read(parse_value(value))


def _as_words(value: Any, none: str) -> Value:
    """A value of Python as the parser would give it: a word, or a list of such."""
    if value is None:
        return none
    if isinstance(value, str):
        return none if value == "None" else value
    if isinstance(value, list | tuple):
        return [_as_words(item, none) for item in value]
    if hasattr(value, "tolist"):  # numpy's numbers and arrays
        return _as_words(value.tolist(), none)
    return str(value).lower() if isinstance(value, bool) else repr(value)


def _unknown(key: str) -> str:
    near = difflib.get_close_matches(key, KEYS, 1)
    hint = f"did you mean {near[0]}?" if near else "see examples/init_example.txt"
    return f"unknown key '{shorten(key)}', {hint}"


def _checked(values: dict[str, Any], given: Container[str], mistakes: list[str], where: str) -> Parameters:
    """The parameters, if all that is needed is there and nothing is wrong; else one error of all mistakes."""
    mistakes = mistakes + [
        f"key {name} is missing ({key.metadata['text']})"
        for name, key in KEYS.items()
        if key.default is MISSING and name not in given
    ]
    if not mistakes:
        params = Parameters(**values)
        mistakes = inconsistencies(params)
    if mistakes:
        more = [f"and {len(mistakes) - _MOST_MISTAKES} more"] if len(mistakes) > _MOST_MISTAKES else []
        raise Recon3DError(where, "; ".join(mistakes[:_MOST_MISTAKES] + more))
    return params


def _split(line: str) -> tuple[str, str]:
    """Key and rest of a line, without its comment: a # outside quotes."""
    quote = ""
    for place, letter in enumerate(line):
        if letter == quote:
            quote = ""
        elif not quote and letter in "\"'":
            quote = letter
        elif not quote and letter == "#":
            line = line[:place]
            break
    key, rest = [*line.split(maxsplit=1), "", ""][:2]
    return key, rest.strip()


def parse_value(text: str) -> Value:
    """A word, a quoted text, a list, or several words (which make a list)."""
    if not text:
        raise Mistake("has no value")
    bracketed = text.startswith("[")
    stack: list[list[Value]] = [[]]
    place = 0
    while place < len(text):
        token = _TOKEN.match(text, place)
        if token is None:
            if not text[place:].strip():
                break
            raise Mistake(f"cannot be read at '{shorten(text[place:])}'")
        place = token.end()
        if token["mark"] == "[":
            stack.append([])
            if len(stack) > _DEEPEST_LIST + 1:
                raise Mistake("has too many brackets")
        elif token["mark"] == "]":
            if len(stack) == 1:
                raise Mistake("has a ] too many")
            closed = stack.pop()
            stack[-1].append(closed)
        elif token["mark"] is None:
            stack[-1].append(token["text"] if token["quote"] else token["word"])
    if len(stack) > 1:
        raise Mistake("has a [ that is not closed")
    items = stack[0]
    if len(items) == 1:
        return items[0]
    if bracketed or any(isinstance(item, list) for item in items):
        raise Mistake("has something outside its brackets")
    return items


def format_value(value: Any) -> str:
    """A value as it stands in an init file. Raises Recon3DError for text that no quotes can hold."""
    if value is None:
        return "None"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, tuple):
        return "[" + ",".join(format_value(item) for item in value) + "]"
    if isinstance(value, str):
        quote = next((q for q in "\"'" if q not in value), "")
        if not quote or value.splitlines() not in ([value], []):
            raise Recon3DError(
                shorten(value), "cannot stand in an init file: it has both quotes or a line end"
            )
        return f"{quote}{value}{quote}"
    return repr(value)


def format_key(name: str, value: Any) -> str:
    """The value of a key as it stands in an init file."""
    if (value is None and name in AUTO_KEYS) or (value == () and name in FOUND_KEYS):
        return "auto"
    return format_value(value)


def format_initfile(params: Parameters) -> str:
    """The text of an init file that `parse` reads back as `params`."""
    values = {name: getattr(params, name) for name in KEYS}
    return "".join(
        f"{name} {'[]' if value == () else format_key(name, value)}\n" for name, value in values.items()
    )


def read_initfile(path: Path) -> tuple[Parameters, list[str]]:
    """Parameters and warnings from a file. Raises Recon3DError."""
    try:
        text = path.read_text(encoding="utf-8-sig", errors="replace")
    except FileNotFoundError:
        raise Recon3DError(path, "no such init file; start from examples/init_example.txt") from None
    except OSError as error:
        raise Recon3DError(path, f"cannot be read ({error.strerror})") from None
    return parse(text, str(path))


def read_initfile_on_all(path: Path, comm: Comm) -> Parameters:
    """The parameters on every rank, read once; warnings go to standard error."""
    params: Parameters | None = None
    with together(comm):
        if comm.rank == 0:
            params, warnings = read_initfile(path)
            for warning in warnings:
                print(f"warning: {warning}", file=sys.stderr)
    result: Parameters = comm.bcast(params)
    return result
