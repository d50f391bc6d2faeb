"""report.html: one page that shows a reconstruction and what it was made with, with all pictures inside."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from functools import partial
from html import escape
from importlib import metadata
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..checks.doubts import changes
from ..checks.geometry import Verdict
from ..checks.projections import Comparison
from ..checks.trust import Checks
from ..errors import Recon3DError
from ..initfile.parameters import KEYS, Parameters
from ..initfile.parse import format_key
from ..page import colour_keys, viewer
from ..page import scene as page_scene
from ..page.pictures import Body, Drawing, draw_dark_level
from ..page.skeleton import Text, facts_list, page, picture_section, warnings_section
from ..parallel.crew import ALONE, Crew, Job
from ..scan.gather import Result
from ..scan.measurement import Measurement
from ..scan.setting import Setting
from ..version import __version__
from . import cell_pictures, largest_cells, limits, pictures, scene
from .fields import fields_to_show
from .projection_pictures import draw_images, draw_omegas

Array = NDArray[np.float64]

_DPI = 130
_MIDDLE = "Slices through the middle of the grain."
_ONLY_MOVING = ("Error of tilt2", "Width of tilt2")  # look like those of tilt1; drawing takes time
_PACKAGES = ("numpy", "scipy", "numba", "h5py", "mpi4py", "matplotlib", "plotly")
_LEFT_OUT = "Simulation"  # a group of keys that a reconstruction does not read


class _Part(NamedTuple):
    """A section that takes time: what `prepare` returns on rank 0, `make` turns into text on any rank.

    Rank 0 alone prepares, while others wait: it takes out of the result what is shown, the rest is `make`'s.
    """

    title: str
    prepare: Callable[[], Any]
    make: Callable[[Any], str]

    def job(self) -> Job:
        """What is left to do."""
        try:
            prepared = self.prepare()
        except Exception as error:
            return Job(_made, (self.title, str, _failure(self.title, error)), ())
        return Job(_made, (self.title, self.make, prepared), ())


Sections = list[str | _Part]


def write(
    path: Path,
    setting: Setting,
    result: Result,
    checks: Checks,
    lines: Mapping[str, str],
    tables: tuple[NDArray[Any], NDArray[Any]] | None = None,
    crew: Crew = ALONE,
) -> None:
    """Write the page (not atomic: give a temporary name and rename).

    lines sum the result up; tables are those of cells and of their boundaries, where these were looked for.
    """
    params, (fields, mask, facts) = setting.params, result
    sections: Sections = [
        warnings_section(checks.warnings(setting, result), nothing="Nothing suspicious was found."),
        *_quick_look(params),
        "<section><h2>Result</h2><p>As recon3d.py prints it; the time is that before the files were "
        f"written.</p>{facts_list(lines)}</section>",
        *_volume(setting, fields, mask),
        *_cells(tables),
        *_comparison(checks.comparison),
        *(
            _orientations(setting.measurement, fields, mask)
            if setting.measurement.scan_type.unknown[1]
            else []
        ),
    ]
    if "misfit" in facts:
        sections.append(
            _picture(
                "Misfit",
                "Chi-square per measured value where the grain is expected to give light, in each iteration; "
                "it should fall and come to rest near 1. Above it, the model lacks something: geometry, "
                "resolution, light of something else. The noise is the scan's own: a photon makes "
                f"{facts['gain']:.3g} counts, dark pixels scatter by {facts['dark_noise_counts']:.2g}.",
                lambda: partial(pictures.draw_misfit, [float(m) for m in facts["misfit"]]),
            )
        )
    if params.omega_scale == "auto" and "omega_factors" in facts:
        sections.append(
            _picture(
                "Brightness of each omega",
                "A factor of the light at each omega, found with the grain, 1 in the mean: beam, absorption, "
                "normalisation of the images.",
                lambda: partial(
                    pictures.draw_factors, setting.measurement.omega_deg, np.array(facts["omega_factors"])
                ),
            )
        )
    if "correlation_frequency_per_um" in facts:
        sections.append(
            _picture(
                "Resolution of the map",
                "How far two maps agree, detail by detail (Fourier shell correlation): of half of the omegas "
                "each, or where these were not asked for, the result and what the self-test makes of it. "
                "Details below the dashed line are not told by the data.",
                lambda: pictures.correlation(facts),
            )
        )
    sections.append(
        _picture("What this scan cannot say", limits.points(setting), lambda: limits.drawing(setting))
    )
    sections += _dark_level(setting.measurement)
    sections += _alignment(setting)
    sections += _geometries(checks.verdicts)
    for what, said in (("Omegas that were left out", checks.held_out), ("Half a turn apart", checks.parity)):
        sections += [f"<section><h2>{what}</h2><p>{escape(said.words())}</p></section>"] if said else []
    sections.append(_parameters(params))
    sections.append(_versions())
    title = f"{params.folder.resolve().name}: {params.method}"
    whole = page("recon3d", title, str(params.folder.resolve()), _together(sections, crew))
    path.write_text(whole, encoding="utf-8")


def _quick_look(params: Parameters) -> list[str]:
    """What to think of a result of few voxels."""
    if params.quality != "quick":
        return []
    sizes = params.voxel_um
    um = " x ".join(f"{size:.3g}" for size in sizes)
    px = " x ".join(f"{size:.2g}" for size in params.M * sizes)
    return [
        f"<section><h2>A quick look</h2><p>The voxels are {um} um large, {px} pixels of the images, and of "
        "a scan of many omegas every n-th was read: enough "
        "to see whether grain, geometry and scan are right while the experiment runs, too coarse for "
        "boundaries, small parts of the grain and stated errors. Run it again without --quick (quality "
        "normal) for the result.</p></section>"
    ]


def _orientations(measurement: Measurement, fields: Mapping[str, Array], mask: NDArray[np.bool_]) -> Sections:
    """The section on the distribution of orientations, where two tilts are known."""

    def drawing() -> Drawing:
        some = pictures.thin_out(np.flatnonzero(mask))
        sample = measurement.tilt_frame == "sample"
        scanned_deg = (measurement.scan.tilt1_deg, measurement.scan.tilt2_deg) if sample else None
        tilt1, tilt2, weight = (fields[name].ravel()[some] for name in ("tilt1", "tilt2", "intensity"))
        return pictures.orientations(tilt1, tilt2, weight, scanned_deg)

    return [
        _picture(
            "Orientations of the grain",
            "Each spot is a part of the grain with the same orientation; brighter means more of the grain."
            + (
                " Voxels heaped up at the rim of the scanned range: the tilts were scanned too little."
                if measurement.tilt_frame == "sample"
                else ""
            ),
            drawing,
        ),
    ]


def _volume(setting: Setting, fields: Mapping[str, Array], mask: NDArray[np.bool_]) -> Sections:
    """The viewer, and the still pictures that stand in for it on paper and without JavaScript."""
    params = setting.params
    position, size = np.array(params.grain_pos), np.array(params.grain_dim)
    limits = np.stack([position - size / 2, position + size / 2], axis=1)
    body = Body(limits, setting.projector.volume.axes_um, mask)
    shown = fields_to_show(fields, mask, mlem=params.method == "mlem", cutoff=params.completeness_cutoff)
    moving = _Part(
        "Through the volume",
        lambda: viewer.data(body, [view.painted(body) for view in shown]),
        viewer.section,
    )
    stills = [
        _picture(view.title, f"{_MIDDLE} {view.text}", partial(view.still, body), "still")
        for view in (shown[:1] if params.quality == "quick" else shown)
        if view.title not in _ONLY_MOVING
    ]
    keys = _Part(
        "Keys of the colours", lambda: {view.title: view.key(body) for view in shown}, colour_keys.section
    )
    return [keys, *_in_3d(body, shown, fields), moving, *stills]


def _in_3d(body: Body, shown: scene.Views, fields: scene.Fields) -> Sections:
    """The grain in 3D, and the still picture that stands in for it; nothing where there is no grain."""
    if not body.mask.any():
        return []
    return [
        _Part("The grain in 3D", lambda: scene.data(body, shown, fields), page_scene.section),
        _picture(
            "The grain, cut open", scene.STILL_TEXT, lambda: scene.still(body, shown, fields), "still3d"
        ),
    ]


def _cells(tables: tuple[NDArray[Any], NDArray[Any]] | None) -> Sections:
    """The cells, where they were looked for and found: how they are distributed, and the largest ones."""
    if tables is None or not tables[0].size:
        return []
    return [
        _picture("Cells", cell_pictures.words(*tables), lambda: partial(cell_pictures.draw, *tables)),
        largest_cells.section(tables[0]),
    ]


def _dark_level(measurement: Measurement) -> Sections:
    """The section on the dark level, where there was one."""
    level = measurement.scan.dark
    if level is None:
        return []
    low, high = level.limits
    return [
        _picture(
            "Dark level left in the images",
            f"The counts on which the light stands, {low:.3g} to {high:.3g}: found in the darkest frames "
            "of each omega (or given by the key background), taken off before the reconstruction. Left: of "
            "each pixel. Right: of the usual pixel at each omega. Below zero too much was taken off before.",
            lambda: partial(
                draw_dark_level,
                level.pattern.astype(np.float64),
                measurement.omega_deg,
                level.of_omegas(measurement.omega_index).astype(np.float64),
            ),
        )
    ]


def _comparison(found: Comparison | None) -> Sections:
    """The sections on how well the result explains the images."""
    if found is None:
        return []
    return [
        _picture(
            "Projections of the result",
            "The images, summed over the tilts, beside the projections of the reconstructed grain, at some "
            "omegas and at the worst one; counts. The difference should be faint and without a pattern: one "
            "side red and the other blue is a displacement, a red spot is light that nothing explains."
            f" Across the rotation axis the images lie {found.shift_across_px:+.2f} px from the projections.",
            lambda: partial(draw_images, found.shown),
        ),
        _picture(
            "Intensity and residual per omega",
            "Counts of the image and of the projection, the measured tilts together, and what the projection "
            "leaves unexplained of the image beyond noise. Steps of the counts are the beam's or another "
            "grain's.",
            lambda: partial(draw_omegas, replace(found, shown=[])),
        ),
    ]


def _geometries(verdicts: Sequence[Verdict]) -> list[str]:
    """How well other signs and tilt frames fit."""
    if not verdicts:
        return []
    present = verdicts[0].candidate
    misfits = {changes(present, v.candidate): f"misfit {v.misfit:.2f}" for v in verdicts}
    return [
        "<section><h2>Other geometries</h2><p>Each tried on a coarse volume and judged by omegas that it has "
        "not seen; the init file's should have the smallest misfit. A mirrored sample fits as well with both "
        f"rows of the flip reversed.</p>{facts_list(misfits)}</section>"
    ]


def _alignment(setting: Setting) -> Sections:
    """The sections on axis and drift, where these were looked for."""
    found = setting.alignment
    if found is None:
        return []
    omega = setting.measurement.omega_deg
    return [
        _picture(
            "Rotation axis and drift",
            "The centroid of the grain's image must follow the fitted path of a rotation; what is left over "
            f"is drift, here {found.scale_px:.2g} px rms, "
            + ("taken out." if setting.params.drift == "correct" else "left in."),
            lambda: partial(pictures.draw_alignment, omega, found, setting.params.M),
        ),
    ]


def _picture(title: str, text: Text, prepare: Callable[[], Drawing], kind: str = "") -> _Part:
    """A section with a picture; kind is its class in the style."""
    return _Part(title, prepare, partial(_with_picture, title, text, kind))


def _with_picture(title: str, text: Text, kind: str, draw: Drawing) -> str:
    return picture_section(title, text, draw(), _DPI, kind)


def _together(sections: Sections, crew: Crew) -> list[str]:
    """All sections as text; the ranks share the work."""
    made = crew.results(section.job() for section in sections if isinstance(section, _Part))
    texts = [s if isinstance(s, str) else b"".join(next(made)).decode() for s in sections]
    for _ in made:  # let the crew see that it has come to its end
        pass
    return texts


def _made(title: str, make: Callable[[Any], str], prepared: Any) -> Iterator[bytes]:
    """A section. One that cannot be made must not cost the result of a long run."""
    try:
        section = make(prepared)
    except Exception as error:
        section = _failure(title, error)
    yield section.encode()


def _failure(title: str, error: Exception) -> str:
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
        return format_key(name, value)
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
