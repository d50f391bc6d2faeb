"""report.html: one page that shows a reconstruction and what it was made with, with all pictures inside."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from datetime import datetime
from html import escape
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from . import __version__
from . import grain_pictures as pictures
from .errors import Recon3DError
from .grain_pictures import Body
from .initfile import format_value
from .page import facts_list, page, picture_section, warnings_section
from .parameters import KEYS, Parameters
from .setting import Setting

Array = NDArray[np.float64]

_DPI = 130
_FAR_MISFIT = 3.0
_PACKAGES = ("numpy", "scipy", "numba", "h5py", "mpi4py", "matplotlib")
_LEFT_OUT = "Simulation"  # a group of keys that a reconstruction does not read


def write(
    path: Path,
    setting: Setting,
    fields: Mapping[str, Array],
    mask: NDArray[np.bool_],
    facts: Mapping[str, Any],
    lines: Mapping[str, str],
) -> None:
    """Write the page (not atomic: give a temporary name and rename). lines sum the result up."""
    params = setting.params
    sections = [
        warnings_section(warnings(setting, mask, facts), nothing="Nothing suspicious was found."),
        "<section><h2>Result</h2><p>As recon3d.py prints it; the time is that before the files were "
        f"written.</p>{facts_list(lines)}</section>",
        *_slices(setting, fields, mask),
        *(_orientations(setting, fields, mask) if setting.scan_type.unknown[1] else []),
    ]
    if "misfit" in facts:
        sections.append(
            _picture(
                "Misfit",
                "Chi-square per measured value after each iteration; it should fall and come to rest near 1.",
                lambda: pictures.draw_misfit([float(m) for m in facts["misfit"]]),
            )
        )
    sections += _alignment(setting)
    sections.append(_parameters(params))
    sections.append(_versions())
    title = f"{params.folder.resolve().name}: {params.method}"
    path.write_text(page("recon3d", title, str(params.folder.resolve()), sections), encoding="utf-8")


def _orientations(setting: Setting, fields: Mapping[str, Array], mask: NDArray[np.bool_]) -> list[str]:
    """The section on the distribution of orientations, where two tilts are known."""
    return [
        _picture(
            "Orientations of the grain",
            "Each spot is a part of the grain with the same orientation; brighter means more voxels."
            + (
                " Voxels heaped up at the rim of the scanned range: the tilts were scanned too little."
                if setting.tilt_frame == "sample"
                else ""
            ),
            lambda: pictures.draw_orientations(
                fields["tilt1"][mask],
                fields["tilt2"][mask],
                (setting.scan.tilt1_deg, setting.scan.tilt2_deg) if setting.tilt_frame == "sample" else None,
            ),
        ),
    ]


def warnings(setting: Setting, mask: NDArray[np.bool_], facts: Mapping[str, Any]) -> list[str]:
    """What a user should know before trusting the result, in plain words."""
    found = list(setting.warnings)
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
    misfit = float(facts["misfit"][-1]) if len(facts.get("misfit", ())) else 0.0
    if misfit > _FAR_MISFIT:
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


def _slices(setting: Setting, fields: Mapping[str, Array], mask: NDArray[np.bool_]) -> list[str]:
    """The sections with three slices each."""
    params = setting.params
    position, size = np.array(params.grain_pos), np.array(params.grain_dim)
    limits = np.stack([position - size / 2, position + size / 2], axis=1)
    body = Body(limits, setting.grid_um, mask)
    mlem = params.method == "mlem"
    light = "Density of the grain in counts" if mlem else "Mean counts of all tilts at the voxel's pixel"
    complete = (
        "" if mlem else f" The grain is what reaches the cutoff {params.completeness_cutoff:g} (dashed line)."
    )
    return [
        _picture(
            "Orientation",
            "Slices through the middle of the grain; the same colour is the same orientation, to be read off "
            "the key, whose axes are the range in degrees.",
            lambda: pictures.draw_orientation(body, fields["tilt1"], fields["tilt2"]),
        ),
        _picture(
            "Shape",
            f"{light}, with the outline of the grain (white line): the outline should follow the rim of what "
            "is bright, away from the edges of the volume.",
            lambda: pictures.draw_field(body, fields["intensity"], "intensity (counts)", cmap="viridis"),
        ),
        _picture(
            "Completeness",
            "Share of the omegas at which a voxel is lit: near 1 inside of the grain when the geometry is "
            f"right, falling steeply outside.{complete}",
            lambda: pictures.draw_field(
                body,
                fields["completeness"],
                "completeness",
                cmap="cividis",
                limits=(0.0, 1.0),
                cutoff=None if mlem else params.completeness_cutoff,
            ),
        ),
        _picture(
            "Width of the orientations",
            "tilt1_std, "
            + ("the error of tilt1" if mlem else "the spread of the voxel's tilt map along tilt1")
            + ": small where the orientation is well known, large at boundaries within the grain.",
            lambda: pictures.draw_field(
                body, fields["tilt1_std"], "tilt1_std (deg)", cmap="magma", only_grain=True
            ),
        ),
        *_more_slices(body, fields),
    ]


# Fields of some scans only: title, text, label, colour map, factor. Signed ones are symmetric about zero.
_MORE_FIELDS: dict[str, tuple[str, str, str, str, float]] = {
    "strain": (
        "Strain",
        "Axial strain, along the scattering vector: red is stretched, blue is compressed.",
        "strain (1e-4)",
        "RdBu_r",
        1e4,
    ),
    "strain_std": (
        "Error of the strain",
        "Standard deviation of the strain.",
        "strain_std (1e-4)",
        "magma",
        1e4,
    ),
    "rocking_offset": (
        "Offset of the rocking curve",
        "The part of the rocking angle that does not turn with omega: strain and the motor's zero together.",
        "rocking_offset (deg)",
        "RdBu_r",
        1.0,
    ),
}


def _more_slices(body: Body, fields: Mapping[str, Array]) -> list[str]:
    """Slices of the fields that this scan has beyond those of a mosaicity scan."""

    def draw(name: str) -> Figure:
        label, cmap, scale = _MORE_FIELDS[name][2:]
        limits = None
        if cmap == "RdBu_r":
            inside = fields[name][body.mask]
            largest = scale * float(np.nanpercentile(np.abs(inside), 99)) if inside.size else 1.0
            limits = (-largest, largest)
        return pictures.draw_field(
            body, scale * fields[name], label, cmap=cmap, limits=limits, only_grain=True
        )

    return [
        _picture(title, text, lambda name=name: draw(name))  # type: ignore[misc]
        for name, (title, text, *_) in _MORE_FIELDS.items()
        if name in fields
    ]


def _alignment(setting: Setting) -> list[str]:
    """The sections on axis and drift, where these were looked for."""
    found = setting.alignment
    if found is None:
        return []
    omega = setting.scan.omega_deg[setting.omega_index]
    return [
        _picture(
            "Intensity per omega",
            "Counts of the grain's image, all tilts together: steps are the beam's or another grain's, slow "
            "changes may be the grain's own.",
            lambda: pictures.draw_totals(omega, found),
        ),
        _picture(
            "Rotation axis and drift",
            "The centroid of the grain's image must follow the fitted path of a rotation; what is left over "
            f"is drift, here {found.scale_px:.2g} px rms, "
            + ("taken out." if setting.params.drift == "correct" else "left in."),
            lambda: pictures.draw_alignment(omega, found, setting.params.M),
        ),
    ]


def _picture(title: str, text: str, draw: Callable[[], Figure]) -> str:
    """A section with a picture. One that cannot be drawn must not cost the result of a long run."""
    try:
        return picture_section(title, text, draw(), _DPI)
    except Exception as error:
        why = f"This picture could not be drawn ({type(error).__name__}: {error})."
        return f'<section class="warn"><h2>{escape(title)}</h2><p>{escape(why)}</p></section>'


def _parameters(params: Parameters) -> str:
    """Every key that counts, by group."""
    groups: dict[str, dict[str, str]] = {}
    notes = {}
    for name, key in KEYS.items():
        if key.metadata["group"] != _LEFT_OUT:
            groups.setdefault(key.metadata["group"], {})[name] = _value(params, name)
            unit = key.metadata["unit"]
            notes[name] = f"{unit + '; ' if unit else ''}{key.metadata['text']}"
    lists = "".join(f"<h3>{escape(group)}</h3>{facts_list(keys, notes)}" for group, keys in groups.items())
    return (
        '<section class="long"><h2>Parameters</h2><p>The keys of the init file as they were used, defaults '
        f"included.</p>{lists}</section>"
    )


def _value(params: Parameters, name: str) -> str:
    value = getattr(params, name)
    try:
        return format_value(value)
    except Recon3DError:  # text that no init file can hold
        return str(value)


def _versions() -> str:
    made = {
        "Recon3D": __version__,
        "Python": sys.version.split()[0],
        **{name: _version(name) for name in _PACKAGES},
        "made on": datetime.now().astimezone().strftime("%Y-%m-%d %H:%M %z"),
    }
    return f"<section><h2>Versions</h2><p>What the result was made with.</p>{facts_list(made)}</section>"


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "not installed"
