"""Method `backprojection`: sum the tilt maps that a voxel projects to, and read off its orientation.

White paper (Poulsen et al. 2017, J. Appl. Cryst. 50, 1441), section 2.2.2: for each voxel
p(tilt1, tilt2) is the sum over omega of the intensity at the nearest pixel; the orientation is the
centre of mass of p on the real axes, its error the standard deviation, and the completeness the
share of the measured omegas at which the brightest pair is lit. An omega at which a pair was not
measured, its frame or the voxel's pixel, is none of them, and the sum is that of the others.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..physics.tilts import Interpolation
from ..projection import kernels
from ..projection.views import Block, PixelSet, Views, kernel_arguments

Array = NDArray[np.float64]

_VOXELS_AT_ONCE = 4096  # whose sums are scaled together

FIELDS = ("tilt1", "tilt2", "tilt1_std", "tilt2_std", "completeness", "intensity")


def sum_dtype(pixel_dtype: np.dtype[Any]) -> np.dtype[Any]:
    """Type of the sums: exact for the detector's integers, float32 for everything else."""
    small = pixel_dtype.kind == "u" and pixel_dtype.itemsize <= 2
    return np.dtype(np.uint32 if small else np.float32)


def lit_limit(threshold: float, dtype: np.dtype[Any]) -> Any:
    """The largest number of a type that is not above the threshold: `v > limit` says `v > threshold`."""
    if dtype.kind in "ui":
        info = np.iinfo(dtype)
        return dtype.type(min(max(math.floor(threshold), info.min), info.max))
    limit = dtype.type(threshold)
    return np.nextafter(limit, dtype.type(-np.inf)) if float(limit) > threshold else limit


@dataclass(frozen=True)
class PairTurns:
    """What `projection exact` does to a map after reading it pair by pair.

    index and weight (n_omega, n_pairs, 4) turn it into the sample frame, see `tilts.Interpolation`;
    n_omega is 0 where it is not turned. binarize sums lit and dark instead of counts.
    """

    index: NDArray[np.int32]
    weight: NDArray[np.float32]
    binarize: bool = False

    @classmethod
    def of(cls, turns: list[Interpolation], binarize: bool = False) -> PairTurns:
        """The turns of all omegas; an empty list where there is nothing to turn."""
        index = np.stack([t.index for t in turns]) if turns else np.empty((0, 1, 4), np.int32)
        weight = np.stack([t.weight for t in turns]) if turns else np.empty((0, 1, 4), np.float32)
        return cls(index, weight, binarize)

    def __getitem__(self, part: slice) -> PairTurns:
        return PairTurns(self.index[part], self.weight[part], self.binarize)


