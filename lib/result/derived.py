"""Fields that follow from the positions of the motors: strain, the rocking curve, misorientation."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from ..backprojection.rocking import polar
from ..parallel.crew import Crew, Job
from ..physics.misorientation import neighbour_misorientation
from ..physics.strain import strain_fields
from ..physics.tilts import sample_to_lab_tilts
from ..scan.measurement import Measurement

Array = NDArray[np.float64]

_LAYERS = 4  # of x in a job


def add_derived(
    measurement: Measurement,
    fields: dict[str, Array],
    mask: NDArray[np.bool_],
    theta_rad: float,
    strain_zero_deg: float | None,
) -> None:
    """Add what a scan of strain says of it, and what rocking curves say of their shape; in place."""
    kind = measurement.scan_type
    if kind.of_strain:
        arm = f"tilt{kind.two_theta_axis(measurement.scanned_shape) + 1}"
        fields |= strain_fields(fields[arm], fields[f"{arm}_std"], mask, theta_rad, strain_zero_deg)
    elif kind.one_for_two:
        a, b = (fields[f"tilt{i + 1}"] - zero for i, zero in enumerate(measurement.tilt_zero_deg))
        fields["rocking_omega0"], fields["rocking_amplitude"] = polar(measurement.mode, a, b)


def take_out_strain(
    measurement: Measurement, fields: dict[str, Array], strain: Array, strain_std: Array, theta_rad: float
) -> None:
    """Take out of the tilts of rocking curves what the strain moves them by; in place.

    Strain moves mu by -tan(theta) strain at every omega, which a fit of mu = a cos w + b sin w takes for a
    part of a and b unless the omegas go all the way round. Where the strain is not known, nothing is done.
    """
    kind, mode = measurement.scan_type, measurement.mode
    if not kind.one_for_two:
        return
    unit = (sample_to_lab_tilts(mode, a, b, measurement.omega_rad)[0] for a, b in ((1.0, 0.0), (0.0, 1.0)))
    share, *_ = np.linalg.lstsq(np.stack(list(unit), axis=1), np.ones(measurement.n_omega), rcond=None)
    deg_per_strain = -float(np.degrees(np.tan(theta_rad)))
    for name, part in zip(("tilt1", "tilt2"), (share * deg_per_strain).tolist(), strict=True):
        fields[name] = fields[name] - part * np.nan_to_num(strain)
        fields[f"{name}_std"] = np.hypot(fields[f"{name}_std"], part * np.nan_to_num(strain_std))


def misorientation(tilt1: Array, tilt2: Array, mask: NDArray[np.bool_], crew: Crew) -> Array:
    """See `neighbour_misorientation`; the ranks share the layers of x."""
    starts = range(0, len(mask), _LAYERS)

    def job(start: int) -> Job:
        around = slice(max(start - 1, 0), start + _LAYERS + 1)
        inner = (start - around.start, min(start + _LAYERS, len(mask)) - around.start)
        return Job(_layers, inner, tuple(np.ascontiguousarray(a[around]) for a in (tilt1, tilt2, mask)))

    result = np.empty(mask.shape)
    for start, (layers,) in zip(starts, crew.results(map(job, starts)), strict=True):
        part = result[start : start + _LAYERS]
        part[:] = np.frombuffer(layers).reshape(part.shape)
    return result


def _layers(first: int, last: int, tilt1: Array, tilt2: Array, mask: NDArray[np.bool_]) -> Iterator[bytes]:
    yield neighbour_misorientation(tilt1, tilt2, mask)[first:last].tobytes()
