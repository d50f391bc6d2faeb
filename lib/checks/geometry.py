"""The workflow of recon3d-check: which signs, flips and tilt frame of the geometry fit a scan.

Every combination is tried on a coarse volume: reconstructed from some of the omegas and judged by how well
it predicts others that it has not seen. Each gets its own centre of rotation and its own volume, a ball
about the grain's centre of mass, so that none suffers from another's; no hull is used. The ranks share
the combinations. Half of them need no work: a sample mirrored in its centre has the image turned by
180 degrees at every omega, so that flips of opposite sign fit exactly alike.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import chain

import numpy as np
from numpy.typing import NDArray

from ..initfile.parameters import Parameters
from ..mlem import coarse
from ..mlem.coarse import CoarseScan, Trial
from ..mlem.expectation import Model
from ..mlem.maps import Maps
from ..parallel.communicator import Comm, check_alarm, together
from ..parallel.messages import broadcast, collect_everywhere
from ..parallel.partition import block
from ..parallel.progress import Progress
from ..physics.geometry import voxel_axis
from ..physics.tilts import USUAL_STEPS, Resolution
from ..scan import warmup as scan_warmup
from ..scan.align import fit_center
from ..scan.box import seen_from_image
from ..scan.look import Spots, look
from ..scan.measurement import Measurement
from ..scan.setting import Setting, prepare, work_out
from ..scan.warmup import compile_once
from . import warmup

Array = NDArray[np.float64]

_HALF_OF_FLIPS = ((1, 0, 0, 1), (1, 0, 0, -1), (0, 1, 1, 0), (0, 1, -1, 0))
FLIPS = _HALF_OF_FLIPS + tuple((-a, -b, -c, -d) for a, b, c, d in _HALF_OF_FLIPS)
COARSE = {"n_omega": 36, "n_pixels": 32, "n_tilts": 4}  # at most; a trial then takes 0.1 s
_HELD_OUT = 3  # every third omega judges
_ITERATIONS, _SUBSETS = 3, 6  # of a trial, few for speed
_SIGMA = 3.0  # of the difference of two misfits, below which they count as equal
_SAME = 0.01  # relative difference of two misfits that coarse voxels alone can make
_LONGEST_TABLE = 8  # lines


@dataclass(frozen=True)
class Candidate:
    """One way to read the scan."""

    omega_sign: int
    flip: tuple[int, int, int, int]
    tilt_frame: str

    def of(self, params: Parameters) -> Parameters:
        """The init file with this geometry."""
        o11, o12, o21, o22 = self.flip
        return replace(
            params,
            omega_sign=self.omega_sign,
            o11=o11,
            o12=o12,
            o21=o21,
            o22=o22,
            tilt_frame=self.tilt_frame,
        )

    def changes(self, other: Candidate) -> int:
        """In how many of sign, flip and frame two candidates differ."""
        return sum(
            (
                self.omega_sign != other.omega_sign,
                self.flip != other.flip,
                self.tilt_frame != other.tilt_frame,
            )
        )

    def __str__(self) -> str:
        flip = " ".join(f"{o:3d}" for o in self.flip)
        return f"{self.omega_sign:10d}   {flip}   {self.tilt_frame}"


@dataclass(frozen=True, eq=False)
class Verdict:
    """How a candidate fared: its misfit (n,) at each omega that judged, and its projections (n, 2, 3).

    Omegas at which too little was measured to judge do not: the same ones for every candidate.
    """

    candidate: Candidate
    misfits: Array
    matrix: Array

    @property
    def misfit(self) -> float:
        """Mean of the misfits: 1 where only the photons' noise is left."""
        return float(self.misfits.mean()) if self.misfits.size else np.inf


def run(params: Parameters, comm: Comm, *, quiet: bool = False) -> list[str]:
    """Try every candidate; returns the lines to print, on every rank."""
    prepared: Setting | None = None
    with together(comm):
        if comm.rank == 0:
            prepared = prepare(params)
    setting: Setting = broadcast(comm, prepared)  # type: ignore[assignment]
    calls = chain(scan_warmup.small_calls(setting), warmup.small_calls(setting))
    compile_once(calls, comm, quiet=quiet)
    spots, _ = look(setting, comm, quiet=quiet)
    scan = coarse.load(setting.measurement, setting.dark, comm, **COARSE, everywhere=True)
    judged = judge_all(setting, candidates(setting.measurement), spots, scan, comm, quiet)
    ranked = sorted((v for verdict in judged for v in (verdict, mirrored(verdict))), key=lambda v: v.misfit)
    return report(ranked, present_candidate(setting))


