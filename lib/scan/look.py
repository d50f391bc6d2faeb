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
from .hull import Look
from .setting import Setting
from .spots import Spot, faintest, find_spots

Spots = list[list[Spot]]
Image = NDArray[np.float32]

_HULL_SHARE = 0.9  # of the omegas at which a voxel must be lit to take part
_HULL_SIGMA, _FAINT_SIGMA = 3.0, 2.0  # the second where noise hides the rim of the grain all the same
_QUIET = 0.12  # of what a bright pixel has: noise below that hides little
_WIDTHS = (3, 5, 7)  # pixels of an average
_BRIGHT = 99.0  # percentile of what a bright pixel has
_MOST_PIXELS = 128  # of a small image, along each side


def lit_sums(setting: Setting, dark: Dark, faint: float = 0.0) -> Look:
    """Lit is where the sum over the tilts, averaged over some pixels, stands out from the noise.

    And from `faint` of what bright pixels have. The average is as wide as the noise asks for. Where too few
    of the tilts were measured, what is not lit may be all the same.
    """
    share_of_frames = setting.measurement.share_of_frames

    def see(bands: Bands, k: int) -> tuple[NDArray[np.bool_], Marks]:
        n_measured = int(setting.measurement.measured(k).sum())
        total, n_unknown = _total(setting, bands, k)
        light = filled_in(total - np.float32(n_measured * dark.mean))
        lit = _stands_out(light, float(np.sqrt(n_measured * dark.stored_variance)), faint)
        if n_unknown is None and share_of_frames[k] >= _HULL_SHARE:
            return lit, None
        known = 1.0 - (0.0 if n_unknown is None else n_unknown / n_measured)
        return lit, (known * share_of_frames[k] < _HULL_SHARE) & ~lit

    return Look(see, _HULL_SHARE, margin=1)


def _stands_out(light: Image, sigma: float, faint: float) -> NDArray[np.bool_]:
    """Where an average of an image is above its noise, sigma of a pixel, and `faint` of what is bright."""
    for width in _WIDTHS:
        smooth = uniform_filter(light, width, mode="nearest")
        bright = float(np.percentile(smooth, _BRIGHT)) if sigma or faint else 0.0
        above = float(faintest(sigma, width, _HULL_SIGMA))
        if not sigma or above < _QUIET * bright:
            break
    else:
        above = float(faintest(sigma, width, _FAINT_SIGMA))
    return np.asarray(smooth > max(above, faint * bright))


def _total(setting: Setting, bands: Bands, k: int) -> tuple[Image, NDArray[np.int64] | None]:
    """The sum over the tilts, and at how many of them a pixel is unknown; see `bands.OverTilts`."""
    kept = (setting.totals or {}).get(k)
    if kept is not None and bands.scan.dtype.kind != "f":  # of which every value is known
        return kept, None
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
