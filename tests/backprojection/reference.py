"""A slow reconstruction, one voxel and one omega at a time, written out from the definitions.

It shares no code with lib/. The axes, signs and formulas are those of the white paper: lab frame with
y along the beam and z up, right-handed active rotations, the image inverted by the lens. Beside it: a
made-up scan, and how a scan and an init file are written. `keys` are the contents of an init file as a
dict of numbers, lists and strings.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np

AL = {"unit_cell": [4.0495, 4.0495, 4.0495, 90, 90, 90], "hkl": [2, 0, 0], "wavelength": 0.7293}
TOO_CLOSE_PX = 1e-6  # to the edge of a pixel: rounding would decide which one it is


@dataclass(frozen=True)
class Scan:
    """An array (tilt1, tilt2, omega, x, y) with its axes in degrees, and what else lies beside it."""

    data: np.ndarray
    tilt1: np.ndarray
    tilt2: np.ndarray
    omega: np.ndarray
    measured: np.ndarray | None = None
    info: dict[str, Any] | None = None

    def with_dtype(self, dtype: str) -> Scan:
        return replace(self, data=self.data.astype(dtype))


# ---- Geometry ----


@lru_cache
def turn_about_x(angle: float) -> np.ndarray:
    c, s = np.cos(angle), np.sin(angle)
    return np.array([[1, 0, 0], [0, c, -s], [0, s, c]])


@lru_cache
def turn_about_y(angle: float) -> np.ndarray:
    c, s = np.cos(angle), np.sin(angle)
    return np.array([[c, 0, s], [0, 1, 0], [-s, 0, c]])


@lru_cache
def turn_about_z(angle: float) -> np.ndarray:
    c, s = np.cos(angle), np.sin(angle)
    return np.array([[c, -s, 0], [s, c, 0], [0, 0, 1]])


def turned(point: np.ndarray, matrix: np.ndarray, focus: Any = (0, 0, 0)) -> np.ndarray:
    focus = np.array(focus)
    return matrix @ (point - focus) + focus


def bragg_angle(keys: dict[str, Any]) -> float:
    """sin(theta) = lambda / 2d, with d of a cell whose axes are at right angles."""
    a, b, c, alpha, beta, gamma = keys["unit_cell"]
    assert alpha == beta == gamma == 90
    h, k, l = keys["hkl"]  # noqa: E741
    spacing = 1 / math.sqrt((h / a) ** 2 + (k / b) ** 2 + (l / c) ** 2)
    return math.asin(keys["wavelength"] / (2 * spacing))


def lab_position(keys: dict[str, Any], point: Any, omega: float, tilt1: float, tilt2: float) -> np.ndarray:
    """A point of the sample in the lab; angles in radians, tilts relative to their zero."""
    horizontal = keys.get("mode", "horizontal") == "horizontal"
    rock = turn_about_z if horizontal else turn_about_x
    turn_omega = turn_about_x if horizontal else turn_about_z
    theta = bragg_angle(keys)
    point = np.array(point, dtype=float)
    if keys.get("tilt_frame", "sample") == "sample":
        point = turned(point, rock(tilt1), keys.get("xyz_up", (0, 0, 0)))
        point = turned(point, turn_about_y(tilt2), keys.get("xyz_lo", (0, 0, 0)))
        point = turned(point, turn_omega(omega))
    else:
        point = turned(point, turn_omega(omega))
        point = turned(point, turn_about_y(tilt2))
        theta += tilt1
    return turned(point, rock(theta), keys.get("xyz_th", (0, 0, 0)))


def project(
    keys: dict[str, Any], roi: tuple[int, int], point: Any, omega: float, tilts: tuple[float, float] = (0, 0)
) -> tuple[float, float]:
    """Where a point of the sample lands in the ROI, in pixels; integer = centre of a pixel."""
    horizontal = keys.get("mode", "horizontal") == "horizontal"
    two_theta = 2 * bragg_angle(keys)
    seen = (turn_about_z if horizontal else turn_about_x)(-two_theta) @ lab_position(
        keys, point, omega, *tilts
    )
    x_d, z_d = -keys["M"] * seen[0], -keys["M"] * seen[2]
    detector_tilt = keys.get("t_z" if horizontal else "t_x")
    if detector_tilt is not None:
        stretch = 1 / np.cos(np.radians(detector_tilt) - two_theta)
        x_d, z_d = (x_d * stretch, z_d) if horizontal else (x_d, z_d * stretch)
    c_x, c_y = keys.get("detector_center", ((roi[0] - 1) / 2, (roi[1] - 1) / 2))
    o11, o12, o21, o22 = (keys.get(name, default) for name, default in O_MATRIX.items())
    return c_x + o11 * x_d + o12 * z_d, c_y + o21 * x_d + o22 * z_d


O_MATRIX = {"o11": 1, "o12": 0, "o21": 0, "o22": 1}


def nearest_pixel(position: tuple[float, float], roi: tuple[int, int]) -> tuple[int, int] | None:
    """The pixel that holds the position, or None outside the ROI."""
    for p in position:
        assert abs(p - np.floor(p) - 0.5) > TOO_CLOSE_PX, f"{p} is on the edge of a pixel: change the test"
    ix, iy = (int(np.rint(p)) for p in position)
    return (ix, iy) if 0 <= ix < roi[0] and 0 <= iy < roi[1] else None


def centres(keys: dict[str, Any]) -> list[list[float]]:
    """Voxel centres along x, y and z."""
    axes = []
    for position, size, n in zip(
        keys.get("grain_pos", (0, 0, 0)), keys["grain_dim"], keys["grain_steps"], strict=True
    ):
        axes.append([position + size / n * (i - (n - 1) / 2) for i in range(n)])
    return axes


def voxels(keys: dict[str, Any]) -> Iterator[tuple[tuple[int, ...], tuple[float, ...]]]:
    """Index and position of every voxel."""
    axes = centres(keys)
    for index in product(*(range(len(axis)) for axis in axes)):
        yield index, tuple(axis[i] for axis, i in zip(axes, index, strict=True))


# ---- Tilts ----


def lab_tilts(keys: dict[str, Any], a: float, b: float, omega: float) -> tuple[float, float]:
    """Where on the scanned lab tilts an orientation (a, b) of the sample diffracts at omega."""
    c, s = np.cos(omega), np.sin(omega)
    if keys.get("mode", "horizontal") == "horizontal":
        return a * c + b * s, -a * s + b * c
    return a * c - b * s, a * s + b * c


def linear_weights(axis: np.ndarray, value: float) -> list[tuple[int, float]]:
    """Positions and weights of linear interpolation on an ascending axis; nothing off the axis."""
    rounding = 1e-9 * (axis[-1] - axis[0])
    if value < axis[0] - rounding or value > axis[-1] + rounding:
        return []
    above = next((i for i in range(1, len(axis)) if value <= axis[i]), len(axis) - 1)
    part = (value - axis[above - 1]) / (axis[above] - axis[above - 1])
    return [(above - 1, 1 - part), (above, part)]


def turn_back_matrix(keys: dict[str, Any], tilts: tuple[np.ndarray, np.ndarray], omega: float) -> np.ndarray:
    """Reads a map on the lab tilts where the sample-frame pairs diffract: (n_1 n_2, n_1 n_2)."""
    shape = (len(tilts[0]), len(tilts[1]))
    matrix = np.zeros(shape + shape)
    for i, a in enumerate(tilts[0]):
        for j, b in enumerate(tilts[1]):
            mu, gamma = lab_tilts(keys, a, b, omega)
            for p, weight_p in linear_weights(tilts[0], mu):
                for q, weight_q in linear_weights(tilts[1], gamma):
                    matrix[i, j, p, q] += weight_p * weight_q
    return matrix.reshape(shape[0] * shape[1], -1)


# ---- Reconstruction ----


def omegas_in_use(keys: dict[str, Any], scan: Scan) -> list[int]:
    used = []
    for k, omega in enumerate(scan.omega):
        excluded = any(low <= omega <= high for low, high in keys.get("omega_exclude", ()))
        measured = scan.measured is None or scan.measured[:, :, k].any()
        if measured and not excluded:
            used.append(k)
    return used


def read_map(frames: np.ndarray, pixels: list[tuple[int, int] | None]) -> np.ndarray:
    """The counts (n_1, n_2) of one pixel, or of a pixel for each pair; zero off the detector."""
    if len(pixels) == 1 and pixels[0] is not None:
        return frames[:, :, pixels[0][0], pixels[0][1]]
    counts = np.zeros(frames.shape[:2])
    for (i, j), pixel in zip(np.ndindex(*counts.shape), pixels, strict=True):
        if pixel is not None:
            counts[i, j] = frames[i, j, pixel[0], pixel[1]]
    return counts


def turned_map(
    counts: np.ndarray, known: np.ndarray, turn: np.ndarray | None
) -> tuple[np.ndarray, np.ndarray]:
    """A map (n_1, n_2) on the sample-frame tilts; what leans on a value that is not known is not either."""
    counts = np.where(known, counts, 0.0)
    if turn is not None:
        shape = counts.shape
        counts = (turn @ counts.ravel()).reshape(shape)
        known = ~((turn > 1e-3) @ ~known.ravel()).reshape(shape)
    return np.where(known, counts, 0.0), known


def counted(n_known: np.ndarray) -> np.ndarray:
    """Omegas that count for each pair: at least half of the most that any was measured at."""
    return np.maximum(n_known, n_known.max() / 2)


def reconstruct(keys: dict[str, Any], scan: Scan) -> dict[str, np.ndarray]:
    """The fields of the volume, each (n_x, n_y, n_z), and `seen`: omegas at which a voxel is on the ROI.

    A voxel whose pixel is not often enough lit at any pair is ruled out: it has that share for its
    completeness, and nothing else. Where a frame or a pixel (NaN) was not measured, the omega does not
    count for the pair.
    """
    n_1, n_2, _, *roi = scan.data.shape
    data = np.array(scan.data, dtype=np.float64)
    known = np.isfinite(data)
    data[~known] = 0.0
    frames = np.ones(data.shape[:3], dtype=bool) if scan.measured is None else scan.measured
    data[~frames] = 0.0
    any_lit = data.max(axis=(0, 1)) > keys["threshold"]
    all_known = (known | ~frames[..., None, None]).all(axis=(0, 1))
    middle = [(axis[0] + axis[-1]) / 2 for axis in (scan.tilt1, scan.tilt2)]
    zero = keys.get("tilt_zero", middle)
    relative = (scan.tilt1 - zero[0], scan.tilt2 - zero[1])
    if keys.get("projection", "mean") == "mean":
        tilts = [(middle[0] - zero[0], middle[1] - zero[1])]  # one projection for all pairs
    else:
        tilts = [(a, b) for a in relative[0] for b in relative[1]]
    used = omegas_in_use(keys, scan)
    omegas = {k: keys.get("omega_sign", 1) * np.radians(scan.omega[k]) for k in used}
    turns = {}
    if keys.get("tilt_frame", "sample") == "lab":
        turns = {k: turn_back_matrix(keys, relative, omega) for k, omega in omegas.items()}
    missing = [~turned_map(frames[:, :, k] * 1.0, frames[:, :, k], turns.get(k))[1] for k in used]
    lacking = np.sum(missing, axis=0).max()
    shape = tuple(keys["grain_steps"])
    names = ("tilt1", "tilt2", "tilt1_std", "tilt2_std", "completeness", "intensity", "seen")
    fields = {name: np.full(shape, np.nan) for name in names}
    for index, position in voxels(keys):
        total, lit, seen, bound, dark = np.zeros((n_1, n_2)), np.zeros((n_1, n_2)), 0, 0, 0
        unknown = np.zeros((n_1, n_2))
        for k, omega in omegas.items():
            places = [project(keys, tuple(roi), position, omega, tuple(np.radians(t))) for t in tilts]
            pixels = [nearest_pixel(place, tuple(roi)) for place in places]
            on_roi = [pixel for pixel in pixels if pixel is not None]
            if any(any_lit[k, x, y] for x, y in on_roi):
                bound += 1
            elif all(all_known[k, x, y] for x, y in on_roi):
                dark += 1
            if not on_roi:
                continue
            unmeasured = read_map(~known[:, :, k] | ~frames[:, :, k, None, None], pixels)
            counts, its_known = turned_map(read_map(data[:, :, k], pixels), unmeasured == 0, turns.get(k))
            above = counts > keys["threshold"]
            total += above if keys.get("binarize", "false") == "true" else counts
            lit += above
            unknown += ~its_known
            seen += 1
        fields["seen"][index] = seen
        most = min(bound / max(bound + dark - lacking, 1e-9), 1.0) if bound + dark > lacking else 1.0
        if most < keys["completeness_cutoff"]:
            fields["completeness"][index] = most
            continue
        n_counted, n_used = counted(seen - unknown), counted(len(used) - unknown)
        total = np.where(n_counted > 0, total * seen / np.maximum(n_counted, 1e-9), 0.0)
        brightest = total.argmax()
        if n_used.max() > 0:
            fields["completeness"][index] = lit.flat[brightest] / n_used.flat[brightest]
        else:
            fields["completeness"][index] = 0.0
        fields["intensity"][index] = total.sum() / seen if n_counted.max() > 0 else np.nan
        below = fields["completeness"][index] < keys["completeness_cutoff"]
        if total.sum() > 0 and not below:
            for name, axis, along in (("tilt1", scan.tilt1, 1), ("tilt2", scan.tilt2, 0)):
                share = total.sum(axis=along) / total.sum()
                fields[name][index] = share @ axis
                variance = share @ (axis - fields[name][index]) ** 2
                fields[f"{name}_std"][index] = np.sqrt(max(variance, 0.0))
    return fields


# ---- A scan and an init file ----


def made_up_scan(
    seed: int = 0,
    n_tilts: tuple[int, int] = (5, 4),
    roi: tuple[int, int] = (23, 17),
    omega: Any = (0, 33, 71, 90, 161, 180, 204, 255, 299, 342),
    uneven: bool = False,
) -> Scan:
    """Every other pixel has a peak somewhere on the tilts, brightest in a patch that turns with omega."""
    rng = np.random.default_rng(seed)
    axes = []
    for middle, step, n in zip((1.31, -0.72), (0.11, 0.13), n_tilts, strict=True):
        positions = step * (np.arange(n) - (n - 1) / 2)
        if uneven:
            positions += rng.uniform(-0.3, 0.3, n) * step
        axes.append(middle + positions)
    tilt1, tilt2 = axes
    angles = np.array(omega, dtype=float)
    k, x, y = np.meshgrid(np.radians(angles), np.arange(roi[0]), np.arange(roi[1]), indexing="ij")
    from_patch = ((x - roi[0] / 2 - 4 * np.cos(k)) / 6, (y - roi[1] / 2 - 3 * np.sin(k)) / 5)
    patch = np.exp(-(from_patch[0] ** 2 + from_patch[1] ** 2))
    height = rng.uniform(20, 2000, k.shape) * (0.1 + patch) * (rng.random(k.shape) < 0.6)
    centre1 = tilt1.mean() + 0.12 * np.sin(x / 3 + k) + 0.05 * rng.normal(size=k.shape)
    centre2 = tilt2.mean() + 0.12 * np.cos(y / 4 - k) + 0.05 * rng.normal(size=k.shape)
    away1 = (tilt1[:, None, None, None, None] - centre1) / 0.09
    away2 = (tilt2[None, :, None, None, None] - centre2) / 0.10
    data = height * np.exp(-(away1**2 + away2**2) / 2)
    data += rng.poisson(3.0, data.shape)
    return Scan(np.rint(data).astype(np.uint16), tilt1, tilt2, angles)


def write_scan(folder: Path, scan: Scan) -> None:
    """Write the scan as getdata.py would."""
    folder.mkdir(parents=True, exist_ok=True)
    np.save(folder / "dataarray.npy", scan.data)
    for name in ("tilt1", "tilt2", "omega"):
        np.save(folder / f"{name}.npy", getattr(scan, name))
    if scan.measured is not None:
        np.save(folder / "measured.npy", scan.measured)
    if scan.info is not None:
        (folder / "getdata.json").write_text(json.dumps(scan.info))


def write_init(path: Path, keys: dict[str, Any]) -> Path:
    """Write an init file; lists are written as [a,b,c], text as it is."""
    lines = []
    for key, value in keys.items():
        text = str(list(value)).replace(" ", "") if isinstance(value, list | tuple) else str(value)
        lines.append(f"{key} {text}\n")
    path.write_text("".join(lines))
    return path
