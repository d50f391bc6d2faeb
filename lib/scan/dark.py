"""The dark level that was left in an array, or taken off too much: found in it, or given."""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import Recon3DError
from ..physics.dark import BARELY, DarkLevel, Estimate, Image, estimate, noise_of, worth_a_look
from ..physics.noise import Dark, dark_background, dark_sigma
from .above import Frames
from .store import ARRAY, Scan

_SHARE_OF_TILTS = 8  # one tilt in so many is looked at, the darkest ones of each omega
_FEWEST, _MOST = 2, 16  # frames of an omega
_COLUMNS = 8  # of each frame, whose sum tells how dark it is
_FEWEST_TILTS = 7  # pairs, of which some can be dark
_FEWEST_OMEGAS = 12  # at which what shines moves, and what is dark does not
_SAMPLE = 64  # frames, spread over the scan
_NEARLY_ALL = 0.9  # of the pixels that were not measured, which are gaps
_BRIGHT = 99.9  # percentile of the pixels of these frames


def given_level(scan: Scan, counts: tuple[float, ...]) -> DarkLevel | None:
    """The level that the user knows: one number, or one for each omega of the array."""
    n_omega = scan.shape[2]
    if len(counts) not in (1, n_omega):
        raise Recon3DError("background", f"has {len(counts)} numbers; give one, or {n_omega}, one per omega")
    if not any(counts):
        return None
    of_omega = np.broadcast_to(np.asarray(counts, dtype=np.float32), (n_omega,))
    signed = (scan.stored or scan.dtype).kind == "i"
    return DarkLevel(np.zeros(scan.shape[3:], np.float32), of_omega.copy(), 0.0, signed)


def sample_frames(scan: Scan, omega_index: NDArray[np.int64]) -> NDArray[Any]:
    """Some measured frames, spread evenly over the scan: (n, x, y)."""
    positions = np.argwhere(scan.measured[:, :, omega_index])
    chosen = positions[np.unique(np.linspace(0, len(positions) - 1, _SAMPLE).round().astype(int))]
    frames = np.empty((len(chosen), *scan.shape[3:]), dtype=scan.dtype)
    with scan.open() as array:
        for frame, (i, j, k) in zip(frames, chosen, strict=True):
            array.read_columns((i, j, omega_index[k]), 0, frame)
    return frames


def dark_values(scan: Scan, frames: NDArray[Any]) -> Dark:
    """What the pixels without light hold, from some frames.

    Where noise was cut at zero, its values alone do not tell it from faint light, but their neighbours do.
    """
    values = known_values(scan, frames)
    level = scan.dark.over_subtracted if scan.dark else 0.0
    sigma = scan.dark.sigma if scan.dark else 0.0
    if not sigma:
        sigma = dark_sigma(values)
        if dark_background(values, sigma) > 0.0:
            sigma = min(sigma, noise_of(filled(frames.copy())) or sigma)
    return Dark(level, dark_background(values, sigma), sigma**2)


def known_values(scan: Scan, frames: NDArray[Any]) -> NDArray[Any]:
    """The pixels of `sample_frames`; flat, without them, if some are NaN."""
    known = np.isfinite(frames)
    if not known.any():
        raise Recon3DError(scan.folder / ARRAY, "holds no numbers (NaN: nothing was measured)")
    return frames if known.all() else frames[known]


def with_gaps(scan: Scan) -> tuple[Scan, list[str]]:
    """A scan of integers with the gaps of the detector told from dark pixels, and a warning if they are not.

    getdata.py counts the pixels that were not measured (`unmeasured_pixels`, of all frames), but integers
    have no place for them: they are 0. Those of a gap are in every frame; where some frames show no more
    of such pixels than were counted, these are the gaps.
    """
    n_lost = scan.info.get("unmeasured_pixels", 0)
    if scan.dtype.kind == "f" or not isinstance(n_lost, int) or n_lost <= 0 or not scan.measured.any():
        return scan, []
    gaps = np.logical_not(sample_frames(scan, np.arange(scan.shape[2])).any(axis=0))
    n_found = int(gaps.sum()) * int(scan.measured.sum())
    if 0 < n_found <= n_lost:
        scan = scan.with_gaps(gaps)
        if n_found > _NEARLY_ALL * n_lost:
            return scan, []
    return scan, [
        f"{n_lost} pixels were not measured (detector gaps, dead pixels) and are 0 in {ARRAY}, where not all "
        "of them can be told from dark ones: make the array again with --dtype float32"
    ]


def unknown_pixels(scan: Scan, omegas: NDArray[np.int64]) -> list[str]:
    """A warning where pixels of the array are no numbers, from some of its frames at omegas in use."""
    if scan.dtype.kind != "f":
        return []
    share = 1.0 - float(np.isfinite(sample_frames(scan, omegas)).mean())
    if share == 0.0:
        return []
    return [
        f"{share:.2g} of the pixels of {ARRAY} are NaN or infinite: they count as not measured and are left "
        "out"
    ]


