"""The rotations of the goniometer, written out for the tests; no code is shared with the package."""

from __future__ import annotations

import numpy as np

THETA = np.radians(10.375)
ORIGIN = (0.0, 0.0, 0.0)

X, Y, Z = np.eye(3)
ROCK = {"horizontal": Z, "vertical": X}
OMEGA = {"horizontal": X, "vertical": Z}
ROLL = Y
G0 = {"horizontal": -X, "vertical": Z}


def turn(point, axis, angle, focus=ORIGIN):
    """Rodrigues' formula: `point` turned right-handed by `angle` about `axis` through `focus`."""
    r = np.asarray(point, float) - focus
    along = axis * (axis @ r)
    return focus + along + np.cos(angle) * (r - along) + np.sin(angle) * np.cross(axis, r)


def goniometer(point, geometry, omega, phi_up=0.0, phi_lo=0.0, mu=0.0, gamma=0.0):
    """A point of the sample in the lab, one rotation stage after the other from the sample down."""
    mode = geometry.mode
    point = turn(point, ROCK[mode], phi_up, geometry.xyz_up_um)
    point = turn(point, ROLL, phi_lo, geometry.xyz_lo_um)
    point = turn(point, OMEGA[mode], omega)
    point = turn(point, ROLL, gamma)
    return turn(point, ROCK[mode], geometry.theta_rad + mu, geometry.xyz_th_um)
