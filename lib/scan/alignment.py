"""Where the rotation axis lies in the image, and how far each omega's images have drifted from it.

The centroid of the tilt-summed image follows the projection of the grain's centre of mass r:
centroid(w) = A(w) r + s(w) + c, with A and s as of `Geometry.sample_to_pixel`. That is linear in r and in
the shift c of the centre, so one least-squares fit gives both, for each mode and flip of the image. A
shift along the image of the rotation axis cannot be told from a grain that lies elsewhere along the axis;
there the centre stays where it was. What the fit leaves over at an omega is its drift.

Holds only where the whole grain, and nothing else, is in the image: spots that touch the edge or whose
total stands out count for nothing, and the fit is robust.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from ..errors import Recon3DError
from .spots import Spot

Array = NDArray[np.float64]

_LEAST_OMEGAS = 6  # for a fit of five unknowns
_LOST_SHARE = 0.05  # of the omegas at which the grain may touch the edge
_SAME_SPOT = 0.3  # of the usual total that a spot needs to be taken for the grain
WORST_LEVER = 6.0  # error of the centre over that of the mean of the centroids
_OUTLIER = 5.0  # standard deviations
_LACKING = 2.0  # times as many at an omega that lacks frames: what these held is but guessed
_TOTAL_OFF, _RESIDUAL_OFF_PX = 0.03, 1.0  # least deviations that are worth a word
_FAINTEST_SCALE = 1e-4  # px
_TUKEY = 4.685  # 95 % efficient for normal errors
_ROUNDS, _HUBER_ROUNDS = 30, 8
_STILL = 1e-9  # change of the fit, in px and um
_ENOUGH_FOR_HARMONICS = 16  # omegas
_CHOICES = 6  # of the spots to fit
_MANY_RANGES = 12  # longest list in a message


@dataclass(frozen=True)
class Alignment:
    """The fit. Arrays have an entry per omega in use; NaN where no spot was found.

    center_px is the image of the rotation axis; it was determined along across (a unit vector in the
    image), with the standard error center_std_px. grain_um is the grain's centre of mass, reach_um how
    far it extends from there. centroid_px and residual_px are (n, 2), totals (n,) in counts.
    trusted (n,) says where nothing but the whole grain seems to be in the image; slack (n,) is how many times
    further off than others an omega may be, because frames are missing.
    """

    center_px: tuple[float, float]
    across: tuple[float, float]
    center_std_px: float
    grain_um: tuple[float, float, float]
    reach_um: float
    centroid_px: Array
    residual_px: Array
    totals: Array
    trusted: NDArray[np.bool_]
    scale_px: float
    slack: Array | float = 1.0

    @property
    def drift_px(self) -> Array:
        """The shift (n, 2) of each omega's images; zero where the spot is not to be trusted."""
        return np.where(self.trusted[:, None], self.residual_px, 0.0)

    @property
    def surely_out(self) -> NDArray[np.bool_]:
        """Those of them that lack no frames: what these held is but guessed, and may have made the rest."""
        return self.standing_out & (np.broadcast_to(self.slack, self.totals.shape) == 1.0)

    @property
    def standing_out(self) -> NDArray[np.bool_]:
        """The omegas (n,) whose total or residual is out of line."""
        limit = max(_OUTLIER * self.scale_px, _RESIDUAL_OFF_PX) * self.slack
        return ~self.trusted | ~(np.linalg.norm(self.residual_px, axis=1) < limit)

    def facts(self) -> dict[str, Any]:
        """For the attributes of the result; single precision keeps them small."""
        return {
            "alignment_center_px": self.center_px,
            "alignment_across": self.across,
            "alignment_center_std_px": self.center_std_px,
            "alignment_grain_um": self.grain_um,
            "alignment_scale_px": self.scale_px,
            "alignment_centroid_px": self.centroid_px.astype(np.float32),
            "alignment_residual_px": self.residual_px.astype(np.float32),
            "alignment_total_counts": self.totals.astype(np.float32),
            "alignment_trusted": self.trusted.astype(np.uint8),
        }


