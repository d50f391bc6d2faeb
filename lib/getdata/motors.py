"""Which motor is which: set-ups, roles, the gamma pseudo-motor, read-back values to positions.

Pure functions of arrays with one value per frame, in degrees, in the order of the frames.
"""

from __future__ import annotations

import math
from array import array
from collections.abc import Mapping
from dataclasses import dataclass, replace
from itertools import product

import numpy as np
from numpy.typing import NDArray

from ..errors import Recon3DError
from ..physics.scan_types import guess_scan

Values = NDArray[np.float64]

GAMMA = "gamma"  # pseudo-motor of the 2017 set-up, made of phi and chi
NONE = "none"  # in the place of a motor: nothing was scanned, the axis has one position
OTHER_TILTS = ("phi", "chi", "samrz", "samry")  # stand still when mu alone is scanned
ROLES = ("tilt1", "tilt2", "omega")
_STANDS_STILL_DEG = 1e-3  # a motor whose read-back varies by less than this has not been scanned
_NEARLY_STILL_DEG = 0.02
_MOST_OWN_POSITIONS = 0.75  # of the frames, on an axis that is not the only one scanned
_NOISE_FLOOR_DEG = 1e-6  # differences below this are digits of the header, not of the motor


@dataclass(frozen=True)
class Setup:
    """Motor names of the three roles, and the frame in which the tilts turn.

    strain is the one of the motors, if any, that moves the arm of 2theta.
    """

    name: str
    tilt1: str
    tilt2: str
    omega: str
    tilt_frame: str
    strain: str | None = None

    @property
    def motors(self) -> tuple[str, ...]:
        """The motors that must be in the header."""
        named = [self.tilt1, *(("phi", "chi") if self.tilt2 == GAMMA else (self.tilt2,)), self.omega]
        return tuple(name for name in named if name != NONE)

    @property
    def roles(self) -> dict[str, str]:
        """What each axis of the array is: phi_up, phi_lo, mu, gamma, 2theta or none."""
        usual = ("phi_up", "phi_lo") if self.tilt_frame == "sample" else ("mu", "gamma")
        names = {self.strain: "2theta", NONE: NONE}
        tilts = [names.get(motor, name) for motor, name in zip((self.tilt1, self.tilt2), usual, strict=True)]
        return {"tilt1": tilts[0], "tilt2": tilts[1], "omega": "omega"}

    def scan(self, n_tilt1: int, n_tilt2: int) -> str:
        """What was scanned, with so many positions of the tilts."""
        if self.strain is None:
            return guess_scan(n_tilt1, n_tilt2)
        return "rocking_strain" if n_tilt1 > 1 and n_tilt2 > 1 else "strain"


SETUPS = (
    Setup("id06-2016", "samrz", "samry", "diffrx", "sample"),
    Setup("id06-2016", "phi", "chi", "diffrx", "sample"),
    Setup("id06-2017", "diffrz", GAMMA, "diffry", "lab"),
    Setup("id06-2017", "diffrz", NONE, "diffry", "lab"),
    Setup("simulated", "phi_upper", "phi_lower", "Omega", "sample"),
)


@dataclass(frozen=True)
class RoleOptions:
    """What the user says of the motors; None leaves the choice to the set-up."""

    setup: str = "auto"
    tilt1: str | None = None
    tilt2: str | None = None
    omega: str | None = None
    tilt_frame: str | None = None
    phi0_deg: float | None = None
    chi0_deg: float | None = None
    strain: str | None = None


@dataclass(frozen=True)
class Roles:
    """The three scanned angles of every frame (n_frames,), and how they were found."""

    setup: Setup
    tilt1: Values
    tilt2: Values
    omega: Values
    phi0_deg: float | None
    chi0_deg: float | None
    explanation: str


def assign_roles(motors: Mapping[str, Values], options: RoleOptions, *, allow_gaps: bool = False) -> Roles:
    """Find the scanned angles among the motors. Raises Recon3DError that lists what does move.

    With `allow_gaps`, frames without a number for a motor are no error; their angles are NaN.
    """
    setup, explanation = _choose_setup(motors, _with_strain(options))
    still = np.zeros(next(iter(motors.values())).size) if motors else np.zeros(0)
    motors = {NONE: still, **motors}
    for role in ROLES:
        name = getattr(setup, role)
        for motor in ("phi", "chi") if name == GAMMA else (name,):
            if motor not in motors:
                raise Recon3DError(
                    f"--{role} {motor}", f"no such motor in the headers; {moving_motors(motors)}"
                )
            n_known = np.count_nonzero(np.isfinite(motors[motor]))
            if n_known == 0 or (n_known < motors[motor].size and not allow_gaps):
                n_bad = int(np.count_nonzero(~np.isfinite(motors[motor])))
                raise Recon3DError(f"--{role} {motor}", f"{n_bad} frames have no number for this motor")
    omega = motors[setup.omega]
    if setup.tilt2 != GAMMA:
        return Roles(setup, motors[setup.tilt1], motors[setup.tilt2], omega, None, None, explanation)
    phi, chi = motors["phi"], motors["chi"]
    phi0, chi0 = gamma_zeros(phi, chi, omega)
    phi0 = phi0 if options.phi0_deg is None else options.phi0_deg
    chi0 = chi0 if options.chi0_deg is None else options.chi0_deg
    gamma = decode_gamma(phi, chi, omega, phi0, chi0)
    explanation += f"; gamma from phi and chi about phi0 = {phi0:.6g}, chi0 = {chi0:.6g}"
    return Roles(setup, motors[setup.tilt1], gamma, omega, phi0, chi0, explanation)


