"""Made-up motor headers of a scan, and the sizes of the axes found in them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

STILL = ("mono", "corx", "samrz", "samry", "diffrx", "phi", "chi", "diffrz", "diffry")
STEPS = (0.032, 0.0585, 0.8)


def scan_of(*names: str, shape: tuple[int, int, int] = (3, 4, 5)) -> dict[str, np.ndarray]:
    """Headers of a scan of three motors, the others of the beamline standing still."""
    n = int(np.prod(shape))
    motors = {name: np.full(n, 1.5) for name in STILL}
    for name, index, step in zip(names, np.indices(shape).reshape(3, -1), STEPS, strict=True):
        motors[name] = 0.25 + index * step
    return motors


def gamma_scan(
    omega: Sequence[float], gamma: Sequence[float], phi0: float = 2.83, chi0: float = 2.79
) -> dict[str, np.ndarray]:
    """Headers of the 2017 set-up: diffrz scanned at each gamma, which phi and chi make together."""
    omega_, gamma_, mu = (g.ravel() for g in np.meshgrid(omega, gamma, [0, 0.032, 0.064], indexing="ij"))
    w = np.radians(omega_)
    return {
        "mono": np.full(w.size, 5.67781),
        "diffrz": mu,
        "diffry": omega_,
        "phi": phi0 + gamma_ * np.cos(w),
        "chi": chi0 + gamma_ * np.sin(w) / np.cos(np.radians(chi0)),
        "expected gamma": gamma_,
    }


def sizes(axes: Sequence) -> list[int]:
    return [axis.positions.size for axis in axes]
