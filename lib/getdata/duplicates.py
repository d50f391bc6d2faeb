"""Several frames at one position, and whether an omega has enough of them."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from ..errors import Recon3DError
from ..frames.pixels import FrameInfo
from ..frames.sources import unit_name
from ..scan import store
from .grid import Grid
from .motors import Roles
from .places import why_shared

_FEWEST_FOR_DARKEST = 3


def choose_frames(
    grid: Grid,
    cells: NDArray[np.int64],
    frames: list[FrameInfo],
    frame_name: Callable[[FrameInfo], str],
    roles: Roles,
    policy: str,
    warnings: list[str],
) -> list[list[int]]:
    """The frames of each cell that count by --duplicates: all of them for the mean."""
    doubles = [cell for cell in cells.tolist() if len(grid.cells[cell]) > 1]
    if doubles and policy == "error":
        claims = grid.cells[doubles[0]]
        place = np.unravel_index(doubles[0], grid.shape)
        where = ", ".join(
            f"{getattr(roles.setup, role)} {axis.positions[i]:.6g}"
            for role, axis, i in zip(store.AXES, grid.axes, place, strict=True)
        )
        raise Recon3DError(
            frame_name(frames[claims[1]]),
            f"is at the same position as {unit_name(frame_name(frames[claims[0]]))} ({where}), one of "
            f"{len(doubles)} such cases; {why_shared(roles, claims)}choose --duplicates first, last or mean, "
            "or check the motors and --tolerance",
        )
    if doubles and (why := why_shared(roles, grid.cells[doubles[0]])):
        warnings.append(f"{len(doubles)} positions have several frames: {why}--duplicates {policy} is right")
    part = {"first": slice(0, 1), "last": slice(-1, None)}.get(policy, slice(None))
    return [grid.cells[cell][part] for cell in cells.tolist()]


def check_enough_for_darkest(grid: Grid, cells: NDArray[np.int64]) -> None:
    """Raise Recon3DError where an omega has too few frames to take its background from them."""
    counts = np.bincount(cells % grid.shape[2], minlength=grid.shape[2])
    if counts.min() < _FEWEST_FOR_DARKEST:
        omega = grid.axes[2].positions[counts.argmin()]
        raise Recon3DError(
            "--background darkest",
            f"omega {omega:.6g} has {counts.min()} frames, the two darkest of which are the background; "
            f"it needs {_FEWEST_FOR_DARKEST} at least",
        )
