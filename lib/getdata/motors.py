"""Which motor is which: set-ups, roles, and where they sit.

Pure functions of arrays with one value per frame, in degrees, in the order of the frames.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from ..errors import Recon3DError
from ..physics.geometry import TILT_FRAMES
from ..physics.scan_types import guess_scan
from .gamma import decode_gamma, gamma_zeros, makes_gamma
from .motor_table import Values, moves, moving_motors

GAMMA = "gamma"  # pseudo-motor of the 2017 set-up, made of phi and chi
NONE = "none"  # in the place of a motor: nothing was scanned, the axis has one position
OTHER_TILTS = ("phi", "chi", "samrz", "samry")  # stand still when mu alone is scanned
ROLES = ("tilt1", "tilt2", "omega")
BELOW_OMEGA = ("mu", "diffrz", "ccmth")  # they carry omega, or turn the beam: fixed in the lab
ABOVE_OMEGA = ("phi", "chi", "samrz", "samry")  # omega turns them: fixed in the sample
_ENDINGS = ("_center", "_cen360", "_trig", "_enc", "enc")  # other readings of the same motor
_NEARLY_STILL_DEG = 0.02


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
    Setup("id03", "mu", GAMMA, "omega", "lab"),
    Setup("id03", "mu", NONE, "omega", "lab"),
    Setup("id03", "mu", GAMMA, "diffrz", "lab"),
    Setup("id03", "mu", NONE, "diffrz", "lab"),
    Setup("id03", "phi", "chi", "omega", "sample"),
    Setup("simulated", "phi_upper", "phi_lower", "Omega", "sample"),
)
USUAL = frozenset(motor for setup in SETUPS for motor in setup.motors)  # of all of them


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
            _check_known(role, motor, motors, allow_gaps=allow_gaps)
    omega = motors[setup.omega]
    if options.tilt_frame is None:
        _check_one_frame(setup, omega)
    if setup.tilt2 != GAMMA:
        return Roles(setup, motors[setup.tilt1], motors[setup.tilt2], omega, None, None, explanation)
    phi, chi = motors["phi"], motors["chi"]
    phi0, chi0 = gamma_zeros(phi, chi, omega)
    phi0 = phi0 if options.phi0_deg is None else options.phi0_deg
    chi0 = chi0 if options.chi0_deg is None else options.chi0_deg
    gamma = decode_gamma(phi, chi, omega, phi0, chi0)
    explanation += f"; gamma from phi and chi about phi0 = {phi0:.6g}, chi0 = {chi0:.6g}"
    return Roles(setup, motors[setup.tilt1], gamma, omega, phi0, chi0, explanation)


def _check_known(role: str, motor: str, motors: Mapping[str, Values], *, allow_gaps: bool) -> None:
    if motor not in motors:
        raise Recon3DError(f"--{role} {motor}", f"no such motor in the headers; {moving_motors(motors)}")
    n_known = np.count_nonzero(np.isfinite(motors[motor]))
    if n_known == 0 or (n_known < motors[motor].size and not allow_gaps):
        n_bad = motors[motor].size - n_known
        raise Recon3DError(f"--{role} {motor}", f"{n_bad} frames have no number for this motor")


def _check_one_frame(setup: Setup, omega: Values) -> None:
    """Two tilts are the axes of one frame only on the same side of omega, once it turns."""
    tilts = [motor for motor in (setup.tilt1, setup.tilt2) if motor != setup.strain]
    below, above = ([m for m in tilts if frame_of(m) == frame] for frame in TILT_FRAMES[::-1])
    known = omega[np.isfinite(omega)]
    if below and above and known.size and np.ptp(known) > _NEARLY_STILL_DEG:
        raise Recon3DError(
            f"--tilt1 {setup.tilt1} --tilt2 {setup.tilt2}",
            f"{below[0]} sits below omega ({setup.omega}) and {above[0]} above it: once omega turns they are "
            "not the two axes of one frame; name two tilts of one side (mu with gamma, which phi and chi "
            "make; or phi with chi), or say with --tilt-frame how they are mounted here",
        )


def frame_of(motor: str) -> str | None:
    """The frame in which a motor turns the sample, by its name: lab, sample, or None for unknown names."""
    for name in (motor, *(motor.removesuffix(end) for end in _ENDINGS)):
        if name in BELOW_OMEGA or name == GAMMA:
            return "lab"
        if name in ABOVE_OMEGA:
            return "sample"
    return None


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
    if len(named) == 3:
        frame = options.tilt_frame or _usual_frame(named["tilt1"], named["tilt2"], options.strain) or "sample"
        return Setup("custom", **named, tilt_frame=frame, strain=options.strain), "motors as given"
    chosen, why = _preset(motors, options.setup, ignored=named)
    fields = {"tilt1": chosen.tilt1, "tilt2": chosen.tilt2, "omega": chosen.omega, **named}
    frame = options.tilt_frame or ""
    if not frame and ("tilt1" in named or "tilt2" in named):
        frame = _usual_frame(fields["tilt1"], fields["tilt2"], options.strain) or ""
    overrides = {**named, **({"tilt_frame": frame} if frame and frame != chosen.tilt_frame else {})}
    if overrides:
        why += " with " + ", ".join(f"{key} {value}" for key, value in overrides.items())
    return Setup(chosen.name, **fields, tilt_frame=frame or chosen.tilt_frame, strain=options.strain), why


def _usual_frame(tilt1: str, tilt2: str, strain: str | None) -> str | None:
    """The frame of tilts that are named by hand; None where their names say nothing."""
    frames = {frame_of(motor) for motor in (tilt1, tilt2) if motor != strain} - {None}
    if len(frames) == 1:
        return frames.pop()
    return "lab" if tilt2 in (NONE, strain) else None  # a rocking motor alone is the one below omega


def _preset(motors: Mapping[str, Values], name: str, ignored: Mapping[str, str]) -> tuple[Setup, str]:
    """The first set-up of that name (any for auto) whose motors exist and move."""
    candidates = [s for s in SETUPS if name in ("auto", s.name)]

    def required(setup: Setup) -> list[str]:
        skipped = {getattr(setup, role) for role in ignored}
        return [
            m for m in setup.motors if m not in skipped and not (m in ("phi", "chi") and GAMMA in skipped)
        ]

    def fits(setup: Setup) -> bool:
        needed = required(setup)
        moving = {m for m in needed if moves(motors[m])}
        both = moving & {"phi", "chi"}
        if setup.tilt2 == GAMMA and both and setup.omega in motors:
            phi, chi, omega = (motors[m] for m in ("phi", "chi", setup.omega))
            as_gamma = makes_gamma(phi, chi, omega)
            if as_gamma and len(both) == 1:  # at 0 and 180 degrees, one of them may stand still
                moving |= {"phi", "chi"}
            if not as_gamma and setup.name == "id03":  # where they are scanned on their own as well
                return False
        others: tuple[str, ...] = OTHER_TILTS if setup.tilt2 == NONE and "tilt2" not in ignored else ()
        if setup.name == "id03" and setup.tilt_frame == "sample":
            others = ("mu",)
        return moving >= {*needed} and not any(moves(motors[m]) for m in others if m in motors)

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