def fit(
    spots: Sequence[Sequence[Spot]],
    matrix: Array,
    shift: Array,
    omega: Array,
    axis: int,
    center_px: tuple[float, float],
    share: Array,
    where: str = "detector_center",
    worst_lever: float = WORST_LEVER,
) -> Alignment:
    """Fit the spots of n omegas with the projections matrix (n, 2, 3), shift (n, 2), made with center_px.

    omega (n,) in radians; axis is that of the rotation in the sample (0 x, 1 y, 2 z), share (n,) the
    part of the tilts that was measured, with which an omega counts; in the spots the others are filled in.
    Raises Recon3DError, naming the key `where`, if nothing is lit, if the grain leaves the image and if the
    omegas are too few or too close: worst_lever is the most that the error of the centre may be, over that of
    the mean of as many centroids; over a quarter of a turn it is 8.
    """
    lit = np.array([len(found) > 0 for found in spots])
    if lit.sum() < max(_LEAST_OMEGAS, (1.0 - _LOST_SHARE) * lit.size):
        raise Recon3DError(where, _too_dark(int(lit.sum()), lit.size))
    along = matrix[:, :, axis].mean(axis=0)
    across = np.array([-along[1], along[0]]) / np.hypot(*along)
    across *= np.sign(across[np.abs(across).argmax()])
    design = np.concatenate([np.broadcast_to(across[:, None], (lit.size, 2, 1)), matrix], axis=2)
    chosen = [0] * lit.size
    slack = np.where(share < 1.0, _LACKING, 1.0)
    for _ in range(_CHOICES):
        totals, centroids, edge = _table(spots, chosen)
        brightness = totals / _usual(totals, omega, lit & ~edge)
        odd = ~(np.abs(brightness - 1.0) < _limit(brightness[lit & ~edge]) * slack)
        _check(where, ~lit | (edge & ~(odd & (brightness > 1.0))), lit & ~edge & ~odd, design, worst_lever)
        trusted = lit & ~edge & ~odd
        solution, weights, scale = _robust(design, centroids - shift, np.where(trusted, share, 0.0))
        nearest = _nearest(spots, design @ solution + shift, float(np.median(totals[trusted])))
        if nearest == chosen:
            break
        chosen = nearest
    residual = centroids - shift - design @ solution
    reach = [found[k].reach_px for found, k, use in zip(spots, chosen, trusted, strict=True) if use]
    return Alignment(
        center_px=(center_px[0] + solution[0] * across[0], center_px[1] + solution[0] * across[1]),
        across=(float(across[0]), float(across[1])),
        center_std_px=scale * _lever(design, weights) / float(np.sqrt(weights.sum())),
        grain_um=(float(solution[1]), float(solution[2]), float(solution[3])),
        reach_um=float(np.percentile(reach, 90.0) / np.hypot(*along)),
        centroid_px=centroids,
        residual_px=residual,
        totals=totals,
        trusted=trusted,
        scale_px=scale,
        slack=slack,
    )


def _too_dark(n_lit: int, n_omega: int) -> str:
    return (
        f"cannot be found: the grain is seen at {n_lit} of {n_omega} omegas; leave the others out with "
        "omega_exclude, or give [cx,cy]"
    )


def _table(spots: Sequence[Sequence[Spot]], chosen: list[int]) -> tuple[Array, Array, NDArray[np.bool_]]:
    """Total, centroid (x, y) and whether at the edge of the chosen spot of each omega, NaN where none is."""
    nothing = Spot(np.nan, (np.nan, np.nan), np.nan, False)
    found = [row[k] if row else nothing for row, k in zip(spots, chosen, strict=True)]
    return (
        np.array([spot.total for spot in found]),
        np.array([spot.centroid_px for spot in found]),
        np.array([spot.at_edge for spot in found]),
    )


def _usual(totals: Array, omega: Array, among: NDArray[np.bool_]) -> Array:
    """The total (n,) of counts to expect at each omega (radians) from those that are like most `among` them.

    It may vary with omega, by absorption and by what the range of the tilts cuts off, but slowly: a
    constant and two harmonics, where the omegas are many.
    """
    among = among if among.sum() >= _LEAST_OMEGAS else np.isfinite(totals)
    harmonics = (1, 2) if among.sum() >= _ENOUGH_FOR_HARMONICS else ()
    columns = [np.ones_like(omega), *(f(m * omega) for m in harmonics for f in (np.cos, np.sin))]
    rows = np.stack(columns, axis=1)
    values = np.where(among, totals, 0.0)
    expected: NDArray[Any] = np.full(omega.size, float(np.median(values[among])))
    for _ in range(_ROUNDS):
        distance = np.abs(values - expected)
        scale = max(1.4826 * float(np.median(distance[among])), 1e-6 * float(np.abs(expected).max()), 1e-9)
        root = np.where(among, np.clip(1.0 - (distance / (2.0 * _TUKEY * scale)) ** 2, 0.0, None), 0.0)
        expected = rows @ np.linalg.lstsq(rows * root[:, None], values * root, rcond=1e-3)[0]
    usual: Array = np.maximum(expected, 1e-3 * float(np.median(values[among])))
    return usual


