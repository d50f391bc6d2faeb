"""From the grain to images: how many photons reach each pixel at each position of the motors.

The grain is sampled by points, each with its own orientation; a point lights its pixel at every
position of the scan, weakened by how far the tilts are from where it diffracts.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from ..getdata.motors import NONE, SETUPS
from ..initfile.parameters import Parameters
from ..physics.geometry import Geometry, roi_center
from ..physics.scan_types import guess_scan
from ..physics.strain import strain_per_degree
from ..physics.tilts import resolution_directions, sample_to_lab_tilts
from .phantom import Phantom

Array = NDArray[np.float64]

_SEMI_AXIS_UM, _MOST_VOXELS = 8.0, 100  # along each axis, where the init file says nothing
_FAINTEST = 1e-4  # points that diffract with less than this of their peak are left out


@dataclass(frozen=True)
class Simulation:
    """What all omegas share. Angles in radians relative to tilt_zero where the name says no unit."""

    params: Parameters
    scan: str
    tilt_frame: str
    tilt_zero_deg: tuple[float, float]
    axes_deg: tuple[Array, Array, Array]
    geometry: Geometry
    phantom: Phantom
    points_um: NDArray[np.float32]
    orientation_deg: NDArray[np.float32]
    two_theta_deg: NDArray[np.float32]  # of the points
    counts_per_point: float
    widths_deg: tuple[float, float]
    drift_px: Array  # (n_omega, 2), how far the images of each omega are shifted


def with_volume(params: Parameters) -> Parameters:
    """The init file with a volume for the truth, where it leaves that to the scan: voxels of a pixel."""
    dim = params.grain_dim or tuple(2.5 * axis for axis in params.sim_grain or 3 * (_SEMI_AXIS_UM,))
    steps = params.grain_steps or tuple(min(_MOST_VOXELS, math.ceil(size * params.M)) for size in dim)
    return replace(params, grain_pos=params.grain_pos or (0.0, 0.0, 0.0), grain_dim=dim, grain_steps=steps)


def phantom_of(params: Parameters) -> Phantom:
    """The grain of an init file that gives its volume."""
    return Phantom.random(
        params.grain_pos or (0.0, 0.0, 0.0),
        params.sim_grain or tuple(0.4 * size for size in params.grain_dim),
        params.sim_subgrains,
        params.ang_width,
        params.sim_seed,
        params.sim_strain,
    )


def prepare(params: Parameters) -> Simulation:
    """The phantom, sampled, and the scan; the same on every rank."""
    params = with_volume(params)
    scan = params.scan or guess_scan(*params.ang_steps[:2])
    usual = "lab" if scan in ("rocking", "strain") and NONE in params.ang_types else "sample"
    tilt_frame = params.tilt_frame or next(
        (s.tilt_frame for s in SETUPS if (s.tilt1, s.tilt2, s.omega) == params.ang_types), usual
    )
    tilt1, tilt2, omega = (
        np.linspace(low, high, n)
        for low, high, n in zip(params.ang_min, params.ang_max, params.ang_steps, strict=True)
    )
    zero = params.tilt_zero or ((tilt1[0] + tilt1[-1]) / 2, (tilt2[0] + tilt2[-1]) / 2)
    phantom = phantom_of(params)
    semi_axes = phantom.semi_axes_um
    points = phantom.sample(params.sim_points, params.sim_seed + 1)
    orientation = phantom.orientation_deg(points) + np.array(params.ang_mean) - np.array(zero)
    volume_um3 = float(phantom.inside(_cloud(phantom)).mean() * 8.0 * np.prod(semi_axes))
    points_per_um3 = points.shape[0] / volume_um3
    steps = [step_of(axis) for axis in (tilt1, tilt2)]
    middle = roi_center((params.detx_size, params.detz_size))
    offset = params.sim_center_offset
    drift = np.random.default_rng([params.sim_seed, 4]).normal(size=(omega.size, 2)) * params.sim_drift
    return Simulation(
        params=params,
        scan=scan,
        tilt_frame=tilt_frame,
        tilt_zero_deg=(float(zero[0]), float(zero[1])),
        axes_deg=(tilt1, tilt2, omega),
        geometry=params.geometry().with_center((middle[0] + offset[0], middle[1] + offset[1])),
        phantom=phantom,
        points_um=points.astype(np.float32),
        orientation_deg=orientation.astype(np.float32),
        two_theta_deg=two_theta_deg(params, phantom.strain(points)).astype(np.float32),
        counts_per_point=params.sim_counts * params.M**2 / (2.0 * max(semi_axes) * points_per_um3),
        widths_deg=_widths(params, scan, tilt_frame, steps),
        drift_px=drift,
    )


def _widths(params: Parameters, scan: str, tilt_frame: str, steps: list[float]) -> tuple[float, float]:
    """FWHM along the scan and across; a scan of one angle accepts all that lies across, unless said."""
    if scan == "strain":
        return params.strain_width or steps[int(params.ang_steps[1] > 1)], math.inf
    if scan == "rocking" and tilt_frame == "lab":
        return params.rock_width or steps[0], params.roll_width or math.inf
    return params.rock_width or steps[0], params.roll_width or steps[1]


def two_theta_deg(params: Parameters, strain: Array) -> Array:
    """The scattering angle where the axial strain is so much."""
    theta = params.geometry().theta_rad
    return np.asarray(math.degrees(2.0 * theta) + strain / strain_per_degree(theta))


def _cloud(phantom: Phantom) -> Array:
    rng = np.random.default_rng(0)
    return rng.uniform(-1.0, 1.0, (200_000, 3)) * phantom.semi_axes_um + phantom.center_um


def step_of(axis: Array) -> float:
    """The step of a motor in degrees; of one that stands still, a step that it might have."""
    return float(axis[1] - axis[0]) if axis.size > 1 else 0.1


def expected_frame(simulation: Simulation, tilt1_deg: float, tilt2_deg: float, omega_deg: float) -> Array:
    """Mean number of photons (x, y) at one position of the motors."""
    params = simulation.params
    n_x, n_y = params.detx_size, params.detz_size
    omega = params.omega_sign * math.radians(omega_deg)
    zero1, zero2 = simulation.tilt_zero_deg
    t1, t2 = tilt1_deg - zero1, tilt2_deg - zero2
    if simulation.scan == "strain":  # the arm moves, the sample does not
        arm = tilt1_deg if simulation.axes_deg[0].size > 1 else tilt2_deg
        t1, t2 = 0.0, 0.0
        rock, roll = arm - simulation.two_theta_deg, np.zeros(simulation.two_theta_deg.shape)
    else:
        a, b = simulation.orientation_deg.T
        if simulation.tilt_frame == "lab":
            a, b = sample_to_lab_tilts(params.mode, a, b, omega)
        rock, roll = resolution_directions(simulation.tilt_frame, params.mode, t1 - a, t2 - b, omega)
    exponent = (rock / simulation.widths_deg[0]) ** 2 + (roll / simulation.widths_deg[1]) ** 2
    exponent *= -4.0 * math.log(2.0)
    bright = np.flatnonzero(exponent > math.log(_FAINTEST))
    names = ("mu", "gamma") if simulation.tilt_frame == "lab" else ("phi_up", "phi_lo")
    tilts = dict(zip(names, (math.radians(t1), math.radians(t2)), strict=True))
    matrix, shift = simulation.geometry.sample_to_pixel(omega, **tilts)
    shift = shift + simulation.drift_px[np.abs(simulation.axes_deg[2] - omega_deg).argmin()]
    pixel = np.rint(simulation.points_um[bright] @ matrix.T + shift).astype(np.int64)
    on = ((pixel >= 0) & (pixel < (n_x, n_y))).all(axis=1)
    weight = np.exp(exponent[bright[on]]) * simulation.counts_per_point
    flat = np.bincount(pixel[on, 0] * n_y + pixel[on, 1], weights=weight, minlength=n_x * n_y).astype(
        np.float64, copy=False
    )
    return flat.reshape(n_x, n_y)
