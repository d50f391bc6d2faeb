"""Views half a turn apart: what of the tilts is a rotation of the lattice, and what is not.

Half a turn of omega turns a rotation of the lattice over: the rocking and rolling angles at which a piece of
the grain diffracts change their sign, while its image is mirrored about the rotation axis. Strain, absorption
and an acceptance that leans over the field stay as they are. So of the mean angles of the pixels, less their
mean, the part that is odd in the mirrored view is rotation, and the even part is not: a test without any
reconstruction. The even share of the power is (1 + rho) / 2, with rho the correlation of the two views.

The lines of sight of the two views lie 2 theta apart: along the axis the light is first averaged over as much
as the depth of the grain shifts it. Noise has no parity; what photons and dark pixels make of the variance of
every mean angle is known from the counts, and is taken off both parts alike.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import uniform_filter1d

from ..parallel.communicator import Comm, check_alarm, together
from ..parallel.messages import collect_everywhere
from ..parallel.partition import block
from ..physics.noise import Dark
from ..physics.tilts import resolution_directions
from ..scan.bands import Bands
from ..scan.setting import Setting

Array = NDArray[np.float64]

_LEAST_RANGE_DEG = 200.0
_MOST_PAIRS = 8
_MOST_OFF_DEG = 2.0  # from half a turn
_MOST_PIXELS = 64  # across, put together where there are more
_LIT, _LIT_SIGMA = 0.2, 5.0  # of what a bright pixel has, and of its noise
_BRIGHT = 95.0  # percentile
_SURE = 3.0  # times the noise that the power of the pattern must be
_ANGLES = ("rocking", "rolling")


@dataclass(frozen=True)
class Parity:
    """The even share of the power of each angle (NaN: no pattern above the noise), and the pairs of views."""

    shares: dict[str, float]
    n_pairs: int

    def facts(self) -> dict[str, Any]:
        """For the attributes of the result."""
        return {f"even_share_{angle}": share for angle, share in self.shares.items()}

    def words(self) -> str:
        """What it says, in plain words."""
        known = {angle: f"{100 * share:.0f} %" for angle, share in self.shares.items() if np.isfinite(share)}
        said = ", ".join(f"{known.get(angle, 'too faint to tell')} of {angle}" for angle in self.shares)
        return (
            f"Images half a turn apart, one of them mirrored about the rotation axis ({self.n_pairs} "
            "pairs): a rotation of the lattice turns its angles over from one to the other, and what stays "
            "is something else: strain, absorption, an objective whose acceptance leans over the field. What "
            f"stays of the pattern of angles: {said}. It is near 0 for a grain that is only bent or broken "
            "into subgrains, and 50 % where the two views have nothing in common."
        )


def judge(setting: Setting, comm: Comm, gain: float = 1.0) -> Parity | None:
    """The parity of the scan, on every rank; None where it does not turn far enough. Collective."""
    pairs, angles = _pairs(setting), _angles(setting)
    if not pairs or not angles:
        return None
    factor = -(-max(setting.measurement.scan.shape[3:]) // _MOST_PIXELS)
    dark = setting.dark.times(factor**2 * setting.measurement.n_summed)
    sums: list[Array] = []
    small = setting.measurement.scan.binned((factor, factor))
    with together(comm), Bands(small, setting.measurement.omega_index, unknown=np.nan) as bands:
        for number in block(len(pairs), comm.size, comm.rank):
            views = _Views(setting, bands, factor, Dark(dark.level, dark.floor, dark.variance, gain))
            sums.append(views.powers(*pairs[number], len(angles)))
            check_alarm(comm)
    whole = np.sum([each for part in collect_everywhere(comm, sums) for each in part], axis=0)
    return Parity({angle: _even_share(row) for angle, row in zip(angles, whole, strict=True)}, len(pairs))


def _even_share(powers: Array) -> float:
    """From the sums of the even power, the odd power, and the noise that is in either."""
    even, odd, noise = powers
    if even + odd < (2.0 + _SURE) * noise or even + odd <= 0.0:
        return float("nan")
    even, odd = max(even - noise, 0.0), max(odd - noise, 0.0)
    return float(even / max(even + odd, 1e-30))


def _angles(setting: Setting) -> tuple[str, ...]:
    """The angles that are told: both where both tilts are scanned, rocking alone below omega."""
    kind, shape = setting.measurement.scan_type, setting.measurement.scanned_shape
    if kind.name == "mosaicity" and min(shape) > 1:
        return _ANGLES
    return _ANGLES[:1] if kind.one_for_two else ()


def _pairs(setting: Setting) -> list[tuple[int, int]]:
    """Some omegas in use, by number, with those half a turn further; to half a step and 2 degrees."""
    turn = np.abs(setting.measurement.omega_deg - setting.measurement.omega_deg[0])
    order = np.sort(turn)
    if order[-1] < _LEAST_RANGE_DEG:
        return []
    tolerance = min(0.5 * float(np.median(np.diff(order))), _MOST_OFF_DEG)
    found = []
    for k, angle in enumerate(turn):
        other = int(np.argmin(np.abs(turn - angle - 180.0)))
        if abs(turn[other] - angle - 180.0) <= tolerance:
            found.append((k, other))
    if not found:
        return []
    return [found[n] for n in np.unique(np.linspace(0, len(found) - 1, _MOST_PAIRS).round().astype(int))]


class _Views:
    """Pairs of views in coarse pixels, the rotation axis along their first axis."""

    def __init__(self, setting: Setting, bands: Bands, factor: int, dark: Dark) -> None:
        self.measurement, self.bands, self.dark = setting.measurement, bands, dark
        views, axis = setting.projector.views, setting.projector.axis
        along = views.matrix[:, :, axis].mean(axis=0)
        self.turned = abs(along[1]) > abs(along[0])  # the axis lies along y of the image
        first = np.array(setting.measurement.scan.shape[3:]) % factor // 2  # of `binned.whole_bins`
        self.origin = (views.shift - first - (factor - 1) / 2.0) / factor
        theta = setting.params.geometry().theta_rad
        self.depth = 2.0 * np.tan(theta)  # pixels along the axis, per pixel of depth

    def powers(self, k: int, other: int, n_angles: int) -> Array:
        """Sums (n_angles, 3) of the even and the odd power, and the noise in either; weighted by light."""
        both = self._both(k, other)
        maps = [self._sums(number, mask) for number, mask in ((k, both), (other, self._mirrored(both)))]
        width = self._width(maps[0][0])
        here, there = (uniform_filter1d(each, width, axis=1, mode="constant") for each in maps)
        there = self._as_seen_from(there, k, other)
        usable = self._lit(here, width) & self._lit(there, width)
        if not usable.any():
            return np.zeros((n_angles, 3))
        found = []
        for n in range(n_angles):
            (a, noise_a), (b, noise_b) = (_means(each, n, usable, width) for each in (here, there))
            weight = np.minimum(here[0], there[0])[usable]
            a, b = a - np.average(a, weights=weight), b - np.average(b, weights=weight)
            powers = (a + b) ** 2 / 4, (a - b) ** 2 / 4, (noise_a + noise_b) / 4
            found.append([float((weight * power).sum()) for power in powers])
        return np.array(found)

    def _both(self, k: int, other: int) -> NDArray[np.bool_]:
        """The scanned positions that were measured in both views, at which the same of the grain is seen."""
        return self.measurement.scanned(k) & self._mirrored(self.measurement.scanned(other))

    def _mirrored(self, mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
        """Positions at the other omega: tilts above omega stay, those below it turn over about tilt_zero."""
        if self.measurement.tilt_frame == "sample":
            return mask
        (first, has_first), (second, has_second) = map(_opposite, self.measurement.relative_axes_deg())
        there = mask.reshape(self.measurement.scanned_shape)[np.ix_(first, second)]
        return (there & has_first[:, None] & has_second).ravel()

    def _sums(self, k: int, mask: NDArray[np.bool_]) -> Array:
        """Sums (8, n_along, n_across) over the positions: of the light, and of that times each angle.

        Then of the variance of the light, and of that times each angle and its square.
        """
        n_x, n_y = self.bands.scan.shape[3:]
        counts = self.bands.load(slice(k, k + 1), np.array([[0, 0, n_x, n_y]])).flat
        counts = self.measurement.put_together(counts)[:, mask].astype(np.float64)
        light = np.nan_to_num(counts - self.dark.mean)
        variance = self.dark.gain * np.maximum(light, 0.0) + self.dark.stored_variance
        tilts = np.meshgrid(*self.measurement.relative_axes_deg(), indexing="ij")
        omega = float(self.measurement.omega_rad[k])
        frame, mode = self.measurement.tilt_frame, self.measurement.mode
        tilt1, tilt2 = (tilt.ravel()[mask] for tilt in tilts)
        angles = resolution_directions(frame, mode, tilt1, tilt2, omega)
        sums = [light.sum(axis=1), *(light @ angle for angle in angles), variance.sum(axis=1)]
        for angle in angles:
            sums += [variance @ angle, variance @ angle**2]
        images = np.stack(sums).reshape(len(sums), n_x, n_y)
        return np.swapaxes(images, 1, 2) if self.turned else images

    def _width(self, light: Array) -> int:
        """Pixels along the axis to average over: as far as the depth of the grain shifts its light."""
        across = np.clip(light.sum(axis=0), 0.0, None)
        place = np.arange(across.size)
        middle = np.average(place, weights=across + 1e-30)
        spread = np.sqrt(np.average((place - middle) ** 2, weights=across + 1e-30))
        return int(np.clip(round(4.0 * spread * self.depth), 1, light.shape[0]))

    def _as_seen_from(self, images: Array, k: int, other: int) -> Array:
        """The images at the other omega, mirrored about the axis, on the pixels of those at the k-th."""
        along, across = (1, 0) if self.turned else (0, 1)
        moved = self.origin[other, along] - self.origin[k, along]
        at_along = np.arange(images.shape[1]) + moved
        at_across = self.origin[other, across] + self.origin[k, across] - np.arange(images.shape[2])
        return _linear(_linear(images, at_along, 1), at_across, 2)

    def _lit(self, sums: Array, width: int) -> NDArray[np.bool_]:
        light, variance = sums[0], np.maximum(sums[3], 0.0) / width
        return np.asarray(
            (light > _LIT * np.percentile(light, _BRIGHT)) & (light > _LIT_SIGMA * np.sqrt(variance))
        )


def _opposite(axis_deg: Array) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """The position on the other side of zero from each, and whether there is one, to half a step."""
    distance = np.abs(axis_deg[:, None] + axis_deg)
    index = distance.argmin(axis=1)
    if axis_deg.size == 1:
        return index, np.ones(1, dtype=np.bool_)
    return index, distance.min(axis=1) < 0.501 * np.ptp(axis_deg) / (axis_deg.size - 1)


def _linear(images: Array, places: Array, axis: int) -> Array:
    """Images at other places along an axis, linear between pixels and zero outside."""
    n = images.shape[axis]
    low = np.floor(places).astype(np.int64)
    shape = [1] * images.ndim
    shape[axis] = places.size
    part = (places - low).reshape(shape)
    padded = np.pad(images, [(1, 1) if i == axis else (0, 0) for i in range(images.ndim)])
    lower, upper = (np.take(padded, np.clip(low + step, 0, n + 1), axis=axis) for step in (1, 2))
    return (1.0 - part) * lower + part * upper


def _means(sums: Array, n: int, usable: NDArray[np.bool_], width: int) -> tuple[Array, Array]:
    """The mean angle of the pixels that are usable, and its variance."""
    light, moment, v, v1, v2 = (sums[i][usable] for i in (0, 1 + n, 3, 4 + 2 * n, 5 + 2 * n))
    mean = moment / light
    return mean, np.maximum(v2 - 2.0 * mean * v1 + mean**2 * v, 0.0) / light**2 / width
