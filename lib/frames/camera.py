"""What an entry says of its camera: the pixel, and the part of the detector that was read."""

from __future__ import annotations

from collections.abc import Sequence

import h5py

from .hdf5 import get
from .numbers import text_of

_UNITS_UM = {"m": 1e6, "mm": 1e3, "um": 1.0, "µm": 1.0, "μm": 1.0, "micron": 1.0, "nm": 1e-3}
_LARGEST_IN_M = 1e-3  # a pixel without a unit that is smaller than this is in metres
_REGIONS = (
    *("roi", "image_roi", "image_region", "region", "col_beg", "row_beg", "roi_x", "roi_y"),
    *("x_offset", "y_offset", "offset_x", "offset_y", "x_start", "y_start"),
)


def pixel_um(entry: h5py.Group, names: Sequence[str]) -> float | None:
    """The pixel of one of these cameras in um, None where it is not written down."""
    for name in names:
        item = get(entry, f"instrument/{name}/x_pixel_size")
        text = text_of(item)
        try:
            size = float(text)
        except ValueError:
            continue
        if not 0 < size < float("inf"):
            continue
        unit = item.attrs.get("units", item.attrs.get("unit", ""))
        unit = unit.decode() if isinstance(unit, bytes) else str(unit)
        return size * _UNITS_UM.get(unit.strip().lower(), 1e6 if size < _LARGEST_IN_M else 1.0)
    return None


def region(entry: h5py.Group, names: Sequence[str]) -> str:
    """The region of the detector that these cameras read, as it is written down; empty if it is not."""
    found = []
    for name in names:
        parent = get(entry, f"instrument/{name}")
        if not isinstance(parent, h5py.Group):
            continue
        for place in ("", "ctrl_parameters", "acq_parameters", "camera_settings", "image_settings"):
            group = parent if not place else get(parent, place)
            for key in _REGIONS if isinstance(group, h5py.Group) else ():
                if key in group:
                    found.append(f"{key} {_words(get(group, key))}")
    return ", ".join(found)


def odd_frames(entry: h5py.Group) -> str:
    """What stands where the frames of a camera should be, and is no (n, y, x); empty if nothing does."""
    for place, keys in (("instrument", ("image", "data")), ("measurement", ("",))):
        parent = get(entry, place)
        for name in parent if isinstance(parent, h5py.Group) else ():
            for key in keys:
                item = get(parent, f"{name}/{key}" if key else name)
                if isinstance(item, h5py.Dataset) and item.ndim in (2, 4, 5) and min(item.shape[-2:]) > 1:
                    shape = " x ".join(str(n) for n in item.shape)
                    return f"{place}/{name}{'/' if key else ''}{key} is {shape}; frames must be (n, y, x)"
    return ""


def _words(item: object) -> str:
    if isinstance(item, h5py.Group):
        return " ".join(f"{key} {_words(get(item, key))}" for key in item)
    if not isinstance(item, h5py.Dataset) or item.shape is None or item.size > 16:
        return ""
    return text_of(item) or " ".join(str(v) for v in item[()].ravel().tolist())
