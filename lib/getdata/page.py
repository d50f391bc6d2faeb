"""getdata.html: one page to look at before reconstructing, with all pictures inside."""

from __future__ import annotations

import html
from pathlib import Path
from typing import Any

import numpy as np

from ..page.pictures import draw_dark_level
from ..page.skeleton import facts_list, page, picture_section, warnings_section
from ..physics.dark import DarkLevel
from . import pictures
from .overview import Overview


def write(
    path: Path,
    info: dict[str, Any],
    overview: Overview,
    taken: DarkLevel | None = None,
    left: DarkLevel | None = None,
) -> None:
    """Write the page from getdata.json's content and the overview.

    taken is the dark level that --background scan took off, left the one on which the array still stands.
    """
    n_all, n_missing = overview.plan.cells.size, len(info["missing_positions"])
    threshold = (info["cleaning"]["threshold"] or {}).get("counts")
    shrunk = f"Reduced {overview.shrink} x." if overview.shrink > 1 else ""
    sections = [
        warnings_section(info["warnings"], nothing="Nothing suspicious was found."),
        f"<section><h2>The array</h2>{_facts(info)}</section>",
        *([f"<section><h2>Entries</h2>{_entries(info['entries'])}</section>"] if info["entries"] else []),
        picture_section(
            "Where frames exist",
            f"{n_all} positions measured, {n_missing} missing (red). Marked are frames that are far brighter "
            "than those around or the same as another. Colour: mean counts of the frame"
            + (" before normalisation." if info["cleaning"]["normalize"] else "."),
            pictures.draw_coverage(overview),
        ),
        picture_section(
            "Intensity",
            "All frames of an omega together. Sudden steps are the beam's or another grain's; slow changes "
            "may be the grain's own.",
            pictures.draw_intensity(overview),
        ),
        *_dark_levels(overview, taken, left),
        picture_section(
            "Tilt-summed images",
            f"One for each omega (degrees): the projection of the whole grain. It must stay inside. {shrunk}",
            pictures.draw_contact_sheet(overview),
        ),
        picture_section(
            "Sinograms",
            "The tilt-summed images, projected on x and on y. A sound scan shows smooth sine curves; where "
            "they jump, the sample did.",
            pictures.draw_sinograms(overview),
        ),
        picture_section(
            "The frames of one omega",
            "The bright part moves through the grain as the tilts change. It should be dark at the rims: "
            "else the tilt range is too narrow.",
            pictures.draw_montage(overview),
        ),
        picture_section(
            "Histogram", "From some rows of every frame.", pictures.draw_histogram(overview, threshold)
        ),
    ]
    title = Path(info["datadir"]).name + " / " + info["dataname"]
    path.write_text(page("getdata", title, info["datadir"], sections), encoding="utf-8")


def _dark_levels(overview: Overview, taken: DarkLevel | None, left: DarkLevel | None) -> list[str]:
    """What was taken off as the scan's own dark level, and what is left of it: maps, and along omega."""
    omega = overview.plan.grid.axes[2].positions
    sections = []
    for title, text, level in (
        ("Dark level taken off", "As the darkest frames of each omega show it.", taken),
        ("Dark level left in the array", "recon3d.py finds it, too, and takes it off.", left),
    ):
        if level is not None and level.of_omega.size == omega.size:
            pattern, of_omega = (values.astype(np.float64) for values in (level.pattern, level.of_omega))
            figure = draw_dark_level(pattern, omega, of_omega + np.median(pattern))
            about = f"{text} Left: of each pixel. Right: of the usual pixel at each omega. Counts."
            sections.append(picture_section(title, about, figure))
    return sections


def _entries(uses: list[dict[str, Any]]) -> str:
    """The entries of HDF5 files that were used and those left out, by title."""
    names = {use["entry"]: use["entry"] for use in uses}
    if len({name.rpartition("::")[0] for name in names}) == 1:
        names = {name: name.rpartition("::")[2] for name in names}  # all of one file
    kinds: dict[tuple[str, str, str], list[dict[str, Any]]] = {}
    for use in uses:
        kinds.setdefault((use["left_out"] or "", use["use"], use["title"]), []).append(use)
    rows = []
    for (why, kind, title), members in sorted(kinds.items(), key=lambda item: bool(item[0][0])):
        n_frames = sum(use["n_frames"] for use in members)
        state = f"left out of the {kind}, because {why}" if why else f"used as {kind}"
        entries = ", ".join(names[use["entry"]] for use in members)
        rows.append(
            f"<li><b>{html.escape(title or 'no title')}</b>: {html.escape(state)}<br>"
            f"{html.escape(entries)} ({n_frames} frames)</li>"
        )
    return f"<ul>{''.join(rows)}</ul>"


def _facts(info: dict[str, Any]) -> str:
    n1, n2, n_omega, n_x, n_y = info["array"]["shape"]
    roi, background = info["roi"], info["background"]
    level = background["level"]
    current = info["ring_current_ma"]
    facts = {
        "Array": f"{n1} x {n2} tilts x {n_omega} omegas x {n_x} x {n_y} pixels, {info['array']['dtype']}",
        "Motors": ", ".join(f"{role} = {motor}" for role, motor in info["motors"].items())
        + f" (set-up {info['setup']}, tilts fixed in the {info['tilt_frame']})",
        "Found as": info["motors_found_as"],
        "Frames": f"{info['n_frames']} from {info['n_files']} files, {len(info['skipped'])} skipped, "
        f"{info['n_duplicates']} duplicates ({info['duplicates']})",
        "Region": f"x = {roi['x0']}..{roi['x0'] + roi['width'] - 1}, y = {roi['y0']}.."
        f"{roi['y0'] + roi['height'] - 1}"
        + (f", binned {info['bin']} x {info['bin']}" if info["bin"] > 1 else ""),
        "Background": "none" if level is None else f"{level:.1f} counts ({background['statistic']})",
        "Cleaning": _cleaning(info["cleaning"]),
        "Ring current": "unknown" if current is None else f"{current[0]:.1f}..{current[1]:.1f} mA",
        "Clipped": f"{info['clipped_low']} pixels below 0, {info['clipped_high']} above 65535",
        "Saturated": f"{info['saturated']} pixels",
        "Not measured": f"{info['unmeasured_pixels']} pixels (gaps of the detector, dead pixels)",
        "Made by": f"Recon3D {info['version']}: {info['command']}",
    }
    return facts_list(facts)


def _cleaning(steps: dict[str, Any]) -> str:
    """The steps in words, leaving out long lists."""
    words = []
    for name, step in steps.items():
        if step is not None:
            values = [
                f"{k.replace('_', ' ')} {_short(v)}" for k, v in step.items() if k != "factor_per_omega"
            ]
            words.append(f"{name.replace('_', ' ')} ({', '.join(values)})")
    return "; ".join(words) or "none"


def _short(value: Any) -> str:
    if isinstance(value, list):
        return "..".join(_short(v) for v in value)
    return f"{value:.4g}" if isinstance(value, float) else str(value)
