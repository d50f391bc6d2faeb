"""The pseudo-motor gamma, a roll fixed in the lab, which phi and chi make together."""

from __future__ import annotations

import math

import numpy as np

from .motor_table import Values


def decode_gamma(phi: Values, chi: Values, omega: Values, phi0: float, chi0: float) -> Values:
    """Roll gamma, fixed in the lab, that phi = phi0 + gamma cos w, chi = chi0 + gamma sin w / cos chi0 make.

    Uses both motors and never divides by cos w, so it is exact at omega = 90. All in degrees.
    """
    w = np.radians(omega)
    return (phi - phi0) * np.cos(w) + (chi - chi0) * np.cos(np.radians(chi0)) * np.sin(w)


def gamma_zeros(phi: Values, chi: Values, omega: Values) -> tuple[float, float]:
    """phi0 and chi0 of the gamma pseudo-motor, from the frames themselves.

    At each omega the points (phi, chi cos chi0) lie on a line of direction (cos w, sin w) through the
    zeros, so (phi - phi0) sin w = (chi - chi0) cos chi0 cos w: linear in the zeros, by least squares.
    Where omega spans too little to fix them, the nearest point to the middle of the ranges is taken.
    """
    known = np.isfinite(phi) & np.isfinite(chi) & np.isfinite(omega)
    phi, chi, w = phi[known], chi[known], np.radians(omega[known])
    if not known.any():
        return math.nan, math.nan
    middle = np.array([(phi.min() + phi.max()) / 2, (chi.min() + chi.max()) / 2])
    zeros = middle.copy()
    for _ in range(5):  # cos chi0 hardly changes
        scale = np.cos(np.radians(zeros[1]))
        rows = np.column_stack([np.sin(w), -scale * np.cos(w)])
        offsets = (phi - middle[0]) * np.sin(w) - (chi - middle[1]) * scale * np.cos(w)
        zeros = middle + np.linalg.lstsq(rows, offsets, rcond=1e-3)[0]
    return float(zeros[0]), float(zeros[1])


def makes_gamma(phi: Values, chi: Values, omega: Values) -> bool:
    """Whether phi and chi (n,) move as gamma wants them to, and not on their own."""
    known = np.isfinite(phi) & np.isfinite(chi) & np.isfinite(omega)
    phi, chi, omega = phi[known], chi[known], omega[known]
    if not known.any():
        return False
    phi0, chi0 = gamma_zeros(phi, chi, omega)
    w = np.radians(omega)
    across = (phi - phi0) * np.sin(w) - (chi - chi0) * np.cos(np.radians(chi0)) * np.cos(w)
    along = decode_gamma(phi, chi, omega, phi0, chi0)
    return bool(np.std(across) <= 0.1 * np.std(along))