def _limit(brightness: Array) -> float:
    """How far a brightness may be from 1 and still be usual."""
    if brightness.size == 0:
        return _TOTAL_OFF
    return max(_OUTLIER * 1.4826 * float(np.median(np.abs(brightness - 1.0))), _TOTAL_OFF)


def _check(
    where: str, lost: NDArray[np.bool_], trusted: NDArray[np.bool_], design: Array, worst_lever: float
) -> None:
    """Refuse to guess where the centroids do not tell."""
    if lost.sum() > _LOST_SHARE * lost.size:
        raise Recon3DError(
            where,
            f"cannot be found: the grain touches the edge of the image at {int(lost.sum())} of {lost.size} "
            "omegas; make the ROI larger (getdata.py), or give [cx,cy]",
        )
    enough = trusted.sum() >= _LEAST_OMEGAS
    if not enough or _lever(design, trusted.astype(np.float64)) > worst_lever:
        raise Recon3DError(
            where,
            f"cannot be found: {int(trusted.sum())} omegas show the whole grain and nothing else, too few or "
            "too close together for a fit; give [cx,cy]",
        )


def _lever(design: Array, weights: Array) -> float:
    """Error of the centre over that of the weighted mean of as many centroids: 1 for a whole turn."""
    rows = (design * np.sqrt(weights)[:, None, None]).reshape(-1, design.shape[2])
    size = np.linalg.norm(rows, axis=0)
    rows = rows / np.where(size > 0, size, 1.0)
    inverse = np.linalg.pinv(rows.T @ rows, rcond=1e-12)
    seen = np.linalg.eigvalsh(rows.T @ rows)[0] > 1e-10
    return float(np.sqrt(inverse[0, 0])) if seen else np.inf


def _robust(design: Array, values: Array, base: Array) -> tuple[Array, Array, float]:
    """Solution (4,), final weights (n,) and residual scale of design @ solution = values (n, 2).

    Iteratively reweighted least squares: Huber's weights first, which find the bulk from anywhere, then
    Tukey's, which give no weight to what lies far off it. The scale is the standard deviation of one
    coordinate of the residual.
    """
    use = base > 0
    design, values, base_used = design[use], values[use], base[use]
    weights = base_used.copy()
    solution: Array = np.zeros(design.shape[2])
    scale = _FAINTEST_SCALE
    for step in range(_ROUNDS):
        root = np.sqrt(weights)[:, None]
        rows = (design * root[..., None]).reshape(-1, design.shape[2])
        before = solution
        solution = np.asarray(np.linalg.lstsq(rows, (values * root).ravel(), rcond=None)[0], dtype=np.float64)
        distance = np.linalg.norm(values - design @ solution, axis=1)
        scale = max(float(np.median(distance)) / 1.1774, _FAINTEST_SCALE)
        if step > _HUBER_ROUNDS and np.abs(solution - before).max() < _STILL:
            break
        if step < _HUBER_ROUNDS:
            weights = base_used * np.minimum(1.0, 1.345 * scale / np.maximum(distance, 1e-12))
        else:
            weights = base_used * np.clip(1.0 - (distance / (_TUKEY * scale)) ** 2, 0.0, None) ** 2
    whole = np.zeros(base.size)
    whole[use] = weights
    return solution, whole, scale


def _nearest(spots: Sequence[Sequence[Spot]], expected: Array, usual_total: float) -> list[int]:
    """The spot of each omega that lies nearest to where the fit expects it and is bright enough."""
    chosen = []
    for found, place in zip(spots, expected, strict=True):
        bright = [k for k, spot in enumerate(found) if spot.total > _SAME_SPOT * usual_total]
        distance = [float(np.hypot(*(np.array(found[k].centroid_px) - place))) for k in bright]
        chosen.append(bright[int(np.argmin(distance))] if bright else 0)
    return chosen


def ranges(flags: NDArray[np.bool_], omega_deg: Array) -> list[tuple[float, float]]:
    """Ranges of omega that hold the flagged ones and no others, as omega_exclude takes them.

    >>> ranges(np.array([False, True, True, False]), np.array([0.0, 6.0, 12.0, 18.0]))
    [(6.0, 12.0)]
    """
    labels, n_labels = ndimage.label(flags)
    found = (omega_deg[labels == number] for number in range(1, n_labels + 1))
    return [(float(angles[0]), float(angles[-1])) for angles in found]


def listed(flags: NDArray[np.bool_], omega_deg: Array) -> str:
    """`ranges` as the init file has them; of very many only the first."""
    spans = ranges(flags, omega_deg)
    words = ",".join(f"[{low:g},{high:g}]" for low, high in spans[:_MANY_RANGES])
    return f"[{words}]" + (f" and {len(spans) - _MANY_RANGES} more" if len(spans) > _MANY_RANGES else "")
