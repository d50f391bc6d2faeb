r"""Frames, signs and units: the one definition of the geometry. All of it is pure numpy.

The frames are those of the white paper (Poulsen et al. 2017, J. Appl. Cryst. 50, 1441), right-handed,
lengths in micrometres. Rotations are active and right-handed; angles are radians in this module
unless a name ends in `_deg`.

    lab     y_l along the incoming beam, z_l up, x_l completes it
    sample  equals the goniometer frame when omega is zero and both tilts are at their zero

    horizontal scattering, seen from above          vertical scattering, seen from the side
                 detector                                              detector
        G0        /  2 theta                          G0               /  2 theta
         \       /                                     \              /
          \     /                                       \            /
          grain ------> y_l (beam)                z_l   grain ------> y_l (beam)
                                                   ^
        x_l points down the page                   |
    G0 = -x_g, omega turns about it               G0 = +z_g, omega turns about it

A point of the sample goes to the lab frame by

    r_lab = Theta(theta + mu) . Gamma(gamma) . Omega(omega) . T_lo(phi_lo) . T_up(phi_up) . r_s

each rotation about its own focus point p: r -> R (r - p) + p.

                          horizontal       vertical
    Theta, T_up, mu       about z          about x      (rock at omega = 0)
    T_lo, gamma           about y          about y      (roll at omega = 0)
    Omega                 about x          about z
    diffracted beam       R_z(2 theta) y   R_x(2 theta) y

phi_up and phi_lo are tilts above omega (tilt frame "sample"); mu and gamma are below it and fixed in
the lab (tilt frame "lab"). A scan uses one pair or the other.

The lens inverts the image: with r_i = R(-2 theta) r_lab about the axis of Theta,
`x_d = -M x_i`, `z_d = -M z_i`, in detector pixels. The white paper prints Theta(+theta) for the
whole chain; a ray trace through a thin lens gives Theta(-theta), which is what remains here.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..errors import Recon3DError

Array = NDArray[np.float64]
Vector = tuple[float, float, float]

MODES = ("horizontal", "vertical")
TILT_FRAMES = ("sample", "lab")
_X, _Y, _Z = 0, 1, 2
_ROCK_AXIS = {"horizontal": _Z, "vertical": _X}
_ROLL_AXIS = _Y
OMEGA_AXIS = {"horizontal": _X, "vertical": _Z}
SCATTERING_VECTOR: dict[str, Vector] = {"horizontal": (-1.0, 0.0, 0.0), "vertical": (0.0, 0.0, 1.0)}


def rotation(axis: int, angle: ArrayLike) -> Array:
    """Active right-handed rotation about a coordinate axis (0 x, 1 y, 2 z).

    `angle` has any shape (...); the result has shape (..., 3, 3).
    """
    angle = np.asarray(angle, dtype=np.float64)
    i, j = (axis + 1) % 3, (axis + 2) % 3
    matrix = np.zeros((*angle.shape, 3, 3))
    matrix[..., axis, axis] = 1.0
    matrix[..., i, i] = matrix[..., j, j] = np.cos(angle)
    matrix[..., j, i] = np.sin(angle)
    matrix[..., i, j] = -matrix[..., j, i]
    return matrix


def plane_spacing_angstrom(unit_cell: ArrayLike, hkl: ArrayLike) -> float:
    """Spacing d of the planes hkl from the metric tensor of any cell [a, b, c, alpha, beta, gamma].

    Lengths in angstrom, angles in degrees. Raises Recon3DError for hkl = 000 or an impossible cell.
    """
    cell = np.asarray(unit_cell, dtype=np.float64)
    if not ((cell > 1e-6) & (cell < 1e6)).all() or not (cell[3:] < 180).all():
        raise Recon3DError(
            "unit_cell", f"{cell.tolist()}: lengths must be positive, angles within 0..180 degrees"
        )
    lengths, cosines = cell[:3], np.cos(np.radians(cell[3:]))
    metric = np.outer(lengths, lengths)
    for (i, j), cosine in zip([(1, 2), (0, 2), (0, 1)], cosines, strict=True):
        metric[i, j] = metric[j, i] = metric[i, j] * cosine
    if not np.linalg.det(metric) > 1e-9 * lengths.prod() ** 2:
        raise Recon3DError("unit_cell", f"{cell.tolist()}: a cell with these angles has no volume")
    indices = np.asarray(hkl, dtype=np.float64)
    if not indices.any():
        raise Recon3DError("hkl", "[0, 0, 0] has no plane spacing; give the measured reflection")
    return float(1.0 / np.sqrt(indices @ np.linalg.inv(metric) @ indices))


def bragg_angle(unit_cell: ArrayLike, hkl: ArrayLike, wavelength_angstrom: float) -> float:
    """Bragg angle theta = arcsin(lambda / 2d) in radians; Recon3DError where no angle satisfies it."""
    spacing = plane_spacing_angstrom(unit_cell, hkl)
    sine = wavelength_angstrom / (2.0 * spacing)
    if not 0.0 < sine < 1.0:
        raise Recon3DError(
            "wavelength",
            f"{wavelength_angstrom:g} A cannot be diffracted by planes {spacing:.6g} A apart; "
            f"it must lie between 0 and {2 * spacing:.6g} A",
        )
    return float(np.arcsin(sine))


@dataclass(frozen=True)
class Geometry:
    """Everything that takes a point of the sample to a position in the cropped image.

    theta_rad          Bragg angle
    magnification      M, detector pixels per micrometre of sample
    xyz_up_um ...      focus points of T_up, T_lo and Theta
    detector_tilt_rad  angle of the detector about the axis of Theta (t_z horizontal, t_x vertical);
                       None: normal to the diffracted beam
    orientation        o11, o12, o21, o22 of Fable: one of the eight flips and transposes
    center_px          (c_x, c_y), the image of the rotation axis; integer = pixel centre
    """

    mode: str
    theta_rad: float
    magnification: float
    xyz_up_um: Vector = (0.0, 0.0, 0.0)
    xyz_lo_um: Vector = (0.0, 0.0, 0.0)
    xyz_th_um: Vector = (0.0, 0.0, 0.0)
    detector_tilt_rad: float | None = None
    orientation: tuple[int, int, int, int] = (1, 0, 0, 1)
    center_px: tuple[float, float] = (0.0, 0.0)

    def with_center(self, center_px: tuple[float, float]) -> Geometry:
        """The same geometry with another image of the rotation axis."""
        return replace(self, center_px=center_px)

    def sample_to_lab(
        self,
        omega: ArrayLike,
        phi_up: ArrayLike = 0.0,
        phi_lo: ArrayLike = 0.0,
        mu: ArrayLike = 0.0,
        gamma: ArrayLike = 0.0,
    ) -> tuple[Array, Array]:
        """Rotation R (..., 3, 3) and shift s (..., 3) with r_lab = R r_s + s; the angles broadcast."""
        rock = _ROCK_AXIS[self.mode]
        chain = (
            (rotation(rock, phi_up), self.xyz_up_um),
            (rotation(_ROLL_AXIS, phi_lo), self.xyz_lo_um),
            (rotation(OMEGA_AXIS[self.mode], omega), (0.0, 0.0, 0.0)),
            (rotation(_ROLL_AXIS, gamma), (0.0, 0.0, 0.0)),
            (rotation(rock, self.theta_rad + np.asarray(mu)), self.xyz_th_um),
        )
        total, shift = np.eye(3), np.zeros(3)
        for matrix, focus in chain:
            total = matrix @ total
            shift = (matrix @ (shift - focus)[..., None])[..., 0] + np.asarray(focus)
        return total, shift

    def sample_to_image(self, omega: ArrayLike, **tilts: ArrayLike) -> tuple[Array, Array]:
        """Matrix (..., 2, 3) and shift (..., 2) with (x_d, z_d) = matrix r_s + shift, in pixels."""
        total, shift = self.sample_to_lab(omega, **tilts)
        back = rotation(_ROCK_AXIS[self.mode], -2.0 * self.theta_rad)
        scale = np.full(2, -self.magnification)
        if self.detector_tilt_rad is not None:
            stretched = 0 if self.mode == "horizontal" else 1
            scale[stretched] /= np.cos(self.detector_tilt_rad - 2.0 * self.theta_rad)
        image_rows = back[[_X, _Z]] * scale[:, None]
        return image_rows @ total, (image_rows @ shift[..., None])[..., 0]

    def sample_to_pixel(self, omega: ArrayLike, **tilts: ArrayLike) -> tuple[Array, Array]:
        """Matrix (..., 2, 3) and shift (..., 2) with (px_x, px_y) = matrix r_s + shift.

        Pixels are those of the cropped, binned ROI; an integer is a pixel's centre.
        """
        matrix, shift = self.sample_to_image(omega, **tilts)
        flip = np.array(self.orientation, dtype=np.float64).reshape(2, 2)
        return flip @ matrix, (flip @ shift[..., None])[..., 0] + np.asarray(self.center_px)


def roi_center(shape_xy: tuple[int, int]) -> tuple[float, float]:
    """Middle of an image of n_x by n_y pixels, ((n_x - 1)/2, (n_y - 1)/2): the default center_px."""
    return (shape_xy[0] - 1) / 2.0, (shape_xy[1] - 1) / 2.0


def voxel_axis(position_um: float, dimension_um: float, n_steps: int) -> Array:
    """Voxel centres (n_steps,) along one axis of a volume `dimension_um` wide about `position_um`."""
    return position_um + dimension_um / n_steps * (np.arange(n_steps, dtype=np.float64) - (n_steps - 1) / 2.0)


def scattering_vector(mode: str, tilt_a: ArrayLike, tilt_b: ArrayLike) -> Array:
    """Direction (..., 3) of G in the sample frame of a voxel with orientation (a, b), small angles.

    Horizontal: -x + (0, a, -b); vertical: z + (-b, a, 0). See `tilts.sample_to_lab_tilts`.
    """
    a, b = np.broadcast_arrays(np.asarray(tilt_a, float), np.asarray(tilt_b, float))
    zero = np.zeros_like(a)
    deviation = (zero, a, -b) if mode == "horizontal" else (-b, a, zero)
    return np.stack(deviation, axis=-1) + np.asarray(SCATTERING_VECTOR[mode])