def _with_strain(options: RoleOptions) -> RoleOptions:
    """The arm of 2theta takes the place of tilt1, or of tilt2 where a motor is named for tilt1."""
    if options.strain is None:
        return options
    if options.tilt1 in (None, NONE):
        if options.tilt2 not in (None, NONE):
            raise Recon3DError(
                f"--strain {options.strain}",
                f"leaves no place for --tilt2 {options.tilt2}; name a rocking motor with --tilt1",
            )
        return replace(options, tilt1=options.strain, tilt2=NONE)
    if options.tilt2 not in (None, NONE):
        raise Recon3DError(
            f"--strain {options.strain}",
            "the array has two axes for tilt1, tilt2 and 2theta; leave out --tilt2",
        )
    return replace(options, tilt2=options.strain)


def _choose_setup(motors: Mapping[str, Values], options: RoleOptions) -> tuple[Setup, str]:
    named = {role: getattr(options, role) for role in ROLES if getattr(options, role) is not None}
    frame = options.tilt_frame
    if named.get("tilt2") in (NONE, options.strain or NONE):
        frame = frame or "lab"  # a rocking motor alone is the one below omega
    if len(named) == 3:
        usual = "lab" if named["tilt2"] == GAMMA else "sample"
        return Setup("custom", **named, tilt_frame=frame or usual, strain=options.strain), "motors as given"
    chosen, why = _preset(motors, options.setup, ignored=named)
    overrides = {**named, **({"tilt_frame": frame} if frame else {})}
    if overrides:
        why += " with " + ", ".join(f"{key} {value}" for key, value in overrides.items())
    fields = {"tilt1": chosen.tilt1, "tilt2": chosen.tilt2, "omega": chosen.omega}
    found = {"tilt_frame": chosen.tilt_frame, **fields, **overrides}
    return Setup(chosen.name, **found, strain=options.strain), why


def _preset(motors: Mapping[str, Values], name: str, ignored: Mapping[str, str]) -> tuple[Setup, str]:
    """The first set-up of that name (any for auto) whose motors exist and move."""
    candidates = [s for s in SETUPS if name in ("auto", s.name)]

    def required(setup: Setup) -> list[str]:
        skipped = {getattr(setup, role) for role in ignored}
        return [
            m for m in setup.motors if m not in skipped and not (m in ("phi", "chi") and GAMMA in skipped)
        ]

    def fits(setup: Setup) -> bool:
        alone = setup.tilt2 == NONE and "tilt2" not in ignored
        return all(_moves(motors[m]) for m in required(setup)) and not (
            alone and any(_moves(motors[m]) for m in OTHER_TILTS if m in motors)
        )

    present = [s for s in candidates if all(m in motors for m in required(s))]
    moving = [s for s in present if fits(s)]
    if moving or (present and name != "auto"):
        chosen = (moving or present)[0]
        return chosen, f"set-up {chosen.name} ({chosen.tilt1}, {chosen.tilt2}, {chosen.omega})"
    tried = "; ".join(f"{s.name} needs {', '.join(required(s))}" for s in candidates)
    raise Recon3DError(
        f"--setup {name}",
        f"no known set-up fits the headers ({tried}); {moving_motors(motors)}; "
        "name them with --tilt1, --tilt2 and --omega",
    )


def _moves(values: Values) -> bool:
    known = values[np.isfinite(values)]
    return bool(known.size and np.ptp(known) > _STANDS_STILL_DEG)


class MotorTable:
    """Positions of the motors, one value per frame, kept compactly; NaN where a frame does not know it."""

    def __init__(self) -> None:
        self._parts: list[tuple[tuple[str, ...], array[float]]] = []  # frames that name the same motors

    def add(self, motors: Mapping[str, float]) -> None:
        """Append the motors of one more frame, one at least."""
        names = tuple(motors)
        if not self._parts or self._parts[-1][0] != names:
            self._parts.append((names, array("d")))
        self._parts[-1][1].extend(motors.values())

    def arrays(self) -> dict[str, Values]:
        """The table as arrays (n_frames,)."""
        parts = [(names, np.array(values).reshape(-1, len(names))) for names, values in self._parts]
        return concatenate_tables([dict(zip(names, v.T, strict=True)) for names, v in parts])


