"""Orientation as colour: the HSV key of mosaicity maps. Cells as colours that tell neighbours apart."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

Span = tuple[tuple[float, float], tuple[float, float]]  # center and radius of the key, (tilt1, tilt2) each

_SECTORS = np.array([5.0, 3.0, 1.0])  # hue offsets of red, green and blue
COLOUR_MAPS = {  # of fields, by their names, as matplotlib calls them; RdBu_r is symmetric about zero
    "intensity": "viridis",
    "kam": "inferno",
    "gnd": "inferno",
    "completeness": "cividis",
    "tilt1_std": "magma",
    "tilt2_std": "magma",
    "strain": "RdBu_r",
    "strain_std": "magma",
    "rocking_offset": "RdBu_r",
}
_GOLDEN = 0.6180339887498949


def orientation_rgb(
    tilt1: ArrayLike,
    tilt2: ArrayLike,
    center: tuple[float, float],
    radius: tuple[float, float],
    *,
    tilt1_alone: bool | None = None,
) -> NDArray[np.uint8]:
    """Colour (..., 3) of orientations: hue is the direction of the deviation, saturation its size.

    White at the center; fully saturated from `radius` (of tilt1, of tilt2) on; black where NaN.
    Where tilt2 is known nowhere, tilt1 alone decides; of a part, tilt1_alone tells whether that is so.
    """
    tilt1, tilt2 = np.broadcast_arrays(
        np.asarray(tilt1, dtype=np.float64), np.asarray(tilt2, dtype=np.float64)
    )
    if tilt1_alone is None:
        tilt1_alone = not np.isfinite(tilt2).any()
    if tilt1_alone:  # a scan that does not tell of tilt2
        tilt2 = np.full(tilt2.shape, center[1])
    x, y = (tilt1 - center[0]) / radius[0], (tilt2 - center[1]) / radius[1]
    known = np.isfinite(x) & np.isfinite(y)
    x, y = x[known], y[known]
    hue = np.arctan2(y, x) / (2.0 * np.pi) % 1.0
    saturation = np.minimum(np.hypot(x, y), 1.0)
    # HSV to RGB at value 1, the closed form of the six sectors
    k = (_SECTORS + 6.0 * hue[..., None]) % 6.0
    rgb = 1.0 - saturation[..., None] * np.clip(np.minimum(k, 4.0 - k), 0.0, 1.0)
    colours = np.zeros((*known.shape, 3), dtype=np.uint8)
    colours[known] = np.rint(255.0 * rgb)
    return colours


def colour_range(tilt1: NDArray[np.float64], tilt2: NDArray[np.float64], mask: NDArray[np.bool_]) -> Span:
    """Center and radius of the key for a grain: the middle and half range of its central 98 %."""
    centers, radii = [], []
    for tilt in (tilt1, tilt2):
        values = tilt[mask]
        values = values[np.isfinite(values)]
        low, high = np.percentile(values, [1, 99]) if values.size else (0.0, 0.0)
        centers.append(float(low + high) / 2)
        radii.append(max(float(high - low) / 2, 1e-6))
    return (centers[0], centers[1]), (radii[0], radii[1])


def cell_rgb(n: int) -> NDArray[np.uint8]:
    """Colours (n + 1, 3) of the cells 1 .. n, and of 0, which is outside: grey.

    From one cell to the next the hue turns by the golden ratio, which never comes close to where it has been;
    brightness changes as well.
    """
    number = np.arange(n + 1)
    hue, light = number * _GOLDEN % 1.0, np.array([0.62, 0.78, 0.5])[number % 3]
    k = (np.array([0.0, 8.0, 4.0]) + 12.0 * hue[:, None]) % 12.0
    swing = 0.6 * np.minimum(light, 1.0 - light)[:, None]
    # HSL to RGB, the closed form
    rgb = light[:, None] - swing * np.clip(np.minimum(k - 3.0, 9.0 - k), -1.0, 1.0)
    rgb[0] = 0.93
    return np.rint(255.0 * rgb).astype(np.uint8)
