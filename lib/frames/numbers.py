"""Numbers in HDF5 files, in whatever form they were written: text, NaN, nothing at all."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from .quick import numbers

_MOST_PER_FRAME = 16  # values; longer lists are those of encoders at their own rate


@dataclass(frozen=True)
class Reading:
    """The numbers of a dataset (n,), NaN where it holds something else, and what that is."""

    place: str
    values: NDArray[np.float64]
    instead: str = ""

    @property
    def known(self) -> bool:
        """Whether there is any number."""
        return any_number(self.values)


def any_number(values: NDArray[np.float64]) -> bool:
    """Whether any of the values (n,) is a number; of a single one that is a thousand times asked."""
    return math.isfinite(values[0]) if values.size == 1 else bool(np.isfinite(values).any())


def text_of(item: Any) -> str:
    """A dataset that holds one text or number, as text; empty for anything else."""
    if not isinstance(item, h5py.Dataset) or item.shape not in ((), (1,)):
        return ""
    try:
        value = np.ravel(item[()])[0]
    except (OSError, TypeError, ValueError, IndexError):
        return ""
    return value.decode("utf-8", "replace").strip() if isinstance(value, bytes) else str(value).strip()


def read(group: h5py.Group, path: str, place: str, n_frames: int) -> Reading | None:
    """One number, or those of the frames of a scan, None if what the path leads to cannot be either.

    Two-dimensional arrays are taken row by row if they have a number for each frame, or one column.
    Raises what h5py does for a link that leads nowhere.
    """
    values = numbers(group, path, _MOST_PER_FRAME * max(n_frames, 1) + 64)
    if values is not None:
        return Reading(place, values, "" if any_number(values) else "NaN")
    return _of_item(group[path], place, n_frames)


def _of_item(item: Any, place: str, n_frames: int) -> Reading | None:
    """The same of what is not simply a number or a list of them."""
    if not isinstance(item, h5py.Dataset) or item.shape is None or not item.size:
        return None
    alone = item.ndim <= 1 or item.size in (n_frames, max(item.shape))
    if not alone or item.ndim > 2 or item.size > _MOST_PER_FRAME * max(n_frames, 1) + 64:
        return None
    try:
        if item.dtype.kind in "uif":
            values = np.asarray(item[()], dtype=np.float64).ravel()
            return Reading(place, values, "" if np.isfinite(values).any() else "NaN")
        if item.dtype.kind in "SO" and h5py.check_ref_dtype(item.dtype) is None:
            return _of_text(np.ravel(item[()]), place)
    except (OSError, TypeError, ValueError) as error:
        reason = " ".join(str(error).split())
        return Reading(place, np.array([np.nan]), f"unreadable ({reason})")
    return None


def _of_text(texts: NDArray[Any], place: str) -> Reading | None:
    values, instead = np.full(texts.size, np.nan), ""
    for i, text in enumerate(texts.tolist()):
        word = text.decode("utf-8", "replace") if isinstance(text, bytes) else text
        if not isinstance(word, str):
            return None
        try:
            values[i] = float(word)
        except ValueError:
            instead = instead or f"'{word.strip()}'"
    return Reading(place, values, instead)
