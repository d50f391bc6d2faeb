"""Scan types: what is scanned, what is unknown, and the response K_w that relates the two.

One forward model serves them all, I[t, w, u] = sum_s K_w[t, s] sum_v P_w[u, v] f[v, s]: a voxel v holds
f[v, s] of each state s and is seen at the scanned positions t = (tilt1, tilt2) of the array. Positions and
states need not lie on the same axes:

    scan       tilt frame  tilt1, tilt2   state s         seen where, on the scanned axes
    mosaicity  sample      phi_up, phi_lo a, b            tilt1 = a, tilt2 = b
    mosaicity  lab         mu, gamma      a, b            both turned by omega (`tilts.sample_to_lab_tilts`)
    rocking    lab         mu, none       a, b            mu = a cos w + b sin w (vertical: minus)
    rocking    sample      phi_up, none   a               tilt1 = a; b makes no difference
    strain     either      2theta, none   two_theta       2theta = two_theta, whatever the orientation
                           none, 2theta

each blurred by the instrument's resolution. A scan of mu and 2theta together (`rocking_strain`) is a
rocking scan in its counts summed over 2theta and a strain scan in those summed over mu; a sum of
counts is Poisson like its parts. Tilts are relative to tilt_zero, in any one unit; omega is in radians.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
from numpy.typing import NDArray

from ..errors import Recon3DError
from . import tilts
from .tilts import OrientationGrid, Resolution, sample_to_lab_tilts

Array = NDArray[np.float64]
Axes = tuple[Array, Array]
Response = Callable[[str, Axes, OrientationGrid, Resolution, float], NDArray[np.float32]]

SCANS = ("mosaicity", "rocking", "strain", "rocking_strain")
_ALL_ROUND, _ROCKED, _IN_LINE = 0.006, 0.003, 0.006  # steps by which the grid pulls, found on phantoms
_MISPLACED = {True: 0.055, False: 1.0}  # steps, by whether the resolution turns; found on phantoms
_AS_GOOD_AS_EQUAL = 1.1  # of two widths, the broader over the narrower
_ONE = np.zeros(1)  # the axis of something that is not scanned, or not known


def _own_axes(scanned: Axes) -> Axes:
    return scanned


def _first_twice(scanned: Axes) -> Axes:
    return scanned[0], scanned[0]


def _first(scanned: Axes) -> Axes:
    return scanned[0], _ONE


def _longer(scanned: Axes) -> Axes:
    return max(scanned, key=len), _ONE


def _as_turned(
    tilt_frame: str, mode: str, scanned: Axes, grid: OrientationGrid, resolution: Resolution, omega: float
) -> NDArray[np.float32]:
    return tilts.response(tilt_frame, mode, *scanned, grid, resolution, omega)


def _rocking_in_lab(
    mode: str, scanned: Axes, grid: OrientationGrid, resolution: Resolution, omega: float
) -> NDArray[np.float32]:
    """What mu sees of (a, b); the roll stands still, and is accepted within the rolling width."""
    mu, gamma = sample_to_lab_tilts(mode, *grid.pairs(), omega)
    roll = float(scanned[1][0]) - gamma + resolution.roll
    accepted = np.exp(-4.0 * np.log(2.0) * (roll / (resolution.rolling or np.inf)) ** 2)
    return (_profile(scanned[0], mu, resolution) * accepted).astype(np.float32)


def _in_line(
    mode: str, scanned: Axes, grid: OrientationGrid, resolution: Resolution, omega: float
) -> NDArray[np.float32]:
    """What the longer of the scanned axes sees of the first of the unknown, at every omega alike."""
    return _profile(max(scanned, key=len), grid.pairs()[0], resolution).astype(np.float32)


def _profile(positions: Array, at: Array, resolution: Resolution) -> Array:
    """What each position (n,) sees of a peak at each place (m,): (n, m).

    As the resolution accepts it along rocking; width 0 shares a peak between its two neighbours.
    """
    deviation = positions[:, None] - at
    if resolution.rocking == 0.0:
        return tilts.hat(positions, deviation)
    alone = replace(resolution, rolling=np.inf)
    return alone.accepts(deviation, np.zeros(1), (resolution.swept, 0.0))


@dataclass(frozen=True)
class ScanType:
    """A row of the table.

    unknown names the two axes of the state, "" where there is none, and axes_of gives their
    positions from the scanned ones; response is K_w (n_scanned, n_states), rows and columns in C
    order of the axes, from (mode, scanned axes, grid, resolution, omega). widths are the keys of the
    resolution along rocking (or 2theta) and rolling. grid_pull is the error that the positions of the grid
    make, in steps: large where the resolution looks along the same line at every omega. summed_over is
    the axis (0 or 1) of the array whose positions are added up, if any.
    """

    name: str
    tilt_frame: str
    unknown: tuple[str, str]
    axes_of: Callable[[Axes], Axes]
    response: Response
    widths: tuple[str, ...]
    grid_pull: float
    summed_over: int | None = None

    @property
    def turns(self) -> bool:
        """Whether a map of what is scanned can be turned into one of the unknown at each omega alone."""
        return self.name == "mosaicity" and self.tilt_frame == "lab"

    @property
    def of_strain(self) -> bool:
        """Whether the unknown is the scattering angle."""
        return self.unknown[0] == "two_theta"

    @property
    def in_line(self) -> bool:
        """Whether there is one unknown, and the resolution blurs along it at every omega alike."""
        return not self.unknown[1]

    @property
    def one_for_two(self) -> bool:
        """Whether one scanned angle tells of two tilts."""
        return self.name == "rocking" and self.tilt_frame == "lab"

    @property
    def sees_lines(self) -> bool:
        """Whether an omega sees what is unknown along a line only, as one angle is scanned."""
        return self.in_line or self.one_for_two

    def sees_around(self, resolution: Resolution) -> bool:
        """Whether an orientation is seen along different lines at different omegas.

        Its map can then be finer than the steps of the scan. Equal widths do not turn in the sample frame.
        """
        if not self.unknown[1] or resolution.narrow == 0.0:
            return False
        return self.tilt_frame == "lab" or resolution.broad > _AS_GOOD_AS_EQUAL * resolution.narrow

    def pull(self, resolution: Resolution, step: float) -> float:
        """Error in steps that the positions of the grid make.

        What is narrower than a step is hard to place within it: the first harmonic of a Gaussian sampled
        in steps says how much of its place is lost, most of all where the resolution does not turn.
        """
        narrow = resolution.narrow
        if not self.unknown[1] or self.one_for_two or narrow == 0.0:
            return self.grid_pull
        turns = self.sees_around(resolution)
        width = narrow if turns else (narrow * resolution.broad) ** 0.5
        sigma = width / step / (8.0 * np.log(2.0)) ** 0.5
        misplaced = _MISPLACED[turns] * np.exp(-2.0 * (np.pi * sigma) ** 2)
        return float(np.hypot(self.grid_pull, misplaced))

    def two_theta_axis(self, scanned_shape: tuple[int, int]) -> int:
        """The axis of the array along which 2theta runs, in a scan of strain."""
        return int(scanned_shape[1] > 1)

    def grid(self, scanned: Axes, refinement: int) -> OrientationGrid:
        """The states, each step of the scan divided into `refinement` parts."""
        return OrientationGrid.refine(*self.axes_of(scanned), refinement)


def whole_turn(omega: Array) -> bool:
    """Whether rotations (n,) in radians go all the way round, but for two steps at most."""
    span = float(np.ptp(omega))
    return span * (1.0 + 2.0 / max(omega.size - 1, 1)) >= 2.0 * np.pi


_TILTS, _WIDTHS = ("tilt1", "tilt2"), ("rock_width", "roll_width")
_TABLE = (
    ScanType("mosaicity", "sample", _TILTS, _own_axes, partial(_as_turned, "sample"), _WIDTHS, _ALL_ROUND),
    ScanType("mosaicity", "lab", _TILTS, _own_axes, partial(_as_turned, "lab"), _WIDTHS, _ALL_ROUND),
    ScanType("rocking", "lab", _TILTS, _first_twice, _rocking_in_lab, _WIDTHS, _ROCKED),
    ScanType("rocking", "sample", ("tilt1", ""), _first, _in_line, ("rock_width",), _IN_LINE),
    ScanType("strain", "lab", ("two_theta", ""), _longer, _in_line, ("strain_width",), _IN_LINE),
    ScanType("strain", "sample", ("two_theta", ""), _longer, _in_line, ("strain_width",), _IN_LINE),
)


def scan_types(name: str, tilt_frame: str) -> list[ScanType]:
    """The scans that one measurement of this name holds: one, or two for `rocking_strain`."""
    if name == "rocking_strain":
        return [
            replace(_row("rocking", tilt_frame), summed_over=1),
            replace(_row("strain", tilt_frame), summed_over=0),
        ]
    return [_row(name, tilt_frame)]


def _row(name: str, tilt_frame: str) -> ScanType:
    return next(row for row in _TABLE if (row.name, row.tilt_frame) == (name, tilt_frame))


def two_theta_axes(name: str) -> tuple[int, ...]:
    """The axes of the array along which the arm moves and the sample stands still."""
    return {"strain": (0, 1), "rocking_strain": (1,)}.get(name, ())


def guess_scan(n_tilt1: int, n_tilt2: int) -> str:
    """The scan that the sizes of the tilt axes suggest; scans of strain have to be named."""
    return "rocking" if n_tilt1 > 1 and n_tilt2 == 1 else "mosaicity"


def check_scan(name: str, tilt_frame: str, n_tilt1: int, n_tilt2: int) -> None:
    """Raise Recon3DError, naming the key, where the sizes of the tilt axes do not suit the scan."""
    several1, several2 = n_tilt1 > 1, n_tilt2 > 1
    fits, needs = {
        "mosaicity": (
            tilt_frame == "sample" or (several1 and several2),
            "mosaicity in tilt_frame lab needs a scan of both tilts",
        ),
        "rocking": (
            several1 and not several2,
            "rocking needs several positions of tilt1 and one of tilt2",
        ),
        "strain": (several1 != several2, "strain needs 2theta as one of the tilts and nothing as the other"),
        "rocking_strain": (
            several1 and several2,
            "rocking_strain needs the rocking angle as tilt1 and 2theta as tilt2",
        ),
    }[name]
    if not fits:
        raise Recon3DError("scan", f"{needs}; the array has {n_tilt1} x {n_tilt2} positions of tilt1 x tilt2")
