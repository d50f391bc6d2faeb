"""How the volume of one result lies in that of another: a shift and a small turn.

Found by least squares (Gauss-Newton, coarse to fine; Lucas and Kanade 1981, IJCAI, 674) from the smoothed
shape and from what is fine in the orientation, walls and folds. What is slow in the orientation is left
out, and how each cell was turned and bent evenly is then allowed for: a load step is not taken for a
turn of the volume. Pairs of tilts turn with the sample about the scattering vector.
"""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from ..cells.borders import inside
from ..cells.planes import means, slopes
from ..cells.steps import numbers
from ..physics.tilts import sample_to_lab_tilts
from .maps import Map, between, blurred, read_inside, smoothed

Array = NDArray[np.float64]
Smooth = NDArray[np.float32]
Channels = list[tuple[Smooth, list[Smooth]]]  # with their slopes along x, y, z

_LEVELS = (4.0, 2.0)  # standard deviation of the smoothing, in voxels of the coarser map
_AGAIN = 2  # fits with what each cell was turned and bent
_SLOW = 5.0  # times as much makes what is slow in the orientation
_MOST_POINTS = 150_000
_ROUNDS = 30
_STILL = 1e-3  # voxels, a step that ends a level
_NEAR = 0.02  # of the smoothed mask; less is away from the grain
_USUAL_TURN_DEG, _USUAL_SHIFT = 3.0, 10.0  # what is expected before anything is seen; shift in voxels
_MARGIN = 2.0  # sigma, from where a box cuts a grain
_ALIKE = 3.5  # sigma; what is closer has one error
_BLOCK = 6.0  # sigma, side of the blocks whose scatter gives the error
_SAMPLED = 0.02  # voxels at the rim, by which the voxels themselves mislead; found on made-up grains
_FLOOR = 1e-3  # of the mask, and of the tilts in degrees: no difference is known better


class Motion(NamedTuple):
    """Where a place of the first volume lies in the second: centre + shift + R(turn) (place - centre).

    shift_um and turn_deg (a rotation vector) are (3,) in the sample frame, with standard deviations.
    """

    centre_um: Array
    shift_um: Array
    turn_deg: Array
    shift_error_um: Array
    turn_error_deg: Array

    def to_second(self, places_um: Array) -> Array:
        """Places (n, 3) of the first volume in the second."""
        turn = Rotation.from_rotvec(self.turn_deg, degrees=True)
        return self.centre_um + self.shift_um + turn.apply(places_um - self.centre_um)

    def to_first(self, places_um: Array) -> Array:
        """Places (n, 3) of the second volume in the first."""
        turn = Rotation.from_rotvec(-self.turn_deg, degrees=True)
        return self.centre_um + turn.apply(places_um - self.centre_um - self.shift_um)

    def tilts_to_first(self, mode: str, tilts_deg: Array) -> Array:
        """Pairs of tilts (2, ...) of the second volume as they were before the sample was turned."""
        about_g = self.turn_deg[0 if mode == "horizontal" else 2]
        return _turned(mode, tilts_deg, -np.radians(about_g))


def register(first: Map, second: Map, mode: str) -> Motion:
    """The motion from the first map to the second; both hold some grain. mode is that of the geometry."""
    zero = np.zeros(3)
    motion = Motion(first.centre_um, second.centre_um - first.centre_um, zero, zero, zero)
    voxel = max(*first.spacing_um, *second.spacing_um)
    told = bool(first.known.any() and second.known.any())
    for level in _LEVELS:
        other = [(c, _slopes(c, second.spacing_um)) for c in _channels(second, level * voxel, told)]
        motion = _Level(first, second, other, mode, level * voxel).fit(motion, voxel)
    for _ in range(_AGAIN if told else 0):
        turned = replace(first, tilts=_turned_as_planes(first, second, motion, mode))
        motion = _Level(turned, second, other, mode, level * voxel).fit(motion, voxel)
    return motion


def _turned_as_planes(first: Map, second: Map, motion: Motion, mode: str) -> Array:
    """The tilts of the first, each of its cells turned and bent (evenly) as it is in the second."""
    assert first.tilts is not None and second.tilts is not None
    known = first.known
    which = np.zeros(first.mask.shape, np.int32) if first.cell is None else first.cell
    which = which[known]
    places = first.places_um(np.stack(np.nonzero(known)))
    at = second.steps(motion.to_second(places))
    middle = np.median(second.tilts[:, second.known], axis=1)[:, None]
    read = np.stack([read_inside(tilt, second.known, at) for tilt in second.tilts]) - middle
    change = (motion.tilts_to_first(mode, read) + middle - first.tilts[:, known]).T
    told = inside(which, numbers(known)) & np.isfinite(change).all(axis=1)
    n = int(which.max()) + 1
    centre, mean = (means(which[told], values[told], n) for values in (places, change))
    slope = slopes(which[told], places[told], change[told], n)
    plane = mean[which] + np.einsum("ni,nij->nj", places - centre[which], slope[which])
    tilts = first.tilts.copy()
    tilts[:, known] += np.nan_to_num(plane.T)
    return tilts


