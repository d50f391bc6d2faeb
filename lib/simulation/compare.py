"""recon3d-compare: a reconstruction of simulated files beside the truth, in numbers and a picture."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..errors import Recon3DError
from ..initfile.parameters import Parameters
from ..page import pictures
from ..parallel.claim import claimed
from ..parallel.communicator import SerialComm
from ..physics.strain import strain_per_degree
from ..result import volume
from . import simulate

Array = NDArray[np.float64]


def dice(mask: NDArray[np.bool_], true: NDArray[np.bool_]) -> float:
    """Dice coefficient 2 |A and B| / (|A| + |B|) of two masks; 1 where both are empty."""
    total = int(mask.sum() + true.sum())
    return 2.0 * int((mask & true).sum()) / total if total else 1.0


def orientation_error(found: Array, true: Array, inside: NDArray[np.bool_]) -> Array:
    """Distances (n,) in degrees between orientations (..., 2), where both are known and inside."""
    both = inside & np.isfinite(found).all(axis=-1) & np.isfinite(true).all(axis=-1)
    return np.linalg.norm(found[both] - true[both], axis=-1)


def run(params: Parameters) -> list[str]:
    """Compare, write pictures beside the result, and return the lines to print."""
    if params.stem is None:
        raise Recon3DError("key stem", "is missing: the truth lies beside the simulated frames")
    truth_path = Path(params.stem).with_name("truth.npy")
    truth, result = (_load(path) for path in (truth_path, params.folder / "grain_ang.npy"))
    if params.has_volume and truth.shape == result.shape:
        axes = params.axes_um
    else:
        axes, truth = _truth_at_result(params, truth_path, truth.shape, result.shape)
    true_mask = truth[..., 2] > 0.5
    mask = np.isfinite(result[..., 0])
    facts = json.loads(truth_path.with_suffix(".json").read_text())
    steps = facts["steps_deg"][:2]
    if facts["scan"] == "rocking":
        steps[1] = steps[0]
    found, true = result[..., :2], truth[..., :2]
    in_steps = orientation_error(found / steps, true / np.array(steps), mask & true_mask)
    constant = np.broadcast_to(np.nanmean(true[true_mask], axis=0), true.shape)
    guess = orientation_error(constant / steps, true / np.array(steps), mask & true_mask)
    path = params.folder / "slices.png"
    with claimed(path, SerialComm()):
        pictures.draw_slices(path, list(axes), (found, mask), (true, true_mask), result[..., 2])
    lines = [str(path), f"shape        Dice {dice(mask, true_mask):.3f}"]
    if facts["scan"] == "strain":
        both = mask & true_mask
        arm = int(params.ang_steps[1] > 1)
        strain = strain_per_degree(params.geometry().theta_rad) * (found - true)[both][:, arm]
        lines.append(f"strain       error {np.median(np.abs(strain - strain.mean())):.2e} (median)")
    elif in_steps.size:
        lines.append(
            f"orientation  error {np.median(in_steps):.3f} tilt steps (median), "
            f"{np.percentile(in_steps, 95):.3f} (95 %); a constant guess has {np.median(guess):.3f}"
        )
    return lines


def _truth_at_result(
    params: Parameters, truth_path: Path, *shapes: tuple[int, ...]
) -> tuple[tuple[Array, Array, Array], Array]:
    """The voxels of a result that has its own, along x, y, z, and the truth there as truth.npy has it."""
    result_path = params.folder / "grain.vtkhdf"
    if not result_path.exists():
        raise Recon3DError(truth_path, f"has shape {shapes[0]}, the result {shapes[1]}; simulate it again")
    axes = volume.read(result_path).axes_um
    simulated = simulate.prepare(volume.read(truth_path.with_suffix(".vtkhdf")).parameters)
    fields, mask = simulate.truth(simulated, axes)
    return axes, np.stack([fields["tilt1"], fields["tilt2"], mask], axis=-1)


def _load(path: Path) -> Array:
    try:
        values: Array = np.load(path)
    except FileNotFoundError:
        raise Recon3DError(path, "no such file; run recon3d-simulate, getdata and recon3d first") from None
    return values
