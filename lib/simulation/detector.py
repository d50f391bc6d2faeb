"""From photons to counts: an ideal detector, or a camera as it stands at ID03."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..initfile.parameters import Parameters
from .images import Simulation, expected_frame, step_of

Array = NDArray[np.float64]

# pco.edge 4.2 of ID03, in ADU; t is the exposure in s
_GAIN = 2.2  # ADU per photon
_OFFSET, _OFFSET_PER_S = 102.5, 7.5
_VARIANCE, _VARIANCE_PER_S = 6.3, 11.0
_WARM_SHARE, _WARM_PER_S = 0.006, (10.0, 120.0)  # of the pixels; extra level, lowest and highest
_HOT_SHARE, _HOT_PER_S = 0.0001, (1000.0, 40000.0)
_HALO_WIDTH = 0.2  # of the shorter side of the image, rms
_EDGE_ROWS, _EDGE = 16, 35.0  # first and last rows are brighter, most of all the outermost


@dataclass(frozen=True)
class Detector:
    """gain in counts per photon; dark level and sigma, its rms noise, in counts, (y, x) or a number."""

    gain: float
    level: Array | float
    sigma: Array | float
    shape_yx: tuple[int, int]

    @classmethod
    def of(cls, params: Parameters) -> Detector:
        """The detector that the init file asks for; its warm and hot pixels depend on the seed."""
        shape = params.detz_size, params.detx_size
        if params.sim_detector == "ideal":
            return cls(1.0, params.sim_offset, params.sim_read_noise, shape)
        t = params.sim_exposure
        rng = np.random.default_rng([params.sim_seed, 5])
        place, strength = rng.uniform(size=shape), rng.uniform(size=shape)
        extra = np.zeros(shape)
        for share, (low, high) in ((_WARM_SHARE, _WARM_PER_S), (_HOT_SHARE, _HOT_PER_S)):
            extra = np.where(place < share, t * low * (high / low) ** strength, extra)
        rows = np.arange(shape[0])
        depth = np.minimum(rows, rows[::-1])
        edge = _EDGE * np.clip(1.0 - depth / _EDGE_ROWS, 0.0, 1.0)
        level = _OFFSET + _OFFSET_PER_S * t + extra + edge[:, None]
        variance = _VARIANCE + _VARIANCE_PER_S * t + _GAIN * extra  # dark current has noise like light
        return cls(_GAIN, level, np.sqrt(variance), shape)

    def detect(
        self, photons: Array, rng: np.random.Generator, more: Array | float = 0.0
    ) -> NDArray[np.uint16]:
        """What 16 bits hold of the photons (y, x), on more counts than the dark level."""
        counts = self.gain * photons + rng.normal(self.level, self.sigma, photons.shape) + more
        return np.clip(np.rint(counts), 0, 65535).astype(np.uint16)


def left_over(params: Parameters, k: int) -> Array | float:
    """Counts (y, x) of the k-th omega that no background frame shows: pedestal, halo and pattern."""
    level, change = params.sim_pedestal
    total: Array | float = level + change * np.sin(3.0 * np.pi * k / params.ang_steps[2])
    n_y, n_x = shape = params.detz_size, params.detx_size
    if params.sim_halo:
        y, x = (np.arange(n) - (n - 1) / 2 for n in shape)
        width = min(n_x, n_y) * _HALO_WIDTH
        total = total + params.sim_halo * np.exp(-(x**2 + y[:, None] ** 2) / (2 * width**2))
    if params.sim_pattern:
        rng = np.random.default_rng([params.sim_seed, 6])
        total = total + rng.exponential(params.sim_pattern, shape)
    return total


def frames_of_omega(
    simulation: Simulation, detector: Detector, k: int
) -> Iterator[tuple[Array, NDArray[np.uint16]]]:
    """Positions (tilt1, tilt2, omega) in degrees and frame (y, x) of each pair of tilts, tilt2 first.

    The same whoever asks and in whatever order the omegas come.
    """
    params = simulation.params
    rng = np.random.default_rng([params.sim_seed, 2, k])
    tilt1, tilt2, omega = simulation.axes_deg
    more = left_over(params, k)
    steps = np.array([step_of(axis) for axis in simulation.axes_deg])
    for i, j in np.ndindex(tilt1.size, tilt2.size):
        nominal = np.array([tilt1[i], tilt2[j], omega[k]])
        position = nominal + steps * rng.uniform(-params.sim_jitter, params.sim_jitter, 3)
        expected = expected_frame(simulation, *position)
        yield position, detector.detect(rng.poisson(expected.T).astype(np.float64), rng, more)


def dark_frames(params: Parameters, detector: Detector) -> Iterator[NDArray[np.uint16]]:
    """The background frames (y, x), as many as the init file asks for; none without sim_background."""
    rng = np.random.default_rng([params.sim_seed, 3])
    for _ in range(params.sim_background_frames if params.sim_background else 0):
        yield detector.detect(np.zeros(detector.shape_yx), rng)
