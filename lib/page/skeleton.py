"""What getdata.html and report.html share: the skeleton of a page that needs no other file, and its style."""

from __future__ import annotations

import base64
import html
import io
from collections.abc import Iterable, Mapping, Sequence

import matplotlib
from matplotlib.figure import Figure

matplotlib.use("Agg")

Text = str | Sequence[str]  # a paragraph, or the points of a list

_DPI = 110  # pixels per inch of a picture of 7 inches in a page 1,120 pixels wide

STYLE = {
    "font.size": 9,
    "font.family": "sans-serif",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": "#9aa5b1",
    "axes.labelcolor": "#3b4754",
    "xtick.color": "#3b4754",
    "ytick.color": "#3b4754",
}

_CSS = """
:root { color-scheme: light; }
body { font: 15px/1.5 system-ui, "Segoe UI", "DejaVu Sans", sans-serif; margin: 0;
  color: #22303c; background: #eef1f4; }
main { max-width: 1120px; margin: 0 auto; padding: 28px 20px 60px; }
h1 { font-size: 26px; margin: 0 0 2px; } h2 { font-size: 18px; margin: 0 0 4px; }
h3 { font-size: 15px; margin: 14px 0 4px; }
.path { font: 13px ui-monospace, "DejaVu Sans Mono", monospace; color: #5b6b7a; word-break: break-all; }
section { background: white; border: 1px solid #dde3e9; border-radius: 8px; padding: 18px 22px;
  margin-top: 18px; }
section p { margin: 0 0 10px; color: #4a5a68; }
img { max-width: 100%; display: block; margin: 0 auto; }
dl { display: grid; grid-template-columns: max-content 1fr; gap: 3px 18px; margin: 0; }
dt { color: #5b6b7a; } dd { margin: 0; overflow-wrap: anywhere; }
dd small { color: #5b6b7a; }
ul { margin: 0; padding-left: 20px; } li { margin: 3px 0; overflow-wrap: anywhere; }
#viewer, .live .still { display: none; } .live #viewer { display: block; }
.slices { display: grid; grid-template-columns: 1fr 1fr; gap: 10px 18px; align-items: start; }
.slices figure { margin: 0; } .slices canvas { width: 100%; display: block; }
.slices figcaption { display: flex; gap: 8px; align-items: center; padding-left: 46px; }
.slices label { flex: 1; display: flex; gap: 8px; } .slices input { flex: 1; min-width: 0; height: 28px; }
.slices output { min-width: 7.5em; text-align: right; font-variant-numeric: tabular-nums; }
nav { margin-bottom: 10px; display: flex; flex-wrap: wrap; gap: 6px; }
button { font: inherit; padding: 5px 12px; border: 1px solid #b9c4ce; border-radius: 6px; background: white;
  color: #22303c; } button[aria-pressed="true"] { background: #1f5f8b; color: white; }
#scene, .turning .still3d { display: none; } .turning #scene { display: block; }
.stage { display: flex; gap: 12px; align-items: center; } .key[hidden] { display: none; }
.stage .key { flex: 0 1 250px; min-width: 0; }
.view { position: relative; flex: 1 1 0; min-width: 0; height: 560px; }
.tip { position: absolute; z-index: 2; pointer-events: none; padding: 4px 9px; background: #fffffff0;
  border: 1px solid #b9c4ce; border-radius: 6px; font-size: 13px; white-space: nowrap; }
.told { min-height: 1.5em; font-variant-numeric: tabular-nums; }
.cuts { display: grid; grid-template-columns: repeat(3, minmax(0, 1fr)); gap: 6px 22px; }
.cuts div { display: flex; gap: 8px; align-items: center; }
.cuts input[type="range"] { flex: 1; min-width: 0; }
.cuts output { min-width: 5em; text-align: right; font-variant-numeric: tabular-nums; }
.cuts button { padding: 1px 8px; }
.wide { overflow-x: auto; } table { border-collapse: collapse; width: 100%; font-size: 14px; }
th, td { padding: 3px 9px; text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap; }
th { border-bottom: 1px solid #9aa5b1; vertical-align: bottom; } tr + tr td { border-top: 1px solid #eef1f4; }
th button { border: 0; padding: 2px 0; font: inherit; font-weight: 600; background: none; cursor: pointer; }
th button::after { content: " \\2195"; color: #b9c4ce; }
th[aria-sort="ascending"] button::after { content: " \\2191"; }
th[aria-sort="descending"] button::after { content: " \\2193"; } th small { display: block; color: #5b6b7a; }
td i { display: inline-block; width: 11px; height: 11px; border-radius: 3px; margin-right: 7px; }
.warn { border-left: 5px solid #d1495b; } .good { border-left: 5px solid #3a9b6f; }
@media (max-width: 640px) {
  main { padding: 14px 8px 30px; } section { padding: 12px 10px; margin-top: 10px; }
  h1 { font-size: 21px; } dl { column-gap: 10px; }
  .slices, .cuts { grid-template-columns: 1fr; }
  .stage { flex-direction: column; align-items: stretch; } .view { flex: none; height: 380px; }
  .stage .key { flex: none; max-width: 230px; }
}
@media print {
  body { background: white; } main { max-width: none; padding: 0; }
  section { break-inside: avoid; border-radius: 0; } section.long { break-inside: auto; }
  img { max-height: 23cm; }
  .live #viewer, .turning #scene { display: none; } .live .still, .turning .still3d { display: block; }
}
"""


