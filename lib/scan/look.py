"""Looks at the images summed over the tilts: each is read once, and remembered while there is room."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import uniform_filter

from ..parallel.communicator import Comm, check_alarm, together
from ..parallel.messages import collect, collect_everywhere
from ..parallel.partition import block
from ..parallel.progress import Progress
from ..projection import kernels
from .bands import Bands, Marks, filled_in
from .hull import Look
from .setting import Setting
from .spots import Spot, faintest, find_spots

Spots = list[list[Spot]]
Image = NDArray[np.float32]

_HULL_SHARE = 0.9  # of the omegas at which a voxel must be lit to take part
_HULL_SIGMA, _UNSURE_SIGMA = 3.0, 0.5
_AVERAGED_PX = (3, 5, 7, 9)  # to a side; the first with which noise does not hide the rim
_RIM = 0.04  # of what a bright pixel has, which a ray through the rim has
_BRIGHT = 99.0  # percentile of what a bright pixel has
_ZINGER_TIMES, _ZINGER_SIGMA = 1.2, 8.0  # what surrounds a pixel, and its noise, that it must exceed
_MOST_THERE = 3  # of four neighbours of a missing frame
_MOST_PIXELS = 128  # of a small image, along each side


def lit_sums(setting: Setting, faint: float = 0.0) -> Look:
    """Lit is where the sum over the tilts, averaged over 3 x 3 pixels or more, stands out from the noise.

    And from `faint` of what bright pixels have. Where too few of the tilts were measured, or noise hides the
    rim, what is not lit may be all the same.
    """
    share_of_frames, dark = setting.measurement.share_of_frames, setting.dark

    def see(bands: Bands, k: int) -> tuple[NDArray[np.bool_], Marks]:
        n_measured = int(setting.measurement.measured(k).sum())
        sigma = float(np.sqrt(n_measured * dark.variance))
        total, n_unknown = _total(setting, bands, k)
        light = filled_in(total) - np.float32(n_measured * dark.mean)
        for width in _AVERAGED_PX:
            smooth = uniform_filter(light, width, mode="nearest")
            above, bright = float(faintest(sigma, width, _HULL_SIGMA)), np.percentile(smooth, _BRIGHT)
            if above < _RIM * bright:
                break
        lit = smooth > max(above, faint * bright)
        known = share_of_frames[k] * (1.0 if n_unknown is None else 1.0 - n_unknown / n_measured)
        unsure = np.broadcast_to(known < _HULL_SHARE, lit.shape)
        if above >= _RIM * bright:
            unsure = unsure | (smooth > _UNSURE_SIGMA * sigma / width)
        return lit, unsure & ~lit if unsure.any() else None

    return Look(see, _HULL_SHARE, margin=1)


def _total(setting: Setting, bands: Bands, k: int) -> tuple[Image, NDArray[np.uint16] | None]:
    """The sum over the tilts, and at how many of them a pixel is unknown; see `bands.OverTilts`."""
    kept = setting.kept_total(k)
    if kept is not None:
        return kept, None
    most, total, n_unknown = bands.over_tilts(k)
    setting.keep_total(k, total)
    if setting.lit is not None and setting.params.method != "mlem" and n_unknown is None:
        setting.lit[k] = np.packbits(most > setting.threshold)
    return total, n_unknown


def look(setting: Setting, comm: Comm, *, quiet: bool = False) -> tuple[Spots, list[Image]]:
    """The spots of the image of every omega in use, on every rank, and small images, on rank 0. Collective.

    Frames that are missing are filled in from their neighbours (`stand_ins`). A small image holds the counts
    above the dark level, `shrinkage` pixels put together in each direction; NaN where not half of them were
    measured.
    """
    measurement, dark = setting.measurement, setting.dark
    n_omega, factor = measurement.n_omega, shrinkage(setting)
    mine = block(n_omega, comm.size, comm.rank)
    show = comm.rank == 0 and not quiet
    spots: Spots = []
    images: list[Image] = []
    with (
        together(comm),
        Bands(measurement.scan, measurement.omega_index) as bands,
        Progress("alignment", len(mine), "omegas", overall=n_omega, visible=show) as progress,
    ):
        for k in mine:
            weights = stand_ins(measurement.measured(k).reshape(measurement.scan.shape[:2]))
            whole = bool((weights == 1.0).all())
            total = _total(setting, bands, k)[0] if whole else bands.weighted(k, weights)
            light, n_noisy = total - np.float32(weights.sum() * dark.mean), float((weights**2).sum())
            light[zingers(light, n_noisy * dark.variance, setting.params.gain or 1.0)] = np.nan
            image = _small(light, factor)
            sigma = factor * float(np.sqrt(n_noisy * dark.stored_variance))
            spots.append([spot.of_pixels(factor) for spot in find_spots(filled_in(image), 0.0, sigma)])
            images.append(image)
            progress.advance()
            check_alarm(comm)
    everywhere = [row for part in collect_everywhere(comm, spots) for row in part]
    return everywhere, [image for part in collect(comm, images) for image in part]


def zingers(image: Image, variance: float, gain: float = 1.0) -> NDArray[np.bool_]:
    """Pixels (n_x, n_y) far above all but one of the eight around them: no light of a grain.

    The image is in counts above the dark level, of which a photon makes `gain`; variance is that of dark
    pixels.
    """
    rim = np.pad(np.nan_to_num(image, nan=0.0), 1, mode="edge")
    around = np.empty(image.shape, dtype=np.float32)
    kernels.second_brightest(rim, around)
    limit = _ZINGER_TIMES * around + _ZINGER_SIGMA * np.sqrt(gain * around + np.float32(variance + 1.0))
    return np.asarray(image > limit)


def stand_ins(measured: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Weights (n_tilt1, n_tilt2) with which the sum of the measured frames is that of all.

    A missing one is taken for the plane through its next neighbours, bent as the diagonal ones tell where
    most are there; for the mean of all where it has none.
    """
    weights = measured.astype(np.float64)
    for i, j in np.argwhere(~measured).tolist():
        beside = _there(measured, [(i - 1, j), (i + 1, j), (i, j - 1), (i, j + 1)])
        across = _there(measured, [(i - 1, j - 1), (i - 1, j + 1), (i + 1, j - 1), (i + 1, j + 1)])
        bent = len(beside) >= _MOST_THERE and len(across) >= _MOST_THERE
        for place in beside:
            weights[place] += (1.0 + bent) / len(beside)
        for place in across if bent else ():
            weights[place] -= 1.0 / len(across)
        if not beside:
            weights[measured] += 1.0 / max(int(measured.sum()), 1)
    return weights


def _there(measured: NDArray[np.bool_], places: list[tuple[int, int]]) -> list[tuple[int, int]]:
    """Those of the places that are on the grid and were measured."""
    n1, n2 = measured.shape
    return [(i, j) for i, j in places if 0 <= i < n1 and 0 <= j < n2 and measured[i, j]]


def shrinkage(setting: Setting) -> int:
    """How many pixels, in each direction, make one of a small image."""
    return -(-max(setting.projector.detector_shape) // _MOST_PIXELS)


def _small(light: Image, factor: int) -> Image:
    """Sums over factor x factor pixels, of those that are known scaled up; what is left over is dropped."""
    n_x, n_y = (n // factor for n in light.shape)

    def summed(values: NDArray[Any]) -> Image:
        cells = values[: n_x * factor, : n_y * factor].reshape(n_x, factor, n_y, factor)
        return np.asarray(cells.sum(axis=1, dtype=np.float32).sum(axis=2))

    known = np.isfinite(light)
    if known.all():
        return summed(light)
    n_known = summed(known)
    scale = factor**2 / np.where(2 * n_known >= factor**2, n_known, np.float32(np.nan))
    return np.asarray(summed(np.where(known, light, np.float32(0.0))) * scale, dtype=np.float32)