def judge_all(
    setting: Setting,
    everyone: list[Candidate],
    spots: Spots | None,
    scan: CoarseScan,
    comm: Comm,
    quiet: bool,
) -> list[Verdict]:
    """The verdicts on some candidates, which the ranks share, on every rank."""
    mine = block(len(everyone), comm.size, comm.rank)
    verdicts: list[Verdict] = []
    show = comm.rank == 0 and not quiet
    with (
        together(comm),
        Progress("geometries", len(mine), "tried", overall=len(everyone), visible=show) as progress,
    ):
        for k in mine:
            verdicts.append(judge(setting, everyone[k], spots, scan))
            progress.advance()
            check_alarm(comm)
    return [verdict for part in collect_everywhere(comm, verdicts) for verdict in part]


def candidates(measurement: Measurement) -> list[Candidate]:
    """All combinations but the mirrored ones; the lab frame only where both tilts were scanned."""
    frames = ("sample", "lab") if 1 not in measurement.scan.shape[:2] else ("sample",)
    return [Candidate(sign, flip, frame) for frame in frames for sign in (1, -1) for flip in _HALF_OF_FLIPS]


def mirrored(verdict: Verdict) -> Verdict:
    """The verdict on the opposite flip."""
    a, b, c, d = verdict.candidate.flip
    return replace(
        verdict, candidate=replace(verdict.candidate, flip=(-a, -b, -c, -d)), matrix=-verdict.matrix
    )


def present_candidate(setting: Setting) -> Candidate:
    """The geometry of the init file."""
    params = setting.params
    return Candidate(
        params.omega_sign, (params.o11, params.o12, params.o21, params.o22), setting.measurement.tilt_frame
    )


def judge(setting: Setting, candidate: Candidate, spots: Spots | None, scan: CoarseScan) -> Verdict:
    """Reconstruct from two thirds of the coarse omegas and predict the others.

    The centre is fitted to the spots; without them it stays, like the drift, that of the setting.
    """
    params, whole = candidate.of(setting.params), setting.measurement.scan
    own = work_out(params, whole, setting.threshold, setting.dark_pixel)
    if spots is None:
        projector = own.projector.moved(setting.projector.center_px, setting.drift_px)
        own = replace(own, projector=projector, alignment=setting.alignment)
    elif setting.params.detector_center in (None, "auto", ()):
        own = fit_center(own, spots)
    trial = Trial(
        own.measurement, scan, _ball(own, scan.factor), scan.views(own.projector.views), all_pixels=True
    )
    model, grid = trial.model(_resolution(own, scan))
    unseen = np.arange(len(model.views)) % _HELD_OUT == _HELD_OUT - 1
    seen = replace(model, views=[view for view, out in zip(model.views, unseen, strict=True) if not out])
    maps = coarse.maximise(seen, grid, _ITERATIONS, _SUBSETS)
    misfits = np.array([_misfit(model, k, maps) for k in np.flatnonzero(unseen).tolist()])
    return Verdict(candidate, misfits[np.isfinite(misfits)], own.projector.views.matrix)


def _misfit(model: Model, k: int, maps: Maps) -> float:
    """Mean square of the difference of the roots of counts and prediction, whose variance is 1/4.

    Of what was measured; NaN where nothing was.
    """
    view = model.views[k]
    least = model.dark.variance + 0.375
    expected = model.dark.stored(model.project(view, maps)[0][:, view.measured])
    counts = np.maximum(view.counts()[:, view.measured] + least, 0.0)
    squares = (np.sqrt(counts) - np.sqrt(expected + least)) ** 2
    known = squares[np.isfinite(squares)]
    return float(4.0 * np.mean(known, dtype=np.float64)) if known.size else np.nan


def _ball(setting: Setting, factor: int) -> Array:
    """Coarse voxels (n, 3) where the grain is; those of the init file's volume if that is not known."""
    cell = factor / setting.params.M
    found = setting.alignment
    if found is None and setting.params.has_volume:
        middle = np.array(setting.params.grain_pos)
        half = np.array(setting.params.grain_dim) / 2
    elif found is None:
        low, high = seen_from_image(setting)
        middle, half = (low + high) / 2, (high - low) / 2
    else:
        middle, half = np.array(found.grain_um), np.full(3, found.reach_um + cell / 2)
    counts = np.maximum(1, np.ceil(2.0 * half / cell).astype(int))
    axes = [voxel_axis(m, n * cell, int(n)) for m, n in zip(middle, counts, strict=True)]
    xyz = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, 3)
    if found is None:
        return xyz
    return xyz[np.linalg.norm(xyz - middle, axis=1) <= half[0]]


