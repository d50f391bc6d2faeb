"""The result of recon3d.py: its files, and the lines that sum it up."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ..checks.trust import Checks
from ..errors import Recon3DError
from ..initfile.parse import format_value
from ..parallel.claim import refuse_if_claimed
from ..parallel.crew import ALONE, Crew
from ..scan import box, store
from ..scan.gather import Result
from ..scan.measurement import Measurement
from ..scan.setting import Setting
from . import labels
from .derived import neighbourhood
from .labels import CELL_FILES, cell_field

if TYPE_CHECKING:
    from .volume import Volume

Array = NDArray[np.float64]

RESULT_FILES = ("grain_ang.npy", "grain.vtkhdf", "report.html", *CELL_FILES)
_IN_ARRAY = ("tilt1", "tilt2", "completeness")  # of grain_ang.npy
_LABEL_WIDTH = 12


def check_folder(folder: Path) -> None:
    """Find out before the work whether the result can be written."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise Recon3DError(folder, f"cannot be made ({error.strerror}); choose another output") from None
    for name in RESULT_FILES:
        if (folder / name).is_dir():
            raise Recon3DError(folder / name, "is a folder; remove it or choose another output")
    if not os.access(folder, os.W_OK):
        raise Recon3DError(folder, "cannot be written; choose another folder with the key output")
    refuse_if_claimed(claimed_file(folder))


def claimed_file(folder: Path) -> Path:
    """The file of a result that stands for all of them, where two runs must not write at once."""
    return folder / RESULT_FILES[1]


def write(
    setting: Setting,
    result: Result,
    checks: Checks,
    lines: dict[str, str],
    crew: Crew = ALONE,
    *,
    report: bool = True,
) -> None:
    """Write all files under temporary names, then rename them. lines sum the result up, for the report."""
    from . import add_cells, volume  # rank 0 alone needs HDF5 and matplotlib

    folder = setting.params.folder
    names = result_files(setting, report=report)
    temporary = {name: folder / f".{name}.part" for name in RESULT_FILES}
    try:
        with store.writing(folder):
            _write_array(temporary["grain_ang.npy"], [result.fields[name] for name in _IN_ARRAY])
            grain = describe(setting, result, checks, crew)
            volume.write(temporary["grain.vtkhdf"], grain, crew)
            if has_cells(setting):
                add_cells.write_beside(grain, temporary)
            if report:
                from . import report as page

                shown = result._replace(fields=dict(grain.fields))
                tables = (grain.cells, grain.boundaries) if has_cells(setting) else None
                page.write(temporary["report.html"], setting, shown, checks, lines, tables, crew)
            for name in names:
                temporary[name].replace(folder / name)
            for name in set(RESULT_FILES) - set(names):  # of another result
                (folder / name).unlink(missing_ok=True)
    finally:
        for part in temporary.values():
            part.unlink(missing_ok=True)


def load_writers(*, report: bool) -> None:
    """Import what writes the files, on a rank that will help, while rank 0 does: it takes some 0.4 s."""
    from . import volume  # noqa: F401

    if report:
        from . import report as page  # noqa: F401


def _write_array(path: Path, fields: list[Array]) -> None:
    """The fields (n_x, n_y, n_z) as an .npy file (n_x, n_y, n_z, n_fields), a layer of x at a time."""
    shape = (*fields[0].shape, len(fields))
    with path.open("wb") as stream:
        np.lib.format.write_array_header_1_0(stream, {"descr": "<f8", "fortran_order": False, "shape": shape})
        for x in range(shape[0]):
            stream.write(np.stack([field[x] for field in fields], axis=-1).astype("<f8", copy=False).data)


def result_files(setting: Setting, *, report: bool) -> list[str]:
    """Names of the files of a result, with the page or without."""
    left_out = {"report.html"} if not report else set()
    if not has_cells(setting):
        left_out |= set(CELL_FILES)
    return [name for name in RESULT_FILES if name not in left_out]


def has_cells(setting: Setting) -> bool:
    """Whether cells are looked for: it takes a map of two tilts and their errors, which only mlem states.

    A quick look is too coarse for them.
    """
    kind, params = setting.measurement.scan_type, setting.params
    told_apart = params.method == "mlem" and bool(kind.unknown[1]) and not kind.of_strain
    return params.cells == "auto" and params.quality != "quick" and told_apart


def with_cells(setting: Setting, result: Result) -> Result:
    """The result with the field `cell`, where cells are looked for."""
    if not has_cells(setting):
        return result
    found: dict[str, Any] = cell_field(result.fields, result.mask, setting.params.method)
    return result._replace(fields={**result.fields, **found})


def describe(setting: Setting, result: Result, checks: Checks, crew: Crew = ALONE) -> Volume:
    """The result with its units and origin, ready to be written."""
    from . import limits, volume

    params, (fields, mask, facts) = setting.params, result
    around, facts_around = neighbourhood(fields, mask, setting, crew)
    motors = setting.measurement.scan.info.get("motors", {})
    attributes = {
        "scan": setting.measurement.scan_name,
        "tilt_frame_of_scan": setting.measurement.tilt_frame,
        "tilt_zero_deg": setting.measurement.tilt_zero_deg,
        "threshold_counts": setting.threshold,
        "center_px": setting.projector.center_px,
        **_dark_facts(setting.measurement),
        **facts,
        **checks.facts(),
        **_alignment_facts(setting),
        **limits.facts(setting),
        **facts_around,
        "n_omega": int(setting.measurement.n_omega),
        "tilt1_motor": str(motors.get("tilt1") or "unknown"),
        "tilt2_motor": str(motors.get("tilt2") or "unknown"),
    }
    return volume.Volume(
        origin_um=np.array(params.grain_pos) - np.array(params.grain_dim) / 2,
        spacing_um=params.voxel_um,
        axes_um=setting.projector.volume.axes_um,
        fields={**fields, **around},
        mask=mask,
        parameters=params,
        attributes=attributes,
        warnings=checks.warnings(setting, result),
    )


