"""Several frames at one position: which of them count, and which entry repeats which."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from ..errors import Recon3DError
from ..scan import store
from .grid import Grid
from .motors import Roles
from .places import why_shared

_ADVICE = "choose --duplicates first, last or mean, or check the motors and --tolerance"


def choose_duplicates(
    grid: Grid,
    cells: NDArray[np.int64],
    roles: Roles,
    policy: str,
    labels: Sequence[str],
    name_of: Callable[[int], str],
) -> tuple[list[list[int]], list[str]]:
    """The frames of each cell that count, all of them for the mean; and warnings that name the re-takes.

    labels name the entries of the frames, empty for EDF files; name_of names a frame.
    """
    doubles = [cell for cell in cells.tolist() if len(grid.cells[cell]) > 1]
    if doubles and policy == "error":
        raise _error(grid, doubles, roles, labels, name_of)
    part = {"first": slice(0, 1), "last": slice(-1, None)}.get(policy, slice(None))
    warnings = [
        f"{again} repeats {first} at {n} positions; --duplicates {policy} decides there"
        for (first, again), n in _retakes(grid, doubles, labels).items()
    ]
    if doubles and (why := why_shared(roles, grid.cells[doubles[0]])):
        warnings.append(f"{len(doubles)} positions have several frames: {why}--duplicates {policy} is right")
    return [grid.cells[cell][part] for cell in cells.tolist()], warnings


def _retakes(grid: Grid, doubles: list[int], labels: Sequence[str]) -> Counter[tuple[str, str]]:
    """How many positions one entry shares with an earlier one."""
    found: Counter[tuple[str, str]] = Counter()
    for cell in doubles:
        first, *others = dict.fromkeys(labels[i] for i in grid.cells[cell])
        found.update((first, other) for other in others if first and other)
    return found


def _error(
    grid: Grid,
    doubles: list[int],
    roles: Roles,
    labels: Sequence[str],
    name_of: Callable[[int], str],
) -> Recon3DError:
    """What to say of frames at one position: the entry that repeats another, else the first two frames."""
    claims = grid.cells[doubles[0]]
    place = np.unravel_index(doubles[0], grid.shape)
    where = ", ".join(
        f"{getattr(roles.setup, role)} {axis.positions[i]:.6g}"
        for role, axis, i in zip(store.AXES, grid.axes, place, strict=True)
    )
    retakes = _retakes(grid, doubles, labels)
    if not retakes:
        first, again = (name_of(i) for i in claims[:2])
        first = first.rpartition("/")[2]
        return Recon3DError(
            again,
            f"is at the same position as {first} ({where}), one of {len(doubles)} such cases; "
            f"{why_shared(roles, claims)}{_ADVICE}",
        )
    ((earlier, later), n), *others = retakes.most_common()
    more = "".join(f"; {b} repeats {a}" for (a, b), _ in others[:4])
    more += f"; and {len(others) - 4} more" if len(others) > 4 else ""
    return Recon3DError(
        later,
        f"repeats {earlier} at {n} positions, such as {where}{more}; take one of the two out of "
        f"dataname, {_ADVICE}",
    )
