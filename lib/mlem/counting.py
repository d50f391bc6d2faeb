"""How much counts scatter: their gain, and the noise of dark pixels, from what a first fit leaves.

Noise changes from pixel to pixel; what a model lacks changes slowly, or at edges, which are few. So the
scatter is that of second differences between neighbouring pixels, in small blocks, and what most of the
blocks say counts.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ..parallel.communicator import Comm
from ..parallel.messages import collect
from ..physics.censored import sigma_of
from ..physics.noise import Dark
from ..projection.jit import kernel
from .expectation import Exchange, Model
from .maps import Maps

Array = NDArray[np.float64]

N_VIEWS = 6  # whose images tell the noise
_BLOCK = 4  # pixels to a side
_DARK = np.float32(0.05)  # of the least light that counts, below which a pixel is dark
_FEWEST, _FEWEST_BLOCKS = 60, 12  # values of a block, and blocks, that tell
_SQUARES = 6.0  # 1 + 4 + 1, of the weights of a second difference
_LEAST_GAIN = 0.01
_MOST_VALUES = 1 << 22  # of a view that are looked at, of all its pixels but some of its tilts


@kernel(error_model="numpy")
def add_differences(light, counts, row_of, shape, least, block, out):  # type: ignore[no-untyped-def]
    """Sums over blocks (m_x, m_y) of an image of n_x by n_y pixels, added to out (m_x, m_y, 6).

    light and counts (n_rows, n_scanned) are what is expected and what was counted, row_of (n_x * n_y) the row
    of a pixel or -1. Of three pixels in a row of which each expects `least` or more: the square of the second
    difference of counts - light, the light with the weights of its variance, and how many; of three in the
    dark: the mean of the counts, the square of their second difference, how many.
    """
    n_x, n_y = shape
    for x in range(n_x):
        for y in range(n_y):
            p, sums = row_of[x * n_y + y], out[x // block, y // block]
            for axis in range(2):
                if p < 0 or (x if axis == 0 else y) in (0, (n_x if axis == 0 else n_y) - 1):
                    continue
                step = n_y if axis == 0 else 1
                a, b = row_of[x * n_y + y - step], row_of[x * n_y + y + step]
                if a < 0 or b < 0:
                    continue
                for t in range(light.shape[1]):
                    ca, cp, cb = np.float32(counts[a, t]), np.float32(counts[p, t]), np.float32(counts[b, t])
                    bend = ca - np.float32(2.0) * cp + cb
                    if not np.isfinite(bend):
                        continue
                    la, lp, lb = light[a, t], light[p, t], light[b, t]
                    if min(la, lp, lb) >= least:
                        sums[0] += (bend - (la - np.float32(2.0) * lp + lb)) ** 2
                        sums[1] += la + np.float32(4.0) * lp + lb
                        sums[2] += 1.0
                    elif max(la, lp, lb) < _DARK * least:
                        sums[3] += (ca + cp + cb) / np.float32(3.0)
                        sums[4] += bend * bend
                        sums[5] += 1.0


def with_noise(
    model: Model, maps: Maps, chosen: list[int], gain: float | None, exchange: Exchange, comm: Comm
) -> Dark:
    """The dark values of the model with the noise that its views `chosen` show, and the gain. Collective.

    A gain that is given stays; what the images do not tell stays as it is.
    """
    blocks = []
    for k in chosen:
        view = model.views[k]
        image = model.project(view, maps)[0]
        exchange.add_overlaps([k], [image])
        rows, tilts = np.flatnonzero(view.owned), np.flatnonzero(view.measured)
        tilts = tilts[:: max(1, -(-tilts.size * view.shape[0] * view.shape[1] // _MOST_VALUES))]
        some = np.ix_(rows, tilts)
        parts = collect(comm, (view.pixels[rows], image[some], view.counts()[some]))
        if parts:
            pixels, light, counts = (np.concatenate(part) for part in zip(*parts, strict=True))
            blocks.append(_differences(pixels, light, counts, view.shape, model.dark))
    found: Dark = comm.bcast(noise_of(np.concatenate(blocks), model.dark, gain) if blocks else model.dark)
    return found


def _differences(
    pixels: NDArray[np.int64],
    light: NDArray[np.float32],
    counts: NDArray[np.generic],
    shape: tuple[int, int],
    dark: Dark,
) -> Array:
    """The sums (n_blocks, 6) of `add_differences` of one view; its light is scaled to the counts."""
    least = np.float32(dark.least_light)
    row_of = np.full(shape[0] * shape[1], -1, dtype=np.int32)
    row_of[pixels] = np.arange(pixels.size, dtype=np.int32)
    lit = (light >= least) & np.isfinite(counts)
    expected = float(light.sum(where=lit, dtype=np.float64))
    if expected > 0.0:
        light = light * np.float32(counts.sum(where=lit, dtype=np.float64) / expected)
    out = np.zeros((*(-(-n // _BLOCK) for n in shape), 6))
    add_differences(light, counts, row_of, shape, least, _BLOCK, out)
    return out.reshape(-1, 6)


def noise_of(blocks: Array, dark: Dark, gain: float | None = None) -> Dark:
    """Gain and variance from the sums (n_blocks, 6) of `add_differences`.

    Those of `dark` where they do not tell. Dark values that were cut at zero are taken for
    the upper part of a noise about some level, no wider than was known before.
    """
    variance = dark.variance
    unlit = blocks[blocks[:, 5] >= _FEWEST]
    if len(unlit) >= _FEWEST_BLOCKS:
        mean, spread = unlit[:, 3] / unlit[:, 5], unlit[:, 4] / unlit[:, 5] / _SQUARES
        variance = _middle(sigma_of(mean, spread) ** 2 if dark.floor else spread, unlit[:, 5])
        if dark.floor:  # light that the model lacks, and rounding, add to what is left of the noise
            variance = min(variance, dark.variance)
    lit = blocks[blocks[:, 2] >= _FEWEST]
    if gain is None and len(lit) >= _FEWEST_BLOCKS:
        gain = max(_middle((lit[:, 0] - _SQUARES * variance * lit[:, 2]) / lit[:, 1], lit[:, 1]), _LEAST_GAIN)
    return Dark(dark.level, dark.floor, variance, gain or dark.gain)


def _middle(values: Array, weights: Array) -> float:
    """The median of values with weights (n,)."""
    order = np.argsort(values)
    upto = np.cumsum(weights[order])
    return float(values[order][np.searchsorted(upto, upto[-1] / 2.0)])