def page(program: str, title: str, where: str, sections: Iterable[str]) -> str:
    """The whole page, from sections that are HTML already."""
    title = html.escape(title)
    return (
        f'<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{program}: {title}</title><style>{_CSS}</style></head><body><main><h1>{title}</h1>"
        f'<div class="path">{html.escape(where)}</div>{"".join(sections)}</main></body></html>\n'
    )


def warnings_section(warnings: list[str], *, nothing: str) -> str:
    """The warnings, or a word that there are none."""
    if not warnings:
        return f'<section class="good"><h2>No warnings</h2><p>{html.escape(nothing)}</p></section>'
    items = "".join(f"<li>{html.escape(warning)}</li>" for warning in warnings)
    count = "1 warning" if len(warnings) == 1 else f"{len(warnings)} warnings"
    return f'<section class="warn"><h2>{count}</h2><ul>{items}</ul></section>'


def facts_list(facts: Mapping[str, str], notes: Mapping[str, str] | None = None) -> str:
    """Names and values side by side, with a note after some of them."""
    rows = []
    for name, value in facts.items():
        note = (notes or {}).get(name)
        more = f" <small>{html.escape(note)}</small>" if note else ""
        rows.append(f"<dt>{html.escape(name)}</dt><dd>{html.escape(value)}{more}</dd>")
    return f"<dl>{''.join(rows)}</dl>"


def picture_section(title: str, text: Text, figure: Figure, dpi: int = _DPI, kind: str = "") -> str:
    """A section with a picture inside; kind is its class in the style."""
    return section_with(title, text, picture_url(figure, dpi), kind)


def section_with(title: str, text: Text, url: str, kind: str = "") -> str:
    """A section with the picture at a URL; kind is its class in the style."""
    start = f'<section class="{kind}">' if kind else "<section>"
    return (
        f"{start}<h2>{html.escape(title)}</h2>{_said(text)}"
        f'<img alt="{html.escape(title)}" src="{url}"></section>'
    )


def _said(text: Text) -> str:
    if isinstance(text, str):
        return f"<p>{html.escape(text)}</p>"
    return f"<ul>{''.join(f'<li>{html.escape(point)}</li>' for point in text)}</ul>"


def picture_url(figure: Figure, dpi: int = _DPI) -> str:
    """A figure as data URL."""
    stream = io.BytesIO()
    figure.savefig(stream, format="png", dpi=dpi, pil_kwargs={"compress_level": 4})
    return f"data:image/png;base64,{base64.b64encode(stream.getvalue()).decode()}"
