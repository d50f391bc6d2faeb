"""The workflow of recon3d-simulate: a phantom grain to detector files (white paper, section 2.2.1).

The grain is sampled by points, each with its own orientation; a point lights its pixel at every
position of the scan, weakened by how far the tilts are from where it diffracts. Each rank makes some
omegas; the files do not depend on the number of ranks.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..errors import Recon3DError
from ..frames import edf
from ..getdata.motors import GAMMA, NONE, SETUPS
from ..initfile.parameters import Parameters
from ..parallel.communicator import Comm, check_alarm, together
from ..parallel.partition import block
from ..parallel.progress import Progress
from ..physics.geometry import Geometry, roi_center, voxel_axis
from ..physics.scan_types import check_scan, guess_scan
from ..physics.strain import strain_per_degree
from ..physics.tilts import resolution_directions, sample_to_lab_tilts
from ..result import volume
from .phantom import Phantom

Array = NDArray[np.float64]

PHI0_DEG, CHI0_DEG = 0.35, -0.8  # zeros of the motors that make gamma
_RING_CURRENT_MA = 200.0
_FAINTEST = 1e-4  # points that diffract with less than this of their peak are left out
_HEADER_BYTES = 1536


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


def run(params: Parameters, comm: Comm, *, quiet: bool = False) -> list[str]:
    """Write all frames and the truth; returns the lines to print."""
    with together(comm):
        if comm.rank == 0:
            _check(params, quiet)
    simulation = prepare(params)
    n_omega = simulation.axes_deg[2].size
    n_pairs = simulation.axes_deg[0].size * simulation.axes_deg[1].size
    numbers = np.random.default_rng(params.sim_seed).permutation(n_omega * n_pairs).reshape(n_omega, n_pairs)
    mine = block(n_omega, comm.size, comm.rank)
    show = comm.rank == 0 and not quiet
    with (
        together(comm),
        Progress(
            "frames", len(mine) * n_pairs, "frames", overall=n_omega * n_pairs, visible=show
        ) as progress,
    ):
        for k in mine:
            _write_omega(simulation, k, numbers[k], progress, comm)
    with together(comm):
        if comm.rank == 0:
            _write_background(params)
            _write_truth(simulation)
    stem = _stem(params)
    return [
        f"{stem}*.edf",
        str(stem.with_name("truth.vtkhdf")),
        f"{n_omega * n_pairs} frames of {params.detx_size} x {params.detz_size} pixels, "
        f"tilts fixed in the {simulation.tilt_frame}, {simulation.points_um.shape[0]} points",
    ]


def _stem(params: Parameters) -> Path:
    return Path(params.stem or "")


def _check(params: Parameters, quiet: bool) -> None:
    """Refuse early what cannot work, and say how much will be written."""
    if params.stem is None:
        raise Recon3DError("key stem", "is missing: folder and beginning of the names of the frames")
    scan, (n_tilt1, n_tilt2, _) = params.scan, params.ang_steps
    if scan == "rocking_strain":
        raise Recon3DError("key scan", "rocking_strain cannot be simulated; simulate rocking and strain")
    if scan is not None:
        check_scan(scan, params.tilt_frame or ("lab" if scan == "rocking" else "sample"), n_tilt1, n_tilt2)
    background = [params.sim_background] if params.sim_background else []
    if any(not name or name.split() != [name] for name in params.ang_types):
        raise Recon3DError("key ang_types", "motor names must be words without blanks")
    _check_stems(_stem(params), [Path(name) for name in background])
    n_frames = math.prod(params.ang_steps) + (params.sim_background_frames if background else 0)
    n_bytes = n_frames * (2 * params.detx_size * params.detz_size + _HEADER_BYTES)
    if not quiet:
        print(f"{n_frames} files, {n_bytes / 1e6:.0f} MB, go to {_stem(params).parent}", flush=True)


def _check_stems(frames: Path, background: list[Path]) -> None:
    """Names that are free and that cannot be taken for each other; makes their folders."""
    for stem in (frames, *background):
        if not stem.name:
            raise Recon3DError(f"stem {stem}", "must end with the beginning of the names of the files")
        if stem.parent.is_dir() and any(p.name.startswith(stem.name) for p in stem.parent.glob("*.edf")):
            raise Recon3DError(f"{stem}*.edf", "files exist; remove them or choose another stem")
    if frames.with_name("truth.npy").exists():
        raise Recon3DError(frames.with_name("truth.npy"), "exists; choose another folder for this scan")
    for dark in background:
        if dark.parent != frames.parent:
            continue
        if dark.name.startswith(frames.name):
            raise Recon3DError("key sim_background", f"names like '{frames.name}...' would count as frames")
        if frames.name.startswith(dark.name):
            raise Recon3DError("key stem", f"names like '{dark.name}...' would count as background")
    for stem in (frames, *background):
        stem.parent.mkdir(parents=True, exist_ok=True)


def prepare(params: Parameters) -> Simulation:
    """The phantom, sampled, and the scan; the same on every rank."""
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
    semi_axes = params.sim_grain or tuple(0.4 * d for d in params.grain_dim)
    phantom = Phantom.random(
        params.grain_pos,
        semi_axes,
        params.sim_subgrains,
        params.ang_width,
        params.sim_seed,
        params.sim_strain,
    )
    points = phantom.sample(params.sim_points, params.sim_seed + 1)
    orientation = phantom.orientation_deg(points) + np.array(params.ang_mean) - np.array(zero)
    volume_um3 = float(phantom.inside(_cloud(phantom)).mean() * 8.0 * np.prod(semi_axes))
    points_per_um3 = points.shape[0] / volume_um3
    steps = [_step(axis) for axis in (tilt1, tilt2)]
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


def _step(axis: Array) -> float:
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


def _write_omega(
    simulation: Simulation, k: int, numbers: NDArray[np.int64], progress: Progress, comm: Comm
) -> None:
    """The frames of one omega, under their places in a shuffled order of files."""
    params = simulation.params
    rng = np.random.default_rng([params.sim_seed, 2, k])
    tilt1, tilt2, omega = simulation.axes_deg
    steps = np.array([_step(axis) for axis in simulation.axes_deg])
    for number, (i, j) in zip(numbers, np.ndindex(tilt1.size, tilt2.size), strict=True):
        nominal = np.array([tilt1[i], tilt2[j], omega[k]])
        position = nominal + steps * rng.uniform(-params.sim_jitter, params.sim_jitter, 3)
        expected = expected_frame(simulation, *position)
        frame = _detect(rng.poisson(expected.T).astype(np.float64), params, rng)
        path = _stem(params).with_name(f"{_stem(params).name}{number:05d}.edf")
        edf.write_frame(path, frame, _header(params, position, int(number)))
        progress.advance()
        check_alarm(comm)


def _detect(photons: Array, params: Parameters, rng: np.random.Generator) -> NDArray[np.uint16]:
    """What a 16 bit detector with dark level and read noise makes of the photons (y, x)."""
    counts = photons + rng.normal(params.sim_offset, params.sim_read_noise, photons.shape)
    return np.clip(np.rint(counts), 0, 65535).astype(np.uint16)


def _write_background(params: Parameters) -> None:
    if not params.sim_background:
        return
    stem = Path(params.sim_background)
    rng = np.random.default_rng([params.sim_seed, 3])
    for number in range(params.sim_background_frames):
        frame = _detect(np.zeros((params.detz_size, params.detx_size)), params, rng)
        path = stem.with_name(f"{stem.name}{number:05d}.edf")
        edf.write_frame(path, frame, _header(params, None, number))


def _header(params: Parameters, position: Array | None, number: int) -> dict[str, str]:
    """A header like those of ID06: motors and counters in paired lists; a simulated set-up in plain keys."""
    header = {"suffix": ".edf", "title": "simulated by Recon3D", "point_no": str(number), "run": "0"}
    counters = {"sec": 1.0, "srcur": _RING_CURRENT_MA, "foc1": math.nan}
    motors = {"mono": 5.67781, "ffz": 2257.86, "obx": 50.0}
    if position is not None:
        named = _motor_positions(params.ang_types, position)
        named.pop(NONE, None)
        if params.ang_types == SETUPS[-1].motors:
            header |= {name: f"{value:.9g}" for name, value in named.items()}
        else:
            motors |= named
    for stem, values, digits in (("counter", counters, 6), ("motor", motors, 9)):
        header[f"{stem}_pos"] = " ".join(f"{value:.{digits}g}" for value in values.values())
        header[f"{stem}_mne"] = " ".join(values)
    return header


def _motor_positions(names: tuple[str, ...], position: Array) -> dict[str, float]:
    """Positions by name; gamma is made of phi and chi as at ID06 in 2017."""
    motors = dict(zip(names, (float(v) for v in position), strict=True))
    if GAMMA in motors:
        gamma, w = motors.pop(GAMMA), math.radians(position[2])
        motors["phi"] = PHI0_DEG + gamma * math.cos(w)
        motors["chi"] = CHI0_DEG + gamma * math.sin(w) / math.cos(math.radians(CHI0_DEG))
    return motors


def truth(simulation: Simulation) -> tuple[dict[str, Array], NDArray[np.bool_]]:
    """The grain at the voxel centres: tilt1 and tilt2 (motor positions, NaN outside) and the mask.

    Of a scan of strain, also the strain; the tilt that stands for 2theta then has its position.
    """
    params = simulation.params
    grid = zip(params.grain_pos, params.grain_dim, params.grain_steps, strict=True)
    points = np.stack(np.meshgrid(*(voxel_axis(*axis) for axis in grid), indexing="ij"), axis=-1)
    inside = simulation.phantom.inside(points)
    tilts = simulation.phantom.orientation_deg(points) + np.array(params.ang_mean)
    more = {}
    if simulation.scan == "strain":
        strain = simulation.phantom.strain(points)
        arm = int(simulation.axes_deg[1].size > 1)
        tilts[..., arm], tilts[..., 1 - arm] = two_theta_deg(params, strain), simulation.axes_deg[1 - arm][0]
        more["strain"] = np.where(inside, strain, np.nan)
    tilts[~inside] = np.nan
    return {"tilt1": tilts[..., 0], "tilt2": tilts[..., 1], **more}, inside


def _write_truth(simulation: Simulation) -> None:
    """truth.npy like grain_ang.npy with the mask in the last column, truth.vtkhdf, truth.json."""
    params = simulation.params
    fields, mask = truth(simulation)
    folder = _stem(params).parent
    np.save(folder / "truth.npy", np.stack([fields["tilt1"], fields["tilt2"], mask], axis=-1))
    grid = list(zip(params.grain_pos, params.grain_dim, params.grain_steps, strict=True))
    position, dimension, steps = (np.array(column) for column in zip(*grid, strict=True))
    x_um, y_um, z_um = (voxel_axis(*axis) for axis in grid)
    volume.write(
        folder / "truth.vtkhdf",
        volume.Volume(
            origin_um=position - dimension / 2,
            spacing_um=dimension / steps,
            axes_um=(x_um, y_um, z_um),
            fields=fields,
            mask=mask,
            parameters=params,
            attributes={"contents": "ground truth of a simulation"},
        ),
    )
    facts = {
        "scan": simulation.scan,
        "tilt_frame": simulation.tilt_frame,
        "tilt_zero_deg": simulation.tilt_zero_deg,
        "rock_width_deg": simulation.widths_deg[0],
        "roll_width_deg": simulation.widths_deg[1] if math.isfinite(simulation.widths_deg[1]) else None,
        "steps_deg": [_step(axis) for axis in simulation.axes_deg],
        "phi0_deg": PHI0_DEG,
        "chi0_deg": CHI0_DEG,
    }
    (folder / "truth.json").write_text(json.dumps(facts, indent=1) + "\n")