def concatenate_tables(tables: list[dict[str, Values]]) -> dict[str, Values]:
    """Tables of consecutive frames as one, with NaN for the motors that one of them does not know."""
    sizes = [next(iter(table.values())).size if table else 0 for table in tables]
    names = dict.fromkeys(name for table in tables for name in table)
    return {
        name: np.concatenate(
            [table.get(name, np.full(n, math.nan)) for table, n in zip(tables, sizes, strict=True)]
        )
        for name in names
    }


def moving_motors(motors: Mapping[str, Values], most: int = 12) -> str:
    """A phrase that lists the motors that move, with their ranges."""
    moving = [name for name, values in motors.items() if np.isfinite(values).all() and _moves(values)]
    if not moving:
        return "no motor moves"
    ranges = [f"{name} {motors[name].min():.6g}..{motors[name].max():.6g}" for name in moving[:most]]
    more = f" and {len(moving) - most} more" if len(moving) > most else ""
    return f"motors that move: {', '.join(ranges)}{more}"


def decode_gamma(phi: Values, chi: Values, omega: Values, phi0: float, chi0: float) -> Values:
    """Roll gamma, fixed in the lab, that phi = phi0 + gamma cos w, chi = chi0 + gamma sin w / cos chi0 make.

    Uses both motors and never divides by cos w, so it is exact at omega = 90. All in degrees.
    """
    w = np.radians(omega)
    return (phi - phi0) * np.cos(w) + (chi - chi0) * np.cos(np.radians(chi0)) * np.sin(w)


def gamma_zeros(phi: Values, chi: Values, omega: Values) -> tuple[float, float]:
    """phi0 and chi0 of the gamma pseudo-motor, from the frames themselves.

    At each omega the points (phi, chi cos chi0) lie on a line of direction (cos w, sin w) through the
    zeros, so (phi - phi0) sin w = (chi - chi0) cos chi0 cos w: linear in the zeros, by least squares.
    Where omega spans too little to fix them, the nearest point to the middle of the ranges is taken.
    """
    known = np.isfinite(phi) & np.isfinite(chi) & np.isfinite(omega)
    phi, chi, w = phi[known], chi[known], np.radians(omega[known])
    if not known.any():
        return math.nan, math.nan
    middle = np.array([(phi.min() + phi.max()) / 2, (chi.min() + chi.max()) / 2])
    zeros = middle.copy()
    for _ in range(5):  # cos chi0 hardly changes
        scale = np.cos(np.radians(zeros[1]))
        rows = np.column_stack([np.sin(w), -scale * np.cos(w)])
        offsets = (phi - middle[0]) * np.sin(w) - (chi - middle[1]) * scale * np.cos(w)
        zeros = middle + np.linalg.lstsq(rows, offsets, rcond=1e-3)[0]
    return float(zeros[0]), float(zeros[1])


@dataclass(frozen=True)
class Axis:
    """Positions of one scanned angle, ascending (n,), and the position of each frame (n_frames,)."""

    positions: Values
    index: NDArray[np.int64]


def _axis_from_cuts(values: Values, order: NDArray[np.int64], cuts: NDArray[np.int64]) -> Axis:
    """Group sorted values at the cuts; a position is the mean of its read-back values."""
    index = np.empty(values.size, dtype=np.int64)
    index[order] = np.searchsorted(cuts, np.arange(values.size), side="right")
    ordered = values[order]
    first, last = np.append(0, cuts), np.append(cuts, values.size) - 1
    means = np.add.reduceat(ordered, first) / (last - first + 1)
    return Axis(np.where(ordered[first] == ordered[last], ordered[first], means), index)


def _candidates(values: Values, most: int = 10) -> list[tuple[float, Axis]]:
    """Ways to group read-back values by gaps, each with how much the gaps it cuts exceed the others."""
    one = Axis(np.array([values.mean()]), np.zeros(values.size, dtype=np.int64))
    if not _moves(values):
        return [(0.0, one)]
    order = np.argsort(values, kind="stable")
    ordered = values[order]
    gaps = np.diff(ordered)
    by_size = np.argsort(-gaps, kind="stable")
    sizes = np.append(np.maximum(gaps[by_size], _NOISE_FLOOR_DEG), _NOISE_FLOOR_DEG)
    n_real = int(np.count_nonzero(gaps > _NOISE_FLOOR_DEG))
    found = []
    ratios = np.log10(sizes[:-1] / sizes[1:])[:n_real]
    for n_cuts in np.argsort(-ratios, kind="stable")[: 3 * most] + 1:
        cuts = np.sort(by_size[:n_cuts]) + 1
        widths = ordered[np.append(cuts, values.size) - 1] - ordered[np.append(0, cuts)]
        axis = _axis_from_cuts(values, order, cuts)
        pitch = np.diff(axis.positions)
        room = np.minimum(np.append(np.inf, pitch), np.append(pitch, np.inf))
        if (widths <= 0.75 * room).all():
            found.append((float(ratios[n_cuts - 1]), axis))
    return [*sorted(found, key=lambda item: -item[0])[:most], (0.0, one)]


