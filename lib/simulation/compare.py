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
from ..physics.geometry import voxel_axis
from ..physics.strain import strain_per_degree

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
    if truth.shape != result.shape:
        raise Recon3DError(
            truth_path, f"has shape {truth.shape}, the result {result.shape}; simulate it again"
        )
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
    grid = zip(params.grain_pos, params.grain_dim, params.grain_steps, strict=True)
    axes = [voxel_axis(*axis) for axis in grid]
    path = params.folder / "slices.png"
    with claimed(path, SerialComm()):
        pictures.draw_slices(path, axes, (found, mask), (true, true_mask), result[..., 2])
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


def _load(path: Path) -> Array:
    try:
        values: Array = np.load(path)
    except FileNotFoundError:
        raise Recon3DError(path, "no such file; run recon3d-simulate, getdata and recon3d first") from None
    return values
