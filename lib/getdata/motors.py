"""Which motor is which: set-ups, roles, and where they sit.

Pure functions of arrays with one value per frame, in degrees, in the order of the frames.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from ..errors import Recon3DError
from ..physics.scan_types import guess_scan
from .gamma import decode_gamma, gamma_zeros
from .motor_table import Values, moves, moving_motors

GAMMA = "gamma"  # pseudo-motor of the 2017 set-up, made of phi and chi
NONE = "none"  # in the place of a motor: nothing was scanned, the axis has one position
OTHER_TILTS = ("phi", "chi", "samrz", "samry")  # stand still when mu alone is scanned
ROLES = ("tilt1", "tilt2", "omega")


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
        return all(moves(motors[m]) for m in required(setup)) and not (
            alone and any(moves(motors[m]) for m in OTHER_TILTS if m in motors)
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
