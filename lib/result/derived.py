"""Fields that follow from the positions of the motors: strain, rocking curve, KAM, dislocations."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..backprojection.rocking import polar
from ..parallel.crew import Crew, Job
from ..physics.dislocations import gnd_density, gnd_of_errors
from ..physics.misorientation import neighbour_misorientation
from ..physics.strain import strain_fields
from ..physics.tilts import sample_to_lab_tilts
from ..scan.measurement import Measurement
from ..scan.setting import Setting
from .labels import stated_errors

Array = NDArray[np.float64]
Mask = NDArray[np.bool_]

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


def neighbourhood(
    fields: Mapping[str, Array], mask: Mask, setting: Setting, crew: Crew
) -> tuple[dict[str, Array], dict[str, float]]:
    """The fields kam and gnd, and what is to be known of them; the ranks share the layers of x.

    gnd takes both tilts. See `neighbour_misorientation` and `gnd_density`.
    """
    params, names = setting.params, ("tilt1", "tilt2")
    spacing, kernel = params.voxel_um, params.kernel
    tilts = [fields[name] for name in names]
    found = {"kam": _by_layers(_kam, (spacing, kernel), (*tilts, mask), crew)}
    facts = {"kernel_um": max(kernel, *map(float, spacing))}
    kind = setting.measurement.scan_type
    if kind.unknown[1] and not kind.of_strain:
        burgers = params.burgers or min(params.unit_cell[:3])
        how = spacing, params.mode, burgers, kernel
        found["gnd"] = _by_layers(_gnd, how, (*tilts, mask), crew)
        facts["burgers_angstrom"] = burgers
        errors = stated_errors(fields, params.method)
        if errors is not None:
            alone = _by_layers(_gnd_of_errors, how, (*errors, mask), crew)
            facts["gnd_of_errors_per_m2"] = float(np.nanmedian(alone)) if np.isfinite(alone).any() else np.nan
    return found, facts


def _by_layers(
    work: Callable[..., Iterator[bytes]], how: tuple[Any, ...], arrays: tuple[NDArray[Any], ...], crew: Crew
) -> Array:
    """What work makes of arrays (n_x, n_y, n_z), a few layers of x at a time with those that they need."""
    shape = arrays[0].shape
    reach = int(how[-1] / how[0][0]) + 1
    starts = range(0, shape[0], _LAYERS)

    def job(start: int) -> Job:
        around = slice(max(start - reach, 0), start + _LAYERS + reach)
        inner = (start - around.start, min(start + _LAYERS, shape[0]) - around.start)
        return Job(work, (inner, how), tuple(np.ascontiguousarray(a[around]) for a in arrays))

    result = np.empty(shape)
    for start, (layers,) in zip(starts, crew.results(map(job, starts)), strict=True):
        part = result[start : start + _LAYERS]
        part[:] = np.frombuffer(layers).reshape(part.shape)
    return result


def _kam(inner: tuple[int, int], how: tuple[Any, ...], a: Array, b: Array, mask: Mask) -> Iterator[bytes]:
    yield neighbour_misorientation(a, b, mask, *how)[slice(*inner)].tobytes()


def _gnd(inner: tuple[int, int], how: tuple[Any, ...], a: Array, b: Array, mask: Mask) -> Iterator[bytes]:
    yield gnd_density(a, b, mask, *how)[slice(*inner)].tobytes()


def _gnd_of_errors(
    inner: tuple[int, int], how: tuple[Any, ...], a: Array, b: Array, mask: Mask
) -> Iterator[bytes]:
    yield gnd_of_errors((a, b), mask, *how)[slice(*inner)].tobytes()
