"""A table whose rows a click on the name of a column puts in order."""

from __future__ import annotations

import html
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike, NDArray


@dataclass(frozen=True)
class Column:
    """Name, unit, what each row says, and the values that order the rows; colours (n, 3) mark them."""

    name: str
    unit: str
    texts: Sequence[str]
    values: ArrayLike
    colours: NDArray[np.uint8] | None = None


def table(columns: Sequence[Column]) -> str:
    """The table with its script; without JavaScript its rows stay in their order."""
    heads = "".join(
        f'<th scope="col"><button type="button">{html.escape(column.name)}</button>'
        f"<small>{html.escape(column.unit) or '&nbsp;'}</small></th>"
        for column in columns
    )
    rows = zip(*(_cells(column) for column in columns), strict=True)
    body = "".join(f"<tr>{''.join(row)}</tr>" for row in rows)
    script = Path(__file__).with_name("table.js").read_text(encoding="utf-8")
    return (
        f'<div class="wide"><table class="sorts"><thead><tr>{heads}</tr></thead><tbody>{body}</tbody></table>'
        f"</div><script>{script}</script>"
    )


def _cells(column: Column) -> list[str]:
    marks = [""] * len(column.texts)
    if column.colours is not None:
        marks = [f'<i style="background:rgb({r},{g},{b})"></i>' for r, g, b in column.colours.tolist()]
    values = np.asarray(column.values, dtype=np.float64).tolist()
    return [
        f'<td data-value="{value!r}">{mark}{html.escape(text)}</td>'
        for value, mark, text in zip(values, marks, column.texts, strict=True)
    ]
