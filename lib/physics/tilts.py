"""Tilt frames: where on the scanned tilts a voxel of given orientation diffracts at each omega.

Tilts in these functions are relative to tilt_zero, in any one unit (radians or degrees alike: the
relations are linear); omega is in radians.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike, NDArray

Array = NDArray[np.float64]

_GAUSS = 4.0 * float(np.log(2.0))  # exp(-_GAUSS x^2) has a full width at half maximum of 1
_NO_SWEEP = 1e-3  # of a width
_BOX = (2.0 * _GAUSS / 12.0) ** 0.5  # width of a Gaussian that spreads like a box of width 1
_FAR = 1e-3  # of what is seen at the top, below which tails are left out
TOUCHED = 1e-3  # weight above which an interpolation leans on a value


def sample_to_lab_tilts(mode: str, a: ArrayLike, b: ArrayLike, omega: ArrayLike) -> tuple[Array, Array]:
    """Lab tilts (mu, gamma) at which a voxel of orientation (a, b) diffracts at omega; all broadcast.

    Horizontal: mu = a cos w + b sin w, gamma = -a sin w + b cos w; vertical: the sines change sign.
    """
    a, b = np.asarray(a, dtype=np.float64), np.asarray(b, dtype=np.float64)
    cosine = np.cos(np.asarray(omega, dtype=np.float64))
    sine = np.sin(np.asarray(omega, dtype=np.float64)) * (1.0 if mode == "horizontal" else -1.0)
    return a * cosine + b * sine, -a * sine + b * cosine


def resolution_directions(
    tilt_frame: str, mode: str, d_tilt1: ArrayLike, d_tilt2: ArrayLike, omega: ArrayLike
) -> tuple[Array, Array]:
    """Deviations of the scanned tilts as (rocking, rolling): the directions of the resolution.

    Fixed in the lab; in the sample frame they turn with omega like the tilts of a voxel.
    """
    if tilt_frame == "lab":
        return np.asarray(d_tilt1, dtype=np.float64), np.asarray(d_tilt2, dtype=np.float64)
    return sample_to_lab_tilts(mode, d_tilt1, d_tilt2, omega)


@dataclass(frozen=True)
class Interpolation:
    """A sparse matrix of four entries a row: value[s] = sum_k weight[s, k] * measured[index[s, k]].

    index int32 and weight float32, both (n_pairs, 4); pairs are numbered in C order of (tilt1, tilt2).
    """

    index: NDArray[np.int32]
    weight: NDArray[np.float32]

    def dense(self, n_measured: int) -> NDArray[np.float32]:
        """The matrix (n_pairs, n_measured); its transpose is K_w of the forward model."""
        matrix = np.zeros((self.index.shape[0], n_measured), dtype=np.float32)
        rows = np.broadcast_to(np.arange(self.index.shape[0])[:, None], self.index.shape)
        np.add.at(matrix, (rows, self.index), self.weight)
        return matrix

    def leans_on(self, lost: NDArray[np.bool_]) -> NDArray[np.bool_]:
        """Which values (..., n_pairs) are not known where what is lost (..., n_measured) was not measured."""
        return np.asarray((lost[..., self.index] & (self.weight > TOUCHED)).any(axis=-1))


def turn_back(mode: str, tilt1: Array, tilt2: Array, omega: float) -> Interpolation:
    """Read a map scanned in the lab frame at omega on the sample-frame grid of the same axes.

    tilt1 (n1,) and tilt2 (n2,) are the scanned axes relative to tilt_zero, ascending; the sample-frame
    pairs (a, b) take the same values. Linear between scanned positions, zero outside of them.
    """
    a, b = np.meshgrid(tilt1, tilt2, indexing="ij")
    mu, gamma = sample_to_lab_tilts(mode, a.ravel(), b.ravel(), omega)
    low1, part1, inside1 = _bracket(tilt1, mu)
    low2, part2, inside2 = _bracket(tilt2, gamma)
    high1, high2 = np.minimum(low1 + 1, tilt1.size - 1), np.minimum(low2 + 1, tilt2.size - 1)
    inside = inside1 & inside2
    corners = [
        (low1, low2, (1 - part1) * (1 - part2)),
        (low1, high2, (1 - part1) * part2),
        (high1, low2, part1 * (1 - part2)),
        (high1, high2, part1 * part2),
    ]
    index = np.stack([i * tilt2.size + j for i, j, _ in corners], axis=1)
    weight = np.stack([np.where(inside, w, 0.0) for _, _, w in corners], axis=1)
    return Interpolation(index.astype(np.int32), weight.astype(np.float32))


def _bracket(axis: Array, value: Array) -> tuple[NDArray[np.int64], Array, NDArray[np.bool_]]:
    """Position below each value, the fraction of the way to the next, and whether it is on the axis.

    A rounding error beyond the ends still counts as on the axis.
    """
    if axis.size == 1:
        return np.zeros(value.size, dtype=np.int64), np.zeros(value.size), np.abs(value - axis[0]) < 1e-9
    low = np.clip(np.searchsorted(axis, value, side="right") - 1, 0, axis.size - 2)
    part = (value - axis[low]) / (axis[low + 1] - axis[low])
    inside = (part > -1e-6) & (part < 1 + 1e-6)
    return low, np.clip(part, 0.0, 1.0), inside


@dataclass(frozen=True)
class OrientationGrid:
    """The orientations that a voxel may have: the sample-frame pairs (a, b) of the unknown.

    axis1 and axis2 are the positions along tilt1 and tilt2, relative to tilt_zero; pairs are numbered
    in C order. `refinement` of them fall on one step of the scan.
    """

    axis1: Array
    axis2: Array
    refinement: int

    @classmethod
    def refine(cls, tilt1: Array, tilt2: Array, refinement: int) -> OrientationGrid:
        """The grid over the scanned ranges, each step divided into `refinement` parts."""
        return cls(_divide(tilt1, refinement), _divide(tilt2, refinement), refinement)

    @property
    def n_pairs(self) -> int:
        """Number of orientations."""
        return self.axis1.size * self.axis2.size

    def pairs(self) -> tuple[Array, Array]:
        """The coordinates a and b of every pair, each (n_pairs,)."""
        a, b = np.meshgrid(self.axis1, self.axis2, indexing="ij")
        return a.ravel(), b.ravel()

    def spread_over(self, finer: OrientationGrid) -> NDArray[np.float32]:
        """Matrix (n_pairs, finer.n_pairs) that takes a distribution to a finer grid of the same range.

        Each pair is shared among those around it, linearly; what it holds is kept.
        """
        hats = []
        for axis, fine in ((self.axis1, finer.axis1), (self.axis2, finer.axis2)):
            places = np.interp(fine, axis, np.arange(axis.size))
            hat = np.maximum(1.0 - np.abs(np.arange(axis.size)[:, None] - places), 0.0)
            hats.append(hat / hat.sum(axis=1, keepdims=True))
        return np.kron(*hats).astype(np.float32)


def _divide(axis: Array, parts: int) -> Array:
    places = np.arange((axis.size - 1) * parts + 1) / parts
    return np.interp(places, np.arange(axis.size), axis)


BLUR_STEPS = 0.65  # FWHM in steps of the scan, of what is unfolded on a grid finer than it
SHARED_STEPS = (2.0 * _GAUSS / 6.0) ** 0.5  # of what is shared by its neighbours a step apart, on average
_NARROWEST = 0.6  # of the given width


def _without(width: float, blur: float) -> float:
    return max(max(width**2 - blur**2, 0.0) ** 0.5, _NARROWEST * width)


def width_of_two(width: float, step: float) -> float:
    """The width with which two positions a step apart together look like what lies amid them, with `width`.

    To four positions of the scan, at half a step and one and a half: none wider does. A ratio of the light at
    them tells the share g that each of the two gives to the next.
    """
    ratio = np.exp(-2.0 * _GAUSS * (step / width) ** 2)  # = (g + g^4) / (1 + g) = g (1 - g + g^2)
    shares = np.linspace(0.0, 1.0, 4097)
    share = np.interp(ratio, shares * (1.0 - shares + shares**2), shares)
    return step * float((_GAUSS / -np.log(share)) ** 0.5)


USUAL_STEPS = (1.0, 1.4)  # widths of a resolution along rocking and rolling, where nothing tells them


def spread_of_sum(n: int, step: float) -> float:
    """What a sum over n neighbours a step apart adds to the square of a width (FWHM)."""
    return float(8.0 * np.log(2.0) * (n**2 - 1) / 12.0 * step**2)


@dataclass(frozen=True)
class Resolution:
    """What a position of the scan accepts, in the unit of the tilts.

    A Gaussian of full widths at half maximum along the rocking and rolling directions. Zero leaves the
    resolution out of account: what lies between two positions of the scan is then shared between them.

    swept is how far a motor moves while a frame is taken, about the position that is stated: tilt1, or where
    `by_mu`, the rocking motor below omega, whatever tilt1 is. slope is how far the accepted rolling angle
    moves for a micrometre on the sample, along x and y of the images (an objective sees the two ends of its
    field under other angles); roll is where it stands for the pixels in question. tails is the share of a
    Lorentzian of the same widths, the rest is the Gaussian.
    """

    rocking: float
    rolling: float
    swept: float = 0.0
    by_mu: bool = False
    slope: tuple[float, float] = (0.0, 0.0)
    roll: float = 0.0
    tails: float = 0.0

    @property
    def narrow(self) -> float:
        """The smaller of the widths, with what a motor moves by."""
        return min(self.along_rocking, self.rolling)

    @property
    def broad(self) -> float:
        """The larger of the widths, with what a motor moves by."""
        return max(self.along_rocking, self.rolling)

    @property
    def along_rocking(self) -> float:
        """The width along the rocking direction, with what a motor moves by in that direction."""
        return float(np.hypot(self.rocking, _BOX * self.swept))

    def without_sweep_of(self, step: float, least: float) -> float:
        """The Gaussian that is left of the rocking width, a share at least, if a motor moves by so much."""
        return float(np.sqrt(max(self.rocking**2 - (_BOX * step) ** 2, (least * self.rocking) ** 2)))

    def sharpened(self, blur: float) -> Resolution:
        """The resolution with which to unfold a scan, so that what comes out is blurred.

        What is unfolded is then not the orientations themselves but these with a width of `blur`, about half
        a step of the scan, so that those between the positions of the grid are not forced onto them.
        """
        rocking, rolling = (_without(width, blur) for width in (self.rocking, self.rolling))
        return replace(self, rocking=rocking, rolling=rolling)

    def sweep(self, tilt_frame: str, mode: str, omega: float) -> tuple[float, float]:
        """How far along (rocking, rolling) the motor moves while a frame is taken."""
        if tilt_frame == "lab" or self.by_mu:
            return self.swept, 0.0
        rocking, rolling = sample_to_lab_tilts(mode, self.swept, 0.0, omega)
        return float(rocking), float(rolling)

    def accepts(self, rocking: Array, rolling: Array, sweep: tuple[float, float]) -> Array:
        """The share of what deviates so much, 1 at the top of what stands still; mean over the sweep.

        Along the sweep a Gaussian is integrated to error functions, across it stays a Gaussian.
        """
        from scipy.special import erf  # most resolutions stand still

        x, y = rocking / self.rocking, (rolling + self.roll) / self.rolling
        along_x, along_y = sweep[0] / self.rocking, sweep[1] / self.rolling
        length = float(np.hypot(along_x, along_y))
        far = self.tails / (1.0 + 4.0 * (x**2 + y**2)) if self.tails else np.zeros(1)
        far[far < _FAR] = 0.0
        if length < _NO_SWEEP:
            return np.asarray((1.0 - self.tails) * np.exp(-_GAUSS * (x**2 + y**2)) + far)
        along, across = (x * along_x + y * along_y) / length, (x * along_y - y * along_x) / length
        ends = (erf(_GAUSS**0.5 * (along + end * length)) for end in (0.5, -0.5))
        part = float(np.sqrt(np.pi / _GAUSS)) / (2.0 * length) * np.subtract(*ends)
        return np.asarray((1.0 - self.tails) * part * np.exp(-_GAUSS * across**2) + far)


def response(
    tilt_frame: str,
    mode: str,
    tilt1: Array,
    tilt2: Array,
    grid: OrientationGrid,
    resolution: Resolution,
    omega: float,
) -> NDArray[np.float32]:
    """K_w (n_scanned, n_pairs): what each scanned pair of tilts sees of each orientation at omega.

    What `Resolution.accepts` of the deviation from where the orientation diffracts, narrow along the
    rocking and wide along the rolling direction; these turn with omega in the sample frame and are
    fixed in the lab frame, where instead the orientation turns. tilt1 (n1,), tilt2 (n2,) and the grid
    are relative to tilt_zero.
    """
    a, b = grid.pairs()
    if tilt_frame == "lab":
        a, b = sample_to_lab_tilts(mode, a, b, omega)
    scanned1, scanned2 = (t.ravel()[:, None] for t in np.meshgrid(tilt1, tilt2, indexing="ij"))
    if resolution.rocking == 0.0 or resolution.rolling == 0.0:
        return (hat(tilt1, scanned1 - a) * hat(tilt2, scanned2 - b)).astype(np.float32)
    rocking, rolling = resolution_directions(tilt_frame, mode, scanned1 - a, scanned2 - b, omega)
    sweep = resolution.sweep(tilt_frame, mode, omega)
    return resolution.accepts(rocking, rolling, sweep).astype(np.float32)


def hat(axis: Array, deviation: Array) -> Array:
    """Shares of what deviates so much from a position of the axis: 1 there, 0 a step away."""
    step = float(np.ptp(axis)) / (axis.size - 1) if axis.size > 1 else 1.0
    return np.maximum(1.0 - np.abs(deviation) / step, 0.0)