def _resolution(setting: Setting, scan: CoarseScan) -> Resolution:
    """The widths of the init file, or a guess; at least what putting tilts together makes of them."""
    params = setting.params
    widths = []
    for i, (width, axis) in enumerate(
        zip((params.rock_width, params.roll_width), scan.axes_deg, strict=True)
    ):
        scanned = setting.measurement.relative_axes_deg()[i]
        step = float(np.ptp(scanned)) / (scanned.size - 1) if scanned.size > 1 else 1.0
        small = float(np.ptp(axis)) / (axis.size - 1) if axis.size > 1 else step
        known = USUAL_STEPS[i] * step if width is None else width
        widths.append(float(np.hypot(known, small - step)) if known else 0.0)
    return Resolution(widths[0], widths[1]) if all(widths) else Resolution(0.0, 0.0)


def equal(first: Verdict, second: Verdict) -> bool:
    """Whether two misfits differ by less than the noise of the comparison."""
    difference = first.misfits - second.misfits
    if not difference.size:
        return True
    noise = float(difference.std()) / np.sqrt(max(difference.size - 1, 1))
    return abs(float(difference.mean())) < max(_SIGMA * noise, _SAME * min(first.misfit, second.misfit))


def relation(first: Verdict, second: Verdict) -> str:
    """What the grain of the second candidate is to that of the first, where their shapes fit equally.

    Exact where one's projections are the other's of a turned or mirrored sample.
    """
    mine, other = (v.matrix.reshape(-1, 3) for v in (first, second))
    change = np.linalg.lstsq(other, mine, rcond=None)[0]
    if np.linalg.norm(other @ change - mine) > 0.02 * np.linalg.norm(mine):
        return "another shape that this scan does not rule out"
    if np.allclose(change, np.eye(3), atol=0.02):
        return "the same shape, with other orientations"
    return "the mirror image of the same grain" if np.linalg.det(change) < 0 else "the same grain, turned"


def report(ranked: list[Verdict], present: Candidate) -> list[str]:
    """The table, what cannot be told apart, and the lines for the init file."""
    best = ranked[0]
    tied = [verdict for verdict in ranked if equal(best, verdict)]
    ranked = tied + [verdict for verdict in ranked if verdict not in tied]
    chosen = min((v.candidate for v in tied), key=lambda c: (c.changes(present), FLIPS.index(c.flip)))
    lines = [" misfit   omega_sign   o11 o12 o21 o22   tilt_frame"]
    for place, verdict in enumerate(ranked):
        notes = ["fits best"] * (place < len(tied)) + ["as in the init file"] * (verdict.candidate == present)
        if place < max(_LONGEST_TABLE, len(tied)) or verdict.candidate == present:
            lines.append(f"{verdict.misfit:7.3f} {verdict.candidate}".ljust(56) + ", ".join(notes))
    lines += ["", *_words(tied, chosen, len(ranked)), ""]
    lines += [f"omega_sign  {chosen.omega_sign}"]
    lines += [f"{name}  {o}" for name, o in zip(("o11", "o12", "o21", "o22"), chosen.flip, strict=True)]
    lines += [f"tilt_frame  {chosen.tilt_frame}"]
    return lines


def _words(tied: list[Verdict], chosen: Candidate, n_tried: int) -> list[str]:
    """Which candidates the scan cannot tell apart, and what to do about it."""
    if len(tied) == 1:
        return ["One geometry fits better than all others. Lines for the init file:"]
    if len(tied) == n_tried:
        return ["The scan does not tell the geometries apart at all. Lines as they are:"]
    base = next(verdict for verdict in tied if verdict.candidate == chosen)
    lines = [
        f"{len(tied)} geometries fit equally well, this scan cannot tell them apart. Beside the lines below:"
    ]
    for verdict in tied:
        if verdict is not base:
            flip = " ".join(str(o) for o in verdict.candidate.flip)
            lines.append(
                f"  omega_sign {verdict.candidate.omega_sign}, o11 .. o22 = {flip}, tilt_frame "
                f"{verdict.candidate.tilt_frame}: {relation(base, verdict)}"
            )
    return [*lines, "Known directions of the motors and the camera settle it. Lines for the init file:"]