class Backprojection:
    """The sums of some voxels of a block, filled omega by omega.

    chosen (n,) numbers the voxels in C order of the block; None takes them all. pixel_dtype is the type
    of the values summed. Adding the same omegas in the same chunks gives the same bits for a voxel,
    whatever block it is in and whichever voxels are chosen with it.
    """

    def __init__(
        self,
        block: Block,
        n_pairs: int,
        pixel_dtype: np.dtype[Any],
        threshold: float,
        chosen: NDArray[np.int64] | None = None,
    ) -> None:
        self.block = block
        self.threshold = threshold
        self.chosen = np.arange(block.n_voxels) if chosen is None else chosen
        self._is_whole = chosen is None
        self.sums = np.zeros((self.chosen.size, n_pairs), dtype=sum_dtype(pixel_dtype))
        self.lit = np.zeros((self.chosen.size, n_pairs), dtype=np.uint16)
        self.seen = np.zeros(self.chosen.size, dtype=np.int32)
        self.unknown: NDArray[np.uint16] | None = None  # omegas, like lit; None for nothing

    def add(self, views: Views, pixels: PixelSet, turns: PairTurns | None = None) -> None:
        """Add the pixels of some omegas; `turns` is for views with a projection for every pair."""
        counters = (self.sums, self.lit, self.seen)
        arguments = kernel_arguments(views, pixels, self.block)
        if pixels.unknown is not None and self.unknown is None:
            self.unknown = np.zeros_like(self.lit)
        if views.exact:
            turns = PairTurns.of([]) if turns is None else turns
            turned = (turns.index, turns.weight)
            limit = lit_limit(self.threshold, self.sums.dtype)
            flat, *rest = arguments
            marks = (None, None) if pixels.unknown is None else (self.unknown, pixels.unknown)
            kernels.gather_exact(*counters, limit, turns.binarize, *marks, self.chosen, flat, *turned, *rest)
        else:
            limit = lit_limit(self.threshold, pixels.flat.dtype)
            kernels.gather_nearest(*counters, limit, self.chosen, *arguments)
            if pixels.unknown is not None:
                kernels.count_unknown(self.unknown, self.chosen, pixels.unknown, *arguments[1:])

    def finish(self, tilt1_deg: Array, tilt2_deg: Array, n_omega: int) -> dict[str, Array]:
        """The result: each of FIELDS as (n_x, n_y, n_z), or (n,) of the chosen; n_omega measured omegas.

        Orientations and their standard deviations in degrees on the given axes; NaN where the sum
        over all tilts is not positive. Intensity is the mean over the omegas at which the voxel falls
        on the detector, in counts of all tilts together; NaN where it never does, or was not measured.
        """
        tilts = [g.ravel() for g in np.meshgrid(tilt1_deg, tilt2_deg, indexing="ij")]
        if self.unknown is None:
            moments, pair = moments_of(self.sums, tilts)
            completeness = self._lit_at(slice(None), pair) / n_omega
        else:
            moments, completeness = self._moments_of_known(self.unknown, tilts, n_omega)
        with np.errstate(invalid="ignore"):
            intensity = np.where(self.seen > 0, moments[:, 0], np.nan) / np.maximum(self.seen, 1)
        columns = (*moments[:, 1:].T, completeness, intensity)
        shape = self.block.shape if self._is_whole else self.chosen.shape
        return {name: c.reshape(shape) for name, c in zip(FIELDS, columns, strict=True)}

    def _lit_at(self, voxels: slice, pair: NDArray[np.int64]) -> NDArray[np.uint16]:
        return np.take_along_axis(self.lit[voxels], pair[:, None], axis=1)[:, 0]

    def _moments_of_known(
        self, n_unknown: NDArray[np.uint16], tilts: list[Array], n_omega: int
    ) -> tuple[Array, Array]:
        """Moments (n, 5) and completeness (n,) from what was measured, some voxels at a time.

        A sum that lacks some omegas is scaled up to all at which the voxel is on the detector. Of a voxel
        that lacks none both are to the last bit what they are without this.
        """
        moments, completeness = np.empty((self.chosen.size, 5)), np.zeros(self.chosen.size)
        for start in range(0, self.chosen.size, _VOXELS_AT_ONCE):
            part = slice(start, start + _VOXELS_AT_ONCE)
            seen = self.seen[part, None].astype(np.float64)
            n_known = at_least_half(seen - n_unknown[part])
            scale = np.divide(seen, n_known, out=np.zeros(n_known.shape), where=n_known > 0)
            moments[part], pair = moments_of(self.sums[part] * scale, tilts)
            moments[part, 0][~scale.any(axis=1)] = np.nan
            n_known = at_least_half(float(n_omega) - n_unknown[part])
            n_known = np.take_along_axis(n_known, pair[:, None], axis=1)[:, 0]
            np.divide(self._lit_at(part, pair), n_known, out=completeness[part], where=n_known > 0)
        return moments, completeness


def moments_of(sums: NDArray[Any], tilts: list[Array]) -> tuple[Array, NDArray[np.int64]]:
    """Moments (n, 5) of maps (n, n_pairs), as of `kernels.tilt_moments`, and their brightest pairs (n,)."""
    moments, pair = np.empty((len(sums), 5)), np.empty(len(sums), dtype=np.int64)
    kernels.tilt_moments(sums, *tilts, moments, pair)
    return moments, pair


def at_least_half(n_known: NDArray[Any]) -> Array:
    """Omegas (n, n_pairs) that count for each pair: those at which it is known, or half of the most for any.

    A pair of hardly any omegas, at which it happens to be bright, is not the brightest for that.
    """
    n_known = np.atleast_2d(n_known)
    return np.maximum(n_known, 0.5 * n_known.max(axis=1, keepdims=True))


def apply_cutoff(fields: dict[str, Array], completeness_cutoff: float) -> NDArray[np.bool_]:
    """Blank the orientation below the cutoff (in place); returns the mask of the grain.

    The grain is where the completeness reaches the cutoff and there is an orientation.
    """
    below = fields["completeness"] < completeness_cutoff
    for name in FIELDS[:4]:
        fields[name][below] = np.nan
    return np.isfinite(fields["tilt1"]) & ~below & (fields["completeness"] > 0)