def _dark_facts(measurement: Measurement) -> dict[str, Any]:
    """The dark level that was taken off: of the usual pixel at each omega in use, and its noise."""
    level = measurement.scan.dark
    if level is None:
        return {}
    return {
        "dark_level_counts": level.of_omegas(measurement.omega_index),
        "dark_noise_counts": level.sigma,
    }


def _alignment_facts(setting: Setting) -> dict[str, Any]:
    if setting.alignment is None:
        return {}
    return {
        "alignment_omega_deg": setting.measurement.omega_deg,
        **setting.alignment.facts(),
    }


def _alignment_line(setting: Setting) -> list[tuple[str, str]]:
    """What was found of the rotation axis and the drift, if anything was looked for."""
    found = setting.alignment
    if found is None:
        return []
    center = ", ".join(f"{c:.2f}" for c in setting.projector.center_px)
    how = "as given"
    if "detector_center" in setting.found:
        how = f"found to {found.center_std_px:.2g} px across the axis, as given along it"
    drift = "taken out" if setting.params.drift == "correct" else "left in"
    return [("axis", f"at pixel ({center}), {how}; drift of {found.scale_px:.2g} px rms {drift}")]


def printed(setting: Setting, lines: dict[str, str], *, report: bool = True) -> list[str]:
    """What to print: the files, and the lines that sum the result up."""
    paths = [str(setting.params.folder / name) for name in result_files(setting, report=report)]
    return paths + [f"{label:<{_LABEL_WIDTH}} {text}" for label, text in lines.items()]


def summary(setting: Setting, result: Result, n_ranks: int, times: dict[str, float]) -> dict[str, str]:
    """The reconstruction in five lines: label and text. times are seconds by what took them."""
    params, scan, (fields, mask, facts) = setting.params, setting.measurement.scan, result
    voxel_um3 = float(np.prod(params.voxel_um))
    n_grain = int(mask.sum())
    tilts = f"{scan.shape[0]} x {scan.shape[1]} tilts fixed in the {setting.measurement.tilt_frame}"
    if setting.measurement.scan_name != "mosaicity":
        tilts = f"{setting.measurement.scan_name}, {scan.shape[0]} x {scan.shape[1]} positions"
    omegas = f"{setting.measurement.n_omega} of {scan.shape[2]} omegas"
    lines = [("scan", f"{tilts}, {omegas}, {scan.shape[3]} x {scan.shape[4]} pixels")]
    voxels = " x ".join(str(n) for n in params.n_voxels)
    if params.quality == "quick":
        voxels = f"a quick look at {voxels}"
    lines += _alignment_line(setting)
    if "misfit" in facts:
        steps = f"{facts['n_iterations']} iterations to a misfit of {facts['misfit'][-1]:.2f}"
        found = (facts.get(f"{key}_deg") for key in ("rock_width", "roll_width", "strain_width"))
        widths = " x ".join(f"{width:.4f}" for width in found if width is not None) + " deg"
        lines.append(("volume", f"{voxels} voxels, {steps}, resolution {widths}"))
        how = "by half the density"
    else:
        lines.append(("volume", f"{voxels} voxels, lit above {setting.threshold:.3g} counts"))
        how = f"at completeness >= {params.completeness_cutoff:g}"
    if "volume_error" in facts:
        how += f", +- {100 * facts['volume_error']:.2g} %"
    lines.append(("grain", f"{n_grain} voxels, {n_grain * voxel_um3:.4g} um^3 {how}"))
    if "map_resolution_um" in facts:
        text = f"{facts['map_resolution_um']:.3g} um and {facts['map_resolution_deg']:.2g} deg"
        lines.append(("map", f"resolution {text}, shape {facts['shape_resolution_um']:.3g} um"))
    if n_grain:
        known = [name for name in ("tilt1", "tilt2") if np.isfinite(fields[name][mask]).any()]
        spans = [np.percentile(fields[name][mask], [5, 50, 95]) for name in known]
        texts = [f"{name} {s[1]:.4f} ({s[0]:.4f}..{s[2]:.4f})" for name, s in zip(known, spans, strict=True)]
        lines.append(("orientation", f"{', '.join(texts)} deg, median (5 % .. 95 %)"))
    else:
        nothing = "none: no voxel is complete enough; check M, omega_sign, detector_center, threshold"
        lines.append(("orientation", nothing))
    if "cell" in fields:
        where = setting.projector.volume.axes_um, params.voxel_um, params.method
        lines.append(("cells", labels.summary(labels.table(fields, mask, *where))))
    if "strain" in fields and n_grain:
        span = np.nanpercentile(fields["strain"][mask], [5, 50, 95])
        error = np.nanmedian(fields["strain_std"][mask])
        text = f"{span[1]:.2e} ({span[0]:.2e}..{span[2]:.2e}), error {error:.1e}"
        lines.append(("strain", f"{text}, median (5 % .. 95 %)"))
    took = ", ".join(f"{what} {seconds:.1f} s" for what, seconds in times.items())
    ranks = f"{n_ranks} rank{'s' if n_ranks > 1 else ''}"
    lines.append(("time", f"{sum(times.values()):.1f} s on {ranks}: {took}"))
    lines += [(key, format_value(value)) for key, value in box.lines(setting).items()]
    return dict(lines)
