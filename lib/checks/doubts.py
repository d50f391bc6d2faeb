"""A quick look beside a reconstruction, whether another sign, flip or tilt frame fits the scan better.

The trials are those of recon3d-check, all with the centre and the volume of the run. A wrong sign can
leave the images summed over the tilts nearly as well explained as the right one, where the grain is
round; the trials take the tilts into account.
"""

from __future__ import annotations

from dataclasses import replace

from ..mlem import coarse
from ..mlem.coarse import CoarseScan
from ..parallel.communicator import Comm
from ..scan.setting import Setting
from .geometry import COARSE, Candidate, Verdict, equal, judge_all, present_candidate

_N_OMEGA = 24  # of a trial, at most: fewer than recon3d-check takes
_LEAST_OMEGAS = 12  # to reconstruct from two thirds of them and judge by the others
_CLEARLY = 1.15  # times the best misfit, at which that of the run is worth a warning


def load(setting: Setting, comm: Comm) -> CoarseScan | None:
    """What the trials look at, on every rank; None where the omegas are too few to judge. Collective."""
    if setting.measurement.n_omega < _LEAST_OMEGAS:
        return None
    size = COARSE | {"n_omega": _N_OMEGA}
    return coarse.load(setting.measurement, setting.dark, comm, **size, everywhere=True)


def try_others(
    setting: Setting, scan: CoarseScan | None, comm: Comm, *, quiet: bool = False
) -> list[Verdict]:
    """The verdict on the geometry of the run, then those on others. Collective; the same on every rank.

    None without a scan to look at.
    """
    if scan is None:
        return []
    return judge_all(setting, _others(setting), None, scan, comm, quiet)


def _others(setting: Setting) -> list[Candidate]:
    """The candidate of the run, and those that differ by signs and frame; mirror images count once."""
    present = present_candidate(setting)
    a, b, c, d = present.flip
    frames = [present.tilt_frame]
    if setting.measurement.scan_type.name == "mosaicity" and 1 not in setting.measurement.scan.shape[:2]:
        frames.append("lab" if present.tilt_frame == "sample" else "sample")
    return [
        replace(present, omega_sign=sign, flip=flip, tilt_frame=frame)
        for frame in frames
        for flip in (present.flip, (a, b, -c, -d))
        for sign in (present.omega_sign, -present.omega_sign)
    ]


def warning(verdicts: list[Verdict]) -> list[str]:
    """A word if another geometry fits clearly better than that of the run, the first one."""
    if not verdicts:
        return []
    present, best = verdicts[0], min(verdicts, key=lambda verdict: verdict.misfit)
    if equal(present, best) or present.misfit < _CLEARLY * best.misfit:
        return []
    return [
        f"the images fit better with {changes(present.candidate, best.candidate)} (misfit {best.misfit:.2g} "
        f"against {present.misfit:.2g} on coarse pixels): omega_sign, a flip o11 .. o22, tilt_frame or mode "
        "is wrong; recon3d-check tries them all"
    ]


def changes(present: Candidate, other: Candidate) -> str:
    """The keys of the init file in which a candidate differs from the present one, with its values."""
    values = zip(("o11", "o12", "o21", "o22"), present.flip, other.flip, strict=True)
    words = [f"{name} {there}" for name, here, there in values if here != there]
    words += [
        f"{name} {getattr(other, name)}"
        for name in ("omega_sign", "tilt_frame")
        if getattr(present, name) != getattr(other, name)
    ]
    return ", ".join(words) or "as in the init file"
