"""What the header of an EDF frame says: keys and values as fabio reads them, motors, ring current."""

from __future__ import annotations

import math
import re
from functools import lru_cache
from itertools import compress
from operator import ne

from ..errors import Recon3DError

FORMAT_KEYS = (  # where the pixels are, and what
    r"EDF_.*|Dim_\d|Size|ByteOrder|DataType|Compression|Num_Images|Nb_Images|Number_of_\w+|nframes"
)
_OWN_KEY = re.compile(rf"({FORMAT_KEYS}|Image|HeaderID|offset)$", re.IGNORECASE)
_BLANK = b" \t\n\r\x0b\x0c\0"  # what fabio takes off keys and values


def key_and_value(line: bytes) -> tuple[str, str] | None:
    """As fabio reads a line of a header; None for one that it drops."""
    key, equals, value = line.partition(b"=")
    if not equals or not line.isascii():
        return None
    return key.strip(_BLANK + b"{").decode(), value.strip(_BLANK).decode()


def value_of(header: dict[str, str], key: str) -> str:
    """The value of a key, which some programs write in capitals; empty if there is none."""
    text = header.get(key)
    if text is None:
        text = next((value for name, value in header.items() if name.lower() == key), "")
    return text


class MotorLists:
    """Reads the lists motor_mne and motor_pos of one header after the other.

    From frame to frame few motors move: only the values that are written differently are read anew.
    """

    def __init__(self) -> None:
        self._names: tuple[str, ...] = ()
        self._texts: list[str] = []
        self._values: dict[str, float] = {}

    def read(self, path: str, header: dict[str, str]) -> dict[str, float]:
        """The motors by name; what is no number is NaN."""
        names, texts = _words(value_of(header, "motor_mne")), value_of(header, "motor_pos").split()
        if len(names) != len(texts):
            raise Recon3DError(path, f"motor_mne names {len(names)} but motor_pos gives {len(texts)} values")
        if names == self._names and len(self._values) == len(names):  # none is named twice
            values = self._values.copy()
            for name, text in compress(zip(names, texts, strict=True), map(ne, texts, self._texts)):
                values[name] = number_of(text)
        else:
            values = {name: number_of(text) for name, text in zip(names, texts, strict=True)}
        self._names, self._texts, self._values = names, texts, values
        return values


@lru_cache(maxsize=64)
def _words(text: str) -> tuple[str, ...]:
    return tuple(text.split())


def number_of(text: str) -> float:
    """The number in a text, NaN if it is none."""
    try:
        return float(text)
    except ValueError:
        return math.nan


@lru_cache(maxsize=4096)
def _plain_number(key: str, text: str) -> float | None:
    """The value of a header key that could be a motor; None if it is no number or has another meaning."""
    if _OWN_KEY.match(key) or key.lower().endswith(("_mne", "_pos")):
        return None
    value = number_of(text)
    return value if math.isfinite(value) else None


def read_motors(path: str, header: dict[str, str], lists: MotorLists | None = None) -> dict[str, float]:
    """Motor positions of a header: the motor lists and, where they name none, every numeric key."""
    lists = lists or MotorLists()
    plain = {key: value for key, text in header.items() if (value := _plain_number(key, text)) is not None}
    return plain | lists.read(path, header)


def ring_current_ma(header: dict[str, str]) -> float | None:
    """Ring current in mA: counter `srcur`, else the key `machine current`, else None.

    The counter's place is looked up and read in the counter lists, never in those of the motors.
    """
    names, values = _words(value_of(header, "counter_mne")), value_of(header, "counter_pos").split()
    if "srcur" in names and names.index("srcur") < len(values):
        current = number_of(values[names.index("srcur")])
        if math.isfinite(current) and current > 0:
            return current
    words = value_of(header, "machine current").split()
    candidates = [number_of(word) for word in (*words[:1], *words[-2:-1])]
    return next((value for value in candidates if math.isfinite(value) and value > 0), None)