class _Level:
    """Both maps smoothed by sigma_um, and the fit on them; other are the channels of the second."""

    def __init__(self, first: Map, second: Map, other: Channels, mode: str, sigma_um: float) -> None:
        self.second, self.mode, self.sigma_um = second, mode, sigma_um
        self.other, self.with_tilts = other, len(other) > 1
        own = _channels(first, sigma_um, self.with_tilts)
        limit = min(_NEAR, 0.5 * float(own[0].max()))  # a small grain is faint when smoothed
        near = np.flatnonzero(own[0] > limit)
        near = near[:: max(-(-near.size // _MOST_POINTS), 1)]
        self.places_um = first.places_um(np.stack(np.unravel_index(near, first.mask.shape)))
        self.own = np.stack([channel.ravel()[near] for channel in own]).astype(np.float64)
        self.seen = first.certain(self.places_um, _MARGIN * sigma_um)
        thinned = first.mask.size / max(near.size, 1) * (own[0] > limit).mean()
        alike = np.minimum(_ALIKE * sigma_um, first.spacing_um * first.mask.shape)  # a box may be thin
        self.share = float(np.prod(first.spacing_um)) * thinned / float(np.prod(alike))
        self.block = np.unique(
            ((self.places_um - self.places_um.min(axis=0)) // (_BLOCK * sigma_um)).astype(np.int64),
            axis=0,
            return_inverse=True,
        )[1].ravel()

    def fit(self, start: Motion, voxel: float) -> Motion:
        """The best motion near the start, and its errors."""
        shift, turn = start.shift_um, Rotation.from_rotvec(start.turn_deg, degrees=True)
        arm = max(float(np.sqrt(((self.places_um - start.centre_um) ** 2).sum(axis=1).mean())), voxel)
        known = np.repeat([1 / (_USUAL_SHIFT * voxel), 1 / np.radians(_USUAL_TURN_DEG)], 3) ** 2
        for _ in range(_ROUNDS):
            gradient, curvature = self._sums(start.centre_um, shift, turn)
            pull = known * np.concatenate([shift - start.shift_um, turn.as_rotvec()])
            step = -np.linalg.solve(curvature + np.diag(known), gradient.sum(axis=0) + pull)
            shift, turn = shift + step[:3], Rotation.from_rotvec(step[3:]) * turn
            if max(np.abs(step[:3]).max(), arm * np.abs(step[3:]).max()) < _STILL * voxel:
                break
        gradient, curvature = self._sums(start.centre_um, shift, turn)
        inverse = np.linalg.inv(curvature + np.diag(known))
        scatter = gradient.T @ gradient + np.diag(known)
        sampled = np.repeat([1.0, 1.0 / arm], 3) * _SAMPLED * voxel
        error = np.sqrt(np.diag(inverse @ scatter @ inverse) + sampled**2)
        return Motion(start.centre_um, shift, turn.as_rotvec(degrees=True), error[:3], np.degrees(error[3:]))

    def _sums(self, centre_um: Array, shift: Array, turn: Rotation) -> tuple[Array, Array]:
        """Gradient (n_blocks, 6) and curvature (6, 6) of half the sum of squares, in units of its errors."""
        arms = turn.apply(self.places_um - centre_um)
        places = centre_um + shift + arms
        at = self.second.steps(places)
        seen = self.seen & self.second.certain(places, _MARGIN * self.sigma_um)
        read = np.stack([between(channel, at) for channel, _ in self.other])
        slopes = np.stack([[between(slope, at) for slope in s] for _, s in self.other])
        if self.with_tilts:
            about_g = turn.as_rotvec()[0 if self.mode == "horizontal" else 2]
            read[1:] = _turned(self.mode, read[1:], -about_g)
            slopes[1:] = _turned(self.mode, slopes[1:], -about_g)
        off = read - self.own
        weights = self._weights(off, read[0], seen)
        n_blocks = int(self.block.max()) + 1
        gradient, curvature = np.zeros((n_blocks, 6)), np.zeros((6, 6))
        for difference, slope, weight in zip(off, slopes, weights, strict=True):
            jacobian = np.concatenate([slope.T, np.cross(arms, slope.T)], axis=1)
            weighted = jacobian * weight[:, None]
            curvature += weighted.T @ jacobian
            for i in range(6):
                gradient[:, i] += np.bincount(self.block, weighted[:, i] * difference, n_blocks)
        return gradient, curvature

    def _weights(self, off: Array, mask: Array, seen: NDArray[np.bool_]) -> Array:
        """Weight of each difference: one over its variance, less for what stands out (Cauchy's).

        The differences of the mask are judged at its rim, those of the tilts where both have them.
        """
        weights = np.zeros_like(off)
        own = self.own[0]
        rim = seen & (np.abs(own + mask - 1.0) < 0.9)
        variance = _FLOOR**2 + (np.mean(off[0][rim] ** 2) if rim.any() else 1.0)
        weights[0][seen] = self.share / variance
        if self.with_tilts:
            both = seen & (own > 0.5) & (mask > 0.5)
            square = off[1] ** 2 + off[2] ** 2
            usual = _FLOOR**2 + (np.median(square[both]) if both.any() else 1.0)
            weights[1:, both] = self.share / (usual + square[both])
        return weights


def _turned(mode: str, tilts: Array, angle_rad: float) -> Array:
    """Pairs of tilts (2, ...) of a sample that is turned about the scattering vector."""
    return np.stack(sample_to_lab_tilts(mode, tilts[0], tilts[1], angle_rad))


def _channels(grain: Map, sigma_um: float, with_tilts: bool) -> list[Smooth]:
    """The smoothed mask, and what is fine in both tilts."""
    sigma = sigma_um / grain.spacing_um
    channels = [blurred(grain.mask, sigma)]
    if with_tilts and grain.tilts is not None:
        known = grain.known
        for tilt in grain.tilts:
            level = np.where(known, tilt - np.median(tilt[known]), 0.0)
            channels.append(smoothed(level, known, sigma) - smoothed(level, known, _SLOW * sigma))
    return channels


def _slopes(channel: Smooth, spacing_um: Array) -> list[Smooth]:
    """Change of a channel for each um along x, y, z; none along an axis of one voxel."""
    return [
        np.gradient(channel, spacing_um[axis], axis=axis).astype(np.float32)
        if channel.shape[axis] > 1
        else np.zeros_like(channel)
        for axis in range(3)
    ]
