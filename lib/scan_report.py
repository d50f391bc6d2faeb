"""getdata.html: one page to look at before reconstructing, with all pictures inside."""

from __future__ import annotations

import base64
import html
import io
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from . import scan_pictures as pictures
from .overview import Overview

_DPI = 110

_CSS = """
:root { color-scheme: light; }
body { font: 15px/1.5 system-ui, "Segoe UI", "DejaVu Sans", sans-serif; margin: 0;
  color: #22303c; background: #eef1f4; }
main { max-width: 1120px; margin: 0 auto; padding: 28px 20px 60px; }
h1 { font-size: 26px; margin: 0 0 2px; } h2 { font-size: 18px; margin: 0 0 4px; }
.path { font: 13px ui-monospace, "DejaVu Sans Mono", monospace; color: #5b6b7a; word-break: break-all; }
section { background: white; border: 1px solid #dde3e9; border-radius: 8px; padding: 18px 22px;
  margin-top: 18px; }
section p { margin: 0 0 10px; color: #4a5a68; }
img { max-width: 100%; display: block; margin: 0 auto; }
dl { display: grid; grid-template-columns: max-content 1fr; gap: 3px 18px; margin: 0; }
dt { color: #5b6b7a; } dd { margin: 0; overflow-wrap: anywhere; }
ul { margin: 0; padding-left: 20px; } li { margin: 3px 0; overflow-wrap: anywhere; }
.warn { border-left: 5px solid #d1495b; } .good { border-left: 5px solid #3a9b6f; }
"""


def write(path: Path, info: dict[str, Any], overview: Overview) -> None:
    """Write the page from getdata.json's content and the overview."""
    n_all, n_missing = overview.plan.cells.size, len(info["missing_positions"])
    threshold = (info["cleaning"]["threshold"] or {}).get("counts")
    shrunk = f"Reduced {overview.shrink} x." if overview.shrink > 1 else ""
    sections = [
        _warnings(info["warnings"]),
        f"<section><h2>The array</h2>{_facts(info)}</section>",
        _picture(
            "Where frames exist",
            f"{n_all} positions measured, {n_missing} missing (red). Colour: mean counts of the frame"
            + (" before normalisation." if info["cleaning"]["normalize"] else "."),
            pictures.draw_coverage(overview),
        ),
        _picture(
            "Intensity",
            "All frames of an omega together. Sudden steps are the beam's or another grain's; slow changes "
            "may be the grain's own.",
            pictures.draw_intensity(overview),
        ),
        _picture(
            "Tilt-summed images",
            f"One for each omega (degrees): the projection of the whole grain. It must stay inside. {shrunk}",
            pictures.draw_contact_sheet(overview),
        ),
        _picture(
            "Sinograms",
            "The tilt-summed images, projected on x and on y. A sound scan shows smooth sine curves; where "
            "they jump, the sample did.",
            pictures.draw_sinograms(overview),
        ),
        _picture(
            "The frames of one omega",
            "The bright part moves through the grain as the tilts change. It should be dark at the rims: "
            "else the tilt range is too narrow.",
            pictures.draw_montage(overview),
        ),
        _picture("Histogram", "From some rows of every frame.", pictures.draw_histogram(overview, threshold)),
    ]
    title = html.escape(Path(info["datadir"]).name + " / " + info["dataname"])
    path.write_text(
        f'<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8"><title>getdata: {title}</title>'
        f"<style>{_CSS}</style></head><body><main><h1>{title}</h1>"
        f'<div class="path">{html.escape(info["datadir"])}</div>{"".join(sections)}</main></body></html>\n',
        encoding="utf-8",
    )


def _warnings(warnings: list[str]) -> str:
    if not warnings:
        return '<section class="good"><h2>No warnings</h2><p>Nothing suspicious was found.</p></section>'
    items = "".join(f"<li>{html.escape(warning)}</li>" for warning in warnings)
    count = "1 warning" if len(warnings) == 1 else f"{len(warnings)} warnings"
    return f'<section class="warn"><h2>{count}</h2><ul>{items}</ul></section>'


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
        "Made by": f"Recon3D {info['version']}: {info['command']}",
    }
    return "<dl>" + "".join(f"<dt>{k}</dt><dd>{html.escape(v)}</dd>" for k, v in facts.items()) + "</dl>"


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


def _picture(title: str, text: str, figure: Figure) -> str:
    stream = io.BytesIO()
    figure.savefig(stream, format="png", dpi=_DPI)
    data = base64.b64encode(stream.getvalue()).decode()
    return (
        f"<section><h2>{html.escape(title)}</h2><p>{html.escape(text)}</p>"
        f'<img alt="{html.escape(title)}" src="data:image/png;base64,{data}"></section>'
    )
