"""What recon3d.py asks of its own result, and the answers in plain words."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..parallel.communicator import Comm
from ..projection.projector import Projector
from ..scan import alignment
from ..scan.gather import Result
from ..scan.setting import Setting
from . import doubts, heldout, parity, projections
from .geometry import Verdict
from .heldout import HeldOut
from .parity import Parity
from .projections import Comparison

Array = NDArray[np.float64]

_CENTER_OFF = 0.5  # binned pixels; 0.1 px on right runs of the phantoms, 1.5 to 2.8 px with a centre 3 px off
_FAR_MISFIT = 3.0  # chi-square per value, which is 1 where the model is right
_NEARLY_ALL = 0.9  # of the voxels of the volume
_WIDTHS = ("rock_width", "roll_width", "strain_width")
_FACTS = (
    "omega_factors",
    "gain",
    "rock_box_deg",
    "rock_box_by_mu",
    "resolution_tails",
    "roll_slope_deg_per_um",
    *(f"{key}_deg" for key in _WIDTHS),
)  # that the projections need
_UNEXPLAINED = 0.4  # 0.25 at most on right runs


@dataclass(frozen=True)
class Checks:
    """The projections of the result beside the images (None: no grain), and other geometries tried.

    How well omegas are told that were left out, and the parity of the scan. Empty where they were not asked
    for or cannot be.
    """

    comparison: Comparison | None = None
    verdicts: list[Verdict] = field(default_factory=list)
    held_out: HeldOut | None = None
    parity: Parity | None = None

    def facts(self) -> dict[str, Any]:
        """For the attributes of the result."""
        found = self.comparison.facts() if self.comparison else {}
        for more in (self.held_out, self.parity):
            found |= more.facts() if more else {}
        return found

    def warnings(self, setting: Setting, result: Result) -> list[str]:
        """What a user should know before trusting the result, in plain words."""
        found = plain_warnings(setting, result) + doubts.warning(self.verdicts)
        if self.comparison is not None:
            found += _center_warning(setting.projector, self.comparison)
            found += _residual_warning(self.comparison)
            found += _omega_warning(setting, self.comparison)
        return found


def check(setting: Setting, result: Result, comm: Comm, *, quiet: bool = False) -> Checks:
    """Project the result and try other geometries. Collective; the result is that of rank 0.

    A quick look asks whether grain, geometry and scan are right, not how well the scan tells them.
    """
    density = result.mask.astype(np.float64)
    if comm.rank == 0 and setting.params.method == "mlem":
        density = result.fields["intensity"]
    comparison = None
    facts = comm.bcast({key: value for key, value in result.facts.items() if key in _FACTS})
    if comm.bcast(bool(result.mask.any())):
        comparison = projections.compare(setting, density, comm, result.fields, facts, quiet=quiet)
    scan = doubts.load(setting, comm)
    held_out = None
    quick = setting.params.quality == "quick"
    if comparison is not None and scan is not None and setting.params.method == "mlem" and not quick:
        held_out = heldout.judge(setting, result.mask, facts, scan, comm)
    verdicts = doubts.try_others(setting, scan, comm, quiet=quiet)
    turned_over = None if quick else parity.judge(setting, comm, facts.get("gain", 1.0))
    return Checks(comparison, verdicts, held_out, turned_over)


def plain_warnings(setting: Setting, result: Result) -> list[str]:
    """What the result says by itself, without its projections."""
    found, (_, mask, facts) = list(setting.warnings), result
    if not mask.any():
        found.append(
            "the grain is empty: no voxel is lit at enough omegas; check M, omega_sign, detector_center, "
            "threshold and completeness_cutoff (recon3d-check tries the geometry)"
        )
    sides = _sides(mask)
    if sides:
        found.append(
            f"the grain touches the edge of the volume at {', '.join(sides)}: part of it may be missing; "
            "make grain_dim larger or move grain_pos"
        )
    if facts.get("hull_share", 0.0) > _NEARLY_ALL:
        found.append(
            f"{100 * facts['hull_share']:.0f} % of the voxels are lit at nearly all omegas, so that none is "
            "ruled out: the grain fills the volume (make grain_dim larger), or light lies under all of the "
            "images (scatter, a background that was not taken off: key background)"
        )
    if not facts.get("resolution_found", True):
        widths = ", ".join(f"{key} {facts[f'{key}_deg']:.3g}" for key in _WIDTHS if f"{key}_deg" in facts)
        found.append(
            f"the scan does not tell the width of the resolution (too few counts, or too short a range of "
            f"tilts): the usual one is taken ({widths} deg); give what the instrument has"
        )
    misfit = float(facts["misfit"][-1]) if len(facts.get("misfit", ())) else 0.0
    if misfit > _FAR_MISFIT and setting.params.quality != "quick":  # whose voxels are too coarse for 1
        found.append(
            f"the misfit ends at {misfit:.1f}, far above 1: the images are not explained; the geometry, the "
            "resolution widths or another grain's light may be the cause"
        )
    return found


def _sides(mask: NDArray[np.bool_]) -> list[str]:
    """Faces of the volume that the grain touches; a volume of one layer has no face across it."""
    sides = []
    for axis, name in enumerate("xyz"):
        if mask.shape[axis] > 1:
            for place, word in ((0, "smallest"), (-1, "largest")):
                if mask.take(place, axis=axis).any():
                    sides.append(f"the {word} {name}")
    return sides


def _center_warning(projector: Projector, found: Comparison) -> list[str]:
    off = found.shift_across_px
    if abs(off) < _CENTER_OFF * max(found.shown[0].bins):
        return []
    center = ",".join(f"{v:.1f}" for v in np.add(projector.center_px, off * np.array(found.across)))
    return [
        f"the images lie {abs(off):.1f} px across the rotation axis from the projections of the result: "
        f"detector_center is off by that or more; try [{center}] or auto"
    ]


def _residual_warning(found: Comparison) -> list[str]:
    if found.usual_residual < np.hypot(_UNEXPLAINED, found.residual_by_noise):
        return []
    return [
        f"the projections of the result leave {100 * found.usual_residual:.0f} % of the images unexplained, "
        "far more than noise: look at detector_center, omega_sign, the flips o11 .. o22, tilt_frame, mode "
        "and M (recon3d-check tries the signs), and whether other grains shine into the images"
    ]


def _omega_warning(setting: Setting, found: Comparison) -> list[str]:
    odd = found.standing_out
    if setting.alignment is not None:  # that has named some already
        odd = odd & ~setting.alignment.surely_out
    if not odd.any():
        return []
    return [
        f"{int(odd.sum())} of {odd.size} omegas stand out by what the projections of the result leave "
        "unexplained, as when another grain passes or the beam drops; look at them, or leave them out with "
        f"omega_exclude {alignment.listed(odd, found.omega_deg)}"
    ]