def group_axes(values: tuple[Values, Values, Values], tolerance_deg: float | None = None) -> list[Axis]:
    """Positions of tilt1, tilt2 and omega from read-back values with jitter, missing and unequal steps.

    Values are grouped by gaps: of the groupings that the gaps of each angle suggest, the three are
    taken that together give every frame a place of its own on the fullest grid of the fewest
    positions. Only where the two others stand still may nearly every frame have a position of its own
    on one axis: else any motor that drifts would do. With a tolerance, gaps above it separate positions
    and that is all.
    """
    if tolerance_deg is not None:
        return [_group_by_tolerance(v, tolerance_deg) for v in values]
    n_frames = values[0].size

    def score(n_taken: int, sizes: list[int], ratios: list[float]) -> float:
        full, shared = n_taken / math.prod(sizes), (n_frames - n_taken) / n_frames
        return full - shared - 0.3 * sum(sizes) / n_frames + 0.05 * sum(min(r, 3.0) for r in ratios)

    ranges = np.array([np.ptp(v) for v in values])
    alone = [bool((np.delete(ranges, i) < _NEARLY_STILL_DEG).all()) for i in range(3)]
    best: tuple[float, tuple[Axis, ...]] | None = None
    for combination in product(*(_candidates(v) for v in values)):
        axes = tuple(axis for _, axis in combination)
        sizes = [axis.positions.size for axis in axes]
        ratios = [ratio for ratio, _ in combination]
        if any(n > _MOST_OWN_POSITIONS * n_frames and not a for n, a in zip(sizes, alone, strict=True)):
            continue
        if best is not None and score(min(n_frames, math.prod(sizes)), sizes, ratios) <= best[0]:
            continue  # not even if every frame had a place of its own
        reached = score(np.unique(_cell_numbers(axes)).size, sizes, ratios)
        if best is None or reached > best[0]:
            best = reached, axes
    assert best is not None  # noqa: S101 - every angle has the candidate "one position"
    return list(best[1])


def _group_by_tolerance(values: Values, tolerance_deg: float) -> Axis:
    order = np.argsort(values, kind="stable")
    return _axis_from_cuts(values, order, np.flatnonzero(np.diff(values[order]) > tolerance_deg) + 1)


def _cell_numbers(axes: tuple[Axis, ...] | list[Axis]) -> NDArray[np.int64]:
    """The number of each frame's place on the grid, in C order."""
    shape = tuple(axis.positions.size for axis in axes)
    return np.ravel_multi_index(tuple(axis.index for axis in axes), shape).astype(np.int64)


@dataclass(frozen=True)
class Grid:
    """The scan as a grid: three axes, and for each measured cell the frames that claim it."""

    axes: tuple[Axis, Axis, Axis]
    cells: dict[int, list[int]]

    @property
    def shape(self) -> tuple[int, int, int]:
        """(n_tilt1, n_tilt2, n_omega)."""
        a, b, c = (axis.positions.size for axis in self.axes)
        return a, b, c


def build_grid(roles: Roles, tolerance_deg: float | None) -> Grid:
    """Place every frame; raises Recon3DError where less than half of the grid is measured."""
    tilt1, tilt2, omega = group_axes((roles.tilt1, roles.tilt2, roles.omega), tolerance_deg)
    axes = (tilt1, tilt2, omega)
    cells: dict[int, list[int]] = {}
    for frame, cell in enumerate(_cell_numbers(axes).tolist()):
        cells.setdefault(cell, []).append(frame)
    grid = Grid(axes, cells)
    n_cells = int(np.prod(grid.shape))
    if len(cells) * 2 < n_cells:
        sizes = " x ".join(str(n) for n in grid.shape)
        motors = ", ".join(f"{role} {getattr(roles.setup, role)}" for role in ROLES)
        finest = max(zip(grid.shape, ROLES, strict=True))[1]
        raise Recon3DError(
            f"--{finest} {getattr(roles.setup, finest)}",
            f"only {len(cells)} of {sizes} positions ({motors}) are measured, less than half; the wrong "
            f"motor for a role, or a --tolerance that is too small, splits {finest} into too many positions",
        )
    return grid
