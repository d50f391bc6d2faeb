"""Method `rocking`: the orientation of a voxel from rocking curves alone, over a turn of omega.

White paper (Poulsen et al. 2017, J. Appl. Cryst. 50, 1441), section 2.3: at each omega the centre of
mass over mu of the voxel's pixel, then a linear fit, weighted by the intensity,

    mu(w) = a cos w + b sin w + c   (vertical geometry: - b sin w)

with (a, b) the orientation and c = -eps tan(theta) plus the motor's zero; in the white paper's words
(omega0, delta_theta0) = (atan2(b, a), hypot(a, b)). A pixel shows all voxels of its ray. So the fit
starts from the curve that runs through most of the light (the sum over omega along every curve of a
grid), takes only what is near the curve, and gives little weight to what lies off it.

Angles in degrees, mu relative to tilt_zero.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..parallel.partition import blocks_of_at_most
from ..physics.tilts import sample_to_lab_tilts
from ..projection.jit import kernel
from ..projection.kernels import _centre, _row
from ..projection.views import Block, PixelSet, Views, kernel_arguments
from .sums import at_least_half

Array = NDArray[np.float64]

FIELDS = (
    "tilt1", "tilt2", "tilt1_std", "tilt2_std", "completeness", "intensity",
    "tilt_correlation", "rocking_offset", "rocking_offset_std",
)  # fmt: skip
PASSES = 4  # of the fit, each about the curve that the one before has found
_WINDOW_STEPS = 1.5  # about the curve; what counts there
_FAR_STEPS = 0.3  # off the curve, where the weight falls
_INDEPENDENT = 1.2  # omegas: the light of the others on the rays pulls the same way over whole arcs
_N_SUMS = 16
_BYTES_OF_FIT = 640  # of a voxel, without the votes: sums, matrices and what inverting them takes
_ELECTED_BYTES = 4 << 20  # of votes that are weighed together


@kernel()
def _vote(  # type: ignore[no-untyped-def]
    votes, low, part, n_lost, unknown,
    chosen, flat, matrix, shift, boxes, first_row, detector_shape, xs, ys, zs,
):  # fmt: skip
    """Add to votes (n_voxels, n_curves) the light on each curve: low and part (n_omega, n_curves).

    A curve lies between the positions low and low + 1; low is -1 where it leaves the scan. unknown marks
    what is in flat, n_lost (n_voxels, n_curves) counts the omegas at which a curve runs there; None for
    both where all is known.
    """
    n_x, n_y = detector_shape
    for v in range(chosen.size):
        x, y, z = _centre(chosen[v], xs, ys, zs)
        for k in range(matrix.shape[0]):
            row = _row(k, x, y, z, matrix, shift, boxes, first_row, n_x, n_y)
            if row < 0:
                continue
            values = flat[row]
            for s in range(votes.shape[1]):
                i = low[k, s]
                if unknown is not None and i >= 0 and (unknown[row, i] or unknown[row, i + 1]):
                    n_lost[v, s] += np.uint16(1)
                    i = np.int32(-1)
                if i >= 0:
                    votes[v, s] += (np.float32(1.0) - part[k, s]) * values[i] + part[k, s] * values[i + 1]


@kernel()
def _collect(  # type: ignore[no-untyped-def]
    sums, curves, waves, mu, window, far, limit, unknown,
    chosen, flat, matrix, shift, boxes, first_row, detector_shape, xs, ys, zs,
):  # fmt: skip
    """Add to sums (n_voxels, 16) what the fit about curves (n_voxels, 3) needs; waves (n_omega, 2).

    The upper triangle of the normal matrix (6), its right side (3), the weighted square of the
    residuals, the omegas that count, those that are lit, those on the detector, and all counts. unknown
    marks what is in flat (None: nothing): the part of all positions that are, and the omegas at which some
    near the curve are, which do not count, are the last two.
    """
    n_x, n_y = detector_shape
    for v in range(chosen.size):
        x, y, z = _centre(chosen[v], xs, ys, zs)
        total = sums[v]
        for k in range(matrix.shape[0]):
            row = _row(k, x, y, z, matrix, shift, boxes, first_row, n_x, n_y)
            if row < 0:
                continue
            c, s = waves[k, 0], waves[k, 1]
            at = curves[v, 0] * c + curves[v, 1] * s + curves[v, 2]
            light, moment, lit = 0.0, 0.0, 0.0
            n_lost, is_near = 0, False
            for i in range(mu.size):
                if unknown is not None and unknown[row, i]:
                    n_lost += 1
                    is_near |= abs(mu[i] - at) <= window
                    continue
                value = float(flat[row, i])
                total[13] += value
                if abs(mu[i] - at) <= window:
                    light += value
                    moment += value * (mu[i] - at)
                    if value > limit:
                        lit = 1.0
            total[12] += 1.0
            total[14] += n_lost / mu.size
            if is_near or n_lost == mu.size:
                total[15] += 1.0
                continue
            total[11] += lit
            if lit == 0.0 or not light > 0.0:
                continue
            off = moment / light
            weight = light / (1.0 + (off / far) ** 2) ** 2
            place = at + off
            total[0] += weight * c * c
            total[1] += weight * c * s
            total[2] += weight * c
            total[3] += weight * s * s
            total[4] += weight * s
            total[5] += weight
            total[6] += weight * c * place
            total[7] += weight * s * place
            total[8] += weight * place
            total[9] += weight * off * off
            total[10] += 1.0


@dataclass(frozen=True)
class Curves:
    """The curves of a scan over mu (n_mu,), and how they run: waves (n_omega, 2), mu = waves . (a, b) + c."""

    mu: Array
    waves: Array

    @classmethod
    def of(cls, mode: str, mu: Array, omega: Array) -> Curves:
        """Omega (n_omega,) in radians."""
        rows = [sample_to_lab_tilts(mode, a, b, omega)[0] for a, b in ((1.0, 0.0), (0.0, 1.0))]
        return cls(mu, np.ascontiguousarray(np.stack(rows, axis=1)))

    @property
    def step(self) -> float:
        """Mean step of mu."""
        return float(np.ptp(self.mu)) / (self.mu.size - 1)

    def candidates(self) -> Array:
        """The curves (n_mu^2, 2) to start from: a and b on the positions of mu."""
        return np.stack(np.meshgrid(self.mu, self.mu, indexing="ij"), axis=-1).reshape(-1, 2)

    def places(self, part: slice) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
        """Where the candidates lie between the positions of mu, (n_omega, n_curves) each; see `_vote`."""
        at = self.waves[part] @ self.candidates().T
        low = np.clip(np.searchsorted(self.mu, at, side="right") - 1, 0, self.mu.size - 2)
        share = (at - self.mu[low]) / (self.mu[low + 1] - self.mu[low])
        low[(share < -1e-6) | (share > 1.0 + 1e-6)] = -1
        return low.astype(np.int32), np.clip(share, 0.0, 1.0).astype(np.float32)


class RockingFit:
    """The fits of some voxels of a block: one round of `vote`, then rounds of `collect` and `solve`."""

    def __init__(self, block: Block, curves: Curves, limit: float, chosen: NDArray[np.int64]) -> None:
        self.block, self.curves, self.limit, self.chosen = block, curves, limit, chosen
        self._votes = np.zeros((chosen.size, curves.mu.size**2), dtype=np.float32)
        self._n_lost: NDArray[np.uint16] | None = None
        self.found = np.zeros((chosen.size, 3))
        self.sums = np.zeros((chosen.size, _N_SUMS))

    def vote(self, part: slice, views: Views, pixels: PixelSet) -> None:
        """Add the light of some omegas to the candidates."""
        low, share = self.curves.places(part)
        if pixels.unknown is not None and self._n_lost is None:
            self._n_lost = np.zeros(self._votes.shape, dtype=np.uint16)
        marks = (None, None) if pixels.unknown is None else (self._n_lost, pixels.unknown)
        arguments = kernel_arguments(views[part], pixels, self.block)
        _vote(self._votes, low, share, *marks, self.chosen, *arguments)

    @staticmethod
    def bytes_of_voxel(curves: Curves, *, may_lack: bool) -> int:
        """How much memory each voxel takes at most; see `measurement.may_lack`."""
        return curves.mu.size**2 * (6 if may_lack else 4) + _BYTES_OF_FIT

    def elect(self, n_omega: int) -> None:
        """Start from the candidate with most light at the omegas at which it was measured."""
        candidates = self.curves.candidates()
        for part in blocks_of_at_most(range(self.chosen.size), _ELECTED_BYTES // (4 * len(candidates))):
            votes = self._votes[part.start : part.stop]
            if self._n_lost is not None:
                n_lost = self._n_lost[part.start : part.stop]
                some = n_lost.any(axis=1)
                n_known = at_least_half(np.float32(n_omega) - n_lost[some])
                votes[some] /= np.maximum(n_known, 1.0)
            self.found[part.start : part.stop, :2] = candidates[votes.argmax(axis=1)]

    def collect(self, part: slice, views: Views, pixels: PixelSet) -> None:
        """Add some omegas to the sums of the fit."""
        step = self.curves.step
        _collect(
            self.sums, self.found, self.curves.waves[part], self.curves.mu,
            _WINDOW_STEPS * step, _FAR_STEPS * step, self.limit, pixels.unknown,
            self.chosen, *kernel_arguments(views[part], pixels, self.block),
        )  # fmt: skip

    def solve(self, *, last: bool) -> None:
        """The curves of this round; the sums start anew unless it is the last."""
        matrix = self._matrix()
        self.found = np.einsum("vij,vj->vi", np.linalg.pinv(matrix, hermitian=True), self.sums[:, 6:9])
        if not last:
            self.sums[:] = 0.0

    def _matrix(self) -> Array:
        upper = self.sums[:, [0, 1, 2, 1, 3, 4, 2, 4, 5]]
        return np.asarray(upper.reshape(-1, 3, 3))

    def finish(self, n_omega: int, zero_deg: tuple[float, float]) -> Array:
        """FIELDS (n_fields, n_voxels): motor positions in degrees, NaN where too little is lit to fit."""
        covariance = np.linalg.pinv(self._matrix(), hermitian=True)
        n_used, n_lit, n_seen = self.sums[:, 10], self.sums[:, 11], self.sums[:, 12]
        part_seen, n_known = n_seen - self.sums[:, 14], n_omega - self.sums[:, 15]
        scale = self.sums[:, 9] / np.maximum(n_used - 3.0, 1.0) * np.maximum(n_used / _INDEPENDENT, 1.0)
        variance = scale[:, None] * np.einsum("vii->vi", covariance)
        known = n_used > 3
        with np.errstate(invalid="ignore", divide="ignore"):
            correlation = covariance[:, 0, 1] / np.sqrt(covariance[:, 0, 0] * covariance[:, 1, 1])
            intensity = self.sums[:, 13] / np.where(part_seen > 1e-6, part_seen, np.nan)
        a, b, c = self.found.T
        errors = np.sqrt(np.maximum(variance, 0.0)).T
        fitted = [a + zero_deg[0], b + zero_deg[1], errors[0], errors[1]]
        rest = [correlation, c, errors[2]]
        fitted, rest = ([np.where(known, v, np.nan) for v in part] for part in (fitted, rest))
        return np.stack([*fitted, n_lit / np.maximum(n_known, 1.0), intensity, *rest])


def polar(mode: str, a: Array, b: Array) -> tuple[Array, Array]:
    """The white paper's (omega0, delta_theta0), in degrees: mu(w) = delta_theta0 cos(w - omega0)."""
    sign = 1.0 if mode == "horizontal" else -1.0
    return np.degrees(np.arctan2(sign * b, a)), np.hypot(a, b)