def find_level(
    scan: Scan, omegas: NDArray[np.int64], totals: NDArray[np.float64] | None = None
) -> tuple[Estimate, float]:
    """The dark level of an array, found at some of its omegas; and the counts of bright pixels above it.

    Some frames decide whether a closer look is worth while. totals (n_tilt1, n_tilt2, n_omega) are those
    of `column_total` of each frame, where they are known already.
    """
    sample = filled(sample_frames(scan, omegas))
    found = Estimate(None)
    enough = scan.shape[0] * scan.shape[1] >= _FEWEST_TILTS and omegas.size >= _FEWEST_OMEGAS
    if enough and worth_a_look(sample):
        found = _look(scan, omegas, totals, signed=bool((sample < 0).any()))
    level = found.level
    if level is not None:  # of all omegas of the array
        of_omega = np.zeros(scan.shape[2], dtype=np.float32)
        of_omega[omegas] = level.of_omega
        found = replace(found, level=replace(level, of_omega=of_omega))
    return found, float(np.percentile(sample, _BRIGHT)) - (level.mean if level else 0.0)


def filled(frames: NDArray[Any]) -> NDArray[Any]:
    """With the median of their frame (n, n_x, n_y) for pixels that are NaN."""
    for frame in frames if frames.dtype.kind == "f" else ():
        known = np.isfinite(frame)
        if not known.all():
            frame[~known] = np.median(frame[known]) if known.any() else 0.0
    return frames


def _look(
    scan: Scan, omegas: NDArray[np.int64], totals: NDArray[np.float64] | None, *, signed: bool
) -> Estimate:
    """The level as the darkest frames of every omega show it."""
    with scan.open() as array:
        chosen = [_darkest(scan, array, omega, totals) for omega in omegas.tolist()]

        def frames_of(k: int) -> Image:
            frames = np.empty((len(chosen[k]), *scan.shape[3:]), dtype=scan.dtype)
            for frame, (i, j) in zip(frames, chosen[k].tolist(), strict=True):
                array.read_columns((i, j, int(omegas[k])), 0, frame)
            return filled(frames.astype(np.float32))

        return estimate(frames_of, omegas.size, scan.shape[3:], signed=signed)


def _darkest(scan: Scan, array: Frames, omega: int, totals: NDArray[np.float64] | None) -> NDArray[np.int64]:
    """The pairs of tilts (n, 2) of the darkest frames of an omega, by some of their columns."""
    pairs = np.argwhere(scan.measured[:, :, omega])
    if totals is None:
        sums = np.array([_read_total(scan, array, (i, j, omega)) for i, j in pairs.tolist()])
    else:
        sums = totals[pairs[:, 0], pairs[:, 1], omega]
    n = min(max(len(pairs) // _SHARE_OF_TILTS, _FEWEST), _MOST, len(pairs))
    return pairs[np.argsort(sums, kind="stable")[:n]]


def _read_total(scan: Scan, array: Frames, index: tuple[int, int, int]) -> float:
    """The `column_total` of a frame that is on disk: the other columns are not read."""
    n_x, n_y = scan.shape[3:]
    some = _sampled_columns(n_x)
    columns = np.empty((some.size, n_y), dtype=scan.dtype)
    for x, column in zip(some.tolist(), columns, strict=True):
        array.read_columns(index, x, column[None])
    return _total(columns)


@lru_cache
def _sampled_columns(n_x: int) -> NDArray[np.int64]:
    """The columns of a frame that tell how dark it is."""
    return np.unique(((np.arange(_COLUMNS) + 0.5) / _COLUMNS * n_x).astype(np.int64))


def column_total(frame: NDArray[Any]) -> float:
    """How dark a frame (n_x, n_y) is: the sum of some of its columns, unknown pixels like the others."""
    return _total(frame[_sampled_columns(frame.shape[0])])


def _total(columns: NDArray[Any]) -> float:
    if columns.dtype.kind != "f":
        return float(columns.sum(dtype=np.float64))
    known = np.isfinite(columns)
    share = float(known.mean())
    return float(columns.sum(dtype=np.float64, where=known)) / share if share else np.inf


def warnings_of(found: Estimate, signal: float) -> list[str]:
    """What a user should know of the level, in plain words; signal is that of bright pixels, in counts."""
    level = found.level
    shining = f"grain shines into even the darkest frames over {1.0 - found.known:.0%} of the image"
    if not found.anywhere:
        return [
            f"{shining}, so that no dark level can be seen: scan a wider range of tilts, or give the key "
            "background (counts)"
        ]
    said = []
    if not found.mostly:
        said.append(f"{shining}: the dark level there is taken for that of the surroundings")
    worth = max(min(level.sigma / 3.0, 0.01 * signal), BARELY) if level else 0.0
    if level is None or abs(level.largest) < worth:
        return said
    if level.over_subtracted < 0.0:
        return [
            *said,
            f"about {-level.mean:.2g} counts too much were taken off as background and cut at zero, which "
            "faint light does not survive: make the array again with a background that fits, or with "
            "--dtype int16",
        ]
    low, high = level.limits
    return [
        *said,
        f"the images stand on a dark level of {level.mean:.3g} counts ({low:.3g} to {high:.3g} over pixels "
        f"and omegas; noise {level.sigma:.2g}, bright pixels {signal:.3g}), which is taken off here: better "
        "make the array again with background frames that fit, or with --background scan",
    ]
