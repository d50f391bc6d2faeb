"""A response that moves over the image: the rolling angle that the objective accepts leans with the place.

An objective sees the ends of its field under other angles than the middle, some 3 mrad per mm. What a pixel
accepts depends on where it is, so an image is cut into strips in which that hardly changes, each with a K of
its own.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from ..physics.tilts import Resolution
from ..projection.views import Views, um_per_px
from .response import BlockResponse, Image, Strips

Array = NDArray[np.float64]

_STRIP = 0.2  # of a step or of the width along rolling, whichever is less, in a strip
_MOST_STRIPS = 64


@dataclass(frozen=True)
class Lean:
    """Strips of an image, all of a rolling angle of strip_deg.

    per_px (2,) is by how much the accepted rolling angle moves from pixel to pixel along x and y, in degrees;
    it does not move at the pixel zero_px (2,).
    """

    per_px: tuple[float, float] = (0.0, 0.0)
    zero_px: tuple[float, float] = (0.0, 0.0)
    strip_deg: float = 1.0

    @classmethod
    def of(cls, resolution: Resolution, views: Views, step_deg: float) -> Lean:
        """For the pixels of some views; zero where the middle of the sample falls in the mean."""
        if resolution.slope == (0.0, 0.0):
            return UPRIGHT
        per_x, per_y = (um_per_px(views) * resolution.slope).tolist()
        x, y = views.shift.mean(axis=0).tolist()
        n_x, n_y = views.detector_shape
        widest = (abs(per_x) * n_x + abs(per_y) * n_y) / _MOST_STRIPS
        return cls((per_x, per_y), (x, y), max(_STRIP * min(step_deg, resolution.rolling), widest))

    @property
    def leans(self) -> bool:
        """Whether there is more than one strip."""
        return self.per_px != (0.0, 0.0)

    def n_strips(self, shape: tuple[int, int]) -> int:
        """How many strips an image of (n_x, n_y) pixels has at most."""
        across = sum(abs(slope) * n for slope, n in zip(self.per_px, shape, strict=True))
        return int(across / self.strip_deg) + 2 if self.leans else 1

    def strips_at(self, pixels: Array) -> NDArray[np.int64]:
        """The strips (n,), numbered from the zero pixel on, of places (n, 2) in an image."""
        return np.rint((pixels - self.zero_px) @ np.array(self.per_px) / self.strip_deg).astype(np.int64)

    def response(
        self,
        sees: Callable[[Resolution], Image],
        resolution: Resolution,
        pixels: NDArray[np.int64],
        shape: tuple[int, int],
        voxels_px: Array,
    ) -> BlockResponse:
        """K of some pixels, given by their numbers in an image of this shape; sees gives that of a strip.

        voxels_px (n_voxels, 2) are the places of the voxels in the image.
        """
        if not self.leans:
            return BlockResponse.of(sees(resolution))
        rows = self.strips_at(np.stack(np.divmod(pixels, shape[1]), axis=1).astype(np.float64))
        low, high = (int(rows.min()), int(rows.max())) if rows.size else (0, 0)
        matrices = [sees(replace(resolution, roll=strip * self.strip_deg)) for strip in range(low, high + 1)]
        voxels = np.clip(self.strips_at(voxels_px), low, high)
        as_strips: list[Strips] = [(which - low).astype(np.int32) for which in (rows, voxels)]
        return BlockResponse.of(*matrices, rows=as_strips[0], voxels=as_strips[1])


UPRIGHT = Lean()
