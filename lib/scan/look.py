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
from ..physics.noise import Dark
from .bands import Bands, Marks, filled_in
from .binned import binned
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
_MOST_PIXELS = 128  # of a small image, along each side


def lit_sums(setting: Setting, dark: Dark, faint: float = 0.0) -> Look:
    """Lit is where the sum over the tilts, averaged over 3 x 3 pixels or more, stands out from the noise.

    And from `faint` of what bright pixels have. Where too few of the tilts were measured, or noise hides the
    rim, what is not lit may be all the same.
    """
    share_of_frames = setting.measurement.share_of_frames

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


def _total(setting: Setting, bands: Bands, k: int) -> tuple[Image, NDArray[np.int64] | None]:
    """The sum over the tilts, and at how many of them a pixel is unknown; see `bands.OverTilts`."""
    kept, scan = (setting.totals or {}).get(k), bands.scan
    if kept is not None and (scan.unbinned or scan).dtype.kind != "f":  # of which every value is known
        return kept if kept.shape == scan.shape[3:] else binned(kept, scan.bins), None
    any_lit = setting.lit is not None and setting.params.method != "mlem"
    most, total, n_unknown = bands.over_tilts(k, brightest=any_lit)
    setting.keep_total(k, total)
    if any_lit and setting.lit is not None and n_unknown is None:
        setting.lit[k] = np.packbits(most > setting.threshold)
    return total, n_unknown


def look(setting: Setting, dark: Dark, comm: Comm, *, quiet: bool = False) -> tuple[Spots, list[Image]]:
    """The spots of the image of every omega in use, on every rank, and small images, on rank 0. Collective.

    A small image holds the counts above the dark level of as many tilts as other omegas have, `shrinkage`
    pixels put together in each direction; NaN where not half of them were measured.
    """
    measurement = setting.measurement
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
            n_measured = int(measurement.measured(k).sum())
            total, _ = _total(setting, bands, k)
            image = _small(total - np.float32(n_measured * dark.mean), factor)
            sigma = factor * float(np.sqrt(n_measured * dark.stored_variance))
            spots.append([spot.of_pixels(factor) for spot in find_spots(filled_in(image), 0.0, sigma)])
            images.append(image / np.float32(measurement.share_of_frames[k]))
            progress.advance()
            check_alarm(comm)
    everywhere = [row for part in collect_everywhere(comm, spots) for row in part]
    return everywhere, [image for part in collect(comm, images) for image in part]


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
