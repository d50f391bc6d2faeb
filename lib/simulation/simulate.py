"""The workflow of recon3d-simulate: a phantom grain to detector files (white paper, section 2.2.1).

`images` makes photons of the grain, `detector` counts of the photons, `edf_files` or `bliss_files` files
of the counts. Each rank makes some omegas; the files do not depend on the number of ranks.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType

import numpy as np
from numpy.typing import NDArray

from ..errors import Recon3DError
from ..initfile.parameters import Parameters
from ..parallel.claim import claimed, refuse_if_claimed
from ..parallel.communicator import Comm, check_alarm, together
from ..parallel.partition import block
from ..parallel.progress import Progress
from ..physics.scan_types import check_scan
from ..result import volume
from . import bliss_files, edf_files
from .images import Simulation, expected_frame, prepare, step_of, two_theta_deg
from .motors import CHI0_DEG, PHI0_DEG

__all__ = ["Simulation", "expected_frame", "prepare", "run", "truth"]

Array = NDArray[np.float64]


def run(params: Parameters, comm: Comm, *, quiet: bool = False) -> list[str]:
    """Write all frames and the truth; returns the lines to print."""
    with together(comm):
        if comm.rank == 0:
            _check(params, quiet)
    with claimed(_truth_path(params), comm):
        with together(comm):
            if comm.rank == 0:
                _refuse_existing(params)  # another run may have ended since it was asked first
        return _write(prepare(params), comm, quiet=quiet)


def _write(simulation: Simulation, comm: Comm, *, quiet: bool) -> list[str]:
    params = simulation.params
    n_omega = simulation.axes_deg[2].size
    n_pairs = simulation.axes_deg[0].size * simulation.axes_deg[1].size
    mine = block(n_omega, comm.size, comm.rank)
    show = comm.rank == 0 and not quiet
    with Progress(
        "frames", len(mine) * n_pairs, "frames", overall=n_omega * n_pairs, visible=show
    ) as progress:

        def advance() -> None:
            progress.advance()
            check_alarm(comm)

        lines = _files_of(params).write(simulation, _stem(params), mine, comm, advance)
    with together(comm):
        if comm.rank == 0:
            _write_truth(simulation)
    return [
        *lines,
        str(_truth_path(params)),
        f"{n_omega * n_pairs} frames of {params.detx_size} x {params.detz_size} pixels, "
        f"tilts fixed in the {simulation.tilt_frame}, {simulation.points_um.shape[0]} points",
    ]


def _stem(params: Parameters) -> Path:
    return Path(params.stem or "")


def _truth_path(params: Parameters) -> Path:
    return _stem(params).parent / "truth.vtkhdf"


def _files_of(params: Parameters) -> ModuleType:
    """Who writes the files of this format."""
    return edf_files if params.format == "edf" else bliss_files


def _check(params: Parameters, quiet: bool) -> None:
    """Refuse early what cannot work, and say how much will be written."""
    if params.stem is None:
        raise Recon3DError("key stem", "is missing: folder and beginning of the names of the frames")
    scan, (n_tilt1, n_tilt2, _) = params.scan, params.ang_steps
    if scan == "rocking_strain":
        raise Recon3DError("key scan", "rocking_strain cannot be simulated; simulate rocking and strain")
    if scan is not None:
        check_scan(scan, params.tilt_frame or ("lab" if scan == "rocking" else "sample"), n_tilt1, n_tilt2)
    if any(not name or name.split() != [name] for name in params.ang_types):
        raise Recon3DError("key ang_types", "motor names must be words without blanks")
    stem = _stem(params)
    refuse_if_claimed(_truth_path(params))
    _refuse_existing(params)
    stem.parent.mkdir(parents=True, exist_ok=True)
    n_frames = math.prod(params.ang_steps) + (params.sim_background_frames if params.sim_background else 0)
    n_bytes = n_frames * (2 * params.detx_size * params.detz_size + edf_files.HEADER_BYTES)
    if not quiet:
        what = "files" if params.format == "edf" else "frames"
        print(f"{n_frames} {what}, {n_bytes / 1e6:.0f} MB, go to {stem.parent}", flush=True)


def _refuse_existing(params: Parameters) -> None:
    stem = _stem(params)
    _files_of(params).check(params, stem)
    if stem.with_name("truth.npy").exists():
        raise Recon3DError(stem.with_name("truth.npy"), "exists; choose another folder for this scan")


def truth(
    simulation: Simulation, axes_um: Sequence[Array] | None = None
) -> tuple[dict[str, Array], NDArray[np.bool_]]:
    """The grain at voxel centres: tilt1 and tilt2 (motor positions, NaN outside) and the mask.

    axes_um are the centres along x, y, z; those of the init file if they are not given. Of a scan of strain,
    also the strain; the tilt that stands for 2theta then has its position.
    """
    params = simulation.params
    points = np.stack(np.meshgrid(*(axes_um or params.axes_um), indexing="ij"), axis=-1)
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
    volume.write(
        _truth_path(params),
        volume.Volume(
            origin_um=np.array(params.grain_pos) - np.array(params.grain_dim) / 2,
            spacing_um=params.voxel_um,
            axes_um=params.axes_um,
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
        "steps_deg": [step_of(axis) for axis in simulation.axes_deg],
        "phi0_deg": PHI0_DEG,
        "chi0_deg": CHI0_DEG,
    }
    (folder / "truth.json").write_text(json.dumps(facts, indent=1) + "\n")
